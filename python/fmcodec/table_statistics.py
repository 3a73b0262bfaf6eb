"""TableStatistics: histograms per band and per context over sample tensors, for static code tables."""

from __future__ import annotations

from typing import Any

from fmcodec import _core
from fmcodec.arrays import as_tensor, check_layout, dtype_code
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
