"""ONNX graphs: files, the feature maps in them, and what a node reads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TypeProto, numpy_helper

from fmcodec.errors import close_names
from fmcodec.policy import Activation
from fmcodec.torch.dataflow import Dataflow, Operation, Role

Source = str | Path | ModelProto

# Operators by their `Role`; what is in no list reads a stored map. Quantization keeps what activations make of a map.
ROLES: dict[Role, set[str]] = {
    "convolution": {"Conv", "ConvTranspose", "ConvInteger", "QLinearConv"},
    "norm": {"BatchNormalization", "InstanceNormalization", "GroupNormalization", "LayerNormalization"},
    "sum": {"Add", "Sum"},
    "same": {"Identity", "Dropout", "Cast", "Concat", "QuantizeLinear", "DequantizeLinear"},
    "pointwise": {
        *("Sub", "Mul", "Div", "Neg", "Abs", "Exp", "Tanh", "Sigmoid", "Gelu", "Elu", "LeakyRelu", "PRelu", "Selu"),
        *("HardSigmoid", "HardSwish", "Softplus", "Mish", "Softmax", "LogSoftmax", "Relu", "Clip", "Max", "Min"),
        *("Reshape", "Flatten", "Transpose", "Slice", "Gather", "Squeeze", "Unsqueeze"),
        *("Resize", "Upsample", "DepthToSpace"),
    },
}

# With a constant, these are the bias of a convolution or a folded norm, which exporters write as nodes of their own.
AFFINE = {"Add", "Sub", "Mul", "Div"}


class MapTensor(msgspec.Struct, frozen=True, kw_only=True):
    """A tensor of four axes that a node of a model computes.

    Parameters
    ----------
    name
        Of the tensor, which is also how a policy names it.
    operator
        What computes it: ``"Conv"``.
    dtype
        Name of the numpy dtype.
    shape
        (N, C, H, W); None for each extent that the model leaves open.
    activation
        The activation that all its readers apply.
    is_stored
        Whether it is a stored feature map by the rules of docs/evaluation.md: what goes from a convolution to the next
        reader.
    """

    name: str
    operator: str
    dtype: str
    shape: tuple[int | None, int | None, int | None, int | None]
    activation: Activation
    is_stored: bool


def load_model(source: Source) -> ModelProto:
    """The model in a file, with its external data, or a model itself, checked.

    Raises
    ------
    ValueError
        The file holds no valid ONNX model.
    """
    try:
        model = source if isinstance(source, ModelProto) else onnx.load(source)
        onnx.checker.check_model(model)
    except (DecodeError, onnx.checker.ValidationError) as error:
        where = "the model" if isinstance(source, ModelProto) else str(source)
        raise ValueError(f"{where} is not a valid ONNX model: {error}") from error
    return model


def feature_maps(source: Source) -> list[MapTensor]:
    """The tensors of four axes that a model computes, in the order of its nodes, those inside of subgraphs left out.

    Parameters
    ----------
    source
        A file, or a model. Tensors whose rank shape inference does not find are not listed.

    Raises
    ------
    ValueError
        The file holds no valid ONNX model.
    """
    model = onnx.shape_inference.infer_shapes(load_model(source), data_prop=True)
    types, constants = tensor_types(model), constants_of(model.graph)
    numbers: dict[str, int] = {}
    operations = []
    for node in model.graph.node:
        read = tuple(numbers.setdefault(name, len(numbers)) for name in reads(node) if name not in constants)
        made = tuple(numbers.setdefault(name, len(numbers)) for name in node.output if name)
        activation = _activation(node, constants)
        operations.append(Operation(_role(node, len(read), activation), read, made, activation))
    names = list(numbers)
    flow = Dataflow(operations, [shape_of(types.get(name)) for name in names])
    stored = {names[flow.sum_before_activation(value)] for value in flow.convolutions()}
    found = []
    for node in model.graph.node:
        for name in node.output:
            shape = shape_of(types.get(name))
            if len(shape) == 4:
                found.append(
                    MapTensor(
                        name=name,
                        operator=node.op_type,
                        dtype=dtype_name(types[name]),
                        shape=shape,
                        activation=flow.activation(numbers[name]),
                        is_stored=name in stored,
                    )
                )
    return found


def logits_of(source: Source) -> str:
    """Name of the only output of a classifier, or of what a softmax makes it of.

    Raises
    ------
    ValueError
        The model has several outputs.
    """
    graph = load_model(source).graph
    if len(graph.output) != 1:
        names = ", ".join(value.name for value in graph.output)
        raise ValueError(f"the model has the outputs {names}; make an OnnxModule with one of them")
    (output,) = graph.output
    made_of = {name: node.input[0] for node in graph.node if node.op_type == "Softmax" for name in node.output}
    return str(made_of.get(output.name, output.name))


def reads(node: NodeProto) -> Iterator[str]:
    """Names of the tensors that a node reads, those that its subgraphs take from outside included."""
    yield from (name for name in node.input if name)
    for attribute in node.attribute:
        for graph in _subgraphs(attribute):
            own = {value.name for value in (*graph.input, *graph.initializer)}
            for inner in graph.node:
                yield from (name for name in reads(inner) if name not in own)
                own.update(inner.output)
            yield from (value.name for value in graph.output if value.name not in own)


def initializers_of(graph: GraphProto) -> set[str]:
    """Names of the weights of a graph."""
    return {value.name for value in graph.initializer} | {value.values.name for value in graph.sparse_initializer}


def inputs_of(graph: GraphProto) -> list[onnx.ValueInfoProto]:
    """The inputs that must be fed. Old models list their weights among the inputs, too."""
    known = initializers_of(graph)
    return [value for value in graph.input if value.name not in known]


def tensor_types(model: ModelProto) -> dict[str, TypeProto]:
    """Types of the values of a model for which shape inference has found one."""
    graph = model.graph
    return {value.name: value.type for value in (*graph.input, *graph.value_info, *graph.output)}


def dtype_name(kind: TypeProto) -> str:
    """Name of the numpy dtype of the elements of a tensor: ``"float32"``."""
    return str(onnx.helper.tensor_dtype_to_np_dtype(kind.tensor_type.elem_type))


def shape_of(kind: TypeProto | None) -> tuple[int | None, ...]:
    """Extents of a tensor, None where they are open, which some exporters write as -1; () if its rank is not known."""
    axes = () if kind is None else kind.tensor_type.shape.dim
    return tuple(axis.dim_value if axis.HasField("dim_value") and axis.dim_value >= 0 else None for axis in axes)


def require_tensors(model: ModelProto, names: Iterable[str]) -> None:
    """Checks that nodes of the model, outside of subgraphs, compute the tensors.

    Raises
    ------
    ValueError
        A tensor is unknown, an input, or a weight.
    """
    known = {name for node in model.graph.node for name in node.output if name}
    given = {value.name for value in inputs_of(model.graph)}
    for name in names:
        if name in known:
            continue
        if name in given:
            raise ValueError(f"{name!r} is an input of the model; only what it computes can be coded")
        raise ValueError(f"the model computes no tensor {name!r}{close_names(name, known)}")


def constants_of(graph: GraphProto) -> dict[str, Any]:
    """Weights and results of Constant nodes, by name, as tensors of ONNX, or None where they have another form."""
    found: dict[str, Any] = {name: None for name in initializers_of(graph)}
    found |= {value.name: value for value in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant":
            found[node.output[0]] = next((entry.t for entry in node.attribute if entry.name == "value"), None)
    return found


def _subgraphs(attribute: AttributeProto) -> Iterator[GraphProto]:
    if attribute.type == AttributeProto.GRAPH:
        yield attribute.g
    yield from attribute.graphs


def _role(node: NodeProto, tensor_count: int, activation: Activation | None) -> Role:
    """What a node is that reads so many tensors, constants left out."""
    if activation is not None:
        return "activation"
    if node.op_type in AFFINE and tensor_count == 1:
        return "norm"
    return next((role for role, operators in ROLES.items() if node.op_type in operators), "reader")


def _activation(node: NodeProto, constants: dict[str, Any]) -> Activation | None:
    """The activation that a node is, if it is one a policy knows."""
    if node.op_type == "Relu":
        return "relu"
    if node.op_type != "Clip":
        return None
    # Bounds were attributes until version 11 of the operator.
    bounds: dict[str, float | None] = {entry.name: entry.f for entry in node.attribute}
    for key, name in zip(("min", "max"), node.input[1:], strict=False):
        if name:
            bounds[key] = _number(constants.get(name))
            if bounds[key] is None:
                return None
    high = bounds.get("max", np.inf)
    if bounds.get("min") != 0 or high is None:
        return None
    if high == 6:
        return "relu6"
    return "relu" if high >= np.finfo(np.float32).max else None


def _number(value: Any) -> float | None:
    return None if value is None else float(numpy_helper.to_array(value))
