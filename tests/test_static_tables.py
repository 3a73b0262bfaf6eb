"""Blocks under static tables that lack one thing, by hand: each becomes patched or raw, and decodes to what it was."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import fmcodec
from fmcodec import CodecSpec, TableClass, Tables, reference

CODED, RAW, PATCHED = 0, 1, 2  # section 7.1 of docs/format.md
RNG = np.random.default_rng(5)
PLAIN = TableClass(mode="plain", value_lengths=(1, 1))
ZERO = TableClass(mode="zero")
# Masks of 8 symbols of which the first, or none, is not 0; and all masks.
MASKED = TableClass(mode="masked", value_lengths=(0, 1, 1), mask_lengths=(1, 1))
ANY_MASK = TableClass(mode="masked", value_lengths=(0, 1, 1), mask_lengths=(8,) * 256)


def static(*classes: TableClass, **fields: Any) -> CodecSpec:
    """A spec with a class for each band."""
    return CodecSpec(**fields, tables=Tables(class_map=tuple(range(len(classes))), classes=classes))


def predicted(bits_of_residual: dict[int, int]) -> TableClass:
    """A predicted class with codes of so many bits."""
    lengths = np.zeros(256, np.int64)
    for residual, length in bits_of_residual.items():
        lengths[residual] = length
    return TableClass(mode="plain", predicted=True, value_lengths=tuple(np.trim_zeros(lengths, "b").tolist()))


def kinds(x: NDArray[Any], spec: CodecSpec) -> list[int]:
    """Encodes with the core, compares with the reference both ways, and gives the first byte of each block."""
    frame = fmcodec.encode(x, spec)
    assert frame == reference.encode(x, spec)
    np.testing.assert_array_equal(fmcodec.decode(frame), reference.decode(frame))
    np.testing.assert_array_equal(fmcodec.decode(frame), x)
    return [frame[block.offset] for block in fmcodec.inspect(frame).blocks]


def bits(*shape: int, ones: float = 0.5) -> NDArray[np.uint8]:
    """Zeros and a share of ones."""
    return (RNG.random(shape) < ones).astype(np.uint8)


def test_the_largest_symbol_has_no_code() -> None:
    x = bits(1, 16, 16)
    assert kinds(x, static(PLAIN)) == [CODED]
    x[0, 3, 4] = 2
    assert kinds(x, static(PLAIN)) == [PATCHED]


def test_no_symbol_has_a_code() -> None:
    large, ones = RNG.integers(7, 15, (1, 16, 16), dtype=np.uint8), bits(1, 16, 16)
    assert kinds(large, static(PLAIN)) == [RAW]
    assert kinds(np.concatenate([ones, large], axis=2), static(PLAIN, block_shape=(16, 16))) == [CODED, RAW]


def test_a_symbol_behind_a_mask_has_no_code() -> None:
    # Every mask has a code, that of eight symbols that are not 0 the shortest.
    all_but_zeros = TableClass(mode="masked", value_lengths=(0, 1, 1), mask_lengths=(8, *(9,) * 254, 1))
    x = bits(1, 16, 16) + np.uint8(1)
    assert kinds(x, static(all_but_zeros)) == [CODED]
    x[0, 3, 4] = 3
    assert kinds(x, static(all_but_zeros)) == [PATCHED]


def test_a_residual_below_the_smallest_symbol_has_no_code() -> None:
    spec = static(predicted({0: 1, 1: 2, 2: 3, 3: 3}))
    x = np.repeat(RNG.integers(0, 4, (1, 1, 40), dtype=np.uint8), 16, axis=1)
    assert kinds(x, spec) == [CODED]
    x[0, 14:, 7] = 3, 2
    assert kinds(x, spec) == [PATCHED]


def test_a_residual_above_the_largest_symbol_has_no_code() -> None:
    # Symbols from -2 to 1 have residuals up to 3.
    spec = static(predicted({0: 1, -3: 3, -1: 3, 1: 3, -2: 4, 2: 4}), zero_point=128)
    x = np.repeat(RNG.integers(-2, 2, (1, 1, 40), dtype=np.int8), 16, axis=1)
    assert kinds(x, spec) == [CODED]
    x[0, 13:, 7] = 0, -2, 1
    assert kinds(x, spec) == [PATCHED]


def test_patches_of_predicted_bands_are_residuals() -> None:
    # Behind another class, so that their places are not those of its symbols; 0 and -1 are the ends of their range.
    tables = Tables(class_map=(0, 1, 1), classes=(PLAIN, predicted({1: 1, 2: 1})))
    residuals = RNG.integers(1, 3, (3, 16, 40))
    residuals[1, 5, 7], residuals[2, 0, 0], residuals[2, 15, 39] = 0, -1, 3
    x = np.cumsum(residuals, axis=1, dtype=np.int8)
    x[0] = bits(16, 40)
    assert kinds(x, CodecSpec(zero_point=128, tables=tables)) == [PATCHED]


def test_zeros_have_no_code() -> None:
    # A patch for each is longer than a raw block.
    ones_and_twos = TableClass(mode="plain", value_lengths=(0, 1, 1))
    x = np.stack([bits(16, 16) + np.uint8(1), np.zeros((16, 16), np.uint8)])
    assert kinds(x, static(ones_and_twos, ones_and_twos)) == [RAW]
    assert kinds(x, static(ones_and_twos, ZERO)) == [CODED]


def test_a_mask_has_no_code() -> None:
    x = np.zeros((1, 16, 16), np.uint8)
    x[0, 2, 8] = 2
    assert kinds(x, static(MASKED)) == [CODED]
    x[0, 2, 9] = 1
    assert kinds(x, static(MASKED)) == [RAW]


def test_masks_without_patches_have_codes() -> None:
    # With 0 in the place of the patch, the mask of its 8 symbols has a code.
    x = np.zeros((1, 16, 16), np.uint8)
    x[0, 2, 8:10] = 1, 3
    assert kinds(x, static(MASKED)) == [PATCHED]
    assert kinds(x, static(ANY_MASK)) == [PATCHED]


def test_symbols_that_are_no_tokens_have_no_residuals() -> None:
    # Two blocks of a group; the second one alone has such a symbol.
    spec = static(predicted({0: 1, -1: 2, 1: 3, 2: 3}), bits=12, block_shape=(16, 16))
    x = np.repeat(RNG.integers(1, 3, (1, 1, 32)), 16, axis=1).astype(np.float32)
    x[0, 15, ::3] -= 1  # so symbols from 0 to 2, whose residuals might be -2, for which there is no code
    assert kinds(x, spec) == [CODED, CODED]
    x[0, 3, 20] = 300
    assert kinds(x, spec) == [CODED, RAW]


@pytest.mark.parametrize(("count", "kind"), [(7, PATCHED), (6, RAW)])
def test_a_patched_block_may_be_as_long_as_a_raw_one(count: int, kind: int) -> None:
    # 13 bytes: one patch, or symbols of 8 bits behind 6 bytes of a raw block.
    x = np.zeros((1, 1, count), np.uint8)
    x[0, 0, 2] = 255
    assert kinds(x, static(ZERO)) == [kind]


def contexts(*weights: int, **fields: Any) -> CodecSpec:
    """A spec with one class for all contexts."""
    seen = TableClass(mode="rans", weights=weights)
    return CodecSpec(**fields, tables=Tables(model="neighbours", class_map=(0,) * 97, classes=(seen,)))


def test_the_largest_symbol_has_no_weight() -> None:
    x = bits(1, 32, 32, ones=0.1)
    assert kinds(x, contexts(28, 4)) == [CODED]
    x[0, 3, 4] = 2
    assert kinds(x, contexts(28, 4)) == [PATCHED]


@pytest.mark.parametrize(("count", "kind"), [(52, RAW), (53, CODED)])
def test_a_block_with_contexts_may_be_as_long_as_a_raw_one(count: int, kind: int) -> None:
    # 32 or 33 bytes as 6 and symbols of 4 bits; 33 with contexts.
    x = (np.arange(count, dtype=np.uint8) % 9).reshape(1, 1, count)
    assert kinds(x, contexts(4, 4, 4, 4, 4, 3, 3, 3, 3)) == [kind]


def test_blocks_with_contexts_lie_apart_in_the_tensor() -> None:
    x = bits(2, 64, 32, ones=0.1)
    assert kinds(x, contexts(28, 4, block_shape=(32, 32))) == [CODED, CODED]


def test_one_block_of_a_group_has_a_symbol_that_is_no_token() -> None:
    x = bits(1, 32, 64, ones=0.1).astype(np.float32)
    x[0, 3, 40] = 256  # whose low byte is the token 0
    assert kinds(x, contexts(28, 4, bits=12, block_shape=(32, 32))) == [CODED, PATCHED]
