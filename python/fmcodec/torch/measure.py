"""Measurements of one layer that calibration and search share: its range and moments, and trials of candidates."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from fmcodec import decode, encode
from fmcodec.klt import ChannelMoments, PrincipalComponents, band_steps, coarsened, klt_spec, level_range
from fmcodec.policy import Activation, LayerPolicy, Where
from fmcodec.spec import MOST_SPATIAL_BITS, CodecSpec
from fmcodec.torch.candidates import Candidate, When
from fmcodec.torch.statistics import RangeStatistics, energies
from fmcodec.torch.wrap import activate

StepRule = Callable[[RangeStatistics], float]

# How much worse than others an error in each channel is; their mean is 1.
Weights = npt.NDArray[np.float64]
# Steps of channels are at most so many times larger or smaller than their geometric mean.
MOST_STEP_FACTOR = 8.0

# Largest value each activation lets through.
ACTIVATION_LIMIT = {"none": math.inf, "relu": math.inf, "relu6": 6.0}


class PlanRules(NamedTuple):
    """What all plans of a layer have in common; the terms are those of `calibrate`."""

    head_room: float
    where: Where
    effort: int


class Trial:
    """What one way of coding a layer needs and does to the images it is tried on.

    ``size_bytes`` are whole frames, ``largest_bytes`` the most per image of any frame, ``squared_error`` the sum over
    all values after the activation, each times the weight of its channel if there are weights.
    """

    def __init__(self, layer: LayerPolicy, weights: Weights | None = None) -> None:
        self.layer = layer
        self._weights = weights
        self.size_bytes = self.values = self.images = 0
        self.largest_bytes = 0.0
        self.squared_error = 0.0

    def add(self, x: torch.Tensor, activation: Activation, threads: int, embed_spec: bool) -> None:
        """Encodes and decodes the map (N, C, H, W) of a layer that ``activation`` follows."""
        spec = self.layer.spec
        coded = activate(x, self.layer.activation).contiguous()
        frame = encode(coded, spec, threads=threads, embed_spec=embed_spec)
        decoded = torch.empty_like(coded)
        decode(frame, spec=None if embed_spec else spec, out=decoded, max_bytes=coded.nbytes, threads=threads)
        self.size_bytes += len(frame)
        self.largest_bytes = max(self.largest_bytes, len(frame) / len(x))
        self.images += len(x)
        self.values += x.numel()
        self.squared_error += squared_error(activate(x, activation), activate(decoded, activation), self._weights)


def squared_error(reference: torch.Tensor, decoded: torch.Tensor, weights: Weights | None) -> float:
    """Sum of squared errors of a map (N, C, H, W), each times the weight of its channel if there are weights."""
    if weights is None:
        return energies(reference, decoded)[1]
    errors = (decoded - reference).square_().sum((2, 3)).sum(0, dtype=torch.float64)
    return float(errors.dot(torch.from_numpy(weights)))


class LayerMeasure:
    """Range and moments of the map of one layer, and the specs that follow from them.

    Parameters
    ----------
    activation
        What follows the layer in the model.
    weights
        Sensitivity to each channel per squared error, for candidates with a weighting. Their mean is 1.
    """

    def __init__(self, activation: Activation, weights: Weights | None = None) -> None:
        self.activation: Activation = activation
        self.weights = weights
        self.images = 0  # so far in this pass
        self.all_images = 0
        self.before = RangeStatistics()
        self.after = RangeStatistics()
        # Of even and odd images, so that a transform learned from the ones can be tried on the others.
        self.moments: dict[When, tuple[ChannelMoments, ChannelMoments]] = {}
        self._components: dict[tuple[When, bool], PrincipalComponents] = {}

    @cached_property
    def order(self) -> tuple[int, ...] | None:
        """Channel order for transforms, if moments were gathered. Read it only after the last update."""
        return self._moments("after", learns_from_all=True).greedy_order() if self.moments else None

    @property
    def range(self) -> RangeStatistics:
        """Statistics of the map after its activation."""
        return self.before if self.activation == "none" else self.after

    def update(self, x: torch.Tensor, wanted: set[When]) -> None:
        """Adds a map (N, C, H, W), with its moments before and after the activation as wanted.

        Raises
        ------
        ValueError
            It holds NaN or infinity.
        """
        after = activate(x, self.activation)
        self.before.update(x)
        if not (math.isfinite(self.before.minimum) and math.isfinite(self.before.sum)):
            raise ValueError("a map holds NaN or infinity")
        if self.activation != "none":
            self.after.update(after)
        for when in {self._when(activation) for activation in wanted}:
            moments = self.moments.setdefault(when, (ChannelMoments(x.shape[1]), ChannelMoments(x.shape[1])))
            seen = after if when == "after" else x
            for parity in (0, 1):
                moments[parity].update(seen[(self.images + parity) % 2 :: 2].float().cpu().numpy())
        self.images += x.shape[0]
        self.all_images = self.images

    def restart(self) -> None:
        """To be called before the images pass again for `held_out`."""
        self.images = 0

    def held_out(self, x: torch.Tensor) -> torch.Tensor:
        """The odd images of a map, or the only one there is."""
        first = (self.images + 1) % 2
        self.images += x.shape[0]
        return x[first::2] if self.all_images > 1 else x

    def step(self, rule: StepRule) -> float:
        """Quantization step by a rule."""
        step = rule(self.range)
        # A map of zeros: any step codes it.
        return step if step > 0 else 1.0

    def plan(self, candidate: Candidate, step: float, rules: PlanRules, *, learns_from_all: bool = True) -> LayerPolicy:
        """Policy of the layer if it is coded as ``candidate`` says, with transforms learned from all or even images."""
        activation: Activation = self.activation if candidate.activation == "after" else "none"
        head_room = rules.head_room
        low, high = self.before.minimum * (1 + head_room), self.before.maximum * (1 + head_room)
        if activation != "none":
            low, high = 0.0, min(high, ACTIVATION_LIMIT[activation])
        if candidate.transform == "klt":
            components = self._components_of(candidate.activation, learns_from_all=learns_from_all)
            spec = klt_spec(
                components,
                step,
                low,
                high,
                refinement=candidate.refinement,
                spatial_size=candidate.spatial_size,
                step_factors=self._step_factors(candidate, components.rows**2),
            ).replace(effort=rules.effort, dead_zone=candidate.dead_zone)
            return LayerPolicy(spec=spec, where=rules.where, activation=activation)
        most_bits = 16 if candidate.spatial_size == 1 else MOST_SPATIAL_BITS
        refinement = coarsened(candidate.refinement, step, low, high, most_bits)
        fine_step = step / refinement
        zero_point, bits = level_range(low / fine_step, high / fine_step, most_bits)
        factors = self._step_factors(candidate)
        spec = CodecSpec(
            step=fine_step,
            zero_point=zero_point,
            bits=bits,
            transform=candidate.transform,
            transform_size=candidate.transform_size,
            spatial_size=candidate.spatial_size,
            band_steps=(refinement,) if factors is None else band_steps(refinement, factors),
            permutation=self.order if candidate.permute else None,
            effort=rules.effort,
            dead_zone=candidate.dead_zone,
        )
        return LayerPolicy(spec=spec, where=rules.where, activation=activation)

    def forget_components(self) -> None:
        """Frees the matrices of KLTs that were planned; those of later plans are computed anew."""
        self._components.clear()

    def _step_factors(self, candidate: Candidate, shares: Weights | None = None) -> Weights | None:
        """Steps of channels, or of components that have shares of them, relative to their geometric mean."""
        if not candidate.weighting or self.weights is None:
            return None
        logarithms = -candidate.weighting * np.log(self.weights if shares is None else shares @ self.weights)
        factors: Weights = np.exp(logarithms - logarithms.mean())
        return factors.clip(1 / MOST_STEP_FACTOR, MOST_STEP_FACTOR)

    def _when(self, activation: When) -> When:
        """Without an activation there is one map only."""
        return "before" if self.activation == "none" else activation

    def _moments(self, activation: When, *, learns_from_all: bool) -> ChannelMoments:
        even, odd = self.moments[self._when(activation)]
        merged = ChannelMoments(len(even.sums))
        merged.merge(even)
        if learns_from_all:
            merged.merge(odd)
        return merged

    def _components_of(self, activation: When, *, learns_from_all: bool) -> PrincipalComponents:
        key = self._when(activation), learns_from_all
        if key not in self._components:
            moments = self._moments(activation, learns_from_all=learns_from_all)
            self._components[key] = moments.principal_components()
        return self._components[key]


def wanted_moments(candidates: Sequence[Candidate]) -> set[When]:
    """Where moments are needed to plan all candidates."""
    wanted: set[When] = {candidate.activation for candidate in candidates if candidate.transform == "klt"}
    return wanted | {"after"} if any(candidate.permute for candidate in candidates) else wanted
