"""DRAM parts: organisation, timing, currents and termination of one chip or channel, read from TOML files.

The files of this package are in ``energy/parts``; each says where its numbers come from, and which of them are assumed.
"""

from __future__ import annotations

import math
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

import msgspec

from fmcodec.errors import FmcodecError

MAX_CYCLES = 1 << 20
MAX_VOLTS = 5.0
MAX_MILLIAMPERES = 5000.0
MAX_PIN_MILLIWATTS = 200.0


class Organisation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Size of one chip: data pins, transfers per burst, banks and the bytes of a row (of a page)."""

    width: int
    burst_length: int
    bank_groups: int
    banks_per_group: int
    page_bytes: int
    rows: int


class Timing(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Length of a clock in nanoseconds, and minimal distances of commands in clocks.

    Names are those of data sheets. ``_s`` holds between bank groups, ``_l`` within one; with one bank group they are
    equal. ``trtrs`` is the gap on the bus between ranks and before a write after a read.
    """

    tck_ns: float
    cl: int
    cwl: int
    trcd: int
    trp: int
    tras: int
    trfc: int
    trefi: int
    tfaw: int
    trrd_s: int
    trrd_l: int
    tccd_s: int
    tccd_l: int
    twtr_s: int
    twtr_l: int
    twr: int
    trtp: int
    trtrs: int


