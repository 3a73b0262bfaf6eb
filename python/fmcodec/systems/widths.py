"""Components in words of fixed widths: the code of systems that allocate bits instead of coding entropy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from fmcodec.baselines.coder import Shape, checked_integers, require_same_stream
from fmcodec.baselines.fields import EncodedBits, FieldReader, IntArray, pack


@dataclass(frozen=True)
class ComponentWidths:
    """Symbols (components, positions) as words, one component after the other.

    Parameters
    ----------
    widths
        Bits of a word of each component, 1 to 16.
    lows
        Smallest symbol of each component; words count from it.
    """

    name: ClassVar[str] = "component-widths"
    widths: tuple[int, ...]
    lows: tuple[int, ...]

    def size_bits(self, symbols: ArrayLike) -> int:
        """Exact size of the stream; raises what `encode` raises."""
        return sum(self.widths) * int(self._words(symbols).shape[1])

    def encode(self, symbols: ArrayLike) -> EncodedBits:
        """The stream of an integer array.

        Raises
        ------
        TypeError
            The array is not one of integers.
        ValueError
            The array has other components, or a symbol does not fit its width.
        """
        words = self._words(symbols)
        return pack(words.reshape(-1), np.repeat(np.array(self.widths, dtype=np.int64), words.shape[1]))

    def decode(self, encoded: EncodedBits, shape: Shape) -> IntArray:
        """The int64 array (components, positions) of a stream.

        Raises
        ------
        TruncatedStreamError
            The stream ends before the last symbol.
        CorruptStreamError
            The stream is longer than an array of this shape, or its padding is not 0.
        """
        components, positions = shape if isinstance(shape, tuple) else (shape, 1)
        widths = np.repeat(np.array(self.widths, dtype=np.int64), positions)
        words = FieldReader(encoded).take(np.cumsum(widths) - widths, widths)
        symbols = words.reshape(components, positions) + np.array(self.lows, dtype=np.int64)[:, None]
        require_same_stream(self.name, self.encode(symbols), encoded)
        return symbols

    def _words(self, symbols: ArrayLike) -> IntArray:
        array = checked_integers(symbols)
        if array.ndim != 2 or len(array) != len(self.widths):
            raise ValueError(f"symbols must be ({len(self.widths)}, positions), not {array.shape}")
        words = array.astype(np.int64) - np.array(self.lows, dtype=np.int64)[:, None]
        limits = (1 << np.array(self.widths, dtype=np.int64))[:, None]
        if words.size and not bool(np.all((words >= 0) & (words < limits))):
            raise ValueError("a symbol does not fit the width of its component")
        return words
