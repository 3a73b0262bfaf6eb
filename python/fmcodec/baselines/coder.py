"""What all baseline coders share: their interface, and the check of symbols on the way in and out."""

from __future__ import annotations

import math
import operator
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fmcodec.baselines.fields import EncodedBits, FieldReader, IntArray, pack
from fmcodec.errors import CorruptStreamError

Shape = int | tuple[int, ...]


class Coder(Protocol):
    """A lossless coder of integer arrays of any shape, whose values are coded in C order."""

    @property
    def name(self) -> str:
        """Name that ``fmcodec.baselines.coder`` takes."""

    def encode(self, symbols: ArrayLike) -> EncodedBits:
        """The stream of an integer array; TypeError or ValueError for what has no word."""

    def decode(self, encoded: EncodedBits, shape: Shape) -> IntArray:
        """The int64 array of a stream; CorruptStreamError for a stream that `encode` does not write."""

    def size_bits(self, symbols: ArrayLike) -> int:
        """The ``size_bits`` that `encode` gives, without making the stream."""


def checked_shape(shape: Shape) -> tuple[int, ...]:
    """The dimensions of an array; ValueError if one is negative."""
    dimensions = tuple(map(operator.index, shape if isinstance(shape, tuple) else (shape,)))
    if min(dimensions, default=0) < 0:
        raise ValueError(f"shape must not be negative, not {shape}")
    return dimensions


def checked_integers(symbols: ArrayLike) -> NDArray[np.integer[Any]]:
    """The symbols as an array; TypeError if they are not integers."""
    array = np.asarray(symbols)
    if array.dtype.kind not in "iu":
        raise TypeError(f"symbols must be an array of integers, not of {array.dtype}")
    return array


def checked_symbols(symbols: ArrayLike, low: int, high: int) -> IntArray:
    """The symbols as int64, in their shape; TypeError if they are not integers, ValueError if one is out of range."""
    array = checked_integers(symbols)
    if array.size and not low <= int(array.min()) <= int(array.max()) <= high:
        raise ValueError(f"symbols must be {low} to {high}, not {array.min()} to {array.max()}")
    return array.astype(np.int64)


def require_same_stream(name: str, written: EncodedBits, encoded: EncodedBits) -> None:
    """Refuse a stream that is not the one its symbols are written as, padding and order included.

    Each array has one stream, so that writing it again finds whatever is wrong in another.
    """
    if written != encoded:
        raise CorruptStreamError(f"not a stream of {name}: its symbols are written in other bits")


@dataclass(frozen=True, kw_only=True)
class WordCoder(ABC):
    """Base of the coders: a definition is a list of bit fields, and how to find the symbols in them again.

    Parameters
    ----------
    bits
        Width of a word, 1 to 16.
    signed
        Whether words are two's complement numbers; otherwise symbols are not negative.

    Raises
    ------
    ValueError
        A parameter is out of its range.
    """

    name: ClassVar[str]
    bits: int = 8
    signed: bool = False

    def __post_init__(self) -> None:
        self._normalize("bits", 1, 16)

    @property
    def symbol_range(self) -> tuple[int, int]:
        """Smallest and largest symbol."""
        low = -(1 << (self.bits - 1)) if self.signed else 0
        return low, low + (1 << self.bits) - 1

    def encode(self, symbols: ArrayLike) -> EncodedBits:
        """The stream of an integer array of any shape.

        Raises
        ------
        TypeError
            The array is not one of integers.
        ValueError
            A symbol is outside ``symbol_range``.
        """
        return pack(*self._fields(self._checked(symbols)))

    def size_bits(self, symbols: ArrayLike) -> int:
        """Exact size of the stream of an integer array, by the definition of the coder; raises what `encode` raises."""
        return int(self._fields(self._checked(symbols))[1].sum())

    def decode(self, encoded: EncodedBits, shape: Shape) -> IntArray:
        """The array of a stream, int64 of the given shape (the streams do not hold it).

        Raises
        ------
        TruncatedStreamError
            The stream ends before the last symbol.
        CorruptStreamError
            The stream is not what `encode` writes for any array of this shape.
        """
        dimensions = checked_shape(shape)
        symbols = self._parse(FieldReader(encoded), math.prod(dimensions))
        require_same_stream(self.name, pack(*self._fields(symbols)), encoded)
        return symbols.reshape(dimensions)

    @abstractmethod
    def _fields(self, symbols: IntArray) -> tuple[IntArray, IntArray]:
        """Values and widths of all fields of the stream of a flat array."""

    @abstractmethod
    def _parse(self, reader: FieldReader, count: int) -> IntArray:
        """The flat array of a stream of ``count`` symbols; allocates no more than the stream accounts for."""

    def _words(self, symbols: IntArray) -> IntArray:
        """The words of symbols, as numbers that are not negative."""
        return symbols & ((1 << self.bits) - 1)

    def _symbols(self, words: IntArray) -> IntArray:
        """The symbols of words; bits above the word are dropped."""
        words = self._words(words)
        return words - ((words >> (self.bits - 1)) << self.bits) if self.signed else words

    def _checked(self, symbols: ArrayLike) -> IntArray:
        return checked_symbols(symbols, *self.symbol_range).reshape(-1)

    def _normalize(self, name: str, low: int, high: int) -> None:
        value = operator.index(getattr(self, name))
        if not low <= value <= high:
            raise ValueError(f"{name} must be {low} to {high}, not {value}")
        object.__setattr__(self, name, value)
