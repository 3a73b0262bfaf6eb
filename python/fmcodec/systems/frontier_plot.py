"""The plot of a comparison: answers against bits, one line for each system, published points beside them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from fmcodec.evaluation import Estimate
from fmcodec.systems.comparison import Comparison, ComparisonPoint
from fmcodec.systems.published import published_points

MARKERS = "osD^vP*X<>phd"
GREY = "#666666"


def plot_frontiers(comparison: Comparison, path: str | Path) -> None:
    """Draws the comparison to a file, whose name ends in ``.png``, ``.svg`` or ``.pdf``. Needs matplotlib.

    On the left what `Comparison.measure` says; for classifiers, on the right, the divergence of their answers, which
    tells systems apart with far fewer images. Error bars are standard errors. A pale mark beside a point is the same
    point as the authors of the system count it. Stars and crosses are published results of the same network, on other
    images and weights; those whose loss is not known are lines.
    """
    from matplotlib.figure import Figure

    lines: dict[str, list[ComparisonPoint]] = {}
    for point in comparison.points:
        lines.setdefault(point.system, []).append(point)
    is_accuracy = comparison.measure.startswith("change")
    figure = Figure(figsize=(13.0, 5.6) if is_accuracy else (7.5, 5.6), layout="constrained")
    panels = figure.subplots(1, 2 if is_accuracy else 1, squeeze=False)[0]
    _draw(panels[0], lines, lambda point: point.difference, 100.0 if is_accuracy else 1.0)
    panels[0].set_ylabel(comparison.measure + (", points" if is_accuracy else ""))
    if is_accuracy:
        panels[0].axhline(0, color=GREY, linewidth=0.8)
        _draw_published(panels[0], comparison.network)
        _draw(panels[1], lines, lambda point: point.evaluation.coded.kl_nats, 1.0)
        panels[1].set_ylabel("Kullback-Leibler divergence of the answers, nats")
        panels[1].set_yscale("log")
    panels[0].legend(frameon=False, fontsize="small", ncols=2)
    for axes in panels:
        axes.set_xlabel("bits per value, whole streams")
        axes.grid(alpha=0.3)
    figure.suptitle(f"{comparison.network}, {comparison.points[0].evaluation.images} images")
    figure.savefig(path)


def _draw(
    axes: Any,
    lines: dict[str, list[ComparisonPoint]],
    estimate_of: Callable[[ComparisonPoint], Estimate | None],
    unit: float,
) -> None:
    """One line for each system."""
    for index, (system, points) in enumerate(lines.items()):
        style = {"color": f"C{index % 10}", "marker": MARKERS[index % len(MARKERS)]}
        points = sorted(points, key=lambda point: point.evaluation.bits_per_value or 0.0)
        bits = [point.evaluation.bits_per_value for point in points]
        estimates = [estimate_of(point) or Estimate(0.0, None, None, None) for point in points]
        values = [estimate.value * unit for estimate in estimates]
        errors = [(estimate.standard_error or 0.0) * unit for estimate in estimates]
        axes.errorbar(bits, values, errors, markersize=5, capsize=2, label=system, **style)
        counted = [point.evaluation.published_bits_per_value for point in points]
        if counted != bits:
            axes.plot(counted, values, markersize=4, linestyle="none", alpha=0.35, **style)


def _draw_published(axes: Any, network: str) -> None:
    by_system: dict[str, list[tuple[float, float]]] = {}
    for point in published_points(network):
        if point.top1_difference is None:
            axes.axvline(point.bits_per_value, color=GREY, linestyle=":", linewidth=1)
            axes.annotate(
                f"{point.system}, published",
                (point.bits_per_value, 0.02),
                (3, 0),
                xycoords=axes.get_xaxis_transform(),
                textcoords="offset points",
                rotation=90,
                fontsize="x-small",
                color=GREY,
            )
        else:
            by_system.setdefault(point.system, []).append((point.bits_per_value, point.top1_difference))
    for index, (system, places) in enumerate(by_system.items()):
        axes.plot(
            *zip(*places, strict=True),
            color="black",
            marker="*x"[index % 2],
            markersize=8,
            linestyle=":",
            linewidth=0.8,
            label=f"{system}, published",
        )
