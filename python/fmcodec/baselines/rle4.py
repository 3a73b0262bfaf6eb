"""Run-length coding of zeros with four bits, and words of all else.

Source: the zero run-length coder that L. Cavigelli et al. compare with in "EBPC: Extended Bit-Plane Compression for
Deep Neural Network Inference and Training Accelerators", JETCAS 2019, arXiv 1908.11645.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from fmcodec.baselines.coder import WordCoder
from fmcodec.baselines.fields import FieldReader, IntArray
from fmcodec.baselines.runs import read_runs, run_fields


@dataclass(frozen=True, kw_only=True)
class Rle4(WordCoder):
    """``1`` and the word for a symbol that is not 0, ``0`` and the length less 1 in 4 bits for 1 to 16 zeros.

    Our reading: longer runs are cut into runs of 16 and one of what is left; the authors' script writes the length
    itself, for which 16 has no code of 4 bits.
    """

    name: ClassVar[str] = "rle4"

    def _fields(self, symbols: IntArray) -> tuple[IntArray, IntArray]:
        return run_fields(symbols, self._words(symbols[symbols != 0]), self.bits)

    def _parse(self, reader: FieldReader, count: int) -> IntArray:
        places, starts, _ = read_runs(reader, count, self.bits)
        symbols = np.zeros(count, dtype=np.int64)
        symbols[places] = self._symbols(reader.take(starts, self.bits))
        return symbols
