"""The codec as part of the graph of a network, in place of hooks: for compilers, exporters and training."""

from __future__ import annotations

import itertools
from typing import Any

from torch import fx, nn
from torch.export import ExportedProgram

from fmcodec.policy import LayerPolicy, Policy
from fmcodec.torch.code_map import CodeMap
from fmcodec.torch.hooks import find_modules

# Where the inserted modules are: code_maps, the name of the module, and where its map is.
CODE_MAPS = "code_maps"


def insert(model: nn.Module | ExportedProgram, policy: Policy, *, threads: int = 1) -> fx.GraphModule:
    """The network as a graph in which a `CodeMap` stands at every map that a policy names.

    Its outputs equal those of the model under `wrap`, with straight-through gradients. It shares parameters and
    buffers with the model, which stays as it was; its state has the specs beside them.

    Parameters
    ----------
    model
        A module, which ``torch.fx`` traces in its present mode (train or eval); or what ``torch.export.export`` made of
        one, which also follows ordinary Python in ``forward``.
    policy
        Which maps are coded, and how.
    threads
        Threads of each encoder and decoder.

    Raises
    ------
    ValueError
        ``torch.fx`` cannot trace the model, the policy names a module that the model does not have, or one module
        twice, or one whose input or output is not a single value of the graph; or the map is coded already.
    """
    graph_module = _exported(model) if isinstance(model, ExportedProgram) else _traced(model, policy)
    present = dict(graph_module.named_modules())
    # In this order no module hides another one, even of modules that are called "input" or "output".
    for name in sorted(policy.layers):
        layer = policy.layers[name]
        if _target(name, layer) in present:
            raise ValueError(f"the {layer.where} of {name!r} is coded already: insert into the model as it was")
        graph_module.add_submodule(_target(name, layer), CodeMap(layer.spec, layer.activation, threads=threads))
    for name, layer in policy.layers.items():
        _insert_at(graph_module.graph, name, layer)
    graph_module.graph.lint()
    graph_module.recompile()
    return graph_module


def _target(name: str, layer: LayerPolicy) -> str:
    """The path of an inserted module."""
    return f"{CODE_MAPS}.{name}.{layer.where}"


class _Tracer(fx.Tracer):
    """Leaves coded maps as modules, so that their specs stay part of the state."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, CodeMap) or super().is_leaf_module(m, module_qualified_name)


def _exported(program: ExportedProgram) -> fx.GraphModule:
    module = program.module()
    assert isinstance(module, fx.GraphModule)
    return module


def _traced(model: nn.Module, policy: Policy) -> fx.GraphModule:
    find_modules(model, list(policy.layers))
    try:
        return fx.GraphModule(model, _Tracer().trace(model), type(model).__name__)
    except Exception as error:  # whatever the code of the model raises when it meets a proxy
        raise ValueError(
            f"torch.fx cannot trace {type(model).__name__} ({error}): "
            "pass torch.export.export(model, (example,)) instead, or use wrap"
        ) from error


def _insert_at(graph: fx.Graph, name: str, layer: LayerPolicy) -> None:
    """Codes the map at the input or output of each call of a module, where a hook would."""
    calls = _calls(graph, name)
    if not calls:
        raise ValueError(f"the graph has no operation of a module {name!r}: name another one, or use wrap")
    for call in calls:
        if layer.where == "input":
            edges = [(source, user) for user in call for source in user.all_input_nodes if source not in call]
            edges = [(source, user) for source, user in edges if source.op != "get_attr"]
        else:
            edges = [(source, user) for source in call for user in source.users if user not in call]
        sources = {source for source, _ in edges}
        if len(sources) != 1:
            raise ValueError(
                f"the {layer.where} of {name!r} is {len(sources)} values of the graph, not one map: "
                "name another module, or use wrap"
            )
        # Not beside the source: what operations in place make of it until here, or up to the end, is part of the map.
        is_input = layer.where == "input"
        with graph.inserting_before(call[0]) if is_input else graph.inserting_after(call[-1]):
            coded = graph.call_module(_target(name, layer), tuple(sources))
        coded.meta["nn_module_stack"] = _stack_around(call[0], name)
        for source, user in edges:
            user.replace_input_with(source, coded)


def _calls(graph: fx.Graph, name: str) -> list[list[fx.Node]]:
    """The operations of each call of a module, in order."""
    calls: dict[str, list[fx.Node]] = {}
    for node in graph.nodes:
        for key, (module, *_) in _stack(node).items():
            if module == name:
                calls.setdefault(key, []).append(node)
    return list(calls.values())


def _stack(node: fx.Node) -> dict[str, tuple[Any, ...]]:
    """The calls of modules an operation is in, from the outermost: the name of the module comes first in a value."""
    stack: dict[str, tuple[Any, ...]] = node.meta.get("nn_module_stack") or {}
    return stack


def _stack_around(node: fx.Node, name: str) -> dict[str, tuple[Any, ...]]:
    """The part of the stack that is outside a module: maps there, too, may be coded."""
    outside = itertools.takewhile(lambda item: item[1][0] != name, _stack(node).items())
    return dict(outside)
