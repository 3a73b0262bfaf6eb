"""Weights of a network quantized as published systems do it, so that feature maps are judged beside them."""

from __future__ import annotations

import copy

import torch
from torch import nn

# First convolution and last layer keep at least so many bits; see `quantized_weights`.
ENDS_BITS = 8


def quantized_weights(model: nn.Module, bits: int) -> nn.Module:
    """A copy of the model whose convolutions and linear layers have weights of ``bits`` bits per output channel.

    Levels are symmetric about 0 and uniform: the largest magnitude of an output channel is the largest level, 127 with
    8 bits and 7 with 4. The first and the last such layer have at least 8 bits, as in the published code of Feature Map
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
        ``bits`` is out of its range.
    """
    if not 2 <= bits <= 16:
        raise ValueError(f"weights must have 2 to 16 bits, not {bits}")
    quantized = copy.deepcopy(model)
    layers = [module for module in quantized.modules() if isinstance(module, (nn.modules.conv._ConvNd, nn.Linear))]
    for index, layer in enumerate(layers):
        is_end = index in (0, len(layers) - 1)
        axis = 1 if getattr(layer, "transposed", False) else 0
        with torch.no_grad():
            layer.weight.copy_(_rounded(layer.weight, max(bits, ENDS_BITS) if is_end else bits, axis))
    return quantized


def _rounded(weight: torch.Tensor, bits: int, axis: int) -> torch.Tensor:
    others = [dimension for dimension in range(weight.dim()) if dimension != axis]
    largest = weight.abs().amax(others, keepdim=True)
    step = torch.where(largest > 0, largest, 1.0) / (2 ** (bits - 1) - 1)
    rounded: torch.Tensor = torch.round(weight / step) * step
    return rounded
