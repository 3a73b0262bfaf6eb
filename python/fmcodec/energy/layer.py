"""From a layer and its accelerator to an access plan: tiles, halos, re-reads, whole blocks and side information."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal, NamedTuple

import msgspec

from fmcodec.energy.plan import AccessPlan, Direction, Run
from fmcodec.energy.storage import BlockMap, Piece, RawMap, Shape, StoredMap, check_shape
from fmcodec.errors import FmcodecError

LoopOrder = Literal["rows", "channels"]
# Tensors begin at multiples of a common page of memory.
TENSOR_ALIGNMENT = 4096


class Layer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One convolution, or any operation that reads one map and writes another.

    Parameters
    ----------
    name
        Of the layer, and of the map it writes.
    input_shape, output_shape
        (C, H, W) of the maps.
    kernel, stride, padding
        Of the convolution, in both directions; ``padding`` is (kernel - 1) // 2 unless given.
    groups
        Groups of channels; as many as channels for a depthwise convolution.
    weight_bits
        Bits of a weight; 0 for an operation without weights.
    source
        Layer whose map is read; by default the one before, and for the first layer an image of 8 bits.
    shortcut
        Layer whose map, of the output's shape, is read again and added; none by default.

    Raises
    ------
    FmcodecError
        A number is out of its range, or channels do not divide into groups.
    """

    name: str
    input_shape: Shape
    output_shape: Shape
    kernel: int = 1
    stride: int = 1
    padding: int | None = None
    groups: int = 1
    weight_bits: int = 8
    source: str | None = None
    shortcut: str | None = None

    def __post_init__(self) -> None:
        check_shape(self.input_shape)
        check_shape(self.output_shape)
        if self.kernel < 1 or self.stride < 1 or (self.padding or 0) < 0 or not 0 <= self.weight_bits <= 64:
            raise FmcodecError(
                f"{self.name}: kernel and stride must be positive, padding 0 or more, weight_bits 0 to 64"
            )
        if self.groups < 1 or self.input_shape[0] % self.groups or self.output_shape[0] % self.groups:
            raise FmcodecError(f"{self.name}: channels must divide into {self.groups} groups")

    @property
    def weights(self) -> int:
        """Number of weights."""
        per_output = self.input_shape[0] // self.groups * self.kernel**2
        return self.output_shape[0] * per_output if self.weight_bits else 0

    @property
    def macs(self) -> int:
        """Multiply-accumulates."""
        return self.weights * self.output_shape[1] * self.output_shape[2]

    def input_rows(self, first: int, last: int) -> tuple[int, int]:
        """Rows of the input that output rows ``first`` up to but not including ``last`` need, with halo."""
        padding = (self.kernel - 1) // 2 if self.padding is None else self.padding
        low = max(first * self.stride - padding, 0)
        high = min((last - 1) * self.stride - padding + self.kernel, self.input_shape[1])
        return min(low, self.input_shape[1]), max(high, low)

    def input_channels(self, first: int, last: int) -> tuple[int, int]:
        """Channels of the input that a range of output channels needs."""
        if self.groups == 1:
            return 0, self.input_shape[0]
        per_group = self.output_shape[0] // self.groups
        size = self.input_shape[0] // self.groups
        return first // per_group * size, -(-last // per_group) * size


class Tiling(NamedTuple):
    """Output rows and channels of a tile, and which of the two loops is the outer one."""

    rows: int
    channels: int
    outer: LoopOrder


class LayerWork(NamedTuple):
    """What a layer moves and computes: its plan, multiply-accumulates, and values that a codec decodes and encodes."""

    plan: AccessPlan
    macs: int
    decoded: int
    encoded: int


def choose_tiling(layer: Layer, buffer_bytes: int, *, outer: LoopOrder | None = None, whole: bool = False) -> Tiling:
    """The tiles with the fewest bytes moved, at 8 bits per value, among those that fit on chip.

    Input with halo, output, weights and shortcut of one tile must fit together. With rows as the outer loop, an input
    tile is read once and all weights for each of them; with channels as the outer loop, weights are read once and the
    input for each tile of output channels.

    Parameters
    ----------
    layer
        The layer.
    buffer_bytes
        Bytes of the buffer on chip.
    outer
        The outer loop; by default the better one.
    whole
        Whether all channels of a row must be on chip together, as compressed blocks need it. Rows are the outer loop
        then.

    Raises
    ------
    FmcodecError
        Not even one row of one channel fits.
    """
    depth, height, _ = layer.output_shape
    best: tuple[int, Tiling] | None = None
    both: tuple[LoopOrder, ...] = ("rows", "channels")
    for loop in both[:1] if whole else both if outer is None else (outer,):
        for channels in _halves(depth):
            for rows in _halves(height):
                tiling = Tiling(rows, channels, loop)
                if _tile_bytes(layer, tiling, whole) <= buffer_bytes:
                    moved = _moved_bytes(layer, tiling)
                    if best is None or moved < best[0]:
                        best = moved, tiling
                    break
    if best is None:
        needed = _tile_bytes(layer, Tiling(1, 1, "rows"), whole)
        raise FmcodecError(f"{layer.name}: one row needs {needed} bytes on chip, the buffer has {buffer_bytes}")
    return best[1]


