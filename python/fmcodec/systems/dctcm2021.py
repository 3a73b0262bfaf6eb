"""DCT-CM: a DCT along the channels, masks, and a coding format.

Source: Y. Shi et al., "Transform-Based Feature Map Compression for CNN Inference", ISCAS 2021, arXiv 2106.12850.

What the abstract states: one-dimensional DCT along the channels, masks, a coding format, 8-bit quantization, use of the
difference in sparsity between early and late layers; 2.9 times on average on ResNet-50.

All else is a reconstruction: 16 neighbouring channels are transformed, or all if there are fewer or they do not divide
into 16s; coefficients are quantized with one step per layer; the stream is that of `fmcodec.baselines.DctCm`; a layer
whose 8-bit map needs fewer bits with mask and width alone, at the same step, has no DCT: that is how early and late
layers come to differ here. The map is coded after its activation.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch

from fmcodec.baselines import DctCm
from fmcodec.evaluation import Network, Placement
from fmcodec.systems.symbol_codec import ProjectionCodec, klt_codec, word_range
from fmcodec.systems.system import (
    Batches,
    FloatArray,
    MapStatistics,
    Placements,
    System,
    measure,
    require_positive,
    site_of,
)
from fmcodec.torch.observe import run
from fmcodec.torch.wrap import activate

BLOCK = 16
# Coefficients of 16 channels reach 4 times as far as values: what needs 8 bits as a value needs 10.
COEFFICIENT_BITS = 12


class DctCm2021(System):
    """Level: step of values and coefficients as a share of the root mean square of the map."""

    name: ClassVar[str] = "dctcm2021"
    source = "Y. Shi et al., arXiv 2106.12850, ISCAS 2021 (abstract only)"
    stated = "channel DCT, masks, a coding format, 8-bit quantization; early and late layers differ in sparsity"
    reconstruction = "block of 16 channels, one step per layer, DCT or none per layer by size, layout of the stream"
    level_name = "step / RMS of the map"
    levels = (0.1, 0.15, 0.2, 0.3)

    def calibrate(self, network: Network, batches: Batches, level: float) -> Placements:
        """As in `System`."""
        require_positive(level)
        found = measure(network, batches, "after")
        tried = {name: [_codec(entry, level, size) for size in _sizes(entry)] for name, entry in found.items()}
        bits = {name: [0] * len(codecs) for name, codecs in tried.items()}

        def count(name: str, x: torch.Tensor) -> None:
            after = activate(x, network.maps[name].activation)
            for index, codec in enumerate(tried[name]):
                bits[name][index] += codec.coder.size_bits(codec.symbols(after).numpy())

        run(network.model, batches, {name: site.where for name, site in network.maps.items()}, count)
        return {
            name: Placement(site_of(network, name, "after"), codecs[int(np.argmin(bits[name]))])
            for name, codecs in tried.items()
        }


def _sizes(statistics: MapStatistics) -> tuple[int, ...]:
    """Lengths of the DCT that are tried; 1 is none."""
    channels = len(statistics.moments.sums)
    return (1, BLOCK if channels % BLOCK == 0 else channels)


def _codec(statistics: MapStatistics, level: float, size: int) -> ProjectionCodec:
    channels = len(statistics.moments.sums)
    is_signed = size > 1 or statistics.range.minimum < 0
    low, high = word_range(COEFFICIENT_BITS, signed=is_signed)
    coder = DctCm(bits=COEFFICIENT_BITS, signed=is_signed, block=min(BLOCK, channels))
    rows = np.kron(np.eye(channels // size), dct_matrix(size))
    return klt_codec(
        rows, np.zeros(channels), level * statistics.rms, low, high, coder, by_position=True, is_fixed=True
    )


def dct_matrix(size: int) -> FloatArray:
    """Rows of the orthonormal DCT-II."""
    places = np.arange(size)
    rows = np.cos(np.pi * (places[None, :] + 0.5) * places[:, None] / size) * np.sqrt(2 / size)
    rows[0] /= np.sqrt(2)
    matrix: FloatArray = rows
    return matrix
