"""A report in words: its most important figures, what they were measured on, and the policy as a file."""

from __future__ import annotations

from typing import Any

import msgspec

from fmcodec.evaluation import Estimate
from fmcodec.policy import Policy
from fmcodec.report.frontier_plot import POLICY
from fmcodec.report.report import Report
from fmcodec.systems.comparison import Comparison

# Longer arrays of a policy, and longer strings of encoded bytes, are told by their length.
LONGEST_ARRAY = 8
LONGEST_STRING = 64


def report_tiles(report: Report) -> list[tuple[str, str, str]]:
    """Figure, unit and explanation of the most important totals of the evaluation."""
    evaluation = report.evaluation
    if evaluation is None or report.cost is None:
        return []
    return [
        (
            "Bits per value",
            f"{evaluation.bits_per_value or 0.0:.3f}",
            f"of whole streams; parameters, {evaluation.parameter_bytes / 1e6:.2f} MB, apart",
        ),
        (
            "Ratio to 8 bits",
            f"{evaluation.ratio or 0.0:.2f}",
            f"{evaluation.mean_layer_ratio or 0.0:.2f} as the mean of layers",
        ),
        *_answer_tiles(report),
        (
            "DRAM energy saved",
            f"{1 - report.cost.ratio(POLICY):.1%}",
            f"against 8 bits, on {report.cost.part}",
        ),
    ]


def _answer_tiles(report: Report) -> list[tuple[str, str, str]]:
    assert report.evaluation is not None
    coded, found = report.evaluation.coded, []
    if coded.top1 is not None and coded.top1_difference is not None:
        note = f"points against uncompressed{_error(coded.top1_difference, 100.0, 2)}"
        found.append(("Top-1 accuracy", f"{coded.top1.value:.1%}", f"{100 * coded.top1_difference.value:+.2f} {note}"))
    elif coded.agreement is not None:
        found.append(("Same answers", f"{coded.agreement.value:.1%}", "as the uncompressed network"))
    if coded.kl_nats is not None:
        found.append(
            ("Divergence", f"{coded.kl_nats.value:.4f}", f"nats of the answers{_error(coded.kl_nats, 1.0, 4)}")
        )
    if coded.output_psnr_db is not None:
        found.append(("PSNR, dB", f"{coded.output_psnr_db.value:.2f}", "against the uncompressed output"))
    if coded.output_ssim is not None and coded.output_uqi is not None:
        note = f"against the uncompressed output; UQI {coded.output_uqi.value:.4f}"
        found.append(("SSIM", f"{coded.output_ssim.value:.4f}", note))
    if coded.target_psnr_db is not None:
        found.append(("PSNR, dB", f"{coded.target_psnr_db.value:.2f}", "against the target"))
    return found


def _error(estimate: Estimate, unit: float, digits: int) -> str:
    if estimate.standard_error is None:
        return ""
    return f", standard error {unit * estimate.standard_error:.{digits}f}"


def introduction(report: Report) -> str:
    """What the page is about."""
    parts = []
    if report.evaluation is not None:
        parts.append(
            f"{len(report.evaluation.layers)} feature maps of {report.evaluation.images} images of "
            f"{report.evaluation.samples} were encoded to streams and decoded again while the network ran, "
            f"{report.evaluation.batch_size} images in a stream."
        )
        if report.evaluation.weight_bits is not None:
            parts.append(f"Its weights were quantized to {report.evaluation.weight_bits} bits as well.")
    if report.comparison is not None:
        count = len({point.system for point in report.comparison.points})
        parts.append(f"{count} {'system was' if count == 1 else 'systems were'} run on the same network.")
    if report.frontier is not None:
        count = len(report.frontier.points)
        parts.append(f"A search proposed {count} {'policy' if count == 1 else 'policies'}.")
    if not parts:
        parts.append("A policy, not yet measured.")
    else:
        parts.append(
            "Every number on this page was measured, or worked out by the energy model from measured bits, unless it is"
            " said to be published."
        )
    return " ".join(parts)


def accuracy_sources(report: Report) -> str:
    """On which images the lines of the frontier were measured."""
    parts = []
    if report.frontier is not None:
        parts.append(f"Policies of the search: {report.frontier.images} held-out images.")
    if report.comparison is not None:
        first = report.comparison.points[0].evaluation
        parts.append(
            f"Compared systems: {first.images} images of {first.samples},"
            f" calibrated on {report.comparison.calibration}."
            " A pale mark beside a point is the same point as the authors of the system count its bits."
        )
    if report.evaluation is not None:
        parts.append(f"The policy of this page: {report.evaluation.images} images of {report.evaluation.samples}.")
    return " ".join(parts)


def measure(report: Report) -> str:
    """What the column of differences has."""
    if not report.points:
        return ""
    return Comparison(network="", calibration="", points=report.points, provenance={}).measure


def runs(report: Report) -> list[tuple[str, list[tuple[str, str]]]]:
    """Command, versions and seeds of each result."""
    results = (
        ("Evaluation", report.evaluation),
        ("Comparison", report.comparison),
        ("Search", report.frontier),
    )
    return [(title, list(item.provenance.items())) for title, item in results if item is not None]


def policy_text(policy: Policy) -> str:
    """The policy as its JSON file, with long arrays and byte strings told by their length."""
    return msgspec.json.format(msgspec.json.encode(_shortened(msgspec.to_builtins(policy))), indent=2).decode()


def _shortened(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _shortened(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return f"{len(value)} entries" if len(value) > LONGEST_ARRAY else [_shortened(entry) for entry in value]
    if isinstance(value, str) and len(value) > LONGEST_STRING and " " not in value:
        return f"{len(value)} characters"
    return value
