"""The torch layer: simulation against the codec bit for bit, and sessions that leave models as they were."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import transforms
from torch import nn

from fmcodec import Basis, decode, encode
from fmcodec.errors import NonFiniteError
from fmcodec.policy import LayerPolicy, Policy
from fmcodec.spec import CodecSpec
from fmcodec.torch import simulate, wrap

DTYPES = [torch.float32, torch.float16, torch.bfloat16, torch.int8, torch.uint8]


@st.composite
def specs(draw: st.DrawFn, channels: int, is_integer: bool) -> CodecSpec:
    """Any valid spec for a number of channels."""
    bits = draw(st.integers(2, 8 if is_integer else 16))
    zero_point = draw(st.integers(0, 2**bits - 1))
    transform = draw(transforms(channels, bits, zero_point))
    size = transform["transform_size"]
    steps = draw(st.sampled_from([1, size, max(channels, 1), 3]))
    return CodecSpec(
        step=draw(st.sampled_from([1.0, 0.5, 0.1, 1 / 3, 0.01, 3.7, 2.0**-64, 2.0**64])),
        zero_point=zero_point,
        bits=bits,
        **transform,
        band_steps=tuple(draw(st.lists(st.sampled_from([1, 2, 3, 16, 255, 65535]), min_size=steps, max_size=steps))),
        permutation=draw(st.none() | st.permutations(range(channels)).map(tuple)),
        dead_zone=draw(st.sampled_from([0.5, 0.6, 0.75, 1.0])),
        nonfinite="clamp",
    )


@st.composite
def cases(draw: st.DrawFn) -> tuple[torch.Tensor, CodecSpec, str]:
    """A tensor of any dtype, layout and rank, and a spec for it."""
    dtype = draw(st.sampled_from(DTYPES))
    layout = draw(st.sampled_from(["nchw", "nhwc"]))
    images, channels = draw(st.integers(0, 3)), draw(st.integers(0, 45))
    rows, columns = draw(st.integers(0, 4)), draw(st.integers(0, 4))
    shape = (images, channels, rows, columns) if layout == "nchw" else (images, rows, columns, channels)
    if draw(st.booleans()):
        shape = shape[1:]
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    x = torch.randn(shape, generator=generator) * draw(st.sampled_from([0.01, 1.0, 30.0, 1e5, 1e38]))
    if not dtype.is_floating_point:
        x = x.nan_to_num().clamp(-128 if dtype == torch.int8 else 0, 127)
    elif x.numel() and draw(st.booleans()):
        special = torch.tensor([math.nan, math.inf, -math.inf, 0.0, -0.0, 1e-45, 0.5, 2.5])
        where = torch.randint(0, x.numel(), (5,), generator=generator)
        x.view(-1)[where] = special[torch.randint(0, 8, (5,), generator=generator)]
    return x.to(dtype), draw(specs(channels, not dtype.is_floating_point)), layout


def bits_of(x: torch.Tensor) -> torch.Tensor:
    """The bit patterns of a tensor, so that -0.0 and 0.0 differ."""
    return x.contiguous().view({1: torch.int8, 2: torch.int16, 4: torch.int32}[x.element_size()])


@settings(max_examples=300, deadline=None)
@given(cases())
def test_simulate_equals_codec(case: tuple[torch.Tensor, CodecSpec, str]) -> None:
    x, spec, layout = case
    decoded = torch.empty_like(x)
    decode(encode(x, spec, layout=layout), out=decoded)
    simulated = simulate(x, spec, layout=layout)
    assert simulated.shape == x.shape
    assert simulated.dtype == x.dtype
    assert torch.equal(bits_of(simulated), bits_of(decoded))


def test_simulate_wraps_sums_of_32_bits() -> None:
    x = torch.full((1, 32, 1, 2), 70000.0)
    spec = CodecSpec(bits=16, transform="dct", transform_size=32)
    decoded = torch.empty_like(x)
    decode(encode(x, spec), out=decoded)
    assert torch.equal(simulate(x, spec), decoded)


def test_simulate_accepts_channels_last_strides() -> None:
    x = torch.randn(2, 8, 5, 6).contiguous(memory_format=torch.channels_last)
    spec = CodecSpec(step=0.1, zero_point=128, transform="dct", transform_size=4)
    assert torch.equal(simulate(x, spec), simulate(x.contiguous(), spec))


def test_simulate_refuses() -> None:
    x = torch.zeros(1, 2, 3, 4)
    with pytest.raises(NonFiniteError, match="NaN or infinity"):
        simulate(torch.full_like(x, math.nan), CodecSpec())
    with pytest.raises(TypeError, match=r"torch\.float64"):
        simulate(x.double(), CodecSpec())
    with pytest.raises(ValueError, match="3 or 4 axes"):
        simulate(x[0, 0], CodecSpec())
    with pytest.raises(ValueError, match="layout"):
        simulate(x, CodecSpec(), layout="hwc")
    with pytest.raises(ValueError, match="3 channels"):
        simulate(x, CodecSpec(permutation=(2, 1, 0)))
    with pytest.raises(ValueError, match="at most 8"):
        simulate(x.to(torch.int8), CodecSpec(bits=9))
    basis = Basis(means=(0,) * 3, rows=bytes(18))
    with pytest.raises(ValueError, match="the basis is for 3 channels, the tensor has 2"):
        simulate(x, CodecSpec(transform="klt", transform_size=3, basis=basis))


class Residual(nn.Module):
    """A block with a batch norm, a ReLU6 and a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU6()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.relu(self.norm(self.conv(x)))


