"""A part at another supply voltage or clock than those of its data sheet."""

from __future__ import annotations

import math

import msgspec

from fmcodec.energy.parts import Part, Rail, Timing
from fmcodec.errors import FmcodecError

# Those of a data sheet that are counted in clocks whatever the clock; all others are times and are rounded up.
COUNTED_IN_CLOCKS = ("tccd_s", "trtrs")


def scaled_part(part: Part, *, volts: dict[str, float] | None = None, tck_ns: float | None = None) -> Part:
    """The part with other volts on some rails, or another clock.

    By Micron's system power method: energy goes with the square of the voltage, so currents go with the voltage.
    Standby and burst currents go with the clock; the energy of an activate and of a refresh does not depend on it.

    Parameters
    ----------
    part
        As in its data sheet.
    volts
        Name of a rail to its volts.
    tck_ns
        Nanoseconds of a clock, not shorter than those of the part.

    Raises
    ------
    FmcodecError
        There is no such rail, the clock is faster than the part, or the result is out of range.

    Examples
    --------
    >>> from fmcodec.energy.parts import load_part
    >>> low = scaled_part(load_part("ddr3-1066-x16"), volts={"VDD": 1.35})
    >>> low.rails[0].idd4r, round(low.rails[0].volts * low.rails[0].idd4r / 330, 4)
    (198.0, 0.81)
    """
    volts = volts or {}
    unknown = volts.keys() - {rail.name for rail in part.rails}
    if unknown:
        raise FmcodecError(f"the part has no rail {min(unknown)!r}")
    tck_ns = part.timing.tck_ns if tck_ns is None else tck_ns
    if not (math.isfinite(tck_ns) and tck_ns >= part.timing.tck_ns):
        raise FmcodecError(f"tck_ns must not be below {part.timing.tck_ns} of the part, not {tck_ns}")
    timing = _timing(part.timing, tck_ns)
    rails = tuple(_rail(rail, part.timing, timing, volts.get(rail.name, rail.volts)) for rail in part.rails)
    return msgspec.structs.replace(part, timing=timing, rails=rails)


def _timing(old: Timing, tck_ns: float) -> Timing:
    ratio = old.tck_ns / tck_ns
    fields = {
        # A whole number of clocks may be a little above itself in floating point.
        name: value if name in COUNTED_IN_CLOCKS else max(math.ceil(value * ratio - 1e-9), 1)
        for name, value in msgspec.structs.asdict(old).items()
    }
    # The interval between refreshes is a maximum, the only one.
    fields["trefi"] = math.floor(old.trefi * ratio + 1e-9)
    fields["tccd_l"] = max(fields["tccd_l"], old.tccd_s)
    return Timing(**{**fields, "tck_ns": tck_ns})


def _rail(rail: Rail, old: Timing, new: Timing, volts: float) -> Rail:
    clock = old.tck_ns / new.tck_ns
    standby = {name: getattr(rail, name) * clock for name in ("idd2n", "idd2p", "idd3n", "idd3p", "idd4r", "idd4w")}
    # The charge of an activate and of a refresh above standby stays, in mA * ns.
    activate = old.tck_ns * (rail.idd0 * (old.tras + old.trp) - rail.idd3n * old.tras - rail.idd2n * old.trp)
    refresh = old.tck_ns * (rail.idd5b - rail.idd3n) * old.trfc
    cycle = activate / new.tck_ns + standby["idd3n"] * new.tras + standby["idd2n"] * new.trp
    currents = {
        **standby,
        "idd0": cycle / (new.tras + new.trp),
        "idd5b": standby["idd3n"] + refresh / (new.trfc * new.tck_ns),
        "idd6": rail.idd6,
    }
    ratio = volts / rail.volts
    return Rail(name=rail.name, volts=volts, **{name: value * ratio for name, value in currents.items()})
