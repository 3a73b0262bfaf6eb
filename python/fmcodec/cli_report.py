"""The command report: results of the other commands as one page, as plots and as tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

FILE = click.Path(path_type=Path, dir_okay=False)
EXISTING_FILE = click.Path(path_type=Path, dir_okay=False, exists=True)


@click.command("report")
@click.argument("page", metavar="PAGE.html", type=FILE)
@click.option("--evaluation", type=EXISTING_FILE, help="What fmcodec evaluate --json wrote.")
@click.option("--comparison", type=EXISTING_FILE, help="What fmcodec compare --json wrote.")
@click.option(
    "--search", type=click.Path(path_type=Path, exists=True), help="What fmcodec search --output wrote: folder or file."
)
@click.option("--policy", type=EXISTING_FILE, help="The policy of the evaluation.")
@click.option(
    "--part", default="ddr3-1066-x16", show_default=True, help="DRAM part for energies: a name or a .toml file."
)
@click.option("--figures", type=click.Path(path_type=Path, file_okay=False), help="Folder for plots and tables.")
def report_command(page: Path, figures: Path | None, **inputs: Any) -> None:
    """Write one self-contained HTML page about a network: frontier, layers, systems, energy, coder, policy.

    All inputs are of the same network; what is not given is left out. With --figures, each plot is also written as PNG
    and SVG, and the tables as Markdown.
    """
    from fmcodec.report import load_report, write_figures, write_report

    report = load_report(**inputs)
    write_report(report, page)
    click.echo(f"Page: {page}")
    if figures is not None:
        files = write_figures(report, figures)
        click.echo(f"Figures: {figures}, {len(files)} files")