def make_model() -> nn.Sequential:
    torch.manual_seed(3)
    return nn.Sequential(nn.Conv2d(3, 12, 3), Residual(12), Residual(12), nn.Flatten(), nn.LazyLinear(5)).eval()


IMAGES = torch.linspace(-1, 1, 2 * 3 * 12 * 10).reshape(2, 3, 12, 10).sin()
SPEC = CodecSpec(step=0.05, zero_point=100, transform="dct", transform_size=4)
RELU6_SPEC = CodecSpec.for_range(0.0, 6.0)


def make_policy() -> Policy:
    return Policy(
        layers={
            "2.norm": LayerPolicy(spec=SPEC),
            "1.norm": LayerPolicy(spec=RELU6_SPEC, activation="relu6"),
            "1.conv": LayerPolicy(spec=SPEC, where="input"),
        }
    )


def fingerprint(model: nn.Module) -> list[Any]:
    """All that hooks or wrapping could change."""
    return [
        (name, type(module), dict(module._forward_hooks), dict(module._forward_pre_hooks), module.training)
        for name, module in model.named_modules()
    ] + [parameter.detach().clone() for parameter in model.state_dict().values()]


def test_wrap_leaves_the_model_as_it_was() -> None:
    model = make_model()
    plain = model(IMAGES)
    before = fingerprint(model)
    with wrap(model, make_policy()) as session:
        coded = model(IMAGES)
    assert not torch.equal(coded, plain)
    assert torch.equal(model(IMAGES), plain)
    for old, new in zip(before, fingerprint(model), strict=True):
        assert torch.equal(old, new) if isinstance(old, torch.Tensor) else old == new
    assert len(session.stats) == 3
    session.remove()


def test_removal_after_an_exception() -> None:
    model = make_model()
    with pytest.raises(RuntimeError, match="stop"), wrap(model, make_policy()):
        raise RuntimeError("stop")
    assert not model[1].norm._forward_hooks


def test_codec_and_simulate_agree() -> None:
    model = make_model()
    with wrap(model, make_policy()):
        coded = model(IMAGES)
    with wrap(model, make_policy(), embed_spec=False, threads=2):
        assert torch.equal(model(IMAGES), coded)
    with wrap(model, make_policy(), mode="simulate") as session:
        assert torch.equal(model(IMAGES), coded)
    assert session.totals().coded_bits is None
    assert session.totals().bits_per_value is None
    assert session.stats[0].bits_per_value is None


def test_activation_is_applied_before_coding() -> None:
    model = make_model()
    policy = Policy(layers={"1.norm": LayerPolicy(spec=RELU6_SPEC, activation="relu6")})
    maps: dict[str, torch.Tensor] = {}
    model[1].norm.register_forward_hook(lambda _, __, output: maps.__setitem__("norm", output))
    model[1].relu.register_forward_hook(lambda _, __, output: maps.__setitem__("relu", output))
    model(IMAGES)
    expected = simulate(maps["norm"].clamp(0, 6), RELU6_SPEC)
    with wrap(model, policy):
        model(IMAGES)
    assert torch.equal(maps["relu"], expected.clamp(0, 6))


