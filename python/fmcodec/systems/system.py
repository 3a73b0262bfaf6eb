"""What all systems share: their interface, and what they learn from calibration samples."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt
import torch

from fmcodec.evaluation import MapSite, Network, Placement
from fmcodec.klt import ChannelMoments
from fmcodec.torch.observe import run
from fmcodec.torch.statistics import RangeStatistics
from fmcodec.torch.wrap import activate

FloatArray = npt.NDArray[np.float64]
When = Literal["before", "after"]  # the activation
Placements = dict[str, Placement]
# Network inputs, batch by batch, that can be walked through more than once.
Batches = Iterable[torch.Tensor]


class System(ABC):
    """A way to code all feature maps of a network, with one knob that trades bits for accuracy.

    Attributes
    ----------
    name
        In ``fmcodec.systems.SYSTEMS``.
    source
        Where it was published.
    stated
        What the abstract (or, if said, the published code) states.
    reconstruction
        What it does not state and was chosen here.
    level_name
        The meaning of a level.
    levels
        Levels for a first look, from fine to coarse.
    """

    name: ClassVar[str]
    source: ClassVar[str]
    stated: ClassVar[str]
    reconstruction: ClassVar[str]
    level_name: ClassVar[str]
    levels: ClassVar[tuple[float, ...]]

    @abstractmethod
    def calibrate(self, network: Network, batches: Batches, level: float) -> Placements:
        """Codecs for all maps of a network.

        Parameters
        ----------
        network
            What is coded: all of ``network.maps``.
        batches
            Network inputs of calibration images. All that codecs know comes from them.
        level
            The knob.

        Raises
        ------
        ValueError
            There are no batches, the level is out of its range, or a map holds NaN or infinity.
        """


class MapStatistics:
    """What one pass over the calibration samples tells about a map.

    ``range`` is that after the activation; ``moments`` are those of channels before or after it.
    """

    def __init__(self, channels: int) -> None:
        self.range = RangeStatistics()
        self.moments = ChannelMoments(channels)
        self.coded_range = RangeStatistics()
        self.positions = 0  # of one image

    @property
    def rms(self) -> float:
        """Root mean square after the activation; 1 for a map of zeros, which any step codes."""
        return self.range.rms or 1.0


def measure(network: Network, batches: Batches, when: When) -> dict[str, MapStatistics]:
    """Statistics of all maps of a network, in the order of its maps; moments before or after the activation."""
    found: dict[str, MapStatistics] = {}

    def update(name: str, x: torch.Tensor) -> None:
        statistics = found.setdefault(name, MapStatistics(x.shape[1]))
        after = activate(x, network.maps[name].activation)
        coded = after if when == "after" else x
        statistics.range.update(after)
        statistics.coded_range.update(coded)
        if not math.isfinite(statistics.coded_range.sum):
            raise ValueError(f"the map of {name!r} holds NaN or infinity")
        statistics.moments.update(coded.float().numpy())
        statistics.positions = x.shape[2] * x.shape[3]

    run(network.model, batches, {name: site.where for name, site in network.maps.items()}, update)
    return {name: found[name] for name in network.maps}


def component_ranges(
    network: Network,
    batches: Batches,
    project: Callable[[str, torch.Tensor], torch.Tensor],
    when: When,
) -> dict[str, tuple[FloatArray, FloatArray]]:
    """Smallest and largest value of each component, the first axis of what ``project(name, map)`` gives."""
    found: dict[str, tuple[FloatArray, FloatArray]] = {}

    def update(name: str, x: torch.Tensor) -> None:
        components = project(name, activate(x, network.maps[name].activation) if when == "after" else x).double()
        low, high = components.amin(1).numpy(), components.amax(1).numpy()
        if name in found:
            low, high = np.minimum(low, found[name][0]), np.maximum(high, found[name][1])
        found[name] = low, high

    run(network.model, batches, {name: site.where for name, site in network.maps.items()}, update)
    return found


def site_of(network: Network, name: str, when: When) -> MapSite:
    """Where a map is coded, before or after its activation."""
    site = network.maps[name]
    return site if when == "after" else site.before_activation


def require_positive(level: float) -> None:
    """ValueError for a level that is not a finite number above 0."""
    if not 0 < level < math.inf:
        raise ValueError(f"level must be a number above 0, not {level}")
