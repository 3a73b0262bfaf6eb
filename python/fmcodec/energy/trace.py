"""Burst traces as public DRAM simulators read them: one burst a line, ``0xADDR R`` or ``0xADDR W``."""

from __future__ import annotations

from pathlib import Path
from typing import TextIO

import numpy as np

from fmcodec.energy.plan import AccessPlan, Bursts
from fmcodec.errors import FmcodecError

# Lines made at a time, a few MB of text.
CHUNK_BURSTS = 1 << 17


def write_trace(plan: AccessPlan | Bursts, path: str | Path, burst_bytes: int) -> int:
    """Writes all bursts of a plan to a file, in order, and returns their number."""
    bursts = plan.bursts(burst_bytes) if isinstance(plan, AccessPlan) else plan
    with Path(path).open("w", encoding="ascii") as file:
        for start in range(0, len(bursts.addresses), CHUNK_BURSTS):
            _write(file, bursts, slice(start, start + CHUNK_BURSTS))
    return len(bursts.addresses)


def _write(file: TextIO, bursts: Bursts, part: slice) -> None:
    pairs = zip(bursts.addresses[part].tolist(), bursts.is_write[part].tolist(), strict=True)
    file.writelines(f"0x{address:x} {'W' if is_write else 'R'}\n" for address, is_write in pairs)


def read_trace(path: str | Path) -> Bursts:
    """The bursts of a trace.

    Raises
    ------
    FmcodecError
        A line is not an address and a direction.
    """
    addresses, writes = [], []
    with Path(path).open(encoding="ascii", errors="replace") as file:
        for number, line in enumerate(file, 1):
            fields = line.split()
            try:
                address, direction = fields
                addresses.append(int(address, 16))
                writes.append({"R": False, "W": True}[direction.upper()[:1]])
            except (ValueError, KeyError):
                raise FmcodecError(f"{path}, line {number}: expected '0xADDR R' or '0xADDR W'") from None
            if not 0 <= addresses[-1] < 1 << 62:
                raise FmcodecError(f"{path}, line {number}: the address is out of range")
    return Bursts(np.array(addresses, np.int64), np.array(writes, bool))
