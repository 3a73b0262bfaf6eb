"""Training with compressed activations: what is coded, what stays exact, and what no longer is held."""

from __future__ import annotations

import contextlib
import gc
import math
import weakref
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.utils.checkpoint import checkpoint
from torch_cases import residual_network

import fmcodec
from fmcodec.policy import LayerPolicy, Policy
from fmcodec.spec import CodecSpec
from fmcodec.torch import SavedTensors, relative_step, saved_tensors, simulate
from fmcodec.torch.packed import PackedTensor

IMAGES = torch.linspace(-9, 9, 4 * 3 * 16 * 16).reshape(4, 3, 16, 16).sin()
SPEC = CodecSpec(step=0.1)


@given(
    st.sampled_from([torch.float32, torch.float16, torch.bfloat16]),
    st.sampled_from([torch.contiguous_format, torch.channels_last]),
    st.sampled_from([0.01, 0.25, 2.0]),
    st.booleans(),
    st.integers(0, 1000),
)
def test_packing_keeps_signs_and_bounds_errors(
    dtype: torch.dtype, memory_format: torch.memory_format, relative: float, is_activated: bool, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    exact = torch.randn(2, 5, 6, 7, generator=generator) * 10.0 ** (seed % 5 - 2)
    exact = (exact.relu() if is_activated else exact).to(dtype).contiguous(memory_format=memory_format)
    spec = relative_step(relative)(exact)
    assert spec is not None
    assert spec.step == pytest.approx(relative * exact.double().square().mean().sqrt().item(), rel=1e-3)
    packed = PackedTensor(exact, spec, threads=1, embed_spec=True).unpack()
    assert (packed.dtype, packed.shape, packed.stride()) == (exact.dtype, exact.shape, exact.stride())
    rounding = torch.finfo(dtype).eps * exact.abs().max().item()
    assert (packed.double() - exact.double()).abs().max().item() <= spec.step * (0.5 + 2.0**-15) + rounding
    assert torch.equal(packed > 0, exact > 0)
    if is_activated:
        assert torch.equal(packed == 0, exact == 0)


def test_values_are_the_middles_of_their_intervals() -> None:
    x = torch.tensor([0.0, 0.001, 0.9, 1.1, 2.5]).reshape(1, 1, 1, 5)
    spec = CodecSpec(step=1.0)
    unpacked = PackedTensor(x, spec, threads=1, embed_spec=False).unpack().flatten()
    assert torch.allclose(unpacked, torch.tensor([0.0, 0.5, 0.5, 1.5, 2.5]), atol=2.0**-15)
    # With a transform, values are those of the codec.
    dct = CodecSpec(step=0.1, transform="dct", transform_size=4)
    x = IMAGES.relu()
    assert torch.equal(PackedTensor(x, dct, threads=1, embed_spec=False).unpack(), simulate(x, dct))


def gradients(
    model: nn.Module, images: torch.Tensor = IMAGES, saved: Any = None, *, bfloat16: bool = False
) -> list[torch.Tensor]:
    """Gradients of the input and all parameters, with what is saved coded or not."""
    model.zero_grad()
    x = images.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        if saved is None:
            loss = model(x).float().square().mean()
        else:
            with saved:
                loss = model(x).float().square().mean()
    loss.backward()
    assert x.grad is not None
    return [x.grad, *(parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None)]


def relative_error(found: list[torch.Tensor], exact: list[torch.Tensor]) -> float:
    error = sum(float((a - b).square().sum()) for a, b in zip(found, exact, strict=True))
    return math.sqrt(error / sum(float(b.square().sum()) for b in exact))


def test_what_depends_on_saved_signs_and_weights_alone_is_exact() -> None:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU())
    weight = torch.rand(4, 8, 12, 12)

    def run(saved: Any) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        x = IMAGES.clone().requires_grad_()
        with saved:
            y = model(x)
        names = ["input", *dict(model.named_parameters())]
        return y, dict(zip(names, torch.autograd.grad(y, [x, *model.parameters()], weight), strict=True))

    exact_output, exact = run(contextlib.nullcontext())
    output, found = run(saved_tensors(relative_step(1.0), min_values=1))
    assert torch.equal(output, exact_output)
    # Signals and biases see the signs of the ReLUs, gradients of weights the values of the maps, here with a step as
    # large as the root mean square.
    assert {name for name in exact if not torch.equal(found[name], exact[name])} == {"0.weight", "2.weight"}
    assert relative_error(list(found.values()), list(exact.values())) < 0.3


