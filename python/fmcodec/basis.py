"""Basis: the matrix of a KLT in integers, as an immutable value that policies and streams hold."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt

LARGEST_FRACTION_BITS = 14
DEFAULT_FRACTION_BITS = 12
ENTRY_BITS = (8, 16)


class Basis(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The basis of the transform ``"klt"`` (docs/format.md, section 4.2): means and rows of integers.

    `Basis.from_array` makes one from floating-point rows, `klt_spec` a whole spec from samples.

    Parameters
    ----------
    means
        Mean level of each channel, in the order of the transform's inputs: subtracted before the product with the rows
        and added behind the product with their transpose.
    rows
        ``kept_bands`` rows of ``transform_size`` entries for each group of channels, row by row: signed integers of
        ``entry_bits`` bits, little endian. In JSON they are base64.
    entry_bits
        8 or 16.
    fraction_bits
        An entry stands for itself divided by 2 to this power, 1 to 14.

    Raises
    ------
    ValueError
        A value is out of its range.
    """

    means: tuple[int, ...]
    rows: bytes
    entry_bits: Literal[8, 16] = 16
    fraction_bits: int = DEFAULT_FRACTION_BITS

    def __post_init__(self) -> None:
        if not 1 <= self.fraction_bits <= LARGEST_FRACTION_BITS:
            raise ValueError(f"fraction_bits must be 1 to {LARGEST_FRACTION_BITS}, not {self.fraction_bits}")
        if self.entry_bits not in ENTRY_BITS:
            raise ValueError(f"entry_bits must be 8 or 16, not {self.entry_bits}")
        if not self.means or not -(2**15) <= min(self.means) <= max(self.means) < 2**15:
            raise ValueError("means must be one number of 16 bits or more")

    @classmethod
    def from_array(
        cls,
        rows: npt.ArrayLike,
        means: Sequence[int] | npt.NDArray[np.integer[Any]],
        *,
        entry_bits: Literal[8, 16] = 16,
        fraction_bits: int | None = None,
    ) -> Basis:
        """The basis nearest to rows of floating-point numbers, such as orthonormal eigenvectors.

        Parameters
        ----------
        rows
            (rows, channels), or (groups, rows, channels of a group).
        means
            Mean level of each channel.
        entry_bits
            8 or 16.
        fraction_bits
            By default as many as let all entries fit, 12 at most.

        Raises
        ------
        ValueError
            Entries do not fit, or there is not one mean for each channel.

        Examples
        --------
        >>> Basis.from_array([[0.6, 0.8], [0.8, -0.6]], means=[0, 0]).entries(2, 2).tolist()
        [[[2458, 3277], [3277, -2458]]]
        """
        exact = np.asarray(rows, dtype=np.float64)
        exact = exact.reshape(-1, *exact.shape[-2:])
        limit = 2 ** (entry_bits - 1) - 1
        if fraction_bits is None:
            largest = max(float(np.abs(exact).max(initial=0.0)), 2.0**-LARGEST_FRACTION_BITS)
            fraction_bits = min(DEFAULT_FRACTION_BITS, math.floor(math.log2(limit / largest)))
        entries = np.rint(exact * 2.0**fraction_bits)
        if np.abs(entries).max(initial=0.0) > limit:
            raise ValueError(f"entries do not fit {entry_bits} bits with {fraction_bits} fraction bits")
        if len(means) != exact.shape[0] * exact.shape[2]:
            raise ValueError(f"means must be {exact.shape[0] * exact.shape[2]} numbers, not {len(means)}")
        return cls(
            means=tuple(int(mean) for mean in means),
            rows=entries.astype(_entry_type(entry_bits)).tobytes(),
            entry_bits=entry_bits,
            fraction_bits=fraction_bits,
        )

    def to_bytes(self) -> bytes:
        """The basis as in the stream (docs/format.md, section 4.3)."""
        head = bytes([self.fraction_bits, self.entry_bits // 8])
        return head + np.array(self.means, dtype="<i2").tobytes() + self.rows

    @classmethod
    def from_bytes(cls, data: bytes, channels: int) -> Basis:
        """The basis of `to_bytes`."""
        means_end = 2 + 2 * channels
        return cls(
            means=tuple(np.frombuffer(data[2:means_end], dtype="<i2").tolist()),
            rows=data[means_end:],
            entry_bits=8 if data[1] == 1 else 16,
            fraction_bits=data[0],
        )

    def entries(self, kept_bands: int, transform_size: int) -> npt.NDArray[np.int64]:
        """The rows as an array (groups, kept_bands, transform_size)."""
        entries = np.frombuffer(self.rows, dtype=_entry_type(self.entry_bits)).astype(np.int64)
        return entries.reshape(-1, kept_bands, transform_size)


def _entry_type(entry_bits: int) -> np.dtype[np.int8] | np.dtype[np.int16]:
    return np.dtype("<i2") if entry_bits == 16 else np.dtype("<i1")
