"""The measurements of a benchmark as a plot: speed of all coders in both directions, with their bits."""

from __future__ import annotations

from pathlib import Path

from fmcodec.bench.coders import COPY, PEERS
from fmcodec.bench.measure import BenchResult, Measurement

OWN_COLOR, PEER_COLOR = "#3f74d6", "#8a94a6"
MOST_NAMES = 4


def plot_bench(result: BenchResult, path: str | Path) -> None:
    """Draws encode and decode GB/s of every coder over all maps, bits per value at the bars.

    The format follows from the end of the name: ``.png``, ``.svg``, ``.pdf``. Needs matplotlib.
    """
    from matplotlib.figure import Figure

    totals = result.totals()
    coders = [entry for entry in totals if entry.coder != COPY]
    limits = [entry for entry in totals if entry.coder == COPY]
    figure = Figure(figsize=(10.0, 1.7 + 0.28 * len(coders)), layout="constrained")
    places = range(len(coders))
    colors = [PEER_COLOR if entry.coder in PEERS else OWN_COLOR for entry in coders]
    for axes, direction in zip(figure.subplots(1, 2, sharey=True), ("encode", "decode"), strict=True):
        speeds = [_speed(entry, direction) for entry in coders]
        axes.barh(places, speeds, color=colors, height=0.74, zorder=2)
        for place, speed, entry in zip(places, speeds, coders, strict=True):
            bits = f"{entry.bits_per_value:.2f}"
            axes.annotate(bits, (speed, place), (4, 0), textcoords="offset points", va="center", fontsize=8)
        limit = "".join(f" (copy: {_speed(entry, direction):.0f})" for entry in limits)
        axes.set_xlabel(f"{direction}, GB/s{limit}")
        axes.set_xlim(0, 1.15 * max(speeds))
        axes.set_yticks(places, [entry.label for entry in coders], fontsize=8)
        axes.set_ylim(len(coders) - 0.4, -0.6)
        axes.grid(axis="x", alpha=0.3)
    maps = list(dict.fromkeys(entry.map_name for entry in result.measurements))
    title = ", ".join(maps) if len(maps) <= MOST_NAMES else f"{len(maps)} maps"
    figure.suptitle(f"{title}: {result.provenance['processor']}; bits per value at the bars", fontsize=9)
    figure.savefig(path)


def _speed(entry: Measurement, direction: str) -> float:
    return entry.encode_gb_per_s if direction == "encode" else entry.decode_gb_per_s
