"""Calibration: a policy for a model from sample batches, by measured ranges and exact encoded sizes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any, Literal

import msgspec
import torch
from torch import nn

from fmcodec import TableStatistics, encode
from fmcodec.policy import Activation, LayerPolicy, Policy
from fmcodec.spec import CodecSpec
from fmcodec.torch.statistics import ChannelMoments, RangeStatistics
from fmcodec.torch.wrap import activate, find_modules, single_tensor

StepRule = Callable[[RangeStatistics], float]
Where = Literal["output", "input"]
Observer = Callable[[str, torch.Tensor], None]

# Largest value each activation lets through.
ACTIVATION_LIMIT = {"none": math.inf, "relu": math.inf, "relu6": 6.0}


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """One way to code a layer that calibration tries.

    Parameters
    ----------
    transform, transform_size
        As in `CodecSpec`.
    activation
        Code the map ``"before"`` or ``"after"`` the activation that follows its layer.
    permute
        Whether channels are reordered so that neighbours are alike (`ChannelMoments.greedy_order`).
    refinement
        Levels are this many times finer than the step, and every band step is this number: the map is then quantized
        in the transform domain. 1 quantizes it before the transform.
    """

    transform: Literal["identity", "dct"] = "identity"
    transform_size: int = 1
    activation: Literal["before", "after"] = "after"
    permute: bool = False
    refinement: int = 1


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
    static_tables: bool = False,
    embed_spec: bool = True,
    threads: int = 1,
    progress: Callable[[str, int], None] | None = None,
) -> Policy:
    """Chooses a spec for every layer: the candidate whose frames are smallest on the sample batches.

    Pass 1 measures ranges and fixes the step of each layer, the same for all its candidates, so that they make about
    the same error. Pass 2 encodes each map with each candidate and keeps the smallest total. Pass 3, with
    ``static_tables``, gathers code tables for the chosen specs. Maps are never kept: memory does not grow with batches.

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
    static_tables
        Whether the specs get code tables, so that streams carry none.
    embed_spec
        Whether sizes include the spec, as they do in frames that hold it.
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
    needs_order = any(candidate.permute for candidate in candidates)

    def measure(name: str, x: torch.Tensor) -> None:
        measures[name].update(x, needs_order)

    batch_count = _run(model, batches, list(activations), where, measure, lambda count: report("measure", count))
    rule = step_rule or relative_rms()
    trials: dict[str, list[LayerPolicy]] = {}
    for name in activations:
        plans = [measures[name].plan(candidate, rule, head_room, where) for candidate in candidates]
        trials[name] = list(dict.fromkeys(plans))
    sizes = {name: [0] * len(entries) for name, entries in trials.items()}

    def count_bytes(name: str, x: torch.Tensor) -> None:
        for index, trial in enumerate(trials[name]):
            coded = activate(x, trial.activation).contiguous()
            sizes[name][index] += len(encode(coded, trial.spec, threads=threads, embed_spec=embed_spec))

    _run(model, batches, list(activations), where, count_bytes, lambda count: report("choose", count))
    chosen = {name: trials[name][sizes[name].index(min(sizes[name]))] for name in activations}
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


class _Measure:
    """What pass 1 learns about one layer."""

    def __init__(self, activation: Activation) -> None:
        self.activation: Activation = activation
        self.before = RangeStatistics()
        self.after = RangeStatistics()
        self.moments: ChannelMoments | None = None

    @cached_property
    def order(self) -> tuple[int, ...] | None:
        """Channel order for transforms, if moments were gathered. Read it only after the last update."""
        return self.moments.greedy_order() if self.moments else None

    def update(self, x: torch.Tensor, needs_order: bool) -> None:
        after = activate(x, self.activation)
        self.before.update(x)
        if self.activation != "none":
            self.after.update(after)
        if needs_order:
            self.moments = self.moments or ChannelMoments(x.shape[1])
            self.moments.update(after)

    def plan(self, candidate: Candidate, rule: StepRule, head_room: float, where: Where) -> LayerPolicy:
        """Policy of the layer if it is coded as ``candidate`` says."""
        activation: Activation = self.activation if candidate.activation == "after" else "none"
        step = rule(self.before if self.activation == "none" else self.after)
        # A map of zeros: any step codes it.
        step = step if step > 0 else 1.0
        low, high = self.before.minimum * (1 + head_room), self.before.maximum * (1 + head_room)
        if activation != "none":
            low, high = 0.0, min(high, ACTIVATION_LIMIT[activation])
        fine_step = step / candidate.refinement
        zero_point, bits = _level_range(low / fine_step, high / fine_step)
        spec = CodecSpec(
            step=fine_step,
            zero_point=zero_point,
            bits=bits,
            transform=candidate.transform,
            transform_size=candidate.transform_size,
            band_steps=(candidate.refinement,),
            permutation=self.order if candidate.permute else None,
        )
        return LayerPolicy(spec=spec, where=where, activation=activation)


def _level_range(low: float, high: float) -> tuple[int, int]:
    """Zero point and bits whose levels cover ``low`` to ``high`` (in steps), as far as 16 bits reach."""
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError("a map holds NaN or infinity, or no values at all")
    below, above = math.ceil(max(-low, 0.0)), math.ceil(max(high, 0.0))
    bits = min(16, max(8, (below + above).bit_length()))
    spare = 2**bits - 1 - below - above
    if not below:
        return 0, bits
    return min(2**bits - 1, max(0, below + spare // 2)), bits


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
