"""Which tensors of a network are stored feature maps, found by watching one forward pass."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from fmcodec.policy import Activation, Where
from fmcodec.torch.dataflow import Dataflow, Operation, Role
from fmcodec.torch.map_codec import MapSite

# Operations of torch by their `Role`.
CONVOLUTIONS = {"convolution", "_convolution", "mkldnn_convolution", "cudnn_convolution", "_slow_conv2d_forward"}
NORMS = {
    "native_batch_norm",
    "_native_batch_norm_legit",
    "_native_batch_norm_legit_no_training",
    "cudnn_batch_norm",
    "native_group_norm",
    "native_layer_norm",
}
SUMS = {"add"}
SAME = {"cat", "clone", "contiguous", "alias", "detach", "_to_copy"}
POINTWISE = {
    *("sub", "rsub", "mul", "div", "neg", "abs", "exp", "tanh", "sigmoid", "silu", "gelu", "elu", "leaky_relu"),
    *("hardsigmoid", "hardswish", "softplus", "mish", "_softmax", "_log_softmax", "view", "_unsafe_view", "permute"),
    *("transpose", "slice", "select", "squeeze", "unsqueeze", "upsample_nearest2d", "upsample_bilinear2d"),
    *("upsample_bicubic2d", "pixel_shuffle", "clamp", "clamp_min", "clamp_max", "hardtanh", "relu", "maximum"),
}


def find_maps(model: nn.Module, example: torch.Tensor) -> dict[str, MapSite]:
    """The feature maps that a network stores: from each convolution to what reads its result.

    The model runs once, and the tensors are followed from operation to operation. The map of a convolution is its
    result, or that of the norm after it, or that of a sum (the shortcut of a residual block) if an activation follows
    the sum. A sum without activation is left to its readers: the map is then what the convolution adds to it. The same
    map is listed once. Left out are results that go into the output of the network without another reader (pooling,
    convolution, product with a matrix), and results of a single position, which are vectors.

    Parameters
    ----------
    model
        Any module whose convolutions are called through torch; put it into eval mode.
    example
        An input, (1, C, H, W).

    Returns
    -------
    dict
        Name of a module to the site of a map, in the order in which the maps are computed. The activation is that of
        all readers: a ReLU or ReLU6 as a module or as a function, in place or not, also behind a concatenation. Where
        no hook reaches a map before its activation (a sum followed by ``F.relu``, or by a module that is called several
        times), the site is behind the activation and names none.

    Raises
    ------
    ValueError
        No map was found.
    """
    trace = _trace(model, example)
    maps: list[list[_Place]] = []
    for convolution in trace.flow.convolutions():
        places = list(trace.places(convolution))
        # Two convolutions that are added up have one map.
        if not any(place.value == others[0].value for others in maps if others for place in places[:1]):
            maps.append(places)
    chosen = _one_module_each(maps)
    if not chosen:
        raise ValueError("no stored feature map was found: no convolution whose result goes to another reader")
    if len(chosen) < len(maps):
        missed = len(maps) - len(chosen)
        warnings.warn(f"{missed} feature maps cannot be reached by hooks on modules and are not listed", stacklevel=2)
    return {place.name: place.site for place in sorted(chosen, key=lambda place: trace.time_of(place.value))}


class _Place(NamedTuple):
    """A module at which a map can be coded, the number of the value there, and the site."""

    name: str
    value: int
    site: MapSite


def _one_module_each(maps: list[list[_Place]]) -> list[_Place]:
    """A place for as many maps as possible, an early one of each, no two at the same module.

    A module can have a map at its input and another one at its output, but a policy names it once. This is bipartite
    matching by augmenting paths: a map whose places are all taken makes another one move, if that one can.
    """
    owners: dict[str, tuple[int, _Place]] = {}

    def settle(index: int, tried: set[str]) -> bool:
        for place in maps[index]:
            if place.name not in tried:
                tried.add(place.name)
                if place.name not in owners or settle(owners[place.name][0], tried):
                    owners[place.name] = index, place
                    return True
        return False

    for index in range(len(maps)):
        settle(index, set())
    return [place for _, place in owners.values()]


class _Call(NamedTuple):
    """One call of a module: the operations it spans, and the values at its ends, -1 where they are no single map."""

    name: str
    first: int
    end: int
    input: int
    output: int

    def spans(self, operation: int) -> bool:
        """Whether an operation is part of the call."""
        return self.first <= operation < self.end


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Numbers every tensor of a forward pass; a tensor that is changed in place gets a new number."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operations: list[Operation] = []
        self.shapes: list[tuple[int, ...]] = []
        self._numbers: dict[int, int] = {}
        # Tensors are kept so that no two of them share an identity.
        self._kept: list[torch.Tensor] = []

    def number(self, value: Any) -> int:
        """The number of a tensor; -1 for anything else."""
        if not isinstance(value, torch.Tensor):
            return -1
        if id(value) not in self._numbers:
            return self._renumber(value)
        return self._numbers[id(value)]

    def _renumber(self, tensor: torch.Tensor) -> int:
        self._kept.append(tensor)
        self.shapes.append(tuple(tensor.shape))
        self._numbers[id(tensor)] = len(self.shapes) - 1
        return len(self.shapes) - 1

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        inputs = tuple(self.number(value) for value in _tensors((args, kwargs or {})))
        result = func(*args, **(kwargs or {}))
        outputs = tuple(self._renumber(value) for value in _tensors(result))
        kind = func._schema.name.removeprefix("aten::")
        is_in_place = kind.endswith("_") and func._schema.is_mutable
        kind = kind.removesuffix("_") if is_in_place else kind
        activation = _activation(kind, args, kwargs or {})
        role = "activation" if activation is not None else _role(kind)
        self.operations.append(Operation(role, inputs, outputs, activation))
        return result


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for entry in value:
            yield from _tensors(entry)
    elif isinstance(value, dict):
        yield from _tensors(list(value.values()))


def _role(kind: str) -> Role:
    """What an operation is that is no activation a policy knows."""
    roles: dict[Role, set[str]] = {
        "convolution": CONVOLUTIONS,
        "norm": NORMS,
        "sum": SUMS,
        "same": SAME,
        "pointwise": POINTWISE,
    }
    return next((role for role, kinds in roles.items() if kind in kinds), "reader")


def _activation(kind: str, args: Sequence[Any], kwargs: dict[str, Any]) -> Activation | None:
    """The activation that an operation is, if it is one a policy knows."""
    if kind == "relu":
        return "relu"
    if kind in ("hardtanh", "clamp", "clamp_min"):
        low = args[1] if len(args) > 1 else kwargs.get("min_val", kwargs.get("min"))
        high = args[2] if len(args) > 2 else kwargs.get("max_val", kwargs.get("max"))
        if low == 0 and high is None:
            return "relu"
        if low == 0 and high == 6:
            return "relu6"
    return "relu6" if kind == "relu6" else None


class _Trace:
    """A forward pass as a graph, with the calls of modules on it."""

    def __init__(self, operations: list[Operation], shapes: list[tuple[int, ...]], calls: list[_Call]) -> None:
        self.flow = Dataflow(operations, shapes)
        # A hook on a module that is called several times would code several maps.
        names = [call.name for call in calls]
        self._calls = [call for call in calls if names.count(call.name) == 1]
        self._made_by = {value: index for index, operation in enumerate(operations) for value in operation.outputs}

    def places(self, convolution: int) -> Iterator[_Place]:
        """Where the map of a convolution can be coded, the best first."""
        total = self.flow.sum_before_activation(convolution)
        for value in (total, convolution) if total != convolution else (convolution,):
            activation = self.flow.activation(value)
            for name, where in self._hooks(value):
                yield _Place(name, value, MapSite(where, activation))
            reader = self.flow.only_reader(value)
            if reader is not None and reader.activation is not None:
                for name, where in self._hooks(reader.outputs[0]):
                    yield _Place(name, reader.outputs[0], MapSite(where))

    def time_of(self, value: int) -> int:
        """The number of the operation that makes a value."""
        return self._made_by[value]

    def _hooks(self, value: int) -> Iterator[tuple[str, Where]]:
        """Modules that make the value and give it out, or take it in, where a hook changes it for all readers.

        The innermost module comes first.
        """
        readers = self.flow.readers(value)
        calls = sorted(self._calls, key=lambda call: call.end - call.first)
        for call in calls:
            # An identity gives out a value, too, but who has it from elsewhere would not see what a hook makes of it.
            if call.output == value and call.spans(self._made_by[value]) and not any(map(call.spans, readers)):
                yield call.name, "output"
        for call in calls:
            if call.input == value and all(map(call.spans, readers)):
                yield call.name, "input"


def _trace(model: nn.Module, example: torch.Tensor) -> _Trace:
    recorder = _Recorder()
    calls: list[_Call] = []
    starts: dict[str, list[tuple[int, int]]] = {}

    with contextlib.ExitStack() as stack:
        for name, module in model.named_modules():
            if not name:
                continue

            def enter(_: nn.Module, inputs: tuple[Any, ...], name: str = name) -> None:
                entering = recorder.number(inputs[0]) if len(inputs) == 1 else -1
                starts.setdefault(name, []).append((len(recorder.operations), entering))

            def leave(_: nn.Module, __: tuple[Any, ...], output: Any, name: str = name) -> None:
                first, entering = starts[name].pop()
                calls.append(_Call(name, first, len(recorder.operations), entering, recorder.number(output)))

            stack.callback(module.register_forward_pre_hook(enter).remove)
            stack.callback(module.register_forward_hook(leave).remove)
        with torch.no_grad(), recorder:
            model(example)
    return _Trace(recorder.operations, recorder.shapes, calls)
