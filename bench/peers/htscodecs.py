"""htscodecs' rANS: order 0, 32 interleaved states of 16 bits, with the instruction sets that it chooses by itself.

From the shared library of the system (Debian: libhtscodecs2).
"""

from __future__ import annotations

import ctypes
import ctypes.util
from functools import cache

import numpy as np

from peers.coder import Coder, MissingPeerError, Symbols, pieces

# RANS_ORDER_X32 of rANS_static4x16.h; order 0 is 0.
ORDER = 4


@cache
def _library() -> ctypes.CDLL:
    name = ctypes.util.find_library("htscodecs")
    if name is None:
        raise MissingPeerError("the library htscodecs is not installed")
    library = ctypes.CDLL(name)
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