def test_statistics() -> None:
    model = make_model()
    policy = make_policy()
    inputs: list[torch.Tensor] = []
    model[1].conv.register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
    with wrap(model, policy) as session:
        model(IMAGES)
        model(IMAGES[:1])
    assert [layer.name for layer in session.stats] == ["1.conv", "1.norm", "2.norm"]
    first = session.stats[0]
    assert first.frames == 2
    assert first.shape == (1, 12, 10, 8)
    assert first.values == 3 * 12 * 10 * 8
    assert first.raw_bytes == 4 * first.values
    frames = [encode(x, SPEC) for x in inputs]
    assert first.coded_bits == 8 * sum(map(len, frames))
    assert sum(first.section_bits.values()) == first.coded_bits
    assert first.bits_per_value == first.coded_bits / first.values
    exact = torch.cat(inputs).double()
    decoded = torch.cat([simulate(x, SPEC) for x in inputs]).double()
    signal, error = exact.square().sum().item(), (decoded - exact).square().sum().item()
    assert first.signal_energy == pytest.approx(signal, rel=1e-12)
    assert first.error_energy == pytest.approx(error, rel=1e-12)
    assert first.snr_db == pytest.approx(10 * math.log10(signal / error), rel=1e-12)
    assert first.zeros == int((decoded == 0).sum())
    assert first.encode_seconds > 0
    assert first.decode_seconds > 0

    totals = session.totals()
    assert totals.layers == 3
    assert totals.coded_bits == sum(layer.coded_bits or 0 for layer in session.stats)
    assert totals.section_bits["payload"] == sum(layer.section_bits["payload"] for layer in session.stats)
    assert totals.encode_gb_per_s is not None
    assert totals.decode_gb_per_s is not None
    session.reset()
    assert session.stats == []
    assert session.totals().values == 0
    assert session.totals().encode_gb_per_s is None


def test_count_bits_in_simulation() -> None:
    model = make_model()
    with wrap(model, make_policy()) as coded:
        model(IMAGES)
    with wrap(model, make_policy(), mode="simulate", count_bits=True) as simulated:
        model(IMAGES)
    assert [layer.coded_bits for layer in simulated.stats] == [layer.coded_bits for layer in coded.stats]
    assert [layer.error_energy for layer in simulated.stats] == [layer.error_energy for layer in coded.stats]


def test_half_precision_maps_keep_their_dtype() -> None:
    model = nn.Sequential(nn.Identity(), nn.Identity())
    policy = Policy(layers={"0": LayerPolicy(spec=CodecSpec(step=0.01, zero_point=128))})
    for dtype in DTYPES:
        x = (IMAGES * 2).to(dtype)
        with wrap(model, policy) as session:
            y = model(x)
        assert y.dtype == dtype
        assert torch.equal(y, simulate(x, policy.layers["0"].spec))
        assert session.stats[0].dtype == str(dtype).removeprefix("torch.")


def test_unknown_layers() -> None:
    policy = Policy(layers={"1.nrom": LayerPolicy(spec=SPEC)})
    with pytest.raises(ValueError, match=r"no module '1\.nrom'; close names: 1\.norm"):
        wrap(make_model(), policy)
    shared = nn.ReLU()
    with pytest.raises(ValueError, match="'0' and '1' are the same module"):
        wrap(nn.Sequential(shared, shared), Policy(layers={str(n): LayerPolicy(spec=SPEC) for n in range(2)}))
    with pytest.raises(ValueError, match="mode"):
        wrap(make_model(), policy, mode="codecs")  # type: ignore[arg-type]


class Two(nn.Module):
    """A module with two inputs and two outputs."""

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x, y


class UsesTwo(nn.Module):
    """A model that calls `Two`."""

    def __init__(self) -> None:
        super().__init__()
        self.two = Two()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a, b = self.two(x, x)
        return a + b


@pytest.mark.parametrize("where", ["input", "output"])
def test_only_single_tensors_are_coded(where: Any) -> None:
    model = UsesTwo()
    policy = Policy(layers={"two": LayerPolicy(spec=SPEC, where=where)})
    with wrap(model, policy), pytest.raises(TypeError, match=f"the {where} of 'two' must be a single tensor"):
        model(IMAGES)


def test_only_maps_of_four_axes_are_coded() -> None:
    model = nn.Sequential(nn.Flatten())
    with wrap(model, Policy(layers={"0": LayerPolicy(spec=SPEC)})), pytest.raises(ValueError, match=r"\(N, C, H, W\)"):
        model(IMAGES)


def test_other_devices_need_permission() -> None:
    model = nn.Sequential(nn.Identity())
    policy = Policy(layers={"0": LayerPolicy(spec=SPEC)})
    with wrap(model, policy), pytest.raises(ValueError, match="allow_device_copy=True"):
        model(IMAGES.to("meta"))
