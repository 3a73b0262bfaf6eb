"""Numbers gathered from feature maps as they pass: results of coding, ranges, and moments of channels."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import msgspec
import torch

# Values turned to float64 at a time: 1 MiB, so that the copies stay in the cache.
CHUNK_VALUES = 1 << 17


class LayerStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """What coding did to the map of one layer, summed over all frames.

    ``shape`` is that of the last frame, (N, C, H, W). ``coded_bits`` counts whole frames, 8 bits for each byte; it is
    None where nothing was encoded. ``published_bits`` is what the authors of a published system would count instead,
    the same for all others. ``peak_bits`` is the largest quotient of the bits of a frame and the images in it: the
    largest stored map, if frames hold one image. ``section_bits`` splits the bits: into header, spec, index, tables and
    payload for fmcodec. ``zeros`` counts decoded values equal to 0. Energies are sums of squares: of the map that was
    coded (after the activation of the policy, if any) and of decoded minus coded. Seconds are those of encode and
    decode alone.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    frames: int
    values: int
    raw_bytes: int
    coded_bits: int | None
    published_bits: float | None
    peak_bits: float | None
    section_bits: dict[str, int]
    zeros: int
    signal_energy: float
    error_energy: float
    encode_seconds: float
    decode_seconds: float

    @property
    def bits_per_value(self) -> float | None:
        """Coded bits per value, None where nothing was encoded or there are no values."""
        return None if self.coded_bits is None or not self.values else self.coded_bits / self.values

    @property
    def zero_share(self) -> float:
        """Share of the decoded values that are 0."""
        return self.zeros / self.values if self.values else 0.0

    @property
    def snr_db(self) -> float:
        """Signal to error ratio in dB: inf without error."""
        return _snr_db(self.signal_energy, self.error_energy)


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """Sums over the layers of a session, in the units of `LayerStatistics`."""

    layers: int
    values: int
    raw_bytes: int
    coded_bits: int | None
    section_bits: dict[str, int]
    zeros: int
    signal_energy: float
    error_energy: float
    encode_seconds: float
    decode_seconds: float

    @classmethod
    def of(cls, layers: Iterable[LayerStatistics]) -> Totals:
        """The sums over ``layers``; bits are None if those of any layer are."""
        entries = list(layers)
        bits = [entry.coded_bits for entry in entries if entry.coded_bits is not None]
        sections: dict[str, int] = {}
        for entry in entries:
            for section, count in entry.section_bits.items():
                sections[section] = sections.get(section, 0) + count
        return cls(
            layers=len(entries),
            values=sum(entry.values for entry in entries),
            raw_bytes=sum(entry.raw_bytes for entry in entries),
            coded_bits=sum(bits) if len(bits) == len(entries) else None,
            section_bits=sections,
            zeros=sum(entry.zeros for entry in entries),
            signal_energy=math.fsum(entry.signal_energy for entry in entries),
            error_energy=math.fsum(entry.error_energy for entry in entries),
            encode_seconds=math.fsum(entry.encode_seconds for entry in entries),
            decode_seconds=math.fsum(entry.decode_seconds for entry in entries),
        )

    @property
    def bits_per_value(self) -> float | None:
        """All coded bits over all values."""
        return None if self.coded_bits is None or not self.values else self.coded_bits / self.values

    @property
    def snr_db(self) -> float:
        """Signal to error ratio in dB over all layers together: inf without error."""
        return _snr_db(self.signal_energy, self.error_energy)

    @property
    def encode_gb_per_s(self) -> float | None:
        """Uncoded bytes encoded per second, in 1e9; None if nothing was timed."""
        return self.raw_bytes / self.encode_seconds / 1e9 if self.encode_seconds else None

    @property
    def decode_gb_per_s(self) -> float | None:
        """Uncoded bytes decoded per second, in 1e9; None if nothing was timed."""
        return self.raw_bytes / self.decode_seconds / 1e9 if self.decode_seconds else None


class RangeStatistics(msgspec.Struct):
    """Count, range and power of values, in float64; parts gathered apart can be merged."""

    count: int = 0
    minimum: float = math.inf
    maximum: float = -math.inf
    sum: float = 0.0
    sum_of_squares: float = 0.0

    def update(self, x: torch.Tensor) -> None:
        """Adds the values of a tensor of any shape."""
        if not x.numel():
            return
        self.count += x.numel()
        self.minimum = min(self.minimum, float(x.min()))
        self.maximum = max(self.maximum, float(x.max()))
        for chunk in _float64_chunks(x):
            self.sum += float(chunk.sum())
            self.sum_of_squares += float(chunk.dot(chunk))

    def merge(self, other: RangeStatistics) -> None:
        """Adds the values another object has seen."""
        self.count += other.count
        self.minimum = min(self.minimum, other.minimum)
        self.maximum = max(self.maximum, other.maximum)
        self.sum += other.sum
        self.sum_of_squares += other.sum_of_squares

    @property
    def mean(self) -> float:
        """Mean of the values, 0 if there are none."""
        return self.sum / self.count if self.count else 0.0

    @property
    def rms(self) -> float:
        """Root of the mean square, 0 if there are no values."""
        return math.sqrt(self.sum_of_squares / self.count) if self.count else 0.0


def energies(reference: torch.Tensor, decoded: torch.Tensor) -> tuple[float, float]:
    """Sums of squares of ``reference`` and of ``decoded - reference``, in float64."""
    signal = error = 0.0
    for before, after in zip(_float64_chunks(reference), _float64_chunks(decoded), strict=True):
        signal += float(before.dot(before))
        after -= before
        error += float(after.dot(after))
    return signal, error


def _float64_chunks(x: torch.Tensor) -> Iterator[torch.Tensor]:
    flat = x.detach().reshape(-1)
    for start in range(0, flat.numel(), CHUNK_VALUES):
        yield flat[start : start + CHUNK_VALUES].to(torch.float64, copy=True)


def _snr_db(signal: float, error: float) -> float:
    if error <= 0.0:
        return math.inf
    return 10.0 * math.log10(signal / error) if signal > 0.0 else -math.inf
