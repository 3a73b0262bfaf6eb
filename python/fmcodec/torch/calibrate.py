"""Calibration: a policy for a model from sample batches, by measured ranges and exact encoded sizes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any, Literal, NamedTuple

import msgspec
import torch
from torch import nn

from fmcodec import TableStatistics, decode, encode
from fmcodec.klt import ChannelMoments, PrincipalComponents, coarsened, klt_spec, level_range
from fmcodec.policy import Activation, LayerPolicy, Policy
from fmcodec.spec import MOST_SPATIAL_BITS, CodecSpec, Transform
from fmcodec.torch.statistics import RangeStatistics, energies
from fmcodec.torch.wrap import activate, find_modules, single_tensor

StepRule = Callable[[RangeStatistics], float]
Where = Literal["output", "input"]
When = Literal["before", "after"]  # the activation
Observer = Callable[[str, torch.Tensor], None]

# Largest value each activation lets through.
ACTIVATION_LIMIT = {"none": math.inf, "relu": math.inf, "relu6": 6.0}


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """One way to code a layer that calibration tries.

    Parameters
    ----------
    transform, transform_size
        As in `CodecSpec`. ``"klt"`` is one group of all channels, with the principal components of the samples; those
        whose variance is below the error of rounding, a twelfth of the step squared, are not kept.
    spatial_size
        As in `CodecSpec`.
    activation
        Code the map ``"before"`` or ``"after"`` the activation that follows its layer.
    permute
        Whether channels are reordered so that neighbours are alike (`ChannelMoments.greedy_order`).
    dead_zone
        As in `CodecSpec`: it takes effect where band steps are above 1, so with a refinement.
    refinement
        Levels are this many times finer than the step, and every band step is this number: the map is then quantized
        in the transform domain. 1 quantizes it before the transform. It is halved until levels have 16 bits at most, 15
        with ``"klt"`` and 14 with a spatial transform, and until coefficients of a KLT have 16.
    """

    transform: Transform = "identity"
    transform_size: int = 1
    spatial_size: int = 1
    activation: When = "after"
    permute: bool = False
    refinement: int = 1
    dead_zone: float = 0.5


# With levels 16 times finer than the step, the roundings of levels and coefficients to integers (before, in and after a
# DCT) have 1/256 of the squared error of the band step each: together about 1 %.
DEFAULT_CANDIDATES = (
    Candidate(activation="before"),
    Candidate(activation="after"),
    *(
        Candidate(transform="dct", transform_size=size, permute=permute, refinement=16)
        for size in (4, 8, 16)
        for permute in (False, True)
    ),
    *(Candidate(transform="klt", activation=activation, refinement=16) for activation in ("before", "after")),
    *(Candidate(transform="klt", activation="before", spatial_size=size, refinement=16) for size in (2, 4)),
    Candidate(activation="after", spatial_size=4, refinement=16),
)


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
    layers: Mapping[str, Activation] | Iterable[str],
    *,
    where: Where = "output",
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
        Module names; as a mapping, each with the activation that follows it in the model.
    where
        Whether the outputs or the inputs of the modules are coded.
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
        A layer is unknown, there are no layers, candidates or batches, or a map holds NaN or infinity.
    TypeError
        ``batches`` is an iterator, which could be walked through only once.
    """
    activations: dict[str, Activation] = dict(layers) if isinstance(layers, Mapping) else dict.fromkeys(layers, "none")
    if not activations or not candidates:
        raise ValueError("layers and candidates must not be empty")
    if iter(batches) is batches:
        raise TypeError("batches must be a list or another iterable that can be walked through more than once")
    report = progress or (lambda name, count: None)

    measures = {name: _Measure(activation) for name, activation in activations.items()}
    wanted: set[When] = {candidate.activation for candidate in candidates if candidate.transform == "klt"}
    if any(candidate.permute for candidate in candidates):
        wanted.add("after")

    def measure(name: str, x: torch.Tensor) -> None:
        measures[name].update(x, wanted)

    batch_count = _run(model, batches, list(activations), where, measure, lambda count: report("measure", count))
    rules = _Rules(step_rule or relative_rms(), head_room, where, effort)
    trials: dict[str, list[_Trial]] = {}
    for name, measured in measures.items():
        # Candidates that come to the same are tried once.
        plans = {measured.plan(c, rules, learns_from_all=False): c for c in reversed(candidates)}
        trials[name] = [_Trial(plans[layer], layer) for layer in reversed(plans)]
        measured.images = 0

    def count_bytes(name: str, x: torch.Tensor) -> None:
        held_out = measures[name].held_out(x)
        for trial in trials[name] if held_out.numel() else ():
            trial.add(held_out, activations[name], threads, embed_spec)

    _run(model, batches, list(activations), where, count_bytes, lambda count: report("choose", count))
    chosen = {
        name: measured.plan(_choose(trials[name], measured.step(rules.step)), rules)
        for name, measured in measures.items()
    }
    if static_tables:
        chosen = _with_tables(model, batches, chosen, lambda count: report("tables", count))
    return Policy(
        layers=chosen,
        provenance={
            "method": "fmcodec.torch.calibrate: smallest encoded size among candidates of equal step",
            "batches": str(batch_count),
            "candidates": str(len(candidates)),
        },
    )


