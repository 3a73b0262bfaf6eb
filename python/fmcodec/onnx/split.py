"""A model cut at named tensors into parts that run one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import onnx
from onnx import ModelProto, NodeProto, TypeProto, helper

from fmcodec.onnx.graph import initializers_of, reads, require_tensors, tensor_types

# Operators that give something else each time: a node of these runs once.
RANDOM = {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}


class Part(NamedTuple):
    """One part of a model.

    Parameters
    ----------
    model
        Its nodes as a model of their own.
    inputs, outputs
        Names of the tensors that it reads and gives.
    maps
        Which of the outputs are the named tensors, which later parts read only after something was done to them.
    kept
        Tensors that are needed after the part, by later ones or as outputs of the whole.
    """

    model: ModelProto
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    maps: tuple[str, ...]
    kept: frozenset[str]


def split(model: ModelProto, tensors: Sequence[str], outputs: Sequence[str] | None = None) -> list[Part]:
    """Cuts a model at tensors.

    A node is in the first part in which all it reads is there: behind a named tensor, in a later part than the node
    that computes it. Nodes that read weights and constants only are in each part that needs what they give, since a
    runtime folds them when it loads the part. Nodes from which no output and no named tensor follows are in none.

    Parameters
    ----------
    model
        Its nodes are in the order of execution, as ONNX demands.
    tensors
        Names, each the result of a node outside of subgraphs. Without any, the model is in one part.
    outputs
        Of the whole, instead of those of the model.

    Raises
    ------
    ValueError
        A name is not that of a tensor that the model computes, or shape inference does not find the type of a tensor
        that one part gives to another.
    """
    named = dict.fromkeys(tensors)
    wanted = [value.name for value in model.graph.output] if outputs is None else list(outputs)
    require_tensors(model, [*named, *wanted])
    live = _live_nodes(model, {*named, *wanted})
    fixed = _constant_nodes(model, live, {*named, *wanted})
    types = tensor_types(onnx.shape_inference.infer_shapes(model, data_prop=True))
    groups = _groups(model, live, named, set(fixed.values()))
    parts: list[Part] = []
    needed = set(wanted)
    for group in reversed(groups):
        nodes = _with_constants(model, group, fixed)
        made = [name for node in group for name in node.output if name]
        own = initializers_of(model.graph) | {name for node in nodes for name in node.output}
        inputs = tuple(dict.fromkeys(name for node in nodes for name in reads(node) if name not in own))
        given = tuple(name for name in made if name in needed or name in named)
        maps = tuple(name for name in made if name in named)
        parts.append(Part(_part(model, nodes, inputs, given, types), inputs, given, maps, frozenset(needed)))
        needed = (needed - set(made)) | set(inputs)
    return parts[::-1]


def _live_nodes(model: ModelProto, wanted: set[str]) -> list[int]:
    """Indices of the nodes from which something that is wanted follows."""
    needed = set(wanted)
    live = []
    for index in range(len(model.graph.node) - 1, -1, -1):
        node = model.graph.node[index]
        if needed & set(node.output):
            live.append(index)
            needed.update(reads(node))
    return live[::-1]


def _constant_nodes(model: ModelProto, live: list[int], wanted: set[str]) -> dict[str, int]:
    """Names of values that follow from weights and constants alone, to the index of the node that gives them.

    What is wanted itself is not among them: one part must give it.
    """
    known = initializers_of(model.graph)
    fixed: dict[str, int] = {}
    for index in live:
        node = model.graph.node[index]
        if node.op_type not in RANDOM and not wanted & set(node.output) and known.issuperset(reads(node)):
            known.update(node.output)
            fixed.update({name: index for name in node.output})
    return fixed


def _groups(model: ModelProto, live: list[int], named: dict[str, None], constant: set[int]) -> list[list[NodeProto]]:
    """The nodes of each part, without those of constants."""
    groups: list[list[NodeProto]] = []
    ready: dict[str, int] = {}
    for index in live:
        if index not in constant:
            node = model.graph.node[index]
            number = max((ready.get(name, 0) for name in reads(node)), default=0)
            ready.update({name: number + (name in named) for name in node.output})
            groups += [[] for _ in range(number + 1 - len(groups))]
            groups[number].append(node)
    return groups


def _with_constants(model: ModelProto, group: list[NodeProto], fixed: dict[str, int]) -> list[NodeProto]:
    """The nodes of a part after those of the constants that they need."""
    needed: set[int] = set()
    waiting = list(group)
    while waiting:
        for name in reads(waiting.pop()):
            if name in fixed and fixed[name] not in needed:
                needed.add(fixed[name])
                waiting.append(model.graph.node[fixed[name]])
    return [*(model.graph.node[index] for index in sorted(needed)), *group]


def _part(
    model: ModelProto,
    nodes: list[NodeProto],
    inputs: tuple[str, ...],
    outputs: tuple[str, ...],
    types: dict[str, TypeProto],
) -> ModelProto:
    for name in (*inputs, *outputs):
        if name not in types:
            raise ValueError(f"the model cannot be cut: shape inference does not find the type of {name!r}")
    read = {name for node in nodes for name in reads(node)}
    graph = helper.make_graph(
        nodes,
        model.graph.name,
        [helper.make_value_info(name, types[name]) for name in inputs],
        [helper.make_value_info(name, types[name]) for name in outputs],
        [value for value in model.graph.initializer if value.name in read],
        sparse_initializer=[value for value in model.graph.sparse_initializer if value.values.name in read],
    )
    # Before version 4, weights had to be inputs, too.
    version = max(4, model.ir_version)
    return helper.make_model(graph, ir_version=version, opset_imports=model.opset_import, functions=model.functions)