def test_gradients_converge_to_the_exact_ones() -> None:
    model = residual_network()
    exact = gradients(model)
    errors = [relative_error(gradients(model, saved=saved_tensors(relative_step(r))), exact) for r in (0.5, 0.1, 0.02)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.01


def test_tensors_are_coded_once_and_counted_exactly() -> None:
    model = residual_network()
    spec = SPEC.replace(zero_point=100)
    kept: dict[int, torch.Tensor] = {}
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.setdefault(id(x), x), lambda x: x):
        model(IMAGES)
    tensors = [x.detach() for x in kept.values() if not isinstance(x, nn.Parameter)]
    # The images, the ReLU of the stem; of each block inputs of two norms and results of two ReLUs.
    assert [x.shape[1] for x in tensors if x.dim() == 4] == [3, 8, *[8] * 8]
    frames = [
        len(fmcodec.encode(x + (0.5 - 2.0**-16) * spec.step, spec, embed_spec=False)) for x in tensors if x.dim() == 4
    ]
    saved = saved_tensors(spec, min_values=1)
    with saved:
        y = model(IMAGES)
    assert (saved.coded_count, saved.kept_count) == (10, len(tensors) - 10)
    assert saved.raw_bytes == sum(x.nbytes for x in tensors)
    assert saved.stored_bytes == sum(frames) + sum(x.nbytes for x in tensors if x.dim() != 4)
    with saved:
        z = model(IMAGES)
    # The images are still held, by the graph of y.
    assert saved.coded_count == 19
    del y, z


def test_activations_are_not_held() -> None:
    model = residual_network()
    alive: list[weakref.ref[torch.Tensor]] = []

    def note(_: nn.Module, __: Any, output: torch.Tensor) -> None:
        alive.append(weakref.ref(output))

    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.BatchNorm2d)):
            module.register_forward_hook(note)
    with saved_tensors(relative_step()) as saved:
        loss = model(IMAGES).sum()
    assert len(alive) == 9
    assert [reference() for reference in alive] == [None] * 9
    gc.disable()
    try:
        content = weakref.WeakSet(known.saved() for known in saved._known.values())
        loss.backward()
        del loss
        assert not content
    finally:
        gc.enable()


def test_parameters_are_not_coded_even_as_casts_of_autocast() -> None:
    torch.manual_seed(1)
    # Weights are as large as maps, so that they would be coded.
    model = nn.Sequential(nn.Conv2d(3, 32, 3), nn.ReLU(), nn.Conv2d(32, 32, 3), nn.ReLU())
    images = IMAGES.contiguous(memory_format=torch.channels_last)
    seen: list[torch.Tensor] = []

    def rule(x: torch.Tensor) -> CodecSpec | None:
        seen.append(x)
        return relative_step(0.05)(x)

    exact = gradients(model, images, bfloat16=True)
    found = gradients(model, images, saved_tensors(rule, min_values=1), bfloat16=True)
    assert [tuple(x.shape) for x in seen] == [(4, 3, 16, 16), (4, 32, 14, 14), (4, 32, 12, 12), (4, 32, 12, 12)]
    assert [x.dtype for x in seen] == [torch.bfloat16] * 3 + [torch.float32]
    assert all(x.is_contiguous(memory_format=torch.channels_last) for x in seen)
    assert relative_error(found, exact) < 0.05


def test_policies_code_the_maps_they_name() -> None:
    model = residual_network()
    policy = Policy(
        layers={
            "2": LayerPolicy(SPEC),  # saved by the function at its end, before the module has returned
            "3.conv2": LayerPolicy(SPEC, where="input"),  # saved by a function before the module is called
            "3.norm1": LayerPolicy(SPEC.replace(zero_point=100), where="input"),
        }
    )
    with saved_tensors(policy, model) as saved:
        loss = model(IMAGES).square().mean()
    assert saved.coded_count == 3
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    loss.backward()
    found = [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]
    exact = gradients(model)[1:]
    assert 0 < relative_error(found, exact) < 0.1


def test_values_changed_in_place_are_other_values() -> None:
    x = torch.rand(1, 4, 32, 32, requires_grad=True)
    with saved_tensors(relative_step(0.01)) as saved:
        y = x * 2
        a = y.square()
        y.mul_(3)
        b = y.square()
    assert saved.coded_count == 2
    (a.sum() + b.sum()).backward()
    # d/dx of (2x)^2 + (6x)^2.
    assert x.grad is not None
    assert torch.allclose(x.grad, 80 * x.detach(), rtol=0, atol=0.5)


