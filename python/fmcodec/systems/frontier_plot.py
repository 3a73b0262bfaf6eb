"""The plot of a comparison: answers against bits, one line for each system, published points beside them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fmcodec.systems.comparison import Comparison, ComparisonPoint
from fmcodec.systems.published import published_points

MARKERS = "osD^vP*X<>phd"
GREY = "#666666"


def plot_frontiers(comparison: Comparison, path: str | Path) -> None:
    """Draws the comparison to a file, whose name ends in ``.png``, ``.svg`` or ``.pdf``. Needs matplotlib.

    Error bars are standard errors of paired differences. A pale mark to the left of a point is the same point as the
    authors of the system count it. Stars are published results of the same network, on other images and weights; those
    whose loss is not known are lines.
    """
    from matplotlib.figure import Figure

    is_accuracy = comparison.measure.startswith("change")
    unit = 100.0 if is_accuracy else 1.0
    figure = Figure(figsize=(9.0, 5.6), layout="constrained")
    axes = figure.add_subplot()
    lines: dict[str, list[ComparisonPoint]] = {}
    for point in comparison.points:
        if point.evaluation.bits_per_value is not None:
            lines.setdefault(point.system, []).append(point)
    for index, (system, points) in enumerate(lines.items()):
        _draw_line(axes, system, points, unit, f"C{index % 10}", MARKERS[index % len(MARKERS)])
    if is_accuracy:
        axes.axhline(0, color=GREY, linewidth=0.8)
        _draw_published(axes, comparison.network)
    axes.set_xlabel("bits per value, whole streams")
    axes.set_ylabel(comparison.measure + (", points" if is_accuracy else ""))
    axes.set_title(f"{comparison.network}, {comparison.points[0].evaluation.images} images")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize="small", ncols=2)
    figure.savefig(path)


def _draw_line(axes: Any, system: str, points: list[ComparisonPoint], unit: float, color: str, marker: str) -> None:
    entries = sorted((point.evaluation.bits_per_value or 0.0, point) for point in points)
    bits = [entry[0] for entry in entries]
    values = [entry[1].difference.value * unit for entry in entries]
    errors = [(entry[1].difference.standard_error or 0.0) * unit for entry in entries]
    axes.errorbar(
        bits, values, errors, color=color, marker=marker, markersize=5, linewidth=1.3, capsize=2, label=system
    )
    counted = [entry[1].evaluation.published_bits_per_value or 0.0 for entry in entries]
    if counted != bits:
        axes.plot(counted, values, color=color, marker=marker, markersize=4, linestyle="none", alpha=0.35)


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
