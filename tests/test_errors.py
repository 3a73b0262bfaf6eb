"""Hostile frames and wrong arguments: the right error, at the right byte, in one sentence, and never a crash."""

from __future__ import annotations

import importlib.util
import struct
import subprocess
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, Literal, NamedTuple

import numpy as np
import pytest
import torch
from strategies import ISAS, as_dtype, numpy_dtype, on_isa, same

import fmcodec
from fmcodec import (
    ChecksumError,
    CodecSpec,
    CorruptStreamError,
    FmcodecError,
    LimitExceededError,
    NonFiniteError,
    SpecMismatchError,
    TableClass,
    Tables,
    TableStatistics,
    TruncatedStreamError,
    UnsupportedVersionError,
    reference,
)

HEADER_SIZE = 52


class Parts(NamedTuple):
    """A frame taken apart, to be forged and put together again."""

    header: reference.Header
    section: bytes
    payload: list[bytes]

    def build(self, **fields: int) -> bytes:
        """The frame with all sizes and checks made right, except the header fields given here."""
        header = self.header._replace(
            spec_size=len(self.section),
            index_count=len(self.payload),
            payload_size=sum(len(part) for part in self.payload),
        )
        index = b"".join(struct.pack("<II", len(part), reference.crc32c(part)) for part in self.payload)
        return checked(header._replace(**fields).to_bytes() + self.section + index) + b"".join(self.payload)

    def offset(self, number: int) -> int:
        """The byte at which a part of the payload begins."""
        start = HEADER_SIZE + len(self.section) + 8 * len(self.payload) + 4
        return start + sum(len(part) for part in self.payload[:number])


def checked(head: bytes) -> bytes:
    """A head and its check."""
    return head + struct.pack("<I", reference.crc32c(head))


def take_apart(frame: bytes) -> Parts:
    """The parts of a valid frame."""
    header = reference.read_header(frame)
    index_start = HEADER_SIZE + header.spec_size
    at = index_start + 8 * header.index_count + 4
    payload = []
    for entry in range(index_start, index_start + 8 * header.index_count, 8):
        size = struct.unpack_from("<I", frame, entry)[0]
        payload.append(frame[at : at + size])
        at += size
    return Parts(header, frame[HEADER_SIZE:index_start], payload)


def repaired(frame: bytearray) -> bytes:
    """The frame with all its checks computed anew, as far as its sizes make sense."""
    spec_size, index_count = struct.unpack_from("<II", frame, 36)
    index_start = HEADER_SIZE + spec_size
    check_start = index_start + 8 * index_count
    part_start = check_start + 4
    if part_start <= len(frame):
        for entry in range(index_start, check_start, 8):
            size = struct.unpack_from("<I", frame, entry)[0]
            part = bytes(frame[part_start : part_start + size])
            struct.pack_into("<I", frame, entry + 4, reference.crc32c(part))
            part_start += size
        struct.pack_into("<I", frame, check_start, reference.crc32c(bytes(frame[:check_start])))
    return bytes(frame)


def bits(*fields: str) -> bytes:
    """Bits in the order they are written, padded with zeros."""
    text = "".join(fields).replace(" ", "")
    text += "0" * (-len(text) % 8)
    return bytes(int(text[i : i + 8][::-1], 2) for i in range(0, len(text), 8))


def expect(
    error: type[Exception], offset: int | None, message: str, frame: bytes, spec: CodecSpec | None = None
) -> None:
    """Core and reference refuse the frame with this class, the core with this offset and message."""
    for call in (fmcodec.decode, fmcodec.inspect) if is_head_error(frame, spec) else (fmcodec.decode,):
        with pytest.raises(error, match=message) as caught:
            call(frame, spec=spec)
        assert type(caught.value) is error
        assert isinstance(caught.value, FmcodecError) and caught.value.offset == offset
        assert "\n" not in str(caught.value)
    with pytest.raises(FmcodecError) as refused:
        reference.decode(frame, spec=spec)
    assert type(refused.value) is error


def is_head_error(frame: bytes, spec: CodecSpec | None) -> bool:
    """Whether the frame is refused without a look at its payload."""
    try:
        fmcodec.inspect(frame, spec=spec)
    except FmcodecError:
        return True
    return False


# --- frames to start from


LOW_BITS = CodecSpec(step=0.002, bits=14, zero_point=5000, code_layout="serial", word_bits=16)


def small_frames() -> dict[str, bytes]:
    """One frame of each kind."""
    rng = np.random.default_rng(5)
    sparse = np.where(rng.random((2, 9, 16)) < 0.93, 0, rng.integers(1, 9, (2, 9, 16)))
    smooth = np.add.outer(np.linspace(0, 3, 6), rng.normal(0, 0.1, (5, 7)))
    steps = np.repeat(np.repeat(rng.integers(0, 2, (1, 6, 6)) * 20, 4, axis=1), 4, axis=2)
    rough = (steps + rng.integers(0, 2, steps.shape)).astype(np.uint8)
    falling = 200 - np.cumsum(rng.integers(0, 2, (1, 12, 12)), axis=1) - rng.integers(0, 99, (1, 1, 12))
    rare = np.arange(64, dtype=np.uint8).reshape(1, 8, 8) // 60 * 9
    dct = CodecSpec(step=0.02, bits=9, zero_point=200, transform="dct", transform_size=4, band_steps=(4,))
    frames = {
        "dct": fmcodec.encode(smooth.astype(np.float32), dct.replace(block_shape=(3, 7))),
        "masked": fmcodec.encode(sparse.astype(np.uint8), CodecSpec(bits=4)),
        "neighbours": fmcodec.encode(rough, CodecSpec(bits=5, effort=3)),
        "serial": fmcodec.encode(smooth.astype(np.float32), LOW_BITS),
        "predicted": fmcodec.encode(falling.astype(np.uint8), CodecSpec(effort=3)),
        "patched": fmcodec.encode(rare, CodecSpec(tables=only_zeros(1))),
        # Static tables without codes for such values.
        "raw": fmcodec.encode(rng.integers(0, 200, (2, 3, 3)).astype(np.uint8), CodecSpec(tables=only_zeros(2))),
    }
    blocks = {name: take_apart(frame).payload[-1] for name, frame in frames.items()}
    assert [block[0] for block in blocks.values()] == [0, 0, 0, 0, 0, 2, 1]
    tables = reference.read_class_section(take_apart(frames["masked"]).payload[0], 2, 0)
    assert "masked" in [table_class.mode for table_class in tables.classes]
    tables = reference.read_class_section(take_apart(frames["serial"]).payload[0], 6, -128)
    assert max(table_class.shift for table_class in tables.classes) > 0
    tables = reference.read_class_section(take_apart(frames["predicted"]).payload[0], 1, 0)
    assert tables.classes[0].predicted
    return frames


def only_zeros(band_count: int) -> Tables:
    """Static tables for zeros and nothing else."""
    return Tables(class_map=(0,) * band_count, classes=(TableClass(mode="zero"),))


SMALL = small_frames()

# One block of 5 positions of one channel; its only class has the tokens 0 and 1 with 1 bit each.
LENGTH_ONE = "1110 1000"
PLAIN = "0 00000 10 0 0000 10000000" + LENGTH_ONE + "0"
BASE = take_apart(fmcodec.encode(np.array([[[0, 1, 0, 1, 1]]], np.uint8)))._replace(
    payload=[bits(PLAIN), b"\0" + bits("01011")]
)


def test_the_frame_that_is_forged_is_valid() -> None:
    frame = BASE.build()
    assert fmcodec.decode(frame).tolist() == [[[0, 1, 0, 1, 1]]] == reference.decode(frame).tolist()
    alone = header_case(blocks_per_group=1)
    assert fmcodec.decode(alone).tolist() == [[[0, 1, 0, 1, 1]]] == reference.decode(alone).tolist()


# --- whole frames


@pytest.mark.parametrize("name", SMALL)
def test_all_truncations(name: str) -> None:
    frame = SMALL[name]
    for size in range(len(frame)):
        for call in (fmcodec.decode, fmcodec.inspect):
            with pytest.raises(TruncatedStreamError) as caught:
                call(frame[:size])
            assert caught.value.offset == size
        if size < 60 or size % 7 == 0:
            with pytest.raises(TruncatedStreamError) as caught:
                reference.decode(frame[:size])
            assert caught.value.offset == size


