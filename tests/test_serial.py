"""The serial layout: packing of words, core against reference, and conversion of frames between the layouts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from strategies import Case, cases, code_lengths, same, share, values

import fmcodec
from fmcodec import (
    CodecSpec,
    CorruptStreamError,
    LimitExceededError,
    SpecMismatchError,
    TableClass,
    Tables,
    TableStatistics,
    reference,
)
from fmcodec._core import kernels
from fmcodec.torch import simulate

RECORDED = Path(__file__).resolve().parent / "data" / "huffman_words.json"
RECORDED_CASES: list[dict[str, Any]] = json.loads(RECORDED.read_text(encoding="ascii"))
WORD_SIZES = [8, 16, 32, 64]
SPECS = {
    "plain": CodecSpec(step=0.05, zero_point=100),
    "masked": CodecSpec(step=0.9),
    "low-bits": CodecSpec(step=0.001, bits=16, zero_point=30000),
    "dct": CodecSpec(step=0.01, bits=12, zero_point=1500, transform="dct", transform_size=8, band_steps=(24,)),
    "spatial": CodecSpec(step=0.01, bits=12, zero_point=1500, spatial_size=2, band_steps=(24,)),
    "neighbours": CodecSpec(step=0.4, zero_point=100, effort=3),
    "long-codes": CodecSpec(step=0.002, zero_point=100, max_code_length=15),
    "blocks": CodecSpec(step=0.1, zero_point=60, block_shape=(5, 7)),
}


def feature_map(shape: tuple[int, ...] = (12, 24, 30), kind: str = "heavy", seed: int = 0) -> Any:
    """Values as large as their neighbours, so that contexts are of use."""
    rows, columns = np.indices(shape[-2:])
    x = values(np.random.default_rng(seed), kind, shape, 0.3) * np.exp2(3 * np.sin(rows / 4) * np.sin(columns / 5))
    return x.astype(np.float32)


def padded(lengths: tuple[int, ...]) -> Any:
    """Code lengths of all tokens."""
    return np.array([*lengths, *[0] * (256 - len(lengths))], np.uint8)


def tokens_of(lengths: tuple[int, ...], count: int, seed: int) -> Any:
    """Random tokens that have codes."""
    return np.random.default_rng(seed).choice(np.flatnonzero(lengths), size=count).astype(np.uint8)


def is_neighbours(frame: bytes, band_count: int, minimum: int) -> bool:
    """Whether the first group has contexts from neighbours."""
    part = fmcodec.inspect(frame).blocks[0]
    section = frame[part.offset : part.offset + part.size_bytes]
    return reference.read_class_section(section, band_count, minimum).model == "neighbours"


# --- packing


@pytest.mark.parametrize("case", RECORDED_CASES, ids=lambda case: case["name"])
def test_recorded_words(case: dict[str, Any]) -> None:
    """What a packer in hardware makes of codes of different lengths: twenty recorded runs.

    A case has the width ``W`` of its words; a ``table`` of codes, whose integers are packed from their least
    significant bit on with the ``length`` given; frames of ``symbols``, each packed on its own; and the words and the
    number of bits of each frame. ``N`` and ``M`` are the widths of a symbol and of the longest code.
    """
    code_of = {entry["symbol"]: (entry["code"], entry["length"]) for entry in case["table"]}
    assert max(code_of).bit_length() <= case["N"] and max(length for _, length in code_of.values()) <= case["M"]
    for frame, words, bit_count in zip(case["frames"], case["ideal_words"], case["payload_bits"], strict=True):
        pairs = np.array([code_of[symbol] for symbol in frame["symbols"]], np.int64).reshape(-1, 2)
        assert reference.pack_codes(pairs[:, 0], pairs[:, 1], case["W"]) == words
        assert pairs[:, 1].sum() == bit_count
        writer = reference.BitWriter()
        writer.write_codes(pairs[:, 0], pairs[:, 1])
        assert writer.to_words(case["W"]) == words and len(writer) == bit_count


def test_there_are_twenty_recorded_cases() -> None:
    assert len(RECORDED_CASES) == 20
    assert {case["W"] for case in RECORDED_CASES} == {8, 10, 12, 16, 32}


@share(2)
@given(code_lengths(list(range(256))), st.integers(0, 200), st.integers(0, 13), st.sampled_from(WORD_SIZES), st.data())
def test_codes_are_packed_like_any_others(
    lengths: tuple[int, ...], count: int, shift: int, word_bits: int, data: st.DataObject
) -> None:
    tokens = tokens_of(lengths, count, data.draw(st.integers(0, 99)))
    symbols = np.random.default_rng(count).integers(-(2**20), 2**20, count, dtype=np.int32)
    low_bits = symbols % 2**shift
    code = reference.Code(lengths)
    writer = reference.BitWriter()
    reference.write_tokens_serial(writer, code, tokens.astype(np.int64), low_bits.astype(np.int64), shift)

    # Codes from their first bit on, then low bits: as text, and as pairs of integers and lengths.
    ranks = code.rank_of[tokens]
    bits = [format(code.codes[rank], f"0{code.depths[rank]}b") if code.depths[rank] else "" for rank in ranks]
    text = "".join(bit + format(low, f"0{shift}b")[::-1] * (shift > 0) for bit, low in zip(bits, low_bits, strict=True))
    assert len(writer) == len(text)
    integers = [int(bit[::-1] or "0", 2) + (int(low) << len(bit)) for bit, low in zip(bits, low_bits, strict=True)]
    sizes = [len(bit) + shift for bit in bits]
    words = reference.pack_codes(np.array(integers, np.int64), np.array(sizes, np.int64), word_bits)
    assert words == [int(text[i : i + word_bits][::-1], 2) for i in range(0, len(text), word_bits)]
    assert writer.to_bytes(word_bits) == b"".join(word.to_bytes(word_bits // 8, "little") for word in words)

    ours, bit_count = kernels.write_serial(tokens, symbols, shift, padded(lengths))
    assert bit_count == len(text) and ours == writer.to_bytes()
    read, read_low_bits = kernels.read_serial(ours, shift, padded(lengths), count)
    assert read.tolist() == tokens.tolist()
    assert read_low_bits.tolist() == (low_bits.tolist() if shift else [])
    theirs = reference.read_tokens_serial(reference.BitReader(ours), code, count, shift)
    assert [part.tolist() for part in theirs] == [tokens.tolist(), low_bits.tolist()]


@given(code_lengths(list(range(256))), st.integers(1, 300), st.sampled_from([0, 0, 1, 7, 13]))
def test_bits_that_are_missing(lengths: tuple[int, ...], count: int, shift: int) -> None:
    tokens = tokens_of(lengths, count, count)
    bits, bit_count = kernels.write_serial(tokens, np.zeros(count, np.int32), shift, padded(lengths))
    assume(bit_count > 0)
    sizes = {0, len(bits) // 2, len(bits) - 9, len(bits) - 8, len(bits) - 7, len(bits) - 1}
    for size in sizes:
        if 0 <= size < len(bits):
            with pytest.raises(CorruptStreamError, match="ends before its symbols"):
                kernels.read_serial(bits[:size], shift, padded(lengths), count)
    with pytest.raises(CorruptStreamError, match="ends before its symbols"):
        kernels.read_serial(bits, shift, padded(lengths), count + 8 * len(bits) + 8)


def test_bits_are_those_of_the_wavelet_layout_in_another_order() -> None:
    rng = np.random.default_rng(4)
    histogram = (rng.random(256) ** 8 * 10**6).astype(np.int64)
    lengths = tuple(reference.limited_lengths(histogram, 15).tolist())
    tokens = tokens_of(lengths, 5000, 5)
    serial, serial_count = kernels.write_serial(tokens, np.zeros(5000, np.int32), 0, padded(lengths))
    wavelet, wavelet_count = kernels.write_wavelet(tokens, padded(lengths))
    assert serial_count == wavelet_count and serial != wavelet
    counts = [sum(byte.bit_count() for byte in data) for data in (serial, wavelet)]
    # Complete subtrees of the wavelet layout hold ranks, which are codes less the first one of the subtree.
    assert abs(counts[0] - counts[1]) < serial_count


# --- core and reference (test_codec.py has any specs)


@pytest.mark.parametrize("word_bits", WORD_SIZES)
@pytest.mark.parametrize("name", SPECS)
def test_core_equals_reference(name: str, word_bits: int) -> None:
    spec = SPECS[name].replace(code_layout="serial", word_bits=word_bits)
    x = feature_map(kind="sparse" if name == "masked" else "dense")
    frame = reference.encode(x, spec)
    assert fmcodec.encode(x, spec, threads=2) == frame
    decoded = fmcodec.decode(frame, threads=2)
    assert same(decoded, reference.decode(frame))
    assert same(decoded, fmcodec.decode(fmcodec.encode(x, SPECS[name])))
    assert torch.equal(simulate(torch.from_numpy(x), spec), torch.from_numpy(decoded))
    info = fmcodec.inspect(frame)
    assert (info.spec.code_layout, info.spec.word_bits) == ("serial", word_bits)
    for part in info.blocks:
        if name != "neighbours" and part.kind == "block" and part.size_bytes and frame[part.offset] == 0:
            assert (part.size_bytes - 1) % (word_bits // 8) == 0


def test_specs_of_these_tests_are_what_they_are_called() -> None:
    x = feature_map(kind="dense")
    frame = fmcodec.encode(x, SPECS["neighbours"])
    assert is_neighbours(frame, 12, -100)
    # The layout changes nothing but the spec.
    serial = fmcodec.relayout(frame)
    payload = fmcodec.inspect(frame).sections["tables"] + fmcodec.inspect(frame).sections["payload"]
    assert serial[-payload // 8 :] == frame[-payload // 8 :] and len(serial) == len(frame) + 1
    for name, mode, has_shift in (("masked", "masked", False), ("low-bits", "plain", True)):
        frame = fmcodec.encode(feature_map(kind="sparse" if name == "masked" else "dense"), SPECS[name])
        part = fmcodec.inspect(frame).blocks[0]
        section = frame[part.offset : part.offset + part.size_bytes]
        tables = reference.read_class_section(section, 12, reference.token_minimum(SPECS[name]))
        assert any(c.mode == mode and (c.shift > 0) == has_shift for c in tables.classes)


def test_kinds_of_blocks_do_not_depend_on_the_layout() -> None:
    # Block k has k values with codes of 8 bits, the others have codes of 1 bit; raw, all have 4 bits or less.
    x = np.zeros((19, 18), np.uint8)
    for count in range(19):
        x[count, :count] = 8 + np.arange(count) % 8
    x = x.reshape(19, 3, 2, 3).transpose(1, 2, 0, 3).reshape(3, 2, 57)
    table_class = TableClass(mode="plain", value_lengths=(1, 2, 3, 4, 5, 0, 0, 0, *[8] * 8))
    spec = CodecSpec(bits=4, block_shape=(2, 3), tables=Tables(class_map=(0, 0, 0), classes=(table_class,)))
    frame = fmcodec.encode(x, spec)
    parts = fmcodec.inspect(frame).blocks
    assert [part.size_bytes for part in parts] == [
        *(0 if not count else 1 + -(-(18 + 7 * count) // 8) for count in range(14)),
        *(6 + 9 for count in range(14, 18)),
        6 + 7,
    ]
    for word_bits in WORD_SIZES:
        serial_spec = spec.replace(code_layout="serial", word_bits=word_bits)
        serial = fmcodec.encode(x, serial_spec)
        assert serial == reference.encode(x, serial_spec) == fmcodec.relayout(frame, word_bits=word_bits)
        assert same(fmcodec.decode(serial), x)
        word_bytes = word_bits // 8
        padding = [-(part.size_bytes - 1) % word_bytes * (0 < count < 14) for count, part in enumerate(parts)]
        sizes = [part.size_bytes for part in fmcodec.inspect(serial).blocks]
        assert sizes == [part.size_bytes + more for part, more in zip(parts, padding, strict=True)]
        assert len(serial) <= fmcodec.encode_bound(x.shape, x.dtype, serial_spec)
    # The longest coded block is longer than a raw one would have been.
    assert max(sizes) == sizes[13] == 1 + 16


def test_bound_holds_where_the_padding_is_most_of_the_frame() -> None:
    x = np.random.default_rng(1).integers(0, 256, (1, 30, 30), dtype=np.uint8)
    spec = CodecSpec(block_shape=(1, 1), code_layout="serial", word_bits=64)
    statistics = TableStatistics(spec)
    statistics.update(x)
    static = spec.replace(tables=statistics.build())
    for each in (spec, static):
        assert len(fmcodec.encode(x, each)) <= fmcodec.encode_bound(x.shape, x.dtype, each)


# --- relayout


@share(2)
@given(cases(), st.sampled_from(WORD_SIZES), st.integers(1, 3))
def test_relayout_is_encoding_in_the_other_layout(case: Case, word_bits: int, threads: int) -> None:
    frame = case.encode()
    for target in ({"code_layout": "wavelet", "word_bits": 32}, {"code_layout": "serial", "word_bits": word_bits}):
        moved = fmcodec.relayout(frame, spec=case.decode_spec, threads=threads, **target)
        spec = case.spec.replace(**target)
        assert moved == fmcodec.encode(case.x, spec, layout=case.layout, embed_spec=case.embed_spec)
        back_to = {"code_layout": case.spec.code_layout, "word_bits": case.spec.word_bits}
        assert fmcodec.relayout(moved, spec=None if case.embed_spec else spec, **back_to) == frame


@pytest.mark.parametrize("name", SPECS)
def test_relayout_of_larger_tensors(name: str, isa: str) -> None:
    x = feature_map((2, 12, 24, 30))
    frame = fmcodec.encode(x, SPECS[name])
    serial = fmcodec.relayout(bytearray(frame), threads=3)
    assert serial == fmcodec.encode(x, SPECS[name].replace(code_layout="serial"))
    assert fmcodec.relayout(memoryview(serial), "wavelet") == frame
    assert fmcodec.relayout(serial) == serial and fmcodec.relayout(frame, "wavelet") == frame


def test_relayout_of_external_specs() -> None:
    x = feature_map()
    spec = SPECS["plain"]
    frame = fmcodec.encode(x, spec, embed_spec=False)
    serial = fmcodec.relayout(frame, word_bits=8, spec=spec)
    serial_spec = spec.replace(code_layout="serial", word_bits=8)
    assert serial == fmcodec.encode(x, serial_spec, embed_spec=False)
    assert same(fmcodec.decode(serial, spec=serial_spec), fmcodec.decode(frame, spec=spec))
    for wrong in (None, serial_spec, spec.replace(step=0.3)):
        with pytest.raises(SpecMismatchError):
            fmcodec.relayout(frame, spec=wrong)
    with pytest.raises(SpecMismatchError):
        fmcodec.decode(serial, spec=spec)


def test_relayout_keeps_what_fmcodec_would_not_write() -> None:
    # A coded block of zeros, which the encoder leaves out.
    frame = fmcodec.encode(np.array([[[0, 1, 0, 1, 1]]], np.uint8))
    tables, block = fmcodec.inspect(frame).blocks
    assert block.size_bytes == 2
    head = bytearray(frame[: tables.offset])
    head[-8:-4] = reference.crc32c(bytes(2)).to_bytes(4, "little")
    head[-4:] = reference.crc32c(bytes(head[:-4])).to_bytes(4, "little")
    zeros = bytes(head) + frame[tables.offset : block.offset] + bytes(2)
    assert fmcodec.decode(zeros).tolist() == [[[0] * 5]]
    serial = fmcodec.relayout(zeros)
    assert serial.endswith(bytes(5)) and fmcodec.inspect(serial).blocks[-1].size_bytes == 5
    assert fmcodec.relayout(serial, "wavelet") == zeros


def test_relayout_of_damaged_frames() -> None:
    frame = fmcodec.encode(feature_map((2, 6, 7)), CodecSpec(step=0.1, zero_point=60))
    for size in range(len(frame)):
        with pytest.raises(fmcodec.TruncatedStreamError):
            fmcodec.relayout(frame[:size])
    for position in range(6, len(frame)):
        damaged = bytearray(frame)
        damaged[position] ^= 1 << position % 8
        with pytest.raises(CorruptStreamError):
            fmcodec.relayout(damaged)


def test_wrong_arguments_of_relayout() -> None:
    frame = fmcodec.encode(feature_map((2, 6, 7)))
    with pytest.raises(ValueError, match="code_layout must be one of wavelet, serial, not 'nhwc'"):
        fmcodec.relayout(frame, "nhwc")  # type: ignore[arg-type]
    for word_bits in (0, 7, 12, 128):
        with pytest.raises(ValueError, match=f"word_bits must be 8, 16, 32, 64, not {word_bits}"):
            fmcodec.relayout(frame, word_bits=word_bits)
    with pytest.raises(ValueError, match="word_bits is for code_layout 'serial'"):
        fmcodec.relayout(frame, "wavelet", word_bits=8)
    with pytest.raises(ValueError, match="threads must be at least 1"):
        fmcodec.relayout(frame, threads=0)
    with pytest.raises(LimitExceededError, match="has 336 bytes, max_bytes is 335"):
        fmcodec.relayout(frame, max_bytes=335)
    assert fmcodec.relayout(frame, max_bytes=336) == fmcodec.relayout(frame)


# --- specs


def test_specs_of_both_layouts() -> None:
    spec = CodecSpec(code_layout="serial", word_bits=np.int64(16))
    assert CodecSpec.from_json(spec.to_json()) == spec and "serial" in spec.to_json()
    assert "layout" not in CodecSpec().to_json()
    assert CodecSpec(word_bits=32) == CodecSpec() != CodecSpec(code_layout="serial")
    section = reference.write_spec_section(spec)
    assert section[12] == 2 and section[20] == 16 and len(section) == 21
    assert reference.read_spec_section(section, 3, "uint8", 0) == spec
    for fields, message in (
        ({"word_bits": 8}, "word_bits is for code_layout 'serial'; it must stay 32 here"),
        ({"code_layout": "serial", "word_bits": 48}, "word_bits must be 8, 16, 32, 64, not 48"),
        ({"code_layout": "parallel"}, "code_layout must be one of wavelet, serial, not 'parallel'"),
    ):
        with pytest.raises(ValueError, match=message):
            CodecSpec(**fields)