def layer_work(
    layer: Layer, stored_input: StoredMap, stored_output: StoredMap, tiling: Tiling, shortcut: StoredMap | None = None
) -> LayerWork:
    """The plan of a layer and the values that its codec handles.

    While a tile is read, the output of the tile before is written (double buffering). Compressed blocks are read whole,
    as often as a tile needs a part of them, and written when their last row is there. Side information is read before
    the first tile and written after the last.

    Raises
    ------
    FmcodecError
        A stored map has another shape than the layer's, or output blocks would not get all their channels together.
    """
    expected = (layer.input_shape, layer.output_shape, layer.output_shape)
    for stored, shape in zip((stored_input, stored_output, shortcut), expected, strict=True):
        if stored is not None and stored.shape != shape:
            raise FmcodecError(f"{layer.name}: the stored map is {stored.shape}, the layer has {shape}")
    if isinstance(stored_output, BlockMap) and tiling.outer == "channels" and tiling.channels < layer.output_shape[0]:
        raise FmcodecError(f"{layer.name}: blocks hold all channels, so rows must be the outer loop")
    writer = _Writer(layer, stored_input, stored_output, shortcut)
    tiles = list(_tiles(layer, tiling))
    writer.side("input", "read", writer.base["input"], stored_input, 0)
    for order, tile in enumerate(tiles):
        writer.read_tile(order, tile, tiles[order - 1] if order else None)
        writer.write_tile(order + 1, tile, is_last=tile.last_channel == layer.output_shape[0])
    writer.side("output", "write", writer.base["output"], stored_output, len(tiles))
    encoded = math.prod(layer.output_shape) if isinstance(stored_output, BlockMap) else 0
    return LayerWork(AccessPlan(tuple(writer.runs)), layer.macs, writer.decoded, encoded)


def map_work(stored: StoredMap, name: str = "map") -> LayerWork:
    """A map that is written once and read once, each from its first byte to its last."""
    height = stored.shape[1]
    coded = math.prod(stored.shape) if isinstance(stored, BlockMap) else 0
    directions: tuple[Direction, Direction] = ("write", "read")
    runs = []
    for order, direction in enumerate(directions):
        if stored.side_bytes:
            runs.append(Run(tensor=name, direction=direction, start=0, length=stored.side_bytes, order=order))
        runs += [_run(name, direction, 0, piece, order) for piece in stored.rows(0, height)]
    return LayerWork(AccessPlan(tuple(runs)), 0, coded, coded)


class _Tile(NamedTuple):
    """Output rows and channels."""

    first_row: int
    last_row: int
    first_channel: int
    last_channel: int


