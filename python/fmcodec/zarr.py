"""A codec of zarr v3 for arrays of feature maps. Zarr finds it by its name, ``"fmcodec"``; docs/zarr.md shows it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt
from zarr.abc.codec import ArrayBytesCodec, ArrayBytesCodecPartialDecodeMixin
from zarr.abc.store import RangeByteRequest

from fmcodec.arrays import DTYPE_CODES, check_layout
from fmcodec.codec import FrameInfo, Layout, decode, encode, encode_bound, inspect
from fmcodec.errors import CorruptStreamError
from fmcodec.partial import ByteRange, PartialFrame
from fmcodec.spec import CodecSpec
from fmcodec.streaming import HEADER_BYTES, frame_size, head_size

if TYPE_CHECKING:
    from zarr.abc.store import ByteGetter
    from zarr.core.array_spec import ArraySpec
    from zarr.core.buffer import Buffer, NDBuffer

# Read of a chunk before anything is known of it: the heads of most, and the whole of small ones.
FIRST_BYTES = 4096
# A request takes longer than so many bytes more.
MAX_GAP = 4096


@dataclass(frozen=True)
class FeatureMapCodec(ArrayBytesCodec, ArrayBytesCodecPartialDecodeMixin):
    """Chunks as frames: the serializer of a zarr array.

    Parameters
    ----------
    spec
        How chunks are coded, also as the dict of `CodecSpec.to_dict`. It is in the metadata of the array and not in the
        chunks. None: each chunk has a spec of its own, without loss for integers and with 8 bits over its range for
        floats.
    layout
        Order of the axes of a chunk: ``"nchw"`` for (C, H, W) and (N, C, H, W), ``"nhwc"`` for channels last.

    Raises
    ------
    ValueError
        The spec or the layout is wrong.
    """

    is_fixed_size = False

    spec: CodecSpec | None
    layout: Layout

    def __init__(self, spec: CodecSpec | Mapping[str, Any] | None = None, layout: Layout = "nchw") -> None:
        check_layout(layout)
        object.__setattr__(self, "spec", CodecSpec.from_dict(spec) if isinstance(spec, Mapping) else spec)
        object.__setattr__(self, "layout", layout)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """The codec that metadata describe."""
        return cls(**data.get("configuration", {}))

    def to_dict(self) -> dict[str, Any]:
        """What the metadata of an array hold."""
        configuration: dict[str, Any] = {"layout": self.layout}
        if self.spec is not None:
            configuration["spec"] = self.spec.to_dict()
        return {"name": "fmcodec", "configuration": configuration}

    def validate(self, *, shape: tuple[int, ...], dtype: Any, chunk_grid: Any) -> None:
        """ValueError or TypeError if chunks of an array cannot be coded."""
        name = self._name(dtype)
        if name not in DTYPE_CODES:
            raise TypeError(f"fmcodec codes {', '.join(DTYPE_CODES)}, not {name}")
        if len(shape) not in (3, 4):
            raise ValueError(f"fmcodec codes arrays of 3 or 4 axes, not {len(shape)}")
        # Says what is wrong if the spec is for another number of channels.
        encode_bound(chunk_grid.chunk_shape, name, self._any_spec, layout=self.layout)

    def compute_encoded_size(self, input_byte_length: int, chunk_spec: ArraySpec) -> int:
        """Frames have no fixed size."""
        raise NotImplementedError

    async def _encode_single(self, chunk_data: NDBuffer, chunk_spec: ArraySpec) -> Buffer:
        return await asyncio.to_thread(self._encode_sync, chunk_data, chunk_spec)

    def _encode_sync(self, chunk_data: NDBuffer, chunk_spec: ArraySpec) -> Buffer:
        frame = encode(chunk_data.as_numpy_array(), self.spec, layout=self.layout, embed_spec=self.spec is None)
        return chunk_spec.prototype.buffer.from_bytes(frame)

    async def _decode_single(self, chunk_data: Buffer, chunk_spec: ArraySpec) -> NDBuffer:
        return await asyncio.to_thread(self._decode_sync, chunk_data, chunk_spec)

    def _decode_sync(self, chunk_data: Buffer, chunk_spec: ArraySpec) -> NDBuffer:
        frame = chunk_data.as_numpy_array()
        self._check(inspect(frame, spec=self.spec), chunk_spec)
        return _nd_buffer(decode(frame, spec=self.spec), chunk_spec)

    async def _decode_partial_single(
        self, byte_getter: ByteGetter, selection: Any, chunk_spec: ArraySpec
    ) -> NDBuffer | None:
        region, inner = region_of_selection(selection, chunk_spec.shape)
        if all(part == slice(0, extent) for part, extent in zip(region, chunk_spec.shape, strict=True)):
            chunk = await byte_getter.get(chunk_spec.prototype)
            values = None if chunk is None else (await self._decode_single(chunk, chunk_spec)).as_numpy_array()
        else:
            values = await self._decode_region(byte_getter, region, chunk_spec)
        return None if values is None else _nd_buffer(np.asanyarray(values[inner]), chunk_spec)

    async def _decode_region(
        self, byte_getter: ByteGetter, region: tuple[slice, ...], chunk_spec: ArraySpec
    ) -> npt.NDArray[Any] | None:
        """A region of a chunk, of which only the bytes are read that it needs; None if there is no chunk."""
        first = await byte_getter.get(chunk_spec.prototype, RangeByteRequest(0, FIRST_BYTES))
        if first is None:
            return None
        chunk = _Chunk(byte_getter, first.to_bytes(), chunk_spec)
        size = frame_size(chunk.first[:HEADER_BYTES])
        limit = encode_bound(chunk_spec.shape, self._name(chunk_spec.dtype), self._any_spec, layout=self.layout)
        if size > limit:
            raise CorruptStreamError(f"the chunk announces {size} bytes; chunks of this array have at most {limit}")
        head = await chunk.read(ByteRange(0, head_size(chunk.first)))
        partial = PartialFrame(head, region, spec=self.spec, max_gap=MAX_GAP)
        self._check(partial.info, chunk_spec)
        pieces = await asyncio.gather(*map(chunk.read, partial.needed))
        return await asyncio.to_thread(partial.decode, dict(zip(partial.needed, pieces, strict=True)))

    def _check(self, info: FrameInfo, chunk_spec: ArraySpec) -> None:
        """CorruptStreamError if a chunk does not hold what the metadata say."""
        said = (chunk_spec.shape, self._name(chunk_spec.dtype), self.layout)
        if (info.shape, info.dtype, info.layout) != said:
            found = f"{info.dtype} of shape {info.shape} in layout {info.layout}"
            raise CorruptStreamError(f"the chunk holds {found}, not {said[1]} of shape {said[0]} in layout {said[2]}")

    @property
    def _any_spec(self) -> CodecSpec:
        # Those that chunks get without one differ in nothing that changes their size.
        return self.spec or CodecSpec()

    @staticmethod
    def _name(dtype: Any) -> str:
        return str(dtype.to_native_dtype().name)


class _Chunk:
    """A chunk in a store, of which the first bytes are there."""

    def __init__(self, byte_getter: ByteGetter, first: bytes, chunk_spec: ArraySpec) -> None:
        self._byte_getter = byte_getter
        self._prototype = chunk_spec.prototype
        self.first = first

    async def read(self, part: ByteRange) -> bytes:
        """The bytes of a range, or those of them that the store has."""
        known = self.first[part.start : part.stop]
        start = part.start + len(known)
        if start >= part.stop:
            return known
        rest = await self._byte_getter.get(self._prototype, RangeByteRequest(start, part.stop))
        return known if rest is None else known + rest.to_bytes()


def region_of_selection(
    selection: tuple[Any, ...], shape: tuple[int, ...]
) -> tuple[tuple[slice, ...], tuple[Any, ...]]:
    """The smallest region that holds a selection, and the selection within it.

    Parameters
    ----------
    selection
        Index of a chunk as zarr's indexers make it: for each axis a slice, a number, an array of numbers, or one of
        truth values.
    shape
        Shape of the chunk.

    Examples
    --------
    >>> region_of_selection((3, slice(2, 9, 3), np.array([4, 1])), (5, 10, 6))
    ((slice(3, 4, None), slice(2, 9, None), slice(1, 5, None)), (0, slice(0, 7, 3), array([3, 0])))
    """
    region: list[slice] = []
    inner: list[Any] = []
    for part, extent in zip(selection, shape, strict=True):
        if isinstance(part, slice):
            start, stop, step = part.indices(extent)
            places = range(start, stop, step)
            low, high = (places[0], places[-1] + 1) if places else (0, 0)
            inner.append(slice(0, high - low, step))
        else:
            numbers = np.asarray(part)
            numbers = np.flatnonzero(numbers) if numbers.dtype.kind == "b" else numbers
            low, high = int(numbers.min()), int(numbers.max()) + 1
            # A number drops its axis; an array of no axes would not.
            inner.append(numbers - low if numbers.ndim else int(numbers) - low)
        region.append(slice(low, high))
    return tuple(region), tuple(inner)


def _nd_buffer(values: npt.NDArray[Any], chunk_spec: ArraySpec) -> NDBuffer:
    return chunk_spec.prototype.nd_buffer.from_numpy_array(values)
