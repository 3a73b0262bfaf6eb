"""zstd's own Huffman coder, from the static libzstd (Debian: libzstd-dev), whose internal functions can be linked."""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path

import numpy as np

from peers import c_library
from peers.coder import Coder, Symbols

SOURCE = Path(__file__).with_suffix(".c")


@cache
def _library() -> ctypes.CDLL:
    library = c_library.load(SOURCE, link=(str(c_library.static_library("libzstd.a")), "-lpthread"))
    for function in (library.zstd_huffman_encode, library.zstd_huffman_decode):
        function.restype = ctypes.c_size_t
        function.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_size_t]
    return library


def coder(symbols: Symbols) -> Coder:
    library = _library()
    buffer, out = np.empty(2 * symbols.size + 64, np.uint8), np.empty_like(symbols)
    source, target, restored = symbols.ctypes.data, buffer.ctypes.data, out.ctypes.data

    def encode() -> Symbols:
        return buffer[: library.zstd_huffman_encode(source, symbols.size, target, buffer.size)]

    def decode(frame: Symbols) -> Symbols:
        return out[: library.zstd_huffman_decode(frame.ctypes.data, frame.size, restored, out.size)]

    return Coder(encode, decode)
