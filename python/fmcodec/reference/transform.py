"""Channel transform and symbols (docs/format.md, sections 4 and 5); arrays are channels or bands by positions."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from fmcodec.reference.bits import IntArray
from fmcodec.spec import CodecSpec

COEFFICIENT_LIMIT = 2**20


class TransformGroup(NamedTuple):
    """``size`` consecutive inputs, of which the first ``kept`` coefficients are coded."""

    first_input: int
    size: int
    kept: int


def transform_groups(spec: CodecSpec, channel_count: int) -> list[TransformGroup]:
    """Section 4: complete groups, then what is left over in powers of two; with the zonal mask."""
    groups = []
    first, size = 0, spec.transform_size
    while first < channel_count:
        while size > channel_count - first:
            size //= 2
        kept = -(-size * spec.kept_band_count // spec.transform_size)
        groups.append(TransformGroup(first, size, kept))
        first += size
    return groups


def kept_coefficients(spec: CodecSpec, channel_count: int) -> list[tuple[TransformGroup, int]]:
    """Section 4: the coefficients of the channel transform that are coded, each as its group and its ``k`` there."""
    return [(group, k) for group in transform_groups(spec, channel_count) for k in range(group.kept)]


def band_total(spec: CodecSpec, channel_count: int) -> int:
    """Number of bands that are coded: those of kept coefficients, and those of flags (section 4.5)."""
    places = spec.spatial_size**2
    return first_flag_band(spec, channel_count) + (channel_count * places if spec.exact_zeros else 0)


def first_flag_band(spec: CodecSpec, channel_count: int) -> int:
    """Number of bands of kept coefficients."""
    places = spec.spatial_size**2
    if spec.transform == "identity":
        return channel_count * places
    complete, rest = divmod(channel_count, spec.transform_size)
    return places * (complete * spec.kept_band_count + sum(group.kept for group in transform_groups(spec, rest)))


def zero_flags(levels: IntArray, spec: CodecSpec) -> IntArray:
    """Section 4.5: 0 where a level is 0, else 1, in the order of the transform inputs; channels come first."""
    inputs = levels[list(spec.permutation)] if spec.permutation else levels
    flags: IntArray = (inputs != 0).astype(np.int64)
    return flags


def with_exact_zeros(levels: IntArray, flags: IntArray, spec: CodecSpec) -> IntArray:
    """Section 4.5, decoder: levels with 0 where the flags are."""
    is_kept = np.empty_like(flags)
    is_kept[list(spec.permutation) if spec.permutation else slice(None)] = flags
    return np.where(is_kept != 0, levels, 0)


def dct_matrix(size: int) -> IntArray:
    """Section 4.1: the matrix M of the DCT, rows by ``k`` and columns by ``n``."""
    k = np.arange(size).reshape(-1, 1)
    n = np.arange(size)
    scale = np.sqrt(np.where(k == 0, 1, 2) / size)
    exact = 4096 * scale * np.cos(math.pi * (2 * n + 1) * k / (2 * size))
    rounded: IntArray = (np.sign(exact) * np.floor(np.abs(exact) + 0.5)).astype(np.int64)
    return rounded


def hadamard_matrix(size: int) -> IntArray:
    """Section 4.1: the matrix M of the Walsh-Hadamard transform; row ``k`` changes its sign ``k`` times."""
    digits = size.bit_length() - 1
    gray = [int(f"{k ^ k >> 1:0{digits}b}"[::-1], 2) for k in range(size)]
    signs = [[(-1) ** (g & n).bit_count() for n in range(size)] for g in gray]
    return math.floor(4096 / math.sqrt(size) + 0.5) * np.array(signs, dtype=np.int64)


def group_matrix(spec: CodecSpec, size: int) -> IntArray:
    """Section 4.1: the matrix M of a group."""
    return dct_matrix(size) if spec.transform == "dct" else hadamard_matrix(size)


def wrap32(x: IntArray) -> IntArray:
    """The signed 32-bit integer congruent to each number."""
    return (x + 2**31) % 2**32 - 2**31


def matrix_product(matrix: IntArray, x: IntArray, fraction_bits: int = 12) -> IntArray:
    """Section 4: ``(sum + half) >> fraction_bits`` where the sum, with its half, is taken modulo 2^32."""
    return wrap32(matrix @ x + 2 ** (fraction_bits - 1)) >> fraction_bits


def clamp16(x: IntArray) -> IntArray:
    """Section 4.2: ``x16``."""
    return x.clip(-(2**15), 2**15 - 1)


class CellAxis:
    """Section 2.2: the values along an axis, shared among cells of at most ``size`` values.

    Attributes
    ----------
    extents
        Number of values of each cell.
    places
        Number of the value at each place of each cell, or of none: `values`.
    cells, offsets
        The cell of each value, and its place there.
    """

    def __init__(self, values: int, size: int) -> None:
        count = -(-values // size)
        self.values, self.size = values, size
        self.extents = np.array([values // count + (cell < values % count) for cell in range(count)], dtype=np.int64)
        begins = np.cumsum(self.extents) - self.extents
        offsets = np.arange(size)
        self.places = np.where(offsets < self.extents[:, None], begins[:, None] + offsets, values)
        self.cells = np.repeat(np.arange(count), self.extents)
        self.offsets = np.arange(values) - begins[self.cells]

    def matrices(self) -> IntArray:
        """Section 4.4: the matrix M of each cell, 0 where the cell has no value or coefficient."""
        matrices = np.zeros((len(self.extents), self.size, self.size), dtype=np.int64)
        for extent in np.unique(self.extents):
            matrices[self.extents == extent, :extent, :extent] = dct_matrix(int(extent))
        return matrices


def cells_from_images(levels: IntArray, size: int) -> IntArray:
    """Section 2.2: (channels, images, rows, columns) to (channels, places, images, cell rows, cell columns)."""
    rows, columns = (CellAxis(values, size) for values in levels.shape[2:])
    padded = np.pad(levels, ((0, 0), (0, 0), (0, 1), (0, 1)))
    split = padded[:, :, rows.places[:, :, None, None], columns.places]
    cells = split.transpose(0, 3, 5, 1, 2, 4)
    return cells.reshape(len(levels), size * size, *cells.shape[3:])


def images_from_cells(cells: IntArray, size: int, rows: int, columns: int) -> IntArray:
    """The inverse of `cells_from_images`."""
    split = cells.reshape(len(cells), size, size, *cells.shape[2:])
    down, across = CellAxis(rows, size), CellAxis(columns, size)
    images = split[:, down.offsets[:, None], across.offsets, :, down.cells[:, None], across.cells]
    return images.transpose(2, 3, 0, 1)


def spatial_from_coefficients(coefficients: IntArray, size: int, rows: int, columns: int) -> IntArray:
    """Section 4.4, encoder: (coefficients, places, images, cell rows, cell columns), transformed over the places."""
    if size == 1:
        return coefficients
    down, across = CellAxis(rows, size).matrices(), CellAxis(columns, size).matrices()
    cells = coefficients.reshape(len(coefficients), size, size, *coefficients.shape[2:])
    along_rows = _rounded("clj,tijnrc->tilnrc", across, cells)
    return _rounded("rki,tilnrc->tklnrc", down, along_rows).reshape(coefficients.shape)


def coefficients_from_spatial(spatial: IntArray, size: int, rows: int, columns: int) -> IntArray:
    """Section 4.4, decoder."""
    if size == 1:
        return spatial
    down, across = CellAxis(rows, size).matrices(), CellAxis(columns, size).matrices()
    cells = spatial.reshape(len(spatial), size, size, *spatial.shape[2:])
    along_columns = _rounded("rki,tklnrc->tilnrc", down, cells)
    return _rounded("clj,tilnrc->tijnrc", across, along_columns).reshape(spatial.shape)


def _rounded(sums: str, matrices: IntArray, x: IntArray) -> IntArray:
    """Section 4: ``(sum + 2048) >> 12`` with the sums that a term of `numpy.einsum` names."""
    return wrap32(np.einsum(sums, matrices, x) + 2048) >> 12


def coefficients_from_levels(levels: IntArray, spec: CodecSpec) -> IntArray:
    """Section 4, encoder: channels by positions to kept bands by positions."""
    if spec.permutation:
        levels = levels[list(spec.permutation)]
    if spec.transform == "identity":
        return levels
    groups = transform_groups(spec, len(levels))
    inputs = [levels[group.first_input : group.first_input + group.size] for group in groups]
    if spec.basis is not None:
        means = np.array(spec.basis.means, dtype=np.int64).reshape(len(groups), spec.transform_size, 1)
        bases = spec.basis.entries(spec.kept_band_count, spec.transform_size)
        bands = [
            clamp16(matrix_product(rows, clamp16(x - mean), spec.basis.fraction_bits))
            for rows, x, mean in zip(bases, inputs, means, strict=True)
        ]
    else:
        # A group of one channel is not computed: 4096 * c would leave 32 bits.
        bands = [
            x if group.size == 1 else matrix_product(group_matrix(spec, group.size)[: group.kept], x)
            for group, x in zip(groups, inputs, strict=True)
        ]
    return np.concatenate(bands)


def levels_from_coefficients(coefficients: IntArray, spec: CodecSpec, channel_count: int) -> IntArray:
    """Section 4, decoder: kept bands by positions to channels by positions."""
    inputs = np.zeros((channel_count, coefficients.shape[1]), dtype=np.int64)
    if spec.transform == "identity":
        inputs[:] = coefficients
    else:
        first_band = 0
        for number, (first, size, kept) in enumerate(transform_groups(spec, channel_count)):
            bands = coefficients[first_band : first_band + kept]
            inputs[first : first + size] = _group_levels(bands, spec, number, first, size)
            first_band += kept

    levels = np.empty_like(inputs)
    levels[list(spec.permutation) if spec.permutation else slice(None)] = inputs
    return levels.clip(*spec.level_range)


def _group_levels(bands: IntArray, spec: CodecSpec, number: int, first: int, size: int) -> IntArray:
    """The levels of a group before they are clamped."""
    if spec.basis is not None:
        rows = spec.basis.entries(spec.kept_band_count, spec.transform_size)[number]
        means = np.array(spec.basis.means[first : first + size], dtype=np.int64).reshape(-1, 1)
        return means + clamp16(matrix_product(rows.T, clamp16(bands), spec.basis.fraction_bits))
    return bands if size == 1 else matrix_product(group_matrix(spec, size)[: len(bands)].T, bands)


def band_step(spec: CodecSpec, group: TransformGroup, k: int) -> int:
    """Section 5: ``step_of_band`` of coefficient ``k`` of a group, kept or not."""
    return spec.band_steps[_entry(spec, group, k, len(spec.band_steps))]


def band_dead_zone(spec: CodecSpec, group: TransformGroup, k: int) -> float:
    """Section 5, encoder: ``dead_zone`` of coefficient ``k`` of a group, kept or not."""
    return spec.dead_zones[_entry(spec, group, k, len(spec.dead_zones))]


def _entry(spec: CodecSpec, group: TransformGroup, k: int, count: int) -> int:
    """Section 5: where the number of coefficient ``k`` of a group stands among ``count``."""
    entry = k * spec.transform_size // group.size if count == spec.transform_size else group.first_input + k
    return entry % count


def band_rounding(spec: CodecSpec, group: TransformGroup, k: int) -> int:
    """Section 5, encoder: ``r`` of coefficient ``k`` of a group, kept or not."""
    return math.floor(band_step(spec, group, k) * (1.0 - band_dead_zone(spec, group, k)))


def _of_kept(number_of: Callable[[CodecSpec, TransformGroup, int], int], spec: CodecSpec, channels: int) -> IntArray:
    """A number for every kept coefficient of the channel transform, as a column."""
    numbers = [number_of(spec, *coefficient) for coefficient in kept_coefficients(spec, channels)]
    return np.array(numbers, dtype=np.int64).reshape(-1, 1)


def symbols_from_coefficients(coefficients: IntArray, spec: CodecSpec, channel_count: int) -> IntArray:
    """Section 5, encoder: ``s = sign(c) * floor((|c| + r) / step_of_band)``."""
    steps, rounding = (_of_kept(number_of, spec, channel_count) for number_of in (band_step, band_rounding))
    symbols: IntArray = np.sign(coefficients) * ((np.abs(coefficients) + rounding) // steps)
    return symbols


def coefficients_from_symbols(symbols: IntArray, spec: CodecSpec, channel_count: int) -> IntArray:
    """Section 5, decoder: ``c = clamp(s * step_of_band, -2^20, 2^20)``."""
    coefficients = symbols * _of_kept(band_step, spec, channel_count)
    return coefficients.clip(-COEFFICIENT_LIMIT, COEFFICIENT_LIMIT)
