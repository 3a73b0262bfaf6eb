"""Other entropy coders and compressors, each as a pair of functions from bytes to bytes, on one core."""

from __future__ import annotations

from collections.abc import Callable

from peers import htscodecs, packages, zstd_huffman
from peers.coder import Coder, MissingPeerError, Symbols

__all__ = ["PEERS", "REFERENCE", "Coder", "MissingPeerError", "Symbols"]

# The coder that speeds are compared with.
REFERENCE = "zstd Huffman"

# Each raises MissingPeerError if it cannot run here.
PEERS: dict[str, Callable[[Symbols], Coder]] = {
    REFERENCE: zstd_huffman.coder,
    "zstd -1": lambda symbols: packages.zstd(symbols, level=1),
    "zstd -9": lambda symbols: packages.zstd(symbols, level=9),
    "lz4": packages.lz4,
    "blosc2 bitshuffle lz4": lambda symbols: packages.blosc2(symbols, codec="LZ4", level=5),
    "blosc2 bitshuffle zstd -1": lambda symbols: packages.blosc2(symbols, codec="ZSTD", level=1),
    "constriction ANS": packages.constriction_ans,
    "htscodecs rANS 32x16": htscodecs.coder,
}
