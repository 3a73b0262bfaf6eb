"""Tensors of any dtype, layout and rank with specs for them, and networks, for tests of the torch layer."""

from __future__ import annotations

import math

import torch
from hypothesis import strategies as st
from strategies import dead_zones, transforms
from torch import nn

from fmcodec.spec import CodecSpec

DTYPES = [torch.float32, torch.float16, torch.bfloat16, torch.int8, torch.uint8]


@st.composite
def specs(draw: st.DrawFn, channels: int, is_integer: bool) -> CodecSpec:
    """Any valid spec for a number of channels."""
    bits = draw(st.integers(2, 8 if is_integer else 16))
    zero_point = draw(st.integers(0, 2**bits - 1))
    transform = draw(transforms(channels, bits, zero_point))
    size = transform["transform_size"]
    steps = draw(st.sampled_from([1, size, max(channels, 1), 3]))
    return CodecSpec(
        step=draw(st.sampled_from([1.0, 0.5, 0.1, 1 / 3, 0.01, 3.7, 2.0**-64, 2.0**64])),
        zero_point=zero_point,
        bits=bits,
        **transform,
        band_steps=tuple(draw(st.lists(st.sampled_from([1, 2, 3, 16, 255, 65535]), min_size=steps, max_size=steps))),
        permutation=draw(st.none() | st.permutations(range(channels)).map(tuple)),
        dead_zone=draw(dead_zones(size, channels)),
        nonfinite="clamp",
    )


@st.composite
def cases(draw: st.DrawFn) -> tuple[torch.Tensor, CodecSpec, str]:
    """A tensor of any dtype, layout and rank, and a spec for it."""
    dtype = draw(st.sampled_from(DTYPES))
    layout = draw(st.sampled_from(["nchw", "nhwc"]))
    images, channels = draw(st.integers(0, 3)), draw(st.integers(0, 45))
    rows, columns = draw(st.integers(0, 4)), draw(st.integers(0, 4))
    shape = (images, channels, rows, columns) if layout == "nchw" else (images, rows, columns, channels)
    if draw(st.booleans()):
        shape = shape[1:]
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    x = torch.randn(shape, generator=generator) * draw(st.sampled_from([0.01, 1.0, 30.0, 1e5, 1e38]))
    if not dtype.is_floating_point:
        x = x.nan_to_num().clamp(-128 if dtype == torch.int8 else 0, 127)
    elif x.numel() and draw(st.booleans()):
        special = torch.tensor([math.nan, math.inf, -math.inf, 0.0, -0.0, 1e-45, 0.5, 2.5])
        where = torch.randint(0, x.numel(), (5,), generator=generator)
        x.view(-1)[where] = special[torch.randint(0, 8, (5,), generator=generator)]
    return x.to(dtype), draw(specs(channels, not dtype.is_floating_point)), layout


def bits_of(x: torch.Tensor) -> torch.Tensor:
    """The bit patterns of a tensor, so that -0.0 and 0.0 differ."""
    return x.contiguous().view({1: torch.int8, 2: torch.int16, 4: torch.int32}[x.element_size()])


class ResidualBlock(nn.Module):
    """Two convolutions and a shortcut, with activations as functions."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm2 = nn.BatchNorm2d(channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.norm1(self.conv1(x)))
        return torch.relu(self.norm2(self.conv2(y)) + x)


def residual_network() -> nn.Sequential:
    """A stem, two blocks and a classifier, the same at each call."""
    torch.manual_seed(5)
    stem = (nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(inplace=True))
    return nn.Sequential(*stem, ResidualBlock(8), ResidualBlock(8), nn.AdaptiveAvgPool2d(1), nn.Flatten())
