"""run_bench(): medians of encode and decode times of all coders on all maps, in turns within one process."""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import msgspec
import numpy as np

from fmcodec.bench.coders import Array, Coder, copy_coder, fmcodec_coder, peer_coder, peers
from fmcodec.isa import active_isa, build_info, force_isa
from fmcodec.machine import processor_name

# Coders take turns so often, so that a slow second of the machine does not fall on one of them alone.
TURNS = 5
LEAST_CALLS = 2


class Measurement(msgspec.Struct, frozen=True, kw_only=True):
    """One coder on one map.

    ``map_name`` and ``coder`` are for people; ``effort`` and ``isa`` are those of fmcodec and None for others. Seconds
    are medians of whole calls: processor time with one thread, elapsed time with several.
    """

    map_name: str
    shape: tuple[int, ...]
    dtype: str
    values: int
    raw_bytes: int
    coder: str
    effort: int | None
    isa: str | None
    threads: int
    coded_bytes: int
    encode_seconds: float
    decode_seconds: float

    @property
    def bits_per_value(self) -> float:
        """Bits of the whole stream per value."""
        return 8 * self.coded_bytes / self.values

    @property
    def encode_gb_per_s(self) -> float:
        """Uncoded bytes encoded per second, in 1e9."""
        return self.raw_bytes / self.encode_seconds / 1e9

    @property
    def decode_gb_per_s(self) -> float:
        """Uncoded bytes decoded per second, in 1e9."""
        return self.raw_bytes / self.decode_seconds / 1e9

    @property
    def label(self) -> str:
        """Coder and settings: ``"fmcodec effort 2, avx2, 1 thread"``."""
        if self.coder != "fmcodec":
            return self.coder
        return f"fmcodec effort {self.effort}, {self.isa}, {self.threads} thread{'s' * (self.threads > 1)}"


