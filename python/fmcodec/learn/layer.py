"""One layer that learns: parameters in floating point, and the spec of integers they stand for."""

from __future__ import annotations

from typing import Literal

import msgspec
import numpy as np
import torch
from torch import nn

from fmcodec import cost
from fmcodec.basis import Basis
from fmcodec.klt import MOST_BAND_STEP
from fmcodec.learn.rate import model_bits
from fmcodec.learn.straight_through import CodecParameters, block_diagonal, channel_matrix, straight_through
from fmcodec.policy import LayerPolicy
from fmcodec.reference.transform import band_step, transform_groups
from fmcodec.spec import MOST_KLT_BITS, MOST_SPATIAL_BITS, CodecSpec

Method = Literal["projection", "precision", "both"]

# Band steps are whole numbers of levels, and the larger they are, the less the rounding of both matters. With a
# transform, coefficients must fit their words as well.
LEAST_BAND_STEP = 16
LEAST_PLAIN_STEP = 64


def refined(spec: CodecSpec) -> CodecSpec:
    """The spec with levels so fine that band steps can be learned, as far as the width of levels allows.

    Values are the same multiples of the same steps. Where levels were as coarse as the step, they were rounded before
    the transform and now are in it.
    """
    limit = 16
    if spec.transform == "klt":
        limit = MOST_KLT_BITS
    if spec.spatial_size > 1:
        limit = MOST_SPATIAL_BITS
    is_plain = spec.transform == "identity" and spec.spatial_size == 1
    least = LEAST_PLAIN_STEP if is_plain else LEAST_BAND_STEP
    while min(spec.band_steps) < least and spec.bits < limit and 2 * max(spec.band_steps) <= MOST_BAND_STEP:
        basis = spec.basis
        if basis is not None:
            basis = msgspec.structs.replace(basis, means=tuple(2 * mean for mean in basis.means))
        spec = spec.replace(
            step=spec.step / 2,
            zero_point=2 * spec.zero_point,
            bits=spec.bits + 1,
            band_steps=tuple(2 * step for step in spec.band_steps),
            basis=basis,
        )
    return spec


def with_basis(spec: CodecSpec, channels: int) -> CodecSpec:
    """The identity as a KLT of single channels, so that there are means and lengths to learn; others as they are."""
    most_bits = MOST_KLT_BITS if spec.spatial_size == 1 else MOST_SPATIAL_BITS
    if spec.transform != "identity" or spec.bits > most_bits:
        return spec
    basis = Basis.from_array(np.ones((channels, 1, 1)), [0] * channels)
    return spec.replace(transform="klt", basis=basis)


