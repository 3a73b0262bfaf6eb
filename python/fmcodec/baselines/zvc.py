"""Zero-value compression: a mask, and the words that are not 0.

Source: M. Rhu et al., "Compressing DMA Engine: Leveraging Activation Sparsity for Training Deep Neural Networks",
HPCA 2018, arXiv 1705.01626.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from fmcodec.baselines.coder import WordCoder
from fmcodec.baselines.fields import FieldReader, IntArray
from fmcodec.baselines.masks import masked_fields, read_masked

GROUP = 32


@dataclass(frozen=True, kw_only=True)
class Zvc(WordCoder):
    """Groups of 32 symbols: a mask bit for each, then the words of those that are not 0.

    n + ``bits`` * (number of symbols that are not 0) bits. Our reading: the mask of the last group has no bits for
    symbols that do not exist, and the words have ``bits`` bits where the paper has 32.
    """

    name: ClassVar[str] = "zvc"

    def _fields(self, symbols: IntArray) -> tuple[IntArray, IntArray]:
        group_count = -(-len(symbols) // GROUP)
        return masked_fields(symbols, GROUP, np.full(group_count, self.bits), header_bits=0)

    def _parse(self, reader: FieldReader, count: int) -> IntArray:
        places, words, _ = read_masked(reader, count, GROUP, self.bits, header_bits=0)
        symbols = np.zeros(count, dtype=np.int64)
        symbols[places] = self._symbols(words)
        return symbols