class BenchResult(msgspec.Struct, frozen=True, kw_only=True):
    """All measurements, map by map in the order of the coders, and where they were made.

    ``relative_step`` is the step of float maps over their root mean square. ``waiting_share`` is the share of the time
    of coders with one thread in which other programs had the processor. ``provenance`` holds the command, the processor
    and versions.
    """

    relative_step: float
    waiting_share: float
    measurements: tuple[Measurement, ...]
    provenance: dict[str, str]

    def totals(self) -> list[Measurement]:
        """Sums of bytes and seconds over the maps, for each coder that ran on all of them."""
        maps = dict.fromkeys(entry.map_name for entry in self.measurements)
        by_label: dict[str, list[Measurement]] = {}
        for entry in self.measurements:
            by_label.setdefault(entry.label, []).append(entry)
        return [_sum(entries) for entries in by_label.values() if len(entries) == len(maps)]

    def save(self, path: str | Path) -> None:
        """Writes all fields as indented JSON."""
        Path(path).write_bytes(msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n")


def run_bench(
    maps: Mapping[str, Array],
    *,
    isas: Sequence[str] | None = None,
    threads: Sequence[int] = (1,),
    efforts: Sequence[int] = (1, 2, 3),
    relative_step: float = 0.2,
    seconds: float = 0.2,
    progress: Callable[[str], None] | None = None,
) -> BenchResult:
    """Measures a copy, fmcodec with all settings, and the installed peers on one thread.

    Parameters
    ----------
    maps
        By name: (C, H, W) or (N, C, H, W) of float32, float16, int8 or uint8.
    isas
        Instruction sets of fmcodec; the active one by default.
    threads, efforts
        Of fmcodec.
    relative_step
        Step of float maps as a share of their root mean square. Integers are coded without loss.
    seconds
        How long each direction of each coder is measured on each map, or longer if two calls a turn take longer.
    progress
        Called with the name of each map before it is measured.

    Raises
    ------
    ValueError
        There are no maps, an instruction set is not available, or another argument is out of range.
    RuntimeError
        Two instruction sets or numbers of threads gave other bytes or values: a bug of fmcodec or of the machine.
    """
    if not maps or not threads or not efforts or min(threads) < 1:
        raise ValueError("there must be maps, threads from 1 up, and efforts")
    if not relative_step > 0 or not seconds > 0:
        raise ValueError("relative_step and seconds must be above 0")
    measurements: list[Measurement] = []
    clock = _Clock()
    with _same_isa_afterwards():
        for name, x in maps.items():
            if progress is not None:
                progress(name)
            coders = _coders(x, isas or [active_isa()], threads, efforts, relative_step)
            encode_seconds = clock.medians(coders, [coder.encode for coder in coders], seconds)
            decode_seconds = clock.medians(coders, [coder.decode for coder in coders], seconds)
            _check_equal(name, coders)
            measurements += [
                _measurement(name, x, *entry) for entry in zip(coders, encode_seconds, decode_seconds, strict=True)
            ]
    return BenchResult(
        relative_step=relative_step,
        waiting_share=clock.waiting_share,
        measurements=tuple(measurements),
        provenance=_provenance(),
    )


def _coders(
    x: Array, isas: Sequence[str], threads: Sequence[int], efforts: Sequence[int], relative_step: float
) -> list[Coder]:
    coders = [copy_coder(x)]
    for effort in efforts:
        for isa in isas:
            force_isa(isa)
            coders += [fmcodec_coder(x, relative_step, effort, isa, count) for count in threads]
    return coders + [peer_coder(x, relative_step, name, compressor) for name, compressor in peers().items()]


class _Clock:
    """Times calls, and adds up for how long of them this process did not run.

    Another program on the processor makes a call of milliseconds twice as long and leaves one of microseconds as it is,
    so elapsed time would flatter fast coders on a busy machine. Processor time does not, but adds up threads.
    """

    def __init__(self) -> None:
        self._elapsed = self._running = 0.0

    @property
    def waiting_share(self) -> float:
        """Share of the time of coders with one thread in which they did not run."""
        return max(0.0, 1 - self._running / self._elapsed) if self._elapsed else 0.0

    def medians(self, coders: Sequence[Coder], calls: Sequence[Callable[[], object]], seconds: float) -> list[float]:
        """Median seconds of each call; coders take turns."""
        counts = []
        for coder, call in zip(coders, calls, strict=True):
            force_isa(coder.isa)
            call()
            once = max(1e-9, _seconds(call, time.perf_counter))
            counts.append(max(LEAST_CALLS, round(seconds / TURNS / once)))
        times: list[list[float]] = [[] for _ in calls]
        for _ in range(TURNS):
            for coder, call, count, found in zip(coders, calls, counts, times, strict=True):
                force_isa(coder.isa)
                start, running = time.perf_counter(), time.process_time()
                clock = time.process_time if coder.threads == 1 else time.perf_counter
                found += [_seconds(call, clock) for _ in range(count)]
                if coder.threads == 1:
                    self._elapsed += time.perf_counter() - start
                    self._running += time.process_time() - running
        return [median(found) for found in times]


def _seconds(call: Callable[[], object], clock: Callable[[], float]) -> float:
    start = clock()
    call()
    return clock() - start


def _check_equal(name: str, coders: Sequence[Coder]) -> None:
    """RuntimeError unless fmcodec gives the same bytes and values for every instruction set and number of threads."""
    first: dict[int | None, Coder] = {}
    for coder in coders:
        if coder.isa is not None:
            other = first.setdefault(coder.effort, coder)
            if coder.frame != other.frame or coder.decoded.tobytes() != other.decoded.tobytes():
                settings = " and ".join(f"{entry.isa} with {entry.threads} threads" for entry in (other, coder))
                raise RuntimeError(f"{settings} do not give the same bytes of {name!r}; please report this")


def _measurement(name: str, x: Array, coder: Coder, encode_seconds: float, decode_seconds: float) -> Measurement:
    return Measurement(
        map_name=name,
        shape=x.shape,
        dtype=str(x.dtype),
        values=x.size,
        raw_bytes=x.nbytes,
        coder=coder.name,
        effort=coder.effort,
        isa=coder.isa,
        threads=coder.threads,
        coded_bytes=coder.encode(),
        encode_seconds=encode_seconds,
        decode_seconds=decode_seconds,
    )


def _sum(entries: Sequence[Measurement]) -> Measurement:
    names = ("values", "raw_bytes", "coded_bytes", "encode_seconds", "decode_seconds")
    sums: dict[str, Any] = {name: sum(getattr(entry, name) for entry in entries) for name in names}
    return msgspec.structs.replace(entries[0], map_name="all maps", shape=(), dtype="", **sums)


@contextmanager
def _same_isa_afterwards() -> Iterator[None]:
    before = active_isa()
    try:
        yield
    finally:
        force_isa(before)


def _provenance() -> dict[str, str]:
    info = build_info()
    return {
        "command": " ".join(sys.argv),
        "processor": processor_name(),
        "fmcodec": str(info["version"]),
        "compiler": str(info["compiler"]),
        "numpy": np.__version__,
        "python": platform.python_version(),
    }
