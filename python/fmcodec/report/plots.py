"""The plots of the report page as SVG text that follows the colors and the font of the page around it."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from fmcodec.report.result import DemoResult, LayerResult

# Matplotlib needs colors it knows. These two stand for variables of the page and occur nowhere else.
INK = "#010203"
FAINT = "#030201"
VARIABLES = {INK: "var(--ink)", FAINT: "var(--faint)"}

COLORS = {"after": "#3f74d6", "before": "#9457c4", "none": "#d98324"}
MEANINGS = {"after": "coded after ReLU6", "before": "coded before ReLU6", "none": "no activation"}
UNCODED = "#8a94a6"
PALE = 0.4

# Inches at 72 pixels; the page scales plots down to its width, so these set the size of text relative to it.
WIDE = (11.0, 5.6)
NARROW = (4.9, 13.0)
BAR_WIDTH = 0.78


def bits_plot(result: DemoResult, *, is_narrow: bool) -> str:
    """Bits per value of every layer above (or beside) its share of the traffic, uncoded and coded."""
    values = [layer.bits_per_value for layer in result.layers]
    shares = [100 * layer.traffic_share for layer in result.layers]
    coded = [share * bits / 8 for share, bits in zip(shares, values, strict=True)]
    colors = _colors(result.layers)

    def draw(upper: Any, lower: Any) -> None:
        _bars(upper, values, colors, is_narrow)
        _reference(upper, 8.0, "8\nuncoded", is_narrow)
        _reference(upper, result.bits_per_value, f"{result.bits_per_value:.2f}\nall maps", is_narrow)
        _label_values(upper, "bits per value", (0, max(8.8, *values)), is_narrow)
        _bars(lower, shares, [UNCODED] * len(shares), is_narrow, alpha=PALE)
        _bars(lower, coded, colors, is_narrow)
        _label_values(lower, "% of traffic at 8 bits", (0, 1.08 * max(shares)), is_narrow)

    return _layer_figure(result, draw, is_narrow)


def snr_plot(result: DemoResult, *, is_narrow: bool) -> str:
    """Signal to error ratio of every layer; layers without error are left out."""
    from matplotlib.figure import Figure

    layers = result.layers
    points = [(index, layer.snr_db) for index, layer in enumerate(layers) if math.isfinite(layer.snr_db)]
    colors = [_colors(layers)[index] for index, _ in points]
    places, values = [index for index, _ in points], [value for _, value in points]
    with _style():
        figure = Figure(figsize=(NARROW[0], 10.5) if is_narrow else (WIDE[0], 3.9), layout="constrained")
        axes = figure.add_subplot()
        (axes.hlines if is_narrow else axes.vlines)(places, 0, values, colors=colors, linewidth=2.2, alpha=0.45)
        axes.scatter(values if is_narrow else places, places if is_narrow else values, c=colors, s=20, zorder=3)
        _label_values(axes, "signal to error ratio, dB", (0, 1.1 * max(values, default=1.0)), is_narrow)
        _label_layers(axes, layers, is_narrow)
        _legend(figure, layers, {}, is_narrow)
        return _svg(figure, f"snr-{is_narrow}")


def energy_plot(result: DemoResult, *, is_narrow: bool) -> str:
    """DRAM energy of every layer for one image, at 8 bits and coded."""
    from matplotlib.figure import Figure

    uncoded = [layer.baseline_dram_joules * 1e6 for layer in result.layers]
    coded = [layer.dram_joules * 1e6 for layer in result.layers]
    with _style():
        figure = Figure(figsize=(NARROW[0], 10.5) if is_narrow else (WIDE[0], 3.9), layout="constrained")
        axes = figure.add_subplot()
        _bars(axes, uncoded, [UNCODED] * len(uncoded), is_narrow, alpha=PALE)
        _bars(axes, coded, _colors(result.layers), is_narrow)
        _label_values(axes, "DRAM energy of one image, uJ", (0, 1.08 * max(*uncoded, *coded)), is_narrow)
        _label_layers(axes, result.layers, is_narrow)
        _legend(figure, result.layers, {"at 8 bits": UNCODED}, is_narrow)
        return _svg(figure, f"energy-{is_narrow}")


def _layer_figure(result: DemoResult, draw: Callable[[Any, Any], None], is_narrow: bool) -> str:
    """Two panels that share the axis of layers."""
    from matplotlib.figure import Figure

    with _style():
        figure = Figure(figsize=NARROW if is_narrow else WIDE, layout="constrained")
        if is_narrow:
            first, second = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
        else:
            first, second = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
        draw(first, second)
        _label_layers(first if is_narrow else second, result.layers, is_narrow)
        _legend(figure, result.layers, {"at 8 bits": UNCODED}, is_narrow)
        return _svg(figure, f"bits-{is_narrow}")


def _bars(axes: Any, values: list[float], colors: list[str], is_narrow: bool, alpha: float = 1.0) -> None:
    places = range(len(values))
    if is_narrow:
        axes.barh(places, values, color=colors, height=BAR_WIDTH, alpha=alpha, zorder=2)
    else:
        axes.bar(places, values, color=colors, width=BAR_WIDTH, alpha=alpha, zorder=2)


def _reference(axes: Any, value: float, text: str, is_narrow: bool) -> None:
    """A dashed line across all layers, with its meaning beyond its end."""
    (axes.axvline if is_narrow else axes.axhline)(value, color=INK, linewidth=1, linestyle=(0, (4, 3)), zorder=3)
    end, offset = ((value, 1), (0, 3)) if is_narrow else ((1, value), (5, 0))
    axes.annotate(
        text,
        end,
        offset,
        xycoords=axes.get_xaxis_transform() if is_narrow else axes.get_yaxis_transform(),
        textcoords="offset points",
        ha="center" if is_narrow else "left",
        va="bottom" if is_narrow else "center",
        color=INK,
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


def _label_layers(axes: Any, layers: tuple[LayerResult, ...], is_narrow: bool) -> None:
    names = [layer.name for layer in layers]
    places = range(len(layers))
    if is_narrow:
        axes.set_yticks(places, names, fontsize=8)
        axes.set_ylim(len(layers) - 0.4, -0.6)
    else:
        axes.set_xticks(places, names, rotation=90, fontsize=7.5)
        axes.set_xlim(-0.8, len(layers) - 0.2)
        axes.set_xlabel("layer, in the order of execution")


def _legend(figure: Any, layers: tuple[LayerResult, ...], others: dict[str, str], is_narrow: bool) -> None:
    """Meaning of the colors that occur, and of ``others`` (drawn pale)."""
    from matplotlib.patches import Patch

    used = [position for position in MEANINGS if any(layer.position == position for layer in layers)]
    patches = [Patch(color=COLORS[position], label=MEANINGS[position]) for position in used]
    patches += [Patch(color=color, alpha=PALE, label=label) for label, color in others.items()]
    columns = 2 if is_narrow else len(patches)
    figure.legend(handles=patches, loc="outside upper left", ncols=columns, frameon=False, columnspacing=1.4)


def _colors(layers: tuple[LayerResult, ...]) -> list[str]:
    return [COLORS[layer.position] for layer in layers]


@contextmanager
def _style() -> Iterator[None]:
    import matplotlib

    settings: Any = {
        # Text as text: it takes the font of the page, can be searched, and is smaller than outlines.
        "svg.fonttype": "none",
        "font.size": 10,
        "text.color": INK,
        "axes.labelcolor": INK,
        "axes.edgecolor": FAINT,
        "axes.facecolor": "none",
        "axes.axisbelow": True,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "xtick.color": INK,
        "ytick.color": INK,
        "xtick.major.size": 0,
        "ytick.major.size": 0,
        "grid.color": FAINT,
        "grid.linewidth": 0.6,
        "figure.facecolor": "none",
    }
    with matplotlib.rc_context(settings):
        yield


def _svg(figure: Any, name: str) -> str:
    """SVG of a figure for use inside HTML; ``name`` keeps the ids of several plots on a page apart."""
    import matplotlib

    content = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": name}):
        figure.savefig(content, format="svg", metadata={"Date": None})
    text = content.getvalue()
    text = text[text.index("<svg") :]
    for color, variable in VARIABLES.items():
        text = text.replace(color, variable)
    # Without width and height in points the plot takes the width its container has.
    text = re.sub(r'<svg ([^>]*?)\bwidth="[^"]*"', r"<svg \1", text, count=1)
    text = re.sub(r'<svg ([^>]*?)\bheight="[^"]*"', r"<svg \1", text, count=1)
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    # Ids of axes and texts are numbered from 1 in every figure.
    text = re.sub(r'(id="|xlink:href="#|url\(#)', rf"\g<1>{name}-", text)
    return re.sub(r"'DejaVu Sans'[^;\"]*", "var(--font)", text)
