"""Weights of a network quantized as published systems do it, so that feature maps are judged beside them."""

from __future__ import annotations

import copy

import torch
from torch import nn

# First convolution and last layer keep at least so many bits; see `quantized_weights`.
ENDS_BITS = 8
# With few bits it pays to clip the largest weights.
SHARES = tuple(count / 16 for count in range(16, 4, -1))


def quantized_weights(model: nn.Module, bits: int) -> nn.Module:
    """A copy of the model whose convolutions and linear layers have weights of ``bits`` bits per output channel.

    Levels are uniform. The step of an output channel is the one of `SHARES` of what covers its largest magnitude that
    makes the squared error smallest; then all its levels are shifted so that the mean of its weights is as before. The
    first and the last layer have at least 8 bits. Mean and ends are treated as in the published code of Feature Map
    Transform Coding (arXiv 1905.10830), whose levels are found by k-means instead. Biases and norms stay as they are.

    Parameters
    ----------
    model
        Left as it is.
    bits
        2 to 16.

    Raises
    ------
    ValueError
        ``bits`` is out of its range, or the model has no convolution or linear layer of torch.
    """
    if not 2 <= bits <= 16:
        raise ValueError(f"weights must have 2 to 16 bits, not {bits}")
    quantized = copy.deepcopy(model)
    layers = [module for module in quantized.modules() if isinstance(module, (nn.modules.conv._ConvNd, nn.Linear))]
    if not layers:
        raise ValueError("the model has no convolution or linear layer of torch whose weights could be quantized")
    for index, layer in enumerate(layers):
        is_end = index in (0, len(layers) - 1)
        axis = 1 if getattr(layer, "transposed", False) else 0
        with torch.no_grad():
            layer.weight.copy_(_rounded(layer.weight, max(bits, ENDS_BITS) if is_end else bits, axis))
    return quantized


def _rounded(weight: torch.Tensor, bits: int, axis: int) -> torch.Tensor:
    rows = weight.movedim(axis, 0)
    flat = rows.flatten(1)
    largest = flat.abs().amax(1, keepdim=True)
    top = 2 ** (bits - 1) - 1
    best, least = flat, torch.full_like(largest, torch.inf)
    for share in SHARES:
        step = torch.where(largest > 0, largest, 1.0) * share / top
        candidate = torch.round(flat / step).clamp(-top - 1, top) * step
        error = (candidate - flat).square().sum(1, keepdim=True)
        best, least = torch.where(error < least, candidate, best), torch.minimum(error, least)
    best = best + (flat.mean(1, keepdim=True) - best.mean(1, keepdim=True))
    return best.reshape(rows.shape).movedim(0, axis)
