"""Runs of zeros between the symbols that are not 0, as one prefix bit tells them apart."""

from __future__ import annotations

import numpy as np

from fmcodec.baselines.fields import ONE, FieldReader, IntArray
from fmcodec.errors import CorruptStreamError

RUN_BITS = 4
LONGEST_RUN = 1 << RUN_BITS


def gaps(symbols: IntArray) -> IntArray:
    """Number of zeros before each symbol that is not 0, and after the last one."""
    return np.diff(np.flatnonzero(symbols), prepend=-1, append=len(symbols)) - 1


def run_fields(symbols: IntArray, words: IntArray, bits: int) -> tuple[IntArray, IntArray]:
    """Values and widths of the fields: ``0`` and the length less 1 for a run, ``1`` and a word for a symbol not 0.

    A run is at most 16 zeros long. ``words`` holds the word of each symbol not 0, with ``bits`` bits (may be 0).
    """
    zeros = gaps(symbols)
    run_counts = -(-zeros // LONGEST_RUN)
    ends = np.cumsum(run_counts + 1)
    values = np.full(ends[-1], LONGEST_RUN - 1)
    widths = np.full(ends[-1], 1 + RUN_BITS)
    # The last run of each gap has what is left; after it stands the symbol, except after the last gap.
    has_run = run_counts > 0
    values[ends[has_run] - 2] = (zeros[has_run] - 1) % LONGEST_RUN
    values[ends[:-1] - 1] = words | (1 << bits)
    widths[ends[:-1] - 1] = 1 + bits
    return values[:-1], widths[:-1]


def read_runs(reader: FieldReader, count: int, bits: int) -> tuple[IntArray, IntArray, int]:
    """Places of the symbols not 0, positions of their words, and the position after the last field."""
    places, starts = [], []
    place = position = 0
    while place < count:
        reader.require(position + 1)
        if reader.text[position] == ONE:
            places.append(place)
            starts.append(position + 1)
            place += 1
            position += 1 + bits
        else:
            place += 1 + int(reader.text[position + 1 : position + 1 + RUN_BITS], 2)
            position += 1 + RUN_BITS
    reader.require(position)
    if place != count:
        raise CorruptStreamError("a run of zeros passes the end of the array", (position - 1) // 8)
    return np.array(places, dtype=np.int64), np.array(starts, dtype=np.int64), position
