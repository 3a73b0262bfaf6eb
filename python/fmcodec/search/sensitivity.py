"""Sensitivity: how much an error in one map changes the output of the network.

Three measurements, all with the other maps uncompressed. ``"quantization"`` injects what real options of the layer do,
``"noise"`` white noise as rounding makes it, within the range of the activation, and ``"fisher"`` follows from
gradients: with g the gradient of the log-likelihood of an answer that is drawn from the output of the network, the
divergence of a small error e is E[(g . e)^2] / 2 up to second order, which is E[|g|^2] |e|^2 / 2n for an e that is
white over n values. That costs one backward pass instead of two forward passes for each layer, and misses what errors
that are not white do.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec
import numpy as np
import torch
from torch import nn

from fmcodec import decode, encode
from fmcodec.search.divergence import Task, divergence, random_score
from fmcodec.search.hull import lower_hull
from fmcodec.search.options import LayerOptions, Option
from fmcodec.torch.hooks import attached
from fmcodec.torch.map_codec import MapSite
from fmcodec.torch.measure import ACTIVATION_LIMIT, Weights, squared_error
from fmcodec.torch.wrap import activate

Method = Literal["quantization", "noise", "fisher"]

# Errors that are injected, as steps of rounding relative to the root mean square of the map.
PROBE_STEPS = (0.1, 0.4)

# A backward pass keeps all maps of its images.
BACKWARD_IMAGES = 2


class Sensitivity(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Divergence of the output by the squared error of one map.

    Parameters
    ----------
    errors
        Squared errors (sums over the map, mean over images) at which it was measured, rising.
    slopes
        Divergence per unit of squared error at each of them.
    """

    errors: tuple[float, ...]
    slopes: tuple[float, ...]

    def divergence(self, squared_error: float) -> float:
        """Divergence at a squared error: the slope is interpolated on logarithmic axes, and constant beyond the ends.

        >>> sensitivity = Sensitivity((1.0, 100.0), (0.5, 0.05))
        >>> [round(sensitivity.divergence(error), 6) for error in (0.1, 1.0, 10.0, 100.0, 1000.0)]
        [0.05, 0.5, 1.581139, 5.0, 50.0]
        """
        if squared_error <= 0:
            return 0.0
        exponent = np.interp(math.log(squared_error), np.log(self.errors), np.log(self.slopes))
        return math.exp(exponent) * squared_error


def measure_sensitivity(
    model: nn.Module,
    batches: Sequence[torch.Tensor],
    sites: Mapping[str, MapSite],
    layers: Sequence[LayerOptions],
    *,
    task: Task = "classification",
    method: Method = "quantization",
    seed: int = 0,
) -> dict[str, Sensitivity]:
    """Measures the sensitivity of every layer; equal arguments give equal results.

    Parameters
    ----------
    model
        In eval mode, its maps on the CPU.
    batches
        Network inputs.
    sites
        The maps, at least those of ``layers``.
    layers
        Options of the layers. ``"quantization"`` injects those of the lower convex hull that are nearest to the
        errors of rounding with `PROBE_STEPS`.
    task
        What the output is; see `divergence`.
    method
        How it is measured.
    seed
        Of the noise, and of the answers that are drawn.

    Raises
    ------
    ValueError
        ``"fisher"``, and no gradient reaches a map.
    """
    if method == "fisher":
        own = {layer.name: sites[layer.name] for layer in layers}
        gradients = channel_gradients(model, batches, own, task=task, seed=seed)
        if lost := [name for name, squares in gradients.items() if not squares.any()]:
            raise ValueError(f"no gradient reaches the map of {', '.join(lost)}")
        return {name: Sensitivity((1.0,), (float(g.mean()) / 2,)) for name, g in gradients.items()}
    with torch.no_grad():
        reference = [model(batch) for batch in batches]
    found = {}
    for layer in layers:
        site = sites[layer.name]
        points = []
        for step in PROBE_STEPS:
            error = step**2 / 12 * layer.energy
            if method == "noise":
                distortion: _Distortion = _Noise(site, layer, math.sqrt(error / layer.values), seed)
            else:
                distortion = _Quantization(site, layer, _nearest(layer, error))
            points.append(_probe(model, batches, reference, layer.name, site, distortion, task))
        found[layer.name] = _sensitivity(points)
    return found


class _Distortion(ABC):
    """Something that happens to a map, and the squared error it makes after the activation."""

    def __init__(self, site: MapSite, layer: LayerOptions) -> None:
        self.site = site
        self._weights = None if layer.weights is None else np.array(layer.weights)
        self.squared_error = 0.0

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        # The activation of the model changes nothing any more: it is idempotent.
        before = activate(x, self.site.activation)
        after = activate(self._distorted(x), self.site.activation)
        self.squared_error += squared_error(before, after, self._weights)
        return after

    @abstractmethod
    def _distorted(self, x: torch.Tensor) -> torch.Tensor:
        """The map (N, C, H, W) with errors; an activation of the network follows."""


