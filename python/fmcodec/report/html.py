"""The report page: one HTML file without any other file or address in it."""

from __future__ import annotations

from pathlib import Path

from fmcodec.report.plots import bits_plot, energy_plot, snr_plot
from fmcodec.report.result import DemoResult
from fmcodec.report.text import db, tiles, totals


def render_report(result: DemoResult) -> str:
    """The page as text."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("fmcodec.report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template("demo.html.j2").render(
        result=result,
        tiles=tiles(result),
        totals=totals(result),
        db=db,
        plots={
            "bits_wide": bits_plot(result, is_narrow=False),
            "bits_narrow": bits_plot(result, is_narrow=True),
            "snr_wide": snr_plot(result, is_narrow=False),
            "snr_narrow": snr_plot(result, is_narrow=True),
            "energy_wide": energy_plot(result, is_narrow=False),
            "energy_narrow": energy_plot(result, is_narrow=True),
        },
    )


def write_report(result: DemoResult, path: str | Path) -> None:
    """Writes the page to a file."""
    Path(path).write_text(render_report(result), encoding="utf-8")
