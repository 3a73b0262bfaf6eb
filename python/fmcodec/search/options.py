"""Options: each candidate at each step, as measured on images that its transform was not learned from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import msgspec
import torch
from torch import nn

from fmcodec.policy import LayerPolicy
from fmcodec.search.hull import lower_hull
from fmcodec.search.multipliers import needs_multipliers
from fmcodec.spec import DEFAULT_WORD_BITS, CodecSpec, CodeLayout
from fmcodec.torch.calibrate import ERROR_MARGIN
from fmcodec.torch.candidates import DEFAULT_CANDIDATES, Candidate, When
from fmcodec.torch.map_codec import MapSite
from fmcodec.torch.measure import LayerMeasure, PlanRules, Trial, Weights, wanted_moments
from fmcodec.torch.observe import run

# Each step makes twice the squared error of the one before.
RELATIVE_STEPS = (0.025, 0.035, 0.05, 0.07, 0.1, 0.14, 0.2, 0.28, 0.4, 0.56, 0.8, 1.1)
COARSE_STEPS = (0.1, 0.28, 0.8)
# Of plain quantization over the range of the map.
LEVEL_WIDTHS = (3, 4, 5, 6, 7, 8)

SEARCH_CANDIDATES = (
    *DEFAULT_CANDIDATES,
    Candidate(activation="before", spatial_size=4, refinement=16),
    Candidate(transform="klt", spatial_size=4, refinement=16),
    *(
        Candidate(transform="hadamard", transform_size=size, permute=permute, refinement=16)
        for size in (4, 16)
        for permute in (False, True)
    ),
    *(
        msgspec.structs.replace(candidate, weighting=weighting, refinement=16)
        for candidate in DEFAULT_CANDIDATES
        if candidate.transform in ("identity", "klt")
        for weighting in (0.25, 0.5)
    ),
)


def with_dead_zones(candidates: Sequence[Candidate], dead_zones: Sequence[float]) -> tuple[Candidate, ...]:
    """The candidates, and each with each dead zone, in the transform domain, where it takes effect."""
    wider = (
        msgspec.structs.replace(candidate, dead_zone=dead_zone, refinement=16)
        for dead_zone in dead_zones
        for candidate in candidates
    )
    return (*candidates, *dict.fromkeys(wider))


class Grid(msgspec.Struct, frozen=True, kw_only=True):
    """What is tried for every layer.

    Parameters
    ----------
    candidates
        Transforms, before or after the activation, with their dead zones; those that come to the same are tried once.
    relative_steps
        Quantization steps as shares of the root mean square of the map after its activation.
    coarse_steps
        Steps at which all candidates are compared first, on a few batches. Those that are on the lower convex hull of
        bits and squared error of the layer there are measured at all steps.
    coarse_batches
        How many batches that comparison takes.
    level_widths
        Bits of plain quantization over the range of the map, without transform: `LayerOptions.options` has them beside
        the others, for mixed precision as it is published.
    effort, code_layout, word_bits
        The coder of all specs, as in `CodecSpec`: efforts 1 and 2 have Huffman codes, 3 has rANS too.
    head_room
        As in `fmcodec.torch.calibrate`.
    is_multiplier_free
        Leave out what `needs_multipliers` holds of.
    """

    candidates: tuple[Candidate, ...] = SEARCH_CANDIDATES
    relative_steps: tuple[float, ...] = RELATIVE_STEPS
    coarse_steps: tuple[float, ...] = COARSE_STEPS
    coarse_batches: int = 2
    level_widths: tuple[int, ...] = LEVEL_WIDTHS
    effort: int = 2
    code_layout: CodeLayout = "wavelet"
    word_bits: int = DEFAULT_WORD_BITS
    head_room: float = 0.25
    is_multiplier_free: bool = False

    def __post_init__(self) -> None:
        if not self.candidates or not self.relative_steps or not self.coarse_steps:
            raise ValueError("candidates and steps must not be empty")
        if min(*self.relative_steps, *self.coarse_steps) <= 0:
            raise ValueError("steps must be above 0")
        if self.coarse_batches < 1:
            raise ValueError(f"coarse_batches must be at least 1, not {self.coarse_batches}")


class Option(msgspec.Struct, frozen=True, kw_only=True):
    """One way to code one layer.

    Parameters
    ----------
    candidate, relative_step
        What it is.
    level_width
        Bits of a level of plain quantization; None for all other options.
    layer
        How the map is coded, with transforms learned from all images.
    bits, peak_bits
        Mean bits of an image in whole frames without their spec, and the most of any frame divided by its images.
    squared_error
        Mean over images of the sum of squared errors after the activation, each times the weight of its channel.
    """

    candidate: Candidate
    relative_step: float
    level_width: int | None = None
    layer: LayerPolicy
    bits: float
    peak_bits: float
    squared_error: float


class LayerOptions(msgspec.Struct, frozen=True, kw_only=True):
    """All options of one layer, and its map after the activation: values and energy (sum of squares) of an image.

    ``weights`` are those of channels in squared errors, None for equal ones. Options that need more bits than another
    one with no more error are left out, unless they are plain quantization, or what `fmcodec.torch.calibrate` would
    take at one of the steps.
    """

    name: str
    channels: int
    values: int
    energy: float
    options: tuple[Option, ...]
    weights: tuple[float, ...] | None = None


def measure_options(
    model: nn.Module,
    batches: Sequence[torch.Tensor],
    sites: Mapping[str, MapSite],
    grid: Grid,
    weights: Mapping[str, Weights] | None = None,
) -> list[LayerOptions]:
    """Measures the options of every layer: rates by encoding, errors by decoding.

    Every second image is learned from and the others are coded, as in `fmcodec.torch.calibrate`. The model runs three
    times over the batches: for ranges and moments, for the comparison of candidates, and for all steps of those left.

    Parameters
    ----------
    model
        In eval mode, its maps on the CPU.
    batches
        Network inputs.
    sites
        The maps.
    grid
        What is tried.
    weights
        Sensitivity to each channel of each map; see `channel_weights`. None for equal ones.

    Returns
    -------
    list of LayerOptions
        In the order of ``sites``.

    Raises
    ------
    ValueError
        As `fmcodec.torch.calibrate`.
    """
    layers = {name: _Layer(site, grid, (weights or {}).get(name)) for name, site in sites.items()}
    places = {name: site.where for name, site in sites.items()}
    wanted = wanted_moments(grid.candidates)
    run(model, batches, places, lambda name, x: layers[name].update(x, wanted))
    for layer in layers.values():
        layer.begin([(candidate, step) for candidate in grid.candidates for step in grid.coarse_steps])
    run(model, batches[: grid.coarse_batches], places, lambda name, x: layers[name].try_all(x))
    for layer in layers.values():
        layer.begin_last()
    run(model, batches, places, lambda name, x: layers[name].try_all(x))
    # One after the other, each with its matrices, which are freed then.
    return [layers.pop(name).options(name) for name in sites]


def smallest_faithful(points: Sequence[tuple[float, float]]) -> int:
    """The first point (squared error, rate) of least rate among those with hardly more error than the best has."""
    most = ERROR_MARGIN * min(error for error, _ in points)
    return min((index for index, (error, _) in enumerate(points) if error <= most), key=lambda index: points[index][1])


class _Plan(msgspec.Struct, frozen=True):
    """A plan that is tried: the candidate, its step, and the width of plain levels."""

    candidate: Candidate
    relative_step: float
    level_width: int | None = None


class _Layer:
    """One layer on its way through the passes."""

    def __init__(self, site: MapSite, grid: Grid, weights: Weights | None) -> None:
        self._site = site
        self._grid = grid
        self._rules = PlanRules(grid.head_room, site.where, grid.effort)
        self._measure = LayerMeasure(site.activation, weights)
        self._trials: dict[LayerPolicy, tuple[Trial, _Plan]] = {}
        self._channels = 0

    def update(self, x: torch.Tensor, wanted: set[When]) -> None:
        self._channels = x.shape[1]
        self._measure.update(x, wanted)

    def begin(self, plans: list[tuple[Candidate, float]]) -> None:
        """Plans what is tried in the next pass."""
        self._measure.restart()
        self._trials = {}
        for candidate, step in plans:
            self._add(_Plan(candidate, step))

    def begin_last(self) -> None:
        """Plans the pass over all steps of the best candidates."""
        self.begin([(candidate, step) for candidate in self._best() for step in self._grid.relative_steps])
        low, high = min(0.0, self._measure.range.minimum), max(0.0, self._measure.range.maximum)
        for width in self._grid.level_widths:
            spec = CodecSpec.for_range(low, high, bits=width)
            self._add(_Plan(Candidate(), spec.step / self._rms, width))
        self._measure.forget_components()

    def try_all(self, x: torch.Tensor) -> None:
        held_out = self._measure.held_out(x)
        for trial, _ in self._trials.values() if held_out.numel() else ():
            trial.add(held_out, self._site.activation, threads=1, embed_spec=False)

    def options(self, name: str) -> LayerOptions:
        """What the last pass measured."""
        images = self._measure.all_images
        statistics = self._measure.range
        return LayerOptions(
            name=name,
            channels=self._channels,
            values=statistics.count // images,
            energy=statistics.sum_of_squares / images,
            options=tuple(self._option(trial, plan) for trial, plan in self._useful()),
            weights=None if self._measure.weights is None else tuple(self._measure.weights.tolist()),
        )

    def _best(self) -> list[Candidate]:
        """Candidates that have a point on the lower convex hull."""
        tried = list(self._trials.values())
        points = [(trial.squared_error, float(trial.size_bytes)) for trial, _ in tried]
        return list(dict.fromkeys(tried[index][1].candidate for index in lower_hull(points)))

    def _useful(self) -> list[tuple[Trial, _Plan]]:
        """Trials that no other one beats, plain quantization, and the choice of calibration at each step.

        The others are dropped because the bases of all of them would take gigabytes.
        """
        tried = list(self._trials.values())
        points = [(trial.squared_error, float(trial.size_bytes)) for trial, _ in tried]
        kept = {index for index, (_, plan) in enumerate(tried) if plan.level_width is not None}
        least = math.inf
        for index in sorted(range(len(points)), key=lambda index: points[index]):
            if points[index][1] < least:
                least = points[index][1]
                kept.add(index)
        for step in self._grid.relative_steps:
            same = [i for i, (_, plan) in enumerate(tried) if (plan.relative_step, plan.level_width) == (step, None)]
            if same:
                kept.add(same[smallest_faithful([points[index] for index in same])])
        return [tried[index] for index in sorted(kept)]

    @property
    def _rms(self) -> float:
        return self._measure.step(lambda statistics: statistics.rms)

    def _add(self, plan: _Plan) -> None:
        layer = self._policy(plan, learns_from_all=False)
        if self._grid.is_multiplier_free and needs_multipliers(layer.spec, self._channels):
            return
        # Plans that come to the same are tried once.
        self._trials.setdefault(layer, (Trial(layer, self._measure.weights), plan))

    def _policy(self, plan: _Plan, *, learns_from_all: bool) -> LayerPolicy:
        if plan.level_width is None:
            step = plan.relative_step * self._rms
            layer = self._measure.plan(plan.candidate, step, self._rules, learns_from_all=learns_from_all)
        else:
            low, high = min(0.0, self._measure.range.minimum), max(0.0, self._measure.range.maximum)
            spec = CodecSpec.for_range(low, high, bits=plan.level_width, effort=self._grid.effort)
            layer = LayerPolicy(spec, self._site.where, self._site.activation)
        if self._grid.code_layout == "wavelet":
            return layer
        spec = layer.spec.replace(code_layout=self._grid.code_layout, word_bits=self._grid.word_bits)
        return msgspec.structs.replace(layer, spec=spec)

    def _option(self, trial: Trial, plan: _Plan) -> Option:
        return Option(
            candidate=plan.candidate,
            relative_step=plan.relative_step,
            level_width=plan.level_width,
            layer=self._policy(plan, learns_from_all=True),
            bits=8 * trial.size_bytes / trial.images,
            peak_bits=8 * trial.largest_bytes,
            squared_error=trial.squared_error / trial.images,
        )
