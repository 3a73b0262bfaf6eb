"""Items, and how they are joined to classes (docs/format.md, sections 10.4 and 10.5)."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fmcodec.reference.bits import IntArray
from fmcodec.reference.entropy import TOKEN_COUNT, stream_minimum, symbols_from_tokens

COUNTED_WEIGHT = 64
BINS = 16
ENTRY_BITS, BIN_BITS = 4, 16

_FRACTIONS = [math.floor(65536 * math.log2(1 + j / 4096) + 0.5) for j in range(4096)]


def class_width(class_count: int) -> int:
    """Section 10.4: ``ceil(log2(class count))``."""
    return (class_count - 1).bit_length()


def log2_fixed(n: int) -> int:
    """Section 10: ``L(n)``, log2 in units of 2^-16."""
    exponent = n.bit_length() - 1
    return 65536 * exponent + _FRACTIONS[((n << 12) >> exponent) - 4096]


class Item(NamedTuple):
    """A bucket of bands, a context, or a class made of them; not all its symbols need be in the histogram."""

    shift: int
    symbol_count: int
    smallest: int
    largest: int
    histogram: IntArray
    is_predicted: bool = False
    # Of the counted symbols; with a shift, others have token 0, too.
    zeros: int = 0
    # Counts of mask bytes, of a sample or of all `mask_count` of them; 0: they do not decide anything.
    masks: IntArray = np.zeros(TOKEN_COUNT, dtype=np.int64)
    mask_count: int = 0

    @property
    def counted(self) -> int:
        """Section 10.4: ``m``, the symbols in the histogram; there are ``symbol_count`` in all."""
        return int(self.histogram.sum())

    def joined(self, other: Item) -> Item:
        """The class of both."""
        return Item(
            shift=self.shift,
            symbol_count=self.symbol_count + other.symbol_count,
            smallest=min(self.smallest, other.smallest),
            largest=max(self.largest, other.largest),
            histogram=self.histogram + other.histogram,
            is_predicted=self.is_predicted,
            zeros=self.zeros + other.zeros,
            masks=self.masks + other.masks,
        )

    def smoothed(self) -> Item:
        """Section 10.5: a histogram in which every symbol of the class has a count, if not all were counted."""
        if self.counted == self.symbol_count:
            return self
        histogram = COUNTED_WEIGHT * self.histogram
        histogram[np.arange(self.smallest >> self.shift, (self.largest >> self.shift) + 1) % TOKEN_COUNT] += 1
        zeros = COUNTED_WEIGHT * self.zeros if self.shift else int(histogram[0])
        return self._replace(histogram=histogram, zeros=zeros)


def bin_of(magnitude: int) -> int:
    """Section 10.4: two bins for each octave of magnitudes."""
    if magnitude < 4:
        return magnitude
    octave = magnitude.bit_length() - 1
    return 2 * octave + (magnitude >> (octave - 1)) % 2


@functools.cache
def _bins_of_tokens(minimum: int) -> list[int]:
    """Section 10.4: the bin of each token."""
    return [bin_of(abs(h)) for h in symbols_from_tokens(np.arange(TOKEN_COUNT), minimum).tolist()]


class Measure(NamedTuple):
    """Section 10.4: what classes are compared by, all tokens or bins of them."""

    is_exact: bool
    minimum: int

    def cost(self, item: Item) -> int:
        """Section 10.4: estimated bits of the tokens and the table of a class, in units of 2^-16 bits."""
        counts = [count for count in self._counts(item).tolist() if count]
        token_bits = item.counted * log2_fixed(item.counted) - sum(count * log2_fixed(count) for count in counts)
        entry_bits = ENTRY_BITS if self.is_exact else BIN_BITS
        table_bits = 8 if len(counts) < 2 else 24 + entry_bits * len(counts)
        bits: int = item.symbol_count * token_bits // item.counted
        return bits + table_bits * 65536

    def _counts(self, item: Item) -> IntArray:
        if self.is_exact:
            return item.histogram
        bins = np.zeros(BINS, dtype=np.int64)
        np.add.at(bins, _bins_of_tokens(stream_minimum(self.minimum, is_predicted=item.is_predicted)), item.histogram)
        return bins


def choose_classes(
    items: dict[int, Item], map_entries: int, measure: Measure, most_classes: int
) -> list[tuple[int, Item]]:
    """Section 10.4: joins neighbouring items; the first item of each class, and the class."""
    classes = sorted(items.items())
    best: tuple[int, list[tuple[int, Item]]] | None = None
    while True:
        total = sum(measure.cost(item) for _, item in classes) + map_entries * class_width(len(classes)) * 65536
        if best is None or len(classes) >= most_classes or total < best[0]:
            best = total, classes
        increases = [
            (measure.cost(left.joined(right)) - measure.cost(left) - measure.cost(right), place)
            for place, ((_, left), (_, right)) in enumerate(itertools.pairwise(classes))
            if (left.shift, left.is_predicted) == (right.shift, right.is_predicted)
        ]
        if not increases:
            assert best is not None
            return best[1]
        place = min(increases)[1]
        joined = classes[place][0], classes[place][1].joined(classes[place + 1][1])
        classes = [*classes[:place], joined, *classes[place + 2 :]]


def numbered_classes(chosen: Sequence[tuple[int, Item]], item_count: int) -> IntArray:
    """The class of every item: that of the next lower one if it does not occur."""
    numbers = np.searchsorted([first for first, _ in chosen], np.arange(item_count), side="right") - 1
    return np.maximum(numbers, 0)
