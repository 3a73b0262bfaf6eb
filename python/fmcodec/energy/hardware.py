"""The hardware around the DRAM: an accelerator with its buffer and compute, and a codec with lanes and logic energy."""

from __future__ import annotations

import math
from typing import Literal

import msgspec

from fmcodec.energy.layer import LoopOrder
from fmcodec.energy.operations import transform_operations
from fmcodec.errors import FmcodecError
from fmcodec.spec import CodecSpec

Confidence = Literal["measured", "low", "assumption"]
PICO = 1e-12
MEGA = 1e6


class Figure(msgspec.Struct, frozen=True):
    """A number with its unit, its source and how far it can be trusted."""

    value: float
    unit: str
    source: str
    confidence: Confidence


_NOTES = "notes of the authors of arXiv 1905.10830 on an Arria 10 at 160 MHz, with guessed toggle rates"

# What is known of the energy of codec logic on an FPGA; it is little.
SYMBOL_ENERGY = Figure(1.24, "pJ per symbol", f"{_NOTES}: 12.66 mW for Huffman coders of 64 channels", "low")
SYMBOL_ENERGY_32 = Figure(0.66, "pJ per symbol", f"{_NOTES}: 3.40 mW for Huffman coders of 32 channels", "low")
DECODE_ENERGY = Figure(1.24, "pJ per symbol", "no public decoder: as the encoder", "assumption")
MAC_ENERGY = Figure(
    0.78, "pJ per multiply-accumulate", f"{_NOTES}: 511 mW for a PCA of 64 x 64 channels, one position a clock", "low"
)
STATIC_POWER = Figure(
    4.3, "W", "Quartus report of the same authors, Stratix 10, 64 channels: 4507 mW in all, 192 mW of it dynamic", "low"
)


class Accelerator(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What computes the layers.

    Parameters
    ----------
    buffer_bytes
        Memory on chip for one tile: input, output, weights and shortcut.
    outer_loop
        Outer loop over tiles, ``"rows"`` or ``"channels"``; by default what moves fewer bytes.
    macs_per_clock
        Multiply-accumulates in a clock; None for compute that never is the bound.
    megahertz
        Its clock.
    static_watts
        Power that flows whether it computes or waits; see ``STATIC_POWER``.

    Raises
    ------
    FmcodecError
        A number is out of its range.
    """

    buffer_bytes: int = 1 << 20
    outer_loop: LoopOrder | None = None
    macs_per_clock: int | None = None
    megahertz: float = 160.0
    static_watts: float = 0.0

    def __post_init__(self) -> None:
        if self.buffer_bytes < 1 or (self.macs_per_clock is not None and self.macs_per_clock < 1):
            raise FmcodecError("buffer_bytes and macs_per_clock must be positive")
        _check("megahertz", self.megahertz, is_positive=True)
        _check("static_watts", self.static_watts)
        if self.outer_loop not in (None, "rows", "channels"):
            raise FmcodecError(f"outer_loop must be 'rows' or 'channels', not {self.outer_loop!r}")

    def compute_seconds(self, macs: int) -> float:
        """Time of so many multiply-accumulates."""
        return 0.0 if self.macs_per_clock is None else macs / (self.macs_per_clock * self.megahertz * MEGA)


class CodecHardware(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A codec of parallel lanes, each of which encodes one symbol and decodes one symbol a clock.

    Parameters
    ----------
    lanes, megahertz
        Throughput. A codec that is slower than the bus costs time; it does not cost bytes.
    encode_picojoules, decode_picojoules
        Of one symbol; see ``SYMBOL_ENERGY`` and ``DECODE_ENERGY`` for what they are worth.
    mac_picojoules
        Of one multiplication with its addition in the transform; see ``MAC_ENERGY``.
    macs_per_value
        Multiplications of the transform for each value, in either direction; `with_transform` sets it from a spec.

    Raises
    ------
    FmcodecError
        A number is out of its range.

    Examples
    --------
    >>> codec = CodecHardware(lanes=32, megahertz=160)
    >>> codec.seconds(decoded=5120, encoded=0)
    1e-06
    """

    lanes: int = 64
    megahertz: float = 160.0
    encode_picojoules: float = SYMBOL_ENERGY.value
    decode_picojoules: float = DECODE_ENERGY.value
    mac_picojoules: float = MAC_ENERGY.value
    macs_per_value: float = 0.0

    def __post_init__(self) -> None:
        if self.lanes < 1:
            raise FmcodecError(f"lanes must be positive, not {self.lanes}")
        _check("megahertz", self.megahertz, is_positive=True)
        for name in ("encode_picojoules", "decode_picojoules", "mac_picojoules", "macs_per_value"):
            _check(name, getattr(self, name))

    def with_transform(self, spec: CodecSpec, channels: int) -> CodecHardware:
        """The same codec with the multiplications of a spec's transform; see `transform_operations`."""
        operations = transform_operations(spec, channels)
        return msgspec.structs.replace(self, macs_per_value=operations.multiplications)

    def seconds(self, *, decoded: int, encoded: int) -> float:
        """Time of so many values; encoder and decoder work side by side."""
        return max(decoded, encoded) / (self.lanes * self.megahertz * MEGA)

    def joules(self, *, decoded: int, encoded: int) -> float:
        """Energy of coding and transforming so many values."""
        symbols = encoded * self.encode_picojoules + decoded * self.decode_picojoules
        return (symbols + (encoded + decoded) * self.macs_per_value * self.mac_picojoules) * PICO


def _check(name: str, value: float, *, is_positive: bool = False) -> None:
    if not (math.isfinite(value) and value >= 0.0) or (is_positive and value == 0.0):
        raise FmcodecError(f"{name} must be {'positive' if is_positive else '0 or more'}, not {value}")
