"""Joules and seconds of DRAM traffic by the currents of a data sheet: the mode ``datasheet``.

Equations of Micron's system power method, command by command, as the public simulators DRAMPower and DRAMsim3 have
them. Per chip and supply, with t in seconds:

    activate and precharge  V * (IDD0 * tRC - IDD3N * tRAS - IDD2N * tRP)
    read, write             V * (IDD4R - IDD3N) * burst,  V * (IDD4W - IDD3N) * burst
    refresh                 V * (IDD5B - IDD3N) * tRFC
    standby                 V * IDD3N while a row is open, V * IDD2N (or IDD2P, powered down) while none is

docs/energy.md explains them with an example, and says how well they agree with the simulators.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from fmcodec.energy.address import IntArray, Location, Memory
from fmcodec.energy.parts import Part, Rail
from fmcodec.energy.plan import AccessPlan, Bursts
from fmcodec.energy.schedule import Schedule, Stream, schedule
from fmcodec.errors import FmcodecError

PUMP_RAIL = "VPP"
MILLI = 1e-3
NANO = 1e-9


class DramEnergy(msgspec.Struct, frozen=True, kw_only=True):
    """Joules by term.

    ``activate`` to ``power_down`` are those of the chip's core supplies; ``pump`` is all of the VPP supply of DDR4;
    ``read_io`` drives the pins, ``write_io`` terminates them.
    """

    activate: float = 0.0
    read: float = 0.0
    write: float = 0.0
    refresh: float = 0.0
    active_standby: float = 0.0
    idle_standby: float = 0.0
    power_down: float = 0.0
    pump: float = 0.0
    read_io: float = 0.0
    write_io: float = 0.0

    @property
    def core(self) -> float:
        """What the public simulators count: no pump, no I/O."""
        return math.fsum(getattr(self, name) for name in TERMS[: TERMS.index("pump")])

    @property
    def total(self) -> float:
        """Sum of all terms."""
        return math.fsum(getattr(self, name) for name in TERMS)

    def __add__(self, other: DramEnergy) -> DramEnergy:
        return DramEnergy(**{name: getattr(self, name) + getattr(other, name) for name in TERMS})


TERMS = DramEnergy.__struct_fields__


class DramCost(msgspec.Struct, frozen=True, kw_only=True):
    """What traffic costs on a memory.

    Parameters
    ----------
    read_bursts, written_bursts
        Whole bursts moved.
    activates
        Rows opened; after a refresh, those still needed count again. A mean, so not a whole number.
    refreshes
        Refresh commands in ``seconds``, for all ranks.
    bytes_moved
        Bytes on the bus: bursts times their size.
    busy_seconds
        Time that the traffic needs, refresh included.
    seconds
        Time that is paid for: busy, or longer if something else is slower.
    energy
        Joules by term, with the currents as printed.
    low_joules, high_joules
        The total with the factors of the part's range on the chip; I/O as it is.
    """

    read_bursts: int
    written_bursts: int
    activates: float
    refreshes: float
    bytes_moved: int
    busy_seconds: float
    seconds: float
    energy: DramEnergy
    low_joules: float
    high_joules: float

    @property
    def joules(self) -> float:
        """The nominal total."""
        return self.energy.total

    @property
    def gb_per_s(self) -> float:
        """Bytes on the bus per nanosecond while busy."""
        return self.bytes_moved / self.busy_seconds * NANO if self.busy_seconds else 0.0


def dram_cost(
    traffic: AccessPlan | Bursts, memory: Memory, *, seconds: float | None = None, power_down: bool = False
) -> DramCost:
    """Energy and time of traffic.

    Parameters
    ----------
    traffic
        A plan, or bursts.
    memory
        Part, bus and address map.
    seconds
        Time until the next traffic, if longer than the bus needs: that of compute or codec.
    power_down
        Whether the memory is powered down (IDD2P) in the rest of that time, or stands by with all rows closed (IDD2N).

    Raises
    ------
    FmcodecError
        ``seconds`` is negative or not finite.
    """
    return dram_costs([traffic], memory, seconds=[seconds], power_down=power_down)[0]


def dram_costs(
    traffic: Sequence[AccessPlan | Bursts],
    memory: Memory,
    *,
    seconds: Sequence[float | None] | None = None,
    power_down: bool = False,
) -> list[DramCost]:
    """`dram_cost` of several pieces of traffic, each on its own; faster than one by one."""
    bursts = [item.bursts(memory.burst_bytes) if isinstance(item, AccessPlan) else item for item in traffic]
    works = [_work(item, memory) for item in bursts]
    schedules = schedule([work.stream for work in works], memory)
    return [
        _cost(work, result, memory, given, power_down)
        for work, result, given in zip(works, schedules, seconds or [None] * len(works), strict=True)
    ]


class _Work(NamedTuple):
    """Bursts as they are served, and what to count of them."""

    stream: Stream
    reads: int
    writes: int
    activates: int


def _work(bursts: Bursts, memory: Memory) -> _Work:
    order = service_order(bursts.is_write, memory)
    location = memory.locate(bursts.addresses[order])
    is_write = bursts.is_write[order]
    writes = int(np.count_nonzero(is_write))
    return _Work(Stream(*location, is_write), len(order) - writes, writes, row_activates(location))


def service_order(is_write: npt.NDArray[np.bool_], memory: Memory) -> IntArray:
    """Indices of bursts in the order in which a controller serves them.

    Writes wait until a batch has come. Then they go first, before the reads that still wait in the queue, which is full
    where traffic comes as fast as it is served.
    """
    position = np.arange(len(is_write))
    key = 2 * position
    reads, writes = np.flatnonzero(~is_write), np.flatnonzero(is_write)
    key[reads] = np.concatenate((key[reads[memory.queue_depth :]], np.full(len(reads), 2 * len(key))))[: len(reads)]
    if len(writes):
        batch = memory.write_batch
        last = np.minimum((np.arange(len(writes)) // batch + 1) * batch, len(writes)) - 1
        key[writes] = 2 * writes[last] - 1
    return np.argsort(key, kind="stable")


def row_activates(location: Location) -> int:
    """Rows opened when all banks are closed at first and each serves its bursts in order, keeping its row open."""
    if not len(location.row):
        return 0
    order = np.argsort(location.bank, kind="stable")
    bank, row = location.bank[order], location.row[order]
    return 1 + int(np.count_nonzero((bank[1:] != bank[:-1]) | (row[1:] != row[:-1])))


def _cost(work: _Work, result: Schedule, memory: Memory, given: float | None, power_down: bool) -> DramCost:
    if given is not None and not (math.isfinite(given) and given >= 0.0):
        raise FmcodecError(f"seconds must be 0 or more, not {given}")
    t, clock = memory.part.timing, memory.part.timing.tck_ns * NANO
    # While a rank refreshes it serves nothing; with several ranks the others go on, and one in so many waits.
    busy_clocks = result.clocks / (1 - memory.clocks.refresh / t.trefi)
    clocks = max(busy_clocks, (given or 0.0) / clock)
    refreshes = clocks / t.trefi * memory.ranks
    activates = work.activates * result.row_share + busy_clocks / t.trefi * result.needed_rows
    closed = _closed_clocks(work.stream, busy_clocks, memory)
    rest = (clocks - busy_clocks) * memory.ranks
    state = _State(
        activates=activates,
        reads=work.reads,
        writes=work.writes,
        refreshes=refreshes,
        active=(busy_clocks * memory.ranks - closed) * clock,
        closed=(closed + (0.0 if power_down else rest)) * clock,
        down=(rest if power_down else 0.0) * clock,
    )
    energy = chip_energy(memory.part, state) if work.reads + work.writes or clocks else DramEnergy()
    energy = DramEnergy(**{name: memory.chips * getattr(energy, name) for name in TERMS})
    energy += _pin_energy(memory, work.reads, work.writes)
    core, io = energy.core + energy.pump, energy.read_io + energy.write_io
    return DramCost(
        read_bursts=work.reads,
        written_bursts=work.writes,
        activates=activates,
        refreshes=refreshes,
        bytes_moved=(work.reads + work.writes) * memory.burst_bytes,
        busy_seconds=busy_clocks * clock,
        seconds=clocks * clock,
        energy=energy,
        low_joules=core * memory.part.range.low + io,
        high_joules=core * memory.part.range.high + io,
    )


def _closed_clocks(stream: Stream, busy_clocks: float, memory: Memory) -> float:
    """Clocks in which all banks of a rank are closed while there is traffic, summed over ranks.

    After a refresh a rank stays closed until it is used. With one bank in use, it is closed whenever that bank changes
    its row; with more, one of them is always open.
    """
    t, count = memory.part.timing, len(stream.row)
    if not count:
        return busy_clocks * memory.ranks
    intervals = max(1, round(busy_clocks / t.trefi))
    interval = np.arange(count) * intervals // count
    used = np.zeros((intervals, memory.banks), bool)
    used[interval, stream.bank] = True
    banks_used = used.reshape(intervals, memory.ranks, -1).sum(axis=2)
    clocks = busy_clocks / intervals
    refresh = min(busy_clocks / intervals, (t.trfc + t.trp) * clocks / t.trefi)
    unused = np.count_nonzero(banks_used == 0) * clocks
    rank = stream.bank // memory.part.banks
    alone = banks_used[interval, rank] == 1
    changes = np.count_nonzero(alone[1:] & (stream.row[1:] != stream.row[:-1]))
    return float(unused + np.count_nonzero(banks_used) * refresh + changes * t.trp)


class _State(NamedTuple):
    """Commands of one chip position of all ranks, and seconds in each state, summed over ranks."""

    activates: float
    reads: int
    writes: int
    refreshes: float
    active: float
    closed: float
    down: float


def chip_energy(part: Part, state: _State) -> DramEnergy:
    """Joules of one chip, I/O apart."""
    energy = DramEnergy()
    for rail in part.rails:
        command = command_energy(part, rail)
        milliwatts = rail.volts * MILLI
        terms = DramEnergy(
            activate=state.activates * command.activate,
            read=state.reads * command.read,
            write=state.writes * command.write,
            refresh=state.refreshes * command.refresh,
            active_standby=milliwatts * rail.idd3n * state.active,
            idle_standby=milliwatts * rail.idd2n * state.closed,
            power_down=milliwatts * rail.idd2p * state.down,
        )
        energy += DramEnergy(pump=terms.total) if rail.name == PUMP_RAIL else terms
    return energy


class CommandEnergy(NamedTuple):
    """Joules that one command of one chip takes from one supply, above standby."""

    activate: float
    read: float
    write: float
    refresh: float


def command_energy(part: Part, rail: Rail) -> CommandEnergy:
    """Energy of each command; an activate includes the precharge that ends it.

    Examples
    --------
    >>> from fmcodec.energy.parts import load_part
    >>> part = load_part("ddr3-1066-x16")
    >>> f"{command_energy(part, part.rails[0]).activate * 1e9:.3f} nJ"
    '1.493 nJ'
    """
    t = part.timing
    scale = rail.volts * MILLI * t.tck_ns * NANO
    cycle = rail.idd0 * (t.tras + t.trp) - rail.idd3n * t.tras - rail.idd2n * t.trp
    return CommandEnergy(
        activate=scale * max(cycle, 0.0),
        read=scale * (rail.idd4r - rail.idd3n) * part.burst_clocks,
        write=scale * (rail.idd4w - rail.idd3n) * part.burst_clocks,
        refresh=scale * (rail.idd5b - rail.idd3n) * t.trfc,
    )


def _pin_energy(memory: Memory, reads: int, writes: int) -> DramEnergy:
    """Data pins, one strobe a byte, and one mask a byte for writes; likewise in ranks that only terminate."""
    part, pins = memory.part, memory.part.pins
    width = part.organisation.width
    strobes = max(width // 8, 1)
    burst = part.burst_clocks * part.timing.tck_ns * NANO * MILLI * memory.chips
    others = memory.ranks - 1
    return DramEnergy(
        read_io=reads * burst * (width + strobes) * (pins.read + others * pins.other_rank_read),
        write_io=writes * burst * (width + 2 * strobes) * (pins.write + others * pins.other_rank_write),
    )