class _Rules(NamedTuple):
    """What all plans have in common."""

    step: StepRule
    head_room: float
    where: Where
    effort: int


# How far the error of a candidate may be above that of rounding to the step.
ERROR_MARGIN = 1.25


class _Trial:
    """What a candidate needs for the images that its transform was not learned from."""

    def __init__(self, candidate: Candidate, layer: LayerPolicy) -> None:
        self.candidate = candidate
        self.layer = layer
        self.size_bytes = self.values = 0
        self.squared_error = 0.0

    def add(self, x: torch.Tensor, activation: Activation, threads: int, embed_spec: bool) -> None:
        spec = self.layer.spec
        coded = activate(x, self.layer.activation).contiguous()
        frame = encode(coded, spec, threads=threads, embed_spec=embed_spec)
        decoded = torch.empty_like(coded)
        decode(frame, spec=None if embed_spec else spec, out=decoded, max_bytes=coded.nbytes, threads=threads)
        self.size_bytes += len(frame)
        self.values += x.numel()
        self.squared_error += energies(activate(x, activation), activate(decoded, activation))[1]


def _choose(trials: list[_Trial], step: float) -> Candidate:
    """The candidate with the fewest bytes among those with hardly more error than rounding to the step makes."""
    faithful = [trial for trial in trials if trial.squared_error <= ERROR_MARGIN * step**2 / 12 * trial.values]
    if not faithful:
        return min(trials, key=lambda trial: trial.squared_error).candidate
    return min(faithful, key=lambda trial: trial.size_bytes).candidate


