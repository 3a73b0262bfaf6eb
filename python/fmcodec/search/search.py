"""search(): from a network and sample images to policies on the frontier of bits and accuracy."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from fmcodec import __version__
from fmcodec.evaluation.evaluate import evaluate
from fmcodec.evaluation.network import Network, Task
from fmcodec.evaluation.samples import Samples, require_apart
from fmcodec.policy import Policy
from fmcodec.search.frontier import Frontier, FrontierPoint, frontier_point, mark_best
from fmcodec.search.options import Grid, LayerOptions
from fmcodec.search.problem import Choice, Constraints, Objective, Problem, curves_of, policy_of
from fmcodec.search.sensitivity import Method, Sensitivity
from fmcodec.search.strategies import Strategy, make_strategy
from fmcodec.search.tasks import Job, PolicyProbe, groups_of, in_order, measure_group, one_thread, pool
from fmcodec.torch import dead_zones

# Smallest and largest divergence of the policies. In nats, hardly any answer of an ImageNet classifier changes at the
# one, and one of five does at the other. Of an image they are 50 dB below its energy and 20 dB.
DIVERGENCE_RANGES: dict[Task, tuple[float, float]] = {"classification": (0.002, 0.3), "image": (5e-6, 5e-3)}

Progress = Callable[[str, int, int], None]


class SearchResult(NamedTuple):
    """Policies by name, the frontier they make, and what was measured of the layers."""

    frontier: Frontier
    policies: dict[str, Policy]
    layers: tuple[LayerOptions, ...]
    sensitivities: dict[str, Sensitivity]

    def policy(self, point: FrontierPoint) -> Policy:
        """The policy of a point."""
        return self.policies[point.policy.removesuffix(".json")]

    def save(self, folder: str | Path) -> None:
        """Writes ``frontier.json`` and the file of each policy."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        for name, policy in self.policies.items():
            policy.save(folder / f"{name}.json")
        (folder / "frontier.json").write_bytes(self.frontier.to_json())


