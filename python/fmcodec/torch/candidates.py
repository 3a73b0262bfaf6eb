"""Candidates: the ways to code a layer that calibration and search try."""

from __future__ import annotations

from typing import Literal

import msgspec

from fmcodec.spec import Transform

When = Literal["before", "after"]  # the activation


class Candidate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One way to code a layer, at any step.

    Parameters
    ----------
    transform, transform_size
        As in `CodecSpec`. ``"klt"`` is one group of all channels, with the principal components of the samples; those
        whose variance is below the error of rounding, a twelfth of the step squared, are not kept.
    spatial_size
        As in `CodecSpec`.
    activation
        Code the map ``"before"`` or ``"after"`` the activation that follows its layer.
    permute
        Whether channels are reordered so that neighbours are alike (`ChannelMoments.greedy_order`).
    dead_zone
        As in `CodecSpec`: it takes effect where band steps are above 1, so with a refinement.
    refinement
        Levels are this many times finer than the step, and every band step is this number: the map is then quantized
        in the transform domain. 1 quantizes it before the transform. It is halved until levels have 16 bits at most, 15
        with ``"klt"`` and 14 with a spatial transform, and until coefficients of a KLT have 16.
    weighting
        Of the identity and of ``"klt"``, where a search knows how sensitive the network is to each channel (or
        component): its step is proportional to this sensitivity, per squared error, to the power of ``-weighting``.
        0.5 is the optimum at high rates: all channels then do equal harm. 0 gives all channels one step.
    """

    transform: Transform = "identity"
    transform_size: int = 1
    spatial_size: int = 1
    activation: When = "after"
    permute: bool = False
    refinement: int = 1
    dead_zone: float = 0.5
    weighting: float = 0.0

    def __post_init__(self) -> None:
        if self.weighting and self.transform not in ("identity", "klt"):
            raise ValueError(f"weighting is for the identity and klt, not {self.transform!r}")


# With levels 16 times finer than the step, the roundings of levels and coefficients to integers (before, in and after a
# DCT) have 1/256 of the squared error of the band step each: together about 1 %.
DEFAULT_CANDIDATES = (
    Candidate(activation="before"),
    Candidate(activation="after"),
    *(
        Candidate(transform="dct", transform_size=size, permute=permute, refinement=16)
        for size in (4, 8, 16)
        for permute in (False, True)
    ),
    *(Candidate(transform="klt", activation=activation, refinement=16) for activation in ("before", "after")),
    *(Candidate(transform="klt", activation="before", spatial_size=size, refinement=16) for size in (2, 4)),
    Candidate(activation="after", spatial_size=4, refinement=16),
)
