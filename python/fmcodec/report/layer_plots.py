"""Plots with one place for each layer: bits and traffic, error, energy of DRAM, side information."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from fmcodec.report.result import LayerResult
from fmcodec.report.style import NARROW, WIDE, ink

# By kind of transform; see `fmcodec.report.layers.transform_kind`.
COLORS = {
    "identity": "#3f74d6",
    "DCT": "#d98324",
    "Hadamard": "#58a58c",
    "KLT": "#9457c4",
    "spatial DCT": "#c9584c",
    "coded": "#3f74d6",
}
SECTION_COLORS = ("#3f74d6", "#e0a02c", "#9457c4", "#58a58c", "#c9584c")
UNCODED = "#8a94a6"
PALE = 0.4
BAR_WIDTH = 0.78
# Fewer layers leave room at both sides instead of having wider bars.
LEAST_PLACES = 10


def bits_plot(layers: Sequence[LayerResult], bits_per_value: float, is_narrow: bool) -> Any:
    """Bits per value of every layer above (or beside) its share of the traffic, uncoded and coded.

    ``bits_per_value`` is that of all maps together.
    """
    values = [layer.bits_per_value for layer in layers]
    shares = [100 * layer.traffic_share for layer in layers]
    coded = [share * bits / 8 for share, bits in zip(shares, values, strict=True)]
    colors = _colors(layers)
    figure = _figure(layers, is_narrow, 5.6)
    if is_narrow:
        upper, lower = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    else:
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    _bars(upper, values, colors, is_narrow)
    _reference(upper, 8.0, "8\nuncoded", is_narrow)
    _reference(upper, bits_per_value, f"{bits_per_value:.2f}\nall maps", is_narrow)
    _label_values(upper, "bits per value", (0, 1.1 * max(8.0, *values)), is_narrow)
    _bars(lower, shares, [UNCODED] * len(shares), is_narrow, alpha=PALE)
    _bars(lower, coded, colors, is_narrow)
    _label_values(lower, "% of traffic at 8 bits", (0, 1.08 * max(*shares, *coded)), is_narrow)
    _label_layers(upper if is_narrow else lower, layers, is_narrow)
    _legend(figure, [*_kind_patches(layers), _patch("at 8 bits", UNCODED, PALE)], is_narrow)
    return figure


def snr_plot(layers: Sequence[LayerResult], is_narrow: bool) -> Any:
    """Signal to error ratio of every layer; layers without error are left out."""
    points = [(index, layer.snr_db) for index, layer in enumerate(layers) if math.isfinite(layer.snr_db)]
    colors = [_colors(layers)[index] for index, _ in points]
    places, values = [index for index, _ in points], [value for _, value in points]
    figure = _figure(layers, is_narrow, 3.9)
    axes = figure.add_subplot()
    (axes.hlines if is_narrow else axes.vlines)(places, 0, values, colors=colors, linewidth=2.2, alpha=0.45)
    axes.scatter(values if is_narrow else places, places if is_narrow else values, c=colors, s=20, zorder=3)
    low = min(0.0, 1.1 * min(values, default=0.0))
    _label_values(axes, "signal to error ratio, dB", (low, 1.1 * max(values, default=1.0)), is_narrow)
    _label_layers(axes, layers, is_narrow)
    _legend(figure, _kind_patches(layers), is_narrow)
    return figure


def energy_plot(layers: Sequence[LayerResult], is_narrow: bool) -> Any:
    """DRAM energy of every layer for one image, at 8 bits and coded."""
    uncoded = [layer.baseline_dram_joules * 1e6 for layer in layers]
    coded = [layer.dram_joules * 1e6 for layer in layers]
    figure = _figure(layers, is_narrow, 3.9)
    axes = figure.add_subplot()
    _bars(axes, uncoded, [UNCODED] * len(uncoded), is_narrow, alpha=PALE)
    _bars(axes, coded, _colors(layers), is_narrow)
    _label_values(axes, "DRAM energy of one image, uJ", (0, 1.08 * max(*uncoded, *coded)), is_narrow)
    _label_layers(axes, layers, is_narrow)
    _legend(figure, [*_kind_patches(layers), _patch("at 8 bits", UNCODED, PALE)], is_narrow)
    return figure


def sections_plot(layers: Sequence[LayerResult], is_narrow: bool) -> Any:
    """All sections of the streams of every layer but the payload, stacked, as shares of the stream."""
    names = [name for name in dict.fromkeys(name for layer in layers for name in layer.section_bits) if name != PAYLOAD]
    shares = {name: [100 * layer.section_share(name) for layer in layers] for name in names}
    used = [name for name in names if any(shares[name])]
    figure = _figure(layers, is_narrow, 3.9)
    axes = figure.add_subplot()
    bottom = [0.0] * len(layers)
    patches = []
    for index, name in enumerate(used):
        color = SECTION_COLORS[index % len(SECTION_COLORS)]
        _bars(axes, shares[name], [color] * len(layers), is_narrow, bottom=bottom)
        bottom = [below + share for below, share in zip(bottom, shares[name], strict=True)]
        patches.append(_patch(name, color))
    _label_values(axes, "% of the stream", (0, 1.08 * max(*bottom, 0.1)), is_narrow)
    _label_layers(axes, layers, is_narrow)
    _legend(figure, patches, is_narrow)
    return figure


PAYLOAD = "payload"


def _figure(layers: Sequence[LayerResult], is_narrow: bool, height: float) -> Any:
    """A figure of the height for names under the plot, or of one line for each layer."""
    from matplotlib.figure import Figure

    return Figure(figsize=(NARROW, 1.4 + 0.23 * len(layers)) if is_narrow else (WIDE, height), layout="constrained")


def _bars(
    axes: Any,
    values: Sequence[float],
    colors: Sequence[str],
    is_narrow: bool,
    alpha: float = 1.0,
    bottom: Sequence[float] | None = None,
) -> None:
    places = range(len(values))
    if is_narrow:
        axes.barh(places, values, color=colors, height=BAR_WIDTH, alpha=alpha, left=bottom, zorder=2)
    else:
        axes.bar(places, values, color=colors, width=BAR_WIDTH, alpha=alpha, bottom=bottom, zorder=2)


def _reference(axes: Any, value: float, text: str, is_narrow: bool) -> None:
    """A dashed line across all layers, with its meaning beyond its end."""
    (axes.axvline if is_narrow else axes.axhline)(value, color=ink(), linewidth=1, linestyle=(0, (4, 3)), zorder=3)
    end, offset = ((value, 1), (0, 3)) if is_narrow else ((1, value), (5, 0))
    axes.annotate(
        text,
        end,
        offset,
        xycoords=axes.get_xaxis_transform() if is_narrow else axes.get_yaxis_transform(),
        textcoords="offset points",
        ha="center" if is_narrow else "left",
        va="bottom" if is_narrow else "center",
    )


def _label_values(axes: Any, text: str, limits: tuple[float, float], is_narrow: bool) -> None:
    if is_narrow:
        axes.set_xlim(*limits)
        axes.set_xlabel(text)
        axes.grid(axis="x")
    else:
        axes.set_ylim(*limits)
        axes.set_ylabel(text)
        axes.grid(axis="y")


def _label_layers(axes: Any, layers: Sequence[LayerResult], is_narrow: bool) -> None:
    names = [layer.name for layer in layers]
    places = range(len(layers))
    if is_narrow:
        axes.set_yticks(places, names, fontsize=8)
        axes.set_ylim(len(layers) - 0.4, -0.6)
    else:
        room = max(0.0, (LEAST_PLACES - len(layers)) / 2)
        axes.set_xticks(places, names, rotation=90 if len(layers) > LEAST_PLACES else 0, fontsize=7.5)
        axes.set_xlim(-0.8 - room, len(layers) - 0.2 + room)
        axes.set_xlabel("layer, in the order of execution")


def _kind_patches(layers: Sequence[LayerResult]) -> list[Any]:
    """Meaning of the colors that occur."""
    return [_patch(kind, color) for kind, color in COLORS.items() if any(layer.kind == kind for layer in layers)]


def _patch(label: str, color: str, alpha: float = 1.0) -> Any:
    from matplotlib.patches import Patch

    return Patch(color=color, alpha=alpha, label=label)


def _legend(figure: Any, patches: Sequence[Any], is_narrow: bool) -> None:
    columns = min(3, len(patches)) if is_narrow else len(patches)
    if patches:
        figure.legend(handles=patches, loc="outside upper left", ncols=columns, columnspacing=1.4)


def _colors(layers: Sequence[LayerResult]) -> list[str]:
    return [COLORS[layer.kind] for layer in layers]
