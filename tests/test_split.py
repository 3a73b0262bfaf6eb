"""Models cut in two: the parts give what the whole gives, and cuts that cannot be are refused."""

from __future__ import annotations

import math
import pickle
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from fmcodec.split import CutPoint, cut_points, split


class Odd(nn.Module):
    """A residual network with what networks do: one ReLU for all, in place; sizes from the input; several outputs."""

    def __init__(self, channels: int = 6) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, channels, 3, padding=1)
        self.first = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self.second = nn.Conv2d(channels, channels, 1)
        self.relu = nn.ReLU(inplace=True)
        self.drop = nn.Dropout()
        self.fc = nn.Linear(channels * 16, 5)
        self.register_buffer("scale", torch.linspace(1, 2, channels)[:, None, None])

    def forward(self, x: torch.Tensor, gain: torch.Tensor | None = None) -> dict[str, Any]:
        y = self.relu(self.stem(x) * self.scale)
        z = self.relu(self.norm(self.first(y)))
        y = self.relu(self.second(z) + y)
        if y.shape[-1] > 4:  # Python that depends on shapes only
            y = functional.max_pool2d(y, 2)
        y = self.drop(y) + torch.arange(4)
        if gain is not None:
            y = y * gain[:, :, None, None]
        flat = y.view(x.size(0), -1)
        return {"logits": self.fc(flat), "more": [y.mean((1, 2, 3)), (flat,)]}


def odd() -> Odd:
    """The network with random weights, also those of its batch norm."""
    torch.manual_seed(0)
    model = Odd().eval()
    nn.init.uniform_(model.norm.running_var, 0.5, 2.0)
    return model


def same(a: Any, b: Any) -> bool:
    """Whether two outputs have one structure and the same bits."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))


def test_cut_points_are_where_nothing_goes_by() -> None:
    x = torch.rand(2, 3, 8, 8)
    # Between the first ReLU and the sum, the shortcut goes by.
    expected = [("stem", (6, 8, 8)), ("relu", (6, 8, 8)), ("relu@2", (6, 8, 8)), ("drop", (6, 4, 4))]
    assert cut_points(odd(), x) == [CutPoint(*point) for point in expected]


@torch.no_grad()
def test_parts_give_what_the_whole_gives() -> None:
    model = odd()
    for point in cut_points(model, torch.rand(1, 3, 8, 8)):
        head, tail = split(model, point.layer, torch.rand(1, 3, 8, 8))
        for batch in (1, 2, 5):
            x = torch.randn(batch, 3, 8, 8)
            middle = head(x)
            kept = middle.clone()
            assert middle.shape == (batch, *point.shape)
            assert same(tail(middle), model(x))
            assert torch.equal(middle, kept)  # although the ReLU works in place


def test_parts_have_the_parameters_they_need() -> None:
    model = odd()
    head, tail = split(model, "relu", torch.rand(1, 3, 8, 8))
    assert {name for name, _ in head.named_parameters()} == {"stem.weight", "stem.bias"}
    assert {name for name, _ in tail.named_parameters()} == {
        name for name, _ in model.named_parameters() if not name.startswith("stem")
    }
    assert [name for name, _ in head.named_buffers()] == ["scale"]
    # Shared, not copied.
    assert dict(head.named_parameters())["stem.weight"].data_ptr() == model.stem.weight.data_ptr()


@torch.no_grad()
def test_parts_travel() -> None:
    model = odd()
    x = torch.rand(2, 3, 8, 8)
    head, tail = pickle.loads(pickle.dumps(split(model, "relu", x)))
    assert same(tail(head(x)), model(x))


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("norm", "that of 'relu' goes by; valid cuts nearby: 'relu' and 'relu@2'"),
        ("relu@1", "that of 'relu' goes by"),
        ("fc", r"is no feature map \(N, C, H, W\) of floats; valid cuts nearby: 'drop'"),
        ("relu@3", "no layer 'relu@3' runs; close names: relu"),
        ("body", "no layer 'body' runs"),
    ],
)
def test_cuts_that_cannot_be(layer: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        split(odd(), layer, torch.rand(2, 3, 8, 8))


def test_an_input_that_goes_by() -> None:
    inputs = (torch.rand(2, 3, 8, 8), torch.rand(2, 6))
    assert [point.layer for point in cut_points(odd(), inputs)] == []
    with pytest.raises(ValueError, match="that of 'gain' goes by; valid cuts nearby: none"):
        split(odd(), "relu", inputs)


class Branches(nn.Module):
    """A block that runs twice, with branches, and a constant that is made in forward."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 2, 1)
        self.block = nn.Sequential(nn.Conv2d(2, 2, 3, padding=1), nn.Sigmoid())
        self.left, self.right = nn.Conv2d(2, 1, 1), nn.Conv2d(2, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        grid = torch.linspace(0, 1, x.shape[3])
        x = self.block(self.stem(x) + grid)
        x = self.block(x)
        return torch.cat([self.left(x) + grid, self.right(x)], 1)


@torch.no_grad()
def test_blocks_that_run_twice_and_branches() -> None:
    model = Branches().eval()
    x = torch.rand(3, 1, 4, 5)
    names = [point.layer for point in cut_points(model, x)]
    assert names == ["stem", "block.0", "block", "block.0@1", "block@1"]
    for name in [*names, "block.1", "block.1@1"]:
        head, tail = split(model, name, x)
        assert torch.equal(tail(head(x)), model(x))
    with pytest.raises(ValueError, match=r"that of 'block\.1@1' goes by"):
        split(model, "left", x)


def test_models_that_cannot_be_cut() -> None:
    x = torch.rand(2, 3, 8, 8)
    with pytest.raises(ValueError, match="eval mode"):
        cut_points(Odd(), x)

    class Random(nn.Sequential):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x) + torch.rand(1)

    with pytest.raises(RuntimeError, match="it is random"):
        split(Random(nn.Conv2d(3, 4, 3)).eval(), "0", x)


@torch.no_grad()
def test_efficientnet() -> None:
    from efficientnet_lite_pytorch import EfficientNet

    model = EfficientNet.from_name("efficientnet-lite0").eval()
    x = torch.rand(1, 3, 224, 224)
    points = {point.layer: point.shape for point in cut_points(model, x)}
    assert points["_blocks.4"] == (40, 28, 28) and "_blocks.4._bn1" not in points and len(points) == 77
    head, tail = split(model, "_blocks.4", x)
    assert torch.equal(tail(head(x)), model(x))
    parameters = [sum(math.prod(p.shape) for p in part.parameters()) for part in (head, tail, model)]
    assert parameters[0] + parameters[1] == parameters[2]
