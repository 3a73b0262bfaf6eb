"""The demo's results on a terminal."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table

from fmcodec.report.demo_text import db, totals
from fmcodec.report.result import DemoResult


def print_result(result: DemoResult, console: Console) -> None:
    """Prints a table of all layers, then the totals."""
    console.print(_layer_table(result))
    console.print(_total_table(result))


def _layer_table(result: DemoResult) -> Table:
    """One row per layer, within 80 columns."""
    table = Table(
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
        title=f"{result.network}: every coded feature map",
        caption="DCT n*: channels reordered | KLT r: r components kept | /d: and DCT over d x d\n"
        "ReLU6: coded before or after it, or there is none\n"
        "bits per value of whole streams | dB of signal to noise\n"
        "zeros among decoded values | share of all values\n"
        f"uJ of DRAM per image, written and read once, on {result.dram_part}",
    )
    for title in ("layer", "C x H x W", "transform", "ReLU6"):
        table.add_column(title, no_wrap=True)
    for title in ("bits", "dB", "zeros", "share", "uJ"):
        table.add_column(title, justify="right", no_wrap=True)
    for layer in result.layers:
        table.add_row(
            layer.name,
            "x".join(map(str, layer.shape)),
            layer.transform,
            layer.position,
            f"{layer.bits_per_value:.2f}",
            db(layer.snr_db),
            f"{layer.zero_share:.1%}",
            f"{layer.traffic_share:.1%}",
            f"{layer.dram_joules * 1e6:.1f}",
        )
    return table


def _total_table(result: DemoResult) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 1))
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    for label, text in totals(result):
        table.add_row(label, text)
    return table
