"""A region of a frame from a part of its bytes, for frames in files and stores that can be read in ranges."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy.typing as npt

from fmcodec.arrays import Buffer, bytes_view
from fmcodec.codec import DEFAULT_MAX_BYTES, FrameInfo, decode, inspect, region_slices
from fmcodec.errors import TruncatedStreamError
from fmcodec.reference.transform import CellAxis
from fmcodec.spec import CodecSpec
from fmcodec.streaming import HEADER_BYTES, ZERO_SECTION, check_head, frame_size, head_size, with_parts


class ByteRange(NamedTuple):
    """Bytes of a frame, from ``start`` up to but not including ``stop``."""

    start: int
    stop: int


class PartialFrame:
    """A frame of which the head is known: which other bytes a region needs, and its values once they are there.

    Parameters
    ----------
    head
        The first `head_size` bytes of the frame, or more of them.
    region
        One slice per axis of the array, each with step 1, as in `fmcodec.decode`.
    spec
        The spec the frame was encoded with; only needed for frames with an external one.
    max_gap
        Needed ranges with at most so many bytes between them are read as one.

    Raises
    ------
    FmcodecError
        The head is damaged or cut off, or the external spec is missing or another one.
    ValueError
        ``region`` does not fit.

    Examples
    --------
    >>> frame = fmcodec.encode(np.ones((4, 2, 8, 8), np.uint8))
    >>> rows = (slice(2, 3), slice(0, 2), slice(0, 4), slice(0, 8))
    >>> partial = PartialFrame(frame[: head_size(frame)], rows)
    >>> values = partial.decode({needed: frame[needed.start : needed.stop] for needed in partial.needed})
    >>> values.shape, int(values.min())
    ((1, 2, 4, 8), 1)
    """

    def __init__(
        self, head: bytes, region: Sequence[slice], *, spec: CodecSpec | None = None, max_gap: int = 0
    ) -> None:
        frame_size(head[:HEADER_BYTES])
        self._head = head[: head_size(head)]
        if len(self._head) < head_size(head):
            raise TruncatedStreamError("the frame ends inside its spec or index", len(head))
        self._spec = spec
        self._entries = check_head(self._head)
        # Parts that are not there are empty: blocks of zeros, which a region never looks at.
        self.info: FrameInfo = inspect(with_parts(self._head, [b""] * len(self._entries)), spec=spec)
        self._slices = region_slices(region, self.info.shape)
        ends = list(itertools.accumulate((size for size, _ in self._entries), initial=len(self._head)))
        self._places = {number: ByteRange(*ends[number : number + 2]) for number in self._wanted_parts()}
        self.needed = _joined(self._places.values(), max_gap)

    def decode(
        self, content: Mapping[ByteRange, Buffer], *, max_bytes: int = DEFAULT_MAX_BYTES, threads: int = 1
    ) -> npt.NDArray[Any]:
        """The values of the region, as `fmcodec.decode` gives them.

        Parameters
        ----------
        content
            The bytes of each range of ``needed``.
        max_bytes, threads
            As in `fmcodec.decode`.

        Raises
        ------
        FmcodecError
            The bytes are damaged or too few. Positions in messages are those in a frame without what is not needed.
        """
        parts = [ZERO_SECTION if part.kind == "tables" else b"" for part in self.info.blocks]
        for number, (start, stop) in self._places.items():
            source = next(needed for needed in self.needed if needed.start <= start and stop <= needed.stop)
            parts[number] = bytes(bytes_view(content[source])[start - source.start : stop - source.start])
            if len(parts[number]) < stop - start:
                raise TruncatedStreamError(f"the frame ends before the end of its part at bytes {start} to {stop}")
        frame = with_parts(self._head, parts, {number: self._entries[number][1] for number in self._places})
        return decode(frame, spec=self._spec, max_bytes=max_bytes, threads=threads, region=self._slices)

    def _wanted_parts(self) -> list[int]:
        """Numbers of the blocks that overlap the region, and of their tables (docs/format.md, sections 2.2 and 2.3)."""
        info = self.info
        blocks = _blocks_of_region(info, self._slices)
        if info.spec.tables is not None:
            return blocks
        groups = {block // info.blocks_per_group for block in blocks}
        tables = [group * (info.blocks_per_group + 1) for group in groups]
        return sorted([*tables, *(block + block // info.blocks_per_group + 1 for block in blocks)])


def _blocks_of_region(info: FrameInfo, slices: Sequence[slice]) -> list[int]:
    """Numbers of the blocks that overlap a region."""
    if any(part.start == part.stop for part in slices):
        return []
    images, *rest = slices if len(slices) == 4 else (slice(0, 1), *slices)
    rows, columns = rest[:2] if info.layout == "nhwc" else rest[1:]
    extents = info.shape[-3:-1] if info.layout == "nhwc" else info.shape[-2:]
    size = info.spec.spatial_size
    down, across = (CellAxis(extent, size) for extent in extents)
    height, width = info.block_shape  # in cells
    tiles_across = math.ceil(len(across.extents) / width)
    tiles_down = math.ceil(len(down.extents) / height)
    return [
        (image * tiles_down + row) * tiles_across + column
        for image in range(images.start, images.stop)
        for row in range(down.cells[rows.start] // height, down.cells[rows.stop - 1] // height + 1)
        for column in range(across.cells[columns.start] // width, across.cells[columns.stop - 1] // width + 1)
    ]


def _joined(ranges: Iterable[ByteRange], max_gap: int) -> list[ByteRange]:
    """Ranges in ascending order, those near each other as one."""
    joined: list[ByteRange] = []
    for part in ranges:
        if joined and part.start - joined[-1].stop <= max_gap:
            joined[-1] = ByteRange(joined[-1].start, part.stop)
        else:
            joined.append(part)
    return joined
