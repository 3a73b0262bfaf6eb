"""Kernels of runs of tokens, against NumPy on every instruction set: low bits, prediction from above, masks, planes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from strategies import ISAS, on_isa

from fmcodec import reference
from fmcodec._core import kernels
from fmcodec.reference.choice import sequence_cost
from fmcodec.reference.entropy import mask_bytes, symbols_from_tokens, tokens_from_symbols

Tokens = NDArray[np.uint8]

# Around the lengths of vectors, of 64-bit words, and above 127, where a count no longer fits a signed byte.
COUNTS = st.integers(0, 70) | st.sampled_from([127, 128, 129, 191, 255, 256, 257, 300]) | st.integers(0, 1500)
RUNS = st.sampled_from([1, 7, 8, 16, 63, 64, 65, 127, 128, 129, 200, 256, 1000]) | st.integers(1, 300)


@st.composite
def some_tokens(draw: st.DrawFn) -> Tokens:
    """Tokens of which none, some or all are 0, small or any, or each near the one before it."""
    rng = np.random.default_rng(draw(st.integers(0, 9999)))
    count = draw(COUNTS)
    tokens = rng.integers(0, draw(st.sampled_from([2, 4, 256])), count, dtype=np.uint8)
    tokens = np.where(rng.random(count) < 0.5, tokens, -tokens)
    if draw(st.booleans()):
        tokens = np.cumsum(rng.integers(-2, 2, count, endpoint=True)).astype(np.uint8)
    tokens[rng.random(count) < draw(st.sampled_from([0, 0.5, 0.95, 1]))] = 0
    return tokens


# --- tokens and low bits (section 6)


@given(st.integers(0, 9999), COUNTS, st.integers(0, 13), st.sampled_from([0, -128, -255]))
def test_tokens_of_symbols_and_back(seed: int, count: int, shift: int, minimum: int) -> None:
    rng = np.random.default_rng(seed)
    symbols = rng.integers(minimum, minimum + 256, count).astype(np.int32) << shift
    low_bits = rng.integers(0, 1 << shift, count, dtype=np.int32)
    tokens = tokens_from_symbols(symbols.astype(np.int64), shift)
    for name in ISAS:
        with on_isa(name):
            np.testing.assert_array_equal(kernels.symbols_to_tokens(symbols + low_bits, shift), tokens)
            np.testing.assert_array_equal(kernels.tokens_to_symbols(tokens.astype(np.uint8), minimum, shift), symbols)


@given(some_tokens(), st.permutations(range(256)))
def test_tokens_are_looked_up(tokens: Tokens, permuted: list[int]) -> None:
    table = np.array(permuted, np.uint8)
    for name in ISAS:
        with on_isa(name):
            np.testing.assert_array_equal(kernels.translate(tokens, table), table[tokens])


@given(st.integers(0, 9999), COUNTS, st.integers(0, 13), RUNS, st.integers(0, 17))
def test_planes_of_low_bits_and_back(seed: int, count: int, plane: int, run: int, position: int) -> None:
    rng = np.random.default_rng(seed)
    symbols = rng.integers(-(2**20), 2**20, count, dtype=np.int32)
    plane_bits = symbols >> plane & 1
    without = symbols - (plane_bits << plane)
    packed = np.packbits(plane_bits, bitorder="little").tobytes()
    before = rng.integers(0, 2, position)
    behind_others = np.packbits(np.concatenate([before, plane_bits, [1]]), bitorder="little").tobytes()
    for name in ISAS:
        with on_isa(name):
            assert kernels.write_symbol_plane(symbols, plane, run) == packed
            np.testing.assert_array_equal(kernels.add_symbol_plane(behind_others, position, plane, without), symbols)


@given(st.integers(0, 9999), COUNTS | st.integers(1500, 5000), st.integers(0, 70), st.sampled_from([0.01, 0.5, 0.99]))
def test_ones_are_counted(seed: int, count: int, position: int, share: float) -> None:
    bits = np.random.default_rng(seed).random(position + count + 9) < share
    packed = np.packbits(bits, bitorder="little").tobytes()
    for name in ISAS:
        with on_isa(name):
            assert kernels.count_ones(packed, position, count) == bits[position : position + count].sum()


# --- prediction (section 6.1)


def in_rows(tokens: Tokens, columns: int) -> Tokens:
    """Tokens of one band by rows by columns, the last row filled up."""
    return np.append(tokens, np.zeros(-len(tokens) % columns, np.uint8)).reshape(1, -1, columns)


@given(some_tokens(), st.integers(1, 300) | st.sampled_from([1, 4, 8, 16, 32, 64, 128]))
def test_residuals_and_back(tokens: Tokens, columns: int) -> None:
    rows = in_rows(tokens, columns).astype(np.int64)
    expected = reference.residuals_from_symbols(rows).reshape(-1)[: len(tokens)] % 256
    for name in ISAS:
        with on_isa(name):
            residuals = kernels.subtract_above(tokens, columns)
            np.testing.assert_array_equal(residuals, expected)
            np.testing.assert_array_equal(kernels.add_above(residuals, columns), tokens)


@pytest.mark.parametrize("columns", [*range(1, 71), 95, 96, 127, 128, 129, 131, 255, 256, 257])
def test_sums_of_all_numbers_of_columns(columns: int, isa: str) -> None:
    residuals = np.random.default_rng(columns).integers(0, 256, 7 * columns, dtype=np.uint8)
    tokens = np.cumsum(residuals.reshape(7, columns), axis=0, dtype=np.uint8).reshape(-1)
    np.testing.assert_array_equal(kernels.add_above(residuals, columns), tokens)
    np.testing.assert_array_equal(kernels.subtract_above(tokens, columns), residuals)


def cost_of(numbers: NDArray[np.int64]) -> tuple[int, int]:
    """Section 10.2: how many numbers are not 0, and the eighths of a bit of their magnitudes."""
    eighths = [8 * math.log2(1 + (a if a < 16 else a // 16 * 16 + 8)) for a in np.abs(numbers).tolist()]
    return int(np.count_nonzero(numbers)), sum(round(bits) for bits in eighths)


@given(
    some_tokens(),
    st.integers(1, 80) | st.integers(81, 600),
    RUNS,
    st.sampled_from([0, 1, 44, 500]),
    st.sampled_from([0, -1, -100, -128, -254, -255]),
)
def test_sample_of_prediction(tokens: Tokens, columns: int, run: int, gap: int, minimum: int) -> None:
    period = run + gap
    places = np.arange(columns, len(tokens))
    places = places[(places - columns) % period < run]
    symbols = symbols_from_tokens(tokens[places].astype(np.int64), minimum)
    residuals = symbols_from_tokens(tokens[places].astype(np.int64) - tokens[places - columns], -128)
    expected = len(places), cost_of(symbols), cost_of(residuals)
    for name in ISAS:
        with on_isa(name):
            assert kernels.sample_prediction(tokens, columns, run, period, minimum) == expected


def test_magnitudes_cost_what_the_reference_says(isa: str) -> None:
    for minimum in (0, -128, -255):
        for token in range(256):
            symbol = symbols_from_tokens(np.array([token]), minimum)
            # Below a row of one 0, so that the token is its residual.
            count, (nonzero, eighths), (_, residual_eighths) = kernels.sample_prediction(
                np.array([0, token], np.uint8), 1, 1, 1, minimum
            )
            assert (count, nonzero) == (1, int(token > 0))
            assert 8192 * eighths == sequence_cost(symbol, is_signed=False)
            residual = symbols_from_tokens(np.array([token]), -128)
            assert 8192 * residual_eighths == sequence_cost(residual, is_signed=False)


# --- masks (section 7.3)


@given(some_tokens(), RUNS, st.permutations(range(256)))
def test_masks_and_what_is_not_zero(tokens: Tokens, run: int, permuted: list[int]) -> None:
    table = np.array(permuted, np.uint8)
    mask, nonzero = bytes(mask_bytes(tokens).tolist()), tokens[tokens != 0]
    for name in ISAS:
        with on_isa(name):
            np.testing.assert_array_equal(kernels.compact_nonzero(tokens), nonzero)
            assert kernels.write_mask(tokens, run) == mask
            packed_mask, packed = kernels.pack_nonzero(tokens, table, run)
            assert packed_mask == mask
            np.testing.assert_array_equal(packed, table[nonzero])
            np.testing.assert_array_equal(kernels.expand_nonzero(mask, nonzero, len(tokens)), tokens)


def test_expanded_tokens_may_be_zero(isa: str) -> None:
    # No encoder writes such frames; the mask alone decides about the places.
    mask = np.packbits([1, 0, 1, 1, 0, 1], bitorder="little").tobytes()
    assert kernels.expand_nonzero(mask, np.array([0, 9, 0, 255], np.uint8), 6).tolist() == [0, 0, 9, 0, 0, 255]


@given(st.data(), st.integers(0, 300), st.sampled_from([0.0, 0.1, 0.7, 1.0]))
def test_symbols_that_are_not_zero(data: st.DataObject, count: int, share: float) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    symbols = rng.choice(np.array([1, -1, 256, -(2**20), 2**20], np.int32), count)
    symbols[rng.random(count) >= share] = 0
    run = data.draw(st.integers(1, 70))
    mask = np.packbits(symbols != 0, bitorder="little").tobytes()
    for name in ISAS:
        with on_isa(name):
            packed_mask, packed = kernels.pack_symbols(symbols, run)
            assert packed_mask == mask
            np.testing.assert_array_equal(packed, symbols[symbols != 0])
            np.testing.assert_array_equal(kernels.expand_symbols(mask, packed, count), symbols)


# --- arguments


def test_unusable_arguments_are_refused() -> None:
    tokens = np.ones(9, np.uint8)
    table = np.arange(256, dtype=np.uint8)
    with pytest.raises(ValueError, match="must not be 0"):
        kernels.subtract_above(tokens, 0)
    with pytest.raises(ValueError, match="must not be 0"):
        kernels.add_above(tokens, 0)
    for columns, run, period in ((0, 1, 1), (1, 0, 1), (1, 1, 0)):
        with pytest.raises(ValueError, match="must not be 0"):
            kernels.sample_prediction(tokens, columns, run, period, 0)
    with pytest.raises(ValueError, match="must not be 0"):
        kernels.write_mask(tokens, 0)
    with pytest.raises(ValueError, match="must not be 0"):
        kernels.pack_nonzero(tokens, table, 0)
    with pytest.raises(ValueError, match="256 entries"):
        kernels.pack_nonzero(tokens, table[1:], 1)
    symbols = np.ones(9, np.int32)
    with pytest.raises(ValueError, match="must not be 0"):
        kernels.pack_symbols(symbols, 0)
    with pytest.raises(ValueError, match="must not be 0"):
        kernels.write_symbol_plane(symbols, 0, 0)
    for bits, position in ((b"\xff", 0), (b"\xff\xff", 8), (b"\xff", 9), (b"\xff", 2**64 - 1)):
        with pytest.raises(ValueError, match="there are fewer bits"):
            kernels.add_symbol_plane(bits, position, 0, symbols)
        with pytest.raises(ValueError, match="there are fewer bits"):
            kernels.count_ones(bits, position, 9)
    for expand, numbers in ((kernels.expand_nonzero, tokens), (kernels.expand_symbols, symbols)):
        with pytest.raises(ValueError, match="a bit for each"):
            expand(b"\xff", numbers, 9)
        with pytest.raises(ValueError, match="a 1 for each"):
            expand(b"\xff\x00", numbers, 9)
