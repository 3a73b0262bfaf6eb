"""One thread and two, on batches of maps of 24 million 8-bit symbols.

    pytest -c bench/pytest.ini bench/bench_threads.py

The batches are those of bench_coder.py, repeated. Smaller ones gain less: threads start with each call (about 12 us),
and a map of a million symbols is two or three groups, which are what threads share.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from coder_sizes import SymbolMap, lossless_spec

import fmcodec

pytestmark = pytest.mark.benchmark(min_rounds=15, max_time=0.5, warmup=True, warmup_iterations=5)

SYMBOLS = 24_000_000


@pytest.fixture(params=["fastest", "default"])
def configuration(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=[1, 2])
def threads(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def batch(symbol_map: SymbolMap) -> SymbolMap:
    return np.concatenate([symbol_map] * round(SYMBOLS / symbol_map.size))


def _record(benchmark: Any, direction: str, map_name: str, configuration: str, threads: int, x: SymbolMap) -> None:
    benchmark.group = f"{direction} {map_name}, {configuration}"
    benchmark.extra_info.update(codec=f"{threads} thread{'s' * (threads > 1)}", bytes=x.nbytes)


def test_encode(benchmark: Any, symbol_map_name: str, configuration: str, batch: SymbolMap, threads: int) -> None:
    spec = lossless_spec(batch, configuration)
    buffer = np.empty(fmcodec.encode_bound(batch.shape, batch.dtype, spec), np.uint8)
    _record(benchmark, "encode", symbol_map_name, configuration, threads, batch)
    benchmark(fmcodec.encode_into, batch, buffer, spec, threads=threads)


def test_decode(benchmark: Any, symbol_map_name: str, configuration: str, batch: SymbolMap, threads: int) -> None:
    frame, out = fmcodec.encode(batch, lossless_spec(batch, configuration)), np.empty_like(batch)
    _record(benchmark, "decode", symbol_map_name, configuration, threads, batch)
    benchmark(fmcodec.decode, frame, out=out, threads=threads)
