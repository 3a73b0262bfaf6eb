"""Results of runs as values and as a self-contained HTML page; matplotlib and jinja2 are imported only when used."""

from fmcodec.report.html import render_report, write_report
from fmcodec.report.result import AccuracyResult, DemoResult, LayerResult

__all__ = ["AccuracyResult", "DemoResult", "LayerResult", "render_report", "write_report"]