class Rail(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One supply: volts, and milliamperes of one chip in each state of the data sheet.

    ``idd0`` cycles one bank, ``idd2`` is standby with all banks closed and ``idd3`` with one open (``n``: clock
    enabled, ``p``: powered down), ``idd4`` reads or writes without a gap, ``idd5b`` refreshes without a gap, and
    ``idd6`` is self refresh.
    """

    name: str
    volts: float
    idd0: float
    idd2n: float
    idd2p: float
    idd3n: float
    idd3p: float
    idd4r: float
    idd4w: float
    idd5b: float
    idd6: float


class Pins(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Milliwatts of one pin while data move.

    ``read`` drives a pin, ``write`` terminates it; ``other_rank_read`` and ``other_rank_write`` terminate it in a rank
    that is not addressed. A strobe, and for writes a mask, comes with every byte.
    """

    read: float
    write: float
    other_rank_read: float = 0.0
    other_rank_write: float = 0.0


class Range(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Factors on all energies of the chip for the low and the high estimate; the nominal one uses what is printed."""

    low: float
    high: float


class Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One DRAM chip, or one channel of a stack.

    Parameters
    ----------
    name, standard, source
        What it is, its family (``DDR3``, ...), and where the numbers come from.
    organisation, timing, rails, pins
        See the classes.
    range
        For low and high estimates.
    notes
        Dotted key, such as ``timing.trtp``, to what is known of a value that is not from the source.

    Raises
    ------
    FmcodecError
        A value is out of its range, or values contradict each other.
    """

    name: str
    standard: str
    source: str
    organisation: Organisation
    timing: Timing
    rails: tuple[Rail, ...]
    pins: Pins
    range: Range
    notes: dict[str, str] = {}

    def __post_init__(self) -> None:
        _check_organisation(self.organisation)
        _check_timing(self.timing, self.organisation)
        if not self.rails:
            raise FmcodecError("rails: a part needs at least one supply")
        for rail in self.rails:
            _check_rail(rail)
        for name, milliwatts in msgspec.structs.asdict(self.pins).items():
            _check_number(f"pins.{name}", milliwatts, 0.0, MAX_PIN_MILLIWATTS)
        _check_number("range.low", self.range.low, 0.01, 1.0)
        _check_number("range.high", self.range.high, 1.0, 10.0)
        for key in self.notes:
            _check_key(self, key)

    @property
    def banks(self) -> int:
        """Banks of one chip."""
        return self.organisation.bank_groups * self.organisation.banks_per_group

    @property
    def burst_clocks(self) -> int:
        """Clocks that the bus is busy with one burst: two transfers a clock."""
        return self.organisation.burst_length // 2

    @property
    def burst_bytes(self) -> int:
        """Bytes that one chip moves in a burst."""
        return self.organisation.burst_length * self.organisation.width // 8

    @property
    def peak_gb_per_s(self) -> float:
        """Bytes of one chip per nanosecond while its bus is never idle."""
        return self.burst_bytes / (self.burst_clocks * self.timing.tck_ns)


def part_names() -> tuple[str, ...]:
    """Names of the parts in this package, for `load_part`."""
    return tuple(sorted(file.name[: -len(".toml")] for file in _folder().iterdir() if file.name.endswith(".toml")))


def load_part(name: str | Path) -> Part:
    """A part of this package by its name, or one of your own by the path of its TOML file.

    Parameters
    ----------
    name
        One of `part_names`, or a path that ends in ``.toml``.

    Raises
    ------
    FmcodecError
        There is no such part, or its file lacks a key, has an unknown one, or a value makes no sense.

    Examples
    --------
    >>> load_part("ddr3-1066-x16").rails[0].idd4r
    220.0
    """
    return _load(str(name))


@lru_cache(maxsize=64)
def _load_shipped(name: str) -> Part:
    return parse_part((_folder() / f"{name}.toml").read_text(encoding="utf-8"))


def _load(name: str) -> Part:
    if name in part_names():
        return _load_shipped(name)
    if not name.endswith(".toml"):
        raise FmcodecError(f"no part {name!r}: take one of {', '.join(part_names())}, or the path of a .toml file")
    path = Path(name)
    if not path.is_file():
        raise FmcodecError(f"no file {name}")
    try:
        return parse_part(path.read_text(encoding="utf-8"))
    except FmcodecError as error:
        raise FmcodecError(f"{name}: {error}") from error


def parse_part(text: str) -> Part:
    """The part that a TOML text describes; errors as `load_part`."""
    try:
        return msgspec.toml.decode(text, type=Part)
    except FmcodecError:
        raise
    except (msgspec.MsgspecError, UnicodeDecodeError, ValueError) as error:
        cause = error.__cause__
        raise FmcodecError(str(cause) if isinstance(cause, FmcodecError) else f"not a valid part: {error}") from error


def _folder() -> Any:
    return resources.files("fmcodec.energy") / "parts"


def _check_organisation(organisation: Organisation) -> None:
    for name, value in msgspec.structs.asdict(organisation).items():
        if not _is_power_of_two(value) and name != "rows":
            raise FmcodecError(f"organisation.{name} must be a power of two, not {value}")
    if not 1 <= organisation.rows <= 1 << 24:
        raise FmcodecError(f"organisation.rows must be 1 to {1 << 24}, not {organisation.rows}")
    if not 4 <= organisation.width <= 1024:
        raise FmcodecError(f"organisation.width must be 4 to 1024 pins, not {organisation.width}")
    if not 2 <= organisation.burst_length <= 64:
        raise FmcodecError(f"organisation.burst_length must be 2 to 64, not {organisation.burst_length}")
    if organisation.bank_groups * organisation.banks_per_group > 64:
        raise FmcodecError("organisation: a chip has at most 64 banks")
    burst = organisation.burst_length * organisation.width // 8
    if not burst <= organisation.page_bytes <= 1 << 20:
        raise FmcodecError(f"organisation.page_bytes must be {burst} (a burst) to {1 << 20}")


def _check_timing(timing: Timing, organisation: Organisation) -> None:
    _check_number("timing.tck_ns", timing.tck_ns, 0.05, 100.0)
    for name, clocks in msgspec.structs.asdict(timing).items():
        if name != "tck_ns" and not 1 <= clocks <= MAX_CYCLES:
            raise FmcodecError(f"timing.{name} must be 1 to {MAX_CYCLES} clocks, not {clocks}")
    if timing.tras < timing.trcd:
        raise FmcodecError("timing.tras must not be shorter than timing.trcd")
    if 2 * (timing.trfc + timing.trp + timing.trcd + timing.trtp) > timing.trefi:
        raise FmcodecError("timing.trefi must be at least twice the time of a refresh")
    for name in ("trrd", "tccd", "twtr"):
        if getattr(timing, f"{name}_l") < getattr(timing, f"{name}_s"):
            raise FmcodecError(f"timing.{name}_l must not be shorter than timing.{name}_s")
    if 2 * timing.tccd_s < organisation.burst_length:
        raise FmcodecError("timing.tccd_s must be at least half of organisation.burst_length")


def _check_rail(rail: Rail) -> None:
    _check_number(f"rails.{rail.name}.volts", rail.volts, 0.1, MAX_VOLTS)
    for name, value in msgspec.structs.asdict(rail).items():
        if name not in ("name", "volts"):
            _check_number(f"rails.{rail.name}.{name}", value, 0.0, MAX_MILLIAMPERES)
    for active in ("idd4r", "idd4w", "idd5b"):
        if getattr(rail, active) < rail.idd3n:
            raise FmcodecError(f"rails.{rail.name}.{active} must not be below idd3n: it includes standby")


def _check_number(name: str, value: float, low: float, high: float) -> None:
    if not (math.isfinite(value) and low <= value <= high):
        raise FmcodecError(f"{name} must be {low:g} to {high:g}, not {value:g}")


def _check_key(part: Part, key: str) -> None:
    """That a note is about something the part has: ``timing.trtp``, ``rails.VPP.idd5b``, ``pins``."""
    first, _, rest = key.partition(".")
    if first == "rails" and rest:
        name, _, field = rest.partition(".")
        known = any(rail.name == name and (not field or field in rail.__struct_fields__) for rail in part.rails)
    elif first in ("organisation", "timing", "pins", "range", "rails"):
        known = not rest or rest in getattr(part, first).__struct_fields__
    else:
        known = False
    if not known:
        raise FmcodecError(f"notes: the part has no {key}")


def _is_power_of_two(value: int) -> bool:
    return value > 0 and value & (value - 1) == 0
