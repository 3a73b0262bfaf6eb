"""The Karhunen-Loeve transform of channels: moments that stream and merge, and the spec that they make."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fmcodec.basis import Basis
from fmcodec.spec import MOST_KLT_BITS, MOST_SPATIAL_BITS, CodecSpec

# A coefficient this many standard deviations from 0 must fit 16 bits.
HEAD_ROOM = 16.0
LARGEST_COEFFICIENT = 2**15 - 1
MOST_BAND_STEP = 65535


class PrincipalComponents(NamedTuple):
    """Eigenvectors of the covariance of channels, the largest variance first; see `ChannelMoments`."""

    rows: npt.NDArray[np.float64]  # components by channels, orthonormal
    variances: npt.NDArray[np.float64]  # of each component, in units of the values squared
    means: npt.NDArray[np.float64]  # of each channel


class ChannelMoments:
    """Sums of channels and of products of all pairs of channels over positions, in float64: how alike channels are."""

    def __init__(self, channels: int) -> None:
        self.count = 0
        self.sums: npt.NDArray[np.float64] = np.zeros(channels)
        self.products: npt.NDArray[np.float64] = np.zeros((channels, channels))

    def update(self, x: npt.ArrayLike) -> None:
        """Adds all positions of a map (C, H, W), or (N, C, H, W)."""
        maps = np.asarray(x)
        for image in maps.reshape(-1, len(self.sums), math.prod(maps.shape[-2:])):
            values = image.astype(np.float64)
            self.sums += values.sum(axis=1)
            self.products += values @ values.T
            self.count += values.shape[1]

    def merge(self, other: ChannelMoments) -> None:
        """Adds the positions another object has seen."""
        self.count += other.count
        self.sums += other.sums
        self.products += other.products

    def principal_components(self) -> PrincipalComponents:
        """The Karhunen-Loeve transform of the channels (principal component analysis).

        The entry of largest magnitude of each row, the first of several, is positive. Without positions all variances
        are 0.
        """
        means = self.sums / max(self.count, 1)
        covariance = self.products / max(self.count, 1) - np.outer(means, means)
        variances, columns = np.linalg.eigh(covariance)
        rows = columns.T[::-1]
        largest = np.argmax(np.abs(rows), axis=1)
        rows = rows * np.where(rows[np.arange(len(rows)), largest] < 0, -1.0, 1.0)[:, None]
        return PrincipalComponents(rows, np.maximum(variances[::-1], 0.0), means)

    def greedy_order(self) -> tuple[int, ...]:
        """Channel order in which neighbours are alike: a permutation for `CodecSpec`.

        It starts with the strongest channel and goes on with the one nearest to the last by mean squared difference,
        E[a^2] + E[b^2] - 2 E[ab]: correlated and of similar size, mean included, which is what a DCT codes in few bits.
        Ties go to the smaller channel number.
        """
        powers = np.diag(self.products)
        distances = powers[:, None] + powers[None, :] - 2 * self.products
        order = [int(np.argmax(powers))] if len(powers) else []
        for _ in range(len(powers) - 1):
            distances[:, order[-1]] = np.inf
            order.append(int(np.argmin(distances[order[-1]])))
        return tuple(order)

    def mean_order(self) -> tuple[int, ...]:
        """Channel order by descending mean; equal means by channel number. For ReLU maps it brings active and quiet
        channels together, without the covariances that `greedy_order` compares.
        """
        return tuple(np.argsort(-self.sums, kind="stable").tolist())


def klt_spec(
    components: PrincipalComponents,
    step: float,
    low: float,
    high: float,
    *,
    refinement: int = 16,
    spatial_size: int = 1,
    step_factors: npt.ArrayLike | None = None,
) -> CodecSpec:
    """A spec with a KLT of all channels, quantized with ``step`` in the transform domain.

    Components whose variance is at most a twelfth of the step squared are not kept: to drop them makes no more error
    than to round the others.

    Parameters
    ----------
    components
        `ChannelMoments.principal_components` of samples.
    step
        Step of the components, in units of the values.
    low, high
        Range of the values.
    refinement
        Levels are this many times finer than the step. It is halved until levels fit 15 bits (14 with a spatial
        transform), and coefficients of 16 standard deviations fit 16.
    spatial_size
        As in `CodecSpec`.
    step_factors
        Step of each component as a multiple of ``step``, None for 1.
    """
    rows, variances, means = components
    factors = np.ones(len(variances)) if step_factors is None else np.asarray(step_factors, dtype=np.float64)
    # Components are kept from the first to the last that is worth it.
    worth = np.flatnonzero(variances > (step * factors) ** 2 / 12)
    kept = int(worth[-1]) + 1 if len(worth) else 1
    largest = max((high - low) / 2, HEAD_ROOM * math.sqrt(variances[0])) / step
    while refinement > 1 and largest * refinement > LARGEST_COEFFICIENT:
        refinement //= 2
    most_bits = MOST_KLT_BITS if spatial_size == 1 else MOST_SPATIAL_BITS
    refinement = coarsened(refinement, step, low, high, most_bits)
    fine_step = step / refinement
    zero_point, bits = level_range(low / fine_step, high / fine_step, most_bits)
    levels = np.rint(means / fine_step).clip(-zero_point, 2**bits - 1 - zero_point).astype(np.int64)
    return CodecSpec(
        step=fine_step,
        zero_point=zero_point,
        bits=bits,
        transform="klt",
        transform_size=len(means),
        kept_bands=kept,
        spatial_size=spatial_size,
        band_steps=(refinement,) if step_factors is None else band_steps(refinement, factors),
        basis=Basis.from_array(rows[:kept], levels),
    )


def band_steps(refinement: int, factors: npt.ArrayLike) -> tuple[int, ...]:
    """Band steps nearest to multiples of ``refinement``, at least 1."""
    return tuple(int(step) for step in np.rint(refinement * np.asarray(factors)).clip(1, MOST_BAND_STEP))


def coarsened(refinement: int, step: float, low: float, high: float, most_bits: int) -> int:
    """``refinement``, halved until levels so many times finer than the step cover the range with ``most_bits``."""
    while refinement > 1 and (high - low) / step * refinement > 2**most_bits - 2:
        refinement //= 2
    return refinement


def level_range(low: float, high: float, most_bits: int = 16) -> tuple[int, int]:
    """Zero point and bits whose levels cover ``low`` to ``high`` (in steps), as far as ``most_bits`` reach.

    Raises
    ------
    ValueError
        The range is not finite.
    """
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError("a map holds NaN or infinity, or no values at all")
    below, above = math.ceil(max(-low, 0.0)), math.ceil(max(high, 0.0))
    bits = min(most_bits, max(8, (below + above).bit_length()))
    spare = 2**bits - 1 - below - above
    if not below:
        return 0, bits
    return min(2**bits - 1, max(0, below + spare // 2)), bits
