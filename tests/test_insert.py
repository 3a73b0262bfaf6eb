"""The codec in the graph of a network: the outputs of hooks, with gradients, and a model that stays as it was."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn
from torch_cases import ResidualBlock, residual_network

from fmcodec.evaluation import load_network
from fmcodec.policy import LayerPolicy, Policy
from fmcodec.spec import CodecSpec
from fmcodec.torch import CodeMap, insert, wrap

IMAGES = torch.linspace(-3, 3, 2 * 3 * 12 * 12).reshape(2, 3, 12, 12).sin()
SIGNED = CodecSpec(step=0.1, zero_point=100, transform="dct", transform_size=4)
POSITIVE = CodecSpec(step=0.05)
RELU6, LINEAR = CodecSpec(step=0.1), CodecSpec(step=0.1, zero_point=128)


def make_policy() -> Policy:
    """Maps at modules and functions, inside and around a block, and two in a row."""
    return Policy(
        layers={
            "2": LayerPolicy(POSITIVE),
            "0": LayerPolicy(POSITIVE, activation="relu"),
            "2.conv2": LayerPolicy(POSITIVE, where="input"),
            "3": LayerPolicy(POSITIVE.replace(step=0.2), where="input"),
            "3.conv1": LayerPolicy(SIGNED, where="input"),
            "3.norm1": LayerPolicy(SIGNED),
        }
    )


def outputs(model: nn.Module, policy: Policy, images: torch.Tensor) -> torch.Tensor:
    """What the model gives with hooks."""
    with torch.no_grad(), wrap(model, policy) as session:
        result: torch.Tensor = model(images)
    assert len(session.stats) == len(policy.layers)
    return result


def code_maps(model: nn.Module) -> list[str]:
    return [name for name, module in model.named_modules() if isinstance(module, CodeMap)]


@pytest.mark.parametrize("form", ["traced", "exported"])
def test_insert_equals_wrap(form: str) -> None:
    model = residual_network().eval()
    expected = outputs(model, make_policy(), IMAGES)
    names = [name for name, _ in model.named_modules()]
    state = copy.deepcopy(model.state_dict())
    graph_module = insert(model if form == "traced" else torch.export.export(model, (IMAGES,)), make_policy())
    assert torch.equal(graph_module(IMAGES), expected)
    assert not torch.equal(model(IMAGES), expected)
    # In the order in which they run, outer inputs first and outer outputs last.
    order = [node.target for node in graph_module.graph.nodes if str(node.target).startswith("code_maps")]
    assert order == [
        *("code_maps.0.output", "code_maps.2.conv2.input", "code_maps.2.output"),
        *("code_maps.3.input", "code_maps.3.conv1.input", "code_maps.3.norm1.output"),
    ]
    assert [name for name, _ in model.named_modules()] == names
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def test_efficientnet_lite0() -> None:
    network = load_network("efficientnet_lite0")
    layers = {
        name: LayerPolicy(RELU6 if site.activation == "relu6" else LINEAR, site.where, site.activation)
        for name, site in network.maps.items()
    }
    policy = Policy(layers=layers)
    images = torch.linspace(-3, 3, 3 * 224 * 224).reshape(1, 3, 224, 224).sin()
    graph_module = insert(network.model, policy)
    assert len(code_maps(graph_module)) == 49
    with torch.no_grad():
        assert torch.equal(graph_module(images), outputs(network.model, policy, images))


def test_gradients_reach_weights_in_front_of_coded_maps() -> None:
    model = residual_network()
    fine = Policy(layers={name: LayerPolicy(CodecSpec(step=2.0**-12, bits=16)) for name in ("1", "2", "3")})
    graph_module = insert(model, fine)
    model(IMAGES).square().sum().backward()
    exact = [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]
    model.zero_grad()
    # The graph shares the parameters of the model.
    graph_module(IMAGES).square().sum().backward()
    for parameter, expected in zip(model.parameters(), exact, strict=True):
        assert parameter.grad is not None
        assert torch.allclose(parameter.grad, expected, rtol=0.02, atol=0.02 * float(expected.abs().max()) + 1e-4)


def test_the_graph_compiles_exports_and_keeps_its_specs() -> None:
    model = residual_network().eval()
    graph_module = insert(model, make_policy())
    expected = graph_module(IMAGES)
    compiled = torch.compile(graph_module, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(IMAGES), expected)
    assert torch.equal(torch.export.export(graph_module, (IMAGES,)).module()(IMAGES), expected)
    coarse = Policy(
        layers={
            name: LayerPolicy(CodecSpec(step=1.0), where=layer.where) for name, layer in make_policy().layers.items()
        }
    )
    other = insert(residual_network().eval(), coarse)
    assert not torch.equal(other(IMAGES), expected)
    other.load_state_dict(graph_module.state_dict())
    assert torch.equal(other(IMAGES), expected)


class Twice(nn.Module):
    """A network that calls one activation twice, and one that gives out two maps."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.relu = nn.ReLU()
        self.pair = Pair()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a, b = self.pair(self.relu(self.conv(self.relu(x))))
        return a * b


class Pair(nn.Module):
    """A module with two results."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x + 1, x - 1


def test_every_call_of_a_module_is_coded() -> None:
    model = Twice().eval()
    policy = Policy(layers={"relu": LayerPolicy(POSITIVE)})
    for source in (model, torch.export.export(model, (IMAGES,))):
        graph_module = insert(source, policy)
        assert torch.equal(graph_module(IMAGES), outputs(model, policy, IMAGES))


class Branches(nn.Module):
    """A network that looks at its values."""

    def __init__(self) -> None:
        super().__init__()
        self.block = ResidualBlock(3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.block(x) if x.sum() > 0 else x
        return result


def test_what_cannot_be_inserted_is_refused() -> None:
    def layer(name: str, where: Any = "output") -> Policy:
        return Policy(layers={name: LayerPolicy(POSITIVE, where=where)})

    with pytest.raises(ValueError, match=r"cannot trace Branches \(.*\): pass torch\.export\.export"):
        insert(Branches(), layer("block"))
    with pytest.raises(ValueError, match=r"no module 'rleu'; close names: relu"):
        insert(Twice(), layer("rleu"))
    with pytest.raises(ValueError, match="the output of 'pair' is 2 values of the graph, not one map: name another"):
        insert(Twice(), layer("pair"))
    program = torch.export.export(Twice().eval(), (IMAGES,))
    with pytest.raises(ValueError, match="no operation of a module 'rleu': name another one"):
        insert(program, layer("rleu"))
    once = insert(Twice(), layer("relu"))
    with pytest.raises(ValueError, match="the output of 'relu' is coded already: insert into the model as it was"):
        insert(once, layer("relu"))
    assert code_maps(insert(once, layer("conv"))) == ["code_maps.relu.output", "code_maps.conv.output"]
