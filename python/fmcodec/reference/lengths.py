"""Code lengths from counts: Huffman's, and grouped ones (docs/format.md, section 10.6)."""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

import numpy as np

from fmcodec.reference.bits import IntArray

LARGEST_GROUP_WIDTH = 7
WEIGHT_BITS = 16
BIT = 16  # what a bit costs, in units of what a split node costs
LAST, HALF, QUARTER = range(3)


def _huffman_lengths(weights: list[int]) -> list[int]:
    """Section 10.6: Huffman's algorithm with two queues, on ascending weights; leaves come first among equals."""
    leaf_count = len(weights)
    package_weights: list[int] = []
    parents = [0] * leaf_count
    leaf = package = 0
    for made in range(leaf_count - 1):
        total = 0
        for _ in range(2):
            takes_leaf = leaf < leaf_count and (package == made or weights[leaf] <= package_weights[package])
            if takes_leaf:
                total += weights[leaf]
                parents[leaf] = made
                leaf += 1
            else:
                total += package_weights[package]
                parents[leaf_count + package] = made
                package += 1
        package_weights.append(total)
        parents.append(0)
    depths = [0] * len(parents)
    for node in range(len(parents) - 2, -1, -1):
        depths[node] = depths[leaf_count + parents[node]] + 1
    return depths[:leaf_count]


def limited_lengths(histogram: IntArray, longest: int) -> IntArray:
    """Section 10.6: Huffman lengths by token, adjusted to at most ``longest``, for the tokens that occur."""
    lengths = np.zeros(len(histogram), dtype=np.int64)
    used = np.flatnonzero(histogram)
    if len(used) < 2:
        lengths[used] = 1
        return lengths
    leaves = used[np.argsort(histogram[used], kind="stable")]
    depths = _huffman_lengths([int(weight) for weight in histogram[leaves]])
    counts = np.bincount(np.minimum(depths, longest), minlength=longest + 1)
    excess = int((counts << (longest - np.arange(longest + 1)))[1:].sum()) - 2**longest
    for _ in range(excess):
        length = int(np.flatnonzero(counts[1:longest])[-1]) + 1
        counts[length] -= 1
        counts[length + 1] += 2
        counts[longest] -= 1
    lengths[leaves] = np.repeat(np.arange(longest, -1, -1), counts[::-1])
    return lengths


def _octave_key(weight: int) -> int:
    """Section 10.6: ``key(w)``, sixteen steps of each octave."""
    octave = weight.bit_length() - 1
    return weight if weight < 16 else (octave - 3) * 16 + (weight >> (octave - 4) & 15)


class _Choice(NamedTuple):
    """What begins at a token: its cost, and which group; the least of several is the one that is taken."""

    cost: float
    width: int  # m
    kind: int


class _Division:
    """Section 10.6: the division of tokens with these weights that costs least."""

    def __init__(self, weights: list[int]) -> None:
        self.count = len(weights)
        self.sums = [0, *itertools.accumulate(weights)]
        impossible = _Choice(math.inf, 0, LAST)
        self.whole = [impossible] * self.count
        self.rest = [impossible] * self.count
        for i in reversed(range(self.count)):
            if i % (1 if i < 32 else 2 if i < 64 else 4 if i < 128 else 8) == 0:
                self._choose(i)

    def last_group(self, i: int) -> tuple[int, int]:
        """``m`` and ``s`` of a last group from token ``i`` on: ``s`` tokens have ``m - 1`` bits, others ``m``."""
        width = (self.count - i - 1).bit_length()
        return width, 2**width - (self.count - i)

    def _choose(self, i: int) -> None:
        every = self.sums[self.count] - self.sums[i]
        m, short = self.last_group(i)
        last = BIT * (m * every - (self.sums[i + short] - self.sums[i])) + (every if short else 0)
        whole, rest = [_Choice(last, 0, LAST)], []
        once, twice = BIT + 1, 2 * (BIT + 1)
        for m in range(LARGEST_GROUP_WIDTH + 1):
            end = i + 2**m
            if end >= self.count:
                break
            group = self.sums[end] - self.sums[i]
            left, inner = every - group, BIT * m * group
            behind = inner + self.whole[end].cost
            whole.append(_Choice(behind + once * every, m, HALF))
            whole.append(_Choice(inner + self.rest[end].cost + twice * group, m, QUARTER))
            rest.append(_Choice(behind + once * group + twice * left, m, HALF))
            rest.append(_Choice(behind + twice * group + once * left, m, QUARTER))
        self.whole[i] = min(whole, key=_preference)
        self.rest[i] = min(rest, key=_preference, default=self.rest[i])

    def lengths(self) -> list[int]:
        """The length of each token."""
        lengths: list[int] = []
        depth, is_rest = 0, False
        while (choice := (self.rest if is_rest else self.whole)[len(lengths)]).kind != LAST:
            lengths += [depth + choice.kind + choice.width] * 2**choice.width
            if is_rest:
                depth += 2 if choice.kind == HALF else 1
            elif choice.kind == HALF:
                depth += 1
            is_rest = not is_rest and choice.kind == QUARTER
        m, short = self.last_group(len(lengths))
        return lengths + [depth + m - 1] * short + [depth + m] * (self.count - len(lengths) - short)


def _preference(choice: _Choice) -> tuple[float, bool, int, int]:
    """Of equal costs: the last group, then the smallest one, then a half."""
    return choice.cost, choice.kind != LAST, choice.width, choice.kind


def grouped_lengths(histogram: IntArray, longest: int) -> IntArray:
    """Section 10.6: lengths in groups of 2^m tokens, at most ``longest``, for the tokens that occur."""
    lengths = np.zeros(len(histogram), dtype=np.int64)
    excess_bits = max(0, int(histogram.max()).bit_length() - WEIGHT_BITS)
    weights = {token: max(int(histogram[token]) >> excess_bits, 1) for token in np.flatnonzero(histogram).tolist()}
    if len(weights) < 2:
        lengths[list(weights)] = 1
        return lengths
    tokens = sorted(weights, key=lambda token: (-_octave_key(weights[token]), token))
    least = (sum(weights.values()) >> (longest - 1)) + 1
    while True:
        grouped = _Division([max(weights[token], least) for token in tokens]).lengths()
        if max(grouped) <= longest:
            lengths[tokens] = grouped
            return lengths
        least *= 2
