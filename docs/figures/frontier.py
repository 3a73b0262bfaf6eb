"""Draws frontier.svg: the measured policies of frontier.json, beside the published results of the same network.

python docs/figures/frontier.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fmcodec.report.frontier_plot import ACCURACY, DIVERGENCE, MEASURES, Line, Point, frontier_plot
from fmcodec.report.style import save_plot

FOLDER = Path(__file__).resolve().parent


def measured(points: list[dict[str, Any]]) -> Line:
    """The line of the policies, as the report page draws them."""
    lines: dict[str, list[Point]] = {name: [] for name in MEASURES}
    for point in points:
        bits = point["bits_per_value"]
        lines[ACCURACY].append(Point(bits, point["top1_difference"], point["top1_error"], bits))
        lines[DIVERGENCE].append(Point(bits, point["divergence"], 0.0, bits))
    return Line("fmcodec search", lines)


def main() -> None:
    """Writes the figure beside its data."""
    data = json.loads((FOLDER / "frontier.json").read_text(encoding="ascii"))
    line = measured(data["points"])
    save_plot(lambda is_narrow: frontier_plot([line], data["network"], is_narrow), FOLDER / "frontier.svg")


if __name__ == "__main__":
    main()
