"""Frames: header, index, tiles, and the whole encoder and decoder (docs/format.md, sections 2 and 10.1)."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fmcodec.errors import (
    ChecksumError,
    CorruptStreamError,
    LimitExceededError,
    TruncatedStreamError,
    UnsupportedVersionError,
)
from fmcodec.reference.bits import IntArray
from fmcodec.reference.blocks import BlockCoder
from fmcodec.reference.choice import choose_tables
from fmcodec.reference.entropy import token_minimum
from fmcodec.reference.quantize import DTYPE_CODES, dtype_name, levels_from_values, to_binary32, values_from_levels
from fmcodec.reference.section import (
    MOST_CHANNELS,
    check_fit,
    crc32c,
    read_spec_section,
    resolve_external,
    write_external_part,
    write_spec_section,
)
from fmcodec.reference.tables import read_class_section, write_class_section
from fmcodec.reference.transform import (
    band_total,
    cells_from_images,
    coefficients_from_levels,
    coefficients_from_spatial,
    coefficients_from_symbols,
    first_flag_band,
    images_from_cells,
    levels_from_coefficients,
    spatial_from_coefficients,
    symbols_from_coefficients,
    with_exact_zeros,
    zero_flags,
)
from fmcodec.spec import CodecSpec, Tables

Layout = Literal["nchw", "nhwc"]

MAGIC = b"\x66\x6d\x63\xa5"
VERSION = 7
FLAG_NHWC = 1
FLAG_EXTERNAL = 2
HEADER = struct.Struct("<4sHBBBBH4IIIIIQ")
HEADER_START_SIZE = 6
INDEX_ENTRY = struct.Struct("<II")
CHECK_SIZE = 4
GROUP_VALUES = 2**20
MOST_BLOCKS_PER_GROUP = 64
BLOCK_VALUES = 2**18


class Header(NamedTuple):
    """Section 2.1: the fields after the version, in the order of the stream."""

    flags: int
    dtype: int
    rank: int
    reserved: int
    blocks_per_group: int
    images: int
    channels: int
    rows: int
    columns: int
    tile_height: int
    tile_width: int
    spec_size: int
    index_count: int
    payload_size: int

    @property
    def value_count(self) -> int:
        """Values of the tensor."""
        return self.images * self.channels * self.rows * self.columns

    @property
    def dtype_name(self) -> str:
        """Name of the dtype."""
        return next(name for name, code in DTYPE_CODES.items() if code == self.dtype)

    def to_bytes(self) -> bytes:
        """Section 2.1: the header."""
        return HEADER.pack(MAGIC, VERSION, *self)


def read_header(frame: bytes) -> Header:
    """Section 2.1: the header of a frame, checked."""
    if len(frame) < HEADER_START_SIZE:
        raise TruncatedStreamError("the header is incomplete", len(frame))
    if frame[:4] != MAGIC:
        raise CorruptStreamError("not a frame: the magic number is missing", 0)
    version = int.from_bytes(frame[4:6], "little")
    if version != VERSION:
        raise UnsupportedVersionError(f"version {version} is not {VERSION}", 4)
    if len(frame) < HEADER.size:
        raise TruncatedStreamError("the header is incomplete", len(frame))
    header = Header(*HEADER.unpack(frame[: HEADER.size])[2:])

    checks = [
        (header.flags <= FLAG_NHWC | FLAG_EXTERNAL, "flags", 6),
        (header.dtype in DTYPE_CODES.values(), "dtype", 7),
        (header.rank in (3, 4), "rank", 8),
        (header.reserved == 0, "reserved byte", 9),
        (header.blocks_per_group >= 1, "blocks_per_group", 10),
        (header.value_count < 2**62 and header.channels <= MOST_CHANNELS, "shape", 12),
        (1 <= header.tile_height <= max(header.rows, 1), "tile_height", 28),
        (1 <= header.tile_width <= max(header.columns, 1), "tile_width", 32),
        (header.rank == 4 or header.images == 1, "N", 12),
    ]
    for is_valid, field, offset in checks:
        if not is_valid:
            raise CorruptStreamError(f"{field} of the header is not valid", offset)
    return header


def cell_grid(header: Header, spec: CodecSpec) -> tuple[int, int]:
    """Section 2.2: rows and columns of cells."""
    return -(-header.rows // spec.spatial_size), -(-header.columns // spec.spatial_size)


def block_count(header: Header, spec: CodecSpec) -> int:
    """Section 2.2: tiles of all images, none if the tensor has no values."""
    if not header.value_count:
        return 0
    rows, columns = cell_grid(header, spec)
    return header.images * -(-rows // header.tile_height) * -(-columns // header.tile_width)


def tiles(header: Header, spec: CodecSpec) -> Iterator[tuple[int, slice, slice]]:
    """Section 2.2: image, rows and columns of cells of every block of a tensor with values, in order."""
    rows, columns = cell_grid(header, spec)
    for image in range(header.images):
        for row in range(0, rows, header.tile_height):
            for column in range(0, columns, header.tile_width):
                yield image, slice(row, row + header.tile_height), slice(column, column + header.tile_width)


def tile_shape(spec: CodecSpec, channels: int, rows: int, columns: int) -> tuple[int, int]:
    """Section 10.1: rows and columns of a tile, in cells; sizes of 0 count as 1."""
    size = spec.spatial_size
    channels, rows, columns = max(channels, 1) * size**2, max(-(-rows // size), 1), max(-(-columns // size), 1)
    if spec.block_shape is not None:
        return min(-(-spec.block_shape[0] // size), rows), min(-(-spec.block_shape[1] // size), columns)
    positions = max(64, BLOCK_VALUES // channels)
    if columns > positions:
        return 1, positions
    target_rows = positions // columns
    tile_count = max(1, (2 * rows + target_rows) // (2 * target_rows))
    return -(-rows // tile_count), columns


def encode(
    x: NDArray[Any], spec: CodecSpec, *, layout: Layout = "nchw", dtype: str | None = None, embed_spec: bool = True
) -> bytes:
    """The frame of an array of rank 3 or 4 (section 2). ``dtype="bfloat16"`` reads uint16 as bfloat16 bit patterns."""
    name = dtype_name(x, dtype)
    if x.ndim not in (3, 4):
        raise ValueError(f"the array must have rank 3 or 4, not {x.ndim}")
    if layout not in ("nchw", "nhwc"):
        raise ValueError(f"layout must be 'nchw' or 'nhwc', not {layout!r}")
    values = to_binary32(x if x.ndim == 4 else x[np.newaxis], name)
    if layout == "nhwc":
        values = values.transpose(0, 3, 1, 2)
    images, channels, rows, columns = values.shape
    check_fit(spec, name, channels)

    tile_height, tile_width = tile_shape(spec, channels, rows, columns)
    header = Header(
        flags=FLAG_NHWC * (layout == "nhwc") + FLAG_EXTERNAL * (not embed_spec),
        dtype=DTYPE_CODES[name],
        rank=x.ndim,
        reserved=0,
        blocks_per_group=min(
            max(GROUP_VALUES // (tile_height * tile_width * max(channels, 1) * spec.spatial_size**2), 1),
            MOST_BLOCKS_PER_GROUP,
        ),
        images=images,
        channels=channels,
        rows=rows,
        columns=columns,
        tile_height=tile_height,
        tile_width=tile_width,
        spec_size=0,
        index_count=0,
        payload_size=0,
    )
    spec_part = write_spec_section(spec) if embed_spec else write_external_part(spec)
    parts = _payload_parts(values, header, spec)
    payload = b"".join(parts)
    header = header._replace(spec_size=len(spec_part), index_count=len(parts), payload_size=len(payload))
    index = b"".join(INDEX_ENTRY.pack(len(part), crc32c(part)) for part in parts)
    head = header.to_bytes() + spec_part + index
    return head + crc32c(head).to_bytes(CHECK_SIZE, "little") + payload


def _payload_parts(values: NDArray[np.float32], header: Header, spec: CodecSpec) -> list[bytes]:
    """Section 2.3: class sections and blocks, in the order of the payload."""
    levels = levels_from_values(values, spec)
    if not levels.size:
        return []
    cells = cells_from_images(levels.transpose(1, 0, 2, 3), spec.spatial_size)
    coefficients = coefficients_from_levels(cells.reshape(header.channels, -1), spec)
    spatial = spatial_from_coefficients(
        coefficients.reshape(-1, *cells.shape[1:]), spec.spatial_size, header.rows, header.columns
    )
    symbols = symbols_from_coefficients(spatial.reshape(len(spatial), -1), spec, header.channels)
    symbols = symbols.reshape(-1, *cells.shape[2:])
    if spec.exact_zeros:
        symbols = np.concatenate([symbols, zero_flags(cells, spec).reshape(-1, *cells.shape[2:])])
    blocks = [symbols[:, image, rows, columns] for image, rows, columns in tiles(header, spec)]

    parts = []
    for first in range(0, len(blocks), header.blocks_per_group):
        group = blocks[first : first + header.blocks_per_group]
        tables = spec.tables
        if tables is None:
            tables = choose_tables(group, spec)
            parts.append(write_class_section(tables, token_minimum(spec)))
        coder = BlockCoder(tables, spec, len(symbols))
        parts += [coder.write(block) for block in group]
    return parts


def decode(buffer: bytes | bytearray | memoryview, *, spec: CodecSpec | None = None) -> NDArray[Any]:
    """The array of a frame (section 2). ``spec`` is needed, and looked at, only if the frame's spec is external."""
    frame = bytes(memoryview(buffer))
    header = read_header(frame)
    index_start = HEADER.size + header.spec_size
    check_start = index_start + INDEX_ENTRY.size * header.index_count
    payload_start = check_start + CHECK_SIZE
    if len(frame) < payload_start:
        raise TruncatedStreamError("the spec or the index is incomplete", len(frame))
    if crc32c(frame[:check_start]) != int.from_bytes(frame[check_start:payload_start], "little"):
        raise ChecksumError("header, spec or index do not match their CRC-32C", check_start)

    section = frame[HEADER.size : index_start]
    if header.flags & FLAG_EXTERNAL:
        frame_spec = resolve_external(section, spec, header.channels, header.dtype_name, HEADER.size)
    else:
        frame_spec = read_spec_section(section, header.channels, header.dtype_name, HEADER.size)
    _check_tiles(header, frame_spec)
    blocks = block_count(header, frame_spec)
    part_count = blocks + (-(-blocks // header.blocks_per_group) if frame_spec.tables is None else 0)
    if header.index_count != part_count:
        raise CorruptStreamError(f"the index has {header.index_count} entries, not {part_count}", 40)
    index = list(INDEX_ENTRY.iter_unpack(frame[index_start:check_start]))
    _check_payload_size(len(frame), payload_start, header, [size for size, _ in index])

    values = _values(_PartReader(frame, payload_start, index), header, frame_spec)
    if header.flags & FLAG_NHWC:
        values = values.transpose(0, 2, 3, 1)
    return np.ascontiguousarray(values if header.rank == 4 else values[0])


def _check_tiles(header: Header, spec: CodecSpec) -> None:
    rows, columns = cell_grid(header, spec)
    for extent, limit, offset in ((header.tile_height, rows, 28), (header.tile_width, columns, 32)):
        if extent > max(limit, 1):
            raise CorruptStreamError(f"a tile of {extent} is larger than the image", offset)


def _check_payload_size(frame_size: int, payload_start: int, header: Header, part_sizes: Sequence[int]) -> None:
    """Section 2: the frame ends with the payload, and the sizes in the index add up to it."""
    payload_end = payload_start + header.payload_size
    if frame_size < payload_end:
        raise TruncatedStreamError(f"the frame has {frame_size} of {payload_end} bytes", frame_size)
    if frame_size > payload_end:
        raise CorruptStreamError(f"{frame_size - payload_end} bytes after the payload", payload_end)
    part_start = payload_start
    for number, size in enumerate(part_sizes):
        if size > payload_end - part_start:
            entry = HEADER.size + header.spec_size + INDEX_ENTRY.size * number
            raise CorruptStreamError("the sizes in the index are larger than the payload", entry)
        part_start += size
    if part_start != payload_end:
        raise CorruptStreamError("the sizes in the index do not add up to the size of the payload", 44)


class _PartReader:
    """Hands out the parts of the payload in the order of the index, each checked against its CRC-32C."""

    def __init__(self, frame: bytes, payload_start: int, index: Sequence[tuple[int, int]]) -> None:
        self._frame = frame
        self._next_start = payload_start
        self._index = iter(index)

    def read(self) -> tuple[bytes, int]:
        """The next part and its offset in the frame."""
        size, crc = next(self._index)
        start = self._next_start
        self._next_start += size
        part = self._frame[start : self._next_start]
        if crc32c(part) != crc:
            raise ChecksumError("a part of the payload does not match its CRC-32C", start)
        return part, start


def _values(parts: _PartReader, header: Header, spec: CodecSpec) -> NDArray[Any]:
    """Sections 9 and 5 to 3: images by channels by rows by columns."""
    shape = (header.channels, header.images, header.rows, header.columns)
    try:
        levels = np.zeros(shape, dtype=np.int64)
    except ValueError as error:
        # Without values, but with other extents whose product numpy cannot hold.
        raise LimitExceededError(f"numpy cannot hold an array of shape {shape}") from error
    if header.value_count:
        all_symbols = _read_symbols(parts, header, spec)
        symbols, flags = np.split(all_symbols, [first_flag_band(spec, header.channels)])
        cells = spec.spatial_size**2, *symbols.shape[1:]
        spatial = coefficients_from_symbols(symbols.reshape(len(symbols) // cells[0], -1), spec, header.channels)
        coefficients = coefficients_from_spatial(
            spatial.reshape(-1, *cells), spec.spatial_size, header.rows, header.columns
        )
        levels = levels_from_coefficients(coefficients.reshape(len(coefficients), -1), spec, header.channels)
        levels = levels.reshape(header.channels, *cells)
        if spec.exact_zeros:
            levels = with_exact_zeros(levels, flags.reshape(levels.shape), spec)
        levels = images_from_cells(levels, spec.spatial_size, header.rows, header.columns)
    return values_from_levels(levels.transpose(1, 0, 2, 3), spec, header.dtype_name)


def _read_symbols(parts: _PartReader, header: Header, spec: CodecSpec) -> IntArray:
    """Section 2.3: bands by images by rows by columns, from class sections and blocks."""
    band_count = band_total(spec, header.channels)
    symbols = np.zeros((band_count, header.images, *cell_grid(header, spec)), dtype=np.int64)
    coder: BlockCoder | None = None
    for number, (image, rows, columns) in enumerate(tiles(header, spec)):
        if number % header.blocks_per_group == 0:
            coder = BlockCoder(spec.tables or _read_tables(parts, band_count, spec), spec, band_count)
        assert coder is not None
        target = symbols[:, image, rows, columns]
        part, offset = parts.read()
        target[...] = coder.read(part, target.shape[1], target.shape[2], offset)
    return symbols


def _read_tables(parts: _PartReader, band_count: int, spec: CodecSpec) -> Tables:
    part, offset = parts.read()
    return read_class_section(part, band_count, token_minimum(spec), offset)
