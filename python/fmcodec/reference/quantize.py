"""Levels: values to integers and back, in exact binary32 arithmetic (docs/format.md, section 3)."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fmcodec.errors import NonFiniteError
from fmcodec.reference.bits import IntArray
from fmcodec.spec import CodecSpec

DTYPE_CODES = {"float32": 1, "float16": 2, "bfloat16": 3, "int8": 4, "uint8": 5}
FLOAT16_LARGEST = 65504.0
BFLOAT16_LARGEST = float.fromhex("0x1.fep127")


def bfloat16_type() -> Any:
    """The bfloat16 scalar type of ml_dtypes, or None if that package is not there."""
    try:
        return importlib.import_module("ml_dtypes").bfloat16
    except ImportError:
        return None


def dtype_name(x: NDArray[Any], dtype: str | None = None) -> str:
    """Name of the dtype of an array; bfloat16 bit patterns in uint16 must be announced by ``dtype``."""
    name = str(x.dtype.name)
    if dtype == "bfloat16" and name in ("uint16", "bfloat16"):
        return dtype
    if name not in DTYPE_CODES or dtype not in (None, name):
        raise TypeError(f"an array of {name} cannot be coded as {dtype or name}")
    return name


def to_binary32(x: NDArray[Any], name: str) -> NDArray[np.float32]:
    """Section 3: the input widened to binary32, which is exact for every dtype."""
    if name == "bfloat16":
        upper_half = x if x.dtype.kind == "u" else x.view(np.uint16)
        return (upper_half.astype(np.uint32) << 16).view(np.float32)
    return x.astype(np.float32)


def levels_from_values(x: NDArray[np.float32], spec: CodecSpec) -> IntArray:
    """Section 3, encoder: ``q = round(clamp(binary32(x * inverse_step), lo, hi))``."""
    is_finite = np.isfinite(x)
    if spec.nonfinite == "raise" and not is_finite.all():
        raise NonFiniteError(f"the array holds {int((~is_finite).sum())} values that are NaN or infinite")
    x = np.where(np.isnan(x), np.float32(0), x)

    low, high = spec.level_range
    inverse_step = np.float32(1.0 / spec.step)
    with np.errstate(over="ignore", under="ignore"):
        scaled = x * inverse_step
    levels: IntArray = np.rint(scaled.clip(np.float32(low), np.float32(high))).astype(np.int64)
    return levels


def values_from_levels(levels: IntArray, spec: CodecSpec, name: str) -> NDArray[Any]:
    """Section 3, decoder: ``binary32(q * step)``, then rounded to the dtype."""
    x: NDArray[np.float32] = levels.astype(np.float32) * np.float32(spec.step)
    if name == "float32":
        return x
    if name == "float16":
        return x.clip(np.float32(-FLOAT16_LARGEST), np.float32(FLOAT16_LARGEST)).astype(np.float16)
    if name == "bfloat16":
        return _to_bfloat16(x)
    limits = np.iinfo(name)
    rounded: NDArray[Any] = np.rint(x).clip(limits.min, limits.max).astype(name)
    return rounded


def _to_bfloat16(x: NDArray[np.float32]) -> NDArray[Any]:
    """Upper half of binary32 after rounding to nearest, ties to even."""
    bits = x.clip(np.float32(-BFLOAT16_LARGEST), np.float32(BFLOAT16_LARGEST)).view(np.uint32)
    upper_half = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    scalar_type = bfloat16_type()
    return upper_half if scalar_type is None else upper_half.view(scalar_type)
