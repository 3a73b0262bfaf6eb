"""Code lengths from counts: Huffman lengths and grouped lengths (docs/format.md, section 10.6)."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np

from fmcodec.reference.bits import IntArray

WEIGHT_BITS = 16
GROUP_WIDTHS = range(8)
# Costs are in sixteenths of a bit. Each step down the tree costs the bit and the split.
BIT = 16
STEP = BIT + 1
# Kinds of groups, in the order in which equal costs are decided.
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


def weight_key(weight: int) -> int:
    """Section 10.6: what tokens are sorted by, sixteen keys for each octave of weights."""
    if weight < 16:
        return weight
    octave = weight.bit_length() - 1
    return 16 * (octave - 3) + (weight >> (octave - 4)) % 16


def is_group_start(place: int) -> bool:
    """Section 10.6: whether a group may begin at this place of the order."""
    return place % (1 if place < 32 else 2 if place < 64 else 4 if place < 128 else 8) == 0


class Group(NamedTuple):
    """Section 10.6: the first group of a division, ``2^width`` tokens, and the cost of all groups from it on.

    The smallest of several is the one that the encoder takes: of equal costs the last group, then that of the smallest
    width, then a half.
    """

    cost: int
    width: int
    kind: int


def _last_group(count: int) -> tuple[int, int]:
    """Section 10.6: ``m`` and ``s`` of the last group: in it, ``s`` tokens have ``m - 1`` bits and the others ``m``."""
    m = (count - 1).bit_length()
    return m, 2**m - count


def divide(weights: list[int]) -> tuple[dict[int, Group], dict[int, Group]]:
    """Section 10.6: ``V`` and ``R``: the best first group at each place, if the space is whole, or a rest of three
    quarters."""
    count = len(weights)
    sums = [0, *itertools.accumulate(weights)]
    wholes: dict[int, Group] = {}
    rests: dict[int, Group] = {}
    for i in reversed([place for place in range(count) if is_group_start(place)]):
        everything = sums[count] - sums[i]
        m, short = _last_group(count - i)
        last_bits = m * everything - (sums[i + short] - sums[i])
        of_whole = [Group(BIT * last_bits + (everything if short else 0), 0, LAST)]
        of_rest = []
        for width in GROUP_WIDTHS:
            end = i + 2**width
            if end not in wholes:
                continue
            group, left = sums[end] - sums[i], sums[count] - sums[end]
            planes = BIT * width * group
            behind = planes + wholes[end].cost
            of_whole.append(Group(behind + STEP * everything, width, HALF))
            if end in rests:
                of_whole.append(Group(planes + 2 * STEP * group + rests[end].cost, width, QUARTER))
            of_rest.append(Group(behind + STEP * group + 2 * STEP * left, width, HALF))
            of_rest.append(Group(behind + 2 * STEP * group + STEP * left, width, QUARTER))
        wholes[i] = min(of_whole)
        if of_rest:
            rests[i] = min(of_rest)
    return wholes, rests


def divided_lengths(weights: list[int]) -> list[int]:
    """Section 10.6: the lengths of the best division of weights into groups, in their order."""
    wholes, rests = divide(weights)
    lengths: list[int] = []
    depth, is_rest = 0, False
    while (group := (rests if is_rest else wholes)[len(lengths)]).kind != LAST:
        is_half = group.kind == HALF
        lengths += [depth + (1 if is_half else 2) + group.width] * 2**group.width
        # Of a rest, a half leaves a quarter, and a quarter leaves a half.
        depth += is_rest + is_half
        is_rest = not (is_rest or is_half)
    left = len(weights) - len(lengths)
    m, short = _last_group(left)
    return lengths + [depth + m - 1] * short + [depth + m] * (left - short)


def grouped_lengths(histogram: IntArray, longest: int) -> IntArray:
    """Section 10.6: lengths by token in groups of 2^m tokens, at most ``longest``, for the tokens that occur."""
    used = np.flatnonzero(histogram)
    if len(used) < 2 or len(used) > 2 ** (longest - 4):
        return limited_lengths(histogram, longest)
    excess_bits = max(0, int(histogram.max()).bit_length() - WEIGHT_BITS)
    weight_of = {token: max(int(histogram[token]) >> excess_bits, 1) for token in used.tolist()}
    order = sorted(weight_of, key=lambda token: (-weight_key(weight_of[token]), token))
    floor = (sum(weight_of.values()) >> (longest - 1)) + 1
    while max(found := divided_lengths([max(weight_of[token], floor) for token in order])) > longest:
        floor *= 2
    lengths = np.zeros(len(histogram), dtype=np.int64)
    lengths[order] = found
    return lengths
