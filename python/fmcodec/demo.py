"""The demo: EfficientNet-Lite0 with all its 49 feature maps coded, on photographs or on images of the user."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from torch import nn

from fmcodec import __version__
from fmcodec.demo_inputs import CALIBRATION_PHOTOGRAPHS, REPORT_PHOTOGRAPHS, photograph_views
from fmcodec.demo_print import print_result
from fmcodec.energy import FeatureMap, LayerTraffic, Memory, NetworkCost, evaluate_network, load_part, network_energy
from fmcodec.energy.network import BASELINE
from fmcodec.evaluation import ArraySamples, MapSite, Network, NetworkInputs, Samples, load_network, load_samples
from fmcodec.machine import processor_name, usable_cpus
from fmcodec.policy import Activation, LayerPolicy, Policy
from fmcodec.report.html import write_demo
from fmcodec.report.layers import transform_kind, transform_name
from fmcodec.report.result import AccuracyResult, DemoResult, LayerResult
from fmcodec.torch import LayerStatistics, Totals, calibrate, relative_rms, wrap

# Apart, so that no calibration view can be a report view even if the two lists of photographs should meet.
CALIBRATION_SEED = 1
REPORT_SEED = 2
# The part of the published energies that the demo shows beside its own.
DRAM_PART = "ddr3-1066-x16"
CODED = "coded"


def run_demo(
    *,
    images: str | Path | None = None,
    limit: int | None = None,
    report: str | Path | None = None,
    threads: int | None = None,
    view_count: int = 96,
    calibration_count: int = 16,
    batch_size: int = 8,
    relative_step: float = 0.15,
    console: Console | None = None,
) -> DemoResult:
    """Calibrates on photographs, codes every map of other photographs, prints and returns what was measured.

    Parameters
    ----------
    images
        Images to report on instead of photographs; see `load_samples`. Labels add top-1 accuracy.
    limit
        At most this many of ``images``.
    report
        File for the HTML page, if any.
    threads
        Threads of the codec; by default the CPUs this process may use.
    view_count, calibration_count
        Views of photographs to report on, and to calibrate on.
    batch_size
        Images in one frame.
    relative_step
        Quantization step of each layer as a share of the RMS of its map.
    console
        Where tables and progress go.

    Returns
    -------
    DemoResult
        All numbers of this run.

    Raises
    ------
    FileNotFoundError
        The photographs are not installed.
    ValueError
        ``images`` holds no images.
    """
    start = time.perf_counter()
    console = console or Console()
    threads = threads or usable_cpus()
    network = load_network("efficientnet_lite0")
    samples, description = _samples(images, limit, view_count)
    inputs = NetworkInputs(network, samples, batch_size)
    with _progress(console) as progress:
        policy = _calibrated(network, calibration_count, batch_size, relative_step, threads, progress)
        outcome = _evaluate(network.model, policy, inputs, samples, threads, progress)
        is_equal = _simulation_is_equal(network.model, policy, inputs, threads)
    energy = network_energy(LayerTraffic(layer.values, layer.bits_per_value or 0.0) for layer in outcome.layers)
    dram = _dram_cost(outcome.layers)
    bits = outcome.totals.coded_bits or 1
    result = DemoResult(
        network="EfficientNet-Lite0",
        images=description,
        calibration=_described(CALIBRATION_PHOTOGRAPHS, calibration_count),
        step_rule=f"step = {relative_step:g} x RMS of the map",
        image_count=len(samples),
        batch_size=batch_size,
        layers=_layer_results(outcome.layers, policy, network.maps, dram),
        bits_per_value=outcome.totals.bits_per_value or 0.0,
        basis_bytes=sum(len(p.spec.basis.to_bytes()) for p in policy.layers.values() if p.spec.basis is not None),
        section_shares={name: count / bits for name, count in outcome.totals.section_bits.items()},
        agreeing=outcome.agreeing,
        mean_confidence=outcome.mean_confidence,
        accuracy=outcome.accuracy,
        encode_gb_per_s=outcome.totals.encode_gb_per_s or 0.0,
        decode_gb_per_s=outcome.totals.decode_gb_per_s or 0.0,
        threads=threads,
        dram_part=dram.part,
        fmtc2019_joules=energy.total_joules / len(samples),
        baseline_fmtc2019_joules=energy.baseline_total_joules / len(samples),
        is_simulation_equal=is_equal,
        seconds=time.perf_counter() - start,
        machine=processor_name(),
        version=__version__,
    )
    print_result(result, console)
    if report is not None:
        write_demo(result, report)
        console.print(f"Report: {report}", highlight=False)
    return result


def _samples(images: str | Path | None, limit: int | None, view_count: int) -> tuple[Samples, str]:
    """Images to report on, and what they are."""
    if images is None:
        views = ArraySamples(photograph_views(REPORT_PHOTOGRAPHS, view_count, REPORT_SEED))
        return views, _described(REPORT_PHOTOGRAPHS, view_count)
    samples = load_samples(images).limited(limit)
    kind = "images" if samples.targets is None else "labelled images"
    return samples, f"{len(samples)} {kind} of {Path(images).name}"


class _Outcome(NamedTuple):
    """What the coded network did."""

    layers: list[LayerStatistics]
    totals: Totals
    agreeing: int
    mean_confidence: float
    accuracy: AccuracyResult | None


def _calibrated(
    network: Network, count: int, batch_size: int, relative_step: float, threads: int, progress: Progress
) -> Policy:
    samples = ArraySamples(photograph_views(CALIBRATION_PHOTOGRAPHS, count, CALIBRATION_SEED))
    views = NetworkInputs(network, samples, batch_size)
    titles = {"measure": "Calibrate: ranges", "choose": "Calibrate: transforms"}
    tasks = {name: progress.add_task(title, total=len(views)) for name, title in titles.items()}
    return calibrate(
        network.model,
        views,
        network.maps,
        step_rule=relative_rms(relative_step),
        embed_spec=False,
        threads=threads,
        progress=lambda name, done: progress.update(tasks[name], completed=done),
    )


def _evaluate(
    model: nn.Module, policy: Policy, inputs: NetworkInputs, samples: Samples, threads: int, progress: Progress
) -> _Outcome:
    """Runs the plain and the coded network on all images."""
    labels = samples.targets
    uncoded, confidence = _answers(model, inputs, _tracker(progress, "Network, maps as they are", len(samples)))
    # Specs are in the policy, which the decoder has, as hardware loads its parameters once.
    with wrap(model, policy, threads=threads, embed_spec=False) as session:
        coded, _ = _answers(model, inputs, _tracker(progress, "Network, maps coded", len(samples)))
    return _Outcome(
        layers=session.stats,
        totals=session.totals(),
        agreeing=int((coded == uncoded).sum()),
        mean_confidence=float(confidence.mean()),
        accuracy=None if labels is None else _accuracy(uncoded, coded, labels),
    )


def _accuracy(uncoded: torch.Tensor, coded: torch.Tensor, labels: torch.Tensor) -> AccuracyResult:
    is_right, was_right = coded == labels, uncoded == labels
    return AccuracyResult(
        images=len(labels),
        correct_uncoded=int(was_right.sum()),
        correct_coded=int(is_right.sum()),
        lost=int((was_right & ~is_right).sum()),
        gained=int((is_right & ~was_right).sum()),
    )


def _answers(
    model: nn.Module, inputs: NetworkInputs, track: Callable[[int], None]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Top-1 class of every image, and its probability."""
    answers, confidences = [], []
    with torch.inference_mode():
        for batch in inputs:
            confidence, answer = model(batch).softmax(1).max(1)
            answers.append(answer)
            confidences.append(confidence)
            track(len(batch))
    return torch.cat(answers), torch.cat(confidences)


