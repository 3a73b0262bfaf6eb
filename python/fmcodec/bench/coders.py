"""What is measured: fmcodec, general compressors after the quantization a user would write, and a copy as the limit."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fmcodec.codec import decode, encode, encode_bound, encode_into
from fmcodec.klt import level_range
from fmcodec.spec import CodecSpec

Array = npt.NDArray[Any]
# A compressor and its inverse, which gets the number of bytes it gives.
Compressor = tuple[Callable[[Array], Any], Callable[[Any, int], Any]]


COPY = "copy"


class Coder(NamedTuple):
    """A coder that is ready to run on one map.

    Parameters
    ----------
    name
        Of the coder without its settings: ``"fmcodec"``, ``"zstd -1"``, ``"copy"``.
    encode
        Codes the map again and returns the number of bytes.
    decode
        Decodes what it was coded to, into ``decoded``.
    decoded
        Shape and dtype of the map.
    frame
        What it was coded to.
    effort, isa
        Of fmcodec; None for others.
    threads
        Those that code and decode.
    """

    name: str
    encode: Callable[[], int]
    decode: Callable[[], object]
    decoded: Array
    frame: Any
    effort: int | None = None
    isa: str | None = None
    threads: int = 1


def step_of(x: Array, relative_step: float) -> np.float32:
    """The step of a float map: a share of its root mean square. 1 for integers, which are coded without loss.

    Raises
    ------
    ValueError
        The map holds nothing but zeros.
    """
    if x.dtype.kind != "f":
        return np.float32(1)
    rms = float(np.sqrt(np.mean(np.square(x, dtype=np.float64))))
    if not rms:
        raise ValueError("a map of zeros has no step that is a share of its root mean square")
    return np.float32(relative_step * rms)


def fmcodec_coder(x: Array, relative_step: float, effort: int, isa: str, threads: int) -> Coder:
    """fmcodec without a transform, to memory and from memory that was there before."""
    if x.dtype.kind == "f":
        step = float(step_of(x, relative_step))
        zero_point, bits = level_range(float(x.min()) / step, float(x.max()) / step)
        spec = CodecSpec(step=step, zero_point=zero_point, bits=bits, effort=effort)
    else:
        spec = CodecSpec(zero_point=128 if x.dtype == np.int8 else 0, effort=effort)
    buffer = np.empty(encode_bound(x.shape, x.dtype, spec), np.uint8)
    frame, out = encode(x, spec, threads=threads), np.empty_like(x)
    return Coder(
        "fmcodec",
        lambda: encode_into(x, buffer, spec, threads=threads),
        lambda: decode(frame, out=out, threads=threads, max_bytes=max(1, x.nbytes)),
        out,
        frame,
        effort,
        isa,
        threads,
    )


def copy_coder(x: Array) -> Coder:
    """The map copied: what memory allows."""
    out = np.empty_like(x)

    def copy() -> int:
        np.copyto(out, x)
        return x.nbytes

    return Coder(COPY, copy, copy, out, x)


def peers() -> dict[str, Compressor]:
    """The general compressors that can be imported, each at its fast setting, by name."""
    found: dict[str, Compressor] = {}
    for name, (module, make) in PEERS.items():
        try:
            found[name] = make(importlib.import_module(module))
        except ModuleNotFoundError:
            continue
    return found


def peer_coder(x: Array, relative_step: float, name: str, compressor: Compressor) -> Coder:
    """A compressor after numpy's quantization to the fewest bytes a level that hold all levels; integers need none."""
    compress, decompress = compressor
    step = step_of(x, relative_step)
    out = np.empty_like(x)
    if x.dtype.kind != "f":
        kind = x.dtype
        levels = x
    else:
        inverse = np.float32(1) / step
        scaled = np.empty(x.shape, np.float32)
        kind = _level_type(float(x.min()) * float(inverse), float(x.max()) * float(inverse))
        levels = np.empty(x.shape, kind)

    def encode() -> Any:
        if x.dtype.kind == "f":
            np.multiply(x, inverse, out=scaled)
            np.rint(scaled, out=scaled)
            # A user's code does not know that no value is out of range.
            np.clip(scaled, np.iinfo(kind).min, np.iinfo(kind).max, out=scaled)
            np.copyto(levels, scaled, casting="unsafe")
        return compress(levels)

    frame = encode()

    def decode() -> None:
        decoded = np.frombuffer(decompress(frame, levels.nbytes), kind).reshape(x.shape)
        if x.dtype.kind == "f":
            np.multiply(decoded, step, out=out, dtype=np.float32, casting="unsafe")
        else:
            np.copyto(out, decoded)

    return Coder(name, lambda: len(encode()), decode, out, frame)


def _level_type(low: float, high: float) -> Any:
    kinds = (np.uint8, np.int8, np.int16)
    return next(
        (np.dtype(kind) for kind in kinds if np.iinfo(kind).min <= round(low) and round(high) <= np.iinfo(kind).max),
        np.dtype(np.int32),
    )


def _zstd(package: Any) -> Compressor:
    compressor, decompressor = package.ZstdCompressor(level=1), package.ZstdDecompressor()
    return compressor.compress, lambda frame, size: decompressor.decompress(frame)


def _lz4(package: Any) -> Compressor:
    return (
        lambda levels: package.compress(levels, store_size=False),
        lambda frame, size: package.decompress(frame, uncompressed_size=size),
    )


def _blosc2(package: Any) -> Compressor:
    def compress(levels: Array) -> Any:
        options = {"codec": package.Codec.LZ4, "clevel": 5, "filters": [package.Filter.BITSHUFFLE], "nthreads": 1}
        return package.compress2(levels, typesize=levels.itemsize, **options)

    return compress, lambda frame, size: package.decompress2(frame, nthreads=1)


# Name to the module and what makes a compressor of it. All run on one thread.
PEERS: dict[str, tuple[str, Callable[[Any], Compressor]]] = {
    "zstd -1": ("zstandard", _zstd),
    "lz4": ("lz4.block", _lz4),
    "blosc2 lz4": ("blosc2", _blosc2),
}
