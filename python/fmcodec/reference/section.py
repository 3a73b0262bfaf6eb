"""The spec section of a frame and CRC-32C (docs/format.md, sections 2.3 and 2.4)."""

from __future__ import annotations

import struct

import numpy as np

from fmcodec.basis import ENTRY_BITS, Basis
from fmcodec.errors import CorruptStreamError, SpecMismatchError
from fmcodec.reference.entropy import token_minimum
from fmcodec.reference.tables import read_class_section, write_class_section
from fmcodec.reference.transform import band_total
from fmcodec.spec import CODE_LAYOUTS, DEFAULT_WORD_BITS, TRANSFORMS, CodecSpec

HAS_PERMUTATION = 1
HAS_TABLES = 2
SPATIAL_SHIFT = 2
SPATIAL_MASK = 3
EXACT_ZEROS = 16
FIXED_PART = struct.Struct("<fHBBHHBBI")
EXTERNAL_PART = struct.Struct("<II")
MOST_CHANNELS = 2**24


def _crc_table() -> list[int]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = (byte >> 1) ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


_CRC_TABLE = _crc_table()


def crc32c(data: bytes) -> int:
    """Section 2.3: CRC-32C; 82F63B78h is the polynomial 1EDC6F41h reflected."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _CRC_TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def write_spec_section(spec: CodecSpec) -> bytes:
    """Section 2.4: the fields of a spec that a decoder must know."""
    flags = HAS_PERMUTATION * bool(spec.permutation) + HAS_TABLES * (spec.tables is not None)
    flags |= (spec.spatial_size.bit_length() - 1) << SPATIAL_SHIFT | EXACT_ZEROS * spec.exact_zeros
    fixed_part = FIXED_PART.pack(
        spec.step,
        spec.zero_point,
        spec.bits,
        TRANSFORMS.index(spec.transform),
        spec.transform_size,
        spec.kept_band_count,
        CODE_LAYOUTS[spec.code_layout],
        flags,
        len(spec.band_steps),
    )
    parts = [fixed_part, _words(spec.band_steps)]
    if spec.code_layout == "serial":
        parts.append(bytes([spec.word_bits]))
    if spec.permutation:
        parts += [struct.pack("<I", len(spec.permutation)), _words(spec.permutation)]
    if spec.basis is not None:
        parts.append(spec.basis.to_bytes())
    if spec.tables is not None:
        class_section = write_class_section(spec.tables, token_minimum(spec))
        parts += [struct.pack("<I", len(class_section)), class_section]
    return b"".join(parts)


def write_external_part(spec: CodecSpec) -> bytes:
    """Section 2.4: what stands in the frame if the spec is external."""
    section = write_spec_section(spec)
    return EXTERNAL_PART.pack(len(section), crc32c(section))


def check_fit(spec: CodecSpec, dtype: str, channel_count: int) -> None:
    """Refuse a spec that cannot code an array of this dtype with so many channels."""
    if channel_count > MOST_CHANNELS:
        raise ValueError(f"an array can have {MOST_CHANNELS} channels, not {channel_count}")
    if dtype in ("int8", "uint8") and spec.bits > 8:
        raise ValueError(f"bits must be at most 8 for {dtype}, not {spec.bits}")
    if spec.permutation and len(spec.permutation) != channel_count:
        raise ValueError(f"permutation must have {channel_count} channels, not {len(spec.permutation)}")
    if spec.basis is not None and len(spec.basis.means) != channel_count:
        raise ValueError(f"the basis must have {channel_count} channels, not {len(spec.basis.means)}")
    band_count = band_total(spec, channel_count)
    tables = spec.tables
    if tables is not None and tables.model == "bands" and len(tables.class_map) != band_count:
        raise ValueError(f"tables must have {band_count} bands, not {len(tables.class_map)}")


def resolve_external(part: bytes, spec: CodecSpec | None, channel_count: int, dtype: str, offset: int) -> CodecSpec:
    """Section 2.4: the spec given to the decoder, if it is the one the frame refers to and fits the tensor."""
    if len(part) != EXTERNAL_PART.size:
        raise CorruptStreamError(f"an external spec takes {EXTERNAL_PART.size} bytes, not {len(part)}", offset)
    if spec is None:
        raise SpecMismatchError("the frame needs the spec it was coded with", offset)
    if write_external_part(spec) != part:
        raise SpecMismatchError("the spec is not the one the frame was coded with", offset)
    try:
        check_fit(spec, dtype, channel_count)
    except ValueError as error:
        raise SpecMismatchError(str(error), offset) from error
    return spec


def _words(values: tuple[int, ...]) -> bytes:
    return np.array(values, dtype="<u2").tobytes()


class SectionReader:
    """Hands out the bytes of a spec section that begins at byte ``offset`` of the frame."""

    def __init__(self, data: bytes, offset: int) -> None:
        self._data = data
        self._start = offset
        self._position = 0

    @property
    def offset(self) -> int:
        """Byte of the frame that is next."""
        return self._start + self._position

    def read(self, size: int) -> bytes:
        """The next bytes; an error if there are fewer."""
        if size > len(self._data) - self._position:
            raise CorruptStreamError("the spec section is too short", self.offset)
        self._position += size
        return self._data[self._position - size : self._position]

    def read_count(self) -> int:
        """A 32-bit integer."""
        return int.from_bytes(self.read(4), "little")

    def read_words(self, count: int) -> tuple[int, ...]:
        """16-bit integers."""
        return tuple(np.frombuffer(self.read(2 * count), dtype="<u2").tolist())

    def finish(self) -> None:
        """Check that nothing is left."""
        if self._position != len(self._data):
            raise CorruptStreamError("the spec section is too long", self.offset)


def _read_basis(reader: SectionReader, channel_count: int, size: int, kept_bands: int) -> Basis:
    """Section 4.3."""
    offset = reader.offset
    head = reader.read(2)
    if 8 * head[1] not in ENTRY_BITS or not size or channel_count % size:
        raise CorruptStreamError("the basis does not fit its entries or the channels", offset)
    data = head + reader.read(channel_count * (2 + kept_bands * head[1]))
    try:
        return Basis.from_bytes(data, channel_count)
    except ValueError as error:
        raise CorruptStreamError(str(error), offset) from error


def read_spec_section(data: bytes, channel_count: int, dtype: str, offset: int) -> CodecSpec:
    """Section 2.4: the spec of a section that begins at byte ``offset`` of the frame."""
    reader = SectionReader(data, offset)
    fixed_part = FIXED_PART.unpack(reader.read(FIXED_PART.size))
    step, zero_point, bits, transform, size, kept_bands, coder, flags, band_step_count = fixed_part
    if transform >= len(TRANSFORMS) or coder not in CODE_LAYOUTS.values() or flags >= 2 * EXACT_ZEROS:
        raise CorruptStreamError("transform, coder or flags of the spec are not valid", offset + 7)
    if dtype in ("int8", "uint8") and bits > 8:
        raise CorruptStreamError(f"levels of {bits} bits are too wide for {dtype}", offset + 6)
    band_steps = reader.read_words(band_step_count)
    code_layout = next(name for name, number in CODE_LAYOUTS.items() if number == coder)
    word_bits = reader.read(1)[0] if code_layout == "serial" else DEFAULT_WORD_BITS

    permutation = None
    if flags & HAS_PERMUTATION:
        count_offset = reader.offset
        permutation = reader.read_words(reader.read_count())
        if not permutation or len(permutation) != channel_count:
            raise CorruptStreamError(f"permutation of {len(permutation)} for {channel_count} channels", count_offset)
    basis = None
    if TRANSFORMS[transform] == "klt":
        basis = _read_basis(reader, channel_count, size, kept_bands)
    try:
        spec = CodecSpec(
            step=step,
            zero_point=zero_point,
            bits=bits,
            transform=TRANSFORMS[transform],
            transform_size=size,
            kept_bands=kept_bands,
            spatial_size=1 << (flags >> SPATIAL_SHIFT & SPATIAL_MASK),
            exact_zeros=bool(flags & EXACT_ZEROS),
            band_steps=band_steps,
            permutation=permutation,
            basis=basis,
            code_layout=code_layout,
            word_bits=word_bits,
        )
    except ValueError as error:
        raise CorruptStreamError(str(error), offset) from error

    if flags & HAS_TABLES:
        class_section = reader.read(reader.read_count())
        band_count = band_total(spec, channel_count)
        class_offset = reader.offset - len(class_section)
        tables = read_class_section(class_section, band_count, token_minimum(spec), class_offset)
        spec = spec.replace(tables=tables)
    reader.finish()
    return spec
