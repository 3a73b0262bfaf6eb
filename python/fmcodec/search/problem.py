"""The problem a strategy solves: one option for each layer, few bits, little divergence."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Literal

import msgspec

from fmcodec.policy import Policy
from fmcodec.search.hull import lower_hull
from fmcodec.search.options import Grid, LayerOptions, Option
from fmcodec.search.sensitivity import Sensitivity
from fmcodec.torch.candidates import Candidate

TransformKind = Literal["identity", "dct", "hadamard", "klt", "spatial"]
TRANSFORM_KINDS: tuple[TransformKind, ...] = ("identity", "dct", "hadamard", "klt", "spatial")

# Cost of a map from the name of its layer, the values and the bits of one image: joules on a memory part, say. It must
# not fall with the bits.
Objective = Callable[[str, int, float], float]

# One option for each layer, by name.
Choice = dict[str, Option]


class Constraints(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What policies must obey.

    Parameters
    ----------
    target_bits
        A policy with at most this many bits per value, all maps together, is to be among the proposals.
    max_map_bits
        Most bits of the stored map of one image, so that the largest one fits a memory; as measured on calibration
        images, in frames of a batch, which share their tables.
    transforms
        Kinds of transforms that may be used, None for all: across channels, and ``"spatial"`` for the spatial one on
        top of any of them.
    is_multiplier_free
        Only what `needs_multipliers` does not hold of.
    """

    target_bits: float | None = None
    max_map_bits: float | None = None
    transforms: tuple[TransformKind, ...] | None = None
    is_multiplier_free: bool = False

    def __post_init__(self) -> None:
        for name in ("target_bits", "max_map_bits"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name} must be above 0, not {value}")
        unknown = set(self.transforms or ()) - set(TRANSFORM_KINDS)
        if unknown or self.transforms == ():
            raise ValueError(f"transforms must be some of {', '.join(TRANSFORM_KINDS)}, not {self.transforms}")

    def applied(self, grid: Grid) -> Grid:
        """The grid without what is not allowed; ValueError if no candidate is left."""
        kept = tuple(candidate for candidate in grid.candidates if self._allows(candidate))
        if not kept:
            raise ValueError(f"no candidate has only the transforms {', '.join(self.transforms or ())}")
        return msgspec.structs.replace(
            grid,
            candidates=kept,
            level_widths=grid.level_widths if self._allows(Candidate()) else (),
            is_multiplier_free=grid.is_multiplier_free or self.is_multiplier_free,
        )

    def _allows(self, candidate: Candidate) -> bool:
        if self.transforms is None:
            return True
        return candidate.transform in self.transforms and (candidate.spatial_size == 1 or "spatial" in self.transforms)


class Curve(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """The options of one layer that obey the constraints, each with its predicted divergence and its cost."""

    name: str
    values: int
    options: tuple[Option, ...]
    divergences: tuple[float, ...]
    costs: tuple[float, ...]

    @cached_property
    def hull(self) -> tuple[int, ...]:
        """The options on the lower convex hull, by rising divergence."""
        return tuple(lower_hull(list(zip(self.divergences, self.costs, strict=True))))


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """All that a strategy may look at.

    Parameters
    ----------
    curves
        The layers in the order in which they are computed.
    targets
        Divergences at which policies are wanted, rising.
    target_bits
        As in `Constraints`.
    relative_steps
        Those of the grid.
    measure
        Divergence of the network with all maps coded by a choice, measured on calibration images: one forward pass over
        them.
    seed
        For strategies that draw random numbers.
    """

    curves: tuple[Curve, ...]
    targets: tuple[float, ...]
    target_bits: float | None
    relative_steps: tuple[float, ...]
    measure: Callable[[Choice], float]
    seed: int

    @property
    def values(self) -> int:
        """Values of all maps of one image."""
        return sum(curve.values for curve in self.curves)

    def choice(self, indices: Sequence[int]) -> Choice:
        """The choice of one option of each curve."""
        return {curve.name: curve.options[index] for curve, index in zip(self.curves, indices, strict=True)}

    def divergence(self, indices: Sequence[int]) -> float:
        """Predicted: the sum of those of the layers."""
        return math.fsum(curve.divergences[index] for curve, index in zip(self.curves, indices, strict=True))

    def cost(self, indices: Sequence[int]) -> float:
        """Sum of the costs of the layers."""
        return math.fsum(curve.costs[index] for curve, index in zip(self.curves, indices, strict=True))

    def bits_per_value(self, indices: Sequence[int]) -> float:
        """Of all maps together."""
        bits = math.fsum(curve.options[index].bits for curve, index in zip(self.curves, indices, strict=True))
        return bits / self.values


def curves_of(
    layers: Sequence[LayerOptions],
    sensitivities: Mapping[str, Sensitivity],
    constraints: Constraints,
    objective: Objective | None = None,
) -> tuple[Curve, ...]:
    """The options that obey the constraints, with divergence and cost (bits, or those of the objective).

    Raises
    ------
    ValueError
        A layer has no option left.
    """
    curves = []
    for layer in layers:
        limit = math.inf if constraints.max_map_bits is None else constraints.max_map_bits
        options = tuple(option for option in layer.options if option.peak_bits <= limit)
        if not options:
            least = min((option.peak_bits for option in layer.options), default=math.nan)
            raise ValueError(
                f"no option of {layer.name!r} obeys the constraints; its smallest map has {least:.0f} bits"
            )
        sensitivity = sensitivities[layer.name]
        curves.append(
            Curve(
                name=layer.name,
                values=layer.values,
                options=options,
                divergences=tuple(sensitivity.divergence(option.squared_error) for option in options),
                costs=tuple(
                    option.bits if objective is None else objective(layer.name, layer.values, option.bits)
                    for option in options
                ),
            )
        )
    return tuple(curves)


def policy_of(choice: Choice, provenance: Mapping[str, str] | None = None) -> Policy:
    """The policy that codes each map as chosen."""
    return Policy(layers={name: option.layer for name, option in choice.items()}, provenance=dict(provenance or {}))
