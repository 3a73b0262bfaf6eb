"""Interlayer feature map compression: an 8 x 8 DCT of each channel, a quantization table, a sparse code.

Source: Shao et al., arXiv 2110.06155.

What the abstract states: two-dimensional DCT of 8 x 8, quantization that removes high frequencies, sparse-matrix
compression of what is left; 1.4 to 3.3 times.

All else is a reconstruction: the map is coded after its activation, cells at the border are filled with the nearest
values; the quantization table is the example for luminance in the JPEG standard (ITU-T T.81, table K.1), scaled so that
the step of the mean is ``level`` times the root mean square of the map (eight times that in the orthonormal DCT); words
have as many bits as the largest coefficient of the calibration samples needs; the sparse code is a mask bit for each
coefficient and the words of those that are not 0 (`fmcodec.baselines.Zvc`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch

from fmcodec.baselines import Zvc
from fmcodec.evaluation import Network, Placement
from fmcodec.systems.dctcm2021 import dct_matrix
from fmcodec.systems.symbol_codec import PARAMETER_BITS, Shape, SymbolCodec, word_range
from fmcodec.systems.system import Batches, Placements, System, measure, require_positive, site_of
from fmcodec.torch.observe import run
from fmcodec.torch.wrap import activate

CELL = 8
MOST_BITS = 16

LUMINANCE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)


class Shao2021(System):
    """Level: the step of the mean of a cell as a share of the root mean square of the map."""

    name: ClassVar[str] = "shao2021"
    source = "Shao et al., arXiv 2110.06155 (abstract only)"
    stated = "8 x 8 DCT of each channel, quantization that removes high frequencies, sparse-matrix compression"
    reconstruction = "JPEG's luminance table, width of words, mask and words as the sparse code, coded after the ReLU"
    level_name = "step of the mean of a cell / RMS of the map"
    levels = (0.002, 0.005, 0.01, 0.02)

    def calibrate(self, network: Network, batches: Batches, level: float) -> Placements:
        """As in `System`."""
        require_positive(level)
        table = torch.tensor(LUMINANCE, dtype=torch.float32) / LUMINANCE[0][0]
        codecs = {
            name: SpatialDctCodec(coder=Zvc(bits=MOST_BITS, signed=True), steps=table * (CELL * level * statistics.rms))
            for name, statistics in measure(network, batches, "after").items()
        }
        largest = dict.fromkeys(codecs, 0)

        def find_largest(name: str, x: torch.Tensor) -> None:
            symbols = codecs[name].symbols(activate(x, network.maps[name].activation))
            largest[name] = max(largest[name], int(symbols.abs().max()))

        run(network.model, batches, {name: site.where for name, site in network.maps.items()}, find_largest)
        return {
            name: Placement(site_of(network, name, "after"), replace(codec, coder=_coder(largest[name])))
            for name, codec in codecs.items()
        }


def _coder(largest: int) -> Zvc:
    return Zvc(bits=min(MOST_BITS, largest.bit_length() + 1), signed=True)


@dataclass(frozen=True, eq=False, kw_only=True)
class SpatialDctCodec(SymbolCodec):
    """An 8 x 8 DCT over the rows and columns of each channel; symbols (cells, 8, 8).

    Parameters
    ----------
    steps
        float32 (8, 8): quantization step of each frequency.
    """

    coder: Zvc
    steps: torch.Tensor

    def symbols(self, x: torch.Tensor) -> torch.Tensor:
        """Levels of the coefficients of all cells."""
        matrix = torch.tensor(dct_matrix(CELL), dtype=torch.float32)
        low, high = word_range(self.coder.bits, signed=True)
        coefficients = matrix @ self._cells(x.float()) @ matrix.T
        return torch.round(coefficients / self.steps).clamp(low, high).to(torch.int32)

    def values(self, symbols: torch.Tensor, shape: Shape) -> torch.Tensor:
        """The cells put together, without what is beyond the border."""
        matrix = torch.tensor(dct_matrix(CELL), dtype=torch.float32)
        cells = matrix.T @ (symbols.to(torch.float32) * self.steps) @ matrix
        rows, columns = (-(-extent // CELL) for extent in shape[2:])
        grid = cells.reshape(shape[0], shape[1], rows, columns, CELL, CELL).transpose(3, 4)
        whole = grid.reshape(shape[0], shape[1], rows * CELL, columns * CELL)
        return whole[:, :, : shape[2], : shape[3]].contiguous()

    def symbol_shape(self, shape: Shape) -> Shape:
        """(cells, 8, 8)."""
        cells = shape[0] * shape[1] * math.prod(-(-extent // CELL) for extent in shape[2:])
        return cells, CELL, CELL

    def parameter_bits(self, channels: int) -> int:
        """The table of steps."""
        return PARAMETER_BITS * self.steps.numel()

    def _cells(self, x: torch.Tensor) -> torch.Tensor:
        rows, columns = (-(-extent // CELL) * CELL for extent in x.shape[2:])
        padded = torch.nn.functional.pad(x, (0, columns - x.shape[3], 0, rows - x.shape[2]), mode="replicate")
        grid = padded.reshape(*x.shape[:2], rows // CELL, CELL, columns // CELL, CELL).transpose(3, 4)
        return grid.reshape(int(np.prod(grid.shape[:4])), CELL, CELL)
