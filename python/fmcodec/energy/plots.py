"""Plots of energy: stacked bars of every layer, and joules against accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from fmcodec.energy.network import BASELINE, LayerCost, NetworkCost, SystemCost

# Terms in the order of the stack, and what they gather.
COLORS = {
    "read and write": "#3f74d6",
    "rows and VPP": "#e0a02c",
    "standby and refresh": "#8a94a6",
    "pins": "#58a58c",
    "codec": "#9457c4",
    "stall": "#c9584c",
}
STALL = "stall"


class FrontierPoint(NamedTuple):
    """A network with one way to store its maps: its energy for one image, and its accuracy from 0 to 1."""

    system: str
    joules: float
    accuracy: float


def layer_terms(layer: LayerCost) -> dict[str, float]:
    """Joules of a layer by the terms of the plot."""
    energy = layer.dram.energy
    return {
        "read and write": energy.read + energy.write,
        "rows and VPP": energy.activate + energy.pump,
        "standby and refresh": energy.active_standby + energy.idle_standby + energy.power_down + energy.refresh,
        "pins": energy.read_io + energy.write_io,
        "codec": layer.codec_joules,
        STALL: layer.stall_joules,
    }


def plot_layers(cost: NetworkCost, path: str | Path, system: str | None = None) -> None:
    """Draws the energy of every layer by term: at 8 bits on the left of each pair, as stored by a system on the right.

    Where there is static power, a second panel shows the rest, which it would hide. ``system`` is the first one beside
    that of 8 bits unless it is named. The format follows from the end of the name: ``.png``, ``.svg``, ``.pdf``. Needs
    matplotlib.
    """
    from matplotlib.figure import Figure

    names = [item.name for item in cost.systems if item.name != BASELINE]
    chosen = system or (names[0] if names else BASELINE)
    pair = [cost[BASELINE]] if chosen == BASELINE else [cost[BASELINE], cost[chosen]]
    count = len(pair[0].layers)
    terms = [term for term in COLORS if any(layer_terms(layer)[term] for item in pair for layer in item.layers)]
    panels = [terms, [term for term in terms if term != STALL]] if STALL in terms else [terms]
    size = min(max(6.5, 2.0 + 0.36 * count), 20.0), 3.6 * len(panels) + 1.0
    figure = Figure(figsize=size, layout="constrained")
    all_axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    for axes, shown in zip(all_axes, panels, strict=True):
        for number, item in enumerate(pair):
            _stack(axes, item, shown, 0.8 / len(pair), number, is_pale=number + 1 < len(pair))
        axes.set_ylim(top=1.06 * axes.dataLim.y1)
        axes.set_ylabel("energy of a layer, uJ" if shown == terms else "without stall, uJ")
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", alpha=0.3)
        axes.set_axisbelow(True)
        # From top to bottom as the stack is.
        handles, labels = axes.get_legend_handles_labels()
        axes.legend(handles[::-1], labels[::-1], frameon=False)
    all_axes[0].set_title(_title(cost, pair), fontsize=10, loc="left")
    all_axes[-1].set_xticks(range(count), [layer.name for layer in pair[0].layers], rotation=90 if count > 8 else 0)
    all_axes[-1].set_xlim(-0.6, count - 0.4)
    figure.savefig(path)


def _stack(axes: Any, system: SystemCost, terms: Sequence[str], width: float, number: int, *, is_pale: bool) -> None:
    """The bars of one system, at its place in each pair."""
    count = len(system.layers)
    left = -width / 2 if is_pale else width / 2 if number else 0.0
    bottom = [0.0] * count
    for term in terms:
        values = [layer_terms(layer)[term] * 1e6 for layer in system.layers]
        axes.bar(
            [place + left for place in range(count)],
            values,
            0.92 * width,
            bottom=bottom,
            color=COLORS[term],
            alpha=0.45 if is_pale else 1.0,
            label=None if is_pale else term,
        )
        bottom = [below + value for below, value in zip(bottom, values, strict=True)]


def _title(cost: NetworkCost, pairs: Sequence[SystemCost]) -> str:
    totals = ", ".join(f"{item.name} {item.joules * 1e3:.3g} mJ" for item in pairs)
    sides = f"; left and pale: {BASELINE}, right: {pairs[1].name}" if len(pairs) > 1 else ""
    return f"{cost.part}: {totals}{sides}"


def plot_frontier(points: Sequence[FrontierPoint], path: str | Path, title: str) -> None:
    """Draws joules against accuracy, a line for each system, and which points no other one beats in both.

    The format follows from the end of the name. Needs matplotlib.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.5, 4.5), layout="constrained")
    axes = figure.add_subplot()
    for system in dict.fromkeys(point.system for point in points):
        line = sorted((point.joules * 1e3, 100 * point.accuracy) for point in points if point.system == system)
        style = "o-" if len(line) > 1 else "D"
        axes.plot(*zip(*line, strict=True), style, markersize=4.5, linewidth=1.4, label=system)
    best = sorted((point.joules * 1e3, 100 * point.accuracy) for point in frontier(points))
    axes.plot(*zip(*best, strict=True), color="black", linestyle=":", linewidth=1.2, label="not beaten", zorder=1)
    axes.set_xlabel("energy of one image, mJ")
    axes.set_ylabel("accuracy, %")
    axes.set_title(title, fontsize=10, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlim(left=0)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, loc="best")
    figure.savefig(path)


def frontier(points: Sequence[FrontierPoint]) -> list[FrontierPoint]:
    """The points for which no other one has as little energy and as much accuracy."""

    def is_beaten(point: FrontierPoint) -> bool:
        return any(
            other.joules <= point.joules and other.accuracy >= point.accuracy and other[1:] != point[1:]
            for other in points
        )

    return [point for point in points if not is_beaten(point)]
