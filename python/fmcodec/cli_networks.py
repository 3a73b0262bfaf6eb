"""The commands about whole networks: evaluate and compare."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fmcodec.evaluation import Evaluation, Network, Samples
    from fmcodec.policy import Policy

FILE = click.Path(path_type=Path, dir_okay=False)
EXISTING_FILE = click.Path(path_type=Path, dir_okay=False, exists=True)
EXISTING = click.Path(path_type=Path, exists=True)
Command = Callable[..., None]


def reading_options(command: Command) -> Command:
    """The argument and options of which `network_of` and `samples_of` make the network and its images."""
    return _with_options(
        command,
        click.argument("model", metavar="MODEL"),
        click.option(
            "--task", type=click.Choice(["classification", "image"]), default="classification", show_default=True
        ),
        click.option("--size", type=click.IntRange(min=0), help="Rows and columns of an image; 0: as they are."),
        click.option("--gray", is_flag=True, help="Read images with one channel."),
        click.option("--mean", metavar="R,G,B", help="Preprocessing: mean of each channel, in units of 0 to 255."),
        click.option("--std", metavar="R,G,B", help="Preprocessing: what each channel is divided by."),
    )


def network_options(command: Command) -> Command:
    """The options that say which network runs on which images, and on how many workers."""
    return _with_options(
        command,
        reading_options,
        click.option(
            "--data", type=EXISTING, required=True, help="Images to report on: folder, zip, npz or safetensors."
        ),
        click.option("--limit", type=click.IntRange(min=1), help="Use at most this many, at even distances."),
        click.option("--weight-bits", type=click.IntRange(2, 16), help="Quantize the weights as well."),
        click.option(
            "--batch-size", type=click.IntRange(min=1), default=8, show_default=True, help="Images of a stream."
        ),
        click.option("--workers", type=click.IntRange(min=1), default=1, show_default=True, help="Processes."),
        click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True, help="Threads of each."),
        click.option("--json", "json_path", type=FILE, help="Write all numbers to this file."),
        click.option("--resume", type=FILE, help="Keep finished batches in this file, and go on from it."),
    )


def _with_options(command: Command, *options: Callable[[Command], Command]) -> Command:
    for option in reversed(options):
        command = option(command)
    return command


@click.command("evaluate")
@network_options
@click.option("--policy", "policy_path", type=EXISTING_FILE, required=True, help="How the maps are coded.")
@click.option(
    "--mode", type=click.Choice(["codec", "simulate"]), default="codec", show_default=True, help="Real streams or not."
)
def evaluate_command(
    model: str, data: Path, limit: int | None, policy_path: Path, mode: Any, json_path: Path | None, **options: Any
) -> None:
    """Run a network with coded feature maps: accuracy, agreement, bits by layer.

    MODEL is a built-in name (efficientnet_lite0), or a file *.onnx, or module:function, or module:function:argument;
    the function returns a torch module, or (module, preprocess), or (module, preprocess, size). It is looked for in
    this directory, too.
    """
    from fmcodec.evaluation import evaluate
    from fmcodec.policy import Policy

    policy: Policy = Policy.load(policy_path)
    network = network_of(model, options)
    samples = samples_of(data, network, options).limited(limit)
    with progress_bar("evaluate", len(samples)) as show:
        evaluation = evaluate(
            network,
            policy,
            samples,
            mode=mode,
            batch_size=options["batch_size"],
            threads=options["threads"],
            weight_bits=options["weight_bits"],
            workers=options["workers"],
            progress=lambda done, total: show("evaluate", done),
            resume=options["resume"],
        )
    print_evaluation(evaluation)
    if json_path is not None:
        evaluation.save(json_path)


@click.command("compare")
@network_options
@click.option("--systems", metavar="A,B,...", default="fmcodec,fmtc2019", show_default=True, help="'all' for all.")
@click.option(
    "--levels", "level_texts", metavar="SYSTEM=X,Y,...", multiple=True, help="Levels of a system instead of its own."
)
@click.option("--calibration", type=EXISTING, help="Images to calibrate on; else some of --data that are left out.")
@click.option(
    "--calibration-count", type=click.IntRange(min=1), default=32, show_default=True, help="At most so many of them."
)
@click.option("--plot", type=FILE, help="Draw answers against bits to this file (.png, .svg, .pdf).")
@click.option("--table", type=FILE, help="Write the table to this file (Markdown).")
def compare_command(
    model: str,
    data: Path,
    limit: int | None,
    systems: str,
    level_texts: tuple[str, ...],
    calibration: Path | None,
    calibration_count: int,
    plot: Path | None,
    table: Path | None,
    json_path: Path | None,
    **options: Any,
) -> None:
    """Run published systems and fmcodec on one network and the same images.

    MODEL is as for evaluate. Published results of the same network are drawn beside the measured ones.
    """
    from fmcodec.report.plots import save_frontier
    from fmcodec.report.report import Report
    from fmcodec.systems import SYSTEMS
    from fmcodec.systems.comparison import compare, comparison_table

    names = list(SYSTEMS) if systems == "all" else systems.split(",")
    levels: dict[str, tuple[float, ...] | None] = dict.fromkeys(names)
    for text in level_texts:
        name, _, numbers = text.partition("=")
        if name not in levels:
            raise click.UsageError(f"--levels names {name!r}, which is not among the systems")
        levels[name] = numbers_of(numbers, "--levels")
    network = network_of(model, options)
    samples = samples_of(data, network, options)
    if calibration is None:
        learned, test = samples.split(calibration_count)
    else:
        learned, test = samples_of(calibration, network, options).limited(calibration_count), samples
    with progress_bar("compare", 1.0) as show:
        comparison = compare(
            network,
            learned,
            test.limited(limit),
            levels,
            batch_size=options["batch_size"],
            threads=options["threads"],
            weight_bits=options["weight_bits"],
            workers=options["workers"],
            report=show,
            resume=options["resume"],
        )
    text = comparison_table(comparison)
    click.echo(text)
    if json_path is not None:
        comparison.save(json_path)
    if table is not None:
        table.write_text(text, encoding="utf-8")
    if plot is not None:
        save_frontier(Report(comparison=comparison), plot)


def numbers_of(text: str, option: str) -> tuple[float, ...]:
    """The numbers of a text with commas; a click error that names the option for anything else."""
    try:
        return tuple(float(number) for number in text.split(","))
    except ValueError as error:
        raise click.UsageError(f"{option} must be numbers with commas between them, not {text!r}") from error


@contextmanager
def progress_bar(title: str, total: float) -> Iterator[Callable[[str, float], None]]:
    """A bar on the terminal, and what tells it its text and how much is done. Needs rich."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(title, total=total)
        yield lambda text, done: progress.update(task, description=text, completed=done)


