"""The result of an evaluation: answers of the networks, and bits by layer."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from fmcodec.evaluation.batch import AnswerRecord, BatchRecord, LayerRecord
from fmcodec.evaluation.metrics import Estimate, mean, paired_difference, proportion
from fmcodec.evaluation.network import Task
from fmcodec.policy import Activation, Where
from fmcodec.torch.map_codec import Placements

UNCODED_BITS = 8.0


class Answers(msgspec.Struct, frozen=True, kw_only=True):
    """How good the answers of one variant of a network are; what does not apply or is not known is None.

    Parameters
    ----------
    top1, top5
        Shares of the images whose label is among the largest outputs.
    top1_difference, top5_difference
        These shares less those of the uncompressed network, on the same images.
    agreement
        Share of the images with the top-1 class of the uncompressed network.
    kl_nats
        Kullback-Leibler divergence of the softmax of the output from that of the uncompressed network.
    target_psnr_db, target_ssim, target_uqi
        Likeness of output and target image.
    target_psnr_difference_db
        This ratio less that of the uncompressed network, on the same images.
    output_psnr_db, output_ssim, output_uqi
        Likeness of output and uncompressed output; 200 dB stand for equality.
    """

    top1: Estimate | None = None
    top5: Estimate | None = None
    top1_difference: Estimate | None = None
    top5_difference: Estimate | None = None
    agreement: Estimate | None = None
    kl_nats: Estimate | None = None
    target_psnr_db: Estimate | None = None
    target_ssim: Estimate | None = None
    target_uqi: Estimate | None = None
    target_psnr_difference_db: Estimate | None = None
    output_psnr_db: Estimate | None = None
    output_ssim: Estimate | None = None
    output_uqi: Estimate | None = None


class LayerEvaluation(msgspec.Struct, frozen=True, kw_only=True):
    """One stored map, all images together.

    ``shape`` is (C, H, W). ``activation`` is the one applied before coding. ``coded_bits`` are those of all streams;
    ``published_bits``, ``peak_bits``, ``zero_share`` and ``snr_db`` are as in `LayerStatistics`, the ratio in dB None
    where there is no error. ``parameter_bits`` are not in streams; see `MapCodec`.
    """

    name: str
    where: Where
    activation: Activation
    shape: tuple[int, int, int]
    values: int
    coded_bits: int | None
    published_bits: float | None
    peak_bits: float | None
    section_bits: dict[str, int]
    parameter_bits: int
    zero_share: float
    snr_db: float | None

    @property
    def bits_per_value(self) -> float | None:
        """Bits of streams per value."""
        return None if self.coded_bits is None else self.coded_bits / self.values

    @property
    def ratio(self) -> float | None:
        """How many times smaller than 8 bits per value."""
        return UNCODED_BITS * self.values / self.coded_bits if self.coded_bits else None


class Evaluation(msgspec.Struct, frozen=True, kw_only=True):
    """All numbers of one evaluation. Bits are those of streams alone, unless said; None where they were not counted.

    Parameters
    ----------
    network, samples
        Names.
    images, batch_size
        Images evaluated, and images in one stream.
    weight_bits
        Width of the quantized weights of ``quantized`` and ``coded``, None for weights as they are.
    uncompressed, quantized, coded
        Answers of the network as it is, with quantized weights only (None if they are not), and with coded maps.
    layers
        The coded maps in the order in which they are computed.
    provenance
        Command, versions and seeds.
    """

    network: str
    task: Task
    samples: str
    images: int
    batch_size: int
    weight_bits: int | None
    uncompressed: Answers
    quantized: Answers | None
    coded: Answers
    layers: tuple[LayerEvaluation, ...]
    provenance: dict[str, str]

    @property
    def values(self) -> int:
        """Values of all maps of all images."""
        return sum(layer.values for layer in self.layers)

    @property
    def coded_bits(self) -> int | None:
        """Bits of all streams."""
        bits = [layer.coded_bits for layer in self.layers if layer.coded_bits is not None]
        return sum(bits) if len(bits) == len(self.layers) else None

    @property
    def bits_per_value(self) -> float | None:
        """Bits of all streams over all values."""
        return None if self.coded_bits is None else self.coded_bits / self.values

    @property
    def published_bits_per_value(self) -> float | None:
        """The same as the authors of a published system count: see `CodedMap`."""
        bits = [layer.published_bits for layer in self.layers if layer.published_bits is not None]
        return math.fsum(bits) / self.values if len(bits) == len(self.layers) else None

    @property
    def ratio(self) -> float | None:
        """How many times smaller than 8 bits per value, all maps together."""
        return None if self.bits_per_value is None else UNCODED_BITS / self.bits_per_value

    @property
    def mean_layer_ratio(self) -> float | None:
        """Mean of the ratios of the layers, each counted once whatever its size."""
        ratios = [layer.ratio for layer in self.layers if layer.ratio is not None]
        return math.fsum(ratios) / len(ratios) if len(ratios) == len(self.layers) else None

    @property
    def worst_layer(self) -> LayerEvaluation | None:
        """The layer with the most bits per value."""
        return max(self.layers, key=lambda layer: layer.bits_per_value or 0.0) if self.coded_bits is not None else None

    @property
    def peak_layer(self) -> LayerEvaluation | None:
        """The layer with the largest stored map of one image; see ``peak_bits`` of `LayerStatistics`."""
        return max(self.layers, key=lambda layer: layer.peak_bits or 0.0) if self.coded_bits is not None else None

    @property
    def parameter_bytes(self) -> int:
        """Bytes of specs, bases and static tables of all layers."""
        return sum(-(-layer.parameter_bits // 8) for layer in self.layers)

    @property
    def parameter_bits_per_value(self) -> float:
        """These bytes spread over the values of all evaluated images."""
        return 8 * self.parameter_bytes / self.values

    def to_json(self) -> bytes:
        """Indented JSON: the fields, and under ``summary`` what follows from them."""
        summary = {
            "bits_per_value": self.bits_per_value,
            "published_bits_per_value": self.published_bits_per_value,
            "ratio": self.ratio,
            "mean_layer_ratio": self.mean_layer_ratio,
            "worst_layer": None if self.worst_layer is None else self.worst_layer.name,
            "peak_layer": None if self.peak_layer is None else self.peak_layer.name,
            "peak_bits": None if self.peak_layer is None else self.peak_layer.peak_bits,
            "parameter_bytes": self.parameter_bytes,
            "parameter_bits_per_value": self.parameter_bits_per_value,
        }
        return msgspec.json.format(msgspec.json.encode({"summary": summary, **msgspec.to_builtins(self)}), indent=2)

    @classmethod
    def from_json(cls, text: str | bytes) -> Evaluation:
        """The evaluation of `to_json`; msgspec.MsgspecError (a ValueError) for anything else."""
        return msgspec.json.decode(text, type=cls)

    def save(self, path: str | Path) -> None:
        """Writes the JSON to a file."""
        Path(path).write_bytes(self.to_json() + b"\n")


def evaluation_of(
    records: Sequence[BatchRecord],
    placements: Placements,
    *,
    network: str,
    task: Task,
    samples: str,
    batch_size: int,
    weight_bits: int | None,
    provenance: dict[str, str],
) -> Evaluation:
    """Puts the records of all batches together, in their order: sums of floats depend on it."""
    uncompressed = _joined([record.uncompressed for record in records])
    quantized = [record.quantized for record in records if record.quantized is not None]
    return Evaluation(
        network=network,
        task=task,
        samples=samples,
        images=sum(record.images for record in records),
        batch_size=batch_size,
        weight_bits=weight_bits,
        uncompressed=_answers(uncompressed, None),
        quantized=_answers(_joined(quantized), uncompressed) if quantized else None,
        coded=_answers(_joined([record.coded for record in records]), uncompressed),
        layers=tuple(
            _layer([record.layers[index] for record in records], placements) for index in range(len(records[0].layers))
        ),
        provenance=provenance,
    )


def _joined(records: Sequence[AnswerRecord]) -> AnswerRecord:
    fields = AnswerRecord.__struct_fields__
    return AnswerRecord(**{name: sum((getattr(record, name) for record in records), ()) for name in fields})


def _answers(record: AnswerRecord, reference: AnswerRecord | None) -> Answers:
    def of(values: Sequence[float], estimate: Callable[[Sequence[float]], Estimate] = mean) -> Estimate | None:
        return estimate(values) if values else None

    def difference(values: Sequence[float], before: Sequence[float]) -> Estimate | None:
        return paired_difference(values, before) if values else None

    return Answers(
        top1=of(record.is_top1, proportion),
        top5=of(record.is_top5, proportion),
        top1_difference=None if reference is None else difference(record.is_top1, reference.is_top1),
        top5_difference=None if reference is None else difference(record.is_top5, reference.is_top5),
        agreement=of(record.agrees, proportion),
        kl_nats=of(record.kl_nats),
        target_psnr_db=of(record.target_psnr_db),
        target_ssim=of(record.target_ssim),
        target_uqi=of(record.target_uqi),
        target_psnr_difference_db=(
            None if reference is None else difference(record.target_psnr_db, reference.target_psnr_db)
        ),
        output_psnr_db=of(record.output_psnr_db),
        output_ssim=of(record.output_ssim),
        output_uqi=of(record.output_uqi),
    )


def _layer(records: Sequence[LayerRecord], placements: Placements) -> LayerEvaluation:
    first = records[0]
    site, codec = placements[first.name]
    is_counted = all(record.coded_bits is not None for record in records)
    sections: dict[str, int] = {}
    for record in records:
        for section, bits in record.section_bits.items():
            sections[section] = sections.get(section, 0) + bits
    values = sum(record.values for record in records)
    signal = math.fsum(record.signal_energy for record in records)
    error = math.fsum(record.error_energy for record in records)
    return LayerEvaluation(
        name=first.name,
        where=site.where,
        activation=site.activation,
        shape=first.shape,
        values=values,
        coded_bits=sum(record.coded_bits or 0 for record in records) if is_counted else None,
        published_bits=math.fsum(record.published_bits or 0.0 for record in records) if is_counted else None,
        peak_bits=max(record.peak_bits or 0.0 for record in records) if is_counted else None,
        section_bits=sections,
        parameter_bits=codec.parameter_bits(first.shape[0]),
        zero_share=sum(record.zeros for record in records) / values,
        snr_db=10 * math.log10(signal / error) if signal > 0 and error > 0 else None,
    )
