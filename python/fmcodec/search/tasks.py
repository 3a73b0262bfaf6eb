"""What workers do: pieces of a search that need nothing of each other, so that their number changes no result."""

from __future__ import annotations

import math
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

import torch

from fmcodec.evaluation.network import Network
from fmcodec.policy import Policy
from fmcodec.search.divergence import divergence
from fmcodec.search.options import Grid, LayerOptions, measure_options
from fmcodec.search.sensitivity import Method, Sensitivity, channel_gradients, channel_weights, measure_sensitivity
from fmcodec.torch.observe import run
from fmcodec.torch.wrap import wrap

Result = TypeVar("Result")

# Groups of layers, each measured by one task: more than workers, so that none waits long for the last, and so many that
# the bases of a group do not fill the memory, but not more, because the network runs anew for each.
GROUPS = 16


class Job(NamedTuple):
    """What is the same for all tasks of a search. ``batches`` hold images as samples do, before preprocessing."""

    network: Network
    batches: tuple[torch.Tensor, ...]
    probe_batches: int
    grid: Grid
    sensitivity: Method
    seed: int

    def inputs(self, count: int | None = None) -> list[torch.Tensor]:
        """Network inputs of the first ``count`` batches, all by default."""
        return [self.network.preprocess(batch.to(torch.float32)) for batch in self.batches[:count]]


def measure_group(job: Job, names: Sequence[str]) -> list[tuple[LayerOptions, Sensitivity]]:
    """Options and sensitivities of some layers."""
    sites = {name: job.network.maps[name] for name in names}
    with one_thread():
        inputs = job.inputs()
        gradients = channel_gradients(job.network.model, inputs, sites, task=job.network.task, seed=job.seed)
        weights = {name: channel_weights(squares) for name, squares in gradients.items()}
        layers = measure_options(job.network.model, inputs, sites, job.grid, weights)
        sensitivities = measure_sensitivity(
            job.network.model,
            inputs[: job.probe_batches],
            sites,
            layers,
            task=job.network.task,
            method=job.sensitivity,
            seed=job.seed,
        )
    return [(layer, sensitivities[layer.name]) for layer in layers]


class PolicyProbe:
    """Measures policies one after the other on the probe batches, whose uncompressed outputs it keeps."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._inputs = job.inputs(job.probe_batches)
        with one_thread(), torch.no_grad():
            self._expected = [job.network.model(batch) for batch in self._inputs]

    def divergence(self, policy: Policy) -> float:
        """Mean divergence of the network with all maps of a policy coded."""
        found: list[float] = []
        model, task = self._job.network.model, self._job.network.task
        with one_thread(), torch.no_grad(), wrap(model, policy, embed_spec=False):
            for batch, expected in zip(self._inputs, self._expected, strict=True):
                found += divergence(expected, model(batch), task)
        return math.fsum(found) / len(found)


def groups_of(job: Job) -> list[list[str]]:
    """Names of neighbouring layers, in groups that take about equally long."""
    sizes: dict[str, int] = {}
    places = {name: site.where for name, site in job.network.maps.items()}
    run(job.network.model, [job.inputs(1)[0][:1]], places, lambda name, x: sizes.__setitem__(name, x.numel()))
    groups: list[list[str]] = [[] for _ in range(GROUPS)]
    passed = 0.0
    for name in places:
        # Half of the time goes into coding, by values, and half into passes of the network, which are one per layer.
        share = sizes[name] / sum(sizes.values()) / 2 + 1 / len(places) / 2
        # By the middle of the layer on the way from the first to the last.
        groups[min(GROUPS - 1, int(GROUPS * (passed + share / 2)))].append(name)
        passed += share
    return [group for group in groups if group]


@contextmanager
def one_thread() -> Iterator[None]:
    """While active, torch uses one thread: the order of its sums depends on how many there are."""
    count = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(count)


@contextmanager
def pool(workers: int, executor: Executor | None) -> Iterator[Executor | None]:
    """The executor that is given, or processes of our own; None for one worker: all is done in this process."""
    if executor is not None or workers == 1:
        yield executor
        return
    # Threads of torch do not survive a fork.
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as own:
        yield own


def in_order(
    executor: Executor | None,
    function: Callable[..., Result],
    tasks: Sequence[tuple[Any, ...]],
    report: Callable[[int], None],
) -> list[Result]:
    """Results of ``function(*task)`` in the order of the tasks; ``report`` gets the number of those that are done."""
    futures = [None if executor is None else executor.submit(function, *task) for task in tasks]
    results = []
    for future, task in zip(futures, tasks, strict=True):
        results.append(function(*task) if future is None else future.result())
        report(len(results))
    return results
