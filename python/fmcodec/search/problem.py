"""The problem a strategy solves: one option for each layer, few bits, little divergence."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Literal

import msgspec

from fmcodec.policy import Policy
from fmcodec.reference.transform import transform_groups
from fmcodec.search.hull import lower_hull
from fmcodec.search.options import LayerOptions, Option
from fmcodec.search.sensitivity import Sensitivity
from fmcodec.spec import CodecSpec
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

    def allowed(self, candidates: Sequence[Candidate]) -> tuple[Candidate, ...]:
        """The candidates with allowed transforms; ValueError if there are none."""
        kept = tuple(candidate for candidate in candidates if self._allows(candidate))
        if not kept:
            raise ValueError(f"no candidate has only the transforms {', '.join(self.transforms or ())}")
        return kept

    def _allows(self, candidate: Candidate) -> bool:
        if self.is_multiplier_free and (candidate.spatial_size > 1 or candidate.transform in ("dct", "klt")):
            return False
        if self.transforms is None:
            return True
        return candidate.transform in self.transforms and (candidate.spatial_size == 1 or "spatial" in self.transforms)

    def obeys(self, option: Option, channels: int) -> bool:
        """Whether an option of a map of so many channels may be used."""
        if self.max_map_bits is not None and option.peak_bits > self.max_map_bits:
            return False
        return not (self.is_multiplier_free and needs_multipliers(option.layer.spec, channels))


def needs_multipliers(spec: CodecSpec, channels: int) -> bool:
    """Whether the transforms and band steps of a spec multiply or divide by anything but powers of two.

    Entries of the Hadamard matrix are 4096 over the root of its size (docs/format.md, section 4.1): a shift for groups
    of 1, 4 and 16 channels, also for those left over at the end, and a multiplication for 2, 8 and 32. DCT, KLT and
    the spatial transform always multiply. The scale between values and levels (``step``) is not looked at: quantized
    networks have it anyway.

    >>> [needs_multipliers(CodecSpec(transform="hadamard", transform_size=size), 64) for size in (4, 8, 16, 32)]
    [False, True, False, True]
    >>> needs_multipliers(CodecSpec(transform="hadamard", transform_size=16), 24)
    True
    """
    if spec.spatial_size > 1 or spec.transform in ("dct", "klt"):
        return True
    if any(step & (step - 1) for step in spec.band_steps):
        return True
    sizes = {group.size for group in transform_groups(spec, channels)} if spec.transform == "hadamard" else set()
    return not sizes <= {1, 4, 16}


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
        options = tuple(option for option in layer.options if constraints.obeys(option, layer.channels))
        if not options:
            least = min(option.peak_bits for option in layer.options)
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
