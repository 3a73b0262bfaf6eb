"""ONNX models for tests: written down node by node, or traced from torch modules operation by operation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import torch
from onnx import ModelProto, TensorProto, helper, numpy_helper
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

OPSET = 17


def make_model(
    nodes: Sequence[onnx.NodeProto],
    inputs: dict[str, Sequence[int | str | None]],
    outputs: dict[str, Sequence[int | str | None] | None],
    weights: dict[str, np.ndarray[Any, Any]] | None = None,
    *,
    opset: int = OPSET,
    dtype: int = TensorProto.FLOAT,
) -> ModelProto:
    """A checked model of float32 inputs and outputs, unless another dtype is given."""
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info(name, dtype, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, dtype, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(value, name) for name, value in (weights or {}).items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


class _Exporter(TorchDispatchMode):
    """Writes down the operations of a forward pass as nodes whose results are t0, t1, ..."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.nodes: list[onnx.NodeProto] = []
        self.weights: dict[str, np.ndarray[Any, Any]] = {}
        self._kept: list[torch.Tensor] = []
        self._names = {id(x): name for name, x in (*model.named_parameters(), *model.named_buffers())}
        self._values = dict((*model.named_parameters(), *model.named_buffers()))
        self._count = 0

    def set_name(self, x: torch.Tensor, name: str) -> None:
        self._names[id(x)] = name

    def name(self, x: torch.Tensor) -> str:
        name = self._names[id(x)]
        if name in self._values:
            self.weights[name] = self._values[name].detach().numpy()
        return name

    def _weight(self, values: Any, dtype: type) -> str:
        self._count += 1
        self.weights[f"constant{self._count}"] = np.array(values, dtype)
        return f"constant{self._count}"

    def _emit(self, result: torch.Tensor, operator: str, *inputs: str, **attributes: Any) -> None:
        output = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [output], **attributes))
        self._kept.append(result)
        self.set_name(result, output)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        kind = func._schema.name.removeprefix("aten::").removesuffix("_")
        names = [self.name(x) if id(x) in self._names else "" for x in args if isinstance(x, torch.Tensor)]
        if kind == "convolution":
            x, weight, bias, stride, padding, dilation, _, _, groups = args
            inputs = [self.name(tensor) for tensor in (x, weight, bias) if tensor is not None]
            pads = [*padding, *padding]
            attributes = {"strides": stride, "pads": pads, "dilations": dilation, "group": groups}
            self._emit(result, "Conv", *inputs, **attributes)
        elif kind == "native_batch_norm":
            self._emit(result[0], "BatchNormalization", *names, epsilon=args[7])
        elif kind == "constant_pad_nd":
            left, right, top, bottom = args[1]
            self._emit(result, "Pad", *names, self._weight([0, 0, top, left, 0, 0, bottom, right], np.int64))
        elif kind == "relu":
            self._emit(result, "Relu", *names)
        elif kind == "hardtanh":
            low, high = (args[1:] + (-1.0, 1.0)[len(args) - 1 :])[:2]
            self._emit(result, "Clip", *names, self._weight(low, np.float32), self._weight(high, np.float32))
        elif kind == "add":
            self._emit(result, "Add", *names)
        elif kind == "mul":
            self._emit(result, "Mul", *names, self._weight(args[1], np.float32))
        elif kind == "mean":
            self._emit(result, "GlobalAveragePool", *names)
        elif kind in ("view", "_unsafe_view"):
            self._emit(result, "Flatten", *names)
        elif kind == "t":
            self._emit(result, "Transpose", *names, perm=[1, 0])
        elif kind == "addmm":
            self._emit(result, "Gemm", names[1], names[2], names[0])
        elif kind == "mm":
            self._emit(result, "MatMul", *names)
        elif kind == "max_pool2d_with_indices":
            size, stride = args[1], args[2] if len(args) > 2 and args[2] else args[1]
            self._emit(result[0], "MaxPool", *names, kernel_shape=size, strides=stride)
        elif isinstance(result, torch.Tensor) and names and names[0]:
            raise NotImplementedError(kind)
        return result


def from_torch(model: nn.Module, example: torch.Tensor, *, batch: int | str = "N") -> ModelProto:
    """The model as ONNX, its input named "x", its output "y", results of operations "t0", "t1", ..."""
    exporter = _Exporter(model)
    with torch.no_grad(), exporter:
        exporter.set_name(example, "x")
        output = model(example)
    exporter.nodes.append(helper.make_node("Identity", [exporter.name(output)], ["y"]))
    inputs, outputs = {"x": [batch, *example.shape[1:]]}, {"y": [batch, *output.shape[1:]]}
    return make_model(exporter.nodes, inputs, outputs, exporter.weights)


def residual_model() -> ModelProto:
    """A residual block by hand: a shortcut around two convolutions, pooling, and classes."""
    rng = np.random.default_rng(0)
    weights = {
        "w0": rng.standard_normal((6, 3, 3, 3)).astype(np.float32),
        "w1": rng.standard_normal((6, 6, 3, 3)).astype(np.float32) / 8,
        "w2": rng.standard_normal((6, 6, 3, 3)).astype(np.float32) / 8,
        "w3": rng.standard_normal((6, 4)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w0"], ["stem/conv.0"], pads=[1] * 4),
        helper.make_node("Relu", ["stem/conv.0"], ["stem/relu"]),
        helper.make_node("Conv", ["stem/relu", "w1"], ["block.conv1"], pads=[1] * 4),
        helper.make_node("Relu", ["block.conv1"], ["block.relu1"]),
        helper.make_node("Conv", ["block.relu1", "w2"], ["block.conv2"], pads=[1] * 4),
        helper.make_node("Add", ["block.conv2", "stem/relu"], ["block"]),
        helper.make_node("Relu", ["block"], ["block.relu2"]),
        helper.make_node("GlobalAveragePool", ["block.relu2"], ["pool"]),
        helper.make_node("Flatten", ["pool"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w3"], ["y"]),
    ]
    return make_model(nodes, {"x": ["N", 3, 8, 8]}, {"y": ["N", 4]}, weights)


class Branches(nn.Module):
    """Two branches of unlike depth with a sum before an activation."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.left, self.right, self.deeper = nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 1)
        self.act, self.head = nn.ReLU6(), nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.norm(self.stem(x)))
        x = nn.functional.max_pool2d(x, 2)
        x = self.act(self.left(x) + self.deeper(torch.relu(self.right(x))))
        logits: torch.Tensor = self.head(x.mean((2, 3), keepdim=True).flatten(1))
        return logits
