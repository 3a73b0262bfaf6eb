"""Each kernel on one map, per instruction set, in GB/s of its input.

    pytest bench/bench_kernels.py --benchmark-columns=median,iqr,rounds

The functions of fmcodec._core.kernels allocate their result, which the figures include.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fmcodec import _core, reference

KERNELS = _core.kernels
COUNT = 64 * 1024
FLOAT32 = 1


def _inputs() -> dict[str, tuple[Callable[..., Any], tuple[Any, ...], int]]:
    """Name -> function, arguments, bytes of input."""
    rng = np.random.default_rng(0)
    values = rng.laplace(size=COUNT).astype(np.float32)
    tokens = rng.geometric(0.3, COUNT).astype(np.uint8)
    symbols = rng.integers(-100, 100, COUNT).astype(np.int32)
    lengths = KERNELS.limited_code_lengths(np.bincount(tokens, minlength=256).tolist(), 12)
    bits, _ = KERNELS.write_wavelet(tokens, lengths)
    serial_bits, _ = KERNELS.write_serial(tokens, symbols, 0, lengths)
    cases: dict[str, tuple[Callable[..., Any], tuple[Any, ...], int]] = {
        "quantize_to_tokens": (KERNELS.quantize_to_tokens, (values, FLOAT32, 0.1, 128, 8), values.nbytes),
        "quantize_to_levels": (KERNELS.quantize_to_levels, (values, FLOAT32, 0.1, 2048, 12), values.nbytes),
        "dequantize_tokens": (KERNELS.dequantize_tokens, (tokens, FLOAT32, 0.1, 0, 8, 0), tokens.nbytes),
        "dequantize_levels": (KERNELS.dequantize_levels, (symbols, FLOAT32, 0.1, 128, 8), symbols.nbytes),
        "quantize_band": (KERNELS.quantize_band, (symbols, 16, 8), symbols.nbytes),
        "dequantize_band": (KERNELS.dequantize_band, (symbols, 16), symbols.nbytes),
        "measure_tokens": (KERNELS.measure_tokens, (tokens, 0), tokens.nbytes),
        "write_wavelet": (KERNELS.write_wavelet, (tokens, lengths), tokens.nbytes),
        "read_wavelet": (KERNELS.read_wavelet, (bits, lengths, COUNT), tokens.nbytes),
        "write_serial": (KERNELS.write_serial, (tokens, symbols, 0, lengths), tokens.nbytes),
        "read_serial": (KERNELS.read_serial, (serial_bits, 0, lengths, COUNT), tokens.nbytes),
        "crc32c": (KERNELS.crc32c, (bits,), len(bits)),
    }
    for size in (4, 8, 16, 32):
        matrix, rows = reference.dct_matrix(size).astype(np.int32), symbols.reshape(size, -1)
        cases[f"forward_dct_{size}"] = (KERNELS.dct, (matrix, rows, True), rows.nbytes)
        cases[f"inverse_dct_{size}"] = (KERNELS.dct, (matrix, rows, False), rows.nbytes)
    return cases


CASES = _inputs()


@pytest.mark.parametrize("kernel", CASES)
def test_kernel(benchmark: Any, kernel: str, isa: str) -> None:
    function, arguments, size_bytes = CASES[kernel]
    benchmark.group = kernel
    benchmark.extra_info.update(codec=isa, bytes=size_bytes)
    benchmark(function, *arguments)
