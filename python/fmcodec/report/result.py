"""The numbers of one layer, for tables and plots, and those of one demo run."""

from __future__ import annotations

import math

import msgspec


class LayerResult(msgspec.Struct, frozen=True, kw_only=True):
    """One coded feature map.

    ``shape`` is (C, H, W). ``transform`` is its name with sizes and ``kind`` the name without: see
    `fmcodec.report.layers`. ``position`` says where the map is coded with regard to the activation of its layer.
    ``traffic_share`` is its share of all values: of the traffic at 8 bits. ``section_bits`` splits the bits of its
    streams. ``dram_joules`` is the energy to write and read the map of one image once, by the currents of a DRAM part,
    and ``baseline_dram_joules`` that of 8 bits per value.
    """

    name: str
    shape: tuple[int, int, int]
    transform: str
    kind: str
    position: str
    bits_per_value: float
    snr_db: float
    zero_share: float
    traffic_share: float
    section_bits: dict[str, int]
    dram_joules: float
    baseline_dram_joules: float

    @property
    def ratio(self) -> float:
        """How many times smaller than 8 bits per value."""
        return 8.0 / self.bits_per_value

    def section_share(self, name: str) -> float:
        """Share of a section in all bits of the streams; 0 if they have no such section."""
        return self.section_bits.get(name, 0) / (sum(self.section_bits.values()) or 1)


class AccuracyResult(msgspec.Struct, frozen=True, kw_only=True):
    """Correct top-1 answers of both networks on the same labelled images."""

    images: int
    correct_uncoded: int
    correct_coded: int
    lost: int
    gained: int

    @property
    def difference(self) -> float:
        """Accuracy of the coded network minus that of the uncoded one."""
        return (self.gained - self.lost) / self.images

    @property
    def standard_error(self) -> float:
        """Standard error of the difference, from the images on which exactly one of the two is right."""
        variance = (self.gained + self.lost) / self.images - self.difference**2
        return math.sqrt(max(variance, 0.0) / self.images)


class DemoResult(msgspec.Struct, frozen=True, kw_only=True):
    """All numbers of one run.

    ``agreeing`` counts images whose top-1 class is the same with and without coding; ``mean_confidence`` is the mean
    probability that the network without coding gives its top-1 class. ``basis_bytes`` are those of the bases of all
    KLTs, which are in the policy and not in frames. ``fmtc2019_joules`` and its baseline are of mode fmtc2019, for one
    image; the energies of the layers are of mode datasheet, on the part ``dram_part``. Throughput is in 1e9 bytes of
    float32 per second.
    """

    network: str
    images: str
    calibration: str
    step_rule: str
    image_count: int
    batch_size: int
    layers: tuple[LayerResult, ...]
    bits_per_value: float
    basis_bytes: int
    section_shares: dict[str, float]
    agreeing: int
    mean_confidence: float
    accuracy: AccuracyResult | None
    encode_gb_per_s: float
    decode_gb_per_s: float
    threads: int
    dram_part: str
    fmtc2019_joules: float
    baseline_fmtc2019_joules: float
    is_simulation_equal: bool
    seconds: float
    machine: str
    version: str

    @property
    def ratio(self) -> float:
        """How many times smaller than 8 bits per value, all layers together."""
        return 8.0 / self.bits_per_value

    @property
    def mean_layer_ratio(self) -> float:
        """Mean of the ratios of the layers, each counted once whatever its size."""
        return math.fsum(layer.ratio for layer in self.layers) / len(self.layers)

    @property
    def dram_joules(self) -> float:
        """DRAM energy of all maps of one image, mode datasheet."""
        return math.fsum(layer.dram_joules for layer in self.layers)

    @property
    def baseline_dram_joules(self) -> float:
        """The same at 8 bits per value."""
        return math.fsum(layer.baseline_dram_joules for layer in self.layers)

    @property
    def dram_saving(self) -> float:
        """Share of the DRAM energy at 8 bits that is saved, mode datasheet."""
        return 1.0 - self.dram_joules / self.baseline_dram_joules

    @property
    def fmtc2019_saving(self) -> float:
        """The same by mode fmtc2019."""
        return 1.0 - self.fmtc2019_joules / self.baseline_fmtc2019_joules
