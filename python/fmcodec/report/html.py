"""The pages: one HTML file each, without any other file or address in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fmcodec.report.demo_text import tiles, totals
from fmcodec.report.layer_plots import bits_plot, energy_plot, sections_plot, snr_plot
from fmcodec.report.plots import report_plots
from fmcodec.report.report import Report
from fmcodec.report.report_text import accuracy_sources, introduction, measure, policy_text, report_tiles, runs
from fmcodec.report.result import DemoResult
from fmcodec.report.style import Draw, page_plot
from fmcodec.report.tables import layer_table, report_tables


def render_demo(result: DemoResult) -> str:
    """The page of a demo run as text."""
    layers = result.layers
    plots: dict[str, Draw] = {
        "bits": lambda is_narrow: bits_plot(layers, result.bits_per_value, is_narrow),
        "snr": lambda is_narrow: snr_plot(layers, is_narrow),
        "energy": lambda is_narrow: energy_plot(layers, is_narrow),
        "sections": lambda is_narrow: sections_plot(layers, is_narrow),
    }
    return _render(
        "demo.html.j2",
        plots,
        network=result.network,
        result=result,
        tiles=tiles(result),
        totals=totals(result),
        tables={"layers": layer_table(layers)},
    )


def write_demo(result: DemoResult, path: str | Path) -> None:
    """Writes the page of a demo run to a file."""
    Path(path).write_text(render_demo(result), encoding="utf-8")


def render_report(report: Report) -> str:
    """The page of a report as text; what the report has not is left out."""
    policy = report.policy
    return _render(
        "report.html.j2",
        report_plots(report),
        network=report.network,
        introduction=introduction(report),
        tiles=report_tiles(report),
        sources=accuracy_sources(report),
        tables=report_tables(report),
        measure=measure(report),
        search_images=0 if report.frontier is None else report.frontier.images,
        part="" if report.cost is None else report.cost.part,
        policy_provenance=[] if policy is None else list(policy.provenance.items()),
        policy_text="" if policy is None else policy_text(policy),
        runs=runs(report),
    )


def write_report(report: Report, path: str | Path) -> None:
    """Writes the page of a report to a file."""
    Path(path).write_text(render_report(report), encoding="utf-8")


def _render(template: str, plots: dict[str, Draw], **names: Any) -> str:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("fmcodec.report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    drawn = {name: page_plot(name, draw) for name, draw in plots.items()}
    return environment.get_template(template).render(plots=drawn, **names)
