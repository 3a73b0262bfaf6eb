"""One batch of an evaluation: what workers do, and the record they give back."""

from __future__ import annotations

import hashlib
import pickle
import threading
from typing import NamedTuple

import msgspec
import torch
from torch import nn

from fmcodec.evaluation import metrics
from fmcodec.evaluation.network import Network
from fmcodec.evaluation.weights import quantized_weights
from fmcodec.torch.map_codec import Placements
from fmcodec.torch.statistics import LayerStatistics
from fmcodec.torch.wrap import place


class Job(NamedTuple):
    """What is the same for all batches of an evaluation."""

    network: Network
    placements: Placements
    weight_bits: int | None
    threads: int


class PackedJob(NamedTuple):
    """A job as bytes, for workers, and the digest of the weights that it must come with."""

    content: bytes
    weights: str

    @classmethod
    def of(cls, job: Job) -> PackedJob:
        """The job, pickled once for all batches."""
        return cls(pickle.dumps(job), weights_digest(job.network.model))


class AnswerRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What one variant of the network answered: one entry per image, or none where a number does not apply.

    ``agrees``, ``kl_nats``, ``output_psnr_db``, ``output_ssim`` and ``output_uqi`` compare with the uncompressed
    network; ``is_top1``, ``is_top5``, ``target_psnr_db``, ``target_ssim`` and ``target_uqi`` with the target.
    """

    is_top1: tuple[bool, ...] = ()
    is_top5: tuple[bool, ...] = ()
    agrees: tuple[bool, ...] = ()
    kl_nats: tuple[float, ...] = ()
    target_psnr_db: tuple[float, ...] = ()
    target_ssim: tuple[float, ...] = ()
    target_uqi: tuple[float, ...] = ()
    output_psnr_db: tuple[float, ...] = ()
    output_ssim: tuple[float, ...] = ()
    output_uqi: tuple[float, ...] = ()


class LayerRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What coding did to one map: sums over the frames of a batch, in the units of `LayerStatistics`."""

    name: str
    shape: tuple[int, int, int]
    values: int
    coded_bits: int | None
    published_bits: float | None
    peak_bits: float | None
    section_bits: dict[str, int]
    zeros: int
    signal_energy: float
    error_energy: float

    @classmethod
    def of(cls, layer: LayerStatistics) -> LayerRecord:
        """Without the times, which differ from run to run."""
        return cls(
            name=layer.name,
            shape=(layer.shape[1], layer.shape[2], layer.shape[3]),
            values=layer.values,
            coded_bits=layer.coded_bits,
            published_bits=layer.published_bits,
            peak_bits=layer.peak_bits,
            section_bits=layer.section_bits,
            zeros=layer.zeros,
            signal_energy=layer.signal_energy,
            error_energy=layer.error_energy,
        )


class BatchRecord(msgspec.Struct, frozen=True, kw_only=True):
    """All numbers of one batch."""

    images: int
    uncompressed: AnswerRecord
    quantized: AnswerRecord | None
    coded: AnswerRecord
    layers: tuple[LayerRecord, ...]


