"""Stored feature maps are found in any module, once each, where a hook reaches all their readers."""

from __future__ import annotations

import itertools
import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from fmcodec.evaluation import CodedMap, MapSite, Placement, find_maps
from fmcodec.torch import place


class Plain(nn.Module):
    """Norms and activations as functions and modules, in place and not, and a hidden layer of one position."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.conv2, self.relu2 = nn.Conv2d(4, 5, 3), nn.ReLU6(inplace=True)
        self.conv3 = nn.Conv2d(5, 6, 3, groups=1)
        self.vector = nn.Conv2d(6, 6, 1)
        self.fc = nn.Linear(6, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.relu2(self.conv2(F.relu_(self.bn1(self.conv1(x)))))
        x = torch.sigmoid(self.conv3(x)).mean((2, 3), keepdim=True)
        return self.fc(F.relu(self.vector(x)).flatten(1))


class Block(nn.Module):
    """A residual block; ``style`` says what its activations are."""

    def __init__(self, channels: int, style: str, *, downsample: bool = False) -> None:
        super().__init__()
        self.style = style
        self.conv1, self.bn1 = nn.Conv2d(channels, channels, 3, padding=1), nn.BatchNorm2d(channels)
        self.conv2, self.bn2 = nn.Conv2d(channels, channels, 3, padding=1), nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=style == "shared")
        self.relu2 = nn.ReLU() if style == "modules" else None
        self.downsample = nn.Conv2d(channels, channels, 1) if downsample else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.bn1(self.conv1(x))
        y = F.relu(y) if self.style == "functions" else self.relu(y)
        y = self.bn2(self.conv2(y))
        if self.style == "linear":
            return y + self.downsample(x)
        y += self.downsample(x)
        if self.relu2 is not None:
            return self.relu2(y)
        return self.relu(y) if self.style == "shared" else F.relu(y)


class Fire(nn.Module):
    """Two convolutions that are put side by side, and a third that sees both before the activation."""

    def __init__(self) -> None:
        super().__init__()
        self.squeeze, self.one, self.three = nn.Conv2d(3, 2, 1), nn.Conv2d(2, 4, 1), nn.Conv2d(2, 4, 3, padding=1)
        self.relu = nn.ReLU()
        self.last = nn.Conv2d(8, 3, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.squeeze(x))
        return self.last(self.relu(torch.cat([self.one(x), self.three(x)], 1)))


class Inline(nn.Module):
    """Sums and activations without modules of their own."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c, self.d = (nn.Conv2d(3, 3, 3, padding=1) for _ in range(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.a(x) + x)
        y = F.relu(self.b(x) + x)
        return self.d(F.relu(self.c(y))).mean((2, 3))


