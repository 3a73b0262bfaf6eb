"""STC: an orthogonal, significance-aware transform across channels, then quantization and a code.

Source: Xiong et al., DAC 2020, doi 10.1109/DAC18072.2020.9218522.

What the abstract states: an orthogonal transform across channels that is aware of significance, quantization, encoding;
external memory access falls 2.57 times on average at a loss of 0.5 %.

How the transform is made and what the code is could not be found. This is a reconstruction: KLT of all channels after
the activation, components in the order of their variance; one step for all; masked blocks of 16 neighbouring components
with a width each (`fmcodec.baselines.DctCm`), which cost little where all components are insignificant.
"""

from __future__ import annotations

from typing import ClassVar

from fmcodec.baselines import DctCm
from fmcodec.evaluation import Network, Placement
from fmcodec.systems.symbol_codec import klt_codec, word_range
from fmcodec.systems.system import Batches, Placements, System, measure, require_positive, site_of

BLOCK = 16
COEFFICIENT_BITS = 12


class Stc2020(System):
    """Level: step of components as a share of the root mean square of the map."""

    name: ClassVar[str] = "stc2020"
    source = "Xiong et al., DAC 2020 (abstract only)"
    stated = "orthogonal significance-aware transform across channels, quantization, encoding"
    reconstruction = "KLT after the activation, one step, masked blocks of components with a width each"
    level_name = "step / RMS of the map"
    levels = (0.1, 0.2, 0.3, 0.5)

    def calibrate(self, network: Network, batches: Batches, level: float) -> Placements:
        """As in `System`."""
        require_positive(level)
        low, high = word_range(COEFFICIENT_BITS, signed=True)
        placements = {}
        for name, statistics in measure(network, batches, "after").items():
            components = statistics.moments.principal_components()
            coder = DctCm(bits=COEFFICIENT_BITS, signed=True, block=min(BLOCK, len(components.means)))
            step = level * statistics.rms
            codec = klt_codec(components.rows, components.means, step, low, high, coder, by_position=True)
            placements[name] = Placement(site_of(network, name, "after"), codec)
        return placements
