"""The table of bench_coder.py: bits and speeds of each coder, by map and for all maps together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from peers import REFERENCE


@dataclass
class Result:
    """What one coder made of a map, or of several added up."""

    symbols: int = 0
    zeros: int = 0
    bits: int = 0
    entropy_bits: float = 0.0
    seconds: dict[str, float] = field(default_factory=dict)  # by direction

    def speed(self, direction: str) -> float | None:
        """Symbols per second."""
        seconds = self.seconds.get(direction)
        return self.symbols / seconds if seconds else None


def coder_table(measurements: Sequence[tuple[float, Mapping[str, Any]]]) -> list[str]:
    """Lines of text from median times and what bench_coder.py recorded with them."""
    maps: dict[str, dict[str, Result]] = {}
    for median, record in measurements:
        result = maps.setdefault(record["map"], {}).setdefault(record["coder"], Result())
        result.symbols, result.zeros = record["symbols"], record["zeros"]
        result.bits, result.entropy_bits = record["bits"], record["entropy_bits"]
        result.seconds[record["direction"]] = median
    if len(maps) > 1:
        maps[f"all {len(maps)} maps together"] = _added_up(list(maps.values()))
    width = max(len(coder) for results in maps.values() for coder in results)
    lines = [f"{'':{width}s}     bits   / H0  enc GB/s  dec GB/s     enc x     dec x"]
    for name, results in maps.items():
        lines += _lines(name, results, width)
    return lines


def _added_up(maps: Sequence[Mapping[str, Result]]) -> dict[str, Result]:
    """The sums of the coders that were measured on all maps."""
    sums: dict[str, Result] = {}
    for coder in maps[0]:
        results = [results[coder] for results in maps if coder in results]
        if len(results) < len(maps):
            continue
        directions = [key for key in results[0].seconds if all(key in result.seconds for result in results)]
        sums[coder] = Result(
            symbols=sum(result.symbols for result in results),
            zeros=sum(result.zeros for result in results),
            bits=sum(result.bits for result in results),
            entropy_bits=sum(result.entropy_bits for result in results),
            seconds={key: sum(result.seconds[key] for result in results) for key in directions},
        )
    return sums


def _lines(name: str, results: Mapping[str, Result], width: int) -> list[str]:
    if not results:
        return []
    first = next(iter(results.values()))
    lines = [
        f"{name}: {first.symbols / 1e6:.2f} million symbols, {100 * first.zeros / first.symbols:.0f} % zeros, "
        f"entropy {first.entropy_bits / first.symbols:.3f} bits"
    ]
    reference = results.get(REFERENCE, Result())
    for coder, result in results.items():
        absolute, relative = "", ""
        for direction in ("encode", "decode"):
            speed, reference_speed = result.speed(direction), reference.speed(direction)
            absolute += _column(speed and speed / 1e9)
            relative += _column(speed and reference_speed and speed / reference_speed)
        bits, ratio = result.bits / result.symbols, result.bits / result.entropy_bits
        lines.append(f"  {coder:{width}s} {bits:6.3f} {ratio:6.3f}{absolute}{relative}")
    return lines


def _column(value: float | None) -> str:
    return f"{value:10.2f}" if value else f"{'-':>10s}"
