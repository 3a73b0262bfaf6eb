"""DRAM energy as one constant per bit: the mode ``flat``. Good for a first guess, blind to rows, time and direction."""

from __future__ import annotations

import msgspec

from fmcodec.errors import FmcodecError

ACCELERGY = "Accelergy CACTI plug-in, table of DRAM energies"


class FlatConstant(msgspec.Struct, frozen=True):
    """Picojoules to move one bit, and where that is from."""

    picojoules_per_bit: float
    source: str


FLAT_CONSTANTS = {
    "horowitz": FlatConstant(
        640.0 / 32, "M. Horowitz, ISSCC 2014: 640 pJ for 32 bits of DRAM; common knowledge, not looked up again"
    ),
    "lpddr": FlatConstant(40.0, ACCELERGY),
    "lpddr4": FlatConstant(8.0, ACCELERGY),
    "ddr3": FlatConstant(70.0, ACCELERGY),
    "gddr5": FlatConstant(14.0, ACCELERGY),
    "hbm2": FlatConstant(3.9, ACCELERGY),
    "hmc": FlatConstant(4.2, ACCELERGY),
}


def flat_energy(bits: float, memory: str = "horowitz") -> float:
    """Joules to move so many bits, by the constant of that name.

    Raises
    ------
    FmcodecError
        There is no such constant.

    Examples
    --------
    >>> flat_energy(32) * 1e12
    640.0
    """
    if memory not in FLAT_CONSTANTS:
        raise FmcodecError(f"no constant {memory!r}: take one of {', '.join(FLAT_CONSTANTS)}")
    return bits * FLAT_CONSTANTS[memory].picojoules_per_bit * 1e-12
