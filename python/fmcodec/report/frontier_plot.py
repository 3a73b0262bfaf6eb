"""The frontier: answers against bits, for policies of a search, compared systems and published results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from fmcodec.evaluation import Evaluation
from fmcodec.evaluation.metrics import Estimate
from fmcodec.report.style import NARROW, WIDE, ink
from fmcodec.search.frontier import Frontier, FrontierPoint
from fmcodec.systems.comparison import Comparison
from fmcodec.systems.published import PublishedPoint, published_points

# Fields of `Answers`, a panel for each that is known of any point. The loss of accuracy is published, too.
ACCURACY = "top1_difference"
DIVERGENCE = "kl_nats"
MEASURES = {
    ACCURACY: ("change of top-1 accuracy, points", 100.0),
    "target_psnr_difference_db": ("change of PSNR against the target, dB", 1.0),
    "output_psnr_db": ("PSNR against the uncompressed output, dB", 1.0),
    DIVERGENCE: ("divergence of the answers, nats", 1.0),
}
POLICY = "this policy"
COLORS = ("#3f74d6", "#d98324", "#58a58c", "#9457c4", "#c9584c", "#8a6d3b", "#d16ba5", "#7a8599", "#a3a635", "#2fa8c2")
MARKERS = "osD^vP*X<>phd"
PUBLISHED_MARKERS = "*x+1"
LEGEND_COLUMNS = {False: 5, True: 2}
# Points of accuracy: a loss from which on the axis is logarithmic, its part that stays linear, and its ticks then.
LARGE_LOSS = -15
LINEAR_RANGE = 2
ACCURACY_TICKS = (-100, -50, -20, -10, -5, -2, -1, 0, 1, 2, 5, 10, 20, 50, 100)
# The lowest divergence that is drawn: below, answers are the same to the accuracy of float32.
LEAST_DIVERGENCE = 1e-6


class Point(NamedTuple):
    """Bits per value, what a measure says, its standard error, and the bits as authors of a system count them."""

    bits: float
    value: float
    error: float
    published_bits: float


class Line(NamedTuple):
    """A system or strategy, and its points by measure."""

    label: str
    points: dict[str, list[Point]]


def frontier_lines(
    frontier: Frontier | None, comparison: Comparison | None, evaluation: Evaluation | None
) -> list[Line]:
    """What there is to draw: strategies of a search, systems of a comparison, and the evaluated policy."""
    lines = []
    if frontier is not None:
        for strategy in dict.fromkeys(point.strategy for point in frontier.points):
            own = [point for point in frontier.points if point.strategy == strategy]
            lines.append(Line(f"search: {strategy}", {name: _found_points(own, name) for name in MEASURES}))
    if comparison is not None:
        for system in dict.fromkeys(point.system for point in comparison.points):
            results = [point.evaluation for point in comparison.points if point.system == system]
            lines.append(Line(system, {name: _measured_points(results, name) for name in MEASURES}))
    if evaluation is not None:
        lines.append(Line(POLICY, {name: _measured_points([evaluation], name) for name in MEASURES}))
    return lines


def _found_points(points: Sequence[FrontierPoint], measure: str) -> list[Point]:
    found = []
    for point in points:
        value, error = {
            ACCURACY: (None if point.drop is None else -point.drop, point.drop_error),
            "target_psnr_difference_db": (point.target_psnr_difference_db, point.target_psnr_difference_error),
            "output_psnr_db": (point.output_psnr_db, None),
            DIVERGENCE: (point.divergence, point.divergence_error),
        }.get(measure, (None, None))
        if value is not None:
            found.append(Point(point.bits_per_value, value, error or 0.0, point.bits_per_value))
    return found


def _measured_points(results: Sequence[Evaluation], measure: str) -> list[Point]:
    unit = MEASURES[measure][1]
    found = []
    for result in results:
        estimate: Estimate | None = getattr(result.coded, measure)
        if estimate is not None and result.bits_per_value is not None:
            error = unit * (estimate.standard_error or 0.0)
            counted = result.published_bits_per_value or result.bits_per_value
            found.append(Point(result.bits_per_value, unit * estimate.value, error, counted))
    return sorted(found)


def frontier_plot(lines: Sequence[Line], network: str, is_narrow: bool) -> Any:
    """Draws all lines, a panel for each measure; bars are standard errors.

    A pale mark beside a point is the same point as the authors of the system count it. Published results of the network
    are in the panel of accuracy; those whose loss is not known are vertical lines.
    """
    measures = [name for name in MEASURES if any(line.points[name] for line in lines)]
    published = published_points(network) if ACCURACY in measures else []
    labels = [*(line.label for line in lines), *dict.fromkeys(_published_label(point) for point in published)]
    figure, all_axes = _panels(len(measures), len(labels), is_narrow)
    for axes, measure in zip(all_axes, measures, strict=True):
        axes.set_ylabel(MEASURES[measure][0])
        axes.set_xlabel("bits per value, whole streams")
        axes.grid()
        for index, line in enumerate(lines):
            _draw(axes, line.label, line.points[measure], index)
        points = [point for line in lines for point in line.points[measure]]
        if measure == ACCURACY:
            axes.axhline(0, color=ink(), linewidth=0.8, zorder=1)
            _draw_published(axes, published)
            _scale_accuracy(axes, points)
        if measure == DIVERGENCE:
            _scale_divergence(axes, points)
    right = max(axes.get_xlim()[1] for axes in all_axes)
    handles: dict[str, Any] = {}
    for axes in all_axes:
        axes.set_xlim(0, right)
        handles.update({label: handle for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)})
    # Matplotlib has those with error bars last.
    shown = {label: handles[label] for label in labels if label in handles}
    columns = LEGEND_COLUMNS[is_narrow]
    figure.legend(shown.values(), shown.keys(), loc="outside upper left", ncols=columns, columnspacing=1.4)
    return figure


def _panels(count: int, label_count: int, is_narrow: bool) -> tuple[Any, Sequence[Any]]:
    """A figure with its panels, below each other or side by side, and room for the legend above them."""
    from matplotlib.figure import Figure

    legend_height = 0.25 * -(-label_count // LEGEND_COLUMNS[is_narrow])
    size = (NARROW, 3.9 * count + legend_height) if is_narrow else (WIDE, 4.6 + legend_height)
    figure = Figure(figsize=size, layout="constrained")
    shape = (count, 1) if is_narrow else (1, count)
    return figure, list(figure.subplots(*shape, squeeze=False).flat)


def _draw(axes: Any, label: str, points: Sequence[Point], index: int) -> None:
    if not points:
        return
    color = ink() if label == POLICY else COLORS[index % len(COLORS)]
    style = {"color": color, "marker": "*" if label == POLICY else MARKERS[index % len(MARKERS)]}
    axes.errorbar(
        [point.bits for point in points],
        [point.value for point in points],
        [point.error for point in points],
        markersize=11 if label == POLICY else 5,
        linewidth=1.4,
        elinewidth=1,
        capsize=2,
        label=label,
        zorder=4 if label == POLICY else 3,
        **style,
    )
    counted = [point for point in points if point.published_bits != point.bits]
    axes.plot(
        [point.published_bits for point in counted],
        [point.value for point in counted],
        markersize=4,
        linestyle="none",
        alpha=0.35,
        **style,
    )


def _scale_accuracy(axes: Any, points: Sequence[Point]) -> None:
    """Beside the loss of a system that fails, those of interest would all look like none: then both have room."""
    lowest = min(point.value - point.error for point in points)
    if lowest < LARGE_LOSS:
        axes.set_yscale("symlog", linthresh=LINEAR_RANGE, linscale=1)
        low, high = 1.3 * lowest, max(1.0, 1.2 * max(point.value + point.error for point in points))
        axes.set_ylim(low, high)
        ticks = [tick for tick in ACCURACY_TICKS if low <= tick <= high]
        axes.set_yticks(ticks, [str(tick) for tick in ticks])
        axes.set_yticks([], minor=True)
        axes.set_ylabel(f"{MEASURES[ACCURACY][0]},\nlogarithmic beyond {LINEAR_RANGE}")


def _scale_divergence(axes: Any, points: Sequence[Point]) -> None:
    """A logarithmic axis around the points: a standard error as large as its value would reach down to nothing."""
    values = [point.value for point in points if point.value > LEAST_DIVERGENCE]
    if values:
        axes.set_yscale("log", nonpositive="clip")
        axes.set_ylim(min(values) / 2, 1.6 * max(point.value + point.error for point in points))


def _published_label(point: PublishedPoint) -> str:
    return f"{point.system}, published"


def _draw_published(axes: Any, points: Sequence[PublishedPoint]) -> None:
    systems = list(dict.fromkeys(point.system for point in points))
    for index, system in enumerate(systems):
        own = [point for point in points if point.system == system]
        known = [(point.bits_per_value, point.top1_difference) for point in own if point.top1_difference is not None]
        style = {"color": ink(), "alpha": 0.65}
        if known:
            axes.plot(
                *zip(*known, strict=True),
                marker=PUBLISHED_MARKERS[index % len(PUBLISHED_MARKERS)],
                markersize=7,
                linestyle=":",
                linewidth=0.9,
                label=_published_label(own[0]),
                zorder=2,
                **style,
            )
        for point in own:
            if point.top1_difference is None:
                axes.axvline(point.bits_per_value, linestyle=":", linewidth=1, zorder=1, **style)
                axes.annotate(
                    _published_label(point),
                    (point.bits_per_value, 0.02),
                    (3, 0),
                    xycoords=axes.get_xaxis_transform(),
                    textcoords="offset points",
                    rotation=90,
                    fontsize="x-small",
                )
