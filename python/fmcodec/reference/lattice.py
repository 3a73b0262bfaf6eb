"""Interlaced order and contexts from neighbours (docs/format.md, section 7.4); arrays are bands by rows by columns."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fmcodec.reference.bits import IntArray

LEVELS = 3
MEAN_BINS = 32
NARROW_SPREAD = 8
DIAGONAL = ((-1, -1), (-1, 1), (1, -1), (1, 1))
STRAIGHT = ((-1, 0), (0, -1), (0, 1), (1, 0))

_CODES = np.array([min(63, math.floor(8 * math.log2(1 + m) + 0.5)) for m in range(256)])

BoolArray = npt.NDArray[np.bool_]
ReadPhase = Callable[[IntArray], IntArray]


class Phase(NamedTuple):
    """One phase on the grid of every ``2**level``-th row and column."""

    level: int
    neighbours: tuple[tuple[int, int], ...]

    def members(self, rows: int, columns: int) -> BoolArray:
        """Which positions of a grid are coded in this phase."""
        odd_rows = np.arange(rows)[:, np.newaxis] % 2 == 1
        odd_columns = np.arange(columns) % 2 == 1
        members: BoolArray = odd_rows & odd_columns if self.neighbours == DIAGONAL else odd_rows != odd_columns
        return members


PHASES = tuple(Phase(level, kind) for level in reversed(range(LEVELS)) for kind in (DIAGONAL, STRAIGHT))


def contexts(symbols: IntArray, phase: Phase) -> IntArray:
    """The contexts of the members of a phase, band by band, of a grid whose earlier phases are known."""
    codes = _CODES[np.abs(symbols)]
    band_codes = mean_codes(codes[:, ::2, ::2])
    padded = np.broadcast_to(band_codes, (len(codes), codes.shape[1] + 2, codes.shape[2] + 2)).copy()
    padded[:, 1:-1, 1:-1] = codes
    rows, columns = codes.shape[1:]
    around = np.stack([padded[:, 1 + dy : 1 + dy + rows, 1 + dx : 1 + dx + columns] for dy, dx in phase.neighbours])
    return context_of(around, band_codes)[:, phase.members(rows, columns)].reshape(-1)


def context_of(around: IntArray, band_codes: IntArray) -> IntArray:
    """The contexts of elements from the codes of their four neighbours, along the first axis, and of their bands."""
    total = around.sum(axis=0)
    spread = around.max(axis=0) - around.min(axis=0)
    weighted = (total + (total + 4 * band_codes + 1) // 2 + 1) // 2
    context: IntArray = 1 + weighted // 8 + MEAN_BINS * ((spread > 0).astype(np.int64) + (spread > NARROW_SPREAD))
    return context


def mean_codes(codes: IntArray) -> IntArray:
    """The mean code of each band, rounded half up, as bands by 1 by 1."""
    count = codes[0].size
    mean: IntArray = (2 * codes.sum(axis=(1, 2), keepdims=True) + count) // (2 * count)
    return mean


def ordered_phases(symbols: IntArray) -> Iterator[tuple[IntArray, IntArray]]:
    """The symbols of each phase, in order, with their contexts."""
    start = symbols[:, :: 2**LEVELS, :: 2**LEVELS].reshape(-1)
    yield start, np.zeros_like(start)
    for phase in PHASES:
        grid = symbols[:, :: 2**phase.level, :: 2**phase.level]
        yield grid[:, phase.members(*grid.shape[1:])].reshape(-1), contexts(grid, phase)


def restore(shape: tuple[int, int, int], read: ReadPhase) -> IntArray:
    """The symbols of a tile; ``read`` returns those of a phase from their contexts."""
    symbols = np.zeros(shape, dtype=np.int64)
    start = symbols[:, :: 2**LEVELS, :: 2**LEVELS]
    start[...] = read(np.zeros(start.size, dtype=np.int64)).reshape(start.shape)
    for phase in PHASES:
        grid = symbols[:, :: 2**phase.level, :: 2**phase.level]
        members = phase.members(*grid.shape[1:])
        grid[:, members] = read(contexts(grid, phase)).reshape(len(grid), -1)
    return symbols
