"""A report: results of evaluate, compare and search of one network, checked to belong together."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import msgspec

from fmcodec.energy import FeatureMap, Memory, NetworkCost, evaluate_network, load_part
from fmcodec.errors import FmcodecError
from fmcodec.evaluation import Evaluation
from fmcodec.evaluation.result import UNCODED_BITS
from fmcodec.policy import Policy
from fmcodec.report.frontier_plot import POLICY, Line, frontier_lines
from fmcodec.report.layers import layer_results
from fmcodec.report.result import LayerResult
from fmcodec.search.frontier import Frontier
from fmcodec.systems.comparison import Comparison, ComparisonPoint

DEFAULT_PART = "ddr3-1066-x16"
T = TypeVar("T")


class Report(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """What a report shows; all but the part may be None.

    Parameters
    ----------
    evaluation
        Of one policy, in mode ``codec``.
    comparison
        Of published systems.
    frontier
        Of a search.
    policy
        That of the evaluation, if there is one.
    part
        DRAM part on which energies are worked out: a name or a TOML file, as for `load_part`.

    Raises
    ------
    FmcodecError
        There is nothing to show, the results are of several networks, the policy is not that of the evaluation, or the
        bits of the evaluation were not counted.
    """

    evaluation: Evaluation | None = None
    comparison: Comparison | None = None
    frontier: Frontier | None = None
    policy: Policy | None = None
    part: str = DEFAULT_PART

    def __post_init__(self) -> None:
        results = [item for item in (self.evaluation, self.comparison, self.frontier) if item is not None]
        if not results and self.policy is None:
            raise FmcodecError("there is nothing to report: give an evaluation, a comparison, a search or a policy")
        networks = {item.network for item in results}
        if len(networks) > 1:
            raise FmcodecError(f"the results are of several networks: {', '.join(sorted(networks))}")
        if self.evaluation is not None and self.evaluation.bits_per_value is None:
            raise FmcodecError("the evaluation has no bits: run it with --mode codec")
        if self.evaluation is not None and self.policy is not None:
            names = {layer.name for layer in self.evaluation.layers}
            if names != self.policy.layers.keys():
                raise FmcodecError("the policy is not that of the evaluation: they have other layers")

    @property
    def network(self) -> str:
        """Name of the network, or what the policy says it is."""
        for item in (self.evaluation, self.comparison, self.frontier):
            if item is not None:
                return item.network
        assert self.policy is not None
        return self.policy.provenance.get("network", "a network")

    @cached_property
    def lines(self) -> list[Line]:
        """Lines of the frontier; see `frontier_lines`."""
        return frontier_lines(self.frontier, self.comparison, self.evaluation)

    @cached_property
    def points(self) -> tuple[ComparisonPoint, ...]:
        """The evaluation and the points of the comparison."""
        own = (
            () if self.evaluation is None else (ComparisonPoint(system=POLICY, level=0.0, evaluation=self.evaluation),)
        )
        return own if self.comparison is None else (*own, *self.comparison.points)

    @cached_property
    def cost(self) -> NetworkCost | None:
        """Energy of the maps of one image, each written once and read once, by the bits of each layer.

        Maps that a policy does not code have 8 bits. None if the bits of layers are not known.
        """
        evaluations = {
            system_name(point): point.evaluation for point in self.points if point.evaluation.bits_per_value is not None
        }
        if not evaluations:
            return None
        # The one with the most maps has all of them in the order of execution.
        largest = max(evaluations.values(), key=lambda item: len(item.layers))
        maps = [FeatureMap(name=layer.name, shape=layer.shape) for layer in largest.layers]
        # A map of more than 8 bits is stored raw.
        systems = {
            name: {layer.name: min(layer.bits_per_value or 0.0, UNCODED_BITS) for layer in item.layers}
            for name, item in evaluations.items()
        }
        return evaluate_network(maps, systems, Memory(part=load_part(self.part)))

    @cached_property
    def layers(self) -> list[LayerResult]:
        """The layers of the evaluation; none without it."""
        if self.evaluation is None or self.cost is None:
            return []
        return layer_results(self.evaluation, self.policy, self.cost, POLICY)


def system_name(point: ComparisonPoint) -> str:
    """The system with its level, if it has one."""
    return point.system if point.system == POLICY else f"{point.system} {point.level:g}"


def load_report(
    *,
    evaluation: str | Path | None = None,
    comparison: str | Path | None = None,
    search: str | Path | None = None,
    policy: str | Path | None = None,
    part: str = DEFAULT_PART,
) -> Report:
    """A report of files: what ``evaluate --json``, ``compare --json`` and ``search --output`` write, and a policy.

    ``search`` is the folder or its ``frontier.json``.

    Raises
    ------
    FmcodecError
        A file is not what it should be, or they do not belong together; see `Report`.
    """
    if search is not None and Path(search).is_dir():
        search = Path(search) / "frontier.json"
    return Report(
        evaluation=_loaded(evaluation, lambda path: Evaluation.from_json(path.read_bytes())),
        comparison=_loaded(comparison, Comparison.load),
        frontier=_loaded(search, Frontier.load),
        policy=_loaded(policy, Policy.load),
        part=part,
    )


def _loaded(path: str | Path | None, load: Callable[[Path], T]) -> T | None:
    if path is None:
        return None
    try:
        return load(Path(path))
    except (msgspec.MsgspecError, FmcodecError) as error:
        raise FmcodecError(f"{path}: {error}") from error