class _Measure:
    """What pass 1 learns about one layer."""

    def __init__(self, activation: Activation) -> None:
        self.activation: Activation = activation
        self.images = 0  # so far in this pass
        self.all_images = 0
        self.before = RangeStatistics()
        self.after = RangeStatistics()
        # Of even and odd images, so that a transform learned from the ones can be tried on the others.
        self.moments: dict[When, tuple[ChannelMoments, ChannelMoments]] = {}
        self._components: dict[tuple[When, bool], PrincipalComponents] = {}

    @cached_property
    def order(self) -> tuple[int, ...] | None:
        """Channel order for transforms, if moments were gathered. Read it only after the last update."""
        return self._moments("after", learns_from_all=True).greedy_order() if self.moments else None

    def _when(self, activation: When) -> When:
        """Without an activation there is one map only."""
        return "before" if self.activation == "none" else activation

    def update(self, x: torch.Tensor, wanted: set[When]) -> None:
        after = activate(x, self.activation)
        self.before.update(x)
        if not (math.isfinite(self.before.minimum) and math.isfinite(self.before.sum)):
            raise ValueError("a map holds NaN or infinity")
        if self.activation != "none":
            self.after.update(after)
        for when in {self._when(activation) for activation in wanted}:
            moments = self.moments.setdefault(when, (ChannelMoments(x.shape[1]), ChannelMoments(x.shape[1])))
            seen = after if when == "after" else x
            for parity in (0, 1):
                moments[parity].update(seen[(self.images + parity) % 2 :: 2].float().cpu().numpy())
        self.images += x.shape[0]
        self.all_images = self.images

    def held_out(self, x: torch.Tensor) -> torch.Tensor:
        """The odd images of a map, or the only one there is."""
        first = (self.images + 1) % 2
        self.images += x.shape[0]
        return x[first::2] if self.all_images > 1 else x

    def step(self, rule: StepRule) -> float:
        step = rule(self.before if self.activation == "none" else self.after)
        # A map of zeros: any step codes it.
        return step if step > 0 else 1.0

    def _moments(self, activation: When, *, learns_from_all: bool) -> ChannelMoments:
        even, odd = self.moments[self._when(activation)]
        merged = ChannelMoments(len(even.sums))
        merged.merge(even)
        if learns_from_all:
            merged.merge(odd)
        return merged

    def plan(self, candidate: Candidate, rules: _Rules, *, learns_from_all: bool = True) -> LayerPolicy:
        """Policy of the layer if it is coded as ``candidate`` says."""
        activation: Activation = self.activation if candidate.activation == "after" else "none"
        step, head_room = self.step(rules.step), rules.head_room
        low, high = self.before.minimum * (1 + head_room), self.before.maximum * (1 + head_room)
        if activation != "none":
            low, high = 0.0, min(high, ACTIVATION_LIMIT[activation])
        if candidate.transform == "klt":
            components = self._components_of(candidate.activation, learns_from_all=learns_from_all)
            spec = klt_spec(
                components, step, low, high, refinement=candidate.refinement, spatial_size=candidate.spatial_size
            ).replace(effort=rules.effort, dead_zone=candidate.dead_zone)
            return LayerPolicy(spec=spec, where=rules.where, activation=activation)
        most_bits = 16 if candidate.spatial_size == 1 else MOST_SPATIAL_BITS
        refinement = coarsened(candidate.refinement, step, low, high, most_bits)
        fine_step = step / refinement
        zero_point, bits = level_range(low / fine_step, high / fine_step, most_bits)
        spec = CodecSpec(
            step=fine_step,
            zero_point=zero_point,
            bits=bits,
            transform=candidate.transform,
            transform_size=candidate.transform_size,
            spatial_size=candidate.spatial_size,
            band_steps=(refinement,),
            permutation=self.order if candidate.permute else None,
            effort=rules.effort,
            dead_zone=candidate.dead_zone,
        )
        return LayerPolicy(spec=spec, where=rules.where, activation=activation)

    def _components_of(self, activation: When, *, learns_from_all: bool) -> PrincipalComponents:
        key = self._when(activation), learns_from_all
        if key not in self._components:
            moments = self._moments(activation, learns_from_all=learns_from_all)
            self._components[key] = moments.principal_components()
        return self._components[key]


def _with_tables(
    model: nn.Module, batches: Iterable[Any], chosen: dict[str, LayerPolicy], report: Callable[[int], None]
) -> dict[str, LayerPolicy]:
    """The chosen layers with static tables built from the batches."""
    statistics = {name: TableStatistics(layer.spec) for name, layer in chosen.items()}

    def count_symbols(name: str, x: torch.Tensor) -> None:
        statistics[name].update(activate(x, chosen[name].activation).contiguous())

    where = next(iter(chosen.values())).where
    _run(model, batches, list(chosen), where, count_symbols, report)
    return {
        name: msgspec.structs.replace(layer, spec=layer.spec.replace(tables=statistics[name].build()))
        for name, layer in chosen.items()
    }


def _run(
    model: nn.Module,
    batches: Iterable[Any],
    names: list[str],
    where: Where,
    observer: Observer,
    report: Callable[[int], None],
) -> int:
    """Runs the model on all batches, shows the maps of the named layers to ``observer``; the number of batches."""
    count = 0
    with torch.no_grad(), observe(model, names, where, observer):
        for batch in batches:
            model(*batch) if isinstance(batch, (tuple, list)) else model(batch)
            count += 1
            report(count)
    if not count:
        raise ValueError("batches must not be empty")
    return count


@contextmanager
def observe(model: nn.Module, names: list[str], where: Where, observer: Observer) -> Iterator[None]:
    """While active, calls ``observer(name, map)`` for the inputs or outputs (N, C, H, W) of the named modules."""
    handles = []
    try:
        for name, module in find_modules(model, names).items():

            def see_input(_: nn.Module, inputs: tuple[Any, ...], name: str = name) -> None:
                observer(name, single_tensor(inputs[0] if len(inputs) == 1 else inputs, name, "input").detach())

            def see_output(_: nn.Module, __: tuple[Any, ...], output: Any, name: str = name) -> None:
                observer(name, single_tensor(output, name, "output").detach())

            if where == "input":
                handles.append(module.register_forward_pre_hook(see_input))
            else:
                handles.append(module.register_forward_hook(see_output))
        yield
    finally:
        for handle in handles:
            handle.remove()
