"""The measurements of a benchmark as a table of text."""

from __future__ import annotations

from collections.abc import Sequence

from fmcodec.bench.coders import COPY, PEERS
from fmcodec.bench.measure import BenchResult, Measurement

# Above this share of time in which other programs ran, the table says so.
QUIET_SHARE = 0.03


def bench_table(result: BenchResult) -> str:
    """Bits per value, GB/s, and speed relative to the first peer for every map, then for all maps together."""
    by_map: dict[str, list[Measurement]] = {}
    for entry in result.measurements:
        by_map.setdefault(entry.map_name, []).append(entry)
    blocks = [_notes(result)]
    for name, entries in by_map.items():
        shape = " x ".join(map(str, entries[0].shape))
        blocks.append(_block(f"{name}: {entries[0].dtype}, {shape}, {entries[0].raw_bytes / 1e6:.1f} MB", entries))
    if len(by_map) > 1:
        blocks.append(_block("all maps", result.totals()))
    return "\n\n".join("\n".join(block) for block in blocks)


def reference_of(entries: Sequence[Measurement]) -> Measurement | None:
    """The peer that speeds are compared with: the first that is installed."""
    return next((entry for entry in entries if entry.coder in PEERS), None)


def _notes(result: BenchResult) -> list[str]:
    names = [name for name in PEERS if any(entry.coder == name for entry in result.measurements)]
    missing = [name for name in PEERS if name not in names]
    lines = [
        result.provenance["processor"],
        f"Float maps at a step of {result.relative_step:g} times their root mean square; integers without loss.",
        "GB/s of uncoded values: medians of processor time, of elapsed time with several threads.",
        "Peers run on one thread, after quantization of floats by numpy.",
    ]
    if result.waiting_share > QUIET_SHARE:
        lines.append(
            f"Other programs had {result.waiting_share:.0%} of the time: "
            "rows with several threads are slower than on a quiet machine."
        )
    if missing:
        lines.append(f"Not installed: {', '.join(missing)} (pip install 'fmcodec[bench]').")
    return lines


def _block(title: str, entries: Sequence[Measurement]) -> list[str]:
    reference = reference_of(entries)
    width = max(len(entry.label) for entry in entries)
    head = f"{'':<{width}}{'bits':>9}{'encode':>9}{'decode':>9}"
    if reference is not None:
        head += f"   times as fast as {reference.label}"
    lines = [title, head]
    for entry in entries:
        speeds = f"{entry.encode_gb_per_s:>9.2f}{entry.decode_gb_per_s:>9.2f}"
        line = f"{entry.label:<{width}}{entry.bits_per_value:>9.3f}{speeds}"
        if reference is not None and entry.coder != COPY:
            encode = reference.encode_seconds / entry.encode_seconds
            decode = reference.decode_seconds / entry.decode_seconds
            line += f"{encode:>9.1f}{decode:>9.1f}"
        lines.append(line)
    return lines
