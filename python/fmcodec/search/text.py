"""A frontier as a table."""

from __future__ import annotations

from fmcodec.evaluation.text import markdown_table, number_text
from fmcodec.search.frontier import Frontier, FrontierPoint

CLASS_COLUMNS = ("divergence", "drop, points", "same answer")
IMAGE_COLUMNS = ("PSNR, dB", "SSIM", "UQI", "target, dB")
# Left out where there is room for the rest only.
MINOR_COLUMNS = ("predicted", "same answer", "UQI", "bases")


def frontier_columns(frontier: Frontier) -> tuple[str, ...]:
    """Titles: of classifiers what happens to the answers, of other networks the likeness of outputs.

    PSNR, SSIM and UQI are against the uncompressed output; the last is the change of that
    against the target.
    """
    answers = CLASS_COLUMNS if _is_classifier(frontier.points[0]) else IMAGE_COLUMNS
    return ("policy", "bits/value", "predicted", *answers, "peak map", "bases", "")


def frontier_rows(frontier: Frontier) -> list[tuple[str, ...]]:
    """One row for each point, by rising bits, with the columns of `frontier_columns`."""
    return [_row(point) for point in frontier.points]


def frontier_table(frontier: Frontier) -> str:
    """The table as Markdown."""
    return markdown_table(frontier_columns(frontier), frontier_rows(frontier))


def _row(point: FrontierPoint) -> tuple[str, ...]:
    return (
        point.policy.removesuffix(".json"),
        f"{point.bits_per_value:.3f}",
        f"{point.predicted_bits_per_value:.3f}",
        *(_answers(point) if _is_classifier(point) else _likeness(point)),
        f"{point.peak_bits / 8e3:.1f} kB",
        f"{point.parameter_bytes / 1e6:.2f} MB",
        "best" if point.is_best else "",
    )


def _is_classifier(point: FrontierPoint) -> bool:
    return point.divergence is not None


def _answers(point: FrontierPoint) -> tuple[str, ...]:
    return (
        number_text(point.divergence, ".4f"),
        _change(point.drop, point.drop_error),
        "-" if point.agreement is None else f"{point.agreement:.1f} %",
    )


def _likeness(point: FrontierPoint) -> tuple[str, ...]:
    return (
        number_text(point.output_psnr_db, ".2f"),
        number_text(point.output_ssim, ".4f"),
        number_text(point.output_uqi, ".4f"),
        _change(point.target_psnr_difference_db, point.target_psnr_difference_error),
    )


def _change(value: float | None, error: float | None) -> str:
    if value is None:
        return "-"
    return f"{value + 0.0:+.2f}" + ("" if error is None else f" +- {error:.2f}")
