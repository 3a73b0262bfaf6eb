"""Transform quantization of activations: bit allocation by reverse water-filling after decorrelation.

Source: Young et al., arXiv 2009.01174, IEEE TPAMI 2021.

What the abstract states: *weights* are quantized after a decorrelating transform with bit depths from rate-distortion
optimization, which unifies quantization and dimension reduction. The transform is learned end to end.

What is applied to activations here is a reconstruction from the textbook: KLT of all channels before the activation;
half the logarithm of variance over error as the bits of a component, rounded, those without bits left out; the best
uniform quantizer of so many bits for a Laplacian density; words of fixed width. All outputs are taken to be equally
sensitive: only the error of the map itself is minimized.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from fmcodec.evaluation import Network, Placement
from fmcodec.klt import PrincipalComponents
from fmcodec.systems.allocation import laplace_quantizer, water_filling
from fmcodec.systems.symbol_codec import ProjectionCodec, klt_codec
from fmcodec.systems.system import Batches, Placements, System, measure, require_positive, site_of
from fmcodec.systems.widths import ComponentWidths


class Tq2020(System):
    """Level: root of the error allowed to each component as a share of the root mean square of the map."""

    name: ClassVar[str] = "tq2020"
    source = "Young et al., arXiv 2009.01174, IEEE TPAMI 2021 (abstract only)"
    stated = "of weights: rate-distortion optimal bit depths after a decorrelating transform"
    reconstruction = "all of its use on activations; KLT instead of the learned transform; Laplacian quantizers"
    level_name = "root of the error of a component / RMS of the map"
    levels = (0.05, 0.1, 0.2, 0.3)

    def calibrate(self, network: Network, batches: Batches, level: float) -> Placements:
        """As in `System`."""
        require_positive(level)
        placements = {}
        for name, statistics in measure(network, batches, "before").items():
            components = statistics.moments.principal_components()
            widths = water_filling(components.variances, (level * statistics.rms) ** 2)
            placements[name] = Placement(site_of(network, name, "before"), allocated_codec(components, widths))
        return placements


def allocated_codec(components: PrincipalComponents, widths: tuple[int, ...]) -> ProjectionCodec:
    """Principal components with words of given widths; those without bits are left out, but for the first.

    The first component has a bit at least, so that there is a stream.
    """
    widths = (max(1, widths[0]), *widths[1:])
    kept = [index for index, bits in enumerate(widths) if bits]
    bits = np.array([widths[index] for index in kept])
    deviations = np.sqrt(components.variances[kept])
    steps = np.array([laplace_quantizer(int(count)).step for count in bits]) * np.where(deviations > 0, deviations, 1.0)
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    coder = ComponentWidths(tuple(int(count) for count in bits), tuple(int(count) for count in low))
    return klt_codec(components.rows[kept], components.means, steps, low, high, coder, is_midrise=True)
