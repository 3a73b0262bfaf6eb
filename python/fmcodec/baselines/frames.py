"""fmcodec's own entropy coder with the interface of the baselines, so that one loop compares them all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from fmcodec.baselines.coder import Shape, checked_shape, checked_symbols
from fmcodec.baselines.fields import EncodedBits, IntArray
from fmcodec.codec import cost, decode, encode
from fmcodec.errors import CorruptStreamError
from fmcodec.spec import CodecSpec, CodeLayout


@dataclass(frozen=True, kw_only=True)
class FrameCoder:
    """Whole frames (docs/format.md) of symbols as they are: everything in them is counted, their header too.

    Arrays of three and four axes are (C, H, W) and (N, C, H, W); others are one row of one channel.

    Parameters
    ----------
    bits
        Width of a word, 2 to 16.
    signed
        Whether words are two's complement numbers; otherwise symbols are not negative.
    effort, code_layout
        As in `CodecSpec`.

    Raises
    ------
    ValueError
        A parameter is out of its range.
    """

    name: ClassVar[str] = "fmcodec"
    bits: int = 8
    signed: bool = False
    effort: int = 2
    code_layout: CodeLayout = "wavelet"

    def __post_init__(self) -> None:
        self._spec()  # checks the parameters

    def encode(self, symbols: ArrayLike) -> EncodedBits:
        """The frame of an integer array; TypeError or ValueError for what has no word."""
        frame = encode(self._values(symbols), self._spec())
        return EncodedBits(frame, 8 * len(frame))

    def size_bits(self, symbols: ArrayLike) -> int:
        """The bits of the frame, which is not put together."""
        return 8 * cost(self._values(symbols), self._spec())

    def decode(self, encoded: EncodedBits, shape: Shape) -> IntArray:
        """The int64 array of a frame; CorruptStreamError for one that is not of such an array."""
        dimensions = checked_shape(shape)
        planes = np.empty(_planes_shape(dimensions), dtype=np.float32)
        if encoded.size_bits != 8 * len(encoded.data):
            raise CorruptStreamError("a frame is a whole number of bytes")
        try:
            decode(encoded.data, out=planes, max_bytes=planes.nbytes)
        except (ValueError, TypeError) as error:
            raise CorruptStreamError(f"not a frame of this array: {error}") from error
        return planes.astype(np.int64).reshape(dimensions)

    def _spec(self) -> CodecSpec:
        return CodecSpec(
            bits=self.bits,
            zero_point=1 << (self.bits - 1) if self.signed else 0,
            effort=self.effort,
            code_layout=self.code_layout,
        )

    def _values(self, symbols: ArrayLike) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        array = checked_symbols(symbols, *self._spec().level_range)
        # Exact: binary32 has 24 bits.
        return array.astype(np.float32).reshape(_planes_shape(array.shape))


def _planes_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    return shape if len(shape) in (3, 4) else (1, 1, int(np.prod(shape, dtype=np.int64)))
