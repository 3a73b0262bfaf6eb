"""Words of fixed width: no compression, the rate that the others are compared with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from fmcodec.baselines.coder import WordCoder
from fmcodec.baselines.fields import FieldReader, IntArray


@dataclass(frozen=True, kw_only=True)
class Fixed(WordCoder):
    """Every symbol is its word of ``bits`` bits: ``bits * n`` bits for n symbols."""

    name: ClassVar[str] = "fixed"

    def _fields(self, symbols: IntArray) -> tuple[IntArray, IntArray]:
        return symbols, np.full(len(symbols), self.bits)

    def _parse(self, reader: FieldReader, count: int) -> IntArray:
        reader.require(count * self.bits)
        return self._symbols(reader.take(np.arange(count) * self.bits, self.bits))
