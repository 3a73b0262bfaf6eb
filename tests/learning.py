"""Small problems for the tests of learning, in which it is known what must be learned."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import nn

from fmcodec import Basis, CodecSpec
from fmcodec.evaluation import ArraySamples, MapSite, Network
from fmcodec.policy import LayerPolicy, Policy


def unchanged(x: torch.Tensor) -> torch.Tensor:
    """Preprocessing of `reader_network`."""
    return x


class Reader(nn.Module):
    """A map of 4 channels, which is the input, and logits that read its even channels only."""

    def __init__(self) -> None:
        super().__init__()
        self.map = nn.Identity()
        self.classifier = nn.Linear(2 * 64, 5, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.classifier(self.map(x)[:, ::2].flatten(1))
        return 4 * logits


def reader_network() -> Network:
    """The same weights every time."""
    torch.manual_seed(0)
    return Network("reader", Reader(), unchanged, {"map": MapSite()}, input_size=8, channels=4)


def noise(count: int, seed: int, correlation: float = 0.0) -> ArraySamples:
    """White noise in which channels 0 and 1, and 2 and 3, are correlated."""
    x = torch.randn(count, 4, 8, 8, generator=torch.Generator().manual_seed(seed))
    mixed = correlation * x[:, ::2] + math.sqrt(1 - correlation**2) * x[:, 1::2]
    images = torch.stack([x[:, 0], mixed[:, 0], x[:, 2], mixed[:, 1]], 1)
    return ArraySamples(images, None, f"noise {seed}")


def equal_steps() -> Policy:
    """All channels with the same step, although half of them are never read."""
    return Policy(layers={"map": LayerPolicy(CodecSpec(step=0.5, zero_point=15, bits=5))}, provenance={"by": "hand"})


def principal() -> Policy:
    """The sums of correlated channels, as principal components would have it, instead of what is read."""
    rows = np.array([[1, 1, 0, 0], [0, 0, 1, 1]]) / math.sqrt(2)
    spec = CodecSpec(
        step=1 / 64,
        zero_point=2**9,
        bits=10,
        transform="klt",
        transform_size=4,
        kept_bands=2,
        band_steps=(32,),
        basis=Basis.from_array(rows, [0, 0, 0, 0]),
    )
    return Policy(layers={"map": LayerPolicy(spec)})
