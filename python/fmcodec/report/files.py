"""The plots and tables of a report as files, for papers and other documents."""

from __future__ import annotations

from pathlib import Path

from fmcodec.evaluation.text import markdown_table
from fmcodec.report.plots import report_plots
from fmcodec.report.report import Report
from fmcodec.report.style import save_plot
from fmcodec.report.tables import TITLES, report_tables


def write_figures(report: Report, folder: str | Path) -> list[Path]:
    """Writes each plot as PNG and SVG, and all tables as ``report.md``; returns the files."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for name, draw in report_plots(report).items():
        for suffix in ("png", "svg"):
            files.append(folder / f"{name.replace('_', '-')}.{suffix}")
            save_plot(draw, files[-1])
    found = report_tables(report)
    tables = [
        f"## {title}\n\n{markdown_table(found[name].columns, found[name].rows)}"
        for name, title in TITLES.items()
        if name in found
    ]
    files.append(folder / "report.md")
    files[-1].write_text("\n".join([f"# {report.network}\n", *tables]), encoding="utf-8")
    return files
