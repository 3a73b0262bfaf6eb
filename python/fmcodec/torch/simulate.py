"""The codec's effect on a tensor in torch operations alone: docs/format.md, sections 3 to 5, without the streams."""

from __future__ import annotations

import math
from functools import partial
from typing import NamedTuple

import torch

from fmcodec.arrays import check_dtype, check_layout
from fmcodec.basis import Basis
from fmcodec.errors import NonFiniteError
from fmcodec.reference.transform import CellAxis, TransformGroup, band_rounding, band_step, group_matrix
from fmcodec.spec import CodecSpec, binary32

# Section 5: the decoder keeps coefficients within this magnitude.
COEFFICIENT_LIMIT = 2**20

# Section 4: fractional bits of the matrix.
MATRIX_BITS = 12


def simulate(x: torch.Tensor, spec: CodecSpec, *, layout: str = "nchw") -> torch.Tensor:
    """What ``decode(encode(x, spec))`` returns, bit for bit, on the device of ``x`` and without gradient.

    Parameters
    ----------
    x
        Tensor (N, C, H, W) or (C, H, W), or with the channels last, of dtype float32, float16, bfloat16, int8 or uint8.
        The device must have float64: all integers of the transform are below 2**53 and exact there.
    spec
        Parameters of the codec. Tables and block shape have no influence, the entropy coder is lossless.
    layout
        ``"nchw"`` or ``"nhwc"``: order of the axes of ``x``, with or without N.

    Returns
    -------
    torch.Tensor
        New contiguous tensor of the shape and dtype of ``x``.

    Raises
    ------
    TypeError
        The dtype is none of the five.
    NonFiniteError
        ``x`` holds NaN or infinity and ``spec.nonfinite`` is ``"raise"``.
    ValueError
        The rank, the layout, or the number of channels does not fit.
    """
    with torch.no_grad():
        planes = _to_planes(x, layout)
        _check(planes, spec)
        rows, columns = x.shape[-2:] if layout == "nchw" else x.shape[-3:-1]
        grid = CellGrid(rows, columns, spec.spatial_size)
        levels = grid.split(_quantize(planes, spec))
        channels = torch.tensor(spec.permutation or range(levels.shape[1]), dtype=torch.int64, device=x.device)
        decoded = torch.empty_like(levels)
        for group in _groups(levels.shape[1], spec):
            inputs = channels[group.start : group.stop]
            decoded[:, inputs] = _round_trip(levels[:, inputs], group, spec, grid)
        if spec.exact_zeros:
            decoded[levels == 0] = 0
        return _from_planes(_dequantize(grid.join(decoded), spec, x.dtype), x, layout)


class _Group(NamedTuple):
    """Neighbouring transform groups of one size: channels ``start`` to ``stop`` in groups of ``size``."""

    start: int
    stop: int
    size: int


def _to_planes(x: torch.Tensor, layout: str) -> torch.Tensor:
    """View of ``x`` as (N, C, H * W)."""
    check_layout(layout)
    check_dtype(str(x.dtype).removeprefix("torch."))
    if x.dim() not in (3, 4):
        axes = "(N, C, H, W)" if layout == "nchw" else "(N, H, W, C)"
        raise ValueError(f"the tensor must have 3 or 4 axes, {axes} with or without N, not {x.dim()}: reshape it")
    channels = -3 if layout == "nchw" else -1
    images = x.unsqueeze(0) if x.dim() == 3 else x
    moved = images.movedim(channels, 1)
    return moved.reshape(moved.shape[0], moved.shape[1], moved.shape[2] * moved.shape[3])


def _from_planes(planes: torch.Tensor, x: torch.Tensor, layout: str) -> torch.Tensor:
    """Contiguous tensor of the shape of ``x`` with the values of ``planes`` (N, C, H * W)."""
    images = x.unsqueeze(0) if x.dim() == 3 else x
    channels = -3 if layout == "nchw" else -1
    return planes.reshape(images.movedim(channels, 1).shape).movedim(1, channels).reshape(x.shape).contiguous()


