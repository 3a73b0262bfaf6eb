"""A model in two: a head that ends at a layer, and a tail that begins there, to run at the two ends of a link.

The graph of the model is that of torch.export, so any Python in `forward` is fine that does not depend on the values of
tensors. docs/split.md explains which layers a model can be cut at.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NoReturn

import msgspec
import torch
from torch import fx, nn

from fmcodec.errors import close_names

Inputs = torch.Tensor | tuple[torch.Tensor, ...]


class CutPoint(msgspec.Struct, frozen=True):
    """A layer whose output alone determines what follows.

    Parameters
    ----------
    layer
        Name of the module, as in ``model.named_modules()``. The second call of a module that runs several times has
        ``@1`` behind it, the third ``@2``.
    shape
        Channels, rows and columns of its output.
    """

    layer: str
    shape: tuple[int, int, int]


def cut_points(model: nn.Module, example: Inputs) -> list[CutPoint]:
    """The layers at which `split` can cut a model, in the order in which they run.

    Of modules with the same output, as a block and its last layer, the outermost is named; `split` knows the others
    too.

    Parameters
    ----------
    model
        In eval mode. It runs on fake tensors only.
    example
        The input, or a tuple of inputs; the first axis of each is the batch.

    Raises
    ------
    ValueError
        The model is in training mode.
    Exception
        Those of torch.export, for a model whose operations depend on values or on the size of the batch.

    Examples
    --------
    >>> from torch import nn
    >>> model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 4)).eval()
    >>> cut_points(model, torch.zeros(1, 3, 8, 8))
    [CutPoint(layer='0', shape=(8, 6, 6)), CutPoint(layer='1', shape=(8, 6, 6))]
    """
    return list(_Graph(model, _as_tuple(example)).cut_points())


def split(model: nn.Module, layer: str, example: Inputs) -> tuple[nn.Module, nn.Module]:
    """Cuts a model at the output of a layer: ``tail(head(*inputs))`` equals ``model(*inputs)`` bit for bit.

    Parameters
    ----------
    model
        In eval mode. Its parameters are shared, not copied; each part has only those it needs.
    layer
        A layer as `cut_points` names them.
    example
        The input, or a tuple of inputs; the first axis of each is the batch. Parts take batches of any size of inputs
        that are otherwise like these.

    Returns
    -------
    head, tail
        The head takes the inputs of the model and returns the output (N, C, H, W) of the layer; the tail takes that and
        returns what the model does.

    Raises
    ------
    ValueError
        There is no such layer, its output is no feature map, or what follows needs more than its output; the message
        names cuts nearby. Or as `cut_points`.
    RuntimeError
        The parts do not give what the model gives for the example: it is random, or changes tensors in place that both
        parts use.
    """
    inputs = _as_tuple(example)
    graph = _Graph(model, inputs)
    head, tail = graph.parts(layer)
    with torch.no_grad():
        whole, parts = model(*inputs), tail(head(*inputs))
    try:
        torch.testing.assert_close(parts, whole, rtol=0, atol=0, equal_nan=True)
    except AssertionError as error:
        raise RuntimeError(
            "head and tail do not give what the model gives for the example: it is random, or changes tensors in place"
        ) from error
    return head, tail


def _as_tuple(example: Inputs) -> tuple[torch.Tensor, ...]:
    return (example,) if isinstance(example, torch.Tensor) else tuple(example)


class _Graph:
    """The operations of a model in the order in which they run, and where its layers end."""

    def __init__(self, model: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        if model.training:
            raise ValueError("the model must be in eval mode: call model.eval()")
        # A batch of one would be taken for a constant.
        inputs = tuple(torch.cat([x, x]) if x.dim() and len(x) == 1 else x for x in inputs)
        batch = torch.export.Dim("batch")
        with torch.no_grad():
            program = torch.export.export(model, inputs, dynamic_shapes=_batch_axes(inputs, batch))
        self._root = program.module()
        self._out_spec: Any = program.call_spec.out_spec
        nodes = [node for node in self._root.graph.nodes if node.op != "call_module"]
        self._place = {node: place for place, node in enumerate(nodes)}
        self._inputs = [node for node in nodes if node.op == "placeholder"]
        # The last operation of each layer: later ones overwrite.
        self._ends = {name: node for node in nodes for name in _layers(node)}

    def cut_points(self) -> Iterator[CutPoint]:
        seen = set()
        for name, node in sorted(self._ends.items(), key=lambda end: (self._place[end[1]], len(end[0]))):
            if node not in seen and _is_map(node) and self._bypass(node) is None:
                seen.add(node)
                yield CutPoint(name, tuple(node.meta["val"].shape[1:]))

    def parts(self, layer: str) -> tuple[nn.Module, nn.Module]:
        if layer not in self._ends:
            raise ValueError(f"no layer {layer!r} runs{close_names(layer, self._ends)}")
        cut = self._ends[layer]
        if not _is_map(cut):
            self._refuse(layer, "is no feature map (N, C, H, W) of floats")
        if (bypass := self._bypass(cut)) is not None:
            name = (_layers(bypass) or [bypass.name])[-1]
            self._refuse(layer, f"does not determine the rest: that of {name!r} goes by")
        return self._head(cut), self._tail(cut)

    def _refuse(self, layer: str, reason: str) -> NoReturn:
        """Says what is wrong with a cut, and which are near it."""
        points = list(self.cut_points())
        place = self._place[self._ends[layer]]
        before = [point.layer for point in points if self._place[self._ends[point.layer]] < place][-1:]
        after = [point.layer for point in points if self._place[self._ends[point.layer]] > place][:1]
        near = " and ".join(map(repr, before + after)) or "none"
        raise ValueError(f"the output of {layer!r} {reason}; valid cuts nearby: {near}; cut_points() has all")

    def _bypass(self, cut: fx.Node) -> fx.Node | None:
        """Something before the cut that operations behind it need, other than the cut itself."""
        needed = (x for node in self._behind(cut) for x in node.all_input_nodes if self._place[x] < self._place[cut])
        return next((x for x in needed if not self._is_known(x, cut)), None)

    def _is_known(self, node: fx.Node, cut: fx.Node) -> bool:
        """Whether the tail can make this of the output of the cut alone: a constant, or the size of the batch."""
        if node.op == "placeholder":
            return False
        if _is_batch_size(node):
            return True
        return all(self._is_known(x, cut) for x in node.all_input_nodes)

    def _behind(self, cut: fx.Node) -> list[fx.Node]:
        return [node for node, place in self._place.items() if place > self._place[cut] and node.op != "get_attr"]

    def _head(self, cut: fx.Node) -> nn.Module:
        graph = fx.Graph()
        copies = {node: graph.placeholder(node.name) for node in self._inputs}
        # Also operations whose result is not used: they may change a tensor in place.
        for node, place in self._place.items():
            if node.op == "call_function" and place <= self._place[cut]:
                self._copy(node, graph, copies)
        graph.output(copies[cut])
        return fx.GraphModule(self._root, graph, "Head")

    def _tail(self, cut: fx.Node) -> nn.Module:
        graph = fx.Graph()
        x = graph.placeholder("x")
        copies = {cut: x}
        *operations, output = self._behind(cut)
        if any(_changes_its_input(node) for node in operations):
            copies[cut] = graph.call_function(torch.ops.aten.clone.default, (x,))
        for node in operations:
            self._copy(node, graph, copies, batch_of=x)
        flat: Any = output.args[0]
        graph.output(self._out_spec.unflatten([self._copy(value, graph, copies, batch_of=x) for value in flat]))
        return fx.GraphModule(self._root, graph, "Tail")

    def _copy(self, node: Any, graph: fx.Graph, copies: dict[fx.Node, fx.Node], batch_of: fx.Node | None = None) -> Any:
        """The node in another graph, with all it needs that is not there yet."""
        if not isinstance(node, fx.Node):
            return node
        if node not in copies:
            if batch_of is not None and _is_batch_size(node):
                copies[node] = graph.call_function(torch.ops.aten.sym_size.int, (batch_of, 0))
            else:
                for needed in node.all_input_nodes:
                    self._copy(needed, graph, copies, batch_of)
                copies[node] = graph.node_copy(node, copies.__getitem__)
        return copies[node]


def _batch_axes(inputs: tuple[torch.Tensor, ...], batch: Any) -> tuple[Any, ...]:
    return tuple({0: batch} if x.dim() else None for x in inputs)


def _layers(node: fx.Node) -> list[str]:
    """Names of the modules that an operation belongs to, the outermost first."""
    names = []
    for key, (path, _) in node.meta.get("nn_module_stack", {}).items():
        call = re.search(r"@\d+$", key)
        # torch marks operations that belong to none with a name of its own.
        if path and not path.startswith("_empty_nn_module_stack"):
            names.append(path + (call[0] if call else ""))
    return names


def _is_map(node: fx.Node) -> bool:
    value = node.meta.get("val")
    return isinstance(value, torch.Tensor) and value.dim() == 4 and value.is_floating_point() and _is_batch(value)


def _is_batch(value: torch.Tensor) -> bool:
    """Whether the first axis is the batch."""
    return isinstance(value.shape[0], torch.SymInt) and _is_symbol(value.shape[0])


def _is_batch_size(node: fx.Node) -> bool:
    """Whether an operation gives the size of the batch."""
    value = node.meta.get("val")
    return node.op == "call_function" and isinstance(value, torch.SymInt) and _is_symbol(value)


def _is_symbol(size: torch.SymInt) -> bool:
    # The batch is the only symbol; a multiple of it, as after a reshape, is an expression.
    return bool(size.node.expr.is_Symbol)


def _changes_its_input(node: fx.Node) -> bool:
    schema = getattr(node.target, "_schema", None)
    return schema is not None and schema.is_mutable