def _simulation_is_equal(model: nn.Module, policy: Policy, inputs: NetworkInputs, threads: int) -> bool:
    """Whether mode ``simulate`` gives the logits of mode ``codec`` bit for bit on the first batch."""
    batch = next(iter(inputs))
    with torch.inference_mode():
        with wrap(model, policy, threads=threads, embed_spec=False):
            coded = model(batch)
        with wrap(model, policy, mode="simulate"):
            simulated = model(batch)
    return torch.equal(coded.view(torch.int32), simulated.view(torch.int32))


def _dram_cost(stats: list[LayerStatistics]) -> NetworkCost:
    """Energy of the maps of one image, coded and at 8 bits, each written once and read once."""
    maps = [FeatureMap(name=layer.name, shape=(layer.shape[1], layer.shape[2], layer.shape[3])) for layer in stats]
    bits = {layer.name: layer.bits_per_value or 0.0 for layer in stats}
    return evaluate_network(maps, {CODED: bits}, Memory(part=load_part(DRAM_PART)))


def _layer_results(
    stats: list[LayerStatistics], policy: Policy, maps: dict[str, MapSite], dram: NetworkCost
) -> tuple[LayerResult, ...]:
    values = sum(layer.values for layer in stats)
    return tuple(
        LayerResult(
            name=layer.name,
            shape=(layer.shape[1], layer.shape[2], layer.shape[3]),
            transform=transform_name(policy.layers[layer.name].spec),
            kind=transform_kind(policy.layers[layer.name].spec),
            position=_position(policy.layers[layer.name], maps[layer.name].activation),
            bits_per_value=layer.bits_per_value or 0.0,
            snr_db=layer.snr_db,
            zero_share=layer.zero_share,
            traffic_share=layer.values / values,
            section_bits=layer.section_bits,
            dram_joules=coded.dram.joules,
            baseline_dram_joules=baseline.dram.joules,
        )
        for layer, coded, baseline in zip(stats, dram[CODED].layers, dram[BASELINE].layers, strict=True)
    )


def _position(layer: LayerPolicy, activation: Activation) -> str:
    """Where the map is coded with regard to the ReLU6 of its layer."""
    if activation == "none":
        return "none"
    return "before" if layer.activation == "none" else "after"


def _progress(console: Console) -> AbstractContextManager[Progress]:
    columns = (TextColumn("{task.description:<26}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console, transient=True)


def _tracker(progress: Progress, title: str, total: int) -> Callable[[int], None]:
    task = progress.add_task(title, total=total)
    return lambda count: progress.advance(task, count)


def _described(files: Sequence[str], view_count: int) -> str:
    names = ", ".join(file.partition(".")[0] for file in files)
    return f"{view_count} views of {len(files)} photographs ({names})"
