"""The NumPy reference codec against itself and against examples worked by hand from docs/format.md."""

from __future__ import annotations

import itertools
import struct
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import dead_zones, histogram_of, transforms

import fmcodec
from fmcodec import Basis, reference
from fmcodec.errors import (
    ChecksumError,
    CorruptStreamError,
    FmcodecError,
    NonFiniteError,
    SpecMismatchError,
    TruncatedStreamError,
    UnsupportedVersionError,
)
from fmcodec.reference import choice, classes, entropy, lattice, transform
from fmcodec.reference.quantize import bfloat16_type, to_binary32
from fmcodec.spec import CodecSpec, TableClass, Tables

DTYPES = ["float32", "float16", "bfloat16", "int8", "uint8"]


def make_array(seed: int, shape: tuple[int, ...], dtype: str, scale: float) -> np.ndarray[Any, Any]:
    """Sparse values of one sign mostly, with a different scale in each channel."""
    rng = np.random.default_rng(seed)
    channel_scale = scale * np.exp2(rng.integers(-4, 3, size=(shape[-3], 1, 1)))
    x = rng.normal(0.3, 1.0, size=shape) * channel_scale
    x = np.where(rng.random(shape) < rng.random(), 0, x).astype(np.float32)
    if dtype == "bfloat16":
        return (x.view(np.uint32) >> 16).astype(np.uint16)
    if dtype in ("int8", "uint8"):
        return np.clip(x, np.iinfo(dtype).min, np.iinfo(dtype).max).astype(dtype)
    return x.astype(dtype)


@st.composite
def specs(draw: st.DrawFn, channels: int, dtype: str) -> CodecSpec:
    """Any spec that can code such an array, with adaptive tables."""
    bits = draw(st.integers(2, 8 if dtype in ("int8", "uint8") else 16))
    zero_point = draw(st.sampled_from([0, 1, 2 ** (bits - 1), 2**bits - 1]))
    return CodecSpec(
        step=draw(st.sampled_from([1.0, 0.05, 0.3, 2.0, 1e-3])),
        zero_point=zero_point,
        bits=bits,
        **draw(transforms(channels, bits, zero_point)),
        band_steps=tuple(draw(st.lists(st.sampled_from([1, 1, 2, 3, 7, 100, 65535]), min_size=1, max_size=9))),
        permutation=draw(st.one_of(st.none(), st.permutations(range(channels)).map(tuple))),
        dead_zone=draw(dead_zones(3, channels)),
        max_code_length=draw(st.integers(8, 15)),
        block_shape=draw(st.one_of(st.none(), st.tuples(st.integers(1, 9), st.integers(1, 9)))),
    )


def through_stages(x: np.ndarray[Any, Any], spec: CodecSpec, dtype: str) -> np.ndarray[Any, Any]:
    """What decoding must give for an NCHW array, without entropy coding and frames."""
    levels = reference.levels_from_values(to_binary32(x, dtype), spec)
    channels = x.shape[1]
    if x.size:
        size = spec.spatial_size
        cells = transform.cells_from_images(levels.transpose(1, 0, 2, 3), size)
        coefficients = reference.coefficients_from_levels(cells.reshape(channels, -1), spec)
        spatial = transform.spatial_from_coefficients(coefficients.reshape(-1, *cells.shape[1:]), size, *x.shape[2:])
        symbols = reference.symbols_from_coefficients(spatial.reshape(len(spatial), -1), spec, channels)
        spatial = reference.coefficients_from_symbols(symbols, spec, channels)
        coefficients = transform.coefficients_from_spatial(spatial.reshape(-1, *cells.shape[1:]), size, *x.shape[2:])
        restored = reference.levels_from_coefficients(coefficients.reshape(len(spatial), -1), spec, channels)
        restored = restored.reshape(cells.shape)
        by_channel = transform.images_from_cells(restored, size, *x.shape[2:])
        if spec.exact_zeros:
            by_channel = np.where(levels.transpose(1, 0, 2, 3) == 0, 0, by_channel)
        levels = by_channel.transpose(1, 0, 2, 3)
    return reference.values_from_levels(levels, spec, dtype)


