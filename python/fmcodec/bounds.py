"""The worst-case error that a spec allows, from the integer arithmetic of docs/format.md."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from fmcodec.basis import Basis
from fmcodec.reference.transform import (
    TransformGroup,
    band_rounding,
    band_step,
    dct_matrix,
    group_matrix,
    transform_groups,
)
from fmcodec.spec import CodecSpec


def error_bound(spec: CodecSpec, channels: int) -> float:
    """Largest possible ``abs(x - decode(encode(x)))`` for float32 values within the range of the levels.

    The range is ``step * (low - 0.5)`` to ``step * (high + 0.5)`` with ``low, high = spec.level_range``; values beyond
    it are clamped to it. ``channels`` matters where it is not a multiple of ``transform_size``.

    The bound is the sum of half a step for the rounding to levels, the error of the levels, and the roundings of
    binary32 arithmetic (two of 2**-24 relative to the value when quantizing, one when dequantizing).

    >>> fmcodec.error_bound(fmcodec.CodecSpec(step=0.5), channels=64)
    0.250030517578125
    """
    low, high = spec.level_range
    largest = max(-low, high)
    return spec.step * (0.5 + level_error(spec, channels) + (largest + 1) * 2.0**-22)


def level_error(spec: CodecSpec, channels: int) -> float:
    """Largest difference between the level of a value and the level the decoder gives back."""
    worst = 0.0
    for number, group in enumerate(transform_groups(spec, channels)):
        worst = max(worst, _group_error(spec, group, number))
    return worst


def _group_error(spec: CodecSpec, group: TransformGroup, number: int) -> float:
    low, high = spec.level_range
    size, kept = group.size, group.kept
    symbol_errors = np.array([_symbol_error(spec, group, k) for k in range(kept)], dtype=np.float64)
    errors = _coefficient_errors(spec, symbol_errors, size)
    if spec.basis is not None:
        return _klt_error(spec, spec.basis, group, number, errors)
    if size == 1:
        return float(errors[0])
    largest = max(-low, high)
    matrix = group_matrix(spec, size).astype(np.float64) / 4096
    weights = np.abs(matrix)
    # Of a coefficient: its rounding and that of its symbol, or all of it where it is not kept.
    coefficient_errors = weights.sum(axis=1) * largest + 0.5
    coefficient_errors[:kept] = 0.5 + errors
    rounding = 0.5 + weights.T @ coefficient_errors
    # The integer matrix is only nearly orthonormal.
    deviation = np.abs(matrix.T @ matrix - np.eye(size)).sum(axis=1) * largest
    error = float((rounding + deviation).max())
    # Beyond this the 32-bit sums of the inverse transform may wrap.
    return error if largest + error < 2**19 else math.inf


def _coefficient_errors(
    spec: CodecSpec, symbol_errors: npt.NDArray[np.float64], channels: int
) -> npt.NDArray[np.float64]:
    """The largest errors of coefficients of the channel transform from those of symbols (section 4.4)."""
    if spec.spatial_size == 1:
        return symbol_errors
    # Cells have any extent up to the spatial size.
    matrices = [dct_matrix(extent).astype(np.float64) / 4096 for extent in range(1, spec.spatial_size + 1)]
    gain = [max(float(np.abs(matrix).sum(axis=axis).max()) for matrix in matrices) for axis in (0, 1)]
    # Two products with a rounding each on the way to the symbol, and two on the way back.
    there = 0.5 + 0.5 * gain[1]
    back = 0.5 + gain[0] * (0.5 + gain[0] * (symbol_errors + there))
    low, high = spec.level_range
    largest = max(-low, high) * math.sqrt(channels) * 1.01 + 1
    # The integer matrix is only nearly orthonormal, along both axes.
    deviation = max(float(np.abs(m.T @ m - np.eye(len(m))).sum(axis=1).max()) for m in matrices)
    lost = largest * ((1 + deviation) ** 2 - 1)
    # Beyond this the decoder clamps coefficients.
    return back + lost if largest * spec.spatial_size * 1.01 < 2**20 else np.full_like(symbol_errors, math.inf)


def _klt_error(
    spec: CodecSpec, basis: Basis, group: TransformGroup, number: int, errors: npt.NDArray[np.float64]
) -> float:
    """The error of a group with a basis; what its rows do not span is lost, whatever the steps."""
    low, high = spec.level_range
    means = np.array(basis.means[group.first_input : group.first_input + group.size], dtype=np.float64)
    largest = np.maximum(high - means, means - low)
    rows = basis.entries(spec.kept_band_count, spec.transform_size)[number] / 2.0**basis.fraction_bits
    weights = np.abs(rows)
    coefficients = weights @ largest + 0.5 + errors
    lost = np.abs(rows.T @ rows - np.eye(group.size)) @ largest
    error = float((0.5 + weights.T @ (0.5 + errors) + lost).max())
    # Beyond this coefficients saturate, or 32-bit sums may wrap.
    sums = max(coefficients.max(initial=0.0), (weights.T @ coefficients).max(initial=0.0)) * 2.0**basis.fraction_bits
    return error if coefficients.max(initial=0.0) < 2**15 and sums < 2**31 else math.inf


def _symbol_error(spec: CodecSpec, group: TransformGroup, k: int) -> int:
    """Largest |c - s * step| of a coefficient (section 5)."""
    step, rounding = band_step(spec, group, k), band_rounding(spec, group, k)
    return max(rounding, step - 1 - rounding)
