"""Compressors and coders from PyPI, at one thread."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import numpy.typing as npt

from peers.coder import PIECE, Coder, MissingPeerError, Symbols, pieces


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise MissingPeerError(f"{error.name} is not installed: pip install 'fmcodec[bench]'") from error


def zstd(symbols: Symbols, level: int) -> Coder:
    zstandard = _module("zstandard")
    compressor, decompressor = zstandard.ZstdCompressor(level=level), zstandard.ZstdDecompressor()
    out = np.empty_like(symbols)

    def decode(frame: bytes) -> Symbols:
        return out[: decompressor.stream_reader(frame).readinto(out)]

    return Coder(lambda: compressor.compress(symbols), decode)


def lz4(symbols: Symbols) -> Coder:
    block = _module("lz4.block")
    return Coder(
        lambda: block.compress(symbols, store_size=False),
        lambda frame: np.frombuffer(block.decompress(frame, uncompressed_size=symbols.size), np.uint8),
    )


def blosc2(symbols: Symbols, codec: str, level: int) -> Coder:
    """Blosc with the bits of the symbols transposed before an LZ codec."""
    package = _module("blosc2")
    out = np.empty_like(symbols)

    def encode() -> Any:
        return package.compress2(
            symbols,
            codec=getattr(package.Codec, codec),
            clevel=level,
            typesize=1,
            filters=[package.Filter.BITSHUFFLE],
            nthreads=1,
        )

    def decode(frame: Any) -> Symbols:
        package.decompress2(frame, dst=out, nthreads=1)
        return out

    return Coder(encode, decode)


def constriction_ans(symbols: Symbols) -> Coder:
    """ANS with a categorical model per piece: the number of words, weights of 16 bits, words."""
    package = _module("constriction")
    out = np.empty_like(symbols)
    weight_words = 256 * 2 // 4

    def model(weights: npt.NDArray[np.uint16]) -> Any:
        return package.stream.model.Categorical(weights.astype(np.float32), perfect=False)

    def encode() -> npt.NDArray[np.uint32]:
        frame = []
        for piece in pieces(symbols):
            counts = np.bincount(piece, minlength=256)
            weights = (-(-counts * 65535 // counts.max())).astype(np.uint16)  # rounded up: 0 stays 0 alone
            ans = package.stream.stack.AnsCoder()
            ans.encode_reverse(piece.astype(np.int32), model(weights))
            words = ans.get_compressed()
            frame += [np.array([words.size], np.uint32), weights.view(np.uint32), words]
        return np.concatenate(frame)

    def decode(frame: npt.NDArray[np.uint32]) -> Symbols:
        position = 0
        for start in range(0, out.size, PIECE):
            first = position + 1 + weight_words
            weights = frame[position + 1 : first].view(np.uint16)
            position = first + int(frame[position])
            ans = package.stream.stack.AnsCoder(frame[first:position])
            piece = out[start : start + PIECE]
            piece[:] = ans.decode(model(weights), piece.size)
        return out

    return Coder(encode, decode)
