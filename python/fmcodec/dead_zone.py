"""Dead zones that trade error for bits, from the mean magnitude of each band."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from fmcodec.spec import CodecSpec

Numbers = npt.NDArray[np.float64]

# At high rates the squared error is a twelfth of the step squared and a bit halves the step, so one more bit saves this
# part of the step squared (H. Gish and J. Pierce, "Asymptotically efficient quantizing", IEEE Trans. IT 14(5), 1968).
SQUARED_STEPS_PER_BIT = math.log(2) / 6
CANDIDATES = np.arange(50, 101) / 100
# Above, the best dead zone is 0.5 anyway.
LEAST_SCALE, LARGEST_SCALE = 1e-3, 1e2


def has_both_signs(spec: CodecSpec) -> bool:
    """Whether coefficients may be negative: not those of an untransformed map whose levels begin at 0."""
    return spec.transform != "identity" or spec.spatial_size > 1 or spec.zero_point > 0


def rate_dead_zones(
    mean_magnitudes: npt.ArrayLike, dead_zones: npt.ArrayLike = 0.5, *, is_signed: bool = True
) -> Numbers:
    """Dead zone of the least error + price x bits for bands whose symbols have these mean magnitudes.

    A band is modelled by the density of Laplace, ``exp(-abs(x) / b) / (2 b)`` in steps (without negative values,
    ``exp(-x / b) / b``), whose b gives its symbols their mean. With the dead zone w, a symbol is not 0 with the
    probability ``n = exp(-w / b)``, and each next magnitude follows with ``exp(-1 / b)``. So the squared error and the
    entropy are known for every w, and of 0.50, 0.51 to 1.00 that of the least sum is taken (G. Sullivan, "Efficient
    scalar quantization of exponential and Laplacian random variables", IEEE Trans. IT 42(5), 1996, has the optimum for
    thresholds of all magnitudes). The price is the slope of error against bits at high rates, the same for all bands.

    Parameters
    ----------
    mean_magnitudes
        Mean of ``abs(symbol)`` of each band (bands,).
    dead_zones
        Those with which these symbols were made: one number, or one for each band.
    is_signed
        Whether symbols of either sign occur.

    Returns
    -------
    numpy.ndarray
        float64 (bands,): half the widths of the intervals that become 0, in band steps.

    >>> rate_dead_zones([10.0, 1.0, 0.1]).tolist()
    [0.51, 0.58, 0.91]
    """
    means = np.asarray(mean_magnitudes, dtype=np.float64)
    scale = _scales(means, np.broadcast_to(dead_zones, means.shape))[:, None]
    error = _squared_error(scale, CANDIDATES)
    bits = _entropy(scale, CANDIDATES, is_signed=is_signed)
    best: Numbers = CANDIDATES[np.argmin(error + SQUARED_STEPS_PER_BIT * bits, axis=1)]
    return best


def _scales(means: Numbers, dead_zones: Numbers) -> Numbers:
    """The b at which symbols have a mean magnitude, exp(-w / b) / (1 - exp(-1 / b)), by halving its logarithm."""
    low = np.full(means.shape, math.log(LEAST_SCALE))
    high = np.full(means.shape, math.log(LARGEST_SCALE))
    for _ in range(50):
        middle = (low + high) / 2
        scale = np.exp(middle)
        is_below = np.exp(-dead_zones / scale) / -np.expm1(-1 / scale) < means
        low, high = np.where(is_below, middle, low), np.where(is_below, high, middle)
    scales: Numbers = np.exp(high)
    return scales


def _squared_error(scale: Numbers, dead_zones: Numbers) -> Numbers:
    """Mean squared error of rounding with a dead zone, in squared steps."""
    below = _partial_moment(scale, dead_zones)
    # A value above the dead zone is rounded to k if it is y = 0 to 1 above w + k - 1, and y has the same density for
    # all k: that of values of 0 to 1. Its error is w - 1 + y.
    first = _first_moment(scale)
    offset = dead_zones - 1
    share = -np.expm1(-1 / scale)
    cell = (_partial_moment(scale, np.ones(1)) + 2 * offset * first) / share + offset**2
    error: Numbers = below + np.exp(-dead_zones / scale) * cell
    return error


def _partial_moment(scale: Numbers, end: Numbers) -> Numbers:
    """Integral of x^2 exp(-x / b) / b from 0 to the end."""
    ratio = end / scale
    moment: Numbers = scale**2 * (2 - np.exp(-ratio) * (ratio**2 + 2 * ratio + 2))
    return moment


def _first_moment(scale: Numbers) -> Numbers:
    """Integral of x exp(-x / b) / b from 0 to 1."""
    moment: Numbers = scale * (1 - np.exp(-1 / scale) * (1 / scale + 1))
    return moment


def _entropy(scale: Numbers, dead_zones: Numbers, *, is_signed: bool) -> Numbers:
    """Bits of a symbol."""
    nonzero = np.exp(-dead_zones / scale)
    last = -np.expm1(-1 / scale)
    bits: Numbers = _binary_entropy(nonzero) + nonzero * (is_signed + _binary_entropy(last) / last)
    return bits


def _binary_entropy(p: Numbers) -> Numbers:
    inside = p.clip(1e-300, 1 - 1e-16)
    bits: Numbers = -(inside * np.log2(inside) + (1 - inside) * np.log1p(-inside) / math.log(2))
    return bits