class Twice(nn.Module):
    """The same convolution is called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.other = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(self.other(F.relu(self.conv(F.relu(self.conv(x)))) + x)).mean((2, 3))


def head(*modules: nn.Module, channels: int = 3) -> nn.Sequential:
    """A classifier behind some modules."""
    return nn.Sequential(*modules, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 2))


RELU, RELU6 = MapSite("output", "relu"), MapSite("output", "relu6")

torch.manual_seed(0)
CASES: dict[str, tuple[nn.Module, dict[str, MapSite]]] = {
    # The sigmoid is none of the activations of a policy; the vector is no map.
    "plain": (Plain(), {"bn1": RELU, "conv2": RELU6, "conv3": MapSite()}),
    "modules": (
        head(nn.Conv2d(3, 3, 3), nn.ReLU(inplace=True), Block(3, "modules"), Block(3, "modules", downsample=True)),
        {
            "0": RELU,
            "2.bn1": RELU,
            "2.relu2": MapSite("input", "relu"),
            "3.bn1": RELU,
            # The shortcut has no map of its own: it is part of the sum.
            "3.relu2": MapSite("input", "relu"),
        },
    ),
    # The activation of the sum is called twice in a block: the map is reached behind it, at the end of the block.
    "shared": (
        head(Block(3, "shared"), Block(3, "shared")),
        {"0.bn1": RELU, "0": MapSite(), "1.bn1": RELU, "1": MapSite()},
    ),
    "functions": (head(Block(3, "functions")), {"0.bn1": RELU, "0": MapSite()}),
    # A sum without activation: the map is what is added.
    "linear": (
        head(Block(3, "linear"), Block(3, "linear", downsample=True)),
        {"0.bn1": RELU, "0.bn2": MapSite(), "1.bn1": RELU, "1.bn2": MapSite(), "1.downsample": MapSite()},
    ),
    "concat": (head(Fire()), {"0.squeeze": RELU, "0.one": RELU, "0.three": RELU, "0.last": MapSite()}),
    # The first sum has two readers, which no single hook reaches: what remains is the convolution. The second one goes
    # to a single convolution, but a module has only one map, and the last convolution has no other place.
    "inline": (Inline(), {"a": MapSite(), "b": MapSite(), "c": RELU, "d": MapSite()}),
    # What goes out is no map, neither directly nor through a sum.
    "image": (nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 3, 3), nn.Sigmoid()), {"0": RELU}),
    "transposed": (
        nn.Sequential(nn.ConvTranspose2d(3, 4, 2, 2), nn.Hardtanh(0, 6), nn.MaxPool2d(2), nn.Conv2d(4, 1, 1)),
        {"0": RELU6},
    ),
}


class Exact:
    """A codec that changes nothing, or shifts all values, and counts how often it is used."""

    def __init__(self, shift: float = 0.0) -> None:
        self.calls = 0
        self.shift = shift

    def code(self, x: torch.Tensor) -> CodedMap:
        self.calls += 1
        return CodedMap(x + self.shift, 0, {})

    def parameter_bits(self, channels: int) -> int:
        return 0


EXAMPLE = torch.linspace(-2, 2, 3 * 12 * 12).reshape(1, 3, 12, 12).sin()


@pytest.mark.parametrize("name", CASES)
def test_maps_of_a_network(name: str) -> None:
    model, expected = CASES[name]
    found = find_maps(model.eval(), EXAMPLE)
    assert found == expected
    assert list(found) == list(expected)


@pytest.mark.parametrize("name", CASES)
def test_maps_can_be_coded_before_and_after_their_activation(name: str) -> None:
    model, _ = CASES[name]
    maps = find_maps(model.eval(), EXAMPLE)
    with torch.no_grad():
        plain = model(EXAMPLE)
        for sites in (maps, {key: site.before_activation for key, site in maps.items()}):
            codecs = {key: Exact() for key in sites}
            with place(model, {key: Placement(site, codecs[key]) for key, site in sites.items()}):
                assert torch.equal(model(EXAMPLE), plain)
            assert [codec.calls for codec in codecs.values()] == [1] * len(codecs)
        for key, site in maps.items():
            with place(model, {key: Placement(site, Exact(1.0))}):
                assert not torch.equal(model(EXAMPLE), plain), key


class BasicBlock(nn.Module):
    """The residual block of ResNet-18 (K. He et al., arXiv 1512.03385)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs)
        self.conv2, self.bn2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs)
        self.relu1, self.relu2 = nn.ReLU(), nn.ReLU()
        shortcut = (nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)) if stride > 1 else ()
        self.shortcut = nn.Sequential(*shortcut)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.relu2(self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x))))) + self.shortcut(x))


def test_resnet18_has_the_17_maps_of_the_literature() -> None:
    stem = (nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
    widths = (64, 64, 64, 128, 128, 256, 256, 512, 512)
    blocks = [BasicBlock(i, o, 2 if o > i else 1) for i, o in itertools.pairwise(widths)]
    model = head(*stem, *blocks, channels=512).eval()
    maps = find_maps(model, torch.rand(1, 3, 224, 224))
    inner = [(f"{index}.bn1", RELU) for index in range(4, 12)]
    sums = [(f"{index}.relu2", MapSite("input", "relu")) for index in range(4, 12)]
    assert list(maps.items()) == [("1", RELU), *itertools.chain.from_iterable(zip(inner, sums, strict=True))]
    with torch.no_grad(), place(model, {name: Placement(site, Exact()) for name, site in maps.items()}) as session:
        model(torch.rand(1, 3, 224, 224))
    assert session.totals().values == 2_308_096


def test_maps_that_no_hook_reaches_are_told() -> None:
    with pytest.warns(UserWarning, match="2 feature maps cannot be reached"):
        assert find_maps(Twice().eval(), EXAMPLE) == {"other": RELU}


def test_a_map_at_the_input_of_its_only_reader() -> None:
    class Reader(Inline):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.b(F.relu(self.a(x) + x)).mean((2, 3))

    assert find_maps(Reader().eval(), EXAMPLE) == {"a": MapSite(), "b": MapSite()}

    class Pooled(Inline):
        def __init__(self) -> None:
            super().__init__()
            self.pool = nn.MaxPool2d(2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.b(self.pool(F.relu(self.a(x) + x)))

    assert find_maps(Pooled().eval(), EXAMPLE) == {"pool": MapSite("input")}


def test_no_maps() -> None:
    with pytest.raises(ValueError, match="no stored feature map"):
        find_maps(nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU()), EXAMPLE)


def test_hooks_and_gradients_are_left_alone() -> None:
    model = head(Block(3, "modules")).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        find_maps(model, EXAMPLE)
    assert all(not module._forward_hooks and not module._forward_pre_hooks for module in model.modules())
    assert model(EXAMPLE).requires_grad
