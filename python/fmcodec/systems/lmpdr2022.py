"""Mixed precision and dimension reduction: channel groups by importance, each with a bit width of its own.

Source: Tai et al., arXiv 2207.07931, SiPS 2022.

What the abstract states: channels are separated into groups by their importance, each group has its own policy of
compression, and bit widths are found by a dynamic search; all of it is learned.

This is the part without training, and a reconstruction: channels are principal components before the activation, as
in the earlier work of the authors on projections (see `cap2021`); importance is variance; there are 8 groups of equal
size, the last one filled up with what is left; widths of all groups of all layers are found together, one bit at a time
to the group whose error, relative to the power of its layer, falls most per bit. A group without bits is dimension
reduction. Words have fixed widths; there is no entropy coder. The learned version belongs to training code, which can
take `channel_groups` and `allocated_codec` from here.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from fmcodec.evaluation import Network, Placement
from fmcodec.systems.allocation import MOST_BITS, greedy_bits
from fmcodec.systems.system import Batches, Placements, System, measure, site_of
from fmcodec.systems.tq2020 import allocated_codec

GROUPS = 8


class Lmpdr2022(System):
    """Level: mean bits per value of all maps together."""

    name: ClassVar[str] = "lmpdr2022"
    source = "Tai et al., arXiv 2207.07931, SiPS 2022 (abstract only)"
    stated = "channel groups by importance, a policy for each, bit widths by dynamic search, learned"
    reconstruction = "no training; principal components, variance as importance, 8 groups, greedy search by error"
    level_name = "bits per value"
    levels = (4.0, 3.0, 2.0, 1.5)

    def calibrate(self, network: Network, batches: Batches, level: float) -> Placements:
        """As in `System`."""
        if not 0 < level <= MOST_BITS:
            raise ValueError(f"level must be above 0 and at most {MOST_BITS} bits, not {level}")
        found = measure(network, batches, "before")
        components = {name: statistics.moments.principal_components() for name, statistics in found.items()}
        groups, errors, counts = [], [], []
        for name, statistics in found.items():
            for group in channel_groups(len(components[name].variances)):
                groups.append((name, group))
                values = statistics.positions * len(group)
                errors.append(statistics.positions * float(components[name].variances[group].sum()) / statistics.rms**2)
                counts.append(float(values))
        # Errors are relative to the power of their layer, so that all layers count alike for each of their values.
        bits = greedy_bits(errors, counts, level * sum(counts))
        widths = {name: np.zeros(len(entry.variances), dtype=np.int64) for name, entry in components.items()}
        for (name, group), count in zip(groups, bits, strict=True):
            widths[name][group] = count
        return {
            name: Placement(
                site_of(network, name, "before"),
                allocated_codec(components[name], tuple(int(width) for width in widths[name])),
            )
            for name in found
        }


def channel_groups(channels: int) -> list[list[int]]:
    """Components in the order of importance, in up to 8 groups of equal size and a rest."""
    size = max(1, channels // GROUPS)
    starts = range(0, channels, size) if channels < GROUPS else range(0, size * GROUPS, size)
    return [list(range(start, channels if start == starts[-1] else start + size)) for start in starts]
