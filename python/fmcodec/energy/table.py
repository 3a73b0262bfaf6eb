"""Energy of a network as text."""

from __future__ import annotations

import math
from collections.abc import Sequence

from fmcodec.energy.dram import TERMS
from fmcodec.energy.network import NetworkCost, SystemCost


def quantity(value: float, unit: str) -> str:
    """A number with three digits and a prefix: ``1.23 mJ``, ``456 uJ``.

    >>> quantity(0.00123456, "J"), quantity(4.56e-4, "J"), quantity(0, "J")
    ('1.23 mJ', '456 uJ', '0 J')
    """
    if value == 0.0:
        return f"0 {unit}"
    rounded = float(f"{value:.3g}")
    exponent = min(max(math.floor(math.log10(abs(rounded)) / 3 + 1e-9), -4), 3)
    scaled = rounded / 10.0 ** (3 * exponent)
    digits = max(2 - math.floor(math.log10(abs(scaled)) + 1e-9), 0)
    return f"{scaled:.{digits}f} {('p', 'n', 'u', 'm', '', 'k', 'M', 'G')[exponent + 4]}{unit}"


def network_table(cost: NetworkCost) -> str:
    """All layers of all systems, then the totals, each beside that of 8 bits."""
    lines = [f"part {cost.part}"]
    for system in cost.systems:
        lines += ["", f"{system.name}:", *_layer_lines(system)]
    return "\n".join([*lines, "", *_total_lines(cost)])


def _layer_lines(system: SystemCost) -> list[str]:
    rows = [("layer", "C x H x W", "bits", "moved", "DRAM", "codec", "stall", "time", "bound")]
    for layer in system.layers:
        rows.append(
            (
                layer.name,
                "x".join(map(str, layer.shape)),
                f"{layer.bits_per_value:.2f}",
                quantity(layer.dram.bytes_moved, "B"),
                quantity(layer.dram.joules, "J"),
                quantity(layer.codec_joules, "J"),
                quantity(layer.stall_joules, "J"),
                quantity(layer.seconds, "s"),
                layer.bound,
            )
        )
    return aligned(rows, left=2)


def _total_lines(cost: NetworkCost) -> list[str]:
    rows = [("total", "moved", "time", "DRAM", "low..high", "codec", "stall", "all", "of 8 bits")]
    for system in cost.systems:
        codec = math.fsum(layer.codec_joules for layer in system.layers)
        stall = math.fsum(layer.stall_joules for layer in system.layers)
        low = math.fsum(layer.dram.low_joules for layer in system.layers)
        high = math.fsum(layer.dram.high_joules for layer in system.layers)
        rows.append(
            (
                system.name,
                quantity(system.bytes_moved, "B"),
                quantity(system.seconds, "s"),
                quantity(system.dram.total, "J"),
                f"{quantity(low, 'J')}..{quantity(high, 'J')}",
                quantity(codec, "J"),
                quantity(stall, "J"),
                quantity(system.joules, "J"),
                f"{cost.ratio(system.name):.1%}",
            )
        )
    terms = [("DRAM by term", *(system.name for system in cost.systems))]
    for name in TERMS:
        if any(getattr(system.dram, name) for system in cost.systems):
            label = name.replace("_", " ")
            terms.append((label, *(quantity(getattr(system.dram, name), "J") for system in cost.systems)))
    return [*aligned(rows), "", *aligned(terms)]


def aligned(rows: Sequence[Sequence[str]], left: int = 1) -> list[str]:
    """Rows as lines with columns of equal width; the first ``left`` ones begin and the others end at the same place."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            cell.ljust(width) if column < left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
