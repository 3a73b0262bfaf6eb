"""Extended bit-plane compression: runs of zeros, and bit planes of the differences of all else.

Source: L. Cavigelli, G. Rutishauser, L. Benini, "EBPC: Extended Bit-Plane Compression for Deep Neural Network Inference
and Training Accelerators", JETCAS 2019, arXiv 1908.11645, and what the authors published with it: the scripts of the
evaluation (github.com/lukasc-ch/ExtendedBitPlaneCompression) and the hardware (github.com/pulp-platform/stream-ebpc).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from fmcodec.baselines.coder import WordCoder
from fmcodec.baselines.fields import FieldReader, IntArray
from fmcodec.baselines.masks import in_groups
from fmcodec.baselines.runs import read_runs, run_fields
from fmcodec.errors import CorruptStreamError

# Codes of planes by their first five bits: these four, then those that begin with 001 and 01 (planes whose DBX is 0,
# see `zero_codes`), then those that begin with 1 (the DBX follows).
PREFIX_BITS = 5
ALL_ONES, ZERO_PLANE, TWO_ONES, SINGLE_ONE, ZERO_DBX = range(5)
RAW = 16

# Length of the prefix of a single plane of zeros, and of a run of them.
ZERO_PREFIX_BITS = {"evaluation": (3, 2), "hardware": (2, 3)}


@dataclass(frozen=True, kw_only=True)
class Ebpc(WordCoder):
    """Two parts, one after the other: where the zeros are, and the bit planes of the symbols that are not 0.

    The first part is ``1`` for a symbol that is not 0, and ``0`` with the length less 1 in 4 bits for 1 to 16 zeros.
    In the second part a block of symbols is its first word and the ``bits`` + 1 bit planes of the differences of
    neighbours. A plane has ``block`` - 1 bits, the first difference leftmost. Planes go from the least significant to
    the sign; the lowest is coded as it is, each other one as its XOR with the plane below (DBX):

    - DBX all 0: ``001``; two or more such planes in one block: ``01`` and the number less 2 in ceil(log2 ``bits``) bits
    - DBX all 1: ``00000``
    - DBX not 0, but the plane itself 0: ``00001``
    - two ones side by side: ``00010`` and the place of the left one in ceil(log2 ``block``) bits
    - a single one: ``00011`` and its place likewise
    - all else: ``1`` and the DBX

    The first that holds is taken. Order of planes, widths and the last block, which is filled up with zero words, are
    those of the hardware; our reading is that the two parts are not padded to words.

    Parameters
    ----------
    block
        Symbols of a block, 2 to 32; published: 8 and 16.
    zero_codes
        ``"evaluation"``: as above, and as in the scripts of the evaluation. ``"hardware"``: ``01`` is a single plane
        of zeros and ``001`` begins a run.
    """

    name: ClassVar[str] = "ebpc"
    block: int = 8
    zero_codes: Literal["evaluation", "hardware"] = "evaluation"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._normalize("block", 2, 32)
        if self.zero_codes not in ZERO_PREFIX_BITS:
            raise ValueError(f"zero_codes must be one of {', '.join(ZERO_PREFIX_BITS)}, not {self.zero_codes!r}")

    @property
    def _place_bits(self) -> int:
        return (self.block - 1).bit_length()

    @property
    def _count_bits(self) -> int:
        return (self.bits - 1).bit_length()

    def _fields(self, symbols: IntArray) -> tuple[IntArray, IntArray]:
        coded = symbols[symbols != 0]
        run_values, run_widths = run_fields(symbols, np.zeros(len(coded), dtype=np.int64), bits=0)
        rows = in_groups(coded, self.block)
        plane_values, plane_widths = self._plane_fields(rows)
        block_values = np.column_stack([rows[:, 0], plane_values])
        block_widths = np.column_stack([np.full(len(rows), self.bits), plane_widths])
        values = np.concatenate([run_values, block_values.reshape(-1)])
        return values, np.concatenate([run_widths, block_widths.reshape(-1)])

    def _plane_fields(self, rows: IntArray) -> tuple[IntArray, IntArray]:
        """Values and widths of the planes of all blocks, one row for each block; zeros after the first have width 0."""
        deltas = np.diff(rows, axis=1)
        weights = 1 << np.arange(self.block - 1)[::-1]
        planes = np.column_stack([((deltas >> k) & 1) @ weights for k in range(self.bits + 1)])
        dbx = planes.copy()
        dbx[:, 1:] ^= planes[:, :-1]

        lowest = dbx & -dbx
        places = self.block - 1 - np.frexp(dbx)[1].astype(np.int64)
        cases = [dbx == (1 << (self.block - 1)) - 1, planes == 0, dbx == 3 * lowest, dbx == lowest]
        place_bits = self._place_bits
        codes = [ALL_ONES, ZERO_PLANE, (TWO_ONES << place_bits) | places, (SINGLE_ONE << place_bits) | places]
        values = np.select(cases, codes, (1 << (self.block - 1)) | dbx)
        with_place = PREFIX_BITS + place_bits
        widths = np.select(cases, [PREFIX_BITS, PREFIX_BITS, with_place, with_place], self.block)

        # How many planes of zeros follow, this one included.
        runs = np.zeros((len(rows), self.bits + 2), dtype=np.int64)
        for k in reversed(range(self.bits + 1)):
            runs[:, k] = (dbx[:, k] == 0) * (1 + runs[:, k + 1])
        single_bits, run_bits = ZERO_PREFIX_BITS[self.zero_codes]
        is_first = runs[:, :-1] > 0
        is_first[:, 1:] &= runs[:, :-2] == 0
        runs = runs[:, :-1]
        values = np.where(runs == 1, 1, np.where(runs > 1, (1 << self._count_bits) | (runs - 2), values))
        run_widths = np.where(runs == 1, single_bits, run_bits + self._count_bits)
        return values, np.where(runs > 0, run_widths * is_first, widths)

    def _parse(self, reader: FieldReader, count: int) -> IntArray:
        places, _, position = read_runs(reader, count, bits=0)
        block_count = -(-len(places) // self.block)
        first_starts, starts, prefixes, numbers = self._walk(reader, block_count, position)

        # Of every code the XOR of its plane with the one below, or a mark that the plane is 0.
        has_place = (prefixes == TWO_ONES) | (prefixes == SINGLE_ONE)
        ones_at = reader.take(starts + PREFIX_BITS, np.where(has_place, self._place_bits, 0))
        ones = 1 << np.maximum(0, self.block - 2 - ones_at)
        raw = reader.take(starts + 1, np.where(prefixes >= RAW, self.block - 1, 0))
        cases = [prefixes == ALL_ONES, prefixes == TWO_ONES, prefixes == SINGLE_ONE]
        dbx = np.zeros((block_count, self.bits + 1), dtype=np.int64)
        dbx.reshape(-1)[numbers] = np.select(cases, [(1 << (self.block - 1)) - 1, ones | (ones >> 1), ones], raw)
        is_zero = np.zeros(dbx.shape, dtype=np.bool_)
        is_zero.reshape(-1)[numbers] = prefixes == ZERO_PLANE

        rows = np.zeros((block_count, self.block), dtype=np.int64)
        plane = np.zeros(block_count, dtype=np.int64)
        shifts = np.arange(self.block - 1)[::-1]
        for k in range(self.bits + 1):
            plane = np.where(is_zero[:, k], 0, plane ^ dbx[:, k])
            rows[:, 1:] |= ((plane[:, None] >> shifts) & 1) << k
        rows[:, 0] = reader.take(first_starts, self.bits)
        symbols = np.zeros(count, dtype=np.int64)
        symbols[places] = self._symbols(np.cumsum(rows, axis=1)).reshape(-1)[: len(places)]
        return symbols

    def _walk(self, reader: FieldReader, block_count: int, position: int) -> tuple[IntArray, ...]:
        """Positions of the first words; positions, prefixes and numbers of the planes whose DBX is not 0."""
        single_bits, run_bits = ZERO_PREFIX_BITS[self.zero_codes]
        first_starts, starts, prefixes, numbers = [], [], [], []
        for block in range(block_count):
            first_starts.append(position)
            position += self.bits
            plane = 0
            while plane <= self.bits:
                reader.require(position + 1)
                prefix = int(reader.text[position : position + PREFIX_BITS], 2)
                if ZERO_DBX <= prefix < RAW:
                    is_001 = prefix < 2 * ZERO_DBX
                    if is_001 == (single_bits == 3):
                        position += single_bits
                        plane += 1
                    else:
                        position += run_bits + self._count_bits
                        plane += 2 + int(reader.text[position - self._count_bits : position] or b"0", 2)
                    continue
                starts.append(position)
                prefixes.append(prefix)
                numbers.append(block * (self.bits + 1) + plane)
                position += self.block if prefix >= RAW else PREFIX_BITS + self._place_bits * (prefix > ZERO_PLANE)
                plane += 1
            reader.require(position)
            if plane != self.bits + 1:
                raise CorruptStreamError("a run of planes passes the end of its block", (position - 1) // 8)
        return tuple(np.array(found, dtype=np.int64) for found in (first_starts, starts, prefixes, numbers))
