"""How a feature map lies in DRAM, raw or as compressed blocks, and which bytes a part of it touches."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import msgspec

from fmcodec.codec import FrameInfo
from fmcodec.errors import FmcodecError

Shape = tuple[int, int, int]
Placement = Literal["packed", "aligned", "slot"]
PLACEMENTS: tuple[Placement, ...] = ("packed", "aligned", "slot")


class Piece(NamedTuple):
    """Equal pieces at equal distances, from the start of the map; see `Run`."""

    start: int
    length: int
    number: int = 1
    stride: int = 0


class RawMap(msgspec.Struct, frozen=True, kw_only=True):
    """A map as it is: (C, H, W) of ``bits`` each, channel by channel (``nchw``) or position by position (``nhwc``)."""

    shape: Shape
    bits: int = 8
    layout: Literal["nchw", "nhwc"] = "nchw"

    def __post_init__(self) -> None:
        check_shape(self.shape)
        if not 1 <= self.bits <= 64:
            raise FmcodecError(f"bits of a raw map must be 1 to 64, not {self.bits}")
        if self.layout not in ("nchw", "nhwc"):
            raise FmcodecError(f"layout must be 'nchw' or 'nhwc', not {self.layout!r}")

    @property
    def size_bytes(self) -> int:
        """Bytes of the whole map; it begins and ends at a byte."""
        return _bytes(math.prod(self.shape), self.bits)

    @property
    def side_bytes(self) -> int:
        """A raw map has nothing beside its values."""
        return 0

    def rows(self, first: int, last: int, channels: tuple[int, int] | None = None) -> list[Piece]:
        """The pieces that hold rows ``first`` up to but not including ``last`` of a range of channels."""
        depth, height, width = self.shape
        low, high = channels or (0, depth)
        if first >= last or low >= high:
            return []
        if self.layout == "nchw":
            return self._span(low * height * width, first * width, last * width, high - low, height * width)
        if (low, high) == (0, depth):
            return self._span(0, first * width * depth, last * width * depth, 1, 0)
        return self._span(first * width * depth, low, high, (last - first) * width, depth)

    def values(self, first: int, last: int, channels: tuple[int, int] | None = None) -> int:
        """Values that a codec decodes for these rows: none."""
        return 0

    def _span(self, origin: int, low: int, high: int, count: int, stride: int) -> list[Piece]:
        """Values ``low`` to ``high`` of ``count`` parts, ``stride`` values from one to the next."""
        if count > 1 and high - low == stride:
            low, high, count, stride = low, low + count * stride, 1, 0
        start = (origin + low) * self.bits // 8
        return [Piece(start, _bytes(origin + high, self.bits) - start, count, stride * self.bits // 8)]


class BlockMap(msgspec.Struct, frozen=True, kw_only=True):
    """A map as compressed blocks that decode alone: each holds all channels of some rows and columns.

    Parameters
    ----------
    shape
        (C, H, W).
    block_rows, block_columns
        Size of a block; those at the right and lower border may be smaller. Blocks go from left to right, then down.
    block_bytes
        Bytes of each block as coded.
    side_bytes
        Bytes of header, spec, index and tables, in front of the blocks. They are moved once and then kept on chip.
    placement
        Blocks one right after the other (``"packed"``), each from a multiple of ``slot_bytes`` on (``"aligned"``; take
        the bytes of a burst), or each in a place of ``slot_bytes`` of its own (``"slot"``), which needs no index.
    slot_bytes
        See ``placement``.

    Raises
    ------
    FmcodecError
        The number of blocks is another one than that of the grid, or a block does not fit into its slot.
    """

    shape: Shape
    block_rows: int
    block_columns: int
    block_bytes: tuple[int, ...]
    side_bytes: int = 0
    placement: Placement = "packed"
    slot_bytes: int = 64

    def __post_init__(self) -> None:
        check_shape(self.shape)
        if self.block_rows < 1 or self.block_columns < 1 or self.side_bytes < 0:
            raise FmcodecError("blocks need at least one row and one column, and side_bytes must not be negative")
        if len(self.block_bytes) != self.grid[0] * self.grid[1]:
            raise FmcodecError(
                f"{self.grid[0]} x {self.grid[1]} blocks need as many sizes, not {len(self.block_bytes)}"
            )
        if self.placement not in PLACEMENTS or self.slot_bytes < 1:
            raise FmcodecError(f"placement must be one of {', '.join(PLACEMENTS)}, and slot_bytes positive")
        if self.placement == "slot" and max(self.block_bytes, default=0) > self.slot_bytes:
            raise FmcodecError(
                f"a block of {max(self.block_bytes)} bytes does not fit into a slot of {self.slot_bytes}"
            )

    @classmethod
    def of_frame(cls, info: FrameInfo, *, placement: Placement = "packed", slot_bytes: int = 64) -> BlockMap:
        """The blocks of a frame of one image, as `inspect` gives them.

        Raises
        ------
        FmcodecError
            The frame holds several images, or a block does not fit into its slot.
        """
        *batch, depth, height, width = info.shape if info.layout == "nchw" else _nchw(info.shape)
        if math.prod(batch) != 1:
            raise FmcodecError(f"a frame of {math.prod(batch)} images has no single map: encode images one by one")
        blocks = tuple(part.size_bytes for part in info.blocks if part.kind == "block")
        return cls(
            shape=(depth, height, width),
            block_rows=info.block_shape[0],
            block_columns=info.block_shape[1],
            block_bytes=blocks,
            side_bytes=info.size_bytes - sum(blocks),
            placement=placement,
            slot_bytes=slot_bytes,
        )

    @classmethod
    def even(
        cls,
        shape: Shape,
        bits: float,
        *,
        block_rows: int = 8,
        side_bytes: int = 0,
        raw_bits: int = 8,
        placement: Placement = "packed",
        slot_bytes: int = 64,
    ) -> BlockMap:
        """Blocks of full rows that share ``bits`` per value evenly, side information included in them.

        A block that would be larger than its values at ``raw_bits`` is stored raw, as the codec does. Slots that are
        too small for that grow to the next multiple of ``slot_bytes``.
        """
        check_shape(shape)
        check_bits(bits)
        depth, height, width = shape
        heights = [min(block_rows, height - row) for row in range(0, height, block_rows)]
        share = max(bits - 8 * side_bytes / math.prod(shape), 0.0)
        sizes = tuple(_bytes(depth * rows * width, min(share, raw_bits)) for rows in heights)
        if placement == "slot":
            slot_bytes = -(-max(sizes) // slot_bytes) * slot_bytes
        return cls(
            shape=shape,
            block_rows=block_rows,
            block_columns=width,
            block_bytes=sizes,
            side_bytes=side_bytes,
            placement=placement,
            slot_bytes=slot_bytes,
        )

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of blocks."""
        return -(-self.shape[1] // self.block_rows), -(-self.shape[2] // self.block_columns)

    @property
    def offsets(self) -> list[int]:
        """First byte of each block, and the end of the last."""
        unit = 1 if self.placement == "packed" else self.slot_bytes
        at = -(-self.side_bytes // unit) * unit
        offsets = [at]
        for size in self.block_bytes:
            at += self.slot_bytes if self.placement == "slot" else -(-size // unit) * unit
            offsets.append(at)
        return offsets

    @property
    def size_bytes(self) -> int:
        """Bytes that the map occupies, side information and gaps included."""
        return self.offsets[-1]

    def rows(self, first: int, last: int, channels: tuple[int, int] | None = None) -> list[Piece]:
        """The pieces that hold these rows: whole blocks, with all their channels; neighbours that touch as one."""
        offsets = self.offsets
        pieces: list[Piece] = []
        for block in self._blocks(first, last):
            start, length = offsets[block], self.block_bytes[block]
            if pieces and pieces[-1].start + pieces[-1].length == start:
                pieces[-1] = Piece(pieces[-1].start, pieces[-1].length + length)
            else:
                pieces.append(Piece(start, length))
        return pieces

    def values(self, first: int, last: int, channels: tuple[int, int] | None = None) -> int:
        """Values that a codec decodes for these rows: those of whole blocks."""
        depth, height, width = self.shape
        low = first // self.block_rows * self.block_rows
        high = min(-(-last // self.block_rows) * self.block_rows, height)
        return depth * max(high - low, 0) * width if first < last else 0

    def _blocks(self, first: int, last: int) -> range:
        if first >= last:
            return range(0)
        columns = self.grid[1]
        return range(first // self.block_rows * columns, -(-min(last, self.shape[1]) // self.block_rows) * columns)


StoredMap = RawMap | BlockMap


def check_shape(shape: Shape) -> None:
    """That a shape is three positive numbers."""
    if len(shape) != 3 or min(shape) < 1:
        raise FmcodecError(f"a map has the shape (C, H, W) of positive numbers, not {tuple(shape)}")


def check_bits(bits: float) -> None:
    """That bits per value are a number from 0 to 64."""
    if not (math.isfinite(bits) and 0.0 <= bits <= 64.0):
        raise FmcodecError(f"bits per value must be 0 to 64, not {bits}")


def _bytes(values: int, bits: float) -> int:
    return math.ceil(values * bits / 8)


def _nchw(shape: tuple[int, ...]) -> tuple[int, ...]:
    *batch, height, width, depth = shape
    return (*batch, depth, height, width)
