"""Masked blocks of transform coefficients: a reconstruction of the packing of DCT-CM.

Source: Y. Shi et al., "Transform-Based Feature Map Compression for CNN Inference", ISCAS 2021, arXiv 2106.12850.
Of the paper only the abstract was used: a DCT along the channels, masks and a coding format, without their layout.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from fmcodec.baselines.coder import WordCoder
from fmcodec.baselines.fields import FieldReader, IntArray
from fmcodec.baselines.masks import in_groups, masked_fields, read_masked


@dataclass(frozen=True, kw_only=True)
class DctCm(WordCoder):
    """Blocks of ``block`` coefficients: a mask bit for each, a width, the coefficients that are not 0 in this width.

    A reconstruction, not the format of the paper, to which no rate found here should be ascribed. The width is the
    smallest that holds all coefficients of the block (in two's complement if ``signed``); it is stored less 1 in
    ceil(log2(``bits``)) bits, and left out if all are 0. The last block has mask bits only for the coefficients there
    are. Transform and quantization are the caller's: coefficients come with the channels as the last axis, so that
    blocks of C order run along them (``block`` should divide the number of channels).

    Parameters
    ----------
    block
        Coefficients of a block, 1 to 32.
    """

    name: ClassVar[str] = "dctcm"
    block: int = 16

    def __post_init__(self) -> None:
        super().__post_init__()
        self._normalize("block", 1, 32)

    @property
    def _header_bits(self) -> int:
        return (self.bits - 1).bit_length()

    def _fields(self, symbols: IntArray) -> tuple[IntArray, IntArray]:
        # In two's complement a number needs the bits of its magnitude, or of its complement, and a sign.
        magnitudes = np.where(symbols < 0, ~symbols, symbols)
        largest = in_groups(magnitudes, self.block).max(axis=1)
        widths = np.maximum(1, np.frexp(largest)[1].astype(np.int64) + self.signed)
        return masked_fields(symbols, self.block, widths, self._header_bits)

    def _parse(self, reader: FieldReader, count: int) -> IntArray:
        places, words, widths = read_masked(reader, count, self.block, self.bits, self._header_bits)
        if self.signed:
            words -= (words >> (widths - 1)) << widths
        symbols = np.zeros(count, dtype=np.int64)
        symbols[places] = self._symbols(words)
        return symbols
