"""htscodecs' rANS: order 0, 32 interleaved states of 16 bits, with the instruction sets that it chooses by itself.

Its sources are not part of this repository: FMCODEC_BENCH_HTSCODECS names a checkout of
https://github.com/samtools/htscodecs, from which the few files needed are compiled.
"""

from __future__ import annotations

import ctypes
import os
import platform
import tempfile
from functools import cache
from pathlib import Path

import numpy as np

from peers import c_library
from peers.coder import Coder, MissingPeerError, Symbols, pieces

CHECKOUT_VARIABLE = "FMCODEC_BENCH_HTSCODECS"

# RANS_ORDER_X32 of rANS_static4x16.h; order 0 is 0.
ORDER = 4

# What htscodecs' configure script finds out.
PLAIN_SOURCES = (
    "rANS_static4x16pr.c",
    "rANS_static32x16pr.c",
    "rANS_static32x16pr_neon.c",
    "pack.c",
    "rle.c",
    "utils.c",
)
X86_SOURCES = {
    "rANS_static32x16pr_sse4.c": ("-msse4.1", "-mssse3", "-mpopcnt"),
    "rANS_static32x16pr_avx2.c": ("-mavx2", "-mpopcnt"),
    "rANS_static32x16pr_avx512.c": ("-mavx512f", "-mpopcnt"),
}
X86_DEFINITIONS = (
    *(f"-DHAVE_{name}" for name in ("SSE4_1", "SSSE3", "POPCNT", "AVX2", "AVX512")),
    *("-DHAVE_DECL___CPUID_COUNT=1", "-DHAVE_DECL___GET_CPUID_MAX=1"),
)


@cache
def _library() -> ctypes.CDLL:
    checkout = os.environ.get(CHECKOUT_VARIABLE)
    if not checkout:
        raise MissingPeerError(f"{CHECKOUT_VARIABLE} does not name a checkout of samtools/htscodecs")
    folder = Path(checkout) / "htscodecs"
    if not folder.is_dir():
        raise MissingPeerError(f"{CHECKOUT_VARIABLE} names {checkout}, which has no folder htscodecs")
    sources: dict[Path, tuple[str, ...]] = {folder / name: () for name in PLAIN_SOURCES}
    definitions: tuple[str, ...] = ()
    if platform.machine() in ("x86_64", "AMD64"):
        sources |= {folder / name: flags for name, flags in X86_SOURCES.items()}
        definitions = X86_DEFINITIONS
    with tempfile.TemporaryDirectory() as configuration:
        (Path(configuration) / "config.h").touch()
        flags = (f"-I{configuration}", *definitions)
        library = c_library.load(sources, flags, link=("-lm", "-lpthread"))
    library.rans_compress_bound_4x16.restype = ctypes.c_uint
    for function in (library.rans_compress_to_4x16, library.rans_uncompress_to_4x16):
        function.restype = ctypes.c_void_p
    size, pointer = ctypes.c_uint, ctypes.c_void_p
    library.rans_compress_to_4x16.argtypes = [pointer, size, pointer, ctypes.POINTER(size), ctypes.c_int]
    library.rans_uncompress_to_4x16.argtypes = [pointer, size, pointer, ctypes.POINTER(size)]
    return library


def coder(symbols: Symbols) -> Coder:
    library = _library()
    parts = [(piece.ctypes.data, piece.size) for piece in pieces(symbols)]
    bounds = [library.rans_compress_bound_4x16(size, ORDER) for _, size in parts]
    buffer, out = np.empty(sum(bounds) + 4 * len(parts), np.uint8), np.empty_like(symbols)

    def encode() -> Symbols:
        """The coded size of each piece in 4 bytes, then the coded pieces."""
        sizes, written = buffer[: 4 * len(parts)].view(np.uint32), 4 * len(parts)
        for index, (source, size) in enumerate(parts):
            coded_size = ctypes.c_uint(bounds[index])
            library.rans_compress_to_4x16(source, size, buffer.ctypes.data + written, ctypes.byref(coded_size), ORDER)
            sizes[index] = coded_size.value
            written += coded_size.value
        return buffer[:written]

    def decode(frame: Symbols) -> Symbols:
        restored, start = out.ctypes.data, 4 * len(parts)
        for coded_size, (_, size) in zip(frame[:start].view(np.uint32).tolist(), parts, strict=True):
            symbol_count = ctypes.c_uint(size)
            library.rans_uncompress_to_4x16(frame.ctypes.data + start, coded_size, restored, ctypes.byref(symbol_count))
            start += coded_size
            restored += size
        return out

    return Coder(encode, decode)
