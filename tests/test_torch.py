"""The torch layer: simulation against the codec bit for bit, and sessions that leave models as they were."""

from __future__ import annotations

import copy
import math
import pickle
import subprocess
import sys
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from torch import nn
from torch_cases import DTYPES, bits_of, cases

from fmcodec import Basis, decode, encode
from fmcodec.errors import NonFiniteError
from fmcodec.policy import LayerPolicy, Policy
from fmcodec.spec import CodecSpec
from fmcodec.torch import simulate, wrap


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
    with pytest.raises(TypeError, match="not float64"):
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


def test_copies_of_a_wrapped_model_are_as_it_was() -> None:
    model = make_model()
    plain = model(IMAGES)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    with wrap(model, make_policy()) as session:
        coded = model(IMAGES)
        copies = [copy.deepcopy(model), pickle.loads(pickle.dumps(model))]
        for copied in copies:
            assert torch.equal(copied(IMAGES), plain)
        assert [layer.frames for layer in session.stats] == [1, 1, 1]
        assert model.state_dict().keys() == state.keys()
        fresh = make_model()
        assert not fresh.load_state_dict(model.state_dict()).missing_keys
        model.load_state_dict(fresh.state_dict())
        assert torch.equal(model(IMAGES), coded)
    for copied in copies:
        assert torch.equal(copied(IMAGES), plain)
        with wrap(copied, make_policy()):
            assert torch.equal(copied(IMAGES), coded)
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def test_models_compiled_in_a_session_are_coded_until_its_end() -> None:
    model = make_model()
    plain = model(IMAGES)
    compiled = torch.compile(model, backend="aot_eager")
    with torch.no_grad():
        with wrap(model, make_policy()) as session:
            assert torch.equal(compiled(IMAGES), model(IMAGES))
        assert torch.equal(compiled(IMAGES), plain)
    assert [layer.frames for layer in session.stats] == [2, 2, 2]


def test_torch_is_an_extra() -> None:
    code = "import sys; sys.modules['torch'] = None; import fmcodec.torch"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.stderr.splitlines()[-1] == (
        "ModuleNotFoundError: fmcodec.torch needs PyTorch: pip install 'fmcodec[torch]'"
    )


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
    with pytest.raises(ValueError, match=r"no module 'head', so the policy may be of another network"):
        wrap(make_model(), Policy(layers={"head": LayerPolicy(spec=SPEC)}))
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
