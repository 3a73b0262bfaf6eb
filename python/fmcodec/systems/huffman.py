"""One Huffman code for all symbols of an array, as transform coding of feature maps uses it, in a decodable stream."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from fmcodec.baselines.coder import Shape, checked_integers, require_same_stream
from fmcodec.baselines.fields import EncodedBits, FieldReader, IntArray, pack
from fmcodec.errors import CorruptStreamError, TruncatedStreamError
from fmcodec.reference.lengths import limited_lengths

SYMBOL_BITS = 16
LENGTH_BITS = 4
LONGEST = 2**LENGTH_BITS - 1
LOWEST = -(2 ** (SYMBOL_BITS - 1))


class HuffmanSize(NamedTuple):
    """Parts of a stream in bits, and what the symbols would need without tables and whole bits."""

    table_bits: int
    code_bits: int
    entropy_bits: float

    @property
    def bits(self) -> int:
        """The whole stream."""
        return self.table_bits + self.code_bits


@dataclass(frozen=True)
class PooledHuffman:
    """A canonical Huffman code with lengths of at most 15 bits, made for each array and sent with it.

    The stream: the smallest symbol plus 32768 in 16 bits; the number of symbols from the smallest to the largest less 1
    in 16 bits; the code length of each of these in 4 bits, 0 for those that do not occur; the codes. Symbols are
    -32768 to 32767. An empty array is an empty stream.

    Published code lengths are at most 12 or 16 bits in hardware, or not limited; how the code reaches the decoder is
    not stated anywhere. This layout is ours.
    """

    name: ClassVar[str] = "pooled-huffman"

    def size(self, symbols: ArrayLike) -> HuffmanSize:
        """Exact size of the stream, and the entropy."""
        array = _checked(symbols)
        if not array.size:
            return HuffmanSize(0, 0, 0.0)
        counts = np.bincount(array - int(array.min()))
        used = counts[counts > 0]
        entropy = float(np.sum(used * np.log2(used.sum() / used)))
        lengths = limited_lengths(counts, LONGEST)
        return HuffmanSize(2 * SYMBOL_BITS + LENGTH_BITS * len(counts), int(counts @ lengths), entropy)

    def size_bits(self, symbols: ArrayLike) -> int:
        """Exact size of the stream; raises what `encode` raises."""
        return self.size(symbols).bits

    def encode(self, symbols: ArrayLike) -> EncodedBits:
        """The stream of an integer array.

        Raises
        ------
        TypeError
            The array is not one of integers.
        ValueError
            A symbol has more than 16 bits.
        """
        array = _checked(symbols)
        if not array.size:
            return EncodedBits(b"", 0)
        lowest = int(array.min())
        counts = np.bincount(array - lowest)
        lengths = limited_lengths(counts, LONGEST)
        codes = _canonical(lengths)
        tokens = array - lowest
        values = np.concatenate([[lowest - LOWEST, len(counts) - 1], lengths, codes[tokens]])
        widths = np.concatenate([[SYMBOL_BITS] * 2, [LENGTH_BITS] * len(counts), lengths[tokens]])
        return pack(values, widths)

    def decode(self, encoded: EncodedBits, shape: Shape) -> IntArray:
        """The int64 array of a stream.

        Raises
        ------
        TruncatedStreamError
            The stream ends before the last symbol.
        CorruptStreamError
            The stream is not what `encode` writes for any array of this shape.
        """
        count = int(np.prod(shape, dtype=np.int64))
        symbols = self._parse(FieldReader(encoded), count) if count else np.zeros(0, dtype=np.int64)
        require_same_stream(self.name, self.encode(symbols), encoded)
        return symbols.reshape(shape)

    def _parse(self, reader: FieldReader, count: int) -> IntArray:
        lowest, span = (int(field) for field in reader.take(np.array([0, SYMBOL_BITS]), SYMBOL_BITS))
        position = 2 * SYMBOL_BITS
        lengths = reader.take(position + LENGTH_BITS * np.arange(span + 1), LENGTH_BITS)
        position += LENGTH_BITS * (span + 1)
        used = np.flatnonzero(lengths)
        if not len(used) or sum(2.0 ** -lengths[used]) > 1:
            raise CorruptStreamError("code lengths are not those of a prefix code", 0)
        token_of = {
            (int(lengths[token]), int(code)): int(token)
            for token, code in zip(used, _canonical(lengths)[used], strict=True)
        }
        # Every symbol has a bit at least: memory is bounded by the stream.
        if count > reader.size_bits - position:
            raise TruncatedStreamError("bits are missing", reader.size_bits // 8)
        symbols = np.empty(count, dtype=np.int64)
        for index in range(count):
            code = length = 0
            while (length, code) not in token_of:
                if length == LONGEST:
                    raise CorruptStreamError("bits are no code", position // 8)
                reader.require(position + 1)
                code = 2 * code + (reader.text[position] - ord("0"))
                length += 1
                position += 1
            symbols[index] = token_of[length, code] + lowest + LOWEST
        return symbols


def _canonical(lengths: IntArray) -> IntArray:
    """Codes in the order of lengths, and of tokens among equal lengths."""
    codes = np.zeros(len(lengths), dtype=np.int64)
    code = previous = 0
    for token in sorted(np.flatnonzero(lengths), key=lambda token: (lengths[token], token)):
        code <<= int(lengths[token]) - previous
        previous = int(lengths[token])
        codes[token] = code
        code += 1
    return codes


def _checked(symbols: ArrayLike) -> IntArray:
    array = checked_integers(symbols)
    if array.size and not LOWEST <= int(array.min()) <= int(array.max()) < -LOWEST:
        raise ValueError(f"symbols must have 16 bits, not be {array.min()} to {array.max()}")
    return array.astype(np.int64).reshape(-1)
