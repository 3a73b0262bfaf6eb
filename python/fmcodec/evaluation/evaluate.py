"""evaluate(): a network with coded maps on samples, batch by batch on as many workers as there are."""

from __future__ import annotations

import multiprocessing
import platform
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import torch

from fmcodec import __version__
from fmcodec.evaluation.batch import BatchRecord, BatchRunner, Job, PackedJob, run_packed
from fmcodec.evaluation.journal import Journal, digest_of
from fmcodec.evaluation.network import Network
from fmcodec.evaluation.result import Evaluation, evaluation_of
from fmcodec.evaluation.samples import Samples
from fmcodec.policy import Policy
from fmcodec.torch.map_codec import Mode, Placement, Placements, placements_of

# Batches that wait for a worker, for each worker: enough that none is idle, few enough that memory does not fill.
BATCHES_AHEAD = 2

Progress = Callable[[int, int], None]


def evaluate(
    network: Network,
    coded: Policy | Mapping[str, Placement],
    samples: Samples,
    *,
    mode: Mode = "codec",
    count_bits: bool = False,
    batch_size: int = 8,
    threads: int = 1,
    weight_bits: int | None = None,
    workers: int = 1,
    executor: Executor | None = None,
    progress: Progress | None = None,
    resume: str | Path | None = None,
) -> Evaluation:
    """Answers and bits of a network whose maps are coded, beside those of the uncompressed network on the same images.

    Parameters
    ----------
    network
        What is evaluated.
    coded
        A policy, or any codecs by the names of modules.
    samples
        Test images. Whatever the codecs know must come from others.
    mode, count_bits
        Of a policy, as in `SpecCodec`: ``"simulate"`` gives the same answers, and bits only if they are counted.
    batch_size
        Images of a pass through the network, which share streams.
    threads
        Threads of each worker, in torch and in the codec.
    weight_bits
        Also quantize the weights, see `quantized_weights`.
    workers
        Processes; with 1, all is done in this one.
    executor
        Where batches are run instead; they and what they give back are pickled. At most ``workers`` times 2 wait.
    progress
        Called with the number of images that are done, and of all.
    resume
        File to which finished batches are added, and from which those of the same evaluation are taken; see `Journal`.

    Returns
    -------
    Evaluation
        The same for any number of workers and with or without interruption; only with another number of ``threads``,
        or another machine, may torch round its sums differently.

    Raises
    ------
    ValueError
        Nothing is coded, a module is unknown, a map would be coded after an activation that the network does not have
        there, targets do not fit, or the network's output is not finite.
    """
    if batch_size < 1 or workers < 1 or threads < 1:
        raise ValueError(f"batch_size, workers and threads must be at least 1, not {batch_size}, {workers}, {threads}")
    placements = _placements(coded, mode, count_bits, threads)
    _check_activations(placements, network)
    job = Job(network, placements, weight_bits, threads)
    journal = None if resume is None else Journal(resume, digest_of(job, samples, batch_size))
    records = dict(journal.records) if journal else {}
    starts = {index: start for index, start in enumerate(range(0, len(samples), batch_size)) if index not in records}
    report = progress or (lambda done, total: None)
    done = sum(record.images for record in records.values())
    report(done, len(samples))
    for index, record in _run(job, samples, batch_size, starts, workers, executor):
        records[index] = record
        if journal:
            journal.add(index, record)
        done += record.images
        report(done, len(samples))
    return evaluation_of(
        [records[index] for index in sorted(records)],
        placements,
        network=network.name,
        task=network.task,
        samples=samples.name,
        batch_size=batch_size,
        weight_bits=weight_bits,
        provenance=provenance(),
    )


def provenance() -> dict[str, str]:
    """Command and versions of this run. Evaluation draws no random numbers, so there is no seed to tell."""
    return {
        "command": " ".join(sys.argv),
        "fmcodec": __version__,
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "seeds": "none: nothing is random",
    }


def _placements(coded: Policy | Mapping[str, Placement], mode: Mode, count_bits: bool, threads: int) -> Placements:
    if isinstance(coded, Policy):
        coded = placements_of(coded, mode=mode, count_bits=count_bits, threads=threads)
    if not coded:
        raise ValueError("no map is coded")
    return coded


def _check_activations(placements: Placements, network: Network) -> None:
    """An activation before coding must erase no more than the network does there itself."""
    harmless = {"none": ("none",), "relu": ("none", "relu"), "relu6": ("none", "relu", "relu6")}
    for name, placement in placements.items():
        site = network.maps.get(name)
        if site is None or site.where != placement.site.where:
            continue
        if placement.site.activation not in harmless[site.activation]:
            raise ValueError(
                f"the map of {name!r} would be coded after {placement.site.activation}, but the network has "
                f"{site.activation} there: calibrate the policy on this network"
            )


def _run(
    job: Job, samples: Samples, batch_size: int, starts: dict[int, int], workers: int, executor: Executor | None
) -> Iterator[tuple[int, BatchRecord]]:
    """Records of batches by their numbers, as they get ready."""

    def batch(start: int) -> tuple[torch.Tensor, torch.Tensor | None]:
        stop = min(start + batch_size, len(samples))
        return samples.images(start, stop), None if samples.targets is None else samples.targets[start:stop]

    if executor is None and workers == 1:
        runner = BatchRunner(job)
        for index, start in starts.items():
            yield index, runner.run(*batch(start))
        return
    with ExitStack() as stack:
        if executor is None:
            # Threads of torch do not survive a fork.
            executor = stack.enter_context(ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")))
        packed = PackedJob.of(job)
        pending: dict[Future[BatchRecord], int] = {}
        waiting = iter(starts.items())
        while True:
            while len(pending) < BATCHES_AHEAD * workers and (following := next(waiting, None)) is not None:
                pending[executor.submit(run_packed, packed, *batch(following[1]))] = following[0]
            if not pending:
                return
            for future in wait(pending, return_when=FIRST_COMPLETED).done:
                yield pending.pop(future), future.result()
