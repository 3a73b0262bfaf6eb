"""Transforms folded into the weights of the network, so that they cost nothing where the map is made."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import nn

from fmcodec.spec import CodecSpec


class FoldedKlt(NamedTuple):
    """A convolution that gives the components of a KLT, and the 1 x 1 convolution that makes the map of them."""

    forward: nn.Conv2d
    inverse: nn.Conv2d


def fold_batch_norm(conv: nn.Conv2d, batch_norm: nn.BatchNorm2d) -> nn.Conv2d:
    """A convolution that computes ``batch_norm(conv(x))`` as it is in evaluation mode.

    Raises
    ------
    ValueError
        The channels differ, or the normalization has no running statistics.
    """
    if batch_norm.num_features != conv.out_channels:
        raise ValueError(f"the normalization has {batch_norm.num_features} channels, not {conv.out_channels}")
    if batch_norm.running_mean is None or batch_norm.running_var is None:
        raise ValueError("the normalization has no running statistics")
    folded = _with_bias(conv)
    scale = torch.rsqrt(batch_norm.running_var + batch_norm.eps)
    if batch_norm.weight is not None:
        scale = scale * batch_norm.weight
    with torch.no_grad():
        folded.weight.mul_(scale[:, None, None, None])
        assert folded.bias is not None
        folded.bias.sub_(batch_norm.running_mean).mul_(scale)
        if batch_norm.bias is not None:
            folded.bias.add_(batch_norm.bias)
    return folded


def fold_klt(conv: nn.Conv2d, spec: CodecSpec, batch_norm: nn.BatchNorm2d | None = None) -> FoldedKlt:
    """Folds the forward KLT of a spec into the convolution whose output it codes.

    Parameters
    ----------
    conv, batch_norm
        The layer, and the normalization behind it, whose output is the map. They are not changed. The transform is of
        all channels, so a convolution in groups becomes one without.
    spec
        With ``transform="klt"`` over all channels of the map.

    Returns
    -------
    FoldedKlt
        ``forward(x)`` are the components of the map (docs/format.md, section 4.2), in units of its values and without
        any rounding; ``inverse(forward(x))`` is the map, if all components are kept, else what they span.

    Raises
    ------
    ValueError
        The spec has no KLT over all channels of the layer.
    """
    basis = spec.basis
    if basis is None or spec.transform_size != conv.out_channels or len(basis.means) != conv.out_channels:
        raise ValueError(f"the spec must have a KLT over all {conv.out_channels} channels")
    plain = conv if batch_norm is None else fold_batch_norm(conv, batch_norm)
    order = torch.tensor(spec.permutation or range(conv.out_channels))
    rows = torch.tensor(basis.entries(spec.kept_band_count, spec.transform_size)[0], dtype=plain.weight.dtype)
    rows = rows / 2.0**basis.fraction_bits
    means = torch.tensor(basis.means, dtype=plain.weight.dtype) * spec.step
    dense = _without_groups(plain)
    forward = _like(dense, dense.in_channels, len(rows), dense.kernel_size)
    inverse = nn.Conv2d(len(rows), conv.out_channels, 1, dtype=rows.dtype)
    with torch.no_grad():
        assert dense.bias is not None and forward.bias is not None and inverse.bias is not None
        forward.weight.copy_(torch.einsum("kc,cihw->kihw", rows, dense.weight[order]))
        forward.bias.copy_(rows @ (dense.bias[order] - means))
        inverse.weight[order] = rows.T[:, :, None, None]
        inverse.bias[order] = means
    return FoldedKlt(forward, inverse)


def permute_outputs(module: nn.Conv2d | nn.BatchNorm2d, order: Sequence[int]) -> None:
    """Reorders the output channels of a layer in place: channel ``i`` becomes what channel ``order[i]`` was.

    A depthwise convolution is reordered in its inputs as well, as a normalization is.

    Raises
    ------
    ValueError
        The order is none of the channels, or a convolution has several groups of several channels.
    """
    channels = module.num_features if isinstance(module, nn.BatchNorm2d) else module.out_channels
    index = _order(order, channels)
    if isinstance(module, nn.Conv2d) and module.groups not in (1, channels):
        raise ValueError(f"a convolution of {module.groups} groups cannot be reordered")
    with torch.no_grad():
        for name in ("weight", "bias", "running_mean", "running_var"):
            values = getattr(module, name, None)
            if values is not None:
                values.copy_(values[index].clone())


def permute_inputs(module: nn.Conv2d | nn.Linear, order: Sequence[int]) -> None:
    """Reorders the input channels of a layer in place, to match outputs reordered by `permute_outputs`.

    Raises
    ------
    ValueError
        The order is none of the channels, or the convolution has groups.
    """
    if isinstance(module, nn.Conv2d) and module.groups != 1:
        raise ValueError("a convolution with groups is reordered by permute_outputs")
    channels = module.in_channels if isinstance(module, nn.Conv2d) else module.in_features
    index = _order(order, channels)
    with torch.no_grad():
        module.weight.copy_(module.weight[:, index].clone())


def _order(order: Sequence[int], channels: int) -> torch.Tensor:
    if sorted(order) != list(range(channels)):
        raise ValueError(f"the order must hold each of {channels} channels once")
    return torch.tensor(list(order))


def _with_bias(conv: nn.Conv2d) -> nn.Conv2d:
    """A copy with a bias."""
    copied = copy.deepcopy(conv)
    if copied.bias is None:
        copied.bias = nn.Parameter(torch.zeros(conv.out_channels, dtype=conv.weight.dtype))
    return copied


def _without_groups(conv: nn.Conv2d) -> nn.Conv2d:
    """The same convolution as one group, zeros where there was no connection."""
    with_bias = _with_bias(conv)
    if conv.groups == 1:
        return with_bias
    dense = _like(with_bias, conv.in_channels, conv.out_channels, conv.kernel_size)
    inputs, outputs = conv.in_channels // conv.groups, conv.out_channels // conv.groups
    with torch.no_grad():
        dense.weight.zero_()
        for group in range(conv.groups):
            rows, columns = slice(group * outputs, (group + 1) * outputs), slice(group * inputs, (group + 1) * inputs)
            dense.weight[rows, columns] = with_bias.weight[rows]
        assert dense.bias is not None and with_bias.bias is not None
        dense.bias.copy_(with_bias.bias)
    return dense


def _like(conv: nn.Conv2d, in_channels: int, out_channels: int, kernel_size: tuple[int, ...]) -> nn.Conv2d:
    """A convolution with a bias and the geometry of another, of its own class if that takes the same arguments."""
    made = copy.deepcopy(conv)
    made.in_channels, made.out_channels, made.groups = in_channels, out_channels, 1
    made.weight = nn.Parameter(torch.empty(out_channels, in_channels, *kernel_size, dtype=conv.weight.dtype))
    made.bias = nn.Parameter(torch.empty(out_channels, dtype=conv.weight.dtype))
    return made
