"""Codecs of published systems: a map to integer symbols and back, and a lossless coder of these."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import torch

from fmcodec.baselines import Coder, EncodedBits
from fmcodec.evaluation import CodedMap
from fmcodec.systems.huffman import PooledHuffman

Shape = tuple[int, ...]


@dataclass(frozen=True, eq=False, kw_only=True)
class SymbolCodec(ABC):
    """Quantization, with a transform or without, then a coder that loses nothing.

    What decoding gives follows from the symbols. So `code` takes the size from the coder's count, which is that of the
    stream (tests compare them), and does not write the stream; `encode` and `decode` do.

    Parameters
    ----------
    coder
        Codes the symbols.
    """

    coder: Coder

    @abstractmethod
    def symbols(self, x: torch.Tensor) -> torch.Tensor:
        """Integers of `symbol_shape` from a map (N, C, H, W)."""

    @abstractmethod
    def values(self, symbols: torch.Tensor, shape: Shape) -> torch.Tensor:
        """The map that the decoder makes of symbols, float32."""

    @abstractmethod
    def symbol_shape(self, shape: Shape) -> Shape:
        """Shape of the symbols of a map."""

    @abstractmethod
    def parameter_bits(self, channels: int) -> int:
        """As in `MapCodec`."""

    def code(self, x: torch.Tensor) -> CodedMap:
        """As in `MapCodec`; all in one section, with a table of its own if the coder sends one."""
        symbols = self.symbols(x)
        array = symbols.numpy()
        decoded = self.values(symbols, tuple(x.shape)).to(x.dtype)
        if isinstance(self.coder, PooledHuffman):
            size = self.coder.size(array)
            sections = {"tables": size.table_bits, "payload": size.code_bits}
            return CodedMap(decoded, size.bits, sections, size.entropy_bits)
        bits = self.coder.size_bits(array)
        return CodedMap(decoded, bits, {"payload": bits})

    def encode(self, x: torch.Tensor) -> EncodedBits:
        """The stream of a map."""
        return self.coder.encode(self.symbols(x).numpy())

    def decode(self, encoded: EncodedBits, shape: Shape) -> torch.Tensor:
        """The map of a stream; the shape is not in it. Raises what the coder raises."""
        return self.values(torch.from_numpy(self.coder.decode(encoded, self.symbol_shape(shape))), shape)


# Bits of a number that a decoder has beforehand: matrices and steps are counted as 16-bit words, as in hardware.
PARAMETER_BITS = 16


@dataclass(frozen=True, eq=False, kw_only=True)
class UniformCodec(SymbolCodec):
    """Values divided by a step, rounded and clipped; symbols in the order of the map.

    Parameters
    ----------
    step
        Quantization step.
    low, high
        Smallest and largest symbol.
    """

    step: float
    low: int
    high: int

    def symbols(self, x: torch.Tensor) -> torch.Tensor:
        """Levels (N, C, H, W)."""
        return torch.round(x.float() / self.step).clamp(self.low, self.high).to(torch.int32)

    def values(self, symbols: torch.Tensor, shape: Shape) -> torch.Tensor:
        """Levels times the step."""
        return (symbols.to(torch.float32) * self.step).reshape(shape)

    def symbol_shape(self, shape: Shape) -> Shape:
        """That of the map."""
        return shape

    def parameter_bits(self, channels: int) -> int:
        """The step."""
        return PARAMETER_BITS

    @classmethod
    def over_range(cls, low: float, high: float, bits: int, coder: Coder) -> UniformCodec:
        """Levels that cover a range: unsigned if it has no negative values, else symmetric; 0 is a level."""
        if low >= 0:
            return cls(coder=coder, step=(high or 1.0) / (2**bits - 1), low=0, high=2**bits - 1)
        most = 2 ** (bits - 1) - 1
        return cls(coder=coder, step=max(-low, high) / most, low=-most - 1, high=most)


@dataclass(frozen=True, eq=False, kw_only=True)
class ProjectionCodec(SymbolCodec):
    """Components of the channels of each position, quantized with a step each.

    Parameters
    ----------
    rows
        float32 (components, C): makes components of channels, after the means are taken off.
    columns
        float32 (C, components): makes channels of components; the transpose of ``rows`` if these are orthonormal.
    means
        float32 (C,).
    steps
        float32 (components,).
    low, high
        int32 (components,): smallest and largest symbol of each.
    is_midrise
        Whether 0 is between two levels instead of being one: better where there are few of them.
    is_fixed
        Whether the matrix is known to everybody, as that of a DCT is, and its means are 0: only steps are parameters.
    by_position
        Whether the symbols of a position stand together: their shape is then (positions, components), and otherwise
        (components, positions).
    """

    rows: torch.Tensor
    columns: torch.Tensor
    means: torch.Tensor
    steps: torch.Tensor
    low: torch.Tensor
    high: torch.Tensor
    is_midrise: bool = False
    is_fixed: bool = False
    by_position: bool = False

    def project(self, x: torch.Tensor) -> torch.Tensor:
        """Components (components, positions) of a map, before quantization."""
        return self.rows @ (x.float().transpose(0, 1).flatten(1) - self.means[:, None])

    def symbols(self, x: torch.Tensor) -> torch.Tensor:
        """Levels of components."""
        scaled = self.project(x) / self.steps[:, None]
        levels = torch.floor(scaled) if self.is_midrise else torch.round(scaled)
        symbols = levels.clamp(self.low[:, None], self.high[:, None]).to(torch.int32)
        return symbols.T.contiguous() if self.by_position else symbols

    def values(self, symbols: torch.Tensor, shape: Shape) -> torch.Tensor:
        """Components back to channels."""
        levels = (symbols.T if self.by_position else symbols).to(torch.float32)
        components = (levels + 0.5 * self.is_midrise) * self.steps[:, None]
        channels = self.columns @ components + self.means[:, None]
        return channels.reshape(shape[1], shape[0], *shape[2:]).transpose(0, 1).contiguous()

    def symbol_shape(self, shape: Shape) -> Shape:
        """Components and positions, or the other way round."""
        positions = shape[0] * math.prod(shape[2:])
        return (positions, len(self.rows)) if self.by_position else (len(self.rows), positions)

    def parameter_bits(self, channels: int) -> int:
        """Matrix of the decoder and means, unless fixed, and steps."""
        if self.is_fixed:
            return PARAMETER_BITS * self.steps.numel()
        return PARAMETER_BITS * (self.columns.numel() + self.means.numel() + self.steps.numel())


def klt_codec(
    rows: np.ndarray,
    means: np.ndarray,
    steps: np.ndarray | float,
    low: np.ndarray | int,
    high: np.ndarray | int,
    coder: Coder,
    *,
    is_midrise: bool = False,
    is_fixed: bool = False,
    by_position: bool = False,
) -> ProjectionCodec:
    """A `ProjectionCodec` with orthonormal rows; single numbers hold for all components."""
    matrix = torch.tensor(rows, dtype=torch.float32)
    count = len(matrix)
    return ProjectionCodec(
        coder=coder,
        rows=matrix,
        columns=matrix.T.contiguous(),
        means=torch.tensor(means, dtype=torch.float32),
        steps=torch.tensor(np.broadcast_to(steps, count).copy(), dtype=torch.float32),
        low=torch.tensor(np.broadcast_to(low, count).copy(), dtype=torch.int32),
        high=torch.tensor(np.broadcast_to(high, count).copy(), dtype=torch.int32),
        is_midrise=is_midrise,
        is_fixed=is_fixed,
        by_position=by_position,
    )


def word_range(bits: int, *, signed: bool) -> tuple[int, int]:
    """Smallest and largest word of a width."""
    low = -(1 << (bits - 1)) if signed else 0
    return low, low + (1 << bits) - 1
