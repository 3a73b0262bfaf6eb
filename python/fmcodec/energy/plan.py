"""Access plans: which bytes a layer reads and writes, in which order. Energy and traces are made from the same plan."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from fmcodec.errors import FmcodecError

Direction = Literal["read", "write"]

# 16 Mi bursts are some hundred MB of arrays; a plan beyond that is a mistake or should be cut.
MAX_BURSTS = 1 << 24


class Bursts(NamedTuple):
    """Byte addresses of bursts in the order in which they are asked for, and which of them write."""

    addresses: npt.NDArray[np.int64]
    is_write: npt.NDArray[np.bool_]


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """Equal pieces of a tensor at equal distances.

    Parameters
    ----------
    tensor
        Name of what is moved.
    direction
        ``"read"`` or ``"write"``.
    start
        Byte address of the first piece.
    length
        Bytes of a piece.
    count
        Number of pieces.
    stride
        Bytes from the start of a piece to that of the next; it may be negative or 0.
    order
        Runs of a smaller number come first. Those of the same number advance together, each piece in its turn.

    Raises
    ------
    FmcodecError
        A number is out of its range, or a piece begins below address 0.
    """

    tensor: str
    direction: Direction
    start: int
    length: int
    count: int = 1
    stride: int = 0
    order: int = 0

    def __post_init__(self) -> None:
        if self.direction not in ("read", "write"):
            raise FmcodecError(f"direction must be 'read' or 'write', not {self.direction!r}")
        if self.length < 0 or self.count < 0:
            raise FmcodecError(f"a run of {self.tensor} has {self.count} pieces of {self.length} bytes")
        if self.start < 0 or self.start + max(self.count - 1, 0) * self.stride < 0:
            raise FmcodecError(f"a run of {self.tensor} begins below address 0")

    @property
    def size_bytes(self) -> int:
        """Bytes asked for, without what fills up bursts."""
        return self.length * self.count

    def burst_count(self, burst_bytes: int) -> int:
        """Whole bursts that hold the pieces, each piece for itself.

        A piece of b bytes at any address needs (b + B - 1) / B bursts of B bytes on average. Here it is exact: the
        position within a burst repeats after B / gcd(stride, B) pieces.
        """
        if not self.length or not self.count:
            return 0
        period = burst_bytes // math.gcd(self.stride, burst_bytes)
        total = 0
        for index in range(min(period, self.count)):
            offset = (self.start + index * self.stride) % burst_bytes
            pieces = (self.count - index - 1) // period + 1
            total += pieces * ((offset + self.length - 1) // burst_bytes + 1)
        return total


class AccessPlan(msgspec.Struct, frozen=True):
    """All runs of a layer.

    Examples
    --------
    >>> plan = AccessPlan((Run(tensor="map", direction="read", start=8, length=40),))
    >>> plan.size_bytes(), plan.burst_count(16)
    (40, 3)
    """

    runs: tuple[Run, ...]

    def size_bytes(self, direction: Direction | None = None, tensor: str | None = None) -> int:
        """Bytes asked for in one direction, of one tensor, or altogether."""
        return sum(
            run.size_bytes for run in self.runs if direction in (None, run.direction) and tensor in (None, run.tensor)
        )

    def burst_count(self, burst_bytes: int) -> int:
        """Whole bursts of all runs."""
        return sum(run.burst_count(burst_bytes) for run in self.runs)

    def bursts(self, burst_bytes: int) -> Bursts:
        """Every burst, in order.

        Raises
        ------
        FmcodecError
            There are more than 16 Mi.
        """
        count = self.burst_count(burst_bytes)
        if count > MAX_BURSTS:
            raise FmcodecError(f"the plan has {count} bursts, more than {MAX_BURSTS}: cut it into parts")
        runs = [run for run in self.runs if run.size_bytes]
        if not runs:
            return Bursts(np.zeros(0, np.int64), np.zeros(0, bool))
        start, length, is_write = self._pieces(runs)
        first = start // burst_bytes
        number = (start + length - 1) // burst_bytes - first + 1
        begin = np.cumsum(number) - number
        within = np.arange(int(number.sum())) - np.repeat(begin, number)
        return Bursts((np.repeat(first, number) + within) * burst_bytes, np.repeat(is_write, number))

    def _pieces(self, runs: list[Run]) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]:
        """Start, length and direction of every piece, in the order in which they are asked for."""
        counts = np.array([run.count for run in runs])
        owner = np.repeat(np.arange(len(runs)), counts)
        index = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
        start = np.array([run.start for run in runs])[owner] + index * np.array([run.stride for run in runs])[owner]
        length = np.array([run.length for run in runs])[owner]
        is_write = np.array([run.direction == "write" for run in runs])[owner]
        phase = np.array([run.order for run in runs])[owner]
        order = np.lexsort((owner, index / counts[owner], phase))
        return start[order], length[order], is_write[order]


def joined(plans: Iterable[AccessPlan]) -> AccessPlan:
    """Plans one after the other as one plan."""
    runs: list[Run] = []
    offset = 0
    for plan in plans:
        runs += [msgspec.structs.replace(run, order=run.order + offset) for run in plan.runs]
        offset = max((run.order for run in runs), default=-1) + 1
    return AccessPlan(tuple(runs))
