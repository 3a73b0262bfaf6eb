"""Groups of bands by importance: those that the output needs alike share a step factor."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import nn

from fmcodec.evaluation.network import Network
from fmcodec.learn.layer import LearnedLayer
from fmcodec.search.divergence import random_score
from fmcodec.torch.hooks import attached
from fmcodec.torch.wrap import activate


@contextmanager
def coded(model: nn.Module, layers: Mapping[str, LearnedLayer]) -> Iterator[None]:
    """While active, the maps of the named modules go through the layers."""

    def through(name: str, x: torch.Tensor) -> torch.Tensor:
        decoded: torch.Tensor = layers[name](activate(x, layers[name].start.activation).contiguous())
        return decoded

    with attached(model, {name: layer.start.where for name, layer in layers.items()}, through):
        yield


def group_by_importance(
    network: Network, layers: Mapping[str, LearnedLayer], inputs: torch.Tensor, groups: int, generator: torch.Generator
) -> None:
    """Gives the bands of each layer groups of nearly equal size, the most important first.

    Importance is the divergence of the output if the band were dropped, to second order: mean squared gradient of the
    log-likelihood of a random answer (Fisher's information) times mean squared coefficient.

    Parameters
    ----------
    network, layers
        As they are at the start.
    inputs
        Network inputs (N, C, H, W).
    groups
        At most so many in each layer.
    generator
        Of the random answers, on the CPU.
    """
    with coded(network.model, layers):
        for layer in layers.values():
            layer.is_measuring = True
        output = network.model(inputs)
        for layer in layers.values():
            layer.is_measuring = False
    maps = [layer.coefficients for layer in layers.values()]
    gradients = torch.autograd.grad(random_score(output.cpu(), network.task, generator), maps, allow_unused=True)
    for layer, coefficients, gradient in zip(layers.values(), maps, gradients, strict=True):
        squares = torch.zeros_like(coefficients) if gradient is None else gradient.square()
        importance = (squares.mean((0, 2, 3)) * coefficients.detach().square().mean((0, 2, 3))).cpu()
        layer.set_groups(ranks(importance, groups))


def ranks(importance: torch.Tensor, groups: int) -> torch.Tensor:
    """The group of each band: equal shares of their order by falling importance; ties by number.

    >>> ranks(torch.tensor([1.0, 9.0, 4.0, 0.0]), 2).tolist()
    [1, 0, 0, 1]
    """
    order = torch.argsort(importance, descending=True, stable=True)
    count = min(groups, len(order))
    group = torch.empty_like(order)
    group[order] = torch.arange(len(order)) * count // len(order)
    return group
