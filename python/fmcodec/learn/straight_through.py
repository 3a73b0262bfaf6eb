"""The codec's effect on a map with gradients: values of the exact simulation, slopes as if nothing were rounded."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import torch

from fmcodec.reference.transform import band_dead_zone, group_matrix, kept_coefficients, transform_groups
from fmcodec.spec import CodecSpec
from fmcodec.torch.simulate import MATRIX_BITS, CellGrid, simulate


class CodecParameters(NamedTuple):
    """What is learned of a spec, as tensors of float32 that may need gradients.

    Parameters
    ----------
    steps
        Step of each kept band in levels (bands,).
    matrix
        Transform of the channels (bands, C), in the order in which they enter it; None for the identity.
    means
        What is subtracted from the levels of each channel before the transform and added after it (C,).
    """

    steps: torch.Tensor
    matrix: torch.Tensor | None
    means: torch.Tensor


class StraightThrough(NamedTuple):
    """What `straight_through` gives.

    Parameters
    ----------
    decoded
        `simulate` of the map (N, C, H, W), bit for bit.
    quotients
        Coefficients over the steps of their bands, before they are rounded: (N, bands, places of a cell, cells).
    coefficients
        The same after rounding, times the steps: what the inverse transform gets, in levels.
    zeros
        The quotients of values that are 0 (bands,).
    dead_zones
        Those of the spec (bands,).
    """

    decoded: torch.Tensor
    quotients: torch.Tensor
    coefficients: torch.Tensor
    zeros: torch.Tensor
    dead_zones: torch.Tensor


def straight_through(x: torch.Tensor, spec: CodecSpec, parameters: CodecParameters) -> StraightThrough:
    """The map after the codec, with straight-through gradients.

    Rounding has the derivative 1 (Y. Bengio et al., arXiv 1308.3432), clamping 1 inside its range and 0 outside. So
    with c = M (x - m) and r the rounded c / s, the gradient g of the decoded map m + M' (s r) goes to x as M' M g, to M
    along both products, and to a step s as the sum of (M g) (r - c / s) (the last as in S. Esser et al., arXiv
    1902.08153).

    Parameters
    ----------
    x
        Map (N, C, H, W) of float32.
    spec
        Integers that the codec would have: `simulate` takes them.
    parameters
        The same in floating point: gradients go to these.

    Raises
    ------
    ValueError, TypeError
        As `simulate`.
    """
    exact = simulate(x, spec)
    low, high = spec.level_range
    size = spec.spatial_size
    rows, columns = x.shape[-2:]
    grid = CellGrid(rows, columns, size)
    levels = grid.split(_rounded((x / spec.step).clamp(low, high)).flatten(2))
    order = torch.tensor(spec.permutation or range(x.shape[1]), device=x.device)
    coefficients = levels[:, order] - parameters.means[:, None]
    zeros = -parameters.means
    if parameters.matrix is not None:
        coefficients = _rounded(parameters.matrix @ coefficients)
        zeros = _rounded(parameters.matrix @ zeros)
    spatial = _rounded(grid.along_columns(grid.along_rows(coefficients))) if size > 1 else coefficients
    spatial = spatial.reshape(*spatial.shape[:2], size**2, -1)
    steps = parameters.steps[:, None, None]
    quotients = spatial / steps
    dead_zones = _kept_dead_zones(spec, x.shape[1]).to(x.device)
    kept = (quotients + (_symbols(spatial, steps, dead_zones[:, None, None]) - quotients).detach()) * steps
    decoded = kept.flatten(2)
    if size > 1:
        decoded = grid.along_rows(grid.along_columns(decoded, inverse=True), inverse=True)
    if parameters.matrix is not None:
        decoded = parameters.matrix.T @ decoded
    decoded = (decoded + parameters.means[:, None]).clamp(low, high)[:, torch.argsort(order)]
    if spec.exact_zeros:
        decoded = decoded * (levels != 0)
    planes = grid.join(decoded) * spec.step
    value_of: Any = _ValueOf.apply
    value = value_of(planes.reshape(x.shape), exact)
    return StraightThrough(value, quotients, kept, zeros / parameters.steps, dead_zones)


def _kept_dead_zones(spec: CodecSpec, channels: int) -> torch.Tensor:
    dead_zones = [band_dead_zone(spec, group, k) for group, k in kept_coefficients(spec, channels)]
    return torch.tensor(dead_zones, dtype=torch.float64)


def channel_matrix(spec: CodecSpec, channels: int) -> torch.Tensor | None:
    """The kept rows of the channel transform of DCT or Hadamard (bands, C); None for the identity.

    The matrix of a KLT is not made here, it is learned.
    """
    if spec.transform == "identity":
        return None
    blocks = []
    for group in transform_groups(spec, channels):
        matrix = group_matrix(spec, group.size) / 2.0**MATRIX_BITS if group.size > 1 else [[1.0]]
        blocks.append(torch.tensor(matrix, dtype=torch.float32)[: group.kept])
    return block_diagonal(blocks)


def block_diagonal(blocks: Iterable[torch.Tensor]) -> torch.Tensor:
    """The matrices along the diagonal of one, zeros elsewhere."""
    block_diag: Any = torch.block_diag
    whole: torch.Tensor = block_diag(*blocks)
    return whole


def _rounded(x: torch.Tensor) -> torch.Tensor:
    """The nearest integers, with the derivative 1."""
    return x + (x.round() - x).detach()


@torch.no_grad()
def _symbols(coefficients: torch.Tensor, steps: torch.Tensor, dead_zones: torch.Tensor) -> torch.Tensor:
    """Section 5 of docs/format.md: steps are whole, and values half way between two go up.

    Seen apart from this, values near half a step would have errors of the wrong sign, and those are the largest ones.
    """
    whole = steps.round().clamp(min=1)
    rounding = torch.floor(whole * (1 - dead_zones)).to(whole.dtype)
    return coefficients.sign() * torch.floor((coefficients.abs() + rounding) / whole)


class _ValueOf(torch.autograd.Function):
    """The second argument, with the gradient of the first."""

    @staticmethod
    def forward(ctx: Any, approximate: torch.Tensor, exact: torch.Tensor) -> torch.Tensor:
        return exact.view_as(exact)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Any, None]:
        return gradients[0], None
