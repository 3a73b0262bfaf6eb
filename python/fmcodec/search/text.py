"""A frontier as a table and as a plot."""

from __future__ import annotations

from pathlib import Path

from fmcodec.search.frontier import Frontier, FrontierPoint

COLUMNS = ("policy", "bits/value", "predicted", "divergence", "drop, points", "same answer", "peak map", "bases", "")


def frontier_rows(frontier: Frontier) -> list[tuple[str, ...]]:
    """One row for each point, by rising bits, with the columns of `COLUMNS`."""
    return [_row(point) for point in frontier.points]


def _row(point: FrontierPoint) -> tuple[str, ...]:
    is_classifier = point.divergence is not None
    divergence = f"{point.divergence:.4f}" if is_classifier else f"{point.output_psnr_db:.2f} dB"
    drop = "-" if point.drop is None else f"{point.drop:+.2f}" + _plus_minus(point.drop_error)
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
    lines = [COLUMNS, tuple("---" for _ in COLUMNS), *frontier_rows(frontier)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def plot_frontier(frontier: Frontier, path: str | Path) -> None:
    """Draws divergence (or PSNR) and, with labels, the drop against bits, one line for each strategy. Needs matplotlib.

    The format follows from the end of the name: ``.png``, ``.svg``, ``.pdf``. Bars are standard errors.
    """
    from matplotlib.figure import Figure

    has_drops = all(point.drop is not None for point in frontier.points)
    figure = Figure(figsize=(10.0 if has_drops else 6.0, 4.6), layout="constrained")
    all_axes = figure.subplots(1, 2 if has_drops else 1, squeeze=False)[0]
    for index, strategy in enumerate(dict.fromkeys(point.strategy for point in frontier.points)):
        line = [point for point in frontier.points if point.strategy == strategy]
        bits = [point.bits_per_value for point in line]
        style = {"color": f"C{index}", "marker": "o", "markersize": 3.5, "linewidth": 1.2, "label": strategy}
        all_axes[0].plot(bits, [abs(point.loss) for point in line], **style)
        if has_drops:
            drops = [point.drop or 0.0 for point in line]
            all_axes[1].errorbar(bits, drops, [point.drop_error or 0.0 for point in line], capsize=2, **style)
    is_classifier = all(point.divergence is not None for point in frontier.points)
    all_axes[0].set_ylabel("divergence of the output, nats" if is_classifier else "PSNR to the uncompressed output, dB")
    if is_classifier:
        all_axes[0].set_yscale("log")
    if has_drops:
        all_axes[1].set_ylabel("top-1 accuracy lost, points")
        all_axes[1].axhline(0, color="#666666", linewidth=0.8)
    for axes in all_axes:
        axes.set_xlabel("bits per value, whole streams")
        axes.grid(alpha=0.3)
    all_axes[0].legend(frameon=False)
    figure.suptitle(f"{frontier.network}, {frontier.images} images that the search did not learn from")
    figure.savefig(path)