def test_kept_values_must_not_change_in_place() -> None:
    conv = nn.Conv2d(3, 3, 1)
    with saved_tensors(relative_step()):
        y = torch.rand(1, 3, 4, 4, requires_grad=True).exp()
        z = conv(torch.rand(1, 3, 4, 4, requires_grad=True))
    y.mul_(2)
    with pytest.raises(RuntimeError, match=r"shape \(1, 3, 4, 4\) that the backward pass needs was changed in place"):
        y.sum().backward()
    with torch.no_grad():
        conv.weight.mul_(2)
    with pytest.raises(RuntimeError, match=r"shape \(3, 3, 1, 1\) that the backward pass needs was changed in place"):
        z.sum().backward()


def test_gradients_of_gradients_pass_through() -> None:
    model = residual_network()

    def penalty(saved: Any) -> list[torch.Tensor]:
        model.zero_grad()
        x = IMAGES.clone().requires_grad_()
        with saved:
            (slope,) = torch.autograd.grad(model(x).square().sum(), x, create_graph=True)
            loss = slope.square().sum()
        loss.backward()
        return [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]

    exact = penalty(contextlib.nullcontext())
    kept = penalty(saved_tensors(lambda x: None))
    assert all(torch.equal(a, b) for a, b in zip(kept, exact, strict=True))
    assert 0 < relative_error(penalty(saved_tensors(relative_step(0.01))), exact) < 0.1


def test_checkpoints_are_coded() -> None:
    model = residual_network()
    exact = gradients(model)
    blocks = [lambda x, block=block: checkpoint(block, x, use_reentrant=False) for block in model]

    class Checkpointed(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for block in blocks:
                x = block(x)
            return x

        def parameters(self, recurse: bool = True) -> Any:
            return model.parameters(recurse)

        def zero_grad(self, set_to_none: bool = True) -> None:
            model.zero_grad(set_to_none)

    saved = saved_tensors(relative_step(0.02))
    assert relative_error(gradients(Checkpointed(), saved=saved), exact) < 0.02
    assert saved.coded_count == 4  # the inputs of the ReLU, two blocks and the pooling; the images are too few values


def test_values_that_are_not_finite_are_kept_or_refused() -> None:
    x = torch.zeros(1, 4, 32, 32, requires_grad=True)
    with torch.no_grad():
        x[0, 0, 0, 0] = math.inf
    with saved_tensors(relative_step()) as saved:
        x.exp()
    assert (saved.coded_count, saved.kept_count) == (0, 1)
    with saved_tensors(SPEC), pytest.raises(fmcodec.NonFiniteError) as raised:
        x.exp()
    assert raised.value.__notes__ == ["while coding a saved tensor of shape (1, 4, 32, 32)"]


def test_wrong_use_is_refused() -> None:
    model = residual_network()
    with pytest.raises(TypeError, match="rule must be a function, a CodecSpec or a Policy, not float"):
        saved_tensors(0.25)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="relative must be above 0, not 0"):
        relative_step(0)
    with pytest.raises(ValueError, match=r"a policy needs the model that it is for: saved_tensors\(policy, model\)"):
        saved_tensors(Policy(layers={"1": LayerPolicy(SPEC)}))
    with pytest.raises(ValueError, match="'0' with activation 'relu', but what is saved is the map after it: name"):
        saved_tensors(Policy(layers={"0": LayerPolicy(SPEC, activation="relu")}), model)
    with (
        pytest.raises(ValueError, match="no module 'stem'"),
        saved_tensors(Policy(layers={"stem": LayerPolicy(SPEC)}), model),
    ):
        pass
    x = torch.zeros(1, 4, 32, 32, device="meta", requires_grad=True)
    with (
        saved_tensors(relative_step()),
        pytest.raises(TypeError, match="on meta, but saved_tensors codes in CPU memory"),
    ):
        x.exp()
    wide = SPEC.replace(permutation=(1, 0))
    with saved_tensors(wide), pytest.raises(ValueError, match="2 entries for 8 channels") as raised:
        model(IMAGES)
    assert raised.value.__notes__ == ["while coding a saved tensor of shape (4, 8, 16, 16)"]


def test_the_context_can_be_entered_again_and_left_by_errors() -> None:
    saved = saved_tensors(relative_step())
    assert isinstance(saved, SavedTensors)
    with pytest.raises(RuntimeError, match="stop"), saved:
        raise RuntimeError("stop")
    x = torch.rand(1, 4, 32, 32, requires_grad=True)
    x.exp()
    assert saved.raw_bytes == 0
    with saved:
        x.exp()
    assert saved.raw_bytes == 4 * x.numel()
