"""Calibration: a policy for a model from sample batches, by measured ranges and exact encoded sizes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
import torch
from torch import nn

from fmcodec import TableStatistics, __version__
from fmcodec.policy import Activation, LayerPolicy, Policy, Where
from fmcodec.torch.candidates import DEFAULT_CANDIDATES, Candidate
from fmcodec.torch.map_codec import MapSite
from fmcodec.torch.measure import LayerMeasure, PlanRules, StepRule, Trial, wanted_moments
from fmcodec.torch.observe import run
from fmcodec.torch.wrap import activate

# How far the error of a candidate may be above that of rounding to the step.
ERROR_MARGIN = 1.25


def relative_rms(relative_step: float = 0.2) -> StepRule:
    """Step rule: the step is ``relative_step`` times the root mean square of the map after its activation.

    Without clipping, rounding to a step of r times the RMS gives a signal to error ratio near 10.8 - 20 log10(r) dB:
    24.8 dB for 0.2.
    """
    if not relative_step > 0:
        raise ValueError(f"relative_step must be above 0, not {relative_step}")
    return lambda statistics: relative_step * statistics.rms


def calibrate(
    model: nn.Module,
    batches: Iterable[Any],
    layers: Mapping[str, Activation | MapSite] | Iterable[str],
    *,
    where: Where = "output",
    same_map: Iterable[Sequence[str]] = (),
    candidates: Sequence[Candidate] = DEFAULT_CANDIDATES,
    step_rule: StepRule | None = None,
    head_room: float = 0.25,
    effort: int = 2,
    static_tables: bool = False,
    embed_spec: bool = True,
    threads: int = 1,
    progress: Callable[[str, int], None] | None = None,
) -> Policy:
    """Chooses a spec for every layer: the candidate whose frames are smallest on the sample batches.

    Pass 1 measures ranges and moments, and fixes the step of each layer, the same for all its candidates. Pass 2
    encodes every second image with each candidate, whose transform was learned from the other images, and keeps the
    smallest total among those whose error is at most 1.25 times that of rounding to the step (a twelfth of its square,
    after the activation), or the one with the smallest error if there are none. The transform that was chosen is then
    learned from all images. Pass 3, with ``static_tables``, gathers code tables for the chosen specs. Maps are never
    kept: memory does not grow with batches.

    Parameters
    ----------
    model
        Called in its present mode (use ``eval()``) as ``model(batch)``, or ``model(*batch)`` for tuples and lists.
        Its maps must be on the CPU.
    batches
        Samples; walked through once per pass, so a list or another iterable that can be restarted.
    layers
        Module names; as a mapping, each with the activation that follows it in the model, or with its `MapSite`.
    where
        Whether the outputs or the inputs of the modules are coded, for those without a site.
    same_map
        Groups of layers that see the same tensor, such as the inputs of two convolutions: it is measured at the first
        of each group, whose spec all of them share, its KLT included.
    candidates
        What is tried; those that come to the same for a layer are tried once.
    step_rule
        Step of a layer from the statistics of its map after the activation; `relative_rms` by default.
    head_room
        Share by which the levels reach beyond the smallest and largest value seen. Levels have 8 bits if these cover
        that range (what is left over widens it on both sides) and as many as needed, up to 16, otherwise.
    effort
        Of all specs, as in `CodecSpec`.
    static_tables
        Whether the specs get code tables, so that streams carry none.
    embed_spec
        Whether sizes include the spec, as they do in frames that hold it. A basis can be larger than a map: with
        `wrap` and ``embed_spec=False``, frames refer to the spec of the policy instead.
    threads
        Threads of each encode.
    progress
        Called after each batch with the name of the pass and the number of batches it has seen.

    Returns
    -------
    Policy
        One `LayerPolicy` for each layer, in the order of ``layers``.

    Raises
    ------
    ValueError
        A layer is unknown, there are no layers, candidates or batches, layers of one map are not among the layers or
        have other activations, or a map holds NaN or infinity.
    TypeError
        ``batches`` is an iterator, which could be walked through only once.
    """
    sites = _sites(layers, where)
    if not sites or not candidates:
        raise ValueError("layers and candidates must not be empty")
    if iter(batches) is batches:
        raise TypeError("batches must be a list or another iterable that can be walked through more than once")
    report = progress or (lambda name, count: None)

    first_of = _first_of(same_map, sites)
    places = {name: site.where for name, site in sites.items() if name not in first_of}
    rules = {name: PlanRules(head_room, place, effort) for name, place in places.items()}
    rule = step_rule or relative_rms()
    wanted = wanted_moments(candidates)
    measures = {name: LayerMeasure(sites[name].activation) for name in places}
    digest = hashlib.sha256()
    batch_count = run(
        model,
        _digested(batches, digest),
        places,
        lambda name, x: measures[name].update(x, wanted),
        lambda count: report("measure", count),
    )
    trials: dict[str, dict[Trial, Candidate]] = {}
    for name, measured in measures.items():
        # Candidates that come to the same are tried once.
        step = measured.step(rule)
        plans = {measured.plan(c, step, rules[name], learns_from_all=False): c for c in reversed(candidates)}
        trials[name] = {Trial(layer): plans[layer] for layer in reversed(plans)}
        measured.restart()

    def count_bytes(name: str, x: torch.Tensor) -> None:
        held_out = measures[name].held_out(x)
        for trial in trials[name] if held_out.numel() else ():
            trial.add(held_out, sites[name].activation, threads, embed_spec)

    run(model, batches, places, count_bytes, lambda count: report("choose", count))
    chosen = {}
    for name, measured in measures.items():
        step = measured.step(rule)
        chosen[name] = measured.plan(trials[name][_choose(trials[name], step)], step, rules[name])
    if static_tables:
        chosen = _with_tables(model, batches, chosen, lambda count: report("tables", count))
    return Policy(
        layers={
            name: msgspec.structs.replace(chosen[first_of.get(name, name)], where=site.where)
            for name, site in sites.items()
        },
        provenance={
            "method": "fmcodec.torch.calibrate: smallest encoded size among candidates of equal step",
            "batches": f"{batch_count}, SHA-256 of their values {digest.hexdigest()}",
            "candidates": str(len(candidates)),
            "fmcodec": __version__,
            "torch": str(torch.__version__),
        },
    )


def _sites(layers: Mapping[str, Activation | MapSite] | Iterable[str], where: Where) -> dict[str, MapSite]:
    entries = layers.items() if isinstance(layers, Mapping) else [(name, MapSite(where)) for name in layers]
    return {name: entry if isinstance(entry, MapSite) else MapSite(where, entry) for name, entry in entries}


def _first_of(groups: Iterable[Sequence[str]], sites: Mapping[str, MapSite]) -> dict[str, str]:
    """The first layer of its group, for each of the others."""
    first_of: dict[str, str] = {}
    for first, *others in groups:
        for name in others:
            if first not in sites or name not in sites or name in first_of or first in first_of:
                raise ValueError(f"same_map must name coded layers, each in one group, not {first!r} with {name!r}")
            if sites[name].activation != sites[first].activation:
                raise ValueError(f"{first!r} and {name!r} do not see the same map: their activations differ")
            first_of[name] = first
    return first_of


def _digested(batches: Iterable[Any], digest: Any) -> Iterator[Any]:
    """The batches, whose tensors are added to the digest as they pass."""
    for batch in batches:
        for value in batch if isinstance(batch, (tuple, list)) else (batch,):
            if isinstance(value, torch.Tensor):
                digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
        yield batch


def _choose(trials: Iterable[Trial], step: float) -> Trial:
    """The trial with the fewest bytes among those with hardly more error than rounding to the step makes."""
    faithful = [trial for trial in trials if trial.squared_error <= ERROR_MARGIN * step**2 / 12 * trial.values]
    if not faithful:
        return min(trials, key=lambda trial: trial.squared_error)
    return min(faithful, key=lambda trial: trial.size_bytes)


def _with_tables(
    model: nn.Module, batches: Iterable[Any], chosen: dict[str, LayerPolicy], report: Callable[[int], None]
) -> dict[str, LayerPolicy]:
    """The chosen layers with static tables built from the batches."""
    statistics = {name: TableStatistics(layer.spec) for name, layer in chosen.items()}

    def count_symbols(name: str, x: torch.Tensor) -> None:
        statistics[name].update(activate(x, chosen[name].activation).contiguous())

    run(model, batches, {name: layer.where for name, layer in chosen.items()}, count_symbols, report)
    return {
        name: msgspec.structs.replace(layer, spec=layer.spec.replace(tables=statistics[name].build()))
        for name, layer in chosen.items()
    }
