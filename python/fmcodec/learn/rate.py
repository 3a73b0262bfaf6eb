"""A differentiable model of the bits of quantized coefficients: what gradients see in place of the coder."""

from __future__ import annotations

import math

import torch

# Probabilities and magnitudes are at least this, so that no logarithm and no slope is infinite.
LEAST = 1e-6


def model_bits(quotients: torch.Tensor, dead_zones: torch.Tensor, zeros: torch.Tensor | None = None) -> torch.Tensor:
    """Entropy of each band, with the magnitudes of its coefficients modelled as exponential.

    Of a band, with q its coefficients over their step: a share z of them is exactly 0, as after a ReLU, and a share p
    of the others is positive. The magnitudes of the others have the mean b, and the density ``exp(-abs(q) / b) / b``,
    which with p = 1/2 is that of Laplace. Rounding then makes zeros and geometric numbers: a symbol is not 0 with
    probability n = (1 - z) exp(-dead_zone / b), and the next magnitude is reached with probability exp(-1 / b), so that
    a symbol has

        h(n) + n (h(p) + h(g) / g) bits,    g = 1 - exp(-1 / b),    h(g) = -g log2 g - (1 - g) log2 (1 - g).

    Parameters
    ----------
    quotients
        Coefficients over the steps of their bands, not rounded: (N, bands, places of a cell, cells). Each place of a
        band has statistics of its own.
    dead_zones
        Dead zone of each band (bands,), as in `CodecSpec`.
    zeros
        What q is of values that are 0, where that is not 0: (bands,). It must round to 0.

    Returns
    -------
    torch.Tensor
        Bits of all coefficients of a band (bands,). Gradients flow through b alone.
    """
    count = quotients.shape[0] * quotients.shape[3]
    with torch.no_grad():
        is_other = quotients != (0 if zeros is None else zeros[:, None, None])
        others = is_other.sum((0, 3)).clamp(min=1)
        positive = (is_other & (quotients > 0)).sum((0, 3)) / others
        share = others / max(count, 1)
    mean = (quotients.abs() * is_other).sum((0, 3)) / others
    scale = mean.clamp(min=LEAST)
    nonzero = share * torch.exp(-dead_zones.to(scale.dtype)[:, None] / scale)
    last = -torch.expm1(-1 / scale)
    bits = _binary_entropy(nonzero) + nonzero * (_binary_entropy(positive) + _binary_entropy(last) / last)
    return count * bits.sum(1)


def _binary_entropy(p: torch.Tensor) -> torch.Tensor:
    inside = p.clamp(LEAST, 1 - LEAST)
    return -(inside * inside.log() + (1 - inside) * (1 - inside).log()) / math.log(2)