class _Quantization(_Distortion):
    def __init__(self, site: MapSite, layer: LayerOptions, option: Option) -> None:
        super().__init__(site, layer)
        self._layer = option.layer

    def _distorted(self, x: torch.Tensor) -> torch.Tensor:
        coded = activate(x, self._layer.activation).contiguous()
        decoded = torch.empty_like(coded)
        frame = encode(coded, self._layer.spec, embed_spec=False)
        decode(frame, spec=self._layer.spec, out=decoded, max_bytes=max(1, coded.nbytes))
        return decoded


class _Noise(_Distortion):
    def __init__(self, site: MapSite, layer: LayerOptions, deviation: float, seed: int) -> None:
        super().__init__(site, layer)
        self._amplitude = math.sqrt(3) * deviation
        self._generator = torch.Generator().manual_seed(seed)

    def _distorted(self, x: torch.Tensor) -> torch.Tensor:
        values = activate(x, self.site.activation)
        # What the activation cut off would leave a bias, which does other harm than noise.
        room = torch.full_like(values, self._amplitude)
        if self.site.activation != "none":
            room = torch.minimum(room, torch.minimum(values, ACTIVATION_LIMIT[self.site.activation] - values))
        return values + room * (2 * torch.rand(x.shape, generator=self._generator) - 1)


def _nearest(layer: LayerOptions, squared_error: float) -> Option:
    """The option on the hull whose error is nearest by its quotient."""
    points = [(option.squared_error, option.bits) for option in layer.options]

    def distance(index: int) -> float:
        return abs(math.log(max(layer.options[index].squared_error, 1e-300) / max(squared_error, 1e-300)))

    return layer.options[min(lower_hull(points), key=distance)]


def _probe(
    model: nn.Module,
    batches: Sequence[torch.Tensor],
    reference: Sequence[torch.Tensor],
    name: str,
    site: MapSite,
    distortion: _Distortion,
    task: Task,
) -> tuple[float, float]:
    """Squared error and divergence, both means over images."""
    images = sum(map(len, batches))
    total = 0.0
    with torch.no_grad(), attached(model, {name: site.where}, lambda _, x: distortion(x)):
        for batch, expected in zip(batches, reference, strict=True):
            total += math.fsum(divergence(expected, model(batch), task))
    return distortion.squared_error / images, total / images


def _sensitivity(points: Sequence[tuple[float, float]]) -> Sensitivity:
    """Of points (squared error, divergence); a map without error is not sensitive."""
    # Below this the divergence is rounding of the outputs.
    slopes = {error: max(total, 1e-12) / error for error, total in points if error > 0}
    if not slopes:
        return Sensitivity((1.0,), (1.0,))
    errors = tuple(sorted(slopes))
    return Sensitivity(errors, tuple(slopes[error] for error in errors))


def channel_gradients(
    model: nn.Module,
    batches: Sequence[torch.Tensor],
    sites: Mapping[str, MapSite],
    *,
    task: Task = "classification",
    seed: int = 0,
) -> dict[str, Weights]:
    """Mean squared gradient of the log-likelihood of answers with respect to the values of each channel of each map.

    Answers are drawn from the output of the network, one for each image, by backward passes. Values at
    which the gradient is exactly 0, where an activation is flat, are left out of the mean: errors are 0 there, too.

    Parameters
    ----------
    model, batches, sites, task, seed
        As in `measure_sensitivity`.

    Returns
    -------
    dict
        Name of a layer to float64 (C,): 0 where no gradient reaches the map, as in models that are not differentiable.
    """
    generator = torch.Generator().manual_seed(seed)
    sums: dict[str, torch.Tensor] = {}
    counts: dict[str, torch.Tensor] = {}

    def watch(name: str, x: torch.Tensor) -> None:
        squares = sums.setdefault(name, torch.zeros(x.shape[1], dtype=torch.float64))
        nonzeros = counts.setdefault(name, torch.zeros(x.shape[1], dtype=torch.int64))

        def add(gradient: torch.Tensor) -> None:
            squares.add_(gradient.square().sum((2, 3)).sum(0, dtype=torch.float64))
            nonzeros.add_(gradient.ne(0).sum((0, 2, 3)))

        if x.requires_grad:
            x.register_hook(add)  # type: ignore[no-untyped-call]

    with torch.enable_grad(), attached(model, {name: site.where for name, site in sites.items()}, watch):
        for batch in (part for whole in batches for part in torch.split(whole, BACKWARD_IMAGES)):
            inputs = batch.detach().clone().requires_grad_(True)
            # In-place operations must not meet a leaf.
            output = model(inputs.clone())
            if output.requires_grad:
                torch.autograd.grad(random_score(output, task, generator), inputs, allow_unused=True)
    return {name: (sums[name] / counts[name].clamp(min=1)).numpy() for name in sites}


def channel_weights(gradients: Weights) -> Weights:
    """Weights of channels in squared errors, of mean 1, from `channel_gradients`.

    A hundredth of the mean is added: no channel can be left out because few images did not need it.
    """
    total = gradients.mean()
    shares = gradients / total if total > 0 else np.ones_like(gradients)
    return (shares + 0.01) / 1.01
