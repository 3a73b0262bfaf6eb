"""The entropy coder alone, on one core: 8-bit symbols to bytes to symbols, beside zstd's own Huffman coder and others.

    pytest -c bench/pytest.ini bench/bench_coder.py
    pytest -c bench/pytest.ini bench/bench_coder.py -k "head and (fmcodec or Huffman)"

The symbols are maps of EfficientNet-Lite0 at 8 bits, each a batch of views of photographs with 1 to 3 million symbols:
ReLU6 outputs as uint8, 0 to 255 for 0 to 6; the linear projection as int8 over its range. fmcodec codes them without
loss (step 1), checksums included. Peers get the same bytes. Every round trip is verified before it is timed.

The table at the end has, for each map and for all of them together (bits and median times added up): bits per symbol;
their ratio to the order-0 entropy of pieces of 1 MiB; GB/s of symbols; and speed relative to zstd's Huffman coder. That
needs a C compiler and the static libzstd (Debian: libzstd-dev), and htscodecs its shared library (libhtscodecs2). Other
peers come from the extra "bench". Peers that are missing are skipped. One row of fmcodec uses two threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from coder_sizes import CONFIGURATIONS, SymbolMap, lossless_spec
from peers import PEERS, Coder, MissingPeerError, Symbols
from peers.coder import pieces

import fmcodec

pytestmark = pytest.mark.benchmark(min_rounds=7, max_time=0.25, warmup_iterations=20)


@dataclass(frozen=True)
class Row:
    """A row of the table: how to make its coder, and the instruction set that fmcodec is to use."""

    make: Callable[[SymbolMap], Coder]
    isa: str | None = None


def _fmcodec(x: SymbolMap, configuration: str, threads: int) -> Coder:
    spec = lossless_spec(x, configuration)
    buffer, out = np.empty(fmcodec.encode_bound(x.shape, x.dtype, spec), np.uint8), np.empty_like(x)
    return Coder(
        lambda: buffer[: fmcodec.encode_into(x, buffer, spec, threads=threads)],
        lambda frame: fmcodec.decode(frame, out=out, threads=threads),
    )


def _fmcodec_row(configuration: str, isa: str, threads: int = 1) -> Row:
    return Row(lambda x: _fmcodec(x, configuration, threads), isa)


def _peer_row(make: Callable[[Symbols], Coder]) -> Row:
    return Row(lambda x: make(_flat(x)))


def _flat(x: SymbolMap) -> Symbols:
    return x.reshape(-1).view(np.uint8)


def _rows() -> dict[str, Row]:
    available = fmcodec.available_isas()
    isas = [available[0], *(isa for isa in available[1:] if isa == "avx2")]
    rows = {f"fmcodec {name}, {isa}": _fmcodec_row(name, isa) for name in CONFIGURATIONS for isa in isas}
    first = next(iter(CONFIGURATIONS))
    rows[f"fmcodec {first}, {isas[0]}, 2 threads"] = _fmcodec_row(first, isas[0], threads=2)
    return rows | {name: _peer_row(make) for name, make in PEERS.items()}


ROWS = _rows()


@pytest.fixture(params=ROWS)
def coder_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def coder(symbol_map: SymbolMap, coder_name: str) -> Iterator[Coder]:
    """A coder that has been seen to restore the map."""
    row = ROWS[coder_name]
    try:
        coder = row.make(symbol_map)
    except MissingPeerError as error:
        pytest.skip(str(error))
    fmcodec.force_isa(row.isa)
    try:
        restored = coder.decode(coder.encode())
        assert restored.tobytes() == symbol_map.tobytes(), f"{coder_name} does not restore the symbols"
        yield coder
    finally:
        fmcodec.force_isa(None)


def _entropy_bits(x: SymbolMap) -> float:
    """Order-0 entropy, in bits, of pieces of 1 MiB."""
    total = 0.0
    for piece in pieces(_flat(x)):
        counts = np.bincount(piece)
        counts = counts[counts > 0]
        total += float(np.sum(counts * np.log2(counts.sum() / counts)))
    return total


def _record(benchmark: Any, x: SymbolMap, map_name: str, coder_name: str, direction: str, frame: Any) -> None:
    benchmark.group = f"{direction} symbols {map_name}"
    benchmark.extra_info.update(
        coder=coder_name,
        map=map_name,
        direction=direction,
        symbols=x.size,
        zeros=x.size - int(np.count_nonzero(x)),
        bits=8 * memoryview(frame).nbytes,
        entropy_bits=_entropy_bits(x),
    )


def test_encode(benchmark: Any, symbol_map_name: str, symbol_map: SymbolMap, coder_name: str, coder: Coder) -> None:
    _record(benchmark, symbol_map, symbol_map_name, coder_name, "encode", coder.encode())
    benchmark(coder.encode)


def test_decode(benchmark: Any, symbol_map_name: str, symbol_map: SymbolMap, coder_name: str, coder: Coder) -> None:
    frame = coder.encode()
    _record(benchmark, symbol_map, symbol_map_name, coder_name, "decode", frame)
    benchmark(coder.decode, frame)