@pytest.mark.parametrize("name", SMALL)
def test_all_single_bit_flips_are_found(name: str) -> None:
    frame = SMALL[name]
    for position in range(8 * len(frame)):
        flipped = bytearray(frame)
        flipped[position // 8] ^= 1 << position % 8
        byte = position // 8
        expected = CorruptStreamError if byte < 4 else UnsupportedVersionError if byte < 6 else CorruptStreamError
        with pytest.raises(expected):
            fmcodec.decode(flipped)


def outcome(decode: Callable[[], Any]) -> tuple[Any, ...]:
    """The class of the error, or the result."""
    try:
        result = decode()
    except FmcodecError as error:
        return (type(error),)
    return result.dtype, result.shape, result.tobytes()


MOST_VALUES = 10**6


def compare_outcomes(frame: bytes, spec: CodecSpec | None = None) -> bool:
    """Core and reference agree on a frame; whether they accept it. Huge shapes are left to the limit of the core."""
    ours = outcome(lambda: fmcodec.decode(frame, spec=spec, max_bytes=4 * MOST_VALUES, threads=2))
    if ours == (LimitExceededError,):
        assert reference.read_header(frame).value_count > MOST_VALUES
        return False
    assert ours == outcome(lambda: reference.decode(frame, spec=spec))
    if spec is None:
        check_relayout(frame, ours)
    return len(ours) > 1


def check_relayout(frame: bytes, expected: tuple[Any, ...]) -> None:
    """In the other layout the frame decodes to the same, or to the same error if that is not found before."""
    for code_layout in ("wavelet", "serial"):
        try:
            moved = fmcodec.relayout(frame, code_layout, max_bytes=4 * MOST_VALUES, threads=2)
        except FmcodecError as error:
            assert expected == (type(error),)
        else:
            assert outcome(lambda moved=moved: fmcodec.decode(moved)) == expected


@pytest.mark.parametrize("name", SMALL)
def test_bit_flips_with_right_checks(name: str) -> None:
    frame = SMALL[name]
    accepted = 0
    for position in range(8 * 6, 8 * len(frame), 1 if len(frame) < 150 else 3):
        flipped = bytearray(frame)
        flipped[position // 8] ^= 1 << position % 8
        accepted += compare_outcomes(repaired(flipped))
    assert 10 < accepted < 8 * len(frame)


@pytest.mark.parametrize("name", [*SMALL, "static"])
def test_random_damage_with_right_checks(name: str) -> None:
    rng = np.random.default_rng(17)
    frame = SMALL[name] if name != "static" else static_frame()
    outcomes = [False, False]
    for _ in range(400):
        damaged = bytearray(frame)
        for _ in range(int(rng.integers(1, 4))):
            position = int(rng.integers(6, len(damaged)))
            if 12 <= position < 28:
                position -= (position - 12) % 4  # the low byte of an extent: shapes stay small
            damaged[position] = int(rng.integers(256))
        if rng.random() < 0.2:
            at = int(rng.integers(HEADER_SIZE, len(damaged)))
            damaged[at : at + int(rng.integers(0, 3))] = rng.bytes(int(rng.integers(0, 3)))
        outcomes[compare_outcomes(repaired(damaged))] = True
    assert all(outcomes)


def static_frame() -> bytes:
    """A frame with a permutation and static tables of all modes."""
    classes = (
        TableClass(mode="zero"),
        TableClass(mode="plain", shift=1, value_lengths=(1, 2, 3, *[0] * 252, 3)),
        TableClass(mode="masked", value_lengths=(0, 1, 1), mask_lengths=(8,) * 256),
        TableClass(mode="plain", predicted=True, value_lengths=(3, 3, 3, 3, 4, *[0] * 247, 4, 3, 3, 3)),
    )
    spec = CodecSpec(
        bits=9,
        zero_point=200,
        permutation=(2, 0, 3, 1),
        band_steps=(1, 3),
        tables=Tables(class_map=(0, 1, 2, 3), classes=classes),
    )
    x = np.random.default_rng(2).integers(-2, 3, (2, 4, 4, 4)).astype(np.float32)
    x[:, 2] = 0
    return fmcodec.encode(x, spec)


@pytest.mark.parametrize("name", SMALL)
def test_damaged_blocks_on_every_instruction_set(name: str) -> None:
    rng = np.random.default_rng(23)
    parts = take_apart(SMALL[name])
    for _ in range(120):
        payload = list(parts.payload)
        number = int(rng.integers(len(payload)))
        part = bytearray(payload[number])
        for _ in range(int(rng.integers(1, 3))):
            part[int(rng.integers(len(part)))] ^= 1 << int(rng.integers(8))
        payload[number] = bytes(part)
        frame = parts._replace(payload=payload).build()
        expected = outcome(lambda frame=frame: reference.decode(frame))
        for isa in ISAS:
            with on_isa(isa):
                assert outcome(lambda frame=frame: fmcodec.decode(frame)) == expected


# --- the header (in the order of the checks)


def header_case(**fields: int) -> bytes:
    """BASE with other fields in its header."""
    return BASE._replace(header=BASE.header._replace(**fields)).build()


def with_bytes(offset: int, data: bytes) -> bytes:
    """BASE with bytes replaced, and the check of the head as it was."""
    frame = bytearray(BASE.build())
    frame[offset : offset + len(data)] = data
    return bytes(frame)


HEADER_CASES = [
    (TruncatedStreamError, 0, "ends inside its header", b""),
    (TruncatedStreamError, 5, "ends inside its header", b"nomag"),
    (CorruptStreamError, 0, "not an fmcodec frame", b"nomagic"),
    (CorruptStreamError, 0, "not an fmcodec frame", bytes(100)),
    (UnsupportedVersionError, 4, "stream version 6 is not supported, this build reads version 7", b"fmc\xa5\6\0"),
    (UnsupportedVersionError, 4, "stream version 8 is not supported, this build reads version 7", b"fmc\xa5\x08\0"),
    (UnsupportedVersionError, 4, "stream version 256 ", with_bytes(4, b"\0\1")),
    (TruncatedStreamError, 51, "ends inside its header", BASE.build()[:51]),
    (CorruptStreamError, 6, "reserved flags", header_case(flags=4)),
    (CorruptStreamError, 6, "reserved flags", header_case(flags=128)),
    (CorruptStreamError, 7, "unknown dtype", header_case(dtype=0)),
    (CorruptStreamError, 7, "unknown dtype", header_case(dtype=6)),
    (CorruptStreamError, 8, "rank must be 3 or 4", header_case(rank=2)),
    (CorruptStreamError, 8, "rank must be 3 or 4", header_case(rank=5)),
    (CorruptStreamError, 9, "reserved byte", header_case(reserved=1)),
    (CorruptStreamError, 10, "blocks_per_group is 0", header_case(blocks_per_group=0)),
    (CorruptStreamError, 12, "shape is too large", header_case(images=2**31, channels=2**31)),
    (CorruptStreamError, 12, "shape is too large", header_case(images=2**31, channels=2**31, rows=4, rank=4)),
    (
        CorruptStreamError,
        12,
        "shape is too large",
        header_case(**dict.fromkeys(["images", "channels", "rows"], 2**32 - 1)),
    ),
    (CorruptStreamError, 12, "shape is too large", header_case(channels=2**24 + 1)),
    (CorruptStreamError, 12, "shape is too large", header_case(images=2**31, rows=2**31, columns=1, rank=4)),
    (CorruptStreamError, 32, "tile_width", header_case(images=2**31, rows=2**31 - 1, columns=1, rank=4)),
    (CorruptStreamError, 32, "tile_width", header_case(channels=2**24, columns=1)),
    (CorruptStreamError, 28, "tile_height is out of range", header_case(tile_height=0)),
    (CorruptStreamError, 28, "tile_height is out of range", header_case(tile_height=2)),
    (CorruptStreamError, 28, "tile_height is out of range", header_case(tile_height=2, rows=0)),
    (CorruptStreamError, 32, "tile_width is out of range", header_case(tile_width=0)),
    (CorruptStreamError, 32, "tile_width is out of range", header_case(tile_width=6)),
    (CorruptStreamError, 12, "N must be 1 for rank 3", header_case(images=2)),
    (CorruptStreamError, 12, "N must be 1 for rank 3", header_case(images=0)),
]


@pytest.mark.parametrize(("error", "offset", "message", "frame"), HEADER_CASES, ids=range(len(HEADER_CASES)))
def test_header(error: type[Exception], offset: int, message: str, frame: bytes) -> None:
    expect(error, offset, message, frame)


def test_checks_come_in_the_order_of_the_page() -> None:
    # Each frame breaks one rule more, before those of the frame in front of it.
    head_size = HEADER_SIZE + len(BASE.section) + 16 + 4
    frame = bytearray(BASE.build())
    struct.pack_into("<I", frame, head_size - 20, 99)
    frame = bytearray(repaired(frame))
    expect(CorruptStreamError, head_size - 20, "index does not match the payload", bytes(frame))
    frame += b"\0"
    expect(CorruptStreamError, len(frame) - 1, "bytes are left over", bytes(frame))
    struct.pack_into("<Q", frame, 44, 10**6)
    frame = bytearray(repaired(frame))
    expect(TruncatedStreamError, len(frame), "ends inside its payload", bytes(frame))
    struct.pack_into("<I", frame, 32, 2)
    frame = bytearray(repaired(frame))
    expect(CorruptStreamError, 40, "index_count", bytes(frame))
    frame[HEADER_SIZE + 12] = 9
    frame = bytearray(repaired(frame))
    expect(CorruptStreamError, HEADER_SIZE + 12, "unknown coder", bytes(frame))
    frame[HEADER_SIZE] ^= 1
    expect(ChecksumError, head_size - 4, "CRC-32C of the header", bytes(frame))
    frame = frame[: head_size - 1]
    expect(TruncatedStreamError, head_size - 1, "ends inside its spec or index", bytes(frame))
    frame[8] = 7
    expect(CorruptStreamError, 8, "rank", bytes(frame))
    frame[7] = 7
    expect(CorruptStreamError, 7, "dtype", bytes(frame))
    frame = frame[:20]
    expect(TruncatedStreamError, 20, "ends inside its header", bytes(frame))
    frame[4] = 8
    expect(UnsupportedVersionError, 4, "version", bytes(frame))
    frame[0] = 7
    expect(CorruptStreamError, 0, "not an fmcodec frame", bytes(frame))
    expect(TruncatedStreamError, 5, "ends inside its header", bytes(frame[:5]))


# --- index and payload


def test_index() -> None:
    head_size = BASE.offset(0)
    first_entry = head_size - 20
    expect(CorruptStreamError, 40, "index_count does not match", BASE._replace(payload=BASE.payload[:1]).build())
    three = BASE._replace(payload=[*BASE.payload, b""]).build()
    expect(CorruptStreamError, 40, "index_count does not match", three)
    expect(CorruptStreamError, 40, "index_count does not match", header_case(tile_width=2))
    expect(CorruptStreamError, 40, "index_count does not match", header_case(rows=0))
    frame = BASE.build()
    expect(TruncatedStreamError, len(frame), "ends inside its payload", BASE.build(payload_size=10**6))
    expect(TruncatedStreamError, len(frame), "ends inside its payload", BASE.build(payload_size=2**64 - 1))
    expect(
        CorruptStreamError, len(frame) - 1, "bytes are left over", BASE.build(payload_size=len(frame) - head_size - 1)
    )
    expect(CorruptStreamError, len(frame), "bytes are left over", frame + b"\0")

    def with_sizes(*sizes: int) -> bytes:
        forged = bytearray(frame)
        for number, size in enumerate(sizes):
            struct.pack_into("<I", forged, first_entry + 8 * number, size)
        return checked(bytes(forged[: head_size - 4])) + frame[head_size:]

    first, second = (len(part) for part in BASE.payload)
    message = "index does not match the payload size"
    expect(CorruptStreamError, first_entry, message, with_sizes(2**32 - 1, second))
    expect(CorruptStreamError, first_entry + 8, message, with_sizes(first, second + 1))
    expect(CorruptStreamError, 44, message, with_sizes(first, second - 1))
    expect(ChecksumError, head_size + first - 1, "block or class section", with_sizes(first - 1, second + 1))


def test_checks_of_parts() -> None:
    frame = bytearray(BASE.build())
    for number, part in enumerate(BASE.payload):
        for position in range(len(part)):
            damaged = bytearray(frame)
            damaged[BASE.offset(number) + position] ^= 0x10
            expect(ChecksumError, BASE.offset(number), "CRC-32C of a block or class section", bytes(damaged))
    # A block of size 0 has the check 0.
    empty = BASE._replace(payload=[BASE.payload[0], b""])
    assert not fmcodec.decode(empty.build()).any()
    head = bytearray(empty.build()[: empty.offset(0) - 4])
    head[-1] = 1
    expect(ChecksumError, empty.offset(1), "block or class section", checked(bytes(head)) + empty.payload[0])


# --- the spec section


def spec_base() -> Parts:
    """Two band steps at 14, a permutation at 22, static tables at 30: 4 bytes of count each."""
    tables = Tables(class_map=(0, 0), classes=(TableClass(mode="plain", value_lengths=(1, 1)),))
    spec = CodecSpec(step=0.5, bits=7, band_steps=(1, 2), permutation=(1, 0), tables=tables)
    return take_apart(fmcodec.encode(np.ones((2, 1, 4), np.uint8), spec))


STATIC = spec_base()


def section_case(offset: int, data: bytes, *, size: int = 0) -> bytes:
    """STATIC with bytes of its spec section replaced (``size`` of them, or as many)."""
    section = STATIC.section
    return STATIC._replace(section=section[:offset] + data + section[offset + (size or len(data)) :]).build()


def spec_case(**fields: Any) -> bytes:
    """STATIC with another spec section."""
    spec = reference.read_spec_section(STATIC.section, 2, "uint8", 0)
    return STATIC._replace(section=reference.write_spec_section(spec.replace(**fields))).build()


def flags_case(flags: int) -> bytes:
    """STATIC with a spec section that ends with the band steps."""
    section = reference.write_spec_section(CodecSpec())
    return STATIC._replace(section=section[:13] + bytes([flags]) + section[14:]).build()


def serial_section(word_bits: int) -> bytes:
    """The spec section of STATIC with coder 2 and this word_bits."""
    return STATIC.section[:12] + b"\2" + STATIC.section[13:22] + bytes([word_bits]) + STATIC.section[22:]


def serial_case(word_bits: int) -> bytes:
    """STATIC with coder 2; its block, of 4 bits, has no place in larger words."""
    return STATIC._replace(section=serial_section(word_bits)).build()


DCT_SECTION = CodecSpec(transform="dct", transform_size=8, permutation=(1, 0))
SPEC_CASES = [
    (0, "spec section is too short", STATIC._replace(section=STATIC.section[:17]).build()),
    (0, "spec section is too short", STATIC._replace(section=b"").build()),
    (14, "list in the spec section", STATIC._replace(section=STATIC.section[:18]).build()),
    (22, "list in the spec section", STATIC._replace(section=STATIC.section[:26]).build()),
    (30, "class section has a wrong size", STATIC._replace(section=STATIC.section[:34]).build()),
    (4, "bits or zero_point", section_case(6, b"\1")),
    (4, "bits or zero_point", section_case(6, b"\x11")),
    (4, "bits or zero_point", section_case(4, b"\x80\0")),
    (7, "unknown transform", section_case(7, b"\4")),
    (8, "kept_bands", section_case(8, b"\0")),
    (8, "kept_bands", section_case(10, b"\0")),
    (8, "kept_bands", section_case(10, b"\2")),
    (8, "kept_bands", section_case(11, b"\1")),
    (12, "unknown coder", section_case(12, b"\0")),
    (12, "unknown coder", section_case(12, b"\3")),
    # With coder 2 the permutation begins a byte later.
    (22, "word_bits must be 8, 16, 32 or 64", section_case(12, b"\2")),
    (22, "word_bits must be 8, 16, 32 or 64", serial_case(0)),
    (22, "word_bits must be 8, 16, 32 or 64", serial_case(24)),
    (22, "word_bits must be 8, 16, 32 or 64", serial_case(128)),
    (22, "spec section is too short", STATIC._replace(section=serial_section(8)[:22]).build()),
    (13, "reserved spec flags", section_case(13, b"\x20")),
    (None, "exact_zeros needs a transform", flags_case(0x10)),
    (14, "list in the spec section", section_case(14, b"\0\0\0\0")),
    (14, "list in the spec section", section_case(14, b"\xff\xff\xff\xff")),
    (14, "list in the spec section", STATIC._replace(section=STATIC.section[:21]).build()),
    (22, "spec section is too short", STATIC._replace(section=STATIC.section[:25]).build()),
    (22, "list in the spec section", section_case(22, b"\0\0\0\0")),
    (22, "list in the spec section", section_case(22, b"\0\0\0\x80")),
    (30, "spec section is too short", STATIC._replace(section=STATIC.section[:33]).build()),
    (30, "class section has a wrong size", STATIC._replace(section=STATIC.section[:-1]).build()),
    (30, "class section has a wrong size", STATIC._replace(section=STATIC.section + b"\0").build()),
    (30, "class section has a wrong size", section_case(30, b"\xff\xff\xff\xff")),
    (22, "bytes are left over", section_case(13, b"\0")),
    (34, "class", section_case(34, b"\xff")),
    (None, "step is outside", section_case(0, struct.pack("<f", 2.0**-65))),
    (None, "step is outside", section_case(0, struct.pack("<f", 2.0**65))),
    (None, "step is outside", section_case(0, struct.pack("<f", 0.0))),
    (None, "step is outside", section_case(0, struct.pack("<f", -1.0))),
    (None, "step is outside", section_case(0, struct.pack("<f", float("nan")))),
    (None, "step is outside", section_case(0, struct.pack("<f", float("inf")))),
    (None, "bits must be at most 8", section_case(6, b"\x09")),
    (None, "transform_size", section_case(8, b"\4\0\4")),
    (None, "transform_size", section_case(7, b"\1")),
    (None, "transform_size", section_case(7, b"\2\2\0\2")),
    (None, "transform_size", section_case(7, b"\1\x40\0\x40")),
    (None, "transform_size", section_case(7, b"\2\x0c\0\x0c")),
    (None, "band_steps", section_case(18, b"\0\0")),
    (None, "permutation has 3 entries for 2 channels", spec_case(permutation=(0, 2, 1))),
    (None, "permutation has 1 entries for 2 channels", spec_case(permutation=(0,))),
    (None, "permutation must hold each channel once", section_case(26, b"\0\0")),
    (None, "permutation must hold each channel once", section_case(26, b"\2\0")),
]


@pytest.mark.parametrize(("offset", "message", "frame"), SPEC_CASES, ids=range(len(SPEC_CASES)))
def test_spec_section(offset: int | None, message: str, frame: bytes) -> None:
    at = None if offset is None else HEADER_SIZE + offset
    expect(CorruptStreamError, at, message, frame)


KLT = CodecSpec(
    bits=7,
    zero_point=60,
    transform="klt",
    transform_size=2,
    kept_bands=1,
    basis=fmcodec.Basis(means=(-60, 67, 0, 1), rows=bytes(4), entry_bits=8, fraction_bits=14),
)
# The basis stands behind a band step: two bytes, four means, two rows of two entries.
KLT_BASIS = 20
KLT_CASES = {
    "no fraction bits": (KLT_BASIS, KLT_BASIS, b"\0"),
    "15 fraction bits": (KLT_BASIS, KLT_BASIS, b"\x0f"),
    "entries of 0 bytes": (KLT_BASIS, KLT_BASIS + 1, b"\0"),
    "entries of 3 bytes": (KLT_BASIS, KLT_BASIS + 1, b"\3"),
    "entries of 2 bytes": (KLT_BASIS, KLT_BASIS + 1, b"\2"),
    "no group of 3": (KLT_BASIS, 8, b"\3"),
    "two rows": (KLT_BASIS, 10, b"\2"),
    "mean too small": (None, KLT_BASIS + 2, b"\xc3\xff"),
    "mean too large": (None, KLT_BASIS + 4, b"\x44\0"),
    "16 bits": (None, 6, b"\x10"),
}


@pytest.mark.parametrize("name", KLT_CASES)
def test_basis(name: str) -> None:
    offset, at, data = KLT_CASES[name]
    parts = take_apart(fmcodec.encode(np.ones((4, 3, 3), np.float32), KLT))
    assert fmcodec.decode(parts.build()).tolist() == reference.decode(parts.build()).tolist()
    section = parts.section[:at] + data + parts.section[at + len(data) :]
    expected = None if offset is None else HEADER_SIZE + offset
    expect(CorruptStreamError, expected, "basis", parts._replace(section=section).build())


def test_basis_that_is_cut() -> None:
    parts = take_apart(fmcodec.encode(np.ones((4, 3, 3), np.float32), KLT))
    for size in range(KLT_BASIS, len(parts.section)):
        frame = parts._replace(section=parts.section[:size]).build()
        expect(CorruptStreamError, HEADER_SIZE + KLT_BASIS, "basis", frame)


def test_external_spec() -> None:
    x = np.ones((2, 1, 4), np.uint8)
    spec = CodecSpec(step=0.5, bits=7)
    frame = fmcodec.encode(x, spec, embed_spec=False)
    assert same(fmcodec.decode(frame, spec=spec), x)
    expect(SpecMismatchError, HEADER_SIZE, "external spec: pass spec=", frame)
    expect(SpecMismatchError, HEADER_SIZE, "another spec", frame, spec.replace(step=0.25))
    expect(SpecMismatchError, HEADER_SIZE, "another spec", frame, spec.replace(band_steps=(1, 1)))
    # What only steers the encoder makes no other spec.
    other = spec.replace(dead_zone=0.9, max_code_length=9, block_shape=(1, 1), nonfinite="clamp")
    assert same(fmcodec.decode(frame, spec=other), x)

    parts = take_apart(frame)
    for section in (b"", parts.section[:7], parts.section + b"\0", STATIC.section):
        forged = parts._replace(section=section).build()
        expect(CorruptStreamError, HEADER_SIZE, "must be 8 bytes", forged, spec)
    for byte in range(8):
        section = bytearray(parts.section)
        section[byte] ^= 1
        expect(SpecMismatchError, HEADER_SIZE, "another spec", parts._replace(section=bytes(section)).build(), spec)


def test_external_spec_that_does_not_fit_the_tensor() -> None:
    def refer_to(spec: CodecSpec) -> bytes:
        section = reference.write_spec_section(spec)
        reference_to_it = struct.pack("<II", len(section), reference.crc32c(section))
        header = BASE.header._replace(flags=2)
        return Parts(header, reference_to_it, BASE.payload).build()

    tables = Tables(class_map=(0, 0), classes=(TableClass(mode="plain", value_lengths=(1, 1)),))
    cases = [
        (CodecSpec(bits=9), "bits must be at most 8"),
        (CodecSpec(permutation=(1, 0)), "permutation has 2 entries for 1 channels"),
        (KLT, "the basis does not fit the levels or the 1 channels"),
        (CodecSpec(tables=tables), "static tables are for 2 bands, the tensor has 1"),
    ]
    for spec, message in cases:
        expect(SpecMismatchError, None, message, refer_to(spec), spec)


# --- class sections

ZERO = "0 00000 00 0 0000"
SECTION_CASES = {
    "nothing": (b"", "class section is too short"),
    "only the class count": (bits("0 00000"), "unknown class mode|table is not a valid code|wrong length"),
    "only the model and a map": (bits("0 10000 10000000", LENGTH_ONE, "0"), "class map|wrong length|valid code"),
    "a standard mask table cut off": (bits("0 00000 01 0 0000 0"), "mask table|value table"),
    "mode 3": (bits("0 00000 11 0 0000"), "unknown class mode"),
    "shift 14": (bits(PLAIN.replace("10 0 0000", "10 0 0111", 1)), "shift does not fit"),
    "shift 15": (bits(PLAIN.replace("10 0 0000", "10 0 1111", 1)), "shift does not fit"),
    "shift in mode zero": (bits("0 00000 00 0 1000"), "shift does not fit"),
    "predicted in mode zero": (bits("0 00000 00 1 0000"), "predicted|does not fit"),
    "shift in a predicted class": (bits(PLAIN.replace("10 0 0000", "10 1 1000", 1)), "predicted|does not fit"),
    "length 0 by steps": (bits("0 00000 10 0 0000 11000000 110 110 110 110"), "value table"),
    "length 0": (bits("0 00000 10 0 0000 10000000 1110 0000", LENGTH_ONE), "value table"),
    "length 0 behind a whole code": (bits("0 00000 10 0 0000 01000000", LENGTH_ONE, "0 1110 0000"), "value table"),
    "length 16": (bits("0 00000 10 0 0000 11111111", "10" * 12), "value table"),
    "a run beyond the entries": (bits("0 00000 10 0 0000 00000000 1111 1000"), "value table"),
    "a longer run beyond the entries": (bits("0 00000 10 0 0000 01000000", LENGTH_ONE, "0 1111 1111"), "value table"),
    "an unused last entry": (bits("0 00000 10 0 0000 01000000", LENGTH_ONE, "0 1111 0000"), "value table"),
    "no used entry": (bits("0 00000 10 0 0000 00000000 1111 0000"), "value table"),
    "too few codes": (bits("0 00000 10 0 0000 10000000 1110 0100 0"), "value table"),
    "too many codes": (bits("0 00000 10 0 0000 01000000", LENGTH_ONE, "0 0"), "value table"),
    "one code of two bits": (bits("0 00000 10 0 0000 00000000 1110 0100"), "value table"),
    "a table cut off": (bits(PLAIN)[:2], "value table"),
    "a table cut off at a length": (bits(PLAIN.replace(LENGTH_ONE, "1110")[:30]), "value table"),
    "a mask table that is no code": (
        bits("0 00000 01 0 0000 1 10000000 1110 0100 0 10000000", LENGTH_ONE, "0"),
        "mask table",
    ),
    "masked with a code for 0": (
        bits("0 00000 01 0 0000 1 10000000", LENGTH_ONE, "0 10000000", LENGTH_ONE, "0"),
        "code for 0",
    ),
    "padding that is not 0": (bits(ZERO + "001"), "non-zero padding"),
    "a byte too many": (bits(ZERO) + b"\0", "wrong length"),
    "the second class missing": (bits("0 10000 10000000", LENGTH_ONE, "0 0 00 0 0000 0"), "wrong length|valid code"),
}


@pytest.mark.parametrize("name", SECTION_CASES)
def test_class_section(name: str) -> None:
    section, message = SECTION_CASES[name]
    frame = BASE._replace(payload=[section, BASE.payload[1]]).build()
    expect(CorruptStreamError, BASE.offset(0), message, frame)


def test_map_of_bands() -> None:
    # Three channels of one value each, three classes with codes of 2, 2 and 1 bits.
    header = BASE.header._replace(channels=3, columns=1, tile_width=1)
    classes = "00 0 0000" * 3
    table = "01000000 1110 0100 0 110"
    valid = Parts(header, BASE.section, [bits("0 01000", table, "10 0 11", classes), b""])
    assert not fmcodec.decode(valid.build()).any() and not reference.decode(valid.build()).any()
    cases = {
        "a class that does not exist": bits("0 10000", table, "10 0 11", classes),
        "no code": bits("0 01000", "01000000 1110 0100 0 0", "10 0 11", classes),
        "cut off": bits("0 01000", table)[:3],
        "cut off in the codes": bits("0 11111 11111000", "1110 1010", "0" * 31),
    }
    for section in cases.values():
        forged = valid._replace(payload=[section, b""]).build()
        expect(CorruptStreamError, valid.offset(0), "class map", forged)


def test_tables_of_contexts() -> None:
    # Two classes of the tokens 0 and 1, of equal weight.
    weights = "10000000" + LENGTH_ONE + "0"
    steps = "1" + "0" * 95
    section = bits("1 10000", steps, weights * 2)
    tables = reference.read_class_section(section, 1, 0)
    writer = reference.RansWriter(reference.RansTables([c.weights for c in tables.classes]), 5)
    phases = list(reference.ordered_phases(np.array([[[0, 1, 0, 1, 1]]])))
    for tokens, contexts in reversed(phases):
        writer.write(tokens, np.array(tables.class_map)[contexts])
    coded = writer.to_bytes()
    valid = BASE._replace(payload=[section, b"\0" + coded])
    assert fmcodec.decode(valid.build()).tolist() == [[[0, 1, 0, 1, 1]]] == reference.decode(valid.build()).tolist()

    for message, forged in [
        ("class map", bits("1 10000", "0" * 96, weights * 2)),
        ("class map", bits("1 10000", "11" + "0" * 94, weights * 2)),
        ("class map", bits("1 10000", "1" + "0" * 40)),
        ("weights", bits("1 10000", steps, weights)),
        ("weights", bits("1 10000", steps, "10000000" + "1110 0000" * 2)),
        ("weights", bits("1 00000", "10000000" + LENGTH_ONE + "1111 0000")),
        ("weights", bits("1 00000")),
        ("wrong length", bits("1 10000", steps, weights * 2) + b"\0"),
    ]:
        expect(CorruptStreamError, BASE.offset(0), message, valid._replace(payload=[forged, valid.payload[1]]).build())

    def changed(lane: int, state: int) -> bytes:
        return coded[: 4 * lane] + struct.pack("<I", state) + coded[4 * lane + 4 :]

    for message, block in [
        ("ends before its symbols", b""),
        ("ends before its symbols", coded[:15]),
        ("bits are left over", coded + b"\0"),
        ("bits are left over", coded + b"\0\0"),
        ("state of a block", changed(3, 2**15 - 1)),
        ("state of a block", changed(0, 2**31)),
        ("do not end where they began", changed(3, 2**20)),
        ("ends before its symbols", changed(0, 2**15)),
    ]:
        parts = valid._replace(payload=[section, b"\0" + block])
        expect(CorruptStreamError, parts.offset(1), message, parts.build())

    patched = valid._replace(payload=[section, b"\2" + struct.pack("<IIIii", 2, 1, 4, 7, -9) + coded])
    assert reference.decode(patched.build()).tolist() == [[[0, 7, 0, 1, 0]]] == fmcodec.decode(patched.build()).tolist()
    for message, patches in [
        ("patched block is too short", struct.pack("<I", 2**32 - 1)),
        ("has no patches", struct.pack("<I", 0)),
        ("outside its block", struct.pack("<IIi", 1, 5, 7)),
        ("out of order", struct.pack("<IIIii", 2, 3, 1, 7, 7)),
        ("number of a patch", struct.pack("<IIi", 1, 1, 2**20 + 1)),
    ]:
        parts = valid._replace(payload=[section, b"\2" + patches + coded])
        expect(CorruptStreamError, parts.offset(1), message, parts.build())


def test_class_section_of_static_tables() -> None:
    section = STATIC.section[:30]
    for name in ("mode 3", "shift 14", "length 16", "too few codes", "a byte too many"):
        data, message = SECTION_CASES[name]
        frame = STATIC._replace(section=section + struct.pack("<I", len(data)) + data).build()
        expect(CorruptStreamError, HEADER_SIZE + 34, message, frame)


# --- blocks

BLOCK_CASES = {
    "kind 3": (PLAIN, b"\3\0", "unknown kind"),
    "kind 255": (PLAIN, b"\xff", "unknown kind"),
    "no bits": (PLAIN, b"\0", "ends before its symbols"),
    "bits left over": (PLAIN, b"\0" + bits("01011 000 0"), "bits are left over"),
    "padding that is not 0": (PLAIN, b"\0" + bits("01011 100"), "bits are left over"),
    "low bits missing": (PLAIN.replace("10 0 0000", "10 0 0100"), b"\0" + bits("01011"), "ends before its symbols"),
    "bits for zeros": (ZERO, b"\0\0", "bits are left over"),
    "patched without count": (PLAIN, b"\2\1\0\0", "patched block is too short"),
    "a count of no patches alone": (PLAIN, b"\2" + bytes(4), "has no patches"),
    "no patches": (PLAIN, b"\2" + bytes(4) + bits("01011"), "has no patches"),
    "patches missing": (PLAIN, b"\2" + struct.pack("<IIi", 2, 0, 7) + bits("01011"), "patched block is too short"),
    "far too many patches": (PLAIN, b"\2" + struct.pack("<IIi", 2**32 - 1, 0, 7), "patched block is too short"),
    "patch behind the block": (PLAIN, b"\2" + struct.pack("<IIi", 1, 5, 7) + bits("01011"), "outside its block"),
    "patch far behind it": (PLAIN, b"\2" + struct.pack("<IIi", 1, 2**32 - 1, 7) + bits("01011"), "outside its block"),
    "patches out of order": (PLAIN, b"\2" + struct.pack("<IIIii", 2, 3, 1, 7, 7) + bits("01011"), "out of order"),
    "two patches for one place": (PLAIN, b"\2" + struct.pack("<IIIii", 2, 3, 3, 7, 7) + bits("01011"), "out of order"),
    "patch too large": (PLAIN, b"\2" + struct.pack("<IIi", 1, 1, 2**20 + 1) + bits("01011"), "number of a patch"),
    "patch too small": (PLAIN, b"\2" + struct.pack("<IIi", 1, 1, -(2**31)) + bits("01011"), "number of a patch"),
    "residual that is no token": (
        PLAIN.replace("10 0 0000", "10 1 0000"),
        b"\2" + struct.pack("<IIi", 1, 1, -1) + bits("01011"),
        "number of a patch",
    ),
    "patched without streams": (PLAIN, b"\2" + struct.pack("<IIi", 1, 0, 7), "ends before its symbols"),
    "raw without minimum": (PLAIN, b"\1", "raw block is too short"),
    "raw without width": (PLAIN, b"\1\0\0\0\0", "raw block is too short"),
    "raw minimum too large": (PLAIN, struct.pack("<BiB", 1, 2**20 + 1, 0), "minimum of a raw block"),
    "raw minimum too small": (PLAIN, struct.pack("<BiB", 1, -(2**20) - 1, 0), "minimum of a raw block"),
    "raw minimum far out": (PLAIN, struct.pack("<BiB", 1, -(2**31), 0), "minimum of a raw block"),
    "raw too wide": (PLAIN, struct.pack("<BiB", 1, 0, 9) + bytes(6), "width of a raw block"),
    "raw far too wide": (PLAIN, struct.pack("<BiB", 1, 0, 255) + bytes(6), "width of a raw block"),
    "raw planes missing": (PLAIN, struct.pack("<BiB", 1, 0, 2) + bytes(1), "ends before its symbols"),
    "raw bits left over": (PLAIN, struct.pack("<BiB", 1, 0, 2) + bytes(3), "bits are left over"),
    "raw padding that is not 0": (PLAIN, struct.pack("<BiB", 1, 0, 1) + b"\x20", "bits are left over"),
}


@pytest.mark.parametrize("name", BLOCK_CASES)
def test_block(name: str) -> None:
    section, block, message = BLOCK_CASES[name]
    parts = BASE._replace(payload=[bits(section), block])
    expect(CorruptStreamError, parts.offset(1), message, parts.build())


SERIAL_CASES = {
    "a byte of a word": (16, PLAIN, bits("01011"), "ends inside a word"),
    "three bytes of words": (16, PLAIN, bits("01011") + bytes(2), "ends inside a word"),
    "no word": (16, PLAIN, b"", "ends before its symbols"),
    "a word too many": (16, PLAIN, bits("01011") + bytes(3), "bits are left over"),
    "padding that is not 0": (16, PLAIN, bits("01011 1") + bytes(1), "bits are left over"),
    "padding that is not 0 in another byte": (64, PLAIN, bits("01011") + bytes(6) + b"\x80", "bits are left over"),
    "low bits missing": (8, PLAIN.replace("10 0 0000", "10 0 1100"), bits("0000 1000 0000 1000"), "ends before its"),
    "words for zeros": (32, ZERO, bytes(4), "bits are left over"),
}


@pytest.mark.parametrize("name", SERIAL_CASES)
def test_serial_block(name: str) -> None:
    word_bits, section, block, message = SERIAL_CASES[name]
    spec = CodecSpec(code_layout="serial", word_bits=word_bits)
    parts = BASE._replace(section=reference.write_spec_section(spec), payload=[bits(section), b"\0" + block])
    expect(CorruptStreamError, parts.offset(1), message, parts.build())
    with pytest.raises(CorruptStreamError, match=message):
        fmcodec.relayout(parts.build(), "wavelet")
    # As many bits as there should be, and whole words.
    bit_count = {PLAIN: 5, ZERO: 0}.get(section, 20)
    valid = parts._replace(payload=[parts.payload[0], bytes(1 + -(-bit_count // word_bits) * word_bits // 8)])
    assert fmcodec.decode(valid.build()).tolist() == reference.decode(valid.build()).tolist() == [[[0] * 5]]


def test_block_that_ends_inside_a_later_node() -> None:
    # Five tokens that all go right: five bits of the root, then a plane of five of which there are three.
    table_class = TableClass(mode="plain", value_lengths=(1, 2, 2))
    section = reference.write_class_section(Tables(class_map=(0,), classes=(table_class,)), 0)
    whole = BASE._replace(payload=[section, b"\0" + bits("11111 01010")])
    assert fmcodec.decode(whole.build()).tolist() == [[[1, 2, 1, 2, 1]]] == reference.decode(whole.build()).tolist()
    short = BASE._replace(payload=[section, b"\0" + bits("11111 010")])
    expect(CorruptStreamError, short.offset(1), "ends before its symbols", short.build())


def masked_class(mask_bytes: dict[int, int]) -> bytes:
    """A class section with a masked class: lengths of the mask bytes, and the values 1 and 2 of one bit each."""
    lengths = [mask_bytes.get(token, 0) for token in range(max(mask_bytes) + 1)]
    table_class = TableClass(mode="masked", value_lengths=(0, 1, 1), mask_lengths=tuple(lengths))
    return reference.write_class_section(Tables(class_map=(0,), classes=(table_class,)), 0)


def test_masked_block() -> None:
    section = masked_class({0b01001: 1, 0b101001: 1})
    valid = BASE._replace(payload=[section, b"\0" + bits("0", "01")])
    assert fmcodec.decode(valid.build()).tolist() == [[[1, 0, 0, 2, 0]]] == reference.decode(valid.build()).tolist()
    cases = [
        (b"\0" + bits("1", "01"), "padding of a mask is not 0"),
        (b"\0", "ends before its symbols"),
        (b"\0" + bits("0", "01", "00001"), "bits are left over"),
    ]
    for block, message in cases:
        parts = valid._replace(payload=[section, block])
        expect(CorruptStreamError, parts.offset(1), message, parts.build())
    # Nine positions: two mask bytes of no bits, then seven values of which one is missing.
    header = BASE.header._replace(columns=9, tile_width=9)
    section = masked_class({0b1: 1})
    for block, is_valid in ((b"\0" + bits("01"), True), (b"\0", False)):
        frame = Parts(header, BASE.section, [section, block]).build()
        if is_valid:
            assert fmcodec.decode(frame).tolist() == [[[1, 0, 0, 0, 0, 0, 0, 0, 2]]] == reference.decode(frame).tolist()
        else:
            expect(CorruptStreamError, len(frame) - 1, "ends before its symbols", frame)


@pytest.mark.parametrize("layout", ["wavelet", "serial"])
def test_masked_block_with_low_bits(layout: Literal["wavelet", "serial"]) -> None:
    # Five symbols 0 3 0 -4 1 with a shift of 1: the tokens of those that are not 0 are 1, 254 and 0.
    table_class = TableClass(mode="masked", shift=1, value_lengths=(1, 2, *[0] * 252, 2), mask_lengths=(0,) * 26 + (1,))
    section = reference.write_class_section(Tables(class_map=(0,), classes=(table_class,)), -128)
    spec = CodecSpec(bits=12, zero_point=2048, code_layout=layout, word_bits=8 if layout == "serial" else 32)
    base = BASE._replace(header=BASE.header._replace(dtype=1), section=reference.write_spec_section(spec))
    streams = {
        "wavelet": [("110 01", "101"), ("110 01", "100")],
        "serial": [("10 1 11 0 0 1", ""), ("10 1 11 0 0 0", "")],
    }[layout]
    parts = base._replace(payload=[section, b"\0" + bits(*streams[0])])
    assert fmcodec.decode(parts.build()).tolist() == [[[0, 3, 0, -4, 1]]] == reference.decode(parts.build()).tolist()
    # The last symbol would be 0, though its mask says otherwise.
    parts = base._replace(payload=[section, b"\0" + bits(*streams[1])])
    expect(CorruptStreamError, parts.offset(1), "behind a 1 of its mask is 0", parts.build())
    with pytest.raises(CorruptStreamError, match="behind a 1 of its mask is 0"):
        reference.decode(parts.build())


def test_raw_blocks_at_their_limits() -> None:
    identity, dct = CodecSpec(bits=8, zero_point=100), CodecSpec(bits=9, transform="dct", transform_size=4)
    x = np.zeros((4, 1, 2), np.float32)
    for spec, width in ((identity, 8), (dct, 13)):
        parts = take_apart(fmcodec.encode(x, spec))
        for minimum in (-(2**20), -3, 0, 2**20):
            head = struct.pack("<BiB", 1, minimum, width)
            block = head + np.random.default_rng(1).bytes(width)
            frame = parts._replace(payload=[parts.payload[0], block]).build()
            assert same(fmcodec.decode(frame), reference.decode(frame))
        block = struct.pack("<BiB", 1, 0, width + 1) + bytes(width + 1)
        forged = parts._replace(payload=[parts.payload[0], block])
        expect(CorruptStreamError, forged.offset(1), "width of a raw block", forged.build())


# --- limits


def test_extents_of_no_images() -> None:
    # Without images there are no values, whatever the other extents are; numpy has a limit of its own.
    header = BASE.header._replace(
        rank=4, images=0, channels=2**24, rows=2**32 - 1, columns=2**32 - 1, index_count=0, payload_size=0
    )
    frame = Parts(header, BASE.section, []).build()
    assert fmcodec.inspect(frame).shape == (0, 2**24, 2**32 - 1, 2**32 - 1)
    for decode in (fmcodec.decode, reference.decode):
        with pytest.raises(LimitExceededError, match="numpy cannot hold an array of shape"):
            decode(frame)


def test_max_bytes() -> None:
    x = np.ones((2, 3, 5), np.float16)
    frame = fmcodec.encode(x)
    assert fmcodec.decode(frame, max_bytes=60).nbytes == 60
    with pytest.raises(LimitExceededError, match="the decoded array has 60 bytes, max_bytes is 59"):
        fmcodec.decode(frame, max_bytes=59)
    # The limit is for what is allocated: a part, or nothing.
    part = (slice(0, 1), slice(0, 3), slice(0, 5))
    assert fmcodec.decode(frame, max_bytes=30, region=part).nbytes == 30
    assert fmcodec.decode(frame, max_bytes=0, out=np.empty_like(x)).nbytes == 60
    for limit in (-1, 0, 10):
        with pytest.raises(LimitExceededError):
            fmcodec.decode(frame, max_bytes=limit)


def test_small_frames_of_huge_tensors() -> None:
    huge = [
        {"rows": 2**25, "columns": 2**25, "tile_height": 2**25, "tile_width": 2**25},
        {"channels": 2**24, "columns": 2**28, "tile_width": 2**28},
        {"images": 1, "rows": 2**32 - 1, "tile_height": 2**32 - 1},
    ]
    for fields in huge:
        header = BASE.header._replace(**fields)
        frame = Parts(header, BASE.section, [bits(ZERO), b""]).build()
        assert fmcodec.inspect(frame).shape == (header.channels, header.rows, header.columns)
        with pytest.raises(LimitExceededError):
            fmcodec.decode(frame)
    # One byte more than the default allows: 641 * 6700417 = 2^32 + 1.
    header = BASE.header._replace(rows=641, columns=6700417, tile_height=641, tile_width=6700417)
    frame = Parts(header, BASE.section, [bits(ZERO), b""]).build()
    with pytest.raises(LimitExceededError, match="has 4294967297 bytes, max_bytes is 4294967296"):
        fmcodec.decode(frame)
    # So many blocks would need as many entries in the index.
    forged = header_case(rows=2**30, columns=2**30, tile_width=1)
    expect(CorruptStreamError, 40, "index_count", forged)


def test_parts_of_huge_blocks() -> None:
    # One pixel of a block of 2^27 bytes, which is decoded as a whole.
    extents = {"rows": 2**14, "tile_height": 2**14, "columns": 2**13, "tile_width": 2**13}
    frame = Parts(BASE.header._replace(**extents), BASE.section, [bits(ZERO), b""]).build()
    pixel = (slice(0, 1), slice(5, 6), slice(7, 8))
    with pytest.raises(LimitExceededError, match="a block of the frame has more than 67108864 bytes"):
        fmcodec.decode(frame, region=pixel, max_bytes=1)
    assert fmcodec.decode(frame, region=pixel, max_bytes=2**27).tolist() == [[[0]]]


def test_most_channels() -> None:
    x = np.zeros((2**24 + 1, 1, 1), np.uint8)
    refuse(ValueError, "more than 2\\^24 channels", lambda: fmcodec.encode(x))
    with pytest.raises(ValueError, match="channels"):
        reference.encode(x, CodecSpec())
    assert fmcodec.inspect(fmcodec.encode(x[1:])).shape == (2**24, 1, 1)


def test_huge_tensors_without_values() -> None:
    fields = {"rank": 4, "images": 2**32 - 1, "channels": 2**24, "rows": 2**32 - 1, "columns": 0, "tile_width": 1}
    frame = Parts(BASE.header._replace(**fields), BASE.section, []).build()
    assert fmcodec.inspect(frame).values == 0
    try:
        assert fmcodec.decode(frame).size == 0
    except FmcodecError as error:
        assert isinstance(error, LimitExceededError)


AMPLIFICATION = """
import resource, sys
import fmcodec

resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
frame = bytes.fromhex(sys.argv[1])
region = eval(sys.argv[2])
for call in (lambda: fmcodec.inspect(frame), lambda: fmcodec.decode(frame, region=region, max_bytes=1 << 20)):
    try:
        call()
    except fmcodec.FmcodecError as error:
        print(type(error).__name__)
    else:
        print("done")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit of the address space")
@pytest.mark.parametrize("kind", ["static", "adaptive", "block"])
def test_small_frames_take_little_memory(kind: str) -> None:
    header = BASE.header._replace(channels=2**24, columns=1, tile_width=1)
    region = "(slice(0, 1), slice(0, 1), slice(0, 1))"
    if kind == "static":
        section = reference.write_spec_section(CodecSpec(tables=only_zeros(1)))
        frame = Parts(header, section, [b""]).build()
    elif kind == "adaptive":
        frame = Parts(header, BASE.section, [bits(ZERO), b""]).build()
    else:
        extents = dict.fromkeys(["rows", "columns", "tile_height", "tile_width"], 2**20)
        frame = Parts(BASE.header._replace(**extents), BASE.section, [bits(ZERO), b""]).build()
    result = subprocess.run(
        [sys.executable, "-c", AMPLIFICATION, frame.hex(), region], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert set(result.stdout.split()) <= {"done", "LimitExceededError"}


# --- arguments


def refuse(error: type[Exception], message: str, call: Callable[[], object]) -> None:
    """The call raises this class with one sentence."""
    with pytest.raises(error, match=message) as caught:
        call()
    assert type(caught.value) is error
    assert "\n" not in str(caught.value) and 10 < len(str(caught.value)) < 200


X = np.zeros((2, 3, 4), np.float32)
FRAME = fmcodec.encode(X)


class FakeGpuTensor:
    """As much of a torch tensor on a GPU as can be had without one."""

    dtype = torch.float32
    shape = (2, 3, 4)

    class device:
        type = "cuda"

        def __str__(self) -> str:
            return "cuda:0"

    device = device()  # type: ignore[assignment,misc]

    def detach(self) -> FakeGpuTensor:
        return self


FakeGpuTensor.__module__ = "torch"


class FakeGpuArray:
    """An array of another library on a GPU: what DLPack shows of it."""

    def __dlpack__(self, **options: Any) -> Any:
        raise BufferError("the array is not in CPU memory")

    def __dlpack_device__(self) -> tuple[int, int]:
        return (2, 0)


def test_wrong_inputs() -> None:
    for dtype in (np.float64, np.int16, np.uint32, np.int64, bool, np.complex64, object, "S3", "datetime64[s]"):
        refuse(TypeError, "dtype must be one of float32, .*, not ", lambda dtype=dtype: fmcodec.encode(X.astype(dtype)))
    refuse(
        TypeError, "dtype must be .*, not float64", lambda: fmcodec.encode(torch.zeros(2, 3, 4, dtype=torch.float64))
    )
    for shape in ((), (3,), (3, 4), (1, 1, 2, 3, 4)):
        message = f"the array must have 3 or 4 axes, .*, not {len(shape)}"
        refuse(ValueError, message, lambda shape=shape: fmcodec.encode(np.zeros(shape, np.float32)))
    refuse(TypeError, r"in CPU memory, not on cuda:0: call \.cpu\(\) first", lambda: fmcodec.encode(FakeGpuTensor()))
    refuse(TypeError, "CPU memory", lambda: fmcodec.encode(FakeGpuArray()))
    refuse(TypeError, "list", lambda: fmcodec.encode([[[1.0]]]))
    refuse(TypeError, "NoneType", lambda: fmcodec.encode(None))
    # What has a part of what a tensor has.
    refuse(TypeError, "must be an array, not dtype", lambda: fmcodec.encode(torch.float32))
    refuse(TypeError, "must be an array, not SimpleNamespace", lambda: fmcodec.encode(SimpleNamespace(detach=None)))
    sparse = torch.eye(3).to_sparse()[None]
    with pytest.raises((TypeError, RuntimeError)):
        fmcodec.encode(sparse)


def test_bfloat16_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = fmcodec.encode(torch.ones(2, 3, 4, dtype=torch.bfloat16))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    refuse(TypeError, "bfloat16 needs the package ml_dtypes", lambda: fmcodec.decode(frame))
    out = torch.empty(2, 3, 4, dtype=torch.bfloat16)
    assert fmcodec.decode(frame, out=out) is out and bool((out == 1).all())


def test_wrong_options() -> None:
    for threads in (0, -1):
        for call in (fmcodec.encode, lambda x, **options: fmcodec.decode(FRAME, **options)):
            refuse(
                ValueError,
                f"threads must be at least 1, not {threads}",
                lambda call=call, t=threads: call(X, threads=t),
            )
    refuse(TypeError, "float", lambda: fmcodec.encode(X, threads=1.5))
    message = "layout must be 'nchw' or 'nhwc', not 'hwc'"
    refuse(ValueError, message, lambda: fmcodec.encode(X, layout="hwc"))
    refuse(ValueError, message, lambda: fmcodec.encode_into(X, bytearray(9), layout="hwc"))
    refuse(ValueError, message, lambda: fmcodec.encode_bound(X.shape, X.dtype, CodecSpec(), layout="hwc"))
    refuse(ValueError, message, lambda: TableStatistics(CodecSpec()).update(X, layout="hwc"))


def test_wrong_specs() -> None:
    refuse(ValueError, "bits must be at most 8", lambda: fmcodec.encode(X.astype(np.uint8), CodecSpec(bits=9)))
    refuse(ValueError, "permutation has 3 entries for 2", lambda: fmcodec.encode(X, CodecSpec(permutation=(0, 1, 2))))
    refuse(ValueError, "for 1 bands, the tensor has 2", lambda: fmcodec.encode(X, CodecSpec(tables=only_zeros(1))))
    for call in (
        lambda: fmcodec.encode(X, {"step": 1.0}),
        lambda: fmcodec.decode(FRAME, spec=0.1),
        lambda: fmcodec.inspect(FRAME, spec="spec"),
        lambda: fmcodec.encode_bound(X.shape, X.dtype, None),
        lambda: TableStatistics(0.1),
    ):
        refuse(TypeError, "CodecSpec", call)


def test_wrong_shapes_of_encode_bound() -> None:
    spec = CodecSpec()
    refuse(ValueError, "shape must have 3 or 4 axes, not 2", lambda: fmcodec.encode_bound((3, 4), "uint8", spec))
    refuse(ValueError, "negative|at least 0", lambda: fmcodec.encode_bound((2, -3, 4), "uint8", spec))
    refuse(TypeError, "dtype must be one of .*, not float64", lambda: fmcodec.encode_bound(X.shape, "float64", spec))
    refuse(TypeError, "float", lambda: fmcodec.encode_bound((2.5, 3, 4), "uint8", spec))
    for largest in ((1, 1, 2**32 - 1), (1, 2**32 - 1, 1), (2**32 - 1, 1, 1, 1), (2**24, 1, 1)):
        assert fmcodec.encode_bound(largest, "uint8", spec) > np.prod(largest, dtype=object)
    for larger in ((1, 1, 2**32), (1, 2**32, 1), (2**32, 1, 1, 1), (2**24 + 1, 1, 1)):
        message = "more than 2.24 channels, or 2.32 or more along another axis"
        refuse(ValueError, message, lambda shape=larger: fmcodec.encode_bound(shape, "uint8", spec))


def test_wrong_outputs() -> None:
    def decode(out: Any) -> Callable[[], object]:
        return lambda: fmcodec.decode(FRAME, out=out)

    refuse(TypeError, "out must be a numpy array or a torch tensor, not list", decode([0.0]))
    refuse(TypeError, "out must have dtype float32, not float64", decode(np.zeros((2, 3, 4))))
    refuse(TypeError, "out must have dtype float32, not float16", decode(torch.zeros(2, 3, 4, dtype=torch.float16)))
    refuse(TypeError, "out must have the byte order of this machine", decode(np.zeros((2, 3, 4), ">f4")))
    refuse(TypeError, "CPU memory, not on cuda:0", decode(FakeGpuTensor()))
    refuse(ValueError, r"out must have shape \(2, 3, 4\), not \(2, 3, 5\)", decode(np.zeros((2, 3, 5), np.float32)))
    refuse(
        ValueError, r"out must have shape \(2, 3, 4\), not \(1, 2, 3, 4\)", decode(np.zeros((1, 2, 3, 4), np.float32))
    )
    refuse(ValueError, "out must be writable", decode(np.broadcast_to(np.float32(0), (2, 3, 4))))
    packed = np.zeros((2, 3, 4), np.dtype([("tag", "u1"), ("value", "f4")]))["value"]
    refuse(ValueError, "strides of out must be multiples", decode(packed))


def test_wrong_regions() -> None:
    whole = slice(None)

    def decode(*region: Any) -> Callable[[], object]:
        return lambda: fmcodec.decode(FRAME, region=region)

    refuse(ValueError, r"region must have one slice per axis \(3\), not 2", decode(whole, whole))
    refuse(ValueError, r"region must have one slice per axis \(3\), not 4", decode(whole, whole, whole, whole))
    refuse(ValueError, r"region\[1\] must be a slice with step 1, not 5", decode(whole, 5, whole))
    refuse(ValueError, r"region\[2\] must be a slice with step 1, not slice", decode(whole, whole, slice(0, 4, 2)))
    refuse(
        ValueError, r"region\[0\] must be a slice with step 1, not slice", decode(slice(None, None, -1), whole, whole)
    )
    out = np.zeros((2, 3, 4), np.float32)
    part = (slice(0, 1), whole, whole)
    refuse(ValueError, r"out must have shape \(1, 3, 4\)", lambda: fmcodec.decode(FRAME, region=part, out=out))


def test_wrong_buffers() -> None:
    refuse(TypeError, "a frame must be bytes or another buffer of them, not str", lambda: fmcodec.decode("frame"))
    refuse(ValueError, "contiguous", lambda: fmcodec.decode(np.zeros(200, np.uint8)[::2]))
    refuse(TypeError, "a frame must be bytes, not float32", lambda: fmcodec.decode(torch.zeros(100)))


# --- NaN and infinity


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite(dtype: str, special: float, isa: str) -> None:
    for size in (1, 7, 16, 33, 130):
        for position in {0, size // 2, size - 1}:
            x = as_dtype(np.random.default_rng(size).normal(0, 3, (2, 1, size)), dtype)
            x[1, 0, position] = special
            for spec in (CodecSpec(zero_point=9, bits=5), CodecSpec(bits=12, transform="dct", transform_size=4)):
                message = "the array holds NaN or infinity; nonfinite='clamp' codes NaN as 0 and clamps infinities"
                with pytest.raises(NonFiniteError, match=message) as caught:
                    fmcodec.encode(x, spec)
                assert caught.value.offset is None
                clamping = spec.replace(nonfinite="clamp")
                frame = fmcodec.encode(x, clamping)
                assert frame == reference.encode(x, clamping)
            plain = fmcodec.decode(fmcodec.encode(x, CodecSpec(zero_point=9, bits=5, nonfinite="clamp")))
            expected = 0 if np.isnan(special) else 22 if special > 0 else -9
            assert plain[1, 0, position] == expected


def test_default_spec_refuses_what_is_not_finite() -> None:
    for special in (np.nan, np.inf):
        with pytest.raises(NonFiniteError):
            fmcodec.encode(np.full((1, 2, 2), special, np.float32))
    x = np.ones((1, 2, 2), numpy_dtype("bfloat16"))
    x[0, 0, 0] = np.nan
    with pytest.raises(NonFiniteError):
        fmcodec.encode(x)


def test_errors_form_one_tree() -> None:
    assert issubclass(FmcodecError, ValueError)
    for error in (CorruptStreamError, UnsupportedVersionError, LimitExceededError, SpecMismatchError, NonFiniteError):
        assert error.__bases__ == (FmcodecError,)
    for error in (TruncatedStreamError, ChecksumError):
        assert error.__bases__ == (CorruptStreamError,)
    assert str(CorruptStreamError("something", 7)) == "something (at byte 7)"
    assert str(CorruptStreamError("something")) == "something" and CorruptStreamError("something").offset is None
