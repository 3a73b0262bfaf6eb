"""Run-length compression of Eyeriss: runs of zeros and levels, three pairs in a word of 64 bits.

Source: Y.-H. Chen et al., "Eyeriss: An Energy-Efficient Reconfigurable Accelerator for Deep Convolutional Neural
Networks", IEEE JSSC 52(1), 2017.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from fmcodec.baselines.coder import WordCoder
from fmcodec.baselines.fields import FieldReader, IntArray
from fmcodec.baselines.runs import gaps
from fmcodec.errors import CorruptStreamError, TruncatedStreamError

RUN_BITS = 5
LEVEL_BITS = 16
PAIR_BITS = RUN_BITS + LEVEL_BITS
PAIRS = 3
WORD_BITS = 64
LONGEST_GAP = 1 << RUN_BITS


@dataclass(frozen=True, kw_only=True)
class Rlc(WordCoder):
    """Pairs of a run (5 bits) and a level (16 bits): the run of zeros, then the level, which is one symbol more.

    Three pairs and a flag make a word; the size is whole words of 64 bits. Our reading:

    - Levels have 16 bits for any ``bits``; those of signed symbols are sign-extended.
    - 32 zeros are the pair (31, 0): a level may be 0. A longer gap is such pairs, and what is left goes with the symbol
      after it; at the end of the array z zeros that are left, 1 to 31, are the pair (z - 1, 0).
    - The last word is filled up with pairs (0, 0). The number of symbols comes from outside.
    - The flag is the last bit of the word, 1 in the last word of the stream. That there is such a bit, and its meaning,
      is from memory and was not checked against the paper.
    - An empty array is an empty stream.
    """

    name: ClassVar[str] = "rlc"

    def _fields(self, symbols: IntArray) -> tuple[IntArray, IntArray]:
        zeros = gaps(symbols)
        ends = np.cumsum(zeros // LONGEST_GAP + 1)
        left = int(zeros[-1]) % LONGEST_GAP
        pair_count = int(ends[-1]) - (left == 0)
        word_count = -(-pair_count // PAIRS)

        pairs = np.zeros((max(PAIRS * word_count, int(ends[-1])), 2), dtype=np.int64)
        pairs[:pair_count, 0] = LONGEST_GAP - 1
        pairs[ends - 1, 0] = zeros % LONGEST_GAP
        pairs[ends[:-1] - 1, 1] = symbols[symbols != 0]
        if left:
            pairs[pair_count - 1, 0] = left - 1

        values = np.zeros((word_count, 2 * PAIRS + 1), dtype=np.int64)
        values[:, :-1] = pairs[: PAIRS * word_count].reshape(word_count, 2 * PAIRS)
        values[-1:, -1] = 1
        return values.reshape(-1), np.tile([*[RUN_BITS, LEVEL_BITS] * PAIRS, 1], word_count)

    def _parse(self, reader: FieldReader, count: int) -> IntArray:
        number = np.arange(reader.size_bits // WORD_BITS * PAIRS)
        starts = number // PAIRS * WORD_BITS + number % PAIRS * PAIR_BITS
        ends = np.cumsum(reader.take(starts, RUN_BITS) + 1)
        pair_count = int(np.searchsorted(ends, count)) + 1 if count else 0
        if pair_count > len(ends):
            raise TruncatedStreamError("words are missing", reader.size_bits // 8)
        if count and ends[pair_count - 1] != count:
            raise CorruptStreamError("a run of zeros passes the end of the array", int(starts[pair_count - 1]) // 8)
        symbols = np.zeros(count, dtype=np.int64)
        symbols[ends[:pair_count] - 1] = self._symbols(reader.take(starts[:pair_count] + RUN_BITS, LEVEL_BITS))
        return symbols
