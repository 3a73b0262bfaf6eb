"""Lossless coders of the literature on quantized maps: zero-value compression, run lengths, EBPC.

Sources and definitions are those of `fmcodec.baselines`: M. Rhu et al., arXiv 1705.01626; Y.-H. Chen et al., IEEE JSSC
52(1), 2017; L. Cavigelli et al., arXiv 1908.11645.

Published are the coders. The quantizer before them is ours: values after the activation, in uniform levels from 0 to
the largest value of calibration (symmetric about 0 if there are negative ones). The published evaluation of EBPC scales
maps likewise, to a share of the range.
"""

from __future__ import annotations

import math
from typing import ClassVar

from fmcodec import baselines
from fmcodec.evaluation import Network, Placement
from fmcodec.systems.symbol_codec import UniformCodec
from fmcodec.systems.system import Batches, Placements, System, measure, site_of


class _Lossless(System):
    """Level: bits of a value."""

    stated = "the coder, lossless"
    reconstruction = "the quantizer; our readings of the coders are in fmcodec.baselines"
    level_name = "bits of a value before coding"
    levels = (8.0, 6.0, 5.0)
    coder_name: ClassVar[str]

    def calibrate(self, network: Network, batches: Batches, level: float) -> Placements:
        """As in `System`."""
        if level != math.floor(level) or not 2 <= level <= 16:
            raise ValueError(f"level must be a whole number of bits, 2 to 16, not {level}")
        placements = {}
        for name, statistics in measure(network, batches, "after").items():
            low, high = statistics.range.minimum, statistics.range.maximum
            coder = baselines.coder(self.coder_name, bits=int(level), signed=low < 0)
            codec = UniformCodec.over_range(low, high, int(level), coder)
            placements[name] = Placement(site_of(network, name, "after"), codec)
        return placements


class Zvc(_Lossless):
    """Zero-value compression."""

    name: ClassVar[str] = "zvc"
    coder_name = "zvc"
    source = "M. Rhu et al., arXiv 1705.01626, HPCA 2018"


class Rlc(_Lossless):
    """Run-length compression of Eyeriss, whose levels have 16 bits."""

    name: ClassVar[str] = "rlc"
    coder_name = "rlc"
    source = "Y.-H. Chen et al., IEEE JSSC 52(1), 2017"


class Ebpc(_Lossless):
    """Extended bit-plane compression, blocks of 8."""

    name: ClassVar[str] = "ebpc"
    coder_name = "ebpc"
    source = "L. Cavigelli et al., arXiv 1908.11645, JETCAS 2019"
