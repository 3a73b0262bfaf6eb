"""Bit fields of varying widths, packed into bytes and taken out again.

A stream is a string of bits; the first one is the most significant bit of the first byte. Fields are written from their
most significant bit, as codes are printed in the publications. (Frames of fmcodec fill bytes from the other end.)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fmcodec.errors import TruncatedStreamError

IntArray = NDArray[np.int64]

ONE = ord("1")
# More than the longest field, so that one that begins inside the stream can be read before its end is checked.
MARGIN_BITS = 64


@dataclass(frozen=True)
class EncodedBits:
    """A stream: its bytes, filled up with zero bits, and its exact size by the definition of its coder."""

    data: bytes
    size_bits: int


def pack(values: IntArray, widths: IntArray) -> EncodedBits:
    """The stream of fields in the order given: the low ``width`` bits of each value, 0 to 63."""
    ends = np.cumsum(widths)
    size_bits = int(ends[-1]) if len(ends) else 0
    bits = np.zeros(size_bits, dtype=np.uint8)
    place = 0
    while len(widths):
        is_longer = widths > place
        values, widths, ends = values[is_longer], widths[is_longer], ends[is_longer]
        bits[ends - 1 - place] = (values >> place) & 1
        place += 1
    return EncodedBits(np.packbits(bits).tobytes(), size_bits)


class FieldReader:
    """The bits of a stream by position: as an array for many fields at once, as text for a walk from field to field."""

    def __init__(self, encoded: EncodedBits) -> None:
        self.size_bits = encoded.size_bits
        if self.size_bits > 8 * len(encoded.data):
            raise TruncatedStreamError(f"{self.size_bits} bits do not fit into the bytes given", len(encoded.data))
        self._bits = np.unpackbits(np.frombuffer(encoded.data, dtype=np.uint8))[: max(0, self.size_bits)]
        self.text = (self._bits + ord("0")).tobytes() + b"0" * MARGIN_BITS

    def require(self, end: int) -> None:
        """Check that the stream does not end before this position."""
        if end > self.size_bits:
            raise TruncatedStreamError("bits are missing", max(0, self.size_bits) // 8)

    def take(self, starts: IntArray, widths: IntArray | int) -> IntArray:
        """Fields at any positions, not negative; an error if one passes the end."""
        widths = np.broadcast_to(np.asarray(widths, dtype=np.int64), starts.shape)
        self.require(int((starts + widths).max(initial=0)))
        values = np.zeros(starts.shape, dtype=np.int64)
        for place in range(int(widths.max(initial=0))):
            is_longer = widths > place
            values[is_longer] = 2 * values[is_longer] + self._bits[starts[is_longer] + place]
        return values
