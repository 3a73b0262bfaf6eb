"""The command search: policies for a network, as files, a table and a plot."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fmcodec.cli_networks import EXISTING, network_of, numbers_of, progress_bar, reading_options, samples_of
from fmcodec.spec import CODE_LAYOUTS

if TYPE_CHECKING:
    from fmcodec.search import Constraints, Frontier, Grid
    from fmcodec.search.problem import Objective

KINDS = ("identity", "dct", "hadamard", "klt", "spatial")
STAGES = {"measure": "measure layers", "propose": "propose policies", "verify": "measure policies"}
FOLDER = click.Path(path_type=Path, file_okay=False)


@click.command("search")
@reading_options
@click.option("--data", type=EXISTING, required=True, help="Calibration images: folder, zip, npz or safetensors.")
@click.option("--output", type=FOLDER, required=True, help="Folder for policies, frontier.json and frontier.svg.")
@click.option("--held-out", type=EXISTING, help="Images to measure policies on; else some of --data that are left out.")
@click.option("--images", type=click.IntRange(min=2), default=64, show_default=True, help="Images to learn from.")
@click.option("--verify-images", type=click.IntRange(min=1), default=128, show_default=True, help="To measure on.")
@click.option("--strategy", "strategies", multiple=True, default=("lagrangian",), help="May be given several times.")
@click.option("--points", type=click.IntRange(min=1), default=10, show_default=True, help="Policies of each strategy.")
@click.option("--target-bits", type=float, help="Propose a policy with at most this many bits per value.")
@click.option("--max-drop", type=float, help="Name the smallest policy that loses at most so many points.")
@click.option("--max-map-bytes", type=float, help="Most bytes of the stored map of one image.")
@click.option("--transforms", metavar="A,B,...", help=f"Only these: {', '.join(KINDS)}.")
@click.option("--multiplier-free", is_flag=True, help="Only transforms that need no multiplier.")
@click.option("--objective", metavar="MODULE:FUNCTION", help="Cost of a map from its name, values, and bits.")
@click.option("--steps", metavar="X,Y,...", help="Quantization steps as shares of the RMS of a map.")
@click.option("--dead-zone", "dead_zones", type=click.FloatRange(0.5, 1.0), multiple=True, help="Try this one, too.")
@click.option("--fit-dead-zones", is_flag=True, help="Measure each policy with fitted dead zones, too.")
@click.option("--effort", type=click.IntRange(1, 3), default=2, show_default=True, help="Of the coder: 3 is smallest.")
@click.option("--layout", type=click.Choice(list(CODE_LAYOUTS)), default="wavelet", show_default=True)
@click.option(
    "--sensitivity", type=click.Choice(["quantization", "noise", "fisher"]), default="quantization", show_default=True
)
@click.option("--probe-images", type=click.IntRange(min=1), default=16, show_default=True, help="To measure it on.")
@click.option("--batch-size", type=click.IntRange(min=1), default=8, show_default=True, help="Images of a stream.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--workers", type=click.IntRange(min=1), default=1, show_default=True, help="Processes.")
def search_command(
    model: str,
    data: Path,
    output: Path,
    held_out: Path | None,
    images: int,
    verify_images: int,
    max_drop: float | None,
    target_bits: float | None,
    **options: Any,
) -> None:
    """Search policies on the frontier of bits and accuracy.

    MODEL is as for evaluate. Each policy is a file that evaluate takes. With --max-drop or --target-bits, the one that
    serves best is also written as policy.json. Report its accuracy on images that are in neither --data nor --held-out.
    """
    from fmcodec.report.plots import save_frontier
    from fmcodec.report.report import Report
    from fmcodec.search import search
    from fmcodec.search.text import frontier_table

    network = network_of(model, options)
    samples = samples_of(data, network, options)
    if held_out is None:
        learned, others = samples.split(images)
    else:
        learned, others = samples.limited(images), samples_of(held_out, network, options)
    with progress_bar(STAGES["measure"], 1.0) as show:
        result = search(
            network,
            learned,
            others.limited(verify_images),
            strategies=options["strategies"],
            constraints=_constraints(target_bits, options),
            objective=_objective(options["objective"]),
            grid=_grid(options),
            sensitivity=options["sensitivity"],
            probe_images=options["probe_images"],
            points=options["points"],
            fit_dead_zones=options["fit_dead_zones"],
            batch_size=options["batch_size"],
            seed=options["seed"],
            workers=options["workers"],
            command=_command(sys.argv),
            progress=lambda stage, done, total: show(STAGES[stage], done / total),
        )
    result.save(output)
    save_frontier(Report(frontier=result.frontier), output / "frontier.svg")
    (output / "frontier.md").write_text(frontier_table(result.frontier), encoding="utf-8")
    _print(result.frontier)
    if max_drop is not None or target_bits is not None:
        point = result.frontier.select(max_accuracy_drop=max_drop, max_bits=target_bits)
        result.policy(point).save(output / "policy.json")
        click.echo(f"policy.json is {point.policy}: {point.bits_per_value:.3f} bits per value")


def _constraints(target_bits: float | None, options: dict[str, Any]) -> Constraints:
    from fmcodec.search import Constraints

    kinds = options["transforms"]
    return Constraints(
        target_bits=target_bits,
        max_map_bits=None if options["max_map_bytes"] is None else 8 * options["max_map_bytes"],
        transforms=None if kinds is None else tuple(kinds.split(",")),
        is_multiplier_free=options["multiplier_free"],
    )


def _grid(options: dict[str, Any]) -> Grid:
    from fmcodec.search import Grid
    from fmcodec.search.options import RELATIVE_STEPS, SEARCH_CANDIDATES, with_dead_zones

    return Grid(
        candidates=with_dead_zones(SEARCH_CANDIDATES, options["dead_zones"]),
        relative_steps=RELATIVE_STEPS if options["steps"] is None else numbers_of(options["steps"], "--steps"),
        effort=options["effort"],
        code_layout=options["layout"],
    )


def _objective(text: str | None) -> Objective | None:
    if text is None:
        return None
    module, _, name = text.partition(":")
    function: Objective | None = getattr(importlib.import_module(module), name, None) if name else None
    if function is None:
        raise click.UsageError(f"--objective must be module:function, not {text!r}")
    return function


def _command(arguments: list[str]) -> str:
    """The command line, without the number of workers, on which nothing depends."""
    kept = [Path(arguments[0]).name]
    is_count = False
    for argument in arguments[1:]:
        if not is_count and argument != "--workers" and not argument.startswith("--workers="):
            kept.append(argument)
        is_count = argument == "--workers"
    return " ".join(kept)


def _print(frontier: Frontier) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from fmcodec.search.text import MINOR_COLUMNS, frontier_columns, frontier_rows

    accuracy = "" if frontier.top1 is None else f", top-1 of the uncompressed network {frontier.top1:.1f} %"
    title = f"{frontier.network}: {frontier.images} images{accuracy}"
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, title=title)
    # All columns are in frontier.md; these fit a terminal.
    columns = frontier_columns(frontier)
    shown = [index for index, column in enumerate(columns) if column not in MINOR_COLUMNS]
    for index in shown:
        table.add_column(columns[index], justify="right" if 0 < index < len(columns) - 1 else "left", no_wrap=True)
    for row in frontier_rows(frontier):
        table.add_row(*(row[index] for index in shown))
    Console().print(table)
