"""Arithmetic of the transforms, for the energy of a codec in hardware."""

from __future__ import annotations

from typing import NamedTuple

from fmcodec.reference.transform import transform_groups
from fmcodec.spec import CodecSpec


class Operations(NamedTuple):
    """Multiplications and additions per value of the map; shifts and clamping are free."""

    multiplications: float
    additions: float


def transform_operations(spec: CodecSpec, channels: int) -> Operations:
    """What the transforms of a spec compute per value of a map, in either direction (docs/format.md, section 4).

    Counted as fmcodec computes them: the DCT by even and odd halves, again and again (a quarter of the products of the
    matrix for the odd half, and so on), the Hadamard transform by sums and differences with one multiplication for each
    coefficient, a KLT as the product with its rows. Each coefficient has one addition more, for rounding, and each mean
    one. With a spatial transform, the coefficients that are kept are transformed along rows and along columns.

    Examples
    --------
    >>> transform_operations(CodecSpec(transform="hadamard", transform_size=8), 64)
    Operations(multiplications=1.0, additions=4.0)
    """
    multiplications = additions = kept = 0
    for group in transform_groups(spec, channels):
        kept += group.kept
        if spec.transform == "klt":
            products = group.size * group.kept
            multiplications += products
            # A sum has one addition fewer than products, and one for rounding; the others are means.
            additions += products + group.size
        elif group.size > 1:
            if spec.transform == "dct":
                multiplications += _dct_multiplications(group.size)
                additions += _dct_additions(group.size)
            else:
                multiplications += group.size
                additions += group.size * (group.size.bit_length() - 1)
            additions += group.size
    per_channel = Operations(multiplications / max(channels, 1), additions / max(channels, 1))
    size = spec.spatial_size
    if size == 1:
        return per_channel
    # Two transforms for each line of a cell, of which each value is in two.
    share = kept / max(channels, 1) * 2 / size
    return Operations(
        per_channel.multiplications + share * _dct_multiplications(size),
        per_channel.additions + share * (_dct_additions(size) + size),
    )


def _dct_multiplications(size: int) -> int:
    return 1 if size == 1 else (size // 2) ** 2 + _dct_multiplications(size // 2)


def _dct_additions(size: int) -> int:
    """Without those of rounding."""
    if size == 1:
        return 0
    half = size // 2
    return size + half * (half - 1) + _dct_additions(half)
