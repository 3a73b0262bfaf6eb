"""encode(), decode() and inspect(): arrays to frames and back. Start reading here.

The path of a value is the path of this package: `CodecSpec` says what to do, this module checks the array and hands its
memory to the C++ core (cpp/fmcodec/encode.cpp and decode.cpp), which is written along docs/format.md.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, overload

import numpy as np
import numpy.typing as npt

from fmcodec import _core
from fmcodec.arrays import (
    DTYPE_NAMES,
    Buffer,
    as_output,
    as_tensor,
    bytes_view,
    check_layout,
    dtype_code,
    empty_array,
    stored_dtype,
)
from fmcodec.errors import LimitExceededError
from fmcodec.spec import CODE_LAYOUTS, DEFAULT_WORD_BITS, CodecSpec, CodeLayout, native_spec, spec_of_native

Layout = Literal["nchw", "nhwc"]
Output = TypeVar("Output")

DEFAULT_MAX_BYTES = 1 << 32

# The core starts no more, whatever it is asked for.
MAX_THREADS = 256

# Blocks are decoded as a whole even where a part is asked for; up to this size they are no reason to refuse a frame.
MIN_BLOCK_LIMIT = 64 << 20


def encode(
    x: Any, spec: CodecSpec | None = None, *, layout: Layout = "nchw", threads: int = 1, embed_spec: bool = True
) -> bytes:
    """Encode a feature map.

    Parameters
    ----------
    x
        float32, float16, bfloat16, int8 or uint8 values of shape (C, H, W) or (N, C, H, W), or (H, W, C) or
        (N, H, W, C) with ``layout="nhwc"``: a numpy array, a torch CPU tensor, or any object with the buffer protocol
        or DLPack.
        Strided memory is read in place, block by block.
    spec
        How to code it. None: integers without loss; floats with 8 bits over the range of ``x``.
    layout
        Order of the axes of ``x``.
    threads
        Threads to use. The bytes do not depend on it.
    embed_spec
        False leaves the spec out of the frame, as hardware does that loads it once per layer; `decode` then needs it.

    Returns
    -------
    bytes
        One frame (docs/format.md).

    Raises
    ------
    TypeError
        The dtype is not supported, or the tensor is not in CPU memory.
    ValueError
        The number of axes is wrong, or ``spec`` does not fit the array; `NonFiniteError` for NaN and infinity.

    Examples
    --------
    >>> import numpy as np, fmcodec
    >>> x = np.maximum(np.random.default_rng(0).standard_normal((64, 28, 28), np.float32), 0)
    >>> frame = fmcodec.encode(x, fmcodec.CodecSpec(step=0.1))
    >>> float(abs(fmcodec.decode(frame) - x).max()) <= 0.05001
    True
    """
    array, code, spec = _prepare(x, spec, layout)
    return _core.encode(array, code, native_spec(spec), layout == "nhwc", _threads(threads), embed_spec)


def encode_into(
    x: Any,
    buffer: Buffer,
    spec: CodecSpec | None = None,
    *,
    layout: Layout = "nchw",
    threads: int = 1,
    embed_spec: bool = True,
) -> int:
    """Encode into memory of the caller and return the number of bytes written.

    ``buffer`` is any writable contiguous buffer; `encode_bound` says how large it must be at most. What is behind the
    frame in it may be overwritten: with room to spare, the frame is made in place. Otherwise like `encode`; ValueError
    if the frame does not fit.
    """
    array, code, spec = _prepare(x, spec, layout)
    target = bytes_view(buffer)
    if target.readonly:
        raise ValueError("buffer must be writable")
    return _core.encode_into(array, code, native_spec(spec), layout == "nhwc", _threads(threads), embed_spec, target)


def cost(
    x: Any, spec: CodecSpec | None = None, *, layout: Layout = "nchw", threads: int = 1, embed_spec: bool = True
) -> int:
    """Bytes that `encode` makes of the same arguments, exactly, without building the frame.

    For policy searches, which compare many specs. Everything is decided as in `encode`, so it takes nearly as long, but
    it needs memory for one group of blocks only. Raises what `encode` raises.

    >>> x = np.maximum(np.random.default_rng(0).standard_normal((64, 28, 28), np.float32), 0)
    >>> spec = CodecSpec(step=0.1, effort=3)
    >>> cost(x, spec) == len(encode(x, spec))
    True
    """
    array, code, spec = _prepare(x, spec, layout)
    return _core.encoded_size(array, code, native_spec(spec), layout == "nhwc", _threads(threads), embed_spec)


def encode_bound(shape: Sequence[int], dtype: Any, spec: CodecSpec, *, layout: Layout = "nchw") -> int:
    """Most bytes that a frame of this shape, dtype and spec can have.

    >>> fmcodec.encode_bound((64, 28, 28), "float32", fmcodec.CodecSpec(step=0.1)) < 64 * 28 * 28 + 18000
    True
    """
    extents = tuple(operator.index(extent) for extent in shape)
    if min(extents, default=0) < 0:
        raise ValueError(f"shape must not be negative, but is {extents}")
    check_layout(layout)
    images, channels, rows, columns = _nchw(extents, layout)
    return _core.encode_bound(images, channels, rows, columns, dtype_code(dtype), native_spec(spec))


@overload
def decode(
    buffer: Buffer,
    *,
    spec: CodecSpec | None = None,
    out: None = None,
    max_bytes: int = DEFAULT_MAX_BYTES,
    threads: int = 1,
    region: Sequence[slice] | None = None,
) -> npt.NDArray[Any]: ...


@overload
def decode(
    buffer: Buffer,
    *,
    spec: CodecSpec | None = None,
    out: Output,
    max_bytes: int = DEFAULT_MAX_BYTES,
    threads: int = 1,
    region: Sequence[slice] | None = None,
) -> Output: ...


def decode(
    buffer: Buffer,
    *,
    spec: CodecSpec | None = None,
    out: Any = None,
    max_bytes: int = DEFAULT_MAX_BYTES,
    threads: int = 1,
    region: Sequence[slice] | None = None,
) -> Any:
    """Decode a frame.

    Parameters
    ----------
    buffer
        A frame: bytes, bytearray, memoryview, mmap, numpy or torch uint8 array.
    spec
        The spec the frame was encoded with; only needed for frames with an external one.
    out
        Array of the exact shape and dtype to decode to, with any strides: numpy array or torch CPU tensor.
    max_bytes
        Most bytes of output to allocate; a larger frame raises `LimitExceededError` before anything is allocated. So
        does a frame with blocks above this and above 64 MiB.
    threads
        Threads to use.
    region
        One slice per axis of the array, each with step 1: decodes only the blocks that overlap it.

    Returns
    -------
    numpy.ndarray or type of ``out``
        ``out`` if it is given. Else the values, in the dtype, shape and layout that were encoded; bfloat16 needs the
        package ml_dtypes.

    Raises
    ------
    FmcodecError
        One of its subclasses says what is wrong with the frame and at which byte. ``out`` may then hold anything.
    TypeError, ValueError
        ``out`` or ``region`` does not fit.

    Examples
    --------
    >>> frame = fmcodec.encode(np.arange(2 * 4 * 4, dtype=np.uint8).reshape(2, 4, 4))
    >>> fmcodec.decode(frame, region=(slice(1, 2), slice(0, 1), slice(0, 4)))
    array([[[16, 17, 18, 19]]], dtype=uint8)
    """
    frame = _core.ParsedFrame(bytes_view(buffer), None if spec is None else native_spec(spec))
    name, layout, shape = _outline(frame)
    if region is None:
        origin = (0, 0, 0, 0)
    else:
        slices = region_slices(region, shape)
        shape = tuple(part.stop - part.start for part in slices)
        origin = _nchw(tuple(part.start for part in slices), layout, missing=0)
    if out is None:
        out, memory = empty_array(shape, name, max_bytes)
    else:
        memory = as_output(out, shape, name)
    frame.decode_into(memory, origin, max(max_bytes, memory.nbytes, MIN_BLOCK_LIMIT), _threads(threads))
    return out


def relayout(
    buffer: Buffer,
    code_layout: CodeLayout = "serial",
    *,
    word_bits: int = DEFAULT_WORD_BITS,
    spec: CodecSpec | None = None,
    max_bytes: int = DEFAULT_MAX_BYTES,
    threads: int = 1,
) -> bytes:
    """The frame with its Huffman codes in another layout: the one that encoding with this ``code_layout`` gives.

    Only codes are moved, all else is copied, and nothing is lost. There and back gives the same bytes.

    Parameters
    ----------
    buffer
        A frame, as for `decode`.
    code_layout, word_bits
        Those of the result: `CodecSpec` says what they mean.
    spec
        The spec the frame was encoded with; only needed for frames with an external one. The result needs the same
        spec with the new layout: ``spec.replace(code_layout=..., word_bits=...)``.
    max_bytes
        A frame whose array has more bytes raises `LimitExceededError`.
    threads
        Threads to use. The bytes do not depend on it.

    Raises
    ------
    FmcodecError
        As `decode`; but what is only copied is not looked at.
    ValueError
        ``code_layout`` or ``word_bits`` is wrong.

    Examples
    --------
    >>> spec = fmcodec.CodecSpec(step=0.1)
    >>> serial = fmcodec.relayout(fmcodec.encode(x, spec), "serial", word_bits=16)
    >>> serial == fmcodec.encode(x, spec.replace(code_layout="serial", word_bits=16))
    True
    """
    target = CodecSpec(code_layout=code_layout, word_bits=word_bits)
    frame = _core.ParsedFrame(bytes_view(buffer), None if spec is None else native_spec(spec))
    name, _, shape = _outline(frame)
    size_bytes = math.prod(shape) * stored_dtype(name).itemsize
    if size_bytes > max_bytes:
        raise LimitExceededError(f"the array of the frame has {size_bytes} bytes, max_bytes is {max_bytes}")
    return frame.relayout(CODE_LAYOUTS[target.code_layout], target.word_bits, _threads(threads))


@dataclass(frozen=True)
class BlockInfo:
    """One part of the payload: its kind, its first byte in the frame, its size and its CRC-32C."""

    kind: Literal["tables", "block"]
    offset: int
    size_bytes: int
    crc32c: int


@dataclass(frozen=True)
class FrameInfo:
    """What a frame says about itself, without decoding it.

    ``sections`` gives the exact number of bits of the header (with its check), spec, index, tables and payload; they
    add up to 8 * ``size_bytes``. ``spec`` has the fields a decoder needs; what steers only the encoder has its default.
    """

    version: int
    dtype: str
    shape: tuple[int, ...]
    layout: Layout
    spec: CodecSpec
    has_external_spec: bool
    block_shape: tuple[int, int]
    blocks_per_group: int
    size_bytes: int
    sections: dict[str, int]
    blocks: tuple[BlockInfo, ...]

    @property
    def values(self) -> int:
        """Number of values of the tensor."""
        return int(np.prod(self.shape, dtype=object))

    @property
    def bits_per_value(self) -> float:
        """Bits of the whole frame per value; infinite for a tensor without values."""
        return 8 * self.size_bytes / self.values if self.values else float("inf")


def inspect(buffer: Buffer, *, spec: CodecSpec | None = None) -> FrameInfo:
    """Read the header and index of a frame; the payload is not decoded and its checksums are not tested.

    Raises the errors of `decode` that concern header, spec and index.

    >>> info = fmcodec.inspect(fmcodec.encode(np.zeros((8, 4, 4), np.uint8)))
    >>> info.shape, info.dtype, sum(info.sections.values()) == 8 * info.size_bytes
    ((8, 4, 4), 'uint8', True)
    """
    frame = _core.ParsedFrame(bytes_view(buffer), None if spec is None else native_spec(spec))
    name, layout, shape = _outline(frame)
    fields = frame.describe()
    parts = [BlockInfo("tables" if is_tables else "block", *part) for is_tables, *part in fields["parts"]]
    bits = {
        "spec": 8 * fields["spec_size_bytes"],
        "index": 8 * fields["index_size_bytes"],
        "tables": 8 * sum(part.size_bytes for part in parts if part.kind == "tables"),
        "payload": 8 * sum(part.size_bytes for part in parts if part.kind == "block"),
    }
    return FrameInfo(
        version=fields["version"],
        dtype=name,
        shape=shape,
        layout=layout,
        spec=spec_of_native(frame.spec()),
        has_external_spec=fields["has_external_spec"],
        block_shape=fields["block_shape"],
        blocks_per_group=fields["blocks_per_group"],
        size_bytes=fields["size_bytes"],
        sections={"header": 8 * fields["size_bytes"] - sum(bits.values()), **bits},
        blocks=tuple(parts),
    )


def _prepare(x: Any, spec: CodecSpec | None, layout: Layout) -> tuple[npt.NDArray[Any], int, CodecSpec]:
    array, name = as_tensor(x)
    check_layout(layout)
    if array.ndim not in (3, 4):
        axes = "(N, C, H, W)" if layout == "nchw" else "(N, H, W, C)"
        raise ValueError(f"the array must have 3 or 4 axes, {axes} with or without N, not {array.ndim}: reshape it")
    return array, dtype_code(name), spec if spec is not None else _default_spec(x, array, name)


def _default_spec(x: Any, array: npt.NDArray[Any], name: str) -> CodecSpec:
    if name == "uint8":
        return CodecSpec()
    if name == "int8":
        return CodecSpec(zero_point=128)
    if name == "bfloat16":
        array = (array.astype(np.uint32) << 16).view(np.float32)
    if array.size == 0:
        return CodecSpec()
    low, high = float(array.min()), float(array.max())
    # NaN and infinity are for the core to refuse, with its own message.
    return CodecSpec.for_range(low, high) if np.isfinite([low, high]).all() else CodecSpec()


def _threads(threads: int) -> int:
    count = operator.index(threads)
    if count < 1:
        raise ValueError(f"threads must be at least 1, not {count}")
    return min(count, MAX_THREADS)


def _outline(frame: _core.ParsedFrame) -> tuple[str, Layout, tuple[int, ...]]:
    """Dtype name, layout, and shape of the array."""
    dtype, is_nhwc, rank, (images, channels, rows, columns) = frame.outline()
    shape = (rows, columns, channels) if is_nhwc else (channels, rows, columns)
    return DTYPE_NAMES[dtype], "nhwc" if is_nhwc else "nchw", shape if rank == 3 else (images, *shape)


def _nchw(per_axis: tuple[Any, ...], layout: Layout, missing: Any = 1) -> tuple[Any, Any, Any, Any]:
    """Reorder one entry per array axis to N, C, H, W."""
    if len(per_axis) not in (3, 4):
        raise ValueError(f"shape must have 3 or 4 axes, not {len(per_axis)}")
    images, *rest = per_axis if len(per_axis) == 4 else (missing, *per_axis)
    if layout == "nhwc":
        rest = [rest[2], rest[0], rest[1]]
    return images, rest[0], rest[1], rest[2]


def region_slices(region: Sequence[slice], shape: tuple[int, ...]) -> list[slice]:
    """The slices of a region with both ends in numbers; ValueError if it does not fit the shape."""
    if len(region) != len(shape):
        raise ValueError(f"region must have one slice per axis ({len(shape)}), not {len(region)}")
    slices = []
    for axis, (part, extent) in enumerate(zip(region, shape, strict=True)):
        if not isinstance(part, slice) or part.step not in (None, 1):
            raise ValueError(f"region[{axis}] must be a slice with step 1, not {part!r}")
        start, stop, _ = part.indices(extent)
        slices.append(slice(start, max(start, stop)))
    return slices
