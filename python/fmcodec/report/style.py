"""How plots look: inside a page, whose colors and font they take, and in files of their own."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

# Draws a figure of matplotlib, for a phone if it is to be narrow.
Draw = Callable[[bool], Any]

# Inches at 72 pixels; the page scales plots down to its width, so these set the size of text relative to it.
WIDE = 11.0
NARROW = 4.9


class Colors(NamedTuple):
    """Colors of text and lines, of the grid, and behind the plot."""

    ink: str
    faint: str
    paper: str


# Matplotlib needs colors it knows. These two stand for variables of the page and occur nowhere else.
PAGE = Colors("#010203", "#030201", "none")
VARIABLES = {PAGE.ink: "var(--ink)", PAGE.faint: "var(--faint)"}
FILE = Colors("#1c2430", "#d8dde5", "#ffffff")


class PagePlot(NamedTuple):
    """SVG text of a plot at both widths."""

    wide: str
    narrow: str


def page_plot(name: str, draw: Draw) -> PagePlot:
    """A plot for use inside HTML; ``name`` keeps the ids of several plots on a page apart."""
    return PagePlot(_svg(draw, is_narrow=False, name=f"{name}-wide"), _svg(draw, is_narrow=True, name=f"{name}-narrow"))


def save_plot(draw: Draw, path: str | Path) -> None:
    """Draws the wide plot to a file, whose format follows from the end of its name: ``.png``, ``.svg``, ``.pdf``."""
    import matplotlib

    with _style(FILE), matplotlib.rc_context({"svg.hashsalt": Path(path).stem}):
        # The date would make files of equal plots differ.
        metadata = {"CreationDate" if Path(path).suffix == ".pdf" else "Date": None}
        draw(False).savefig(path, dpi=150, metadata=None if Path(path).suffix == ".png" else metadata)


def ink() -> str:
    """The color of text in the plot that is being drawn."""
    import matplotlib

    return str(matplotlib.rcParams["text.color"])


@contextmanager
def _style(colors: Colors) -> Iterator[None]:
    import matplotlib

    settings: Any = {
        "font.size": 10,
        "text.color": colors.ink,
        "axes.labelcolor": colors.ink,
        "axes.edgecolor": colors.faint,
        "axes.facecolor": "none",
        "axes.axisbelow": True,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "xtick.color": colors.ink,
        "ytick.color": colors.ink,
        "xtick.major.size": 0,
        "ytick.major.size": 0,
        "xtick.minor.size": 0,
        "ytick.minor.size": 0,
        "grid.color": colors.faint,
        "grid.linewidth": 0.6,
        "figure.facecolor": colors.paper,
        "legend.frameon": False,
    }
    with matplotlib.rc_context(settings):
        yield


def _svg(draw: Draw, *, is_narrow: bool, name: str) -> str:
    import matplotlib

    content = io.StringIO()
    # Text as text: it takes the font of the page, can be searched, and is smaller than outlines.
    with _style(PAGE), matplotlib.rc_context({"svg.hashsalt": name, "svg.fonttype": "none"}):
        draw(is_narrow).savefig(content, format="svg", metadata={"Date": None})
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
