"""The report page: complete, self-contained, and true to the numbers it is given."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import msgspec
import pytest

from fmcodec.report import AccuracyResult, DemoResult, LayerResult, render_report, write_report
from fmcodec.report.plots import COLORS, bits_plot, energy_plot, snr_plot
from fmcodec.report.text import totals

pytest.importorskip("matplotlib")
pytest.importorskip("jinja2")

LAYERS = tuple(
    LayerResult(
        name=f"blocks.{index}.<norm>",
        shape=(16, 8, 8),
        transform="identity",
        position=position,
        bits_per_value=bits,
        snr_db=snr,
        zero_share=0.25,
        traffic_share=share,
        dram_joules=1e-6 * bits,
        baseline_dram_joules=8e-6,
    )
    for index, (position, bits, snr, share) in enumerate(
        [("after", 2.0, 28.5, 0.5), ("none", 4.0, math.inf, 0.3), ("before", 9.5, 31.0, 0.2)]
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
    write_report(RESULT, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.isascii()
    # XML namespaces are names, not addresses to load; everything else that points somewhere must point into the page.
    addresses = re.findall(r"https?://[^\s\"')]+", page)
    assert all(address.startswith("http://www.w3.org/") for address in addresses)
    assert all(target.startswith("#") for target in re.findall(r'(?:href|src)="([^"]*)"', page))
    assert "@import" not in page
    assert "<script" not in page
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", page))


def test_page_has_every_number_and_escapes_text() -> None:
    page = render_report(RESULT)
    for text in ("4.10", "1.95", "2 / 3", "50.0%", "1.25 / 2.50", "3 views of a &amp; b", "exact", "9.500", "62%"):
        assert text in page
    assert "blocks.0.&lt;norm&gt;" in page
    assert "blocks.0.<norm>" not in page
    assert page.count("<tr>") == 1 + len(LAYERS)


def test_ids_are_unique_and_references_resolve() -> None:
    page = render_report(RESULT)
    ids = re.findall(r'\bid="([^"]*)"', page)
    assert len(ids) == len(set(ids))
    references = re.findall(r'href="#([^"]*)"', page) + re.findall(r"url\(#([^)]*)\)", page)
    assert references
    assert set(references) <= set(ids)


@pytest.mark.parametrize("is_narrow", [False, True])
def test_plots_follow_the_page(is_narrow: bool) -> None:
    for text in (
        bits_plot(RESULT, is_narrow=is_narrow),
        snr_plot(RESULT, is_narrow=is_narrow),
        energy_plot(RESULT, is_narrow=is_narrow),
    ):
        root = ElementTree.fromstring(text)
        assert "viewBox" in root.attrib
        assert "width" not in root.attrib
        assert "var(--ink)" in text
        assert "var(--font)" in text
        assert "DejaVu" not in text


def test_plots_name_their_units() -> None:
    bits = bits_plot(RESULT, is_narrow=False)
    for text in ("bits per value", "% of traffic at 8 bits", "layer, in the order of execution", "4.10", "uncoded"):
        assert text in bits
    assert all(color in bits for color in COLORS.values())
    assert "signal to error ratio, dB" in snr_plot(RESULT, is_narrow=True)
    assert "DRAM energy of one image, uJ" in energy_plot(RESULT, is_narrow=False)


def test_pages_of_equal_results_are_equal() -> None:
    assert render_report(RESULT) == render_report(RESULT)


def test_accuracy() -> None:
    assert ACCURACY.difference == pytest.approx(-0.01)
    assert ACCURACY.standard_error == pytest.approx(math.sqrt((8 / 200 - 0.01**2) / 200))
    result = msgspec.structs.replace(RESULT, accuracy=ACCURACY)
    text = dict(totals(result))["Top-1 accuracy"]
    assert text.startswith(
        "79.00% coded, 80.00% uncoded: -1.00 points, standard error 1.41 (5 lost and 3 gained of 200)"
    )
    assert "79.0%" in render_report(result)


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
