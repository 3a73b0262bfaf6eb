"""The command bench: speed of the codec on the user's machine and maps, beside the peers that are installed."""

from __future__ import annotations

from pathlib import Path

import click

from fmcodec.machine import usable_cpus

FILE = click.Path(path_type=Path, dir_okay=False)
EXISTING_FILE = click.Path(path_type=Path, dir_okay=False, exists=True)


@click.command("bench")
@click.argument("sources", metavar="[X.npy]...", type=EXISTING_FILE, nargs=-1)
@click.option("--isa", metavar="NAME", help="Instruction set, or 'all'; the best one by default.")
@click.option("--threads", "thread_text", metavar="N,M,...", help="Threads of fmcodec; 1 and all CPUs by default.")
@click.option(
    "--effort",
    "efforts",
    type=click.IntRange(1, 3),
    multiple=True,
    default=(1, 2, 3),
    show_default=True,
    help="1 is fastest, 3 smallest; may be given several times.",
)
@click.option(
    "--relative-step", type=float, default=0.2, show_default=True, help="Step of float maps as a share of their RMS."
)
@click.option("--seconds", type=float, default=0.2, show_default=True, help="Time of each measurement.")
@click.option("--plot", type=FILE, help="Draw all speeds to this file (.png, .svg, .pdf).")
@click.option("--json", "json_path", type=FILE, help="Write all numbers to this file.")
def bench_command(
    sources: tuple[Path, ...],
    isa: str | None,
    thread_text: str | None,
    efforts: tuple[int, ...],
    relative_step: float,
    seconds: float,
    plot: Path | None,
    json_path: Path | None,
) -> None:
    """Measure encode and decode on this machine, on the maps of files (.npy, .npz or .pt), or on synthetic ones.

    Peers are zstandard, lz4 and blosc2, as far as they are installed, after quantization by numpy. Frames and decoded
    values of all instruction sets and numbers of threads are compared on the way: they must be equal.
    """
    from fmcodec.bench import bench_table, load_map, plot_bench, run_bench, synthetic_maps
    from fmcodec.isa import available_isas

    maps = {str(path): load_map(path) for path in sources} or synthetic_maps()
    result = run_bench(
        maps,
        isas=available_isas() if isa == "all" else None if isa is None else [isa],
        threads=_threads(thread_text),
        efforts=efforts,
        relative_step=relative_step,
        seconds=seconds,
        progress=lambda name: click.echo(f"measuring {name}", err=True),
    )
    click.echo(bench_table(result))
    if json_path is not None:
        result.save(json_path)
    if plot is not None:
        plot_bench(result, plot)


def _threads(text: str | None) -> tuple[int, ...]:
    if text is None:
        return tuple(dict.fromkeys((1, usable_cpus())))
    try:
        return tuple(int(number) for number in text.split(","))
    except ValueError as error:
        raise click.UsageError(f"--threads must be numbers with commas between them, not {text!r}") from error
