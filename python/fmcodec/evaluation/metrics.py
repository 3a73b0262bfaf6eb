"""Numbers that compare outputs of networks, and estimates of their means."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
import torch

# Two-sided 95 % of the normal distribution.
Z95 = 1.959963984540054

# Of Wang et al., below: the window, and the constants of the two quotients.
UQI_BLOCK = 8
WINDOW = 11
WINDOW_DEVIATION = 1.5
K1, K2 = 0.01, 0.03


class Estimate(msgspec.Struct, frozen=True):
    """Mean over images with its standard error, and the ends of a 95 % confidence interval.

    All but the mean are None where one image does not tell them.
    """

    value: float
    standard_error: float | None
    low: float | None
    high: float | None


def mean(values: Sequence[float]) -> Estimate:
    """Mean of numbers, with the interval of the normal distribution."""
    count = len(values)
    value = math.fsum(values) / count
    if count < 2:
        return Estimate(value, None, None, None)
    variance = math.fsum((entry - value) ** 2 for entry in values) / (count - 1)
    error = math.sqrt(variance / count)
    return Estimate(value, error, value - Z95 * error, value + Z95 * error)


def proportion(hits: Sequence[float]) -> Estimate:
    """Share of hits, with Wilson's score interval (JASA 22, 1927), which is also right near 0 and 1."""
    count, value = len(hits), sum(hits) / len(hits)
    error = math.sqrt(value * (1 - value) / count)
    centre = (value + Z95**2 / (2 * count)) / (1 + Z95**2 / count)
    half = Z95 / (1 + Z95**2 / count) * math.sqrt(value * (1 - value) / count + Z95**2 / (4 * count**2))
    return Estimate(value, error, max(0.0, centre - half), min(1.0, centre + half))


def paired_difference(after: Sequence[float], before: Sequence[float]) -> Estimate:
    """Share of hits after minus that before, on the same images: most of the noise of either is in both and cancels."""
    return mean([second - first for second, first in zip(after, before, strict=True)])


def is_in_top(logits: torch.Tensor, labels: torch.Tensor, count: int) -> list[bool]:
    """Whether the label of each row (N, classes) is among its ``count`` largest; of equals the first is larger."""
    own = logits.gather(1, labels[:, None])
    places = torch.arange(logits.shape[1])
    is_ahead = (logits > own) | ((logits == own) & (places < labels[:, None]))
    return [bool(flag) for flag in is_ahead.sum(1) < count]


def kl_divergence(reference: torch.Tensor, other: torch.Tensor) -> list[float]:
    """Kullback-Leibler divergence in nats of the softmax of each row of ``other`` from that of ``reference``."""
    expected, found = (logits.double().log_softmax(1) for logits in (reference, other))
    return [max(0.0, float(value)) for value in (expected.exp() * (expected - found)).sum(1)]


def psnr(reference: torch.Tensor, other: torch.Tensor, peak: float) -> list[float]:
    """Peak signal to noise ratio in dB of each image; infinite for equal images."""
    errors = (reference.double() - other.double()).square().flatten(1).mean(1)
    return [10 * math.log10(peak**2 / float(error)) if error > 0 else math.inf for error in errors]


def ssim(reference: torch.Tensor, other: torch.Tensor, peak: float) -> list[float]:
    """Structural similarity of each image (N, C, H, W), the mean of its channels.

    Source: Z. Wang et al., "Image quality assessment: from error visibility to structural similarity", IEEE TIP 13(4),
    2004: Gaussian window of 11 x 11 with deviation 1.5, K1 = 0.01, K2 = 0.03, at all places where the window fits.

    Raises
    ------
    ValueError
        The images are smaller than the window.
    """
    _check_size("SSIM", reference, WINDOW)
    x, y = reference.double(), other.double()
    mean_x, mean_y = _smooth(x), _smooth(y)
    variance_x, variance_y = _smooth(x * x) - mean_x**2, _smooth(y * y) - mean_y**2
    covariance = _smooth(x * y) - mean_x * mean_y
    c1, c2 = (K1 * peak) ** 2, (K2 * peak) ** 2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    structure = (2 * covariance + c2) / (variance_x + variance_y + c2)
    return [float(value) for value in (luminance * structure).flatten(1).mean(1)]


def uqi(reference: torch.Tensor, other: torch.Tensor) -> list[float]:
    """Universal quality index of each image (N, C, H, W), the mean of its channels.

    Source: Z. Wang and A. C. Bovik, "A universal image quality index", IEEE Signal Processing Letters 9(3), 2002:
    blocks of 8 x 8 at all places. Where the index is 0 / 0, blocks of one value each, it is their likeness in mean
    alone, and 1 if both are 0.

    Raises
    ------
    ValueError
        The images are smaller than the blocks.
    """
    _check_size("UQI", reference, UQI_BLOCK)
    blocks_x, blocks_y = (
        images.double().unfold(2, UQI_BLOCK, 1).unfold(3, UQI_BLOCK, 1).flatten(4) for images in (reference, other)
    )
    mean_x, mean_y = blocks_x.mean(4), blocks_y.mean(4)
    variances = blocks_x.var(4, correction=0) + blocks_y.var(4, correction=0)
    covariance = ((blocks_x - mean_x[..., None]) * (blocks_y - mean_y[..., None])).mean(4)
    powers = mean_x**2 + mean_y**2
    luminance = torch.where(powers > 0, 2 * mean_x * mean_y / powers, 1.0)
    structure = torch.where(variances > 0, 2 * covariance / variances, 1.0)
    return [float(value) for value in (luminance * structure).flatten(1).mean(1)]


def _check_size(index: str, images: torch.Tensor, least: int) -> None:
    if min(images.shape[-2:]) < least:
        raise ValueError(f"{index} needs images of at least {least} x {least}, not {tuple(images.shape[-2:])}")


def _smooth(x: torch.Tensor) -> torch.Tensor:
    """Weighted means under the Gaussian window."""
    places = torch.arange(WINDOW, dtype=torch.float64) - WINDOW // 2
    weights = torch.exp(-(places**2) / (2 * WINDOW_DEVIATION**2))
    weights = weights / weights.sum()
    channels = x.shape[1]
    rows = weights.reshape(1, 1, -1, 1).expand(channels, 1, -1, 1)
    smoothed = torch.nn.functional.conv2d(x, rows, groups=channels)
    return torch.nn.functional.conv2d(smoothed, rows.transpose(2, 3), groups=channels)
