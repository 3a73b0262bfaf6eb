"""Small problems for the tests of the search: options with bits and errors of our own choice, and tiny networks."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from fmcodec import CodecSpec
from fmcodec.energy import EnergyObjective, FeatureMap, Memory, load_part
from fmcodec.evaluation import ArraySamples, MapSite, Network
from fmcodec.policy import LayerPolicy
from fmcodec.search.options import LayerOptions, Option
from fmcodec.search.problem import Choice, Constraints, Problem, curves_of
from fmcodec.search.sensitivity import Sensitivity
from fmcodec.torch import Candidate


def squared_bits(name: str, values: int, bits: float) -> float:
    """An objective that dislikes large maps."""
    return bits**2


def option(bits: float, error: float, *, step: float = 0.1, width: int | None = None) -> Option:
    """An option of so many bits and so much squared error."""
    return Option(
        candidate=Candidate(),
        relative_step=step,
        level_width=width,
        # A spec of its own, so that options differ.
        layer=LayerPolicy(CodecSpec(step=bits + error / 7 + 1)),
        bits=bits,
        peak_bits=bits,
        squared_error=error,
    )


def layer(name: str, *options: Option, values: int = 1) -> LayerOptions:
    """A layer of one channel with these options."""
    return LayerOptions(name=name, channels=1, values=values, energy=1.0, options=options)


def problem(
    layers: list[LayerOptions],
    slopes: list[float],
    *,
    targets: tuple[float, ...] = (0.0, 1.0, 10.0),
    target_bits: float | None = None,
    measure: Callable[[Choice], float] = lambda choice: 0.0,
) -> Problem:
    """A problem whose divergences are slopes times squared errors."""
    sensitivities = {entry.name: Sensitivity((1.0,), (slope,)) for entry, slope in zip(layers, slopes, strict=True)}
    return Problem(
        curves=curves_of(layers, sensitivities, Constraints()),
        targets=targets,
        target_bits=target_bits,
        relative_steps=(0.1, 0.2),
        measure=measure,
        seed=0,
    )


class TinyNet(nn.Module):
    """Two convolutions with ReLU and a classifier of 5 classes: three maps of unlike sensitivity."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.second = nn.Conv2d(8, 12, 3, padding=1, stride=2)
        self.third = nn.Conv2d(12, 8, 1)
        self.classifier = nn.Linear(8 * 64, 5, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.second(torch.relu(self.first(x))))
        logits: torch.Tensor = self.classifier(torch.relu(self.third(x)).flatten(1))
        return 20 * logits


SHAPES = {"first": (8, 16, 16), "second": (12, 8, 8), "third": (8, 8, 8)}
MEMORY = Memory(part=load_part("lpddr4-3200-x16"))
# An objective as docs/policy_search.md has it.
joules = EnergyObjective([FeatureMap(name=name, shape=shape) for name, shape in SHAPES.items()], MEMORY).of_map
SITES = {name: MapSite(activation="relu") for name in ("first", "second", "third")}


def centred(x: torch.Tensor) -> torch.Tensor:
    """Preprocessing of `tiny_network`."""
    return (x - 128) / 64


def tiny_network(preprocess: Callable[[torch.Tensor], torch.Tensor] = centred) -> Network:
    """The same weights every time."""
    torch.manual_seed(0)
    return Network("tiny", TinyNet(), preprocess, SITES, input_size=16)


def tiny_samples(count: int, seed: int) -> ArraySamples:
    """Smooth images of noise, with the answers of the network as labels."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 6, 6, generator=generator) * 255
    images = nn.functional.interpolate(coarse, (16, 16), mode="bilinear").to(torch.uint8)
    network = tiny_network()
    with torch.no_grad():
        labels = network.model(network.preprocess(images.float())).argmax(1)
    return ArraySamples(images, labels, f"smooth noise {seed}")
