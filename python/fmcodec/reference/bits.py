"""Bit streams, filled from the least significant bit of each byte upwards (docs/format.md, introduction)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fmcodec.errors import CorruptStreamError

IntArray = NDArray[np.int64]
BitArray = NDArray[np.bool_]


class BitWriter:
    """Collects bits; ``len`` is their number."""

    def __init__(self) -> None:
        self._parts: list[BitArray] = []
        self._bit_count = 0

    def __len__(self) -> int:
        return self._bit_count

    def write(self, bits: ArrayLike) -> None:
        """Append bits in the order given."""
        part = np.asarray(bits, dtype=np.bool_).reshape(-1)
        self._parts.append(part)
        self._bit_count += part.size

    def write_fields(self, values: ArrayLike, width: int) -> None:
        """Append integers of ``width`` bits one after the other, each from its least significant bit."""
        fields = np.asarray(values, dtype=np.int64).reshape(-1, 1)
        self.write((fields >> np.arange(width)) & 1)

    def write_planes(self, values: IntArray, plane_count: int) -> None:
        """Append bit planes, the most significant first: one bit per value and plane (sections 7.2, 7.3 and 9)."""
        shifts = np.arange(plane_count)[::-1].reshape(-1, 1)
        self.write((values >> shifts) & 1)

    def write_codes(self, codes: IntArray, lengths: IntArray) -> None:
        """Append integers one after the other, each with a length of its own, from its least significant bit."""
        places = np.arange(int(lengths.max(initial=0)))
        bits = (codes.reshape(-1, 1) >> places) & 1
        self.write(bits[places < lengths.reshape(-1, 1)])

    def to_bytes(self, word_bits: int = 8) -> bytes:
        """All bits, padded with zeros to a whole number of words, least significant byte first."""
        bits = np.concatenate([*self._parts, np.zeros(-self._bit_count % word_bits, dtype=np.bool_)])
        return np.packbits(bits, bitorder="little").tobytes()

    def to_words(self, word_bits: int) -> list[int]:
        """All bits as words that are filled from the least significant bit on, the last one padded with zeros."""
        number = int.from_bytes(self.to_bytes(), "little")
        starts = range(0, self._bit_count, word_bits)
        return [number >> start & (2**word_bits - 1) for start in starts]


def pack_codes(codes: IntArray, lengths: IntArray, word_bits: int) -> list[int]:
    """Codes of any lengths one after the other in words, as hardware packs them; both are filled from the least
    significant bit on."""
    writer = BitWriter()
    writer.write_codes(codes, lengths)
    return writer.to_words(word_bits)


class BitReader:
    """Hands out the bits of a part of the frame that begins at byte ``offset`` of the frame."""

    def __init__(self, data: bytes, offset: int = 0) -> None:
        self._bits: BitArray = np.unpackbits(np.frombuffer(data, dtype=np.uint8), bitorder="little").astype(np.bool_)
        self._position = 0
        self._start = offset

    @property
    def offset(self) -> int:
        """Byte of the frame that holds the next bit."""
        return self._start + self._position // 8

    def read(self, count: int) -> BitArray:
        """The next bits; an error if there are fewer."""
        end = self._position + count
        if end > self._bits.size:
            raise CorruptStreamError("bits are missing", self._start + self._bits.size // 8)
        bits = self._bits[self._position : end]
        self._position = end
        return bits

    def read_field(self, width: int) -> int:
        """One integer written by `BitWriter.write_fields`."""
        return int(self.read_fields(1, width)[0])

    def read_bit(self) -> int:
        """The next bit."""
        if self._position == self._bits.size:
            raise CorruptStreamError("bits are missing", self.offset)
        self._position += 1
        return int(self._bits[self._position - 1])

    def read_fields(self, count: int, width: int) -> IntArray:
        """Integers written by `BitWriter.write_fields`."""
        bits = self.read(count * width).reshape(count, width)
        fields: IntArray = (bits.astype(np.int64) << np.arange(width)).sum(axis=1)
        return fields

    def read_planes(self, count: int, plane_count: int) -> IntArray:
        """Integers written by `BitWriter.write_planes`."""
        values = np.zeros(count, dtype=np.int64)
        for plane in self.read(count * plane_count).reshape(plane_count, count):
            values = 2 * values + plane
        return values

    def finish(self, word_bits: int = 8) -> None:
        """Check that there are whole words and only the padding is left: less than a word, all zeros."""
        if self._bits.size % word_bits:
            raise CorruptStreamError("the last word is incomplete", self.offset)
        if self._bits.size - self._position >= word_bits:
            raise CorruptStreamError("bits are left over", self.offset)
        if self._bits[self._position :].any():
            raise CorruptStreamError("padding bits are not 0", self.offset)
