"""An ONNX model as a torch module that onnxruntime computes, with a place for hooks at each named tensor."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import torch
from onnxruntime.capi.onnxruntime_pybind11_state import (
    Fail,
    InvalidArgument,
    InvalidGraph,
    NotImplemented,
    RuntimeException,
)
from torch import nn

from fmcodec.onnx.graph import Source, dtype_name, inputs_of, load_model, shape_of
from fmcodec.onnx.split import Part, split

Array = npt.NDArray[Any]

# They have no base of their own.
RUNTIME_ERRORS = (Fail, InvalidArgument, InvalidGraph, NotImplemented, RuntimeException)

# What onnxruntime would print is in the errors, or is a warning about a model that others made.
FATAL_ONLY = 4


class ModelInput(NamedTuple):
    """What must be fed: name, numpy dtype, and extents, None where the model leaves them open."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]


class OnnxModule(nn.Module):
    """An ONNX model that hooks of torch can look into, so that all of fmcodec works on it.

    The model is cut at the named tensors (`fmcodec.onnx.split`), and onnxruntime runs the parts one after the other.
    Between them each named tensor passes an identity, which `named_modules` lists under the very name of the tensor:
    `fmcodec.torch.wrap`, `calibrate`, `evaluate` and `search` find it as the output of a module. No gradients pass.

    Parameters
    ----------
    source
        A file, or a model.
    tensors
        Names of tensors that the model computes, such as those of `feature_maps`.
    outputs
        Names of the outputs, instead of those of the model.
    threads
        Threads of onnxruntime for one operator.
    optimize
        Whether onnxruntime may fuse operators within a part. Sums of fused operators can be rounded in another order;
        without, every node gives the same bits however the model is cut.

    Raises
    ------
    ValueError
        The file holds no valid model, it computes no tensor of a name, or it cannot be cut; see `split`.
    """

    def __init__(
        self,
        source: Source,
        tensors: Iterable[str] = (),
        *,
        outputs: Sequence[str] | None = None,
        threads: int = 1,
        optimize: bool = True,
    ) -> None:
        super().__init__()
        model = load_model(source)
        self._places = {name: nn.Identity() for name in tensors}
        self._threads = threads
        self._optimize = optimize
        self._parts = split(model, list(self._places), outputs)
        self.output_names = [value.name for value in model.graph.output] if outputs is None else list(outputs)
        self.inputs = [_model_input(value) for value in inputs_of(model.graph)]
        # Stands for the weights where evaluations compare the states of modules.
        digest = hashlib.sha256(model.SerializeToString(deterministic=True)).digest()
        self.register_buffer("digest", torch.frombuffer(bytearray(digest), dtype=torch.uint8))
        self._sessions: list[Any] = []

    def named_modules(
        self, memo: set[nn.Module] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, nn.Module]]:
        """The module itself, and the places of the named tensors."""
        # Names of tensors may hold dots and slashes, which those of submodules must not.
        yield prefix, self
        for name, place in self._places.items():
            yield f"{prefix}.{name}" if prefix else name, place

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
        """The outputs, one tensor or a tuple, from tensors on the CPU in the order of the inputs of the model.

        If the model was made for a fixed number of images, batches of a multiple of it run in pieces.

        Raises
        ------
        ValueError
            The inputs do not fit those of the model, or onnxruntime cannot run it.
        """
        if len(inputs) != len(self.inputs):
            raise ValueError(f"the model has {len(self.inputs)} inputs, not {len(inputs)}")
        pieces = [
            self.run({entry.name: x.numpy() for entry, x in zip(self.inputs, piece, strict=True)})
            for piece in self._pieces([x.detach().cpu().contiguous() for x in inputs])
        ]
        joined = [
            torch.from_numpy(np.concatenate([piece[name] for piece in pieces]) if len(pieces) > 1 else pieces[0][name])
            for name in self.output_names
        ]
        return joined[0] if len(joined) == 1 else tuple(joined)

    def run(self, feed: Mapping[str, Array]) -> dict[str, Array]:
        """All outputs by name, from the inputs by name.

        Raises
        ------
        ValueError
            The inputs do not fit those of the model, or onnxruntime cannot run it.
        """
        self._check(feed)
        if not self._sessions:
            self._sessions = [self._session(part) for part in self._parts]
        values: dict[str, Array] = dict(feed)
        for part, session in zip(self._parts, self._sessions, strict=True):
            try:
                found = session.run(list(part.outputs), {name: values[name] for name in part.inputs})
            except RUNTIME_ERRORS as error:
                raise ValueError(f"onnxruntime cannot run the model: {error}") from error
            values.update(zip(part.outputs, found, strict=True))
            for name in part.maps:
                values[name] = self._passed(name, values[name])
            values = {name: value for name, value in values.items() if name in part.kept}
        return values

    def _passed(self, name: str, value: Array) -> Array:
        """A tensor after the hooks at its place."""
        x: torch.Tensor = self._places[name](torch.from_numpy(value))
        if x.requires_grad:
            raise ValueError("no gradients pass through an ONNX model: what needs them works on models of torch only")
        array: Array = x.cpu().numpy()
        return array

    def __getstate__(self) -> dict[str, Any]:
        # Sessions of onnxruntime cannot be pickled; they are made again when the module runs.
        return {**self.__dict__, "_sessions": []}

    def _session(self, part: Part) -> Any:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.log_severity_level = FATAL_ONLY
        # Each part has threads of its own, which must not spin while another part runs.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if not self._optimize:
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        content = part.model.SerializeToString()
        try:
            return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except RUNTIME_ERRORS as error:
            raise ValueError(f"onnxruntime cannot load the model: {error}") from error

    def _pieces(self, inputs: Sequence[torch.Tensor]) -> list[tuple[torch.Tensor, ...]]:
        fixed = self.inputs[0].shape[0] if self.inputs and self.inputs[0].shape else None
        count = len(inputs[0]) if fixed and inputs[0].dim() else 0
        if not fixed or count == fixed or count % fixed:
            return [tuple(inputs)]
        return list(zip(*(torch.split(x, fixed) for x in inputs), strict=True))

    def _check(self, feed: Mapping[str, Array]) -> None:
        names = [entry.name for entry in self.inputs]
        if set(names) != set(feed):
            raise ValueError(f"the inputs of the model are {', '.join(names)}, not {', '.join(feed)}")
        for entry in self.inputs:
            x = feed[entry.name]
            if str(x.dtype) != entry.dtype or not _fits(entry.shape, x.shape):
                raise ValueError(
                    f"input {entry.name!r} of the model is {entry.dtype} of {_text(entry.shape)}, "
                    f"not {x.dtype} of {_text(x.shape)}"
                )


def _fits(extents: tuple[int | None, ...], shape: tuple[int, ...]) -> bool:
    return len(extents) == len(shape) and all(axis in (None, size) for axis, size in zip(extents, shape, strict=True))


def _text(extents: tuple[int | None, ...]) -> str:
    return " x ".join("any" if axis is None else str(axis) for axis in extents)


def _model_input(value: onnx.ValueInfoProto) -> ModelInput:
    if not value.type.HasField("tensor_type"):
        raise ValueError(f"input {value.name!r} of the model is not a tensor")
    return ModelInput(value.name, dtype_name(value.type), shape_of(value.type))
