"""The plots of a report by name, for the page and as files."""

from __future__ import annotations

from pathlib import Path

from fmcodec.report.energy_plot import system_energy_plot
from fmcodec.report.frontier_plot import frontier_plot
from fmcodec.report.layer_plots import bits_plot, energy_plot, sections_plot, snr_plot
from fmcodec.report.report import Report
from fmcodec.report.style import Draw, save_plot


def report_plots(report: Report) -> dict[str, Draw]:
    """What draws each plot for which there are numbers."""
    plots: dict[str, Draw] = {}
    layers, cost, lines, evaluation = report.layers, report.cost, report.lines, report.evaluation
    if any(points for line in lines for points in line.points.values()):
        plots["frontier"] = lambda is_narrow: frontier_plot(lines, report.network, is_narrow)
    if layers and evaluation is not None:
        bits = evaluation.bits_per_value or 0.0
        plots["bits"] = lambda is_narrow: bits_plot(layers, bits, is_narrow)
        plots["snr"] = lambda is_narrow: snr_plot(layers, is_narrow)
        plots["layer_energy"] = lambda is_narrow: energy_plot(layers, is_narrow)
        plots["sections"] = lambda is_narrow: sections_plot(layers, is_narrow)
    if cost is not None:
        plots["energy"] = lambda is_narrow: system_energy_plot(cost, is_narrow)
    return plots


def save_frontier(report: Report, path: str | Path) -> None:
    """Draws the frontier alone to a file, whose format follows from the end of its name."""
    save_plot(lambda is_narrow: frontier_plot(report.lines, report.network, is_narrow), path)
