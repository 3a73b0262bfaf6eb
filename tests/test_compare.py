"""The comparison of transforms on one map, and its command."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from fmcodec.cli import main
from fmcodec.compare import TransformPoint, compare_transforms, plot_transforms, transform_table

SIZES = ("4", "4*", "8", "8*", "16", "16*", "32", "32*")
NAMES = ["identity", *(f"dct{size}" for size in SIZES), *(f"hadamard{size}" for size in SIZES)]


def mixed_map(channels: int = 24, sources: int = 3) -> Any:
    """A map whose channels are combinations of a few sources."""
    rng = np.random.default_rng(7)
    x = np.tensordot(rng.normal(size=(channels, sources)), rng.normal(size=(sources, 20, 22)), axes=1)
    return x.astype(np.float32)


def test_every_transform_at_every_step() -> None:
    points = compare_transforms(mixed_map(), relative_steps=(0.1, 0.3))
    by_step = [[point.transform for point in points if point.relative_step == step] for step in (0.1, 0.3)]
    assert by_step[0] == by_step[1] == [*NAMES, "klt (3)"]
    for point in points:
        # Rounding to a step of r times the RMS: an error of r^2 / 12, or less where coefficients become 0.
        assert point.snr_db > 10 * math.log10(12 / point.relative_step**2) - 0.7


def test_klt_finds_the_sources() -> None:
    points = {point.transform: point for point in compare_transforms(mixed_map(), relative_steps=(0.1,))}
    assert points["klt (3)"].is_best
    assert points["klt (3)"].bits_per_value < 0.3 * points["identity"].bits_per_value
    assert points["klt (3)"].snr_db > points["identity"].snr_db
    assert [name for name, point in points.items() if point.is_best] == ["klt (3)"]


def test_exact_zeros_cost_bits_and_save_errors() -> None:
    x = np.maximum(mixed_map(), 0)
    plain, exact = (
        compare_transforms(x, relative_steps=(0.2,), exact_zeros=exact_zeros) for exact_zeros in (False, True)
    )
    assert plain[0] == exact[0]  # the identity
    for before, after in zip(plain[1:], exact[1:], strict=True):
        assert after.transform == before.transform
        assert after.bits_per_value > before.bits_per_value and after.snr_db > before.snr_db


def test_samples_are_what_is_learned_from() -> None:
    rng = np.random.default_rng(8)
    x = rng.normal(size=(2, 16, 3, 3)).astype(np.float32)
    others = rng.normal(size=(16, 40, 40)).astype(np.float32)
    own = compare_transforms(x, relative_steps=(0.2,))[-1]
    learned = compare_transforms(x, samples=others, relative_steps=(0.2,))[-1]
    assert own.transform == learned.transform == "klt (16)"
    assert own.snr_db != learned.snr_db


def test_maps_that_cannot_be_compared() -> None:
    for x in (np.zeros((4, 3, 3)), np.full((4, 3, 3), np.nan), np.ones((0, 3, 3))):
        with pytest.raises(ValueError, match="finite values that are not all 0"):
            compare_transforms(x)
    with pytest.raises(ValueError, match="axes"):
        compare_transforms(np.ones((3, 3)))
    with pytest.raises(ValueError, match="same channels"):
        compare_transforms(np.ones((4, 3, 3)), samples=np.ones((5, 3, 3)))


def test_envelope_rises() -> None:
    rng = np.random.default_rng(9)
    points = compare_transforms(np.maximum(rng.normal(size=(16, 14, 14)), 0), relative_steps=(0.1, 0.2, 0.4))
    best = sorted((point.bits_per_value, point.snr_db) for point in points if point.is_best)
    assert len(best) >= 3
    assert best == sorted(best, key=lambda pair: pair[1])


def test_table_and_plot(tmp_path: Path) -> None:
    point = TransformPoint(transform="dct8*", relative_step=0.2, bits_per_value=1.25, snr_db=24.5, is_best=True)
    other = TransformPoint(transform="identity", relative_step=0.2, bits_per_value=1.5, snr_db=math.inf, is_best=False)
    lines = transform_table([point, other]).splitlines()
    assert lines[1].split() == ["0.2", "dct8*", "1.250", "24.50", "best"]
    assert lines[2].split() == ["0.2", "identity", "1.500", "inf"]
    plot_transforms(compare_transforms(mixed_map(8), relative_steps=(0.2, 0.4)), tmp_path / "plot.svg", "a map")
    assert (tmp_path / "plot.svg").read_text(encoding="utf-8").startswith("<?xml")


def test_command(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", mixed_map())
    arguments = ["transforms", str(tmp_path / "x.npy"), "--step", "0.2", "--plot", str(tmp_path / "x.png")]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    assert "klt (3)" in result.output and "Plot:" in result.output
    assert len(result.output.splitlines()) == 1 + 18 + 1
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")