@pytest.mark.parametrize("values", range(1, 40))
@pytest.mark.parametrize("size", [1, 2, 4, 8])
def test_values_are_shared_among_cells_evenly(values: int, size: int) -> None:
    axis = transform.CellAxis(values, size)
    assert axis.extents.sum() == values and len(axis.extents) == -(-values // size)
    assert sorted(axis.extents, reverse=True) == axis.extents.tolist()
    assert axis.extents.max() - axis.extents.min() <= 1 and axis.extents.max() <= size
    assert sorted(axis.places[axis.places < values]) == list(range(values))


@pytest.mark.parametrize("side", [5, 7, 13, 14])
@pytest.mark.parametrize("size", [2, 4, 8])
def test_cells_have_no_more_coefficients_than_values(side: int, size: int) -> None:
    levels = np.random.default_rng(side).integers(1000, 2000, (1, 1, side, side))
    cells = transform.cells_from_images(levels, size)
    spatial = transform.spatial_from_coefficients(cells, size, side, side)
    assert np.count_nonzero(spatial) <= side * side
    constant = transform.cells_from_images(np.full_like(levels, 100), size)
    spatial = transform.spatial_from_coefficients(constant, size, side, side)
    assert np.count_nonzero(spatial) == cells[0, 0].size  # one for each cell, those at the border included


@settings(max_examples=120, deadline=None)
@given(st.data())
def test_round_trip(data: st.DataObject) -> None:
    dtype = data.draw(st.sampled_from(DTYPES))
    sizes = st.tuples(st.integers(0, 3), st.integers(0, 45), st.integers(0, 11), st.integers(0, 11))
    shape = data.draw(st.one_of(sizes, st.sampled_from([(1, 1, 1, 1), (1, 33, 1, 1), (2, 1, 9, 9), (1, 70, 30, 40)])))
    spec = data.draw(specs(shape[1], dtype))
    x = make_array(data.draw(st.integers(0, 999)), shape, dtype, data.draw(st.sampled_from([0.01, 1.0, 50.0])))
    expected = through_stages(x, spec, dtype)

    buffer = reference.encode(x, spec, dtype=dtype)
    decoded = reference.decode(buffer)
    assert decoded.dtype == expected.dtype and decoded.shape == shape
    assert decoded.tobytes() == np.ascontiguousarray(expected).tobytes()

    nhwc = reference.encode(x.transpose(0, 2, 3, 1), spec, dtype=dtype, layout="nhwc", embed_spec=False)
    assert len(nhwc) <= len(buffer)
    assert reference.decode(nhwc, spec=spec).transpose(0, 3, 1, 2).tobytes() == decoded.tobytes()
    if shape[0] == 1:
        single = reference.decode(reference.encode(x[0], spec, dtype=dtype))
        assert single.shape == shape[1:] and single.tobytes() == decoded.tobytes()


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("spec", [CodecSpec(), CodecSpec(transform="dct", transform_size=8)], ids=["identity", "dct"])
def test_integers_are_lossless(dtype: str, spec: CodecSpec) -> None:
    spec = spec.replace(zero_point=128 if dtype == "int8" else 0)
    info = np.iinfo(dtype)
    x = np.random.default_rng(1).integers(info.min, info.max, size=(2, 13, 9, 7), dtype=dtype, endpoint=True)
    decoded = reference.decode(reference.encode(x, spec))
    if spec.transform == "identity":
        np.testing.assert_array_equal(decoded, x)
    else:
        assert np.abs(decoded.astype(int) - x).max() <= 2


def test_bfloat16_is_rounded_to_even() -> None:
    x = np.array([1.0, 2.0**-7, 3 * 2.0**-8, 0.0], dtype=np.float32).reshape(4, 1, 1)
    bit_patterns = (x.view(np.uint32) >> 16).astype(np.uint16)
    decoded = reference.decode(reference.encode(bit_patterns, CodecSpec(), dtype="bfloat16"))
    assert decoded.view(np.uint16).reshape(-1).tolist() == [0x3F80, 0, 0, 0]
    ones = reference.values_from_levels(np.array([257, 259]), CodecSpec(bits=9), "bfloat16")
    assert ones.view(np.uint16).tolist() == [0x4380, 0x4382]
    scalar_type = bfloat16_type()
    if scalar_type is not None:
        assert reference.decode(reference.encode(x.astype(scalar_type), CodecSpec())).dtype == scalar_type
    with pytest.raises(TypeError, match="uint16"):
        reference.encode(x.astype(np.uint16), CodecSpec())


def test_levels_are_rounded_to_even_and_clamped() -> None:
    x = np.array([0.5, 1.5, -0.5, -9.0, 99.0, -2.5], dtype=np.float32)
    assert reference.levels_from_values(x, CodecSpec(zero_point=4, bits=4)).tolist() == [0, 2, 0, -4, 11, -2]
    assert reference.values_from_levels(np.array([-4, 65535]), CodecSpec(step=2.0), "float16").tolist() == [-8, 65504]


def test_values_that_are_not_finite() -> None:
    x = np.array([np.nan, np.inf, -np.inf, 3.0], dtype=np.float16).reshape(4, 1, 1)
    with pytest.raises(NonFiniteError):
        reference.encode(x, CodecSpec())
    spec = CodecSpec(bits=4, zero_point=5, nonfinite="clamp")
    assert reference.decode(reference.encode(x, spec)).reshape(-1).tolist() == [0, 10, -5, 3]


def test_crc32c_check_value() -> None:
    assert reference.crc32c(b"123456789") == 0xE3069283
    assert reference.crc32c(b"") == 0


def test_log2_is_monotonic_and_exact_for_powers_of_two() -> None:
    values = [reference.log2_fixed(n) for n in range(1, 10000)]
    assert values == sorted(values)
    assert [reference.log2_fixed(2**e) for e in range(60)] == [65536 * e for e in range(60)]
    assert reference.log2_fixed(3) == 103872


def test_dct_matrix_of_four() -> None:
    assert reference.dct_matrix(1).tolist() == [[4096]]
    assert reference.dct_matrix(4).tolist() == [
        [2048, 2048, 2048, 2048],
        [2676, 1108, -1108, -2676],
        [2048, -2048, -2048, 2048],
        [1108, -2676, 2676, -1108],
    ]


def test_steps_of_shorter_groups() -> None:
    spec = CodecSpec(transform="dct", transform_size=8, kept_bands=5, band_steps=(1, 2, 3, 4, 5, 6, 7, 8))
    ones = np.ones((10, 1), dtype=np.int64)
    # Groups of 8, 4 and 2 channels keep 5, 3 and 2 bands.
    steps = reference.coefficients_from_symbols(ones, spec, 14)
    assert steps.reshape(-1).tolist() == [1, 2, 3, 4, 5, 1, 3, 5, 1, 5]
    steps = reference.coefficients_from_symbols(ones, spec.replace(band_steps=tuple(range(1, 15))), 14)
    assert steps.reshape(-1).tolist() == [1, 2, 3, 4, 5, 9, 10, 11, 13, 14]


def test_coefficients_out_of_range_are_clamped() -> None:
    symbols = np.array([[2**31], [-(2**31)]])
    identity = CodecSpec(zero_point=3)
    for channels, spec in ((2, identity), (1, identity.replace(transform="dct", transform_size=4))):
        coefficients = reference.coefficients_from_symbols(symbols[:channels], spec, channels)
        assert np.abs(coefficients).max() == 2**20
        levels = reference.levels_from_coefficients(coefficients, spec, channels)
        assert levels.reshape(-1).tolist() == [252, -3][:channels]


def bits_of(tokens: list[int], lengths: list[int]) -> tuple[str, list[int]]:
    """Tokens in the wavelet layout as text, and what is read back."""
    writer, code = reference.BitWriter(), reference.Code(lengths)
    reference.write_tokens(writer, code, np.array(tokens, dtype=np.int64))
    data = writer.to_bytes()
    reader = reference.BitReader(data)
    text = "".join(f"{byte:08b}"[::-1] for byte in data)[: len(writer)]
    return text, reference.read_tokens(reader, code, len(tokens)).tolist()


def test_wavelet_layout_by_hand() -> None:
    # Codes 0, 10, 110, 111: first bits of all; second bits of 1, 2, 3; then one plane of 2, 3.
    tokens = [0, 1, 0, 2, 3, 0]
    assert bits_of(tokens, [1, 2, 3, 3]) == ("010110" + "011" + "01", tokens)
    # A complete tree of depth 2 is two planes of the ranks 3, 0, 2.
    assert bits_of([9, 4, 8], [0, 0, 0, 0, 2, 2, 0, 0, 2, 2]) == ("101" + "100", [9, 4, 8])
    # Codes 00, 01, 100, 101, 110, 111: the left child has depth 2, the right child depth 3.
    tokens = [0, 5, 1, 2]
    assert bits_of(tokens, [2, 2, 3, 3, 3, 3]) == ("0101" + "01" + "10" + "10", tokens)
    assert bits_of([6, 6], [0] * 6 + [1]) == ("", [6, 6])


def test_class_section_by_hand() -> None:
    lengths = (2, 2, 2, *[0] * 252, 2)
    classes = (TableClass(mode="zero"), TableClass(mode="plain", shift=3, value_lengths=lengths))
    tables = Tables(class_map=(0, 1, 1), classes=classes)
    # Entries in scan order are the tokens 0, 255, 1, 254, 2: lengths 2, 2, 2, unused, 2.
    table = "00100000" + "1110" + "0100" + "0" + "0" + "1111" + "0000" + "0"
    band_map = "10000000" + "1110" + "1000" + "0" + "011"
    bits = "0" + "10000" + band_map + "00" + "0" + "0000" + "10" + "0" + "1100" + table
    data = reference.write_class_section(tables, -128)
    assert "".join(f"{byte:08b}"[::-1] for byte in data).rstrip("0") == bits.rstrip("0")
    assert len(data) == -(-len(bits) // 8)
    assert reference.read_class_section(data, 3, -128) == tables


def item_of(shift: int, histogram: Any) -> classes.Item:
    return classes.Item(shift, int(histogram.sum()), 0, 0, histogram)


@pytest.mark.parametrize("measure", [classes.Measure(True, 0), classes.Measure(False, 0)], ids=["tokens", "bins"])
def test_classes_are_joined_pair_by_pair_and_the_best_state_counts(measure: classes.Measure) -> None:
    rng = np.random.default_rng(3)
    for _ in range(30):
        items = {
            3 * i: item_of(int(i > 4), histogram_of({t: int(rng.integers(1, 60)) for t in range(i + 1)}))
            for i in range(7)
        }
        chosen = classes.choose_classes(items, 20, measure, 32)
        ends = [first for first, _ in chosen]
        assert ends == sorted(ends) and ends[0] == 0
        histograms = [
            sum((items[i].histogram for i in items if first <= i < end), np.zeros(256, np.int64))
            for first, end in itertools.pairwise([*ends, 99])
        ]
        assert all((item.histogram == histogram).all() for (_, item), histogram in zip(chosen, histograms, strict=True))

        def total(state: list[classes.Item]) -> int:
            return sum(measure.cost(item) for item in state) + 20 * (len(state) - 1).bit_length() * 65536

        # Neither no joining nor joining one more pair is cheaper.
        joined = [item for _, item in chosen]
        assert total(joined) <= total(list(items.values()))
        for i, (left, right) in enumerate(itertools.pairwise(joined)):
            if left.shift == right.shift:
                assert total(joined) <= total([*joined[:i], left.joined(right), *joined[i + 2 :]])


@pytest.mark.parametrize("most_classes", [4, 8, 32])
def test_no_more_classes_than_asked_for(most_classes: int) -> None:
    items = {i: item_of(0, histogram_of({i: 10**6, 255: 10**6 + i})) for i in range(97)}
    assert len(classes.choose_classes(items, 97, classes.Measure(True, 0), most_classes)) == most_classes
    # Items of different shifts cannot be joined.
    apart = {i: item_of(i, histogram_of({1: 10**6, 2: 10**6})) for i in range(9)}
    assert len(classes.choose_classes(apart, 97, classes.Measure(True, 0), most_classes)) == 9


def test_cost_of_a_class_by_hand() -> None:
    # Counted once in four: 3 zeros and 1 one cost 4 * 2 - 3 * log2 3 bits.
    item = classes.Item(0, 16, 0, 1, histogram_of({0: 3, 1: 1}))
    exact, binned = classes.Measure(True, 0), classes.Measure(False, 0)
    assert exact.cost(item) == 4 * (4 * 131072 - 3 * 103872) + (24 + 8) * 65536
    assert exact.cost(item._replace(symbol_count=4)) == 4 * 131072 - 3 * 103872 + (24 + 8) * 65536
    assert exact.cost(classes.Item(0, 99, 0, 0, histogram_of({0: 25}))) == 8 * 65536
    # Zeros and ones have a bin each, which costs 16 bits; 4 and 5 share one. The token 255 is far from 1, or it is -1.
    assert binned.cost(item) == 4 * (4 * 131072 - 3 * 103872) + (24 + 32) * 65536
    assert binned.cost(classes.Item(0, 4, 4, 5, histogram_of({4: 3, 5: 1}))) == 8 * 65536
    far = classes.Item(0, 4, -1, 128, histogram_of({255: 2, 1: 2}))
    assert binned.cost(far) == 4 * 65536 + (24 + 32) * 65536
    assert classes.Measure(False, -128).cost(far) == 8 * 65536
    assert binned.cost(far._replace(is_predicted=True)) == 8 * 65536


def test_bins_are_two_for_each_octave() -> None:
    bins = [classes.bin_of(magnitude) for magnitude in range(256)]
    assert bins[:17] == [0, 1, 2, 3, 4, 4, 5, 5, 6, 6, 6, 6, 7, 7, 7, 7, 8]
    assert bins == sorted(bins) and bins[-1] == 15 and bins.index(15) == 192


def test_smoothing_gives_a_code_to_every_symbol_of_the_range() -> None:
    counts = histogram_of({255: 2, 0: 5})
    item = classes.Item(2, 28, -5, 11, counts)
    assert item.smoothed().histogram.tolist() == histogram_of({254: 1, 255: 129, 0: 321, 1: 1, 2: 1}).tolist()
    assert item._replace(symbol_count=7).smoothed().histogram is counts


def test_residuals_are_differences_from_the_row_above() -> None:
    symbols = np.array([[[200, 3], [202, 3], [0, 255]]])
    residuals = reference.residuals_from_symbols(symbols)
    assert residuals.tolist() == [[[-56, 3], [2, 0], [54, -4]]]
    np.testing.assert_array_equal(reference.symbols_from_residuals(residuals, 0), symbols)
    rng = np.random.default_rng(9)
    for minimum in (0, -60, -128, -255):
        symbols = rng.integers(minimum, minimum + 256, (3, 5, 4))
        residuals = reference.residuals_from_symbols(symbols)
        assert residuals.min() >= -128 and residuals.max() <= 127
        np.testing.assert_array_equal(reference.symbols_from_residuals(residuals % 256, minimum), symbols)


def test_cost_of_a_sequence_by_hand() -> None:
    # Which of four are not 0 costs 4 bits; 1, 15 and 16 cost 1, 4 and 5 - 3 / 8 bits, and a sign each.
    assert choice.sequence_cost(np.array([1, 0, -1, 0]), is_signed=False) == (4 + 1 + 1) * 65536
    assert choice.sequence_cost(np.array([0, 0, 15, -15]), is_signed=True) == (4 + 4 + 4 + 2) * 65536
    assert choice.sequence_cost(np.array([16]), is_signed=False) == 37 * 8192
    assert choice.sequence_cost(np.array([31]), is_signed=False) == 37 * 8192
    assert choice.sequence_cost(np.array([32]), is_signed=False) == 43 * 8192
    assert choice.sequence_cost(np.zeros(9, np.int64), is_signed=True) == 0


def smooth_bands() -> np.ndarray[Any, Any]:
    """Three bands that resemble the row above, one that does not, and one of zeros, from 0 to 255."""
    rng = np.random.default_rng(2)
    x = np.cumsum(rng.normal(0, 3, (5, 40, 30)), axis=1) + rng.normal(0, 1, (5, 40, 30)) + 100
    x[3] = rng.integers(0, 256, (40, 30))
    x[4] = 0
    return np.clip(np.rint(x), 0, 255).astype(np.int64)


def test_bands_that_resemble_the_row_above_are_predicted() -> None:
    x = smooth_bands()
    expected = [True, True, True, False, False]
    for effort in (2, 3):
        assert choice.predicted_bands([x], CodecSpec(effort=effort)).tolist() == expected
        assert choice.predicted_bands([x - 128], CodecSpec(effort=effort, zero_point=128))[:3].tolist() == expected[:3]
    # Effort 1 looks at the first and fifth band, and decides for all.
    assert choice.predicted_bands([x], CodecSpec(effort=1)).all()
    assert not choice.predicted_bands([x[[3, 0, 1, 2, 4]]], CodecSpec(effort=1)).any()
    # No band is predicted if there is no row above, or if one symbol of any band has no token.
    assert not choice.predicted_bands([x[:, :1]] * 200, CodecSpec()).any()
    wide = x.copy()
    wide[4, 0, 0] = 256
    assert not choice.predicted_bands([wide], CodecSpec(bits=9)).any()


def test_sample_below_the_first_row() -> None:
    # Positions 4 to 259 of a tile of 4 columns are 0 to 255 of the sample's period, 260 begins the next.
    block = np.arange(2 * 66 * 4).reshape(2, 66, 4)
    sample = choice._sampled_below_first_row([block, block[:, :3]], 16)
    assert sample.tolist() == [
        [*range(first + 4, first + 20), *range(first + 260, first + 264), *range(first + 4, first + 12)]
        for first in (0, 264)
    ]


@pytest.mark.parametrize("offset", [-128, -100, -20, 0, 1, 60, 100, 180])
def test_fastest_effort_codes_smooth_bands_far_from_zero(offset: int) -> None:
    # First rows stand as they are, beyond all differences of symbols.
    rng = np.random.default_rng(2)
    x = np.clip(np.cumsum(rng.integers(-1, 2, (3, 40, 30)), axis=1), -20, 20) + offset + 20
    x[0, 20, 20] = offset  # which the walk need not reach
    spec = CodecSpec(effort=1, zero_point=128 if offset < 0 else 0)
    x = np.clip(x, *spec.level_range)
    (pooled,) = choice.choose_tables([x], spec).classes
    assert pooled.predicted
    values = x.astype(np.float32)
    frame = fmcodec.encode(values, spec)
    assert frame == reference.encode(values, spec)
    np.testing.assert_array_equal(fmcodec.decode(frame), values)


def test_fastest_effort_pools_bands() -> None:
    x = smooth_bands()
    (pooled,) = choice.choose_tables([x], CodecSpec(effort=1)).classes
    assert pooled.predicted
    # Classes of their own only for bands that need another shift.
    wide = np.concatenate([x, 3 * x, x, 100 * x])
    tables = choice.choose_tables([wide], CodecSpec(bits=15, effort=1))
    shifts = [entropy.smallest_shift(band, 0) for band in wide]
    assert [tables.classes[k].shift for k in tables.class_map] == shifts
    assert len(tables.classes) == len(set(shifts))


def test_highest_effort_tries_all_bands_without_prediction_too() -> None:
    # The guess says that the row above helps; whole tables say that it does not.
    rng = np.random.default_rng(45)
    x = (rng.integers(0, 9, (1, 1, 11)) + rng.integers(0, 3, (1, 18, 11))).astype(np.uint8)
    spec = CodecSpec(effort=3)
    blocks = [x.astype(np.int64)]
    assert choice.predicted_bands(blocks, spec).all()
    assert not any(table_class.predicted for table_class in choice.choose_tables(blocks, spec).classes)
    assert fmcodec.encode(x, spec) == reference.encode(x, spec)


def test_predicted_and_other_bands_are_never_one_class() -> None:
    x = smooth_bands()
    for spec in (CodecSpec(), CodecSpec(effort=3), CodecSpec(max_code_length=8, block_shape=(13, 30))):
        tables = choice.choose_tables([x], spec)
        is_predicted = [tables.classes[number].predicted for number in tables.class_map]
        assert is_predicted == [True, True, True, False, False]
        assert tables.classes[tables.class_map[4]] == TableClass(mode="zero")
        # Classes of other bands have the lower numbers.
        assert [c.predicted for c in tables.classes] == sorted(c.predicted for c in tables.classes)
        frame = reference.encode(x.astype(np.uint8), spec)
        np.testing.assert_array_equal(reference.decode(frame), x)
    without = choice._choose_band_tables([x], CodecSpec(effort=3), np.zeros(5, np.bool_), 32)
    with_prediction = choice._choose_band_tables([x], CodecSpec(effort=3), np.array([1, 1, 1, 0, 0], np.bool_), 32)
    assert with_prediction.bits < without.bits


@pytest.mark.parametrize("code_layout", ["wavelet", "serial"])
def test_static_predicted_classes(code_layout: Any) -> None:
    small = (1, 2, *[0] * 253, 2)
    classes = (
        TableClass(mode="plain", predicted=True, value_lengths=small),
        TableClass(mode="masked", predicted=True, value_lengths=(0, 1, *small[2:-1], 1), mask_lengths=(8,) * 256),
    )
    tables = Tables(class_map=(0, 1, 1), classes=classes)
    spec = CodecSpec(bits=9, zero_point=200, tables=tables, code_layout=code_layout)
    steps = np.random.default_rng(3).integers(-1, 2, (3, 20, 9))
    steps[:, 5] = 0
    x = np.cumsum(steps, axis=1)
    buffer = reference.encode(x.astype(np.float32), spec)
    np.testing.assert_array_equal(reference.decode(buffer), x)
    assert buffer[len(buffer) - reference.read_header(buffer).payload_size] == 0
    assert reference.read_spec_section(reference.write_spec_section(spec), 3, "float32", 0) == spec


def test_symbols_without_tokens_are_not_predicted() -> None:
    # The tokens 160 and 44 have codes, but stand for -96 and 44.
    lengths = tuple({0: 1, 1: 3, 44: 3, 160: 3, 255: 3}.get(token, 0) for token in range(256))
    classes = (TableClass(mode="plain", predicted=True, value_lengths=lengths),)
    spec = CodecSpec(bits=9, zero_point=200, tables=Tables(class_map=(0,), classes=classes))
    for value, kind in ((44, 0), (-96, 0), (160, 1), (300, 1)):
        x = np.full((1, 5, 4), value, np.float32)
        buffer = reference.encode(x, spec)
        np.testing.assert_array_equal(reference.decode(buffer), x)
        assert buffer[len(buffer) - reference.read_header(buffer).payload_size] == kind


def test_nearest_mask_table() -> None:
    shares = [choice.ones_of_64(number) for number in range(32)]
    assert shares[:6] == [1, 2, 3, 4, 6, 8] and shares[-1] == 60
    for ones in range(1, 640):
        number = choice.nearest_mask_table(ones, 640)
        assert abs(10 * shares[number] - ones) == min(abs(10 * share - ones) for share in shares)


def test_contexts_do_not_depend_on_what_is_coded_later() -> None:
    rng = np.random.default_rng(5)
    x = rng.integers(-9, 9, (3, 11, 13))
    before = list(lattice.ordered_phases(x))
    rest = sum(len(symbols) for symbols, _ in before)
    for number, (symbols, contexts) in enumerate(before):
        rest -= len(symbols)
        # Change everything from this phase on: the contexts of this phase stay.
        known = iter(phase for phase, _ in before[:number])
        changed = lattice.restore(x.shape, lambda c, known=known: next(known, np.full(len(c), 7)))
        np.testing.assert_array_equal(list(lattice.ordered_phases(changed))[number][1], contexts)
    assert rest == 0


def static_spec() -> CodecSpec:
    """Tables of all three modes for four channels; the plain class has codes for -1, 0, 1 and 2 only."""
    classes = (
        TableClass(mode="zero"),
        TableClass(mode="plain", shift=1, value_lengths=(1, 2, 3, *[0] * 252, 3)),
        TableClass(mode="masked", value_lengths=(0, 1, 1), mask_lengths=(8,) * 256),
    )
    return CodecSpec(bits=9, zero_point=200, tables=Tables(class_map=(0, 1, 2, 1), classes=classes))


@pytest.mark.parametrize("embed_spec", [True, False])
def test_static_tables_and_external_spec(embed_spec: bool) -> None:
    rng = np.random.default_rng(5)
    spec = static_spec()
    codable = np.stack([np.zeros((8, 8)), *rng.integers([[[-2]], [[0]], [[-2]]], [[[6]], [[3]], [[6]]], (3, 8, 8))])
    for x, first_byte in [(codable, 0), (codable + 1, 1), (codable * 0 + 9, 1)]:
        buffer = reference.encode(x.astype(np.float32), spec, embed_spec=embed_spec)
        np.testing.assert_array_equal(reference.decode(buffer, spec=spec), x)
        header = reference.read_header(buffer)
        assert header.index_count == 1
        assert buffer[len(buffer) - header.payload_size] == first_byte
    assert len(reference.encode(np.zeros((4, 8, 8), np.float32), spec, embed_spec=False)) == 52 + 8 + 8 + 4

    if not embed_spec:
        for other in (None, spec.replace(step=2.0), spec.replace(tables=None)):
            with pytest.raises(SpecMismatchError):
                reference.decode(buffer, spec=other)
    section = reference.write_spec_section(spec)
    assert reference.read_spec_section(section, 4, "float32", 0) == spec


def test_classes_that_cannot_be_predicted() -> None:
    with pytest.raises(ValueError, match="predicted must be False in mode 'zero'"):
        TableClass(mode="zero", predicted=True)
    with pytest.raises(ValueError, match="predicted must be False in mode 'rans'"):
        TableClass(mode="rans", predicted=True, weights=(1,))
    with pytest.raises(ValueError, match="shift must be 0 in a predicted class, not 2"):
        TableClass(mode="plain", predicted=True, shift=2, value_lengths=(1, 1))


def test_masked_mode_is_chosen_for_sparse_bands() -> None:
    rng = np.random.default_rng(7)
    x = np.where(rng.random((1, 16, 24, 24)) < 0.97, 0, rng.integers(1, 200, (1, 16, 24, 24))).astype(np.uint8)
    buffer = reference.encode(x, CodecSpec())
    np.testing.assert_array_equal(reference.decode(buffer), x)
    header = reference.read_header(buffer)
    head_size = 52 + header.spec_size + 8 * header.index_count + 4
    size = struct.unpack_from("<I", buffer, 52 + header.spec_size)[0]
    tables = reference.read_class_section(buffer[head_size : head_size + size], 16, 0)
    assert "masked" in [table_class.mode for table_class in tables.classes]


@pytest.fixture(scope="module")
def small_frame() -> bytes:
    x = make_array(11, (1, 6, 5, 7), "float32", 1.0)
    return reference.encode(x, CodecSpec(step=0.05, zero_point=100, block_shape=(3, 7)))


def test_truncated_and_extended_frames(small_frame: bytes) -> None:
    for size in range(len(small_frame)):
        with pytest.raises(TruncatedStreamError):
            reference.decode(small_frame[:size])
    with pytest.raises(CorruptStreamError, match="after the payload"):
        reference.decode(small_frame + b"\0")


def test_changed_bytes_are_found(small_frame: bytes) -> None:
    for position in range(len(small_frame)):
        changed = bytearray(small_frame)
        changed[position] ^= 1 << position % 8
        with pytest.raises(UnsupportedVersionError if position in (4, 5) else CorruptStreamError):
            reference.decode(changed)


def with_checks(frame: bytearray) -> bytes:
    """The frame with all its checks computed anew, if its sizes make sense."""
    spec_size, index_count = struct.unpack_from("<II", frame, 36)
    index_start = 52 + spec_size
    check_start = index_start + 8 * index_count
    part_start = check_start + 4
    if check_start + 4 <= len(frame):
        for entry in range(index_start, check_start, 8):
            size = struct.unpack_from("<I", frame, entry)[0]
            crc = reference.crc32c(bytes(frame[part_start : part_start + size]))
            struct.pack_into("<I", frame, entry + 4, crc)
            part_start += size
        struct.pack_into("<I", frame, check_start, reference.crc32c(bytes(frame[:check_start])))
    return bytes(frame)


def test_forged_frames_raise_nothing_else(small_frame: bytes) -> None:
    rng = np.random.default_rng(13)
    # The shape is left alone: a forged one may ask for any amount of memory.
    positions = [p for p in range(6, len(small_frame)) if not 12 <= p < 28]
    refused = 0
    for position in positions:
        forged = bytearray(small_frame)
        forged[position] = int(rng.integers(256))
        try:
            assert reference.decode(with_checks(forged)).shape == (1, 6, 5, 7)
        except FmcodecError as error:
            refused += not isinstance(error, ChecksumError)
    assert refused > 50


def test_specs_that_do_not_fit() -> None:
    x = np.zeros((4, 2, 2), dtype=np.uint8)
    for spec in (CodecSpec(bits=9), CodecSpec(permutation=(1, 0)), static_spec().replace(permutation=(0,))):
        with pytest.raises(ValueError, match="must"):
            reference.encode(x, spec)
    with pytest.raises(ValueError, match="tables"):
        reference.encode(x[:2].astype(np.float32), static_spec())
    with pytest.raises(TypeError):
        reference.encode(x.astype(np.float64), CodecSpec())
    with pytest.raises(ValueError, match="rank 3 or 4, not 2"):
        reference.encode(x[0], CodecSpec())
    with pytest.raises(ValueError, match="layout must be 'nchw' or 'nhwc', not 'hwc'"):
        reference.encode(x, CodecSpec(), layout="hwc")  # type: ignore[arg-type]


def test_rows_that_are_longer_than_a_block() -> None:
    # Columns of one block: 2^18 values over the channels, at least 64.
    for shape, columns in (((2, 1, 2**17 + 1), 2**17), ((5000, 2, 65), 64)):
        x = np.zeros(shape, np.uint8)
        x[0, 0, -1] = 1
        frame = reference.encode(x, CodecSpec())
        header = reference.read_header(frame)
        assert (header.tile_height, header.tile_width) == (1, columns)
        assert frame == fmcodec.encode(x, CodecSpec())


def test_contexts_without_a_weight_for_what_stands_in_for_patches() -> None:
    # A patch needs a 0 in its place; without one the block is raw.
    seen = TableClass(mode="rans", weights=(0, 28, 1, 1))
    spec = CodecSpec(tables=Tables(model="neighbours", class_map=(0,) * 97, classes=(seen,)))
    x = np.ones((2, 16, 16), np.uint8)
    x[0, 3, ::5] = 2
    x[1, ::7, 4] = 3
    kinds = []
    for value in (1, 9):
        x[1, 2, 3] = value
        frame = reference.encode(x, spec)
        assert frame == fmcodec.encode(x, spec)
        assert np.array_equal(reference.decode(frame), x)
        kinds.append(frame[fmcodec.inspect(frame).blocks[0].offset])
    assert kinds == [0, 1]


@pytest.mark.parametrize(
    "fields",
    [
        {"transform": "klt", "bits": 15, "basis": Basis(means=(0, 99), rows=bytes([9, 60, 60, 247]), entry_bits=8)},
        {"transform": "klt", "bits": 8, "basis": Basis(means=(0, 255), rows=bytes([0, 8] * 4), fraction_bits=14)},
        {"transform": "identity", "transform_size": 1, "bits": 14, "spatial_size": 2},
    ],
)
def test_most_bits_of_transforms(fields: dict[str, Any]) -> None:
    spec = CodecSpec(**{"transform_size": 2, **fields})
    x = np.random.default_rng(5).uniform(0, 2**spec.bits, (2, 5, 6)).astype(np.float32)
    x[:, 0, 0] = 0, 2**spec.bits - 1
    frame = reference.encode(x, spec)
    assert frame == fmcodec.encode(x, spec)
    assert fmcodec.decode(frame).tobytes() == reference.decode(frame).tobytes()


def test_blocks_of_which_no_symbol_has_a_static_code() -> None:
    two = TableClass(mode="plain", value_lengths=(1, 1))
    spec = CodecSpec(tables=Tables(class_map=(0,), classes=(two,)))
    x = np.arange(5, 69, dtype=np.uint8).reshape(1, 8, 8)
    frame = fmcodec.encode(x, spec)
    assert frame == reference.encode(x, spec)
    assert np.array_equal(fmcodec.decode(frame), x)


def test_static_classes_without_a_band() -> None:
    used = TableClass(mode="plain", value_lengths=(1, 1))
    unused = TableClass(mode="plain", value_lengths=(1, 1), predicted=True)
    x = np.ones((2, 3, 3), np.uint8)
    frames = []
    for table_classes in ((used, unused), (used,)):
        spec = CodecSpec(tables=Tables(class_map=(0, 0), classes=table_classes))
        frames.append(reference.encode(x, spec))
        assert frames[-1] == fmcodec.encode(x, spec)
    block = fmcodec.inspect(frames[1]).blocks[0]
    assert frames[0].endswith(frames[1][block.offset :])


def test_bfloat16_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    bits = np.array([[[0x3F80, 0xC000]]], np.uint16)  # 1 and -2
    frame = reference.encode(bits, CodecSpec(zero_point=128), dtype="bfloat16")
    assert reference.decode(frame).dtype.name == "bfloat16"
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    assert np.array_equal(reference.decode(frame), bits)
    with pytest.raises(TypeError, match="bfloat16 needs the package ml_dtypes"):
        fmcodec.decode(frame)
