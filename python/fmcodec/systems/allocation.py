"""Bits for components: the best uniform quantizer of each width, and who gets the next bit."""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np

MOST_BITS = 12
# Ends and steps of the grid on which the density is integrated, in standard deviations.
REACH, GRID = 16.0, 1 / 256
GOLDEN = (math.sqrt(5) - 1) / 2
SEARCH_STEPS = 40


class Quantizer(NamedTuple):
    """A uniform quantizer with 2**bits levels around 0, for values of variance 1: step and mean squared error."""

    step: float
    error: float


@cache
def laplace_quantizer(bits: int) -> Quantizer:
    """The uniform quantizer of least squared error for a Laplacian density of variance 1; 0 bits leave the value out.

    Components of feature maps have a peak at 0 and long tails, as this density has.
    """
    if not bits:
        return Quantizer(1.0, 1.0)
    places = np.arange(GRID / 2, REACH, GRID)
    density = math.sqrt(2) * np.exp(-math.sqrt(2) * places) * GRID

    def error(step: float) -> float:
        levels = np.minimum(np.floor(places / step), 2 ** (bits - 1) - 1) + 0.5
        return float(np.sum(density * (places - levels * step) ** 2))

    low, high = 1e-3, 2 * REACH / 2**bits
    for _ in range(SEARCH_STEPS):
        left, right = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
        low, high = (low, right) if error(left) < error(right) else (left, high)
    return Quantizer((low + high) / 2, error((low + high) / 2))


def water_filling(variances: np.ndarray, error: float) -> tuple[int, ...]:
    """Bits of each component by reverse water-filling: half the logarithm of variance over error, rounded, not below 0.

    The textbook solution for Gaussian components (Cover and Thomas, Elements of Information Theory, chapter 10).
    """
    with np.errstate(divide="ignore"):
        bits = np.rint(0.5 * np.log2(np.asarray(variances) / error))
    return tuple(int(count) for count in np.clip(bits, 0, MOST_BITS))


def greedy_bits(weights: Sequence[float], counts: Sequence[float], budget: float) -> list[int]:
    """Bits of parts, one by one to the part whose error falls most for each bit that is paid.

    Parameters
    ----------
    weights
        Error of each part without any bits.
    counts
        Values of each part: what one more bit costs.
    budget
        Bits that may be spent in all; parts for which one more bit would pass it stay as they are.
    """
    bits = [0] * len(weights)

    def entry(part: int) -> tuple[float, int]:
        gain = laplace_quantizer(bits[part]).error - laplace_quantizer(bits[part] + 1).error
        return -weights[part] * gain / counts[part], part

    queue = [entry(part) for part in range(len(weights)) if weights[part] > 0]
    heapq.heapify(queue)
    spent = 0.0
    while queue:
        _, part = heapq.heappop(queue)
        if spent + counts[part] > budget:
            continue
        spent += counts[part]
        bits[part] += 1
        if bits[part] < MOST_BITS:
            heapq.heappush(queue, entry(part))
    return bits
