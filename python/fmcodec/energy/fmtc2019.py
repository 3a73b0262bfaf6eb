"""DRAM energy by the formula published with the feature map transform coding paper of 2019.

Source: B. Chmiel et al., "Feature Map Transform Coding for Energy-Efficient CNN Inference", arXiv 1905.10830, and the
authors' script ``cnn_power.py``. One x16 DDR3-1066 part is modelled by its read and write current alone:

    E = V * I * (values * bits / 16) * 4 / 1066e6

The factor 4 has no physical reading for one x16 part that moves 16 bits per transfer at 1066e6 transfers per second.
Ratios of energies are not touched by it; absolute joules of this mode must not be taken for a measurement.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

SUPPLY_VOLTS = 1.5
READ_AMPERES = 0.220
WRITE_AMPERES = 0.180
WORD_BITS = 16
TRANSFERS_PER_SECOND = 1066e6
PUBLISHED_FACTOR = 4
BASELINE_BITS = 8.0


def transfer_energy(bits_in: float, bits_out: float, values_in: int, values_out: int) -> float:
    """Joules to read the input map of a layer once and to write its output map once.

    Parameters
    ----------
    bits_in, bits_out
        Mean bits per value of the input and of the output map as stored.
    values_in, values_out
        Number of values of the two maps.

    Examples
    --------
    >>> round(transfer_energy(8, 1.39278018, 12544, 802816) * 1e6, 6)
    78.568395
    """
    return _energy(READ_AMPERES, bits_in, values_in) + _energy(WRITE_AMPERES, bits_out, values_out)


class LayerTraffic(msgspec.Struct, frozen=True):
    """One feature map: number of values, and mean bits per value as stored."""

    values: int
    bits_per_value: float


class NetworkEnergy(msgspec.Struct, frozen=True, kw_only=True):
    """Joules to write every map once and read it once, coded and at 8 bits per value."""

    read_joules: float
    write_joules: float
    baseline_total_joules: float

    @property
    def total_joules(self) -> float:
        """Joules of all reads and writes of the coded maps."""
        return self.read_joules + self.write_joules

    @property
    def saving(self) -> float:
        """Share of the 8-bit energy that is saved: 0 is none, 1 is all, negative is a loss."""
        return 1.0 - self.total_joules / self.baseline_total_joules if self.baseline_total_joules else 0.0


def network_energy(layers: Iterable[LayerTraffic]) -> NetworkEnergy:
    """Energy of a network whose every map is written once and read once, compared with maps of 8 bits per value."""
    read = write = baseline = 0.0
    for layer in layers:
        read += _energy(READ_AMPERES, layer.bits_per_value, layer.values)
        write += _energy(WRITE_AMPERES, layer.bits_per_value, layer.values)
        baseline += transfer_energy(BASELINE_BITS, BASELINE_BITS, layer.values, layer.values)
    return NetworkEnergy(read_joules=read, write_joules=write, baseline_total_joules=baseline)


def _energy(amperes: float, bits: float, values: int) -> float:
    words = values * bits / WORD_BITS
    return SUPPLY_VOLTS * amperes * words * PUBLISHED_FACTOR / TRANSFERS_PER_SECOND
