"""ONNX: models cut into parts compute what they did, and maps are found, coded and counted as in torch."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given
from onnx import ModelProto, TensorProto, helper
from onnx_models import Branches, from_torch, make_model, residual_model
from torch import nn

import fmcodec
from fmcodec import CodecSpec
from fmcodec.onnx import CompressedSession, OnnxModule, feature_maps
from fmcodec.onnx.graph import logits_of, reads
from fmcodec.onnx.split import split
from fmcodec.policy import LayerPolicy, Policy
from fmcodec.torch import wrap

Array = np.ndarray[Any, Any]
SHAPE = (2, 2, 5, 5)
node = helper.make_node


def whole(model: ModelProto, feed: dict[str, Array], *extra: str) -> list[Array]:
    """All outputs, and extra tensors, of onnxruntime without fusions."""
    tapped = ModelProto()
    tapped.CopyFrom(model)
    known = {value.name for value in model.graph.output}
    tapped.graph.output.extend(onnx.ValueInfoProto(name=name) for name in extra if name not in known)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(tapped.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [*(value.name for value in model.graph.output), *extra]
    found: list[Array] = session.run(names, feed)
    return found


def images(count: int = 2, channels: int = 3, size: int = 8, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal((count, channels, size, size)).astype(np.float32)


# --- parts


@st.composite
def random_models(draw: st.DrawFn) -> tuple[ModelProto, list[str], list[str]]:
    """A graph of convolutions, sums and activations, some of its tensors, and its outputs."""
    count = draw(st.integers(2, 9))
    nodes, known = [node("Constant", [], ["bound"], value_float=0.25)], ["x"]
    for index in range(count):
        first, second = (draw(st.sampled_from(known)) for _ in range(2))
        kind = draw(st.sampled_from(["Conv", "Relu", "Add", "Max"]))
        inputs = {"Conv": [first, "w"], "Relu": [first], "Add": [first, second], "Max": [first, "bound"]}[kind]
        nodes.append(node(kind, inputs, [f"t{index}"], **({"pads": [1] * 4} if kind == "Conv" else {})))
        known.append(f"t{index}")
    computed = known[1:]
    tensors = draw(st.lists(st.sampled_from(computed), unique=True))
    outputs = draw(st.lists(st.sampled_from(computed), unique=True, min_size=1))
    weights = {"w": np.random.default_rng(count).standard_normal((2, 2, 3, 3)).astype(np.float32)}
    return make_model(nodes, {"x": SHAPE}, {name: SHAPE for name in outputs}, weights), tensors, outputs


@given(random_models())
def test_parts_compute_what_the_whole_does(drawn: tuple[ModelProto, list[str], list[str]]) -> None:
    model, tensors, outputs = drawn
    feed = {"x": images(2, 2, 5)}
    module = OnnxModule(model, tensors, optimize=False)
    seen: dict[str, Array] = {}
    for name, place in list(module.named_modules())[1:]:

        def keep(_: nn.Module, __: object, y: torch.Tensor, name: str = name) -> None:
            seen[name] = y.numpy().copy()

        place.register_forward_hook(keep)
    found = module.run(feed)
    assert set(found) == set(outputs)
    expected = whole(model, feed, *tensors)
    for name, value in zip([*outputs, *tensors], expected, strict=True):
        np.testing.assert_array_equal(found[name] if name in found else seen[name], value)
    assert set(seen) == set(tensors)
    parts = split(model, tensors)
    made = [name for part in parts for one in part.model.graph.node for name in one.output if name != "bound"]
    assert len(made) == len(set(made))
    assert {*tensors, *outputs} <= set(made)
    for part in parts:
        # Nothing in the part of a named tensor reads it before it was coded.
        assert not {name for one in part.model.graph.node for name in reads(one)} & set(part.maps)


def test_without_tensors_there_is_one_part() -> None:
    (part,) = split(residual_model(), [])
    assert (part.inputs, part.outputs, part.maps) == (("x",), ("y",), ())
    assert [len(split(residual_model(), names)) for names in (["stem/relu"], ["block", "stem/relu"])] == [2, 3]


def test_what_follows_from_weights_is_in_each_part_that_reads_it_and_random_numbers_in_one() -> None:
    scale = {"w8": np.array([[1, -2], [3, 4]], np.int8).reshape(2, 2, 1, 1), "s": np.array(0.5, np.float32)}
    nodes = [
        node("DequantizeLinear", ["w8", "s"], ["w"]),
        node("RandomNormal", [], ["noise"], shape=[1, 2, 3, 3]),
        node("Conv", ["x", "w"], ["a"]),
        node("Conv", ["a", "w"], ["b"]),
        node("Add", ["b", "noise"], ["c"]),
        node("Sub", ["c", "noise"], ["y"]),
    ]
    model = make_model(nodes, {"x": [1, 2, 3, 3]}, {"y": [1, 2, 3, 3]}, scale)
    parts = split(model, ["a", "c"])
    operators = [[one.op_type for one in part.model.graph.node] for part in parts]
    assert operators == [["DequantizeLinear", "RandomNormal", "Conv"], ["DequantizeLinear", "Conv", "Add"], ["Sub"]]
    x = np.arange(18, dtype=np.float32).reshape(1, 2, 3, 3)
    weight = np.array([[0.5, -1], [1.5, 2]], np.float32)
    expected = np.einsum("oc,nchw->nohw", weight @ weight, x)
    np.testing.assert_allclose(OnnxModule(model, ["a", "c"]).run({"x": x})["y"], expected, atol=1e-5)


def test_subgraphs_read_coded_tensors_of_outside() -> None:
    value = helper.make_tensor_value_info("chosen", TensorProto.FLOAT, [1, 1, 2, 2])
    branches = [
        helper.make_graph([node(kind, ["map", "map"], ["chosen"])], kind, [], [value]) for kind in ("Add", "Sub")
    ]
    nodes = [
        node("Relu", ["x"], ["map"]),
        node("ReduceMax", ["x"], ["most"], keepdims=0),
        node("Cast", ["most"], ["flag"], to=TensorProto.BOOL),
        node("If", ["flag"], ["y"], then_branch=branches[0], else_branch=branches[1]),
    ]
    model = make_model(nodes, {"x": [1, 1, 2, 2]}, {"y": [1, 1, 2, 2]})
    session = CompressedSession(model, Policy(layers={"map": LayerPolicy(CodecSpec(step=1.0))}))
    (y,) = session.run(None, {"x": np.array([[[[0.4, 0.6], [1.6, -3.0]]]], np.float32)})
    np.testing.assert_array_equal(y, [[[[0, 2], [4, 0]]]])


# --- coding


def test_coded_tensors_have_the_values_and_bits_of_the_codec() -> None:
    model, x = residual_model(), images()
    relu, block = CodecSpec(step=0.5), CodecSpec(step=0.25, transform="dct", transform_size=4)
    policy = Policy(layers={"stem/conv.0": LayerPolicy(relu, activation="relu"), "block": LayerPolicy(block)})
    session = CompressedSession(model, policy, optimize=False)
    (y,) = session.run(None, {"x": x})
    # The rest of the model by hand: its parts as models of their own, with maps from the codec between them.
    (stem,) = whole(from_part(model, ["x"], ["stem/conv.0"]), {"x": x})
    stem_frame = fmcodec.encode(np.maximum(stem, 0), relu)
    stem_coded = fmcodec.decode(stem_frame)
    (total,) = whole(from_part(model, ["stem/conv.0"], ["block"]), {"stem/conv.0": stem_coded})
    block_frame = fmcodec.encode(total, block)
    (expected,) = whole(from_part(model, ["block"], ["y"]), {"block": fmcodec.decode(block_frame)})
    np.testing.assert_array_equal(y, expected)
    first, second = session.stats
    assert (first.name, first.shape, first.coded_bits) == ("stem/conv.0", (2, 6, 8, 8), 8 * len(stem_frame))
    assert (second.name, second.coded_bits) == ("block", 8 * len(block_frame))
    assert session.totals().coded_bits == 8 * (len(stem_frame) + len(block_frame))
    session.reset()
    assert session.stats == []


def from_part(model: ModelProto, inputs: list[str], outputs: list[str]) -> ModelProto:
    """The part of a model between tensors, by the package onnx."""
    extractor = onnx.utils.Extractor(onnx.shape_inference.infer_shapes(model))
    part: ModelProto = extractor.extract_model(inputs, outputs)
    return part


def test_torch_and_onnx_agree_to_the_bit_where_arithmetic_is_exact() -> None:
    # Small integers: no sum is rounded, in whatever order it is taken.
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 6, 3), nn.ReLU(), nn.Conv2d(6, 4, 1)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randint(-3, 4, parameter.shape))
    x = torch.randint(-8, 9, (3, 3, 10, 10)).float()
    exported = from_torch(model, x[:1])
    first, second = [entry.name for entry in feature_maps(exported) if entry.is_stored]
    layers = [
        LayerPolicy(CodecSpec(step=8.0), activation="relu"),
        LayerPolicy(CodecSpec(step=64.0, zero_point=128, permutation=(5, 4, 3, 2, 1, 0))),
    ]
    with wrap(model, Policy(layers=dict(zip(["0", "2"], layers, strict=True)))) as session, torch.no_grad():
        expected = model(x)
    compressed = CompressedSession(exported, Policy(layers=dict(zip([first, second], layers, strict=True))))
    (y,) = compressed.run(["y"], {"x": x.numpy()})
    np.testing.assert_array_equal(y, expected.numpy())
    for mine, other in zip(compressed.stats, session.stats, strict=True):
        assert mine.error_energy > 0
        for field in ("shape", "coded_bits", "section_bits", "zeros", "signal_energy", "error_energy"):
            assert getattr(mine, field) == getattr(other, field)


def test_an_empty_policy_runs_the_model_as_it_is() -> None:
    model, x = residual_model(), images()
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    compressed = CompressedSession(model, Policy(layers={}))
    np.testing.assert_array_equal(compressed.run(["y"], {"x": x})[0], session.run(["y"], {"x": x})[0])
    assert compressed.stats == []


def test_outputs_that_are_coded_and_their_order() -> None:
    nodes = [node("Relu", ["x"], ["a"]), node("Neg", ["a"], ["b"])]
    model = make_model(nodes, {"x": [1, 1, 1, 2]}, {"a": [1, 1, 1, 2], "b": [1, 1, 1, 2]})
    session = CompressedSession(model, Policy(layers={"a": LayerPolicy(CodecSpec(step=1.0))}))
    feed = {"x": np.array([[[[2.7, -1.0]]]], np.float32)}
    a, b = session.run(None, feed)
    np.testing.assert_array_equal(a, [[[[3, 0]]]])
    np.testing.assert_array_equal(b, -a)
    np.testing.assert_array_equal(session.run(["b"], feed)[0], b)
    with pytest.raises(ValueError, match="no output c, only a, b"):
        session.run(["c"], feed)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.float16])
def test_other_dtypes(dtype: type[np.generic]) -> None:
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    nodes = [node("Identity", ["x"], ["map"]), node("Transpose", ["map"], ["y"], perm=[0, 1, 3, 2])]
    model = make_model(nodes, {"x": [1, 2, 4, 4]}, {"y": [1, 2, 4, 4]}, dtype=kind)
    x = np.arange(32).reshape(1, 2, 4, 4).astype(dtype)
    session = CompressedSession(model, Policy(layers={"map": LayerPolicy(CodecSpec(step=1.0, zero_point=0))}))
    np.testing.assert_array_equal(session.run(None, {"x": x})[0], x.transpose(0, 1, 3, 2))
    assert session.stats[0].dtype == np.dtype(dtype).name
    assert session.stats[0].raw_bytes == x.nbytes


def test_models_of_an_old_version_list_weights_as_inputs() -> None:
    nodes = [node("Conv", ["x", "w"], ["map"]), node("Conv", ["map", "w"], ["y"])]
    weights = {"w": np.full((1, 1, 1, 1), 3, np.float32)}
    model = make_model(nodes, {"x": [1, 1, 2, 2], "w": [1, 1, 1, 1]}, {"y": [1, 1, 2, 2]}, weights, opset=7)
    model.ir_version = 3
    session = CompressedSession(model, Policy(layers={"map": LayerPolicy(CodecSpec(step=2.0))}))
    assert [entry.name for entry in session.inputs] == ["x"]
    np.testing.assert_array_equal(
        session.run(None, {"x": np.ones((1, 1, 2, 2), np.float32)})[0], np.full((1, 1, 2, 2), 12)
    )


# --- the module


def test_extents_below_0_are_open() -> None:
    model = residual_model()
    for axis, extent in zip(model.graph.input[0].type.tensor_type.shape.dim, (-1, 3, -1, -1), strict=True):
        axis.dim_value = extent
    module = OnnxModule(model, ["block"])
    assert module.inputs[0].shape == (None, 3, None, None)
    assert feature_maps(model)[0].shape == (None, 6, None, None)
    assert module(torch.from_numpy(images(3, size=11))).shape == (3, 4)


def test_a_model_for_one_image_runs_batches_in_pieces() -> None:
    torch.manual_seed(0)
    model = Branches().eval()
    x = torch.randn(4, 3, 8, 8)
    name = feature_maps(from_torch(model, x[:1]))[0].name
    alone = OnnxModule(from_torch(model, x[:1], batch=1), [name])
    together = OnnxModule(from_torch(model, x[:1]), [name])
    shapes: list[torch.Size] = []
    dict(alone.named_modules())[name].register_forward_hook(lambda _, __, y: shapes.append(y.shape))
    y = alone(x)
    assert shapes == [(1, 8, 8, 8)] * 4
    torch.testing.assert_close(y, together(x))
    torch.testing.assert_close(y, model(x).detach())
    pair = OnnxModule(from_torch(model, x[:1], batch=2))
    with pytest.raises(ValueError, match=r"float32 of 2 x 3 x 8 x 8, not float32 of 3 x 3 x 8 x 8"):
        pair(x[:3])


def test_modules_can_be_copied_and_their_states_tell_weights_apart() -> None:
    model, x = residual_model(), torch.from_numpy(images())
    module = OnnxModule(model, ["block"])
    y = module(x)
    for other in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert torch.equal(other(x), y)
        assert torch.equal(other.state_dict()["digest"], module.state_dict()["digest"])
    changed = ModelProto()
    changed.CopyFrom(model)
    changed.graph.initializer[0].raw_data = (
        changed.graph.initializer[1].raw_data[:4] + model.graph.initializer[0].raw_data[4:]
    )
    assert not torch.equal(OnnxModule(changed).state_dict()["digest"], module.state_dict()["digest"])


def test_a_softmax_at_the_end_is_no_part_of_the_logits() -> None:
    model = residual_model()
    assert logits_of(model) == "y"
    model.graph.node.append(node("Softmax", ["y"], ["p"]))
    model.graph.output[0].name = "p"
    assert logits_of(model) == "y"
    x = images()
    (p,) = whole(model, {"x": x})
    logits = OnnxModule(model, outputs=["y"])(torch.from_numpy(x))
    np.testing.assert_allclose(torch.softmax(logits, 1).numpy(), p, rtol=1e-5)
    model.graph.output.append(helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 4]))
    with pytest.raises(ValueError, match="the outputs p, y"):
        logits_of(model)


# --- errors


def test_errors_of_models_and_names(tmp_path: Path) -> None:
    model = residual_model()
    with pytest.raises(ValueError, match=r"computes no tensor 'block\.conv'; close names: block\.conv"):
        OnnxModule(model, ["block.conv"])
    with pytest.raises(ValueError, match="'x' is an input of the model"):
        OnnxModule(model, ["x"])
    with pytest.raises(ValueError, match="computes no tensor 'w1'"):
        OnnxModule(model, ["w1"])
    (tmp_path / "text.onnx").write_text("this is no model")
    with pytest.raises(ValueError, match=r"text\.onnx is not a valid ONNX model"):
        feature_maps(tmp_path / "text.onnx")
    model.graph.node[0].input[1] = "w9"
    with pytest.raises(ValueError, match="the model is not a valid ONNX model"):
        CompressedSession(model, Policy(layers={}))


def test_errors_of_inputs() -> None:
    session = CompressedSession(residual_model(), Policy(layers={}))
    with pytest.raises(ValueError, match="the inputs of the model are x, not z"):
        session.run(None, {"z": images()})
    with pytest.raises(ValueError, match=r"is float32 of any x 3 x 8 x 8, not float64 of 2 x 3 x 8 x 8"):
        session.run(None, {"x": images().astype(np.float64)})
    with pytest.raises(ValueError, match="not float32 of 2 x 3 x 9 x 9"):
        session.run(None, {"x": images(size=9)})
    with pytest.raises(ValueError, match="1 inputs, not 2"):
        OnnxModule(residual_model())(torch.zeros(1), torch.zeros(1))


def test_errors_of_onnxruntime_are_value_errors() -> None:
    nodes = [node("Conv", ["x", "w"], ["y"])]
    weights = {"w": np.ones((1, 4, 1, 1), np.float32)}
    model = make_model(nodes, {"x": [1, "C", 2, 2]}, {"y": [1, 1, 2, 2]}, weights)
    with pytest.raises(ValueError, match="onnxruntime cannot run the model"):
        OnnxModule(model).run({"x": np.ones((1, 3, 2, 2), np.float32)})
    own = make_model([node("Relu", ["x"], ["y"])], {"x": [1]}, {"y": [1]})
    own.graph.node[0].domain = "own"
    own.opset_import.append(helper.make_opsetid("own", 1))
    with pytest.raises(ValueError, match="onnxruntime cannot load the model"):
        OnnxModule(own).run({"x": np.ones(1, np.float32)})


def test_only_maps_of_four_axes_are_coded() -> None:
    session = CompressedSession(residual_model(), Policy(layers={"flat": LayerPolicy(CodecSpec(step=1.0))}))
    with pytest.raises(ValueError, match=r"'flat' must have axes \(N, C, H, W\)"):
        session.run(None, {"x": images()})


def test_a_type_that_is_not_known_is_an_error() -> None:
    nodes = [node("Magic", ["x"], ["map"], domain="own"), node("Relu", ["map"], ["y"])]
    model = make_model([nodes[1]], {"map": [1, 1, 2, 2]}, {"y": [1, 1, 2, 2]})
    model.graph.node.insert(0, nodes[0])
    model.graph.input[0].name = "x"
    model.opset_import.append(helper.make_opsetid("own", 1))
    with pytest.raises(ValueError, match="does not find the type of 'map'"):
        OnnxModule(model, ["map"])
