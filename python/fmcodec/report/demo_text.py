"""A demo run in words: the same sentences on the terminal and on its page."""

from __future__ import annotations

import math

from fmcodec.report.result import AccuracyResult, DemoResult


def db(value: float) -> str:
    """A ratio in dB, or that there is no error."""
    return f"{value:.1f}" if math.isfinite(value) else "exact"


def tiles(result: DemoResult) -> list[tuple[str, str, str]]:
    """Figure, unit and explanation of the most important totals."""
    accuracy = result.accuracy
    answers = (
        ("Top-1 agreement", f"{result.agreeing} / {result.image_count}", "answers as without coding")
        if accuracy is None
        else (
            "Top-1 accuracy",
            f"{accuracy.correct_coded / accuracy.images:.1%}",
            f"{accuracy.difference * 100:+.2f} points, standard error {accuracy.standard_error * 100:.2f}",
        )
    )
    return [
        (
            "Bits per value",
            f"{result.bits_per_value:.2f}",
            f"of whole streams; bases of KLTs, {result.basis_bytes / 1e6:.2f} MB, apart",
        ),
        ("Ratio to 8 bits", f"{result.ratio:.2f}", f"{result.mean_layer_ratio:.2f} as the mean of layers"),
        answers,
        ("DRAM energy saved", f"{result.dram_saving:.1%}", f"against 8 bits, on {result.dram_part}"),
        (
            "Throughput, GB/s",
            f"{result.encode_gb_per_s:.2f} / {result.decode_gb_per_s:.2f}",
            f"encode / decode, float32, {_threads(result.threads)}",
        ),
    ]


def totals(result: DemoResult) -> list[tuple[str, str]]:
    """Label and sentence of each total, in the order of importance."""
    sections = ", ".join(f"{name} {share:.2%}" for name, share in result.section_shares.items())
    layers = len(result.layers)
    rows = [
        ("Bits per value", f"{result.bits_per_value:.3f} in whole streams ({sections})"),
        (
            "Bases of KLTs",
            f"{result.basis_bytes / 1e6:.2f} MB in the policy, loaded once like weights; not in the bits per value",
        ),
        (
            "Ratio to 8 bits",
            f"{result.ratio:.2f} over all traffic, {result.mean_layer_ratio:.2f} as the mean of {layers} layers",
        ),
        (
            "Top-1 agreement",
            f"{result.agreeing} / {result.image_count} answers as without coding"
            f" (which are given a probability of {result.mean_confidence:.0%} on average)",
        ),
    ]
    if result.accuracy is not None:
        rows.append(("Top-1 accuracy", accuracy_text(result.accuracy)))
    return [
        *rows,
        (
            "DRAM energy saved",
            f"{result.dram_saving:.1%}: {result.dram_joules * 1e3:.2f} instead of"
            f" {result.baseline_dram_joules * 1e3:.2f} mJ per image, each map written and read once, on"
            f" {result.dram_part} (currents of the data sheet, which are maxima)",
        ),
        (
            "Published formula",
            f"{result.fmtc2019_saving:.1%}: {result.fmtc2019_joules * 1e3:.2f} instead of"
            f" {result.baseline_fmtc2019_joules * 1e3:.2f} mJ (mode fmtc2019: trust the ratio, not the joules)",
        ),
        (
            "Throughput",
            f"encode {result.encode_gb_per_s:.2f} GB/s, decode {result.decode_gb_per_s:.2f} GB/s of float32,"
            f" {_threads(result.threads)}, {result.machine}",
        ),
        (
            "Simulation",
            "equals the codec bit for bit (logits of one batch)"
            if result.is_simulation_equal
            else "DIFFERS from the codec on one batch",
        ),
        ("Images", f"{result.images}; {result.batch_size} per stream"),
        ("Calibration", f"{result.calibration}; {result.step_rule}"),
        ("Whole run", f"{result.seconds:.1f} s, fmcodec {result.version}"),
    ]


def accuracy_text(accuracy: AccuracyResult) -> str:
    """Both accuracies and their paired difference."""
    coded, uncoded = accuracy.correct_coded / accuracy.images, accuracy.correct_uncoded / accuracy.images
    return (
        f"{coded:.2%} coded, {uncoded:.2%} uncoded: {accuracy.difference * 100:+.2f} points,"
        f" standard error {accuracy.standard_error * 100:.2f}"
        f" ({accuracy.lost} lost and {accuracy.gained} gained of {accuracy.images})"
    )


def _threads(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"
