"""Projection with greedy dimension reduction: principal components, as many per layer as bits and answers decide.

Source: Tai et al., "Compression-aware Projection with Greedy Dimension Reduction", arXiv 2110.08828, ICASSP 2022.

What the abstract states: dimensions are reduced by a projection that is trained to make up for the error of
reconstruction; a greedy metric finds the ratio of each layer from accuracy and saved bits together; 2.91 to 5.97 times
on MobileNetV2, ResNet18 and VGG16.

This is the part without training, and a reconstruction. The projection are the principal components before the
activation. Components have words of 8 bits over their calibrated range; whether the authors code entropy could not be
found, and here nobody does. Each layer is cut alone to several numbers of components, and what that does to the
answers of the network (their Kullback-Leibler divergence, on the first calibration batch) is measured; then, again and
again, the layer is cut by one more step that saves most bits for the divergence it adds, taking divergences to add up,
until the mean of all maps is at the level. A trained projection is a `ProjectionCodec` whose ``rows`` and ``columns``
are no longer each other's transpose: `projection_codec` makes one.
"""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
import torch

from fmcodec.evaluation import Network, Placement
from fmcodec.evaluation.metrics import kl_divergence
from fmcodec.klt import PrincipalComponents
from fmcodec.systems.symbol_codec import ProjectionCodec
from fmcodec.systems.system import (
    Batches,
    FloatArray,
    MapStatistics,
    Placements,
    System,
    component_ranges,
    measure,
    site_of,
)
from fmcodec.systems.widths import ComponentWidths
from fmcodec.torch.wrap import place

COMPONENT_BITS = 8
# Shares of the components that a layer may keep.
SHARES = tuple(count / 16 for count in (16, 12, 9, 7, 5, 4, 3, 2, 1))
# Least divergence that counts: below it the order of cuts would be that of rounding errors.
LEAST_DIVERGENCE = 1e-9


class Cap2021(System):
    """Level: mean bits per value of all maps together."""

    name: ClassVar[str] = "cap2021"
    source = "Tai et al., arXiv 2110.08828, ICASSP 2022 (abstract only)"
    stated = "projection trained for the error of reconstruction, greedy ratio per layer from accuracy and saved bits"
    reconstruction = "no training; principal components, 8-bit words, divergence of answers as accuracy, greedy rule"
    level_name = "bits per value"
    levels = (7.0, 6.0, 5.0, 4.0)

    def calibrate(self, network: Network, batches: Batches, level: float) -> Placements:
        """As in `System`."""
        if not 0 < level <= COMPONENT_BITS:
            raise ValueError(f"level must be above 0 and at most {COMPONENT_BITS} bits, not {level}")
        found = measure(network, batches, "before")
        components = {name: statistics.moments.principal_components() for name, statistics in found.items()}
        ranges = component_ranges(
            network,
            batches,
            lambda name, x: _projected(components[name], x),
            "before",
        )
        choices = {
            name: [
                Placement(site_of(network, name, "before"), _codec(components[name], ranges[name], count))
                for count in component_counts(len(components[name].variances))
            ]
            for name in found
        }
        divergences = _divergences(network, next(iter(batches)), choices)
        return greedy_cuts(choices, divergences, found, level)


def component_counts(channels: int) -> list[int]:
    """Numbers of components that a layer may keep, the largest first."""
    return sorted({max(1, math.ceil(share * channels)) for share in SHARES}, reverse=True)


def projection_codec(
    rows: FloatArray, columns: FloatArray, means: FloatArray, low: FloatArray, high: FloatArray
) -> ProjectionCodec:
    """Components in words of 8 bits over their ranges, with any encoder (components, C) and decoder (C, components)."""
    most = 2 ** (COMPONENT_BITS - 1) - 1
    reach = np.maximum(np.abs(low), np.abs(high))
    steps = np.where(reach > 0, reach, 1.0) / most
    count = len(rows)
    return ProjectionCodec(
        coder=ComponentWidths((COMPONENT_BITS,) * count, (-most - 1,) * count),
        rows=torch.tensor(rows, dtype=torch.float32),
        columns=torch.tensor(columns, dtype=torch.float32),
        means=torch.tensor(means, dtype=torch.float32),
        steps=torch.tensor(steps, dtype=torch.float32),
        low=torch.full((count,), -most - 1, dtype=torch.int32),
        high=torch.full((count,), most, dtype=torch.int32),
    )


def greedy_cuts(
    choices: dict[str, list[Placement]],
    divergences: dict[str, list[float]],
    found: dict[str, MapStatistics],
    level: float,
) -> Placements:
    """Cuts layers step by step, the most saved bits per added divergence first, to ``level`` bits per value.

    Parameters
    ----------
    choices
        Of each layer, from all components to the fewest.
    divergences
        What each choice alone does to the answers.
    found
        Statistics, for the numbers of values.
    level
        Bits per value at which to stop; the last choices if it cannot be reached.
    """
    kept = dict.fromkeys(choices, 0)
    bits = {name: [_bits(found[name], placement) for placement in placements] for name, placements in choices.items()}
    values = sum(found[name].positions * len(found[name].moments.sums) for name in choices)

    def gain(name: str) -> float:
        index = kept[name]
        added = max(divergences[name][index + 1] - divergences[name][index], LEAST_DIVERGENCE)
        return (bits[name][index] - bits[name][index + 1]) / added

    while sum(bits[name][index] for name, index in kept.items()) > level * values:
        open_layers = [name for name, index in kept.items() if index + 1 < len(choices[name])]
        if not open_layers:
            break
        kept[max(open_layers, key=gain)] += 1
    return {name: choices[name][index] for name, index in kept.items()}


def _bits(statistics: MapStatistics, placement: Placement) -> int:
    codec = placement.codec
    assert isinstance(codec, ProjectionCodec)
    return COMPONENT_BITS * len(codec.rows) * statistics.positions


def _projected(components: PrincipalComponents, x: torch.Tensor) -> torch.Tensor:
    rows = torch.tensor(components.rows, dtype=torch.float32)
    means = torch.tensor(components.means, dtype=torch.float32)
    return rows @ (x.float().transpose(0, 1).flatten(1) - means[:, None])


def _codec(components: PrincipalComponents, ranges: tuple[FloatArray, FloatArray], count: int) -> ProjectionCodec:
    rows = components.rows[:count]
    return projection_codec(rows, rows.T, components.means, ranges[0][:count], ranges[1][:count])


def _divergences(network: Network, inputs: torch.Tensor, choices: dict[str, list[Placement]]) -> dict[str, list[float]]:
    """Of each choice alone: mean divergence of the answers, or mean squared error of an output that is an image."""
    with torch.inference_mode():
        reference = network.model(inputs)

        def divergence(name: str, placement: Placement) -> float:
            with place(network.model, {name: placement}):
                answer = network.model(inputs)
            if network.task == "image":
                return float((answer - reference).square().mean())
            return float(np.mean(kl_divergence(reference, answer)))

        return {name: [divergence(name, placement) for placement in placements] for name, placements in choices.items()}
