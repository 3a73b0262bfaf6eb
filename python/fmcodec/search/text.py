"""A frontier as a table."""

from __future__ import annotations

from fmcodec.evaluation.text import markdown_table
from fmcodec.search.frontier import Frontier, FrontierPoint

COLUMNS = ("policy", "bits/value", "predicted", "divergence", "drop, points", "same answer", "peak map", "bases", "")


def frontier_rows(frontier: Frontier) -> list[tuple[str, ...]]:
    """One row for each point, by rising bits, with the columns of `COLUMNS`."""
    return [_row(point) for point in frontier.points]


def _row(point: FrontierPoint) -> tuple[str, ...]:
    is_classifier = point.divergence is not None
    divergence = f"{point.divergence:.4f}" if is_classifier else f"{point.output_psnr_db:.2f} dB"
    drop = "-" if point.drop is None else f"{point.drop + 0.0:+.2f}" + _plus_minus(point.drop_error)
    return (
        point.policy.removesuffix(".json"),
        f"{point.bits_per_value:.3f}",
        f"{point.predicted_bits_per_value:.3f}",
        divergence,
        drop,
        "-" if point.agreement is None else f"{point.agreement:.1f} %",
        f"{point.peak_bits / 8e3:.1f} kB",
        f"{point.parameter_bytes / 1e6:.2f} MB",
        "best" if point.is_best else "",
    )


def _plus_minus(error: float | None) -> str:
    return "" if error is None else f" +- {error:.2f}"


def frontier_table(frontier: Frontier) -> str:
    """The table as Markdown."""
    return markdown_table(COLUMNS, frontier_rows(frontier))
