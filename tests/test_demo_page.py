"""The page of the demo: complete, self-contained, and true to the numbers it is given."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import msgspec
import pytest
from pages import assert_ids_resolve, assert_self_contained

for package in ("torch", "matplotlib", "jinja2"):
    pytest.importorskip(package)

from fmcodec.report import AccuracyResult, DemoResult, LayerResult, render_demo, write_demo  # noqa: E402
from fmcodec.report.demo_text import totals  # noqa: E402
from fmcodec.report.layer_plots import COLORS, bits_plot, energy_plot, sections_plot, snr_plot  # noqa: E402
from fmcodec.report.style import Draw, page_plot  # noqa: E402

LAYERS = tuple(
    LayerResult(
        name=f"blocks.{index}.<norm>",
        shape=(16, 8, 8),
        transform=f"{kind} 8",
        kind=kind,
        position=position,
        bits_per_value=bits,
        snr_db=snr,
        zero_share=0.25,
        traffic_share=share,
        section_bits={"header": 10, "tables": 30, "payload": 160},
        dram_joules=1e-6 * bits,
        baseline_dram_joules=8e-6,
    )
    for index, (position, kind, bits, snr, share) in enumerate(
        [("after", "DCT", 2.0, 28.5, 0.5), ("none", "KLT", 4.0, math.inf, 0.3), ("before", "KLT", 9.5, 31.0, 0.2)]
    )
)
RESULT = DemoResult(
    network="Test net",
    images="3 views of a & b",
    calibration="2 views of c",
    step_rule="step = 0.1 x RMS of the map",
    image_count=3,
    batch_size=2,
    layers=LAYERS,
    bits_per_value=4.1,
    basis_bytes=1_234_567,
    section_shares={"header": 0.01, "payload": 0.99},
    agreeing=2,
    mean_confidence=0.625,
    accuracy=None,
    encode_gb_per_s=1.25,
    decode_gb_per_s=2.5,
    threads=1,
    dram_part="Some DRAM",
    fmtc2019_joules=0.004,
    baseline_fmtc2019_joules=0.008,
    is_simulation_equal=True,
    seconds=12.3,
    machine="Some CPU",
    version="0.1",
)
ACCURACY = AccuracyResult(images=200, correct_uncoded=160, correct_coded=158, lost=5, gained=3)


def test_page_is_self_contained(tmp_path: Path) -> None:
    write_demo(RESULT, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.isascii()
    assert_self_contained(page)
    assert_ids_resolve(page)


def test_page_has_every_number_and_escapes_text() -> None:
    page = render_demo(RESULT)
    for text in ("4.10", "1.95", "2 / 3", "50.0%", "1.25 / 2.50", "3 views of a &amp; b", "exact", "9.500", "62%"):
        assert text in page
    assert "blocks.0.&lt;norm&gt;" in page
    assert "blocks.0.<norm>" not in page
    assert page.count("<tr>") == 1 + len(LAYERS)


PLOTS: dict[str, Draw] = {
    "bits": lambda is_narrow: bits_plot(LAYERS, 4.1, is_narrow),
    "snr": lambda is_narrow: snr_plot(LAYERS, is_narrow),
    "energy": lambda is_narrow: energy_plot(LAYERS, is_narrow),
    "sections": lambda is_narrow: sections_plot(LAYERS, is_narrow),
}


@pytest.mark.parametrize("name", PLOTS)
def test_plots_follow_the_page(name: str) -> None:
    for text in page_plot(name, PLOTS[name]):
        root = ElementTree.fromstring(text)
        assert "viewBox" in root.attrib
        assert "width" not in root.attrib
        assert "var(--ink)" in text
        assert "var(--font)" in text
        assert "DejaVu" not in text


def test_plots_name_their_units() -> None:
    bits = page_plot("bits", PLOTS["bits"]).wide
    for text in ("bits per value", "% of traffic at 8 bits", "layer, in the order of execution", "4.10", "uncoded"):
        assert text in bits
    assert COLORS["DCT"] in bits and COLORS["KLT"] in bits and COLORS["spatial DCT"] not in bits
    assert "signal to error ratio, dB" in page_plot("snr", PLOTS["snr"]).narrow
    assert "DRAM energy of one image, uJ" in page_plot("energy", PLOTS["energy"]).wide


def test_bars_have_the_lengths_of_the_numbers() -> None:
    def heights(axes: Any) -> list[float]:
        return [bar.get_height() for bar in axes.patches]

    upper, lower = bits_plot(LAYERS, 4.1, False).axes
    assert heights(upper) == [2.0, 4.0, 9.5]
    # Shares of 50, 30 and 20 %, and what 2, 4 and 9.5 of 8 bits leave of them.
    assert heights(lower) == pytest.approx([50, 30, 20, 12.5, 15, 23.75])
    assert lower.get_ylim()[0] == 0 and lower.get_ylim()[1] > 50
    assert [bar.get_width() for bar in energy_plot(LAYERS, True).axes[0].patches] == pytest.approx([8, 8, 8, 2, 4, 9.5])
    (axes,) = sections_plot(LAYERS, False).axes
    # 10 and 30 of 200 bits: the second stands on the first.
    assert heights(axes) == pytest.approx([5, 5, 5, 15, 15, 15])
    assert [bar.get_y() for bar in axes.patches[3:]] == pytest.approx([5, 5, 5])


def test_pages_of_equal_results_are_equal() -> None:
    assert render_demo(RESULT) == render_demo(RESULT)


def test_accuracy() -> None:
    assert ACCURACY.difference == pytest.approx(-0.01)
    assert ACCURACY.standard_error == pytest.approx(math.sqrt((8 / 200 - 0.01**2) / 200))
    result = msgspec.structs.replace(RESULT, accuracy=ACCURACY)
    text = dict(totals(result))["Top-1 accuracy"]
    assert text.startswith(
        "79.00% coded, 80.00% uncoded: -1.00 points, standard error 1.41 (5 lost and 3 gained of 200)"
    )
    assert "79.0%" in render_demo(result)


def test_totals_tell_bad_news() -> None:
    result = msgspec.structs.replace(RESULT, is_simulation_equal=False, threads=2)
    assert "DIFFERS" in dict(totals(result))["Simulation"]
    assert "2 threads" in dict(totals(result))["Throughput"]
    assert RESULT.mean_layer_ratio == pytest.approx((4 + 2 + 8 / 9.5) / 3)
    assert RESULT.fmtc2019_saving == pytest.approx(0.5)
    # 2 + 4 + 9.5 of three times 8 uJ.
    assert RESULT.dram_saving == pytest.approx(1 - 15.5 / 24)
    assert "Some DRAM" in dict(totals(RESULT))["DRAM energy saved"]
    assert "fmtc2019" in dict(totals(RESULT))["Published formula"]
