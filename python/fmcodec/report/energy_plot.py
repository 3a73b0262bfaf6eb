"""The energy of one image by term, a bar for each way to store the maps of a network."""

from __future__ import annotations

from typing import Any

from fmcodec.energy import NetworkCost
from fmcodec.energy.plots import COLORS, layer_terms
from fmcodec.report.style import NARROW, WIDE


def system_energy_plot(cost: NetworkCost, is_narrow: bool) -> Any:
    """Draws joules by term, stacked, with the ratio to 8 bits at the end of each bar."""
    from matplotlib.figure import Figure

    height = 1.3 + 0.3 * len(cost.systems)
    figure = Figure(figsize=(NARROW if is_narrow else WIDE, height), layout="constrained")
    axes = figure.add_subplot()
    totals = [1e3 * system.joules for system in cost.systems]
    left = [0.0] * len(cost.systems)
    for term, color in COLORS.items():
        values = [1e3 * sum(layer_terms(layer)[term] for layer in system.layers) for system in cost.systems]
        if any(values):
            axes.barh(range(len(values)), values, 0.74, left=left, color=color, label=term, zorder=2)
        left = [start + value for start, value in zip(left, values, strict=True)]
    for place, (system, total) in enumerate(zip(cost.systems, totals, strict=True)):
        axes.annotate(f"{cost.ratio(system.name):.2f}", (total, place), (4, 0), textcoords="offset points", va="center")
    axes.set_yticks(range(len(totals)), [system.name for system in cost.systems])
    axes.set_ylim(len(totals) - 0.4, -0.6)
    axes.set_xlim(0, 1.12 * max(totals))
    axes.set_xlabel("energy of one image, mJ, and its ratio to 8 bits")
    axes.grid(axis="x")
    figure.legend(loc="outside upper left", ncols=2 if is_narrow else len(COLORS), columnspacing=1.4)
    return figure
