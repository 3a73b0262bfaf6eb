"""Contexts from neighbours and rANS: what small frames do not reach, and what the order of the phases promises."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fmcodec
from fmcodec import CodecSpec, FmcodecError, TableClass, Tables, reference
from fmcodec.reference import lattice

SPEC = CodecSpec(effort=3)


def many_lanes() -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Symbols as large as their neighbours, of one block with 32 lanes: 70,224 of them, so that the last step of no
    phase is full. They do not resemble the row above, or predicted bands would be the smaller."""
    rng = np.random.default_rng(3)
    spread = 1 << rng.integers(0, 6, (77, 4, 5)).repeat(8, axis=1).repeat(8, axis=2)[:, :24, :38]
    return rng.integers(0, spread).astype(np.uint8)


X = many_lanes()
FRAME = reference.encode(X, SPEC)


def test_the_frame_has_contexts_and_many_lanes() -> None:
    part = fmcodec.inspect(FRAME).blocks[0]
    section = FRAME[part.offset : part.offset + part.size_bytes]
    assert reference.read_class_section(section, len(X), 0).model == "neighbours"
    assert fmcodec.inspect(FRAME).blocks[1].size_bytes < X.size / 2 and X.size >= 65536
    np.testing.assert_array_equal(reference.decode(FRAME), X)


def test_many_lanes(isa: str) -> None:
    assert fmcodec.encode(X, SPEC) == FRAME
    np.testing.assert_array_equal(fmcodec.decode(FRAME), X)


def test_damage_with_many_lanes(isa: str) -> None:
    start, end = fmcodec.inspect(FRAME).blocks[1].offset, len(FRAME)
    rng = np.random.default_rng(9)
    for position in [start + 1, start + 130, *rng.integers(start, end, 6).tolist()]:
        damaged = bytearray(FRAME)
        damaged[position] ^= 0x40
        crc = reference.crc32c(bytes(damaged[start:]))
        head = start - 4 - fmcodec.inspect(FRAME).blocks[0].size_bytes
        damaged[head - 4 : head] = crc.to_bytes(4, "little")
        damaged[head : head + 4] = reference.crc32c(bytes(damaged[:head])).to_bytes(4, "little")
        with pytest.raises(FmcodecError):
            fmcodec.decode(bytes(damaged))


def test_patches_are_of_their_own_block() -> None:
    # Two blocks of a group, each of which begins with a symbol that has no weight.
    seen = TableClass(mode="rans", weights=(12, 20))
    spec = CodecSpec(block_shape=(8, 8), tables=Tables(model="neighbours", class_map=(0,) * 97, classes=(seen,)))
    x = np.random.default_rng(1).integers(0, 2, (2, 8, 16), dtype=np.uint8)
    x[0, 0, [0, 8]] = 9
    frame = fmcodec.encode(x, spec)
    assert frame == reference.encode(x, spec)
    np.testing.assert_array_equal(fmcodec.decode(frame), x)
    for block in fmcodec.inspect(frame).blocks:
        kind, count, place, symbol = struct.unpack_from("<B3I", frame, block.offset)
        assert (kind, count, place, symbol) == (2, 1, 0, 9)


@given(st.integers(1, 3), st.integers(1, 19), st.integers(1, 19))
def test_every_position_is_in_one_phase(bands: int, rows: int, columns: int) -> None:
    numbers = np.arange(bands * rows * columns).reshape(bands, rows, columns) % 251
    phases = list(lattice.ordered_phases(numbers))
    assert sorted(np.concatenate([symbols for symbols, _ in phases])) == sorted(numbers.reshape(-1))
    assert all(contexts.min() >= 0 and contexts.max() <= 96 for _, contexts in phases if contexts.size)
    runs = iter(phases)
    restored = lattice.restore(numbers.shape, lambda contexts: next(runs)[0])
    np.testing.assert_array_equal(restored, numbers)


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=256).filter(any))
def test_frequencies(counts: list[int]) -> None:
    histogram = np.array(counts + [0] * (256 - len(counts)))
    weights = reference.weights_of(histogram)
    frequencies = reference.frequencies_of(weights)
    assert frequencies.sum() == 4096
    assert ((frequencies > 0) == (histogram > 0)).all()


def test_frequencies_by_hand() -> None:
    assert reference.weights_of(np.array([5, 0, 3])) == (2560, 0, 1536)
    assert reference.frequencies_of((2560, 0, 1536))[:3].tolist() == [2560, 0, 1536]
    # 4096 / 7 is 585 and a bit; the first gets what is missing.
    assert reference.frequencies_of((1,) * 7)[:7].tolist() == [586, 585, 585, 585, 585, 585, 585]
    # Every rare token needs one slot: 255 in all, of which the frequent one has to give.
    crowded = reference.frequencies_of((28672, *[1] * 255))
    assert crowded[0] == 4096 - 255 and (crowded[1:] == 1).all()


def test_context_costs_a_fraction_of_a_bit() -> None:
    # Nearly all zeros: far below the eighth of a bit that a mask needs.
    x = np.zeros((64, 64, 64), np.uint8)
    x[3, 5, 7] = x[40, 40, 40] = 9
    assert 8 * fmcodec.cost(x, SPEC) / x.size < 0.02
