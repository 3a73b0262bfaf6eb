"""Kernels of contexts from neighbours and of rANS, against NumPy and the reference on every instruction set."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from strategies import ISAS, on_isa, share

from fmcodec import CorruptStreamError
from fmcodec._core import kernels
from fmcodec.reference.lattice import context_of, mean_codes
from fmcodec.reference.rans import MANY_SYMBOLS, RansReader, RansTables, RansWriter
from fmcodec.spec import leading_bits

Tokens = NDArray[np.uint8]

COUNTS = st.integers(0, 140) | st.sampled_from([255, 256, 257, 511, 513]) | st.integers(0, 700)
SEEDS = st.integers(0, 9999)

# --- neighbours (section 7.4)


@given(SEEDS, COUNTS, st.lists(st.integers(-70, 70), min_size=4, max_size=4), st.sampled_from([2, 9, 11, 64]))
def test_contexts_of_neighbours(seed: int, count: int, offsets: list[int], limit: int) -> None:
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, limit, count + 140).astype(np.uint8)
    band_codes = rng.integers(0, 64, count).astype(np.uint8)
    around = np.stack([codes[70 + offset :][:count] for offset in offsets]).astype(np.int64)
    expected = context_of(around, band_codes.astype(np.int64))
    for name in ISAS:
        with on_isa(name):
            np.testing.assert_array_equal(kernels.neighbour_contexts(codes, band_codes, offsets, 70), expected)


@given(SEEDS, COUNTS, st.integers(1, 4), st.integers(0, 3))
def test_values_of_a_kind_and_back(seed: int, count: int, kind_count: int, kind: int) -> None:
    rng = np.random.default_rng(seed)
    kinds = rng.integers(0, kind_count, count).astype(np.uint8)
    values, others = rng.integers(0, 256, (2, count)).astype(np.uint8)
    for name in ISAS:
        with on_isa(name):
            selected = kernels.select_kind(values, kinds, kind)
            np.testing.assert_array_equal(selected, values[kinds == kind])
            placed = kernels.place_kind(selected, kinds, kind, others)
            np.testing.assert_array_equal(placed, np.where(kinds == kind, values, others))


@given(SEEDS, st.integers(1, 200) | st.sampled_from([256, 1000]), st.integers(0, 9), st.sampled_from([2, 64]))
def test_means_of_runs_and_runs_of_means(seed: int, run: int, count: int, limit: int) -> None:
    codes = np.random.default_rng(seed).integers(0, limit, (count, run)).astype(np.uint8)
    means = mean_codes(codes.reshape(count, 1, run).astype(np.int64)).reshape(-1) if count else np.zeros(0, np.int64)
    for name in ISAS:
        with on_isa(name):
            np.testing.assert_array_equal(kernels.mean_of_runs(codes.reshape(-1), run), means)
            repeated = kernels.repeat_each(means.astype(np.uint8), run)
            np.testing.assert_array_equal(repeated, np.repeat(means, run))


# --- rANS (section 7.5)


@st.composite
def some_weights(draw: st.DrawFn) -> NDArray[np.uint16]:
    """Rows of weights of up to 32 classes: of a single token, of a few, of all, alike or not."""
    rng = np.random.default_rng(draw(SEEDS))
    weights = np.zeros((draw(st.sampled_from([1, 2, 5, 32])), 256), np.uint16)
    for row in weights:
        used = rng.choice(256, rng.choice([1, 2, 3, 17, 256]), replace=False)
        row[used] = [leading_bits(int(weight)) for weight in np.exp(rng.uniform(0, rng.choice([0, 10]), len(used)))]
    return weights


@share(0.5)
@given(st.data(), some_weights(), COUNTS, st.sampled_from([1, 31, 32, 33, 64, 100, 700]))
def test_streams_are_those_of_the_reference(
    data: st.DataObject, weights: NDArray[np.uint16], count: int, run: int
) -> None:
    symbols = data.draw(st.sampled_from([MANY_SYMBOLS - 1, MANY_SYMBOLS]))
    rng = np.random.default_rng(data.draw(SEEDS))
    classes = rng.integers(0, len(weights), count).astype(np.uint8)
    tokens = np.array([rng.choice(np.flatnonzero(weights[k])) for k in classes], np.uint8)
    tables = RansTables(weights.tolist())
    writer = RansWriter(tables, symbols)
    starts = range(0, count, run)
    for i in reversed(starts):
        writer.write(tokens[i : i + run].astype(np.int64), classes[i : i + run].astype(np.int64))
    expected = writer.to_bytes()
    reader = RansReader(tables, symbols, expected, 0)
    for i in starts:
        np.testing.assert_array_equal(reader.read(classes[i : i + run].astype(np.int64)), tokens[i : i + run])
    reader.finish()
    for name in ISAS:
        with on_isa(name):
            assert kernels.write_rans(weights, tokens, classes, symbols, run) == expected
            np.testing.assert_array_equal(kernels.read_rans(weights, expected, classes, symbols, run), tokens)


@pytest.mark.parametrize("symbols", [MANY_SYMBOLS - 1, MANY_SYMBOLS])
def test_streams_that_end_too_early_or_too_late(symbols: int, isa: str) -> None:
    rng = np.random.default_rng(3)
    weights = np.full((1, 256), 16, np.uint16)
    classes, tokens = np.zeros(200, np.uint8), rng.integers(0, 256, 200).astype(np.uint8)
    data = kernels.write_rans(weights, tokens, classes, symbols, 200)
    for size in range(0, len(data), 2):
        with pytest.raises(CorruptStreamError, match="ends before its symbols"):
            kernels.read_rans(weights, data[:size], classes, symbols, 200)
    with pytest.raises(CorruptStreamError, match="left over"):
        kernels.read_rans(weights, data + bytes(2), classes, symbols, 200)


# --- arguments


def test_unusable_arguments_are_refused() -> None:
    nine, weights = np.ones(9, np.uint8), np.ones((1, 256), np.uint16)
    for offsets, margin in (((-1, 0, 1, 2), 1), ((-2, 0, 1, 1), 1), ((0, 0, 0, 0), 2), ((0, 0, 0, 0), -1)):
        with pytest.raises(ValueError, match="within the margins"):
            kernels.neighbour_contexts(nine, nine[:7], offsets, margin)
    with pytest.raises(ValueError, match="as many values as kinds"):
        kernels.select_kind(nine, nine[1:], 0)
    for selected, values in ((nine, nine[1:]), (nine[1:], nine)):
        with pytest.raises(ValueError, match="as many values as kinds"):
            kernels.place_kind(selected, nine, 1, values)
    for call in (kernels.mean_of_runs, kernels.repeat_each):
        with pytest.raises(ValueError, match="must not be 0"):
            call(nine, 0)
    for refused in (weights[:, 1:], weights[0]):
        with pytest.raises(ValueError, match="rows of 256"):
            kernels.write_rans(refused, nine, nine - 1, 9, 9)
    with pytest.raises(ValueError, match="rows of the weights"):
        kernels.write_rans(weights, nine, nine, 9, 9)
    with pytest.raises(ValueError, match="rows of the weights"):
        kernels.read_rans(weights, bytes(16), nine, 9, 9)
    for classes, symbols in ((nine[1:] - 1, 9), (nine - 1, 8)):
        with pytest.raises(ValueError, match="as many tokens as classes"):
            kernels.write_rans(weights, nine, classes, symbols, 9)
    with pytest.raises(ValueError, match="must not be 0"):
        kernels.write_rans(weights, nine, nine - 1, 9, 0)
    with pytest.raises(ValueError, match="must not be 0"):
        kernels.read_rans(weights, b"", nine - 1, 9, 0)
