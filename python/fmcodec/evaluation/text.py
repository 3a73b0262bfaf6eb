"""An evaluation on a terminal: a table of layers, and the totals in words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fmcodec.evaluation.metrics import Estimate
from fmcodec.evaluation.result import Answers, Evaluation, LayerEvaluation

ANSWER_TITLES = {
    "top1": ("top-1", True),
    "top5": ("top-5", True),
    "top1_difference": ("top-1 less uncompressed", True),
    "top5_difference": ("top-5 less uncompressed", True),
    "agreement": ("same class as uncompressed", True),
    "kl_nats": ("divergence from uncompressed, nats", False),
    "target_psnr_db": ("PSNR against the target, dB", False),
    "target_psnr_difference_db": ("PSNR against the target less uncompressed, dB", False),
    "target_ssim": ("SSIM against the target", False),
    "target_uqi": ("UQI against the target", False),
    "output_psnr_db": ("PSNR against uncompressed, dB", False),
    "output_ssim": ("SSIM against uncompressed", False),
    "output_uqi": ("UQI against uncompressed", False),
}


def layer_rows(evaluation: Evaluation) -> list[tuple[str, ...]]:
    """Name, C x H x W, activation before coding, bits per value, ratio to 8 bits, dB, zeros and share of values."""
    values = evaluation.values
    return [
        (
            layer.name,
            "x".join(map(str, layer.shape)),
            layer.activation,
            *_rate(layer),
            "exact" if layer.snr_db is None else f"{layer.snr_db:.1f}",
            f"{layer.zero_share:.1%}",
            f"{layer.values / values:.1%}",
        )
        for layer in evaluation.layers
    ]


LAYER_COLUMNS = ("layer", "C x H x W", "after", "bits", "ratio", "dB", "zeros", "share")


def summary(evaluation: Evaluation) -> list[tuple[str, str]]:
    """Label and value of all totals, the most important first."""
    rows = [("images", f"{evaluation.images} of {evaluation.samples}, {evaluation.batch_size} per stream")]
    if evaluation.bits_per_value is not None:
        rows.append(("bits per value", f"{evaluation.bits_per_value:.3f} of whole streams"))
        if evaluation.published_bits_per_value != evaluation.bits_per_value:
            rows.append(("as its authors count", f"{evaluation.published_bits_per_value or 0.0:.3f}"))
        rows.append(
            (
                "ratio to 8 bits",
                f"{evaluation.ratio or 0.0:.2f} over all, {evaluation.mean_layer_ratio or 0.0:.2f} mean of layers",
            )
        )
    worst, peak = evaluation.worst_layer, evaluation.peak_layer
    if worst is not None and peak is not None:
        rows.append(("worst layer", f"{worst.name}, {worst.bits_per_value or 0.0:.3f} bits per value"))
        rows.append(("largest stored map", f"{peak.name}, {(peak.peak_bits or 0.0) / 1e3:.1f} kbit for one image"))
    rows.append(
        (
            "parameters",
            f"{evaluation.parameter_bytes / 1e6:.3f} MB of specs, bases and tables, not in streams:"
            f" {evaluation.parameter_bits_per_value:.4f} bits per value of these images",
        )
    )
    for title, answers in _variants(evaluation):
        rows += [(f"{title}: {label}", text) for label, text in _answers(answers)]
    return rows


def _rate(layer: LayerEvaluation) -> tuple[str, str]:
    if layer.bits_per_value is None or layer.ratio is None:
        return "-", "-"
    return f"{layer.bits_per_value:.2f}", f"{layer.ratio:.1f}"


def _variants(evaluation: Evaluation) -> list[tuple[str, Answers]]:
    variants = [("uncompressed", evaluation.uncompressed)]
    if evaluation.quantized is not None:
        variants.append((f"{evaluation.weight_bits}-bit weights", evaluation.quantized))
    return [*variants, ("coded", evaluation.coded)]


def _answers(answers: Answers) -> list[tuple[str, str]]:
    rows = []
    for name, (title, is_share) in ANSWER_TITLES.items():
        estimate: Estimate | None = getattr(answers, name)
        if estimate is not None:
            rows.append((title, _estimate(estimate, 100.0 if is_share else 1.0)))
    return rows


def _estimate(estimate: Estimate, unit: float) -> str:
    digits, sign = (2, " %") if unit == 100.0 else (4, "")
    text = f"{estimate.value * unit:.{digits}f}{sign}"
    if estimate.standard_error is None or estimate.low is None or estimate.high is None:
        return text
    return (
        f"{text}, standard error {estimate.standard_error * unit:.{digits}f}, "
        f"95 %: {estimate.low * unit:.{digits}f} to {estimate.high * unit:.{digits}f}"
    )


def number_text(value: float | None, form: str) -> str:
    """A number in a cell; what is not known is a dash."""
    return "-" if value is None else format(value, form)


def markdown_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Rows of cells as Markdown."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)