class CellGrid:
    """Cells of images with so many rows and columns (sections 2.2 and 4.4), for tensors (N, channels or bands, ...)."""

    def __init__(self, rows: int, columns: int, size: int) -> None:
        self.size = size
        self._rows, self._columns = CellAxis(rows, size), CellAxis(columns, size)

    def split(self, planes: torch.Tensor) -> torch.Tensor:
        """From (..., rows * columns) to (..., places of a cell * cells): place by place, 0 where a cell has none."""
        if self.size == 1:
            return planes
        images = planes.reshape(*planes.shape[:2], self._rows.values, self._columns.values)
        padded = torch.nn.functional.pad(images, (0, 1, 0, 1))
        split = padded[:, :, self._rows.places[:, :, None, None], self._columns.places]
        return split.permute(0, 1, 3, 5, 2, 4).reshape(*planes.shape[:2], math.prod(split.shape[2:]))

    def join(self, cells: torch.Tensor) -> torch.Tensor:
        """The inverse of `split`."""
        if self.size == 1:
            return cells
        split = self._by_cell(cells)
        rows, columns = self._rows, self._columns
        images = split[:, :, rows.offsets[:, None], columns.offsets, rows.cells[:, None], columns.cells]
        return images.reshape(*cells.shape[:2], rows.values * columns.values)

    def along_rows(self, cells: torch.Tensor, inverse: bool = False) -> torch.Tensor:
        """The DCT over each row of each cell, or its transpose; without rounding."""
        term = "clj,nbilrc->nbijrc" if inverse else "clj,nbijrc->nbilrc"
        return self._product(term, self._columns, cells)

    def along_columns(self, cells: torch.Tensor, inverse: bool = False) -> torch.Tensor:
        """The DCT over each column of each cell, or its transpose; without rounding."""
        term = "rki,nbklrc->nbilrc" if inverse else "rki,nbilrc->nbklrc"
        return self._product(term, self._rows, cells)

    def _product(self, term: str, axis: CellAxis, cells: torch.Tensor) -> torch.Tensor:
        matrices = torch.tensor(axis.matrices() * 2.0**-MATRIX_BITS, dtype=cells.dtype, device=cells.device)
        return torch.einsum(term, matrices, self._by_cell(cells)).reshape(cells.shape)

    def _by_cell(self, cells: torch.Tensor) -> torch.Tensor:
        counts = len(self._rows.extents), len(self._columns.extents)
        return cells.reshape(*cells.shape[:2], self.size, self.size, *counts)


def check_channels(spec: CodecSpec, channels: int) -> None:
    """ValueError for a spec that was made for another number of channels."""
    for part, count in (
        ("permutation", channels if spec.permutation is None else len(spec.permutation)),
        ("basis", channels if spec.basis is None else len(spec.basis.means)),
    ):
        if count != channels:
            raise ValueError(
                f"the {part} is for {count} channels, the tensor has {channels}: take a spec that was made for this map"
            )


def _check(planes: torch.Tensor, spec: CodecSpec) -> None:
    check_channels(spec, planes.shape[1])
    if not planes.dtype.is_floating_point:
        if spec.bits > 8:
            raise ValueError(f"bits must be at most 8 for {planes.dtype}, not {spec.bits}")
    elif spec.nonfinite == "raise" and not bool(torch.isfinite(planes).all()):
        raise NonFiniteError("the tensor holds NaN or infinity; nonfinite='clamp' codes NaN as 0 and clamps infinities")


def _quantize(planes: torch.Tensor, spec: CodecSpec) -> torch.Tensor:
    """Levels (section 3) as int32."""
    low, high = spec.level_range
    # A tensor, not a Python number: the product must be rounded to binary32 once, whatever the device computes with.
    inverse_step = torch.tensor(binary32(1.0 / spec.step), dtype=torch.float32, device=planes.device)
    scaled = planes.to(torch.float32) * inverse_step
    if planes.dtype.is_floating_point and spec.nonfinite == "clamp":
        scaled = torch.nan_to_num(scaled, nan=0.0, posinf=math.inf, neginf=-math.inf)
    return scaled.clamp(low, high).round().to(torch.int32)


def _dequantize(levels: torch.Tensor, spec: CodecSpec, dtype: torch.dtype) -> torch.Tensor:
    """Values (section 3) in ``dtype``."""
    values = levels.to(torch.float32) * torch.tensor(spec.step, dtype=torch.float32, device=levels.device)
    if dtype == torch.float32:
        return values
    if dtype.is_floating_point:
        largest = torch.finfo(dtype).max
        return values.clamp(-largest, largest).to(dtype)
    limits = torch.iinfo(dtype)
    return values.round().clamp(limits.min, limits.max).to(dtype)


def _groups(channels: int, spec: CodecSpec) -> list[_Group]:
    """All groups of full size as one entry, then each group of left over channels (section 4)."""
    size = spec.transform_size
    start = channels - channels % size
    groups = [_Group(0, start, size)] if start else []
    while start < channels:
        size = 1 << ((channels - start).bit_length() - 1)
        groups.append(_Group(start, start + size, size))
        start += size
    return groups


