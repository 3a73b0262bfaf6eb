"""Results of runs as self-contained HTML pages, plots and tables; matplotlib and jinja2 are imported only when used."""

from fmcodec.report.files import write_figures
from fmcodec.report.html import render_demo, render_report, write_demo, write_report
from fmcodec.report.report import Report, load_report
from fmcodec.report.result import AccuracyResult, DemoResult, LayerResult

__all__ = [
    "AccuracyResult",
    "DemoResult",
    "LayerResult",
    "Report",
    "load_report",
    "render_demo",
    "render_report",
    "write_demo",
    "write_figures",
    "write_report",
]