class _Writer:
    """Gathers the runs of a layer; ``base`` has the address of each tensor."""

    def __init__(self, layer: Layer, source: StoredMap, target: StoredMap, shortcut: StoredMap | None) -> None:
        self.layer, self.source, self.target, self.shortcut = layer, source, target, shortcut
        self.runs: list[Run] = []
        self.decoded = 0
        self.base: dict[str, int] = {}
        at = 0
        weight_bytes = -(-layer.weights * layer.weight_bits // 8)
        for name, size in (
            ("input", source.size_bytes),
            ("output", target.size_bytes),
            ("weights", weight_bytes),
            ("shortcut", shortcut.size_bytes if shortcut else 0),
        ):
            self.base[name] = at
            at += -(-size // TENSOR_ALIGNMENT) * TENSOR_ALIGNMENT

    def side(self, name: str, direction: Direction, base: int, stored: StoredMap, order: int) -> None:
        """Header, index and tables of a compressed map."""
        if stored.side_bytes:
            run = Run(tensor=f"{name} side", direction=direction, start=base, length=stored.side_bytes, order=order)
            self.runs.append(run)

    def read_tile(self, order: int, tile: _Tile, before: _Tile | None) -> None:
        """What the tile needs and the one before did not leave on chip."""
        rows = self.layer.input_rows(tile.first_row, tile.last_row)
        channels = self._input_channels(tile)
        if before is None or (rows, channels) != (
            self.layer.input_rows(before.first_row, before.last_row),
            self._input_channels(before),
        ):
            self._move("input", "read", self.source, rows, channels, order)
            self.decoded += self.source.values(*rows, channels)
        if self.layer.weights and (before is None or tile[2:] != before[2:]):
            self._weights(order, tile)
        if self.shortcut is not None:
            # Whole blocks hold all channels: they come with the first tile of their rows.
            if isinstance(self.shortcut, RawMap):
                self._move("shortcut", "read", self.shortcut, tile[:2], tile[2:], order)
            elif tile.first_channel == 0:
                self._move("shortcut", "read", self.shortcut, tile[:2], None, order)
                self.decoded += self.shortcut.values(*tile[:2])

    def _input_channels(self, tile: _Tile) -> tuple[int, int]:
        """Blocks hold all channels, so they stay on chip for all tiles of their rows."""
        if isinstance(self.source, BlockMap):
            return 0, self.source.shape[0]
        return self.layer.input_channels(tile.first_channel, tile.last_channel)

    def _weights(self, order: int, tile: _Tile) -> None:
        per_channel = self.layer.weights // self.layer.output_shape[0] * self.layer.weight_bits
        first, last = tile.first_channel * per_channel // 8, -(-tile.last_channel * per_channel // 8)
        self.runs.append(_run("weights", "read", self.base["weights"], Piece(first, last - first), order))

    def write_tile(self, order: int, tile: _Tile, *, is_last: bool) -> None:
        """The output of a tile, or the blocks whose last row is in it, once all channels of its rows are there."""
        if isinstance(self.target, RawMap):
            self._move("output", "write", self.target, tile[:2], tile[2:], order)
        elif is_last:
            unit, height = self.target.block_rows, self.target.shape[1]
            first = tile.first_row // unit * unit
            last = tile.last_row if tile.last_row == height else tile.last_row // unit * unit
            self._move("output", "write", self.target, (first, last), None, order)

    def _move(
        self,
        name: str,
        direction: Direction,
        stored: StoredMap,
        rows: tuple[int, int],
        channels: tuple[int, int] | None,
        order: int,
    ) -> None:
        pieces = stored.rows(*rows, channels)
        self.runs += [_run(name, direction, self.base[name], piece, order) for piece in pieces if piece.length]


def _run(name: str, direction: Direction, base: int, piece: Piece, order: int) -> Run:
    return Run(
        tensor=name,
        direction=direction,
        start=base + piece.start,
        length=piece.length,
        count=piece.number,
        stride=piece.stride,
        order=order,
    )


def _tiles(layer: Layer, tiling: Tiling) -> Iterator[_Tile]:
    depth, height, _ = layer.output_shape
    rows = [(row, min(row + tiling.rows, height)) for row in range(0, height, tiling.rows)]
    channels = [(c, min(c + tiling.channels, depth)) for c in range(0, depth, tiling.channels)]
    if tiling.outer == "rows":
        return (_Tile(*r, *c) for r in rows for c in channels)
    return (_Tile(*r, *c) for c in channels for r in rows)


def _halves(size: int) -> list[int]:
    """``size``, half of it rounded up, and so on down to 1."""
    sizes = [size]
    while sizes[-1] > 1:
        sizes.append(-(-sizes[-1] // 2))
    return sizes


def _tile_bytes(layer: Layer, tiling: Tiling, whole: bool) -> int:
    """Bytes on chip, at one byte for a value."""
    depth, _, width = layer.output_shape
    low, high = layer.input_channels(0, tiling.channels)
    # The tallest input tile is one in the middle, without padding.
    rows = min((tiling.rows - 1) * layer.stride + layer.kernel, layer.input_shape[1])
    source = (layer.input_shape[0] if whole else high - low) * rows * layer.input_shape[2]
    target = (depth if whole else tiling.channels) * tiling.rows * width
    weights = layer.weights // depth * tiling.channels * layer.weight_bits // 8
    return source + target * (2 if layer.shortcut else 1) + weights


def _moved_bytes(layer: Layer, tiling: Tiling) -> int:
    depth, height, width = layer.output_shape
    row_tiles, channel_tiles = -(-height // tiling.rows), -(-depth // tiling.channels)
    weights = layer.weights * layer.weight_bits // 8
    source = 0
    for first in range(0, height, tiling.rows):
        low, high = layer.input_rows(first, min(first + tiling.rows, height))
        source += (high - low) * layer.input_shape[0] * layer.input_shape[2]
    if tiling.outer == "rows":
        weights *= row_tiles if channel_tiles > 1 else 1
    elif layer.groups == 1 and row_tiles > 1:
        source *= channel_tiles
    return source + weights + depth * height * width * (2 if layer.shortcut else 1)