def _round_trip(levels: torch.Tensor, group: _Group, spec: CodecSpec, grid: CellGrid) -> torch.Tensor:
    """Levels (N, channels of ``group``, positions) after the transform, the band steps and back (sections 4 and 5)."""
    low, high = spec.level_range
    if spec.transform == "identity" or (group.size == 1 and spec.transform != "klt"):
        if max(spec.band_steps) == 1 and spec.spatial_size == 1:
            return levels
        return _round_in_cells(levels.to(torch.float64), group, spec, grid).clamp(low, high).to(torch.int32)
    count, channels, positions = levels.shape
    grouped = levels.to(torch.float64).reshape(count, channels // group.size, group.size, positions)
    if spec.basis is not None:
        decoded = _klt_round_trip(grouped, group, spec, grid, spec.basis)
    else:
        matrix = torch.tensor(group_matrix(spec, group.size), dtype=torch.float64, device=levels.device)
        coefficients = _rounded_product(matrix, grouped).reshape(levels.shape)
        decoded = _rounded_product(matrix.T, _round_in_cells(coefficients, group, spec, grid).reshape(grouped.shape))
    return decoded.clamp(low, high).reshape(levels.shape).to(torch.int32)


def _klt_round_trip(levels: torch.Tensor, group: _Group, spec: CodecSpec, grid: CellGrid, basis: Basis) -> torch.Tensor:
    """Levels (N, groups, channels, positions) before they are clamped (section 4.2)."""
    as_tensor = partial(torch.tensor, dtype=torch.float64, device=levels.device)
    # What is not kept is 0 after the steps.
    rows = as_tensor(basis.entries(spec.kept_band_count, spec.transform_size))
    matrix = levels.new_zeros(rows.shape[0], group.size, group.size)
    matrix[:, : rows.shape[1]] = rows
    means = as_tensor(basis.means).reshape(rows.shape[0], group.size, 1)
    bits = basis.fraction_bits
    coefficients = _clamp16(_rounded_product(matrix, _clamp16(levels - means), bits))
    flat = coefficients.reshape(levels.shape[0], len(basis.means), levels.shape[3])
    kept = _clamp16(_round_in_cells(flat, group, spec, grid).reshape(levels.shape))
    return means + _clamp16(_rounded_product(matrix.transpose(1, 2), kept, bits))


def _clamp16(x: torch.Tensor) -> torch.Tensor:
    """``x16`` of section 4.2."""
    return x.clamp(-(2.0**15), 2.0**15 - 1)


def _rounded_product(matrix: torch.Tensor, columns: torch.Tensor, bits: int = MATRIX_BITS) -> torch.Tensor:
    """(matrix @ columns + half) >> bits with the sum wrapped to 32 bits; integers in float64, all below 2**53."""
    return _rounded((matrix @ columns) * 2.0**-bits, bits)


def _rounded(quotients: torch.Tensor, bits: int = MATRIX_BITS) -> torch.Tensor:
    """(sum + half) >> bits with the sum wrapped to 32 bits, from sum * 2**-bits, which is exact in float64."""
    shifted = quotients + 0.5
    range_size = 2.0 ** (32 - bits)
    return torch.floor(shifted - torch.floor(shifted / range_size + 0.5) * range_size)


def _round_in_cells(coefficients: torch.Tensor, group: _Group, spec: CodecSpec, grid: CellGrid) -> torch.Tensor:
    """Coefficients (N, bands, positions) after the spatial transform, the band steps and back (sections 4.4 and 5)."""
    if grid.size == 1:
        return _round_to_steps(coefficients, group, spec)
    spatial = _rounded(grid.along_columns(_rounded(grid.along_rows(coefficients))))
    rounded = _round_to_steps(spatial, group, spec)
    along_columns = _rounded(grid.along_columns(rounded, inverse=True))
    return _rounded(grid.along_rows(along_columns, inverse=True))


def _round_to_steps(coefficients: torch.Tensor, group: _Group, spec: CodecSpec) -> torch.Tensor:
    """Coefficients (N, bands, positions) as the decoder sees them: multiples of their band's step, masked bands 0."""
    bands = [_band(band, group, spec) for band in range(group.start, group.stop)]
    if all(is_kept and step == 1 for step, _, is_kept in bands):
        return coefficients
    columns = torch.tensor(bands, dtype=torch.float64, device=coefficients.device)[:, :, None]
    steps, rounding, kept = columns.unbind(1)
    # The floor of the rounded quotient is exact: quotients of integers below 2**32 are at least 2**-32 apart in
    # relation to their size, where float64 has 2**-53.
    magnitudes = torch.floor((coefficients.abs() + rounding) / steps) * steps
    return (magnitudes * coefficients.sign() * kept).clamp(-COEFFICIENT_LIMIT, COEFFICIENT_LIMIT)


def _band(band: int, group: _Group, spec: CodecSpec) -> tuple[int, int, bool]:
    """Step and rounding of a band (section 5), and whether the zonal mask keeps it (section 4)."""
    frequency = (band - group.start) % group.size
    kept = -(-group.size * spec.kept_band_count // spec.transform_size)
    place = TransformGroup(band - frequency, group.size, kept), frequency
    return band_step(spec, *place), band_rounding(spec, *place), frequency < kept