def print_evaluation(evaluation: Evaluation) -> None:
    """A table of all layers, then the totals. Needs rich."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from fmcodec.evaluation.text import LAYER_COLUMNS, layer_rows, summary

    console = Console()
    layers = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, title=f"{evaluation.network}: coded maps")
    for index, title in enumerate(LAYER_COLUMNS):
        layers.add_column(title, justify="left" if index < 3 else "right", no_wrap=True)
    for row in layer_rows(evaluation):
        layers.add_row(*row)
    totals = Table(box=None, show_header=False, pad_edge=False)
    totals.add_column(style="bold", no_wrap=True)
    totals.add_column()
    for label, text in summary(evaluation):
        totals.add_row(label, text)
    console.print(layers)
    console.print(totals)


def network_of(model: str, options: dict[str, Any]) -> Network:
    """The network of the options task, size, gray, mean and std."""
    from fmcodec.evaluation import Normalize, load_network

    # As with `python -m`: networks are often a file beside the data.
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    preprocess = None
    if (options["mean"] is None) != (options["std"] is None):
        raise click.UsageError("--mean and --std go together")
    if options["mean"] is not None:
        preprocess = Normalize(numbers_of(options["mean"], "--mean"), numbers_of(options["std"], "--std"))
    channels = 1 if options["gray"] else 3
    return load_network(
        model, task=options["task"], preprocess=preprocess, input_size=options["size"], channels=channels
    )


def samples_of(path: Path, network: Network, options: dict[str, Any]) -> Samples:
    """Images for a network, by the option gray; labels of classes are left out if the network gives images."""
    from fmcodec.evaluation import load_samples

    mode = "L" if options["gray"] else "RGB"
    samples = load_samples(path, size=network.input_size, class_count=network.class_count, mode=mode)
    if network.task == "image" and samples.targets is not None and samples.targets.dim() == 1:
        samples.targets = None
    return samples
