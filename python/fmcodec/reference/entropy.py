"""Tokens, canonical codes, their layouts and class streams (docs/format.md, sections 6 and 7)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fmcodec.errors import CorruptStreamError
from fmcodec.reference.bits import BitReader, BitWriter, IntArray
from fmcodec.spec import CodecSpec, CodeLayout, TableClass

TOKEN_COUNT = 256
LARGEST_SHIFT = 13
RESIDUAL_MINIMUM = -128
NO_LOW_BITS = np.zeros(1, dtype=np.int64)


def token_minimum(spec: CodecSpec) -> int:
    """Section 6: the smallest ``h`` that a token stands for."""
    if spec.spatial_size > 1:
        return -128
    if spec.transform == "identity" and spec.bits <= 8:
        return -spec.zero_point
    if spec.transform == "identity" and spec.zero_point == 0:
        return 0
    return -128


def fits(symbols: IntArray, shift: int, minimum: int) -> bool:
    """Whether every symbol has a token at this shift (section 6)."""
    if not symbols.size:
        return True
    return minimum <= int(symbols.min()) >> shift and int(symbols.max()) >> shift <= minimum + 255


def smallest_shift(symbols: IntArray, minimum: int) -> int:
    """Section 6: the shift the encoder takes."""
    return next(shift for shift in range(LARGEST_SHIFT + 1) if fits(symbols, shift, minimum))


def tokens_from_symbols(symbols: IntArray, shift: int) -> IntArray:
    """Section 6: ``(s >> shift) mod 256``."""
    return (symbols >> shift) % TOKEN_COUNT


def symbols_from_tokens(tokens: IntArray, minimum: int) -> IntArray:
    """Section 6: the ``h`` in ``[minimum, minimum + 255]`` congruent to the token."""
    return minimum + (tokens - minimum) % TOKEN_COUNT


def residuals_from_symbols(symbols: IntArray) -> IntArray:
    """Section 6.1: the residual tokens of bands by rows by columns, read as signed; the shift is 0."""
    return symbols_from_tokens(np.diff(symbols, axis=1, prepend=0), RESIDUAL_MINIMUM)


def symbols_from_residuals(residuals: IntArray, minimum: int) -> IntArray:
    """Section 6.1: the symbols of bands by rows by columns."""
    return symbols_from_tokens(np.cumsum(residuals, axis=1), minimum)


def stream_minimum(minimum: int, *, is_predicted: bool) -> int:
    """Sections 6.1 and 8: the smallest number that a token of a class stands for: a symbol, or a residual."""
    return RESIDUAL_MINIMUM if is_predicted else minimum


class Code:
    """Section 7.1: the canonical code of a table. ``tokens``, ``depths`` and ``codes`` are in the order of ranks."""

    def __init__(self, lengths: Sequence[int]) -> None:
        length_of = np.zeros(TOKEN_COUNT, dtype=np.int64)
        length_of[: len(lengths)] = lengths
        used = np.flatnonzero(length_of)
        self.tokens = used[np.argsort(length_of[used], kind="stable")]
        self.depths = length_of[self.tokens] if len(used) > 1 else np.zeros(1, dtype=np.int64)
        self.codes = np.zeros_like(self.depths)
        for rank in range(1, len(used)):
            self.codes[rank] = (self.codes[rank - 1] + 1) << (self.depths[rank] - self.depths[rank - 1])
        keys = list(zip(self.depths.tolist(), self.codes.tolist(), strict=True))
        self.reversed_codes = np.array([_reversed(code, depth) for depth, code in keys], dtype=np.int64)
        self._rank_of_code = {key: rank for rank, key in enumerate(keys)}
        self.rank_of = np.full(TOKEN_COUNT, -1, dtype=np.int64)
        self.rank_of[self.tokens] = np.arange(len(used))

    def has(self, tokens: IntArray) -> bool:
        """Whether every token has a code."""
        return bool((self.rank_of[tokens] >= 0).all())

    def bit_count(self, histogram: IntArray) -> int:
        """Bits of tokens that occur as often as the histogram says; equal in any layout."""
        return int((histogram[self.tokens] * self.depths).sum())

    def read_token(self, reader: BitReader) -> int:
        """The token whose code is next, from its most significant bit on."""
        depth = code = 0
        while (depth, code) not in self._rank_of_code:
            depth, code = depth + 1, 2 * code + reader.read_bit()
        return int(self.tokens[self._rank_of_code[depth, code]])

    def is_level(self, first: int, last: int) -> bool:
        """Whether the leaves of ranks ``first`` up to ``last`` - 1 have one depth."""
        return bool(self.depths[first] == self.depths[last - 1])

    def first_right_rank(self, first: int, last: int, depth: int) -> int:
        """The first rank of a node whose code has a 1 at bit ``depth``, counted from the most significant."""
        bits = (self.codes[first:last] >> (self.depths[first:last] - 1 - depth)) & 1
        return first + int(np.argmax(bits))


def write_tokens(writer: BitWriter, code: Code, tokens: IntArray) -> None:
    """Section 7.2: tokens in the wavelet layout."""
    _write_node(writer, code, 0, len(code.tokens), 0, code.rank_of[tokens])


def _write_node(writer: BitWriter, code: Code, first: int, last: int, depth: int, ranks: IntArray) -> None:
    """The node at ``depth`` with the leaves ``first`` up to ``last`` - 1, and the ranks that pass through it."""
    if last - first == 1:
        return
    if code.is_level(first, last):
        writer.write_planes(ranks - first, int(code.depths[first]) - depth)
        return
    middle = code.first_right_rank(first, last, depth)
    is_right = ranks >= middle
    writer.write(is_right)
    _write_node(writer, code, first, middle, depth + 1, ranks[~is_right])
    _write_node(writer, code, middle, last, depth + 1, ranks[is_right])


def read_tokens(reader: BitReader, code: Code, count: int) -> IntArray:
    """Section 7.2: the tokens written by `write_tokens`."""
    return code.tokens[_read_node(reader, code, 0, len(code.tokens), 0, count)]


def _read_node(reader: BitReader, code: Code, first: int, last: int, depth: int, count: int) -> IntArray:
    """The ``count`` ranks that pass through a node, in order."""
    if last - first == 1:
        return np.full(count, first, dtype=np.int64)
    if code.is_level(first, last):
        return first + reader.read_planes(count, int(code.depths[first]) - depth)
    middle = code.first_right_rank(first, last, depth)
    is_right = reader.read(count)
    right_count = int(is_right.sum())
    ranks = np.empty(count, dtype=np.int64)
    ranks[~is_right] = _read_node(reader, code, first, middle, depth + 1, count - right_count)
    ranks[is_right] = _read_node(reader, code, middle, last, depth + 1, right_count)
    return ranks


def write_tokens_serial(writer: BitWriter, code: Code, tokens: IntArray, low_bits: IntArray, shift: int) -> None:
    """Section 7.6: each token and behind it its ``shift`` low bits."""
    ranks = code.rank_of[tokens]
    depths = code.depths[ranks]
    writer.write_codes(code.reversed_codes[ranks] | low_bits << depths, depths + shift)


def read_tokens_serial(reader: BitReader, code: Code, count: int, shift: int) -> tuple[IntArray, IntArray]:
    """Section 7.6: the tokens and low bits written by `write_tokens_serial`."""
    items = [(code.read_token(reader), reader.read_field(shift) if shift else 0) for _ in range(count)]
    tokens, low_bits = np.array(items, dtype=np.int64).reshape(-1, 2).T
    return tokens, low_bits


def mask_bytes(stream: IntArray) -> IntArray:
    """Section 7.3: one bit per symbol or residual of a stream, 1 if it is not 0, as bytes."""
    return np.packbits(stream != 0, bitorder="little").astype(np.int64)


class Patches(NamedTuple):
    """Section 9: symbols, or residual tokens, that stand apart from a stream, and their places in ascending order."""

    places: IntArray
    numbers: IntArray


NO_PLACES = np.zeros(0, dtype=np.int64)
NO_PATCHES = Patches(NO_PLACES, NO_PLACES)


class ClassCoder:
    """Section 7.3: the stream of one class in a block; symbols are bands by rows by columns."""

    def __init__(self, table_class: TableClass, minimum: int, code_layout: CodeLayout = "wavelet") -> None:
        self.code_layout = code_layout
        self.mode = table_class.mode
        self.shift = table_class.shift
        self.is_predicted = table_class.predicted
        self.minimum = minimum
        # A class of mode zero has no tables, and only a masked one has two.
        self.value_code = Code(table_class.value_lengths or (1,))
        self.mask_code = Code(table_class.mask_lengths or (1,))

    def find_patches(self, symbols: IntArray) -> Patches | None:
        """Section 10.8: what has no code, and its places in the stream; None if the stream cannot be written.

        Only static tables may lack a code.
        """
        if self.is_predicted and not fits(symbols, 0, self.minimum):
            return None
        stream = self._stream(symbols)
        has_code = np.zeros(TOKEN_COUNT, dtype=np.bool_)
        if self.mode != "zero":
            has_code[self.value_code.tokens] = True
        high = stream >> self.shift
        is_token = (high >= self._stream_minimum) & (high < self._stream_minimum + TOKEN_COUNT)
        is_coded = is_token & has_code[high % TOKEN_COUNT]
        places = np.flatnonzero(~is_coded if self.mode == "plain" else ~is_coded & (stream != 0))
        if self.mode == "masked" and not self.mask_code.has(mask_bytes(self._without(stream, places))):
            return None
        numbers = stream[places]
        return Patches(places, numbers % TOKEN_COUNT if self.is_predicted else numbers)

    def write(self, writer: BitWriter, symbols: IntArray, places: IntArray = NO_PLACES) -> None:
        """Append the stream of symbols, all of which but those at the places of patches must have a code."""
        stream = self._without(self._stream(symbols), places)
        if self.mode == "masked":
            self._write_tokens(writer, self.mask_code, mask_bytes(stream), NO_LOW_BITS)
            stream = stream[stream != 0]
        if self.mode != "zero":
            tokens = tokens_from_symbols(stream, self.shift)
            self._write_tokens(writer, self.value_code, tokens, stream % 2**self.shift, self.shift)

    def _without(self, stream: IntArray, places: IntArray) -> IntArray:
        """Section 10.8: the stream with something that has a code in the places of patches."""
        without = stream.copy()
        without[places] = 0
        if self.mode == "plain":
            first = symbols_from_tokens(self.value_code.tokens[:1], self._stream_minimum)
            without[places] = (first << self.shift) + stream[places] % 2**self.shift
        return without

    @property
    def _stream_minimum(self) -> int:
        return stream_minimum(self.minimum, is_predicted=self.is_predicted)

    def _stream(self, symbols: IntArray) -> IntArray:
        """What is coded, in its order: the symbols, or in a predicted class the residuals."""
        return (residuals_from_symbols(symbols) if self.is_predicted else symbols).reshape(-1)

    def _write_tokens(
        self, writer: BitWriter, code: Code, tokens: IntArray, low_bits: IntArray, shift: int = 0
    ) -> None:
        if self.code_layout == "serial":
            write_tokens_serial(writer, code, tokens, low_bits, shift)
        else:
            write_tokens(writer, code, tokens)
            writer.write_planes(low_bits, shift)

    def read(self, reader: BitReader, shape: tuple[int, ...], patches: Patches = NO_PATCHES) -> IntArray:
        """The symbols of the class in a block."""
        stream = self._read_stream(reader, math.prod(shape))
        stream[patches.places] = patches.numbers
        symbols = stream.reshape(shape)
        return symbols_from_residuals(symbols, self.minimum) if self.is_predicted else symbols

    def _read_stream(self, reader: BitReader, count: int) -> IntArray:
        stream = np.zeros(count, dtype=np.int64)
        if self.mode == "zero":
            return stream
        is_coded = self._read_mask(reader, count) if self.mode == "masked" else np.ones(count, dtype=np.bool_)
        tokens, low_bits = self._read_tokens(reader, self.value_code, int(is_coded.sum()), self.shift)
        stream[is_coded] = (symbols_from_tokens(tokens, self._stream_minimum) << self.shift) + low_bits
        if self.mode == "masked" and not stream[is_coded].all():
            raise CorruptStreamError("a symbol behind a 1 of its mask is 0", reader.offset)
        return stream

    def _read_tokens(self, reader: BitReader, code: Code, count: int, shift: int = 0) -> tuple[IntArray, IntArray]:
        if self.code_layout == "serial":
            return read_tokens_serial(reader, code, count, shift)
        return read_tokens(reader, code, count), reader.read_planes(count, shift)

    def _read_mask(self, reader: BitReader, count: int) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        packed, _ = self._read_tokens(reader, self.mask_code, -(-count // 8))
        bits = np.unpackbits(packed.astype(np.uint8), bitorder="little")
        if bits[count:].any():
            raise CorruptStreamError("padding bits of a mask are not 0", reader.offset)
        return bits[:count].astype(np.bool_)


def _reversed(code: int, depth: int) -> int:
    """The bits of a code in the other order."""
    return sum((code >> bit & 1) << (depth - 1 - bit) for bit in range(depth))