def search(
    network: Network,
    calibration: Samples,
    held_out: Samples,
    *,
    strategies: Sequence[str] = ("lagrangian",),
    constraints: Constraints | None = None,
    objective: Objective | None = None,
    grid: Grid | None = None,
    sensitivity: Method = "quantization",
    probe_images: int = 16,
    points: int = 10,
    divergences: tuple[float, float] | None = None,
    fit_dead_zones: bool = False,
    batch_size: int = 8,
    seed: int = 0,
    workers: int = 1,
    executor: Executor | None = None,
    command: str = "",
    progress: Progress | None = None,
) -> SearchResult:
    """Searches policies and measures them.

    All options of all layers are measured on ``calibration`` (`measure_options`, `measure_sensitivity`), each strategy
    combines them to policies, and `fmcodec.evaluation.evaluate` measures the policies on ``held_out``. Neither set
    should be the one that results are reported on: a policy that is selected by its accuracy on some images is
    flattered by them.

    Parameters
    ----------
    network
        Module, preprocessing and maps.
    calibration, held_out
        Images, which must not have any in common. Half of the first are learned from and half are coded.
    strategies
        Names; see `fmcodec.search.strategies`.
    constraints, objective, grid
        What policies must obey, what a map costs (its bits, by default), and what is tried for every layer.
    sensitivity
        How `measure_sensitivity` measures.
    probe_images
        Calibration images on which sensitivities are measured, rounded up to batches.
    points, divergences
        Policies that each strategy is asked for, and the smallest and largest predicted divergence they should have;
        the others are between them in equal quotients. None for those of ``DIVERGENCE_RANGES``.
    fit_dead_zones
        Whether policies are also measured with dead zones that are fitted on the probe images, as points of their own
        (`fmcodec.torch.fit_dead_zones`). What is predicted for them is that of the policies without.
    batch_size
        Images of one frame.
    seed
        Of all random numbers.
    workers
        Processes; with 1, all is done in this one. Scripts need ``if __name__ == "__main__"``, since processes import
        them. The results do not depend on the number.
    executor
        Where the work is done instead, such as ``get_executor()`` of a dask client; tasks are pickled. A task of a lost
        worker is repeated if the executor does so. Its workers must be processes with one thread each, and ``workers``
        should say how many there are.
    command
        Text for the provenance.
    progress
        Called with the name of a stage, the tasks that are done, and all tasks of the stage.

    Returns
    -------
    SearchResult
        The same bytes for equal arguments on one kind of machine.

    Raises
    ------
    ValueError
        An argument is out of range, the two sets share images, a strategy is unknown, or constraints leave nothing.
    """
    if points < 1 or batch_size < 1 or probe_images < 1 or workers < 1:
        raise ValueError("points, batch_size, probe_images and workers must be at least 1")
    divergences = divergences or DIVERGENCE_RANGES[network.task]
    if not 0 < divergences[0] <= divergences[1]:
        raise ValueError(f"divergences must be above 0 and rise, not {divergences}")
    if not strategies:
        raise ValueError("there must be a strategy")
    solvers = {name: make_strategy(name) for name in strategies}
    require_apart(calibration, held_out)
    constraints = constraints or Constraints()
    grid = constraints.applied(grid or Grid())
    report = progress or (lambda stage, done, total: None)
    batches = tuple(calibration.subset(spread(len(calibration), batch_size)).batches(batch_size))
    job = Job(network, batches, -(-probe_images // batch_size), grid, sensitivity, seed)
    provenance = _provenance(network, calibration, batch_size, sensitivity, seed, command)

    with pool(workers, executor) as shared:
        groups = groups_of(job)
        tasks = [(job, names) for names in groups]
        measured = in_order(shared, measure_group, tasks, lambda done: report("measure", done, len(tasks)))
        layers = tuple(layer for group in measured for layer, _ in group)
        sensitivities = {layer.name: own for group in measured for layer, own in group}
        probe = cache(lambda: PolicyProbe(job))
        problem = Problem(
            curves=curves_of(layers, sensitivities, constraints, objective),
            targets=tuple(float(target) for target in np.geomspace(*divergences, points)),
            target_bits=constraints.target_bits,
            relative_steps=grid.relative_steps,
            measure=lambda choice: probe().divergence(policy_of(choice)),
            seed=seed,
        )
        proposals = _proposals(problem, solvers, fit_dead_zones, report)
        found, policies = [], {}
        for done, (name, proposal) in enumerate(proposals.items()):
            policy = policy_of(proposal.choice, {"strategy": proposal.strategy, **provenance})
            policies[name] = _with_dead_zones(job, policy) if proposal.has_dead_zones else policy
            evaluation = evaluate(
                network, policies[name], held_out, batch_size=batch_size, workers=workers, executor=shared
            )
            indices = [curve.options.index(proposal.choice[curve.name]) for curve in problem.curves]
            predicted = problem.bits_per_value(indices), problem.divergence(indices)
            found.append(frontier_point(name, proposal.label, policies[name], evaluation, *predicted))
            report("verify", done + 1, len(proposals))
    frontier = Frontier(
        network=network.name,
        images=len(held_out),
        top1=None if evaluation.uncompressed.top1 is None else 100 * evaluation.uncompressed.top1.value,
        provenance={**provenance, "held_out": _described(held_out)},
        points=mark_best(found),
    )
    return SearchResult(frontier, policies, layers, sensitivities)


def spread(count: int, batch_size: int) -> list[int]:
    """An order in which each batch takes images at even distances: neighbours are often alike, as of one class.

    >>> spread(7, 3)
    [0, 3, 6, 1, 4, 2, 5]
    """
    stride = -(-count // batch_size)
    return [index for start in range(stride) for index in range(start, count, stride)]


class _Proposal(NamedTuple):
    strategy: str
    choice: Choice
    has_dead_zones: bool = False

    @property
    def label(self) -> str:
        return f"{self.strategy}, dead zones" if self.has_dead_zones else self.strategy


def _proposals(
    problem: Problem, solvers: dict[str, Strategy], fit_dead_zones: bool, report: Progress
) -> dict[str, _Proposal]:
    """What is to be measured, by the name of its file."""
    proposals: dict[str, _Proposal] = {}
    for done, (name, solver) in enumerate(solvers.items()):
        for number, choice in enumerate(solver.propose(problem)):
            proposals[f"{name}-{number:02d}"] = _Proposal(name, choice)
            if fit_dead_zones and any(dead_zones.can_fit(option.layer.spec) for option in choice.values()):
                proposals[f"{name}-{number:02d}-dead-zones"] = _Proposal(name, choice, has_dead_zones=True)
        report("propose", done + 1, len(solvers))
    return proposals


def _with_dead_zones(job: Job, policy: Policy) -> Policy:
    with one_thread():
        return dead_zones.fit_dead_zones(job.network.model, job.inputs(job.probe_batches), policy)


def _provenance(
    network: Network, calibration: Samples, batch_size: int, sensitivity: Method, seed: int, command: str
) -> dict[str, str]:
    return {
        "method": "fmcodec.search",
        "network": network.name,
        "calibration": _described(calibration),
        "batch_size": str(batch_size),
        "sensitivity": sensitivity,
        "seed": str(seed),
        "fmcodec": __version__,
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        **({"command": command} if command else {}),
    }


def _described(samples: Samples) -> str:
    digest = hashlib.sha256("\n".join(samples.keys()).encode()).hexdigest()
    return f"{len(samples)} images of {samples.name}, SHA-256 of their digests {digest}"
