"""The traces whose results public simulators recorded in ``data/dram_traces.csv``, and what the model says of them."""

from __future__ import annotations

import csv
import functools
import re
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from fmcodec.energy import Bursts, DramCost, Memory, dram_costs, load_part

FILE = Path(__file__).parent / "data" / "dram_traces.csv"
TRAFFIC = 1 << 20
MEMORY_BYTES = 256 << 20
BLOCKS_WITHIN = 64 << 20


def _core_only(name: str, chips: int) -> Memory:
    """A memory without its pump supply, which the simulators do not count."""
    part = load_part(name)
    return Memory(part=msgspec.structs.replace(part, rails=part.rails[:1], notes={}), chips=chips)


MEMORIES = {
    "DDR3-1066 x16": _core_only("ddr3-1066-x16", 1),
    "DDR3-1066 x16, 4 chips": _core_only("ddr3-1066-x16", 4),
    "DDR4-2400 x16": _core_only("ddr4-2400-x16", 1),
}


class Row(NamedTuple):
    """One recorded result, energies in microjoule."""

    memory: str
    trace: str
    bursts: int
    clocks: int
    activates: int
    refreshes: int
    command_microjoule: dict[str, float]
    core_microjoule: float


class Result(NamedTuple):
    """A recorded result beside ours, scaled to the bursts that the simulator finished."""

    row: Row
    cost: DramCost
    core_microjoule: float
    gb_per_s: float
    recorded_gb_per_s: float

    @property
    def energy_deviation(self) -> float:
        """Ours over theirs, minus 1."""
        return self.core_microjoule / self.row.core_microjoule - 1

    @property
    def bandwidth_deviation(self) -> float:
        """Likewise."""
        return self.gb_per_s / self.recorded_gb_per_s - 1


def make_trace(name: str, burst: int) -> Bursts:
    """The bursts of a trace by its name: seq_read, copy256, stride7168, blocks48, ..."""
    if name.startswith("seq"):
        addresses = np.arange(0, TRAFFIC, burst)
        return Bursts(addresses, np.full(len(addresses), name == "seq_write"))
    if name.startswith("copy"):
        chunk = int(name.removeprefix("copy").replace("4K", "4096"))
        read = np.arange(0, TRAFFIC, chunk)[:, None] + np.arange(0, chunk, burst)
        both = np.stack((read, read + MEMORY_BYTES), axis=1)
        return Bursts(both.ravel(), np.broadcast_to([[[False], [True]]], both.shape).ravel())
    count = TRAFFIC // burst // 4
    if name == "random_read":
        addresses = np.random.default_rng(0).integers(0, MEMORY_BYTES // burst, count) * burst
    elif name.startswith("stride"):
        addresses = np.arange(count) * int(name.removeprefix("stride")) % MEMORY_BYTES // burst * burst
    else:
        addresses = _blocks(int(re.sub(r"\D", "", name)), burst)
    return Bursts(addresses, np.zeros(len(addresses), bool))


def _blocks(size: int, burst: int) -> np.ndarray:
    starts = np.random.default_rng(0).integers(0, BLOCKS_WITHIN - size, -(-TRAFFIC // 2 // size))
    return np.concatenate([np.arange(start // burst, (start + size - 1) // burst + 1) for start in starts]) * burst


def rows() -> list[Row]:
    """All recorded results."""
    with FILE.open(encoding="ascii", newline="") as file:
        file.readline()
        return [_row(fields) for fields in csv.DictReader(file)]


def _row(fields: dict[str, str]) -> Row:
    bursts = int(fields["bursts"])
    bits = 8 * bursts * MEMORIES[fields["memory"]].burst_bytes
    terms = ("activate", "read", "write", "refresh")
    return Row(
        memory=fields["memory"],
        trace=fields["trace"],
        bursts=bursts,
        clocks=int(fields["clocks"]),
        activates=int(fields["activates"]),
        refreshes=int(fields["refreshes"]),
        command_microjoule={name: float(fields[f"{name}_pj_per_bit"]) * bits * 1e-6 for name in terms},
        core_microjoule=float(fields["core_microjoule"]),
    )


@functools.cache
def results() -> tuple[Result, ...]:
    """All recorded results beside ours."""
    found = []
    for row in rows():
        memory = MEMORIES[row.memory]
        trace = make_trace(row.trace, memory.burst_bytes)
        cost = dram_costs([trace], memory)[0]
        seconds = row.clocks * memory.part.timing.tck_ns * 1e-9
        found.append(
            Result(
                row=row,
                cost=cost,
                core_microjoule=cost.energy.core * 1e6 * row.bursts / len(trace.addresses),
                gb_per_s=cost.gb_per_s,
                recorded_gb_per_s=row.bursts * memory.burst_bytes / seconds * 1e-9,
            )
        )
    return tuple(found)


def table() -> str:
    """The results as the table of docs/energy.md."""
    lines = [
        "| memory | trace | core energy, uJ: ours | theirs | | GB/s: ours | theirs | |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for result in results():
        row = result.row
        lines.append(
            f"| {row.memory} | {row.trace} | {result.core_microjoule:.1f} | {row.core_microjoule:.1f}"
            f" | {result.energy_deviation:+.1%} | {result.gb_per_s:.2f} | {result.recorded_gb_per_s:.2f}"
            f" | {result.bandwidth_deviation:+.1%} |"
        )
    return "\n".join(lines)
