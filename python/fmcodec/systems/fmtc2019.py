"""Feature Map Transform Coding: a KLT before the ReLU, one step per layer, one Huffman code per layer.

Source: B. Chmiel et al., "Feature Map Transform Coding for Energy-Efficient CNN Inference", arXiv 1905.10830, IJCNN
2020. The algorithm is that of the authors' published code (github.com/CompressTeam/TransformCodingInference).

What the authors do: vectors of all channels at one position, mean taken off, principal components of a calibration
batch; all components in one uniform quantizer of 2**b - 1 levels from the smallest to the largest component of the
layer, b possibly fractional; the entropy of one histogram of all components is the rate. Mean, range and histogram are
those of the batch being tested, and neither tables nor headers are counted.

Here means and ranges come from calibration, values outside are clipped, and the stream holds a Huffman code of its own
batch (`PooledHuffman`). The rate as the authors count it, the entropy without any table, is kept as ``published_bits``.
Left out: quantized matrices, the truncated variant, folding into weights, and the correction of the mean of each
channel by what it lost.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import ClassVar, NamedTuple

from fmcodec.evaluation import Network, Placement
from fmcodec.systems.huffman import LOWEST, PooledHuffman
from fmcodec.systems.symbol_codec import ProjectionCodec, klt_codec
from fmcodec.systems.system import Batches, MapStatistics, Placements, System, component_ranges, measure, site_of


class _Calibrated(NamedTuple):
    """What the rules for the step may look at."""

    network: Network
    batches: Batches
    found: dict[str, MapStatistics]
    codecs: dict[str, ProjectionCodec]  # of step 1


Grids = dict[str, tuple[float, int, int]]  # step, smallest and largest level of each map


class _Fmtc(System):
    """Both rules for the step."""

    source = "B. Chmiel et al., arXiv 1905.10830, IJCNN 2020, and the authors' code"
    stated = "PCA over channels before the ReLU, one uniform quantizer and one variable-length code per layer"
    reconstruction = "calibrated means and ranges instead of those of the test batch; layout of the Huffman stream"

    def calibrate(self, network: Network, batches: Batches, level: float) -> Placements:
        """As in `System`."""
        found = measure(network, batches, "before")
        codecs = {name: _codec(statistics) for name, statistics in found.items()}
        calibrated = _Calibrated(network, batches, found, codecs)
        placements = {}
        for name, (step, low, high) in self._grids(level, calibrated).items():
            codec = klt_codec(codecs[name].rows.numpy(), codecs[name].means.numpy(), step, low, high, PooledHuffman())
            placements[name] = Placement(site_of(network, name, "before"), codec)
        return placements

    @abstractmethod
    def _grids(self, level: float, calibrated: _Calibrated) -> Grids:
        """The grid of each map; ValueError for a level out of its range."""


class Fmtc2019(_Fmtc):
    """The step is the range of all components of the layer over 2**level - 2, as in the authors' code."""

    name: ClassVar[str] = "fmtc2019"
    level_name = "bits over the range of the components"
    levels = (9.0, 8.0, 7.0, 6.0)

    def _grids(self, level: float, calibrated: _Calibrated) -> Grids:
        if not 1 < level <= 16:
            raise ValueError(f"level must be above 1 and at most 16 bits, not {level}")
        network, batches, _, codecs = calibrated
        ranges = component_ranges(network, batches, lambda name, x: codecs[name].project(x), "before")
        grids = {}
        for name, (lows, highs) in ranges.items():
            low, high = float(lows.min()), float(highs.max())
            step = (high - low) / (2**level - 2) or 1.0
            grids[name] = step, math.floor(low / step), math.ceil(high / step)
        return grids


class Fmtc2019Rms(_Fmtc):
    """The step is ``level`` times the root mean square of the map after its activation, as for fmcodec.

    Not the authors' rule: it compares the coding at equal steps.
    """

    name: ClassVar[str] = "fmtc2019-rms"
    level_name = "step / RMS of the map"
    levels = (0.1, 0.15, 0.2, 0.3)

    def _grids(self, level: float, calibrated: _Calibrated) -> Grids:
        if not 0 < level < math.inf:
            raise ValueError(f"level must be a number above 0, not {level}")
        return {name: (level * statistics.rms, LOWEST, -LOWEST - 1) for name, statistics in calibrated.found.items()}


def _codec(statistics: MapStatistics) -> ProjectionCodec:
    """The transform alone."""
    components = statistics.moments.principal_components()
    return klt_codec(components.rows, components.means, 1.0, LOWEST, -LOWEST - 1, PooledHuffman())
