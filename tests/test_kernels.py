"""Each kernel against NumPy, on every instruction set, at sizes around the lengths of vectors."""

from __future__ import annotations

from typing import Any

import google_crc32c
import numpy as np
import pytest
from strategies import ALPHABETS, DTYPES, numpy_dtype

from fmcodec import CodecSpec, reference
from fmcodec._core import kernels
from fmcodec.arrays import DTYPE_CODES
from fmcodec.reference.quantize import to_binary32
from fmcodec.reference.transform import clamp16, coefficients_from_symbols, hadamard_matrix, matrix_product

SIZES = [*range(131), 191, 192, 193, 255, 256, 257, 1000]
TOKEN_MINIMUMS = [0, -1, -100, -128, -254, -255]
FLOATS = ("float32", "float16", "bfloat16")

pytestmark = pytest.mark.usefixtures("isa")


def stored(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Half precision as the kernels see it: bit patterns."""
    return values.view(np.uint16) if values.dtype.name in ("float16", "bfloat16") else values


def pool(dtype: str) -> np.ndarray[Any, Any]:
    """Finite values of a dtype: all of the small ones, and corners of float32 together with random bit patterns."""
    if dtype in ("int8", "uint8"):
        return np.arange(256, dtype=np.uint8).view(dtype)
    if dtype in ("float16", "bfloat16"):
        every = np.arange(65536, dtype=np.uint16).view(numpy_dtype(dtype))
        return every[np.isfinite(every.astype(np.float32))]
    rng = np.random.default_rng(0)
    patterns = rng.integers(0, 2**32, 30000, dtype=np.uint32).view(np.float32)
    ties = np.arange(-1100, 1100, dtype=np.float32) / 2
    near_ties = np.concatenate([np.nextafter(ties, np.float32(-np.inf)), np.nextafter(ties, np.float32(np.inf))])
    corners = np.array([0.0, -0.0, 1e-45, -1e-45, 1.1754942e-38, 3.4028235e38, -3.4028235e38], np.float32)
    usual = rng.normal(0, 300, 3000).astype(np.float32)
    every = np.concatenate([patterns, ties, near_ties, corners, usual])
    return every[np.isfinite(every)]


POOLS = {dtype: pool(dtype) for dtype in DTYPES}
QUANTIZERS = [
    CodecSpec(),
    CodecSpec(zero_point=128),
    CodecSpec(step=0.1, zero_point=255),
    CodecSpec(step=0.37, bits=3, zero_point=2),
    CodecSpec(step=0.01, bits=2),
    CodecSpec(step=2.0**64, zero_point=100),
    CodecSpec(step=2.0**-64, zero_point=100),
]
WIDE_QUANTIZERS = [
    CodecSpec(step=0.01, bits=16, zero_point=30000),
    CodecSpec(step=3.3e-7, bits=12),
    CodecSpec(step=2.0**-24, bits=16),
]


def levels_of(values: np.ndarray[Any, Any], spec: CodecSpec) -> np.ndarray[Any, Any]:
    """The levels of the reference; NaN is 0 and infinity the nearest level."""
    return reference.levels_from_values(to_binary32(values, values.dtype.name), spec.replace(nonfinite="clamp"))


def quantizer(spec: CodecSpec) -> tuple[float, int, int]:
    """The arguments that kernels take for a spec."""
    return spec.step, spec.zero_point, spec.bits


# --- values and levels


@pytest.mark.parametrize("dtype", DTYPES)
def test_quantize_all_values(dtype: str) -> None:
    values = POOLS[dtype]
    for spec in QUANTIZERS + WIDE_QUANTIZERS:
        expected = levels_of(values, spec)
        levels, is_finite = kernels.quantize_to_levels(stored(values), DTYPE_CODES[dtype], *quantizer(spec))
        np.testing.assert_array_equal(levels, expected)
        assert is_finite
        if spec.bits <= 8:
            tokens, is_finite = kernels.quantize_to_tokens(stored(values), DTYPE_CODES[dtype], *quantizer(spec))
            np.testing.assert_array_equal(tokens, expected % 256)
            assert is_finite


@pytest.mark.parametrize("dtype", DTYPES)
def test_quantize_all_sizes(dtype: str) -> None:
    values = np.random.default_rng(1).permutation(np.resize(POOLS[dtype], 5000))
    spec = CodecSpec(step=0.5, zero_point=90)
    expected = levels_of(values, spec)
    for size in SIZES:
        for start in (0, 1, 7):
            part = stored(values[start : start + size])
            levels, is_finite = kernels.quantize_to_levels(part, DTYPE_CODES[dtype], *quantizer(spec))
            assert is_finite and levels.tolist() == expected[start : start + size].tolist()
            tokens, is_finite = kernels.quantize_to_tokens(part, DTYPE_CODES[dtype], *quantizer(spec))
            assert is_finite and tokens.tolist() == (expected[start : start + size] % 256).tolist()


@pytest.mark.parametrize("dtype", FLOATS)
def test_what_is_not_finite_is_reported_wherever_it_is(dtype: str) -> None:
    spec = CodecSpec(zero_point=60)
    specials = np.array([np.nan, -np.nan, np.inf, -np.inf], np.float32).astype(numpy_dtype(dtype))
    if dtype == "float32":
        payloads = np.array([0x7F800001, 0xFF800001, 0x7FFFFFFF], np.uint32).view(np.float32)
        specials = np.concatenate([specials, payloads])
    for size in (1, 3, 4, 5, 15, 16, 17, 33, 64, 100):
        for position in {0, size // 2, size - 1}:
            for special in specials:
                values = np.ones(size, numpy_dtype(dtype))
                values[position] = special
                expected = levels_of(values, spec)
                levels, is_finite = kernels.quantize_to_levels(stored(values), DTYPE_CODES[dtype], *quantizer(spec))
                assert not is_finite and levels.tolist() == expected.tolist()
                tokens, is_finite = kernels.quantize_to_tokens(stored(values), DTYPE_CODES[dtype], *quantizer(spec))
                assert not is_finite and tokens.tolist() == (expected % 256).tolist()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("spec", QUANTIZERS + WIDE_QUANTIZERS, ids=range(len(QUANTIZERS + WIDE_QUANTIZERS)))
def test_dequantize_all_levels(dtype: str, spec: CodecSpec) -> None:
    low, high = spec.level_range
    inside = np.arange(low, high + 1)
    outside = np.array([low - 1, high + 1, -(2**31), 2**31 - 1, 2**20, -(2**20)])
    levels = np.concatenate([inside, outside]).astype(np.int32)
    expected = reference.values_from_levels(levels.clip(low, high), spec, dtype)
    actual = kernels.dequantize_levels(levels, DTYPE_CODES[dtype], *quantizer(spec))
    np.testing.assert_array_equal(actual, stored(expected))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_dequantize_rounds_to_half_precision(dtype: str) -> None:
    # Steps that reach subnormal results, ties in both directions, and the largest finite value.
    for step in (2.0**-26, 2.0**-25, 3 * 2.0**-26, 2.0**-14, 1 / 3, 1.0, 1.00390625, 2.0**-8, 40.0, 2.0**64):
        spec = CodecSpec(step=step, bits=16, zero_point=32768)
        levels = np.arange(-32768, 32768, dtype=np.int32)
        actual = kernels.dequantize_levels(levels, DTYPE_CODES[dtype], *quantizer(spec))
        exact = levels.astype(np.float32) * np.float32(spec.step)
        largest = np.float32(65504.0 if dtype == "float16" else 3.3895313892515355e38)
        rounded = exact.clip(-largest, largest).astype(numpy_dtype(dtype))
        np.testing.assert_array_equal(actual, rounded.view(np.uint16))


@pytest.mark.parametrize("dtype", DTYPES)
def test_dequantize_all_sizes(dtype: str) -> None:
    rng = np.random.default_rng(2)
    spec = CodecSpec(step=0.7, zero_point=100)
    tokens = rng.integers(0, 256, 1000, dtype=np.uint8)
    for minimum in TOKEN_MINIMUMS:
        symbols = minimum + (tokens.astype(np.int64) - minimum) % 256
        expected = stored(reference.values_from_levels(symbols.clip(*spec.level_range), spec, dtype))
        sizes = SIZES if minimum == -100 else SIZES[::9]
        for size in sizes:
            code = DTYPE_CODES[dtype]
            actual = kernels.dequantize_tokens(tokens[:size], code, *quantizer(spec), minimum)
            assert actual.tobytes() == expected[:size].tobytes()
            actual = kernels.dequantize_levels(symbols[:size].astype(np.int32), code, *quantizer(spec))
            assert actual.tobytes() == expected[:size].tobytes()


# --- channel transform and bands


@pytest.mark.parametrize("size", [2, 3, 4, 5, 6, 7, 8, 16, 32])
def test_dct_is_the_matrix_product(size: int) -> None:
    rng = np.random.default_rng(size)
    matrix = reference.dct_matrix(size)
    for count in [*range(1, 70), 300]:
        for limit in (255, 65535, 2**20, 2**31 - 1):  # the last two leave 32 bits, where sums are modulo 2^32
            rows = rng.integers(-limit, limit, (size, count), endpoint=True)
            for transform, is_forward in ((matrix, True), (matrix.T, False)):
                actual = kernels.dct(matrix.astype(np.int32), rows.astype(np.int32), is_forward)
                np.testing.assert_array_equal(actual, matrix_product(transform, rows))


@pytest.mark.parametrize("size", [2, 4, 8, 16, 32])
def test_hadamard_is_the_matrix_product(size: int) -> None:
    rng = np.random.default_rng(size)
    matrix = hadamard_matrix(size)
    for count in [*range(1, 70), 300]:
        for limit in (255, 65535, 2**31 - 1):
            rows = rng.integers(-limit, limit, (size, count), endpoint=True)
            actual = kernels.hadamard(rows.astype(np.int32), int(matrix[0, 0]))
            np.testing.assert_array_equal(actual, matrix_product(matrix, rows))


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (7, 6), (6, 7), (13, 33), (64, 64), (5, 300)], ids=str)
def test_multiply_is_the_matrix_product(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(shape[0])
    row_count, column_count = shape
    for count, limit, bits in ((1, 200, 12), (63, 2**15, 12), (64, 2**20, 14), (65, 2**31 - 1, 1), (200, 2000, 6)):
        matrix = rng.integers(-(2**15), 2**15, shape)
        matrix.flat[0] = -(2**15)
        x = rng.integers(-limit, limit, (column_count, count), endpoint=True)
        x[:2] = np.minimum(x[:2], -(2**15))  # products of a pair that leave 32 bits
        subtract, add = rng.integers(-200, 200, column_count), rng.integers(-(2**15), 2**15, row_count)
        x = np.clip(x, -(2**31) + 200, 2**31 - 201)
        expected = clamp16(matrix_product(matrix, clamp16(x - subtract[:, None]), bits)) + add[:, None]
        actual = kernels.multiply(*(a.astype(np.int16) for a in (matrix, subtract, add)), x.astype(np.int32), bits)
        np.testing.assert_array_equal(actual, expected)
        plain = clamp16(matrix_product(matrix, clamp16(x), bits))
        actual = kernels.multiply(matrix.astype(np.int16), None, None, x.astype(np.int32), bits)
        np.testing.assert_array_equal(actual, plain)


def test_dct_of_one_channel_is_the_identity() -> None:
    rows = np.array([[5, -7, 2**30]], np.int32)
    for is_forward in (True, False):
        np.testing.assert_array_equal(kernels.dct(np.array([[4096]], np.int32), rows, is_forward), rows)


def test_dct_and_back_is_nearly_exact() -> None:
    rng = np.random.default_rng(0)
    for size in (4, 8, 16, 32):
        matrix = reference.dct_matrix(size).astype(np.int32)
        levels = rng.integers(0, 256, (size, 100)).astype(np.int32)
        back = kernels.dct(matrix, kernels.dct(matrix, levels, True), False)
        assert np.abs(back - levels).max() <= 2


@pytest.mark.parametrize("step", [2, 3, 7, 16, 255, 4096, 65535])
def test_quantize_band(step: int) -> None:
    rng = np.random.default_rng(step)
    multiples = np.arange(-40, 41) * step
    limit = 380000  # the largest coefficient of 16-bit levels is 370728
    coefficients = np.concatenate(
        [multiples, multiples + 1, multiples - 1, rng.integers(-limit, limit, 4000), [limit, -limit]]
    )
    coefficients = coefficients[np.abs(coefficients) <= limit]
    for rounding in {0, 1, step // 4, step // 2, (step - 1) // 2}:
        actual = kernels.quantize_band(coefficients.astype(np.int32), step, rounding)
        expected = np.sign(coefficients) * ((np.abs(coefficients) + rounding) // step)
        np.testing.assert_array_equal(actual, expected)
    for size in SIZES:
        actual = kernels.quantize_band(coefficients[:size].astype(np.int32), step, step // 2)
        expected = np.sign(coefficients[:size]) * ((np.abs(coefficients[:size]) + step // 2) // step)
        assert actual.tolist() == expected.tolist()


@pytest.mark.parametrize("step", [1, 2, 3, 255, 65535])
def test_quantize_band_of_the_largest_coefficients(step: int) -> None:
    rounding = step // 2
    limit = 2**21 - 1 - rounding
    multiples = np.arange(limit // step - 40, limit // step + 1) * step
    near = [multiples - rounding + move for move in (-1, 0, 1)]  # where one symbol ends and the next begins
    coefficients = np.concatenate([*near, np.arange(limit - 999, limit + 1)])
    coefficients = np.concatenate([coefficients, -coefficients])
    actual = kernels.quantize_band(coefficients.astype(np.int32), step, rounding)
    np.testing.assert_array_equal(actual, np.sign(coefficients) * ((np.abs(coefficients) + rounding) // step))


@pytest.mark.parametrize("step", [1, 2, 16, 4096])
def test_band_to_tokens_is_three_kernels_in_one(step: int) -> None:
    rng = np.random.default_rng(step)
    coefficients = rng.integers(-(2**17), 2**17, 40000, endpoint=True).astype(np.int32)
    for size in [*SIZES, 16384, 40000]:
        symbols = kernels.quantize_band(coefficients[:size], step, step // 2)
        tokens, extent = kernels.band_to_tokens(coefficients[:size], step, step // 2)
        np.testing.assert_array_equal(tokens, symbols.astype(np.uint8))
        assert extent == range_of(symbols)


@pytest.mark.parametrize("step", [1, 2, 3, 1000, 65535])
def test_dequantize_band(step: int) -> None:
    rng = np.random.default_rng(step)
    edge = 2**20 // step
    corners = [0, 1, -1, edge, -edge, edge + 1, -edge - 1, edge + 2, 2**21, -(2**21), 2**31 - 1, -(2**31)]
    symbols = np.concatenate([corners, rng.integers(-edge - 2, edge + 3, 1000)])
    spec = CodecSpec(band_steps=(step,))
    for size in [*SIZES, len(symbols)]:
        expected = coefficients_from_symbols(symbols[:size].reshape(1, -1), spec, 1).reshape(-1)
        assert kernels.dequantize_band(symbols[:size].astype(np.int32), step).tolist() == expected.tolist()


# --- channels to tokens in one pass


def fixed_matrix(name: str, size: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """The matrix of a transform, and what kernels take for it."""
    matrix = reference.dct_matrix(size) if name == "dct" else hadamard_matrix(size)
    return matrix, (matrix if name == "dct" else matrix[:1, :1]).astype(np.int32)


@pytest.mark.parametrize("name", ["dct", "hadamard"])
@pytest.mark.parametrize("size", [4, 8, 16])
def test_values_to_tokens_and_back(name: str, size: int) -> None:
    rng = np.random.default_rng(size)
    matrix, argument = fixed_matrix(name, size)
    spec = CodecSpec(step=0.01, bits=12, zero_point=2048)
    for count, kept in ((1, size), (16, 1), (17, size - 1), (48, size), (300, size // 2)):
        values = rng.normal(0, 2, (size, count)).astype(np.float32)
        steps = rng.integers(40, 200, kept)
        roundings = steps // rng.integers(2, 5, kept)
        levels = levels_of(values.reshape(-1), spec).reshape(size, count)
        coefficients = matrix_product(matrix[:kept], levels)
        symbols = np.sign(coefficients) * ((np.abs(coefficients) + roundings[:, None]) // steps[:, None])
        assert np.abs(symbols).max() <= 127
        band_arguments = (steps.astype(np.int32), roundings.astype(np.int32))
        tokens = kernels.values_to_tokens(values, *quantizer(spec), argument, *band_arguments)
        if tokens is None:
            assert count < 16  # fewer than a vector has
            continue
        np.testing.assert_array_equal(tokens, symbols.astype(np.uint8))

        missing = rng.integers(kept)
        symbols[missing] = 0
        decoded = matrix_product(matrix[:kept].T, symbols * steps[:, None]).clip(-2048, 2047)
        bands = [None if k == missing else band for k, band in enumerate(tokens)]
        actual = kernels.tokens_to_values(bands, size, count, *quantizer(spec), argument, band_arguments[0])
        np.testing.assert_array_equal(actual, decoded.astype(np.float32) * np.float32(spec.step))


def test_coefficients_of_tokens_are_clamped() -> None:
    matrix, argument = fixed_matrix("hadamard", 4)
    symbols = np.zeros((4, 64), np.int64)
    symbols[0] = np.arange(-64, 0) * 2
    symbols[1] = 100
    expected = matrix_product(matrix, (symbols * 65535).clip(-(2**20), 2**20)).clip(-(2**15), 2**15 - 1)
    spec = CodecSpec(step=1.0, bits=16, zero_point=2**15)
    bands = list(symbols.astype(np.uint8))
    actual = kernels.tokens_to_values(bands, 4, 64, *quantizer(spec), argument, np.full(4, 65535, np.int32))
    np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("place", [0, 15, 16, 99])
def test_values_that_are_no_tokens_are_left_to_other_kernels(place: int) -> None:
    _, argument = fixed_matrix("dct", 8)
    spec, steps = CodecSpec(step=1.0, bits=12, zero_point=2048), np.ones(8, np.int32)
    arguments = (*quantizer(spec), argument, steps, 0 * steps)
    zeros = np.zeros((8, 100), np.float32)
    assert kernels.values_to_tokens(zeros, *arguments) is not None
    for value, is_token in ((250, True), (-250, True), (400, False), (-400, False), (np.nan, False), (-np.inf, False)):
        values = zeros.copy()
        values[3, place] = value
        assert (kernels.values_to_tokens(values, *arguments) is not None) == is_token


# --- exact zeros


def test_flags_of_exact_zeros() -> None:
    rng = np.random.default_rng(9)
    levels = rng.integers(-2, 3, 1000).astype(np.int32)
    levels[::50] = 2**15
    for size in SIZES:
        flags = kernels.flag_nonzero(levels[:size])
        np.testing.assert_array_equal(flags, levels[:size] != 0)
        # Whatever is not 0 is a flag.
        cleared = kernels.clear_unflagged(-7 * flags, levels[:size] + 9)
        np.testing.assert_array_equal(cleared, (levels[:size] + 9) * flags)


# --- ranges of symbols


def range_of(symbols: np.ndarray[Any, Any]) -> tuple[int, int, int]:
    """Smallest, largest, and sum of magnitudes."""
    if not symbols.size:
        return 2**31 - 1, -(2**31), 0
    return int(symbols.min()), int(symbols.max()), int(np.abs(symbols).sum())


def test_measure_symbols() -> None:
    rng = np.random.default_rng(3)
    symbols = rng.integers(-(2**20), 2**20, 40000, endpoint=True)
    for size in [*SIZES, 16384, 40000]:
        assert kernels.measure_symbols(symbols[:size].astype(np.int32)) == range_of(symbols[:size])
    for value in (2**20, -(2**20), 1, 0):
        constant = np.full(40000, value)
        assert kernels.measure_symbols(constant.astype(np.int32)) == range_of(constant)


@pytest.mark.parametrize("minimum", TOKEN_MINIMUMS)
def test_measure_tokens(minimum: int) -> None:
    rng = np.random.default_rng(4)
    for sizes, symbols in [
        ([*SIZES, 20000], rng.integers(minimum, minimum + 255, 20000, endpoint=True)),
        (SIZES[1:], np.full(1000, minimum)),
        (SIZES[1:], np.full(1000, minimum + 255)),
        (SIZES[1:], np.full(1000, minimum // 2)),
    ]:
        tokens = (symbols % 256).astype(np.uint8)
        for size in sizes:
            assert kernels.measure_tokens(tokens[:size], minimum) == range_of(symbols[:size])
    # One extreme token anywhere.
    for size in (1, 15, 16, 31, 63, 64, 65, 130):
        for position in range(size):
            symbols = np.full(size, minimum + 128)
            symbols[position] = minimum if position % 2 else minimum + 255
            assert kernels.measure_tokens((symbols % 256).astype(np.uint8), minimum) == range_of(symbols)


# --- the wavelet layout


@pytest.mark.parametrize("alphabet", ALPHABETS)
def test_wavelet_layout_is_that_of_the_reference(alphabet: str) -> None:
    rng = np.random.default_rng(7)
    histogram = ALPHABETS[alphabet]
    for longest, sizes in ((15, SIZES), (8, [5, 64, 131, 1000])):
        lengths = reference.limited_lengths(histogram, longest)
        code = reference.Code(lengths.tolist())
        # As likely as their codes say, so that every part of the tree is met; and evenly.
        likely = 2.0 ** -lengths[code.tokens]
        for weights in (likely / likely.sum(), None):
            tokens = rng.choice(code.tokens, 1000, p=weights).astype(np.uint8)
            for size in sizes if weights is not None else sizes[::8]:
                writer = reference.BitWriter()
                reference.write_tokens(writer, code, tokens[:size].astype(np.int64))
                bits, bit_count = kernels.write_wavelet(tokens[:size], lengths.astype(np.uint8))
                assert (bits, bit_count) == (writer.to_bytes(), len(writer))
                assert kernels.read_wavelet(bits, lengths.astype(np.uint8), size).tolist() == tokens[:size].tolist()


@pytest.mark.parametrize("alphabet", ["laplace", "uniform", "geometric"])
def test_wavelet_layout_of_long_streams(alphabet: str) -> None:
    rng = np.random.default_rng(8)
    histogram = ALPHABETS[alphabet]
    lengths = reference.limited_lengths(histogram, 12)
    tokens = rng.choice(256, 70001, p=histogram / histogram.sum()).astype(np.uint8)
    bits, bit_count = kernels.write_wavelet(tokens, lengths.astype(np.uint8))
    assert bit_count == int(lengths[tokens].sum())
    np.testing.assert_array_equal(kernels.read_wavelet(bits, lengths.astype(np.uint8), len(tokens)), tokens)


# --- checksums


def test_crc32c() -> None:
    rng = np.random.default_rng(9)
    data = rng.bytes(70000)
    assert kernels.crc32c(b"123456789") == 0xE3069283
    for size in [*SIZES, 4095, 4096, 4097, 8191, 12288, 24577, 70000]:
        for start in (0, 1, 5):
            part = data[start : start + size]
            assert kernels.crc32c(part) == google_crc32c.value(part)
    for part in (b"", b"\0" * 1000, b"\xff" * 33, data[:300]):
        assert reference.crc32c(part) == google_crc32c.value(part)
