"""Weights, frequencies and rANS streams (docs/format.md, sections 7.5 and 8.2)."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np

from fmcodec.errors import CorruptStreamError
from fmcodec.reference.bits import IntArray
from fmcodec.spec import leading_bits

TOTAL_BITS = 12
TOTAL = 2**TOTAL_BITS
LOWEST_STATE = 2**15
STATE_LIMIT = 2**31
TOKEN_COUNT = 256
MANY_LANES, FEW_LANES = 32, 4
MANY_SYMBOLS = 65536


def lane_count(symbol_count: int) -> int:
    """Section 7.5: lanes of a block of so many symbols."""
    return MANY_LANES if symbol_count >= MANY_SYMBOLS else FEW_LANES


def weights_of(histogram: IntArray) -> tuple[int, ...]:
    """Section 10.9: the weights of a histogram, cut after the last one that is not 0."""
    total = int(histogram.sum())
    weights = [leading_bits(max(1, count * TOTAL // total)) if count else 0 for count in histogram.tolist()]
    return tuple(np.trim_zeros(np.array(weights), "b").tolist())


def frequencies_of(weights: Sequence[int]) -> IntArray:
    """Section 7.5: frequencies of all tokens, 0 for those not used; their sum is 4096."""
    total = sum(weights)
    frequencies = [max(1, weight * TOTAL // total) if weight else 0 for weight in weights]
    frequencies += [0] * (TOKEN_COUNT - len(frequencies))
    while sum(frequencies) != TOTAL:
        most = frequencies.index(max(frequencies))
        excess = sum(frequencies) - TOTAL
        frequencies[most] -= min(excess, frequencies[most] // 2)
    return np.array(frequencies)


class RansTables:
    """Section 7.5: frequencies and the sums before them, by class and token."""

    def __init__(self, weights: Sequence[Sequence[int]]) -> None:
        self.frequencies = np.array([frequencies_of(table) for table in weights])
        self.begins = np.cumsum(self.frequencies, axis=1) - self.frequencies
        self.token_of_slot = np.array([np.repeat(np.arange(TOKEN_COUNT), table) for table in self.frequencies])


class RansWriter:
    """Writes the runs of tokens of a block, the last run first."""

    def __init__(self, tables: RansTables, symbol_count: int) -> None:
        self._tables = tables
        self._states = [LOWEST_STATE] * lane_count(symbol_count)
        self._words: list[int] = []

    def write(self, tokens: IntArray, classes: IntArray) -> None:
        """A run of tokens, the last token first."""
        frequencies = self._tables.frequencies[classes, tokens].tolist()
        begins = self._tables.begins[classes, tokens].tolist()
        for i in reversed(range(len(frequencies))):
            lane = i % len(self._states)
            state = self._states[lane]
            if state >= frequencies[i] << (31 - TOTAL_BITS):
                self._words.append(state & 0xFFFF)
                state >>= 16
            quotient, rest = divmod(state, frequencies[i])
            self._states[lane] = (quotient << TOTAL_BITS) + rest + begins[i]

    def to_bytes(self) -> bytes:
        """The states, then the words, the last one written first."""
        words = self._words[::-1]
        return struct.pack(f"<{len(self._states)}I{len(words)}H", *self._states, *words)


class RansReader:
    """Reads the runs of tokens of a block, the first run first."""

    def __init__(self, tables: RansTables, symbol_count: int, data: bytes, offset: int) -> None:
        lanes = lane_count(symbol_count)
        self._tables = tables
        self._offset = offset
        self._at = 4 * lanes
        self._data = data
        if len(data) < self._at:
            raise CorruptStreamError("a block ends before its symbols", offset)
        self._states = list(struct.unpack_from(f"<{lanes}I", data))
        if not all(LOWEST_STATE <= state < STATE_LIMIT for state in self._states):
            raise CorruptStreamError("a state of a block is out of range", offset)

    def read(self, classes: IntArray) -> IntArray:
        """The next tokens, one for each class."""
        tokens = []
        for i, number in enumerate(classes.tolist()):
            lane = i % len(self._states)
            state = self._states[lane]
            slot = state % TOTAL
            token = int(self._tables.token_of_slot[number, slot])
            frequency, begin = self._tables.frequencies[number, token], self._tables.begins[number, token]
            state = int(frequency) * (state >> TOTAL_BITS) + slot - int(begin)
            if state < LOWEST_STATE:
                if self._at + 2 > len(self._data):
                    raise CorruptStreamError("a block ends before its symbols", self._offset)
                state = state << 16 | int.from_bytes(self._data[self._at : self._at + 2], "little")
                self._at += 2
            self._states[lane] = state
            tokens.append(token)
        return np.array(tokens, dtype=np.int64)

    def finish(self) -> None:
        """Check that all bytes were used and that the states are those the encoder began with."""
        if self._at != len(self._data):
            raise CorruptStreamError("bits are left over in a block", self._offset)
        if any(state != LOWEST_STATE for state in self._states):
            raise CorruptStreamError("the states of a block do not end where they began", self._offset)