class BatchRunner:
    """A job that is ready to run: its weights are quantized once for all batches."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._model = job.network.model
        if job.weight_bits is not None:
            self._model = quantized_weights(job.network.model, job.weight_bits)

    def run(self, images: torch.Tensor, targets: torch.Tensor | None) -> BatchRecord:
        """Runs the uncompressed network, the one with quantized weights if any, and the coded one on a batch.

        Parameters
        ----------
        images
            As samples hold them.
        targets
            As in `Samples`, of these images.
        """
        thread_count = torch.get_num_threads()
        # The order of sums inside torch depends on its threads, so that equal numbers of them make equal results.
        torch.set_num_threads(self._job.threads)
        try:
            with torch.inference_mode():
                return self._run(images, targets)
        finally:
            torch.set_num_threads(thread_count)

    def _run(self, images: torch.Tensor, targets: torch.Tensor | None) -> BatchRecord:
        network = self._job.network
        inputs = network.preprocess(images.to(torch.float32))
        reference = network.model(inputs)
        quantized = None
        if self._model is not network.model:
            quantized = _answers(network, self._model(inputs), reference, targets)
        answer, layers = _coded(self._model, self._job.placements, inputs)
        return BatchRecord(
            images=len(images),
            uncompressed=_answers(network, reference, None, targets),
            quantized=quantized,
            coded=_answers(network, answer, reference, targets),
            layers=layers,
        )


# The last job of each thread: hooks of two batches on one model would see each other's maps.
_unpacked = threading.local()


def run_packed(packed: PackedJob, images: torch.Tensor, targets: torch.Tensor | None) -> BatchRecord:
    """A batch in a worker, which keeps the job for the next one.

    Raises
    ------
    ValueError
        The network is pickled by its source, but was changed after it was loaded.
    """
    if getattr(_unpacked, "content", None) != packed.content:
        job: Job = pickle.loads(packed.content)
        if weights_digest(job.network.model) != packed.weights:
            raise ValueError(
                f"the weights of {job.network.name!r} are not those of its source, from which workers load it: "
                "make a Network of the changed model without a source"
            )
        _unpacked.runner, _unpacked.content = BatchRunner(job), packed.content
    runner: BatchRunner = _unpacked.runner
    return runner.run(images, targets)


def weights_digest(model: nn.Module) -> str:
    """One hexadecimal number for all parameters and buffers of a model."""
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _coded(
    model: nn.Module, placements: Placements, inputs: torch.Tensor
) -> tuple[torch.Tensor, tuple[LayerRecord, ...]]:
    with place(model, placements) as session:
        answer = model(inputs)
    seen = {layer.name: LayerRecord.of(layer) for layer in session.stats}
    missing = [name for name in placements if name not in seen]
    if missing:
        raise ValueError(f"the network does not compute the map of {', '.join(missing)}")
    return answer, tuple(seen.values())


def _answers(
    network: Network, output: torch.Tensor, reference: torch.Tensor | None, targets: torch.Tensor | None
) -> AnswerRecord:
    if not isinstance(output, torch.Tensor):
        raise TypeError(f"the output of the network must be a tensor, not {type(output).__name__}")
    if not bool(torch.isfinite(output).all()):
        raise ValueError("the output of the network holds NaN or infinity")
    if network.task == "classification":
        return _classes(output, reference, targets)
    return _pictures(output, reference, targets, network.output_peak)


def _classes(output: torch.Tensor, reference: torch.Tensor | None, labels: torch.Tensor | None) -> AnswerRecord:
    if output.dim() != 2:
        raise ValueError(f"the output of a classifier must be (N, classes), not {tuple(output.shape)}")
    if labels is not None and (labels.dim() != 1 or not 0 <= int(labels.min()) <= int(labels.max()) < output.shape[1]):
        raise ValueError(f"targets of a classifier must be numbers of its {output.shape[1]} classes")
    agrees, kl_nats = [], []
    if reference is not None:
        agrees = [bool(flag) for flag in output.argmax(1) == reference.argmax(1)]
        kl_nats = metrics.kl_divergence(reference, output)
    return AnswerRecord(
        is_top1=() if labels is None else tuple(metrics.is_in_top(output, labels, 1)),
        is_top5=() if labels is None else tuple(metrics.is_in_top(output, labels, 5)),
        agrees=tuple(agrees),
        kl_nats=tuple(kl_nats),
    )


def _pictures(
    output: torch.Tensor, reference: torch.Tensor | None, targets: torch.Tensor | None, peak: float
) -> AnswerRecord:
    for other, name in ((reference, "uncompressed output"), (targets, "target")):
        if other is not None and other.shape != output.shape:
            raise ValueError(f"the output is {tuple(output.shape)}, but the {name} is {tuple(other.shape)}")
    return AnswerRecord(
        target_psnr_db=() if targets is None else _finite(metrics.psnr(targets, output, peak)),
        target_ssim=() if targets is None else tuple(metrics.ssim(targets, output, peak)),
        target_uqi=() if targets is None else tuple(metrics.uqi(targets, output)),
        output_psnr_db=() if reference is None else _finite(metrics.psnr(reference, output, peak)),
        output_ssim=() if reference is None else tuple(metrics.ssim(reference, output, peak)),
        output_uqi=() if reference is None else tuple(metrics.uqi(reference, output)),
    )


# JSON has no infinity. Equal images have this ratio, above all that 32-bit floats can tell apart.
LARGEST_PSNR_DB = 200.0


def _finite(values: list[float]) -> tuple[float, ...]:
    return tuple(min(value, LARGEST_PSNR_DB) for value in values)
