"""TableStatistics: histograms per band and per context over sample tensors, for static code tables and dead zones."""

from __future__ import annotations

from typing import Any

import numpy as np

from fmcodec import _core
from fmcodec.arrays import as_tensor, check_layout, dtype_code
from fmcodec.dead_zone import has_both_signs, rate_dead_zones
from fmcodec.reference.transform import band_dead_zone, first_flag_band, kept_coefficients
from fmcodec.spec import CodecSpec, Tables, native_spec, tables_of_native


class TableStatistics:
    """Streaming statistics of the symbols that ``spec`` makes of tensors.

    With a spec of effort 3, contexts from neighbours are counted too, and `build` takes their tables if what was seen
    has fewer bits with them. Nothing of the tensors is kept. Statistics of parts of the data can be merged, in any
    order, with the same result.

    >>> statistics = TableStatistics(spec)
    >>> statistics.update(np.zeros((8, 4, 4), np.float32))
    >>> static = spec.replace(tables=statistics.build())
    """

    def __init__(self, spec: CodecSpec) -> None:
        self.spec = spec
        self._native = _core.TableStatistics(native_spec(spec))

    def update(self, x: Any, *, layout: str = "nchw") -> None:
        """Count a tensor, given as to `fmcodec.encode`; ValueError if its channels differ from those before."""
        array, name = as_tensor(x)
        check_layout(layout)
        if array.ndim not in (3, 4):
            raise ValueError(f"the array must have 3 or 4 axes, not {array.ndim}")
        self._native.update(array, dtype_code(name), layout == "nhwc")

    def merge(self, other: TableStatistics) -> None:
        """Add the statistics of ``other``; ValueError if its spec or number of channels differs."""
        self._native.merge(other._native)

    def build(self) -> Tables:
        """Tables that have a code for every symbol seen and some beyond; ValueError if nothing was counted."""
        return tables_of_native(self._native.build())

    def dead_zone(self) -> tuple[float, ...]:
        """A dead zone for each channel or component, for `CodecSpec`: fewer bits at equal error (docs/transforms.md).

        It is wider the fewer symbols of a band are not 0 (`fmcodec.dead_zone.rate_dead_zones`). The places of a spatial
        transform share one; what is not kept has 0.5. At the same step the error grows, so take a smaller one.

        >>> statistics = TableStatistics(spec)
        >>> statistics.update(np.ones((8, 4, 4), np.float32))
        >>> spec = spec.replace(dead_zone=statistics.dead_zone())

        Raises
        ------
        ValueError
            Nothing was counted.
        """
        magnitudes, positions, channels = self._native.magnitudes()
        if not positions:
            raise ValueError("no values were seen: call update() first")
        spec, places = self.spec, self.spec.spatial_size**2
        sums = np.array(magnitudes[: first_flag_band(spec, channels)], dtype=np.float64).reshape(-1, places).sum(axis=1)
        kept = kept_coefficients(spec, channels)
        present = [band_dead_zone(spec, group, k) for group, k in kept]
        found = rate_dead_zones(sums / (positions * places), present, is_signed=has_both_signs(spec))
        dead_zones = np.full(channels, 0.5)
        dead_zones[[group.first_input + k for group, k in kept]] = found
        return tuple(dead_zones.tolist())
