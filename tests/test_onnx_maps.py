"""Which tensors of ONNX models are stored feature maps, and the activations that follow them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from onnx import helper, numpy_helper
from onnx_models import Branches, from_torch, make_model, residual_model

from fmcodec.evaluation import find_maps, load_network
from fmcodec.onnx import feature_maps
from fmcodec.policy import Activation

node = helper.make_node


def test_feature_maps_of_a_residual_block() -> None:
    found = {entry.name: entry for entry in feature_maps(residual_model())}
    # The pooled tensor has four axes, too; the matrices have two.
    assert list(found) == [
        *("stem/conv.0", "stem/relu", "block.conv1", "block.relu1", "block.conv2", "block", "block.relu2", "pool"),
    ]
    # The shortcut is added before the last activation, so the sum is the map, not the convolution.
    assert [name for name, entry in found.items() if entry.is_stored] == ["stem/conv.0", "block.conv1", "block"]
    assert found["stem/conv.0"].shape == (None, 6, 8, 8)
    assert found["pool"].shape == (None, 6, 1, 1)
    assert found["block"].operator == "Add"
    assert found["block"].dtype == "float32"
    assert [found[name].activation for name in ("stem/conv.0", "stem/relu", "block")] == ["relu", "none", "relu"]


@pytest.mark.parametrize(
    ("low", "high", "activation"),
    [(0.0, 6.0, "relu6"), (0.0, None, "relu"), (0.0, 4.0, "none"), (-1.0, 6.0, "none"), (None, 6.0, "none")],
)
@pytest.mark.parametrize("form", ["weights", "constants", "attributes", "computed"])
def test_activation_of_clips(form: str, low: float | None, high: float | None, activation: Activation) -> None:
    bounds = {name: value for name, value in (("min", low), ("max", high)) if value is not None}
    tensors = {name: np.array(value, np.float32) for name, value in bounds.items()}
    names = [name if name in bounds else "" for name in ("min", "max")]
    weights = {"w": np.ones((2, 2, 1, 1), np.float32)}
    nodes = [node("Conv", ["x", "w"], ["map"])]
    inputs: dict[str, Any] = {"x": [1, 2, 4, 4]}
    if form == "attributes":
        clip = node("Clip", ["map"], ["clipped"], **bounds)
    else:
        clip = node("Clip", ["map", *names], ["clipped"])
    if form == "weights":
        weights |= tensors
    elif form == "constants":
        nodes += [node("Constant", [], [name], value=numpy_helper.from_array(x)) for name, x in tensors.items()]
    elif form == "computed":
        inputs |= {name: [] for name in tensors}
        activation = "none"
    nodes += [clip, node("Conv", ["clipped", "w"], ["y"])]
    model = make_model(nodes, inputs, {"y": [1, 2, 4, 4]}, weights, opset=6 if form == "attributes" else 17)
    assert feature_maps(model)[0].activation == activation


def test_feature_maps_are_those_of_torch() -> None:
    torch.manual_seed(0)
    model = Branches().eval()
    example = torch.randn(1, 3, 8, 8)
    stored = [entry for entry in feature_maps(from_torch(model, example)) if entry.is_stored]
    sites = find_maps(model, example)
    assert list(sites) == ["norm", "right", "act"]
    assert [entry.activation for entry in stored] == [site.activation for site in sites.values()]
    assert [entry.operator for entry in stored] == ["BatchNormalization", "Conv", "Add"]


def test_feature_maps_of_efficientnet_lite0() -> None:
    network = load_network("efficientnet_lite0")
    model = from_torch(network.model, torch.zeros(1, 3, 224, 224))
    stored = [entry for entry in feature_maps(model) if entry.is_stored]
    assert [entry.activation for entry in stored] == [site.activation for site in network.maps.values()]
    assert len(stored) == 49
    assert sum(int(np.prod(entry.shape[1:], dtype=int)) for entry in stored) > 4_000_000


def test_a_bias_of_its_own_is_part_of_the_convolution() -> None:
    weights = {"w": np.ones((2, 2, 1, 1), np.float32), "b": np.ones((1, 2, 1, 1), np.float32)}
    nodes = [
        node("Conv", ["x", "w"], ["first"]),
        node("Add", ["first", "b"], ["biased"]),
        node("Conv", ["biased", "w"], ["second"]),
        node("Constant", [], ["three"], value_float=3.0),
        node("Mul", ["three", "second"], ["scaled"]),
        node("Relu", ["scaled"], ["activated"]),
        node("Conv", ["activated", "w"], ["third"]),
        # Hard swish as some exporters write it: two nodes read the map, and the sum is no bias.
        node("Add", ["third", "three"], ["moved"]),
        node("Clip", ["moved", "zero", "six"], ["clipped"]),
        node("Mul", ["third", "clipped"], ["swish"]),
        node("Conv", ["swish", "w"], ["y"]),
    ]
    weights |= {"zero": np.array(0, np.float32), "six": np.array(6, np.float32)}
    model = make_model(nodes, {"x": [1, 2, 4, 4]}, {"y": [1, 2, 4, 4]}, weights)
    stored = {entry.name: entry.activation for entry in feature_maps(model) if entry.is_stored}
    assert stored == {"biased": "none", "scaled": "relu", "third": "none"}
