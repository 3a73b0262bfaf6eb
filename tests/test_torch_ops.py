"""Operators of torch: equal to the codec, checked by torch itself, compiled, exported, and with gradients."""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from torch import nn
from torch_cases import bits_of, cases

import fmcodec
from fmcodec.spec import CodecSpec
from fmcodec.torch import CodeMap, code, decode, encode, simulate

SPEC = CodecSpec(step=0.1, zero_point=100)
KLT_SPEC = fmcodec.klt_spec(
    fmcodec.klt.PrincipalComponents(np.eye(4), np.full(4, 1.0), np.zeros(4)), step=0.1, low=-3.0, high=3.0
)
OPS: Any = torch.ops.fmcodec


def maps() -> list[torch.Tensor]:
    """A map with gradient, one with channels last, one of half precision without N, and an empty one."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 4, 5, 6, generator=generator)
    last = x.contiguous(memory_format=torch.channels_last)
    return [x.clone().requires_grad_(), last, x[0].bfloat16(), x[:0]]


@given(cases())
def test_code_and_its_parts_equal_the_simulation(case: tuple[torch.Tensor, CodecSpec, str]) -> None:
    x, spec, layout = case
    # The operators know channels that are last by their strides.
    x = x if layout == "nchw" else x.movedim(-1, -3)
    expected = simulate(x, spec)
    coded = code(x, spec)
    assert coded.dtype == x.dtype
    assert coded.stride() == torch.empty_like(x).stride()
    assert torch.equal(bits_of(coded), bits_of(expected))
    frame = encode(x, spec, embed_spec=False)
    assert frame.numpy().tobytes() == fmcodec.encode(x, spec, embed_spec=False)
    assert torch.equal(bits_of(decode(frame, x.shape, x.dtype, spec=spec)), bits_of(expected))


@pytest.mark.parametrize("spec", [SPEC, KLT_SPEC], ids=["identity", "klt"])
def test_operators_pass_the_checks_of_torch(spec: CodecSpec) -> None:
    text = spec.to_json()
    for x in maps() if spec == SPEC else maps()[:1]:
        torch.library.opcheck(OPS.code.default, (x, text, 1))
        torch.library.opcheck(OPS.encode.default, (x.detach(), text, 1, True))
        frame = encode(x.detach(), spec)
        torch.library.opcheck(OPS.decode.default, (frame, list(x.shape), x.dtype, None, 1))


def test_gradient_is_1_in_the_range_of_levels_and_0_outside() -> None:
    spec = CodecSpec(step=0.5, bits=4, zero_point=4, nonfinite="clamp")  # levels from -2 to 5.5
    values = [-2.1, -2.0, 0.2, 5.5, 5.6, math.nan, math.inf]
    x = torch.tensor(values).reshape(1, 1, -1).requires_grad_()
    y = code(x, spec)
    y.backward(torch.arange(1.0, 8.0).reshape(1, 1, -1))
    assert y.flatten().tolist() == [-2.0, -2.0, 0.0, 5.5, 5.5, 0.0, 5.5]
    assert x.grad is not None
    assert x.grad.flatten().tolist() == [0.0, 2.0, 3.0, 4.0, 0.0, 0.0, 0.0]


def make_model() -> nn.Sequential:
    torch.manual_seed(2)
    return nn.Sequential(nn.Conv2d(3, 4, 3), CodeMap(SPEC, "relu"), nn.Conv2d(4, 2, 3), CodeMap(SPEC))


IMAGES = torch.linspace(-1, 1, 2 * 3 * 8 * 9).reshape(2, 3, 8, 9).sin()


def test_models_compile_to_one_graph_forward_and_backward() -> None:
    eager, model = make_model(), make_model()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    for images in (IMAGES, IMAGES[:1], IMAGES[..., :7].contiguous(memory_format=torch.channels_last)):
        expected, output = eager(images), compiled(images)
        assert torch.equal(output, expected)
        expected.square().sum().backward()
        output.square().sum().backward()
    for ours, theirs in zip(model.parameters(), eager.parameters(), strict=True):
        assert ours.grad is not None and theirs.grad is not None
        assert torch.allclose(ours.grad, theirs.grad, rtol=1e-5)
    # Another spec is another graph.
    model[1].spec = eager[1].spec = SPEC.replace(step=0.5)
    assert torch.equal(compiled(IMAGES), eager(IMAGES))


def test_frames_pass_through_compiled_functions() -> None:
    def store(x: torch.Tensor) -> torch.Tensor:
        frame = encode(x, SPEC)
        return decode(frame, x.shape, x.dtype) + len(frame)

    x = maps()[1]
    frame_bytes = len(fmcodec.encode(x, SPEC))
    compiled = torch.compile(store, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(x), simulate(x, SPEC) + frame_bytes)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch, in its own modules
def test_inductor_compiles_the_operator() -> None:
    compiled = torch.compile(lambda x: code(torch.relu(x), SPEC) + 1, fullgraph=True)
    x = maps()[1]
    assert torch.equal(compiled(x), simulate(torch.relu(x), SPEC) + 1)


def test_exported_programs_hold_the_operator_and_its_spec() -> None:
    model = make_model()
    program = torch.export.export(model, (IMAGES,))
    assert [node.target for node in program.graph.nodes].count(OPS.code.default) == 2
    file = io.BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    assert torch.equal(torch.export.load(file).module()(IMAGES), model(IMAGES))


def test_specs_are_part_of_the_state() -> None:
    model = make_model()
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    fresh = nn.Sequential(nn.Conv2d(3, 4, 3), CodeMap(KLT_SPEC), nn.Conv2d(4, 2, 3), CodeMap(KLT_SPEC))
    fresh.load_state_dict(torch.load(file, weights_only=True))
    assert (fresh[1].spec, fresh[1].activation, fresh[3].activation) == (SPEC, "relu", "none")
    assert torch.equal(fresh(IMAGES), model(IMAGES))
    assert repr(fresh[1]) == "CodeMap(CodecSpec(step=0.10000000149011612, zero_point=100), activation='relu')"
    with pytest.raises(RuntimeError, match=r"Missing key.*1\._extra_state"):
        fresh.load_state_dict(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3)).state_dict())
    newer = torch.frombuffer(bytearray(b'{"schema_version": 2, "layers": {}}'), dtype=torch.uint8)
    with pytest.raises(fmcodec.UnsupportedVersionError, match="schema_version 2; this fmcodec reads version 1"):
        fresh[1].set_extra_state(newer)


def test_half_precision_of_autocast_and_channels_last_are_kept() -> None:
    model = make_model().to(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        y = model(IMAGES.contiguous(memory_format=torch.channels_last))
    assert y.dtype == torch.bfloat16
    assert y.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("function", [code, encode])
def test_wrong_maps_are_refused(function: Any) -> None:
    x = torch.zeros(1, 2, 3, 4)
    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
    for call in (function, compiled):
        with pytest.raises(Exception, match=r"dtype must be one of .*, not float64: call \.float\(\) first"):
            call(x.double(), SPEC)
        with pytest.raises(Exception, match=r"axes \(C, H, W\) or \(N, C, H, W\), not shape \((3|s\d+), "):
            call(x[0, 0], SPEC)
    with pytest.raises(TypeError, match="must be a CodecSpec, not dict"):
        function(x, {"step": 0.1})
    with pytest.raises(fmcodec.NonFiniteError, match="NaN or infinity"):
        function(torch.full_like(x, math.nan), SPEC)
    with pytest.raises(ValueError, match="basis does not fit the levels or the 2 channels"):
        function(x, KLT_SPEC)


def test_wrong_frames_are_refused() -> None:
    x = torch.rand(1, 2, 3, 4)
    frame = encode(x, SPEC, embed_spec=False)
    with pytest.raises(fmcodec.SpecMismatchError, match="external spec"):
        decode(frame, x.shape, x.dtype)
    with pytest.raises(ValueError, match=r"out must have shape \(1, 2, 3, 4\), not \(2, 3, 4\)"):
        decode(frame, x.shape[1:], x.dtype, spec=SPEC)
    with pytest.raises(TypeError, match="out must have dtype float32, not uint8"):
        decode(frame, x.shape, torch.uint8, spec=SPEC)
    frame[4] += 1
    with pytest.raises(fmcodec.UnsupportedVersionError, match=f"version {frame[4]} is not supported"):
        decode(frame, x.shape, x.dtype, spec=SPEC)
    for call in (lambda: fmcodec.decode(frame.to("meta")), lambda: fmcodec.encode(x.to("meta"), SPEC)):
        with pytest.raises(TypeError, match=r"CPU memory, not on meta: call \.cpu\(\) first"):
            call()
