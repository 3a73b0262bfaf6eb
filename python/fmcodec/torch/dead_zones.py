"""Dead zones for the layers of a policy, from sample batches."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
import torch
from torch import nn

from fmcodec import TableStatistics
from fmcodec.dead_zone import has_both_signs
from fmcodec.policy import Policy
from fmcodec.spec import CodecSpec
from fmcodec.torch.observe import run
from fmcodec.torch.wrap import activate


def can_fit(spec: CodecSpec) -> bool:
    """Whether `fit_dead_zones` changes a layer."""
    return max(spec.band_steps) > 1 and has_both_signs(spec)


def fit_dead_zones(model: nn.Module, batches: Iterable[Any], policy: Policy) -> Policy:
    """The policy with a dead zone for each channel or component of its layers (`TableStatistics.dead_zone`).

    Streams become smaller and errors larger, more so the fewer symbols of a map are not 0: the policy moves along the
    frontier of bits and accuracy, and at few bits to a better one (docs/transforms.md). Layers without band steps above
    1 stay as they are, since their values are rounded before there are coefficients; and those whose coefficients have
    one sign, as after a ReLU: pulled towards 0 all in one direction, they would shift the sums of the next layer.

    Parameters
    ----------
    model
        Called in its present mode (use ``eval()``) as ``model(batch)``, or ``model(*batch)`` for tuples and lists. Its
        maps must be on the CPU. None of them is coded.
    batches
        Samples, walked through once.
    policy
        Which maps are coded and how.

    Returns
    -------
    Policy
        With a line in its provenance.

    Raises
    ------
    ValueError
        A layer has static tables, which are for the symbols of other dead zones: build them after these. A module is
        unknown, a map does not fit its spec, or there are no batches.
    """
    if any(layer.spec.tables is not None for layer in policy.layers.values()):
        raise ValueError("the policy has static tables, which are for its present dead zones: calibrate without them")
    fitted = {name: layer for name, layer in policy.layers.items() if can_fit(layer.spec)}
    # All magnitudes are counted at any effort; this one looks at nothing that takes long.
    statistics = {name: TableStatistics(layer.spec.replace(effort=1)) for name, layer in fitted.items()}

    def count_symbols(name: str, x: torch.Tensor) -> None:
        statistics[name].update(activate(x, fitted[name].activation).contiguous())

    count = run(model, batches, {name: layer.where for name, layer in fitted.items()}, count_symbols)
    layers = {
        name: msgspec.structs.replace(layer, spec=layer.spec.replace(dead_zone=statistics[name].dead_zone()))
        for name, layer in fitted.items()
    }
    return msgspec.structs.replace(
        policy,
        layers={name: layers.get(name, layer) for name, layer in policy.layers.items()},
        provenance={**policy.provenance, "dead_zones": f"fmcodec.torch.fit_dead_zones: {count} batches"},
    )