class LearnedLayer(nn.Module):
    """The codec of one layer with parameters to learn: called with a map, it gives the decoded one.

    Parameters
    ----------
    layer
        Where learning starts. Its spec is `refined`.
    channels
        Of the map.
    method
        ``"projection"`` learns the rows and means of a KLT or of the identity (`with_basis`), ``"precision"`` steps,
        ``"both"`` all of them.

    Attributes
    ----------
    angles
        Of a KLT: lower triangles (groups, size, size) of the skew-symmetric matrices whose Cayley transform turns the
        components. The rows are orthogonal whatever they are.
    shifts
        Of a KLT: what is added to the means, in median steps (C,).
    log_lengths
        Of a KLT: logarithm of the length of each kept row, 0 at the start. The decoder multiplies with the transpose,
        so values that are decoded are longer or shorter by its square: that makes up for what rounding takes.
    log_factors
        Logarithm of what the steps of each group of bands are multiplied with.
    groups
        The group of each kept band: one for all until `set_groups`.
    model_bits
        Of the last map, by `fmcodec.learn.model_bits`: a scalar with gradients.
    values
        Of the last map.
    scale
        What all steps are multiplied with besides.
    coefficients, real_bits
        Of the last map, where ``is_measuring``: `StraightThrough.coefficients`, and the exact size of its stream.

    Raises
    ------
    ValueError
        The spec does not fit the channels, or it has static tables, which fit its own steps only.
    """

    def __init__(self, layer: LayerPolicy, channels: int, method: Method) -> None:
        super().__init__()
        spec = refined(layer.spec if method == "precision" else with_basis(layer.spec, channels))
        if spec.tables is not None:
            raise ValueError("the start has static tables, which fit its own steps only; learn without them")
        if spec.basis is not None and len(spec.basis.means) != channels:
            raise ValueError(f"the basis is for {len(spec.basis.means)} channels, the map has {channels}")
        self.start = msgspec.structs.replace(layer, spec=spec)
        self.method: Method = method
        self.channels = channels
        self.is_measuring = False
        self.model_bits = self.coefficients = torch.zeros(())
        self.real_bits = self.values = 0
        self.scale = 1.0
        groups = transform_groups(spec, channels)
        bands = [group.first_input + band for group in groups for band in range(group.kept)]
        self.bands: torch.Tensor
        self.all_steps: torch.Tensor
        self.groups: torch.Tensor
        self.register_buffer("bands", torch.tensor(bands))
        self.register_buffer("all_steps", torch.tensor(_steps(spec, channels), dtype=torch.float32))
        self.register_buffer("groups", torch.zeros(len(bands), dtype=torch.int64))
        self.log_factors = nn.Parameter(torch.zeros(1), requires_grad=method != "projection")
        self.has_projection = spec.basis is not None and method != "precision"
        size = spec.transform_size if spec.basis is not None else 0
        self.angles = nn.Parameter(torch.zeros(size and channels // size, size, size), self.has_projection)
        self.shifts = nn.Parameter(torch.zeros(channels if size else 0), self.has_projection)
        self.log_lengths = nn.Parameter(torch.zeros(len(bands) if size else 0), self.has_projection)
        self._complete: torch.Tensor
        self._matrix: torch.Tensor | None
        self.register_buffer("_complete", _completed(spec) if spec.basis is not None else torch.zeros(0))
        self.register_buffer("_matrix", channel_matrix(spec, channels) if spec.basis is None else None)

    def set_groups(self, groups: torch.Tensor) -> None:
        """The group of each kept band (bands,), numbered from 0; each has a factor of its own from now on."""
        factors = torch.zeros(int(groups.max()) + 1, device=self.groups.device)
        self.groups = groups.to(self.groups.device)
        self.log_factors = nn.Parameter(factors, requires_grad=self.log_factors.requires_grad)

    def rows(self) -> torch.Tensor:
        """Of a KLT: orthogonal rows (groups, bands, size).

        They are the first rows of (I + A)^-1 (I - A) V, with V the basis of the start, completed, and A skew-symmetric,
        times their lengths.
        """
        lower = self.angles.tril(-1)
        skew = lower - lower.mT
        one = torch.eye(skew.shape[-1], device=skew.device)
        turned: torch.Tensor = torch.linalg.solve(one + skew, (one - skew) @ self._complete)
        kept = turned[:, : self.start.spec.kept_band_count]
        return kept * self.log_lengths.exp().reshape(kept.shape[:2])[:, :, None]

    def means(self) -> torch.Tensor:
        """What is subtracted from the levels of each channel (C,)."""
        basis = self.start.spec.basis
        if basis is None:
            return torch.zeros(self.channels, device=self.all_steps.device)
        start = torch.tensor(basis.means, dtype=torch.float32, device=self.shifts.device)
        unit = self.all_steps if self.start.spec.transform_size == 1 else self.all_steps.median()
        return start + self.shifts * unit

    def spec(self) -> CodecSpec:
        """The spec of integers that the parameters stand for."""
        with torch.no_grad():
            return self._spec(self.rows() if self.has_projection else None, self.means())

    def _spec(self, rows: torch.Tensor | None, means: torch.Tensor) -> CodecSpec:
        """The spec of these rows and means, of which there is use if the layer learns a projection."""
        with torch.no_grad():
            spec = self.start.spec
            if self.log_factors.requires_grad or self.scale != 1:
                steps = self.all_steps * self.scale
                steps[self.bands] *= self.log_factors.exp()[self.groups]
                rounded = steps.round().clamp(1, MOST_BAND_STEP).int().tolist()
                spec = spec.replace(band_steps=tuple(rounded))
            if spec.basis is None or rows is None or not self.has_projection:
                return spec
            low, high = spec.level_range
            levels = means.round().clamp(max(low, -(2**15)), min(high, 2**15 - 1)).int().cpu().numpy()
            basis = Basis.from_array(rows.double().cpu().numpy(), levels, entry_bits=spec.basis.entry_bits)
            return spec.replace(basis=basis)

    def policy(self) -> LayerPolicy:
        """The layer of a policy: `wrap` codes with it exactly as `forward` does."""
        return msgspec.structs.replace(self.start, spec=self.spec())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The decoded map (N, C, H, W), with straight-through gradients; x is after the activation of the policy.

        While gradients are recorded, positive values that are decoded as 0 are the least positive number instead: the
        ReLU of the network has no slope at 0, and the harm of small values that are lost would not be seen.
        """
        rows = None if self.start.spec.basis is None else self.rows()
        means = self.means()
        spec = self._spec(rows, means)
        steps = self.scale * self.all_steps[self.bands] * self.log_factors.exp()[self.groups]
        matrix = self._matrix
        if rows is not None:
            matrix = torch.diag(rows.flatten()) if spec.transform_size == 1 else block_diagonal(rows)
        coded = straight_through(x, spec, CodecParameters(steps, matrix, means))
        self.model_bits = model_bits(coded.quotients, coded.dead_zones, coded.zeros).sum()
        self.values = x.numel()
        if self.is_measuring:
            self.coefficients = coded.coefficients
            self.real_bits = 8 * cost(x.detach().cpu().contiguous(), spec, embed_spec=False)
        if not torch.is_grad_enabled():
            return coded.decoded
        lost = (coded.decoded == 0) & (x > 0)
        return coded.decoded + lost * torch.finfo(x.dtype).tiny


def _steps(spec: CodecSpec, channels: int) -> list[int]:
    """Step of every band, those that are not kept included (docs/format.md, section 5)."""
    return [band_step(spec, group, k) for group in transform_groups(spec, channels) for k in range(group.size)]


def _completed(spec: CodecSpec) -> torch.Tensor:
    """The rows of a KLT made orthonormal, and others so that there is one for each channel (groups, size, size)."""
    assert spec.basis is not None
    entries = spec.basis.entries(spec.kept_band_count, spec.transform_size) / 2.0**spec.basis.fraction_bits
    complete = []
    for rows in entries:
        columns, triangle = np.linalg.qr(rows.T, mode="complete")
        signs = np.ones(len(columns))
        signs[: len(rows)] = np.where(np.diag(triangle) < 0, -1.0, 1.0)
        complete.append((columns * signs).T)
    return torch.tensor(np.stack(complete), dtype=torch.float32)
