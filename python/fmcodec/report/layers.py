"""The layers of an evaluation with what its policy and the energy model say of them, and names of transforms."""

from __future__ import annotations

import math

from fmcodec.energy import NetworkCost
from fmcodec.energy.network import BASELINE
from fmcodec.evaluation import Evaluation
from fmcodec.policy import Policy
from fmcodec.report.result import LayerResult
from fmcodec.spec import CodecSpec

KINDS = {"identity": "identity", "dct": "DCT", "hadamard": "Hadamard", "klt": "KLT"}
# Of layers whose policy is not known.
UNKNOWN_KIND = "coded"


def transform_name(spec: CodecSpec) -> str:
    """Name of the transform: a star if channels are reordered, the rank of a KLT, and the size of cells.

    >>> transform_name(CodecSpec(step=0.1, transform="dct", transform_size=8, spatial_size=4))
    'DCT 8/4'
    """
    names = {
        "identity": "identity",
        "dct": f"DCT {spec.transform_size}",
        "hadamard": f"WHT {spec.transform_size}",
        "klt": f"KLT {spec.kept_band_count}",
    }
    order = "*" if spec.permutation is not None else ""
    return names[spec.transform] + order + (f"/{spec.spatial_size}" if spec.spatial_size > 1 else "")


def transform_kind(spec: CodecSpec) -> str:
    """The transform over channels; without one, that over cells if there is any."""
    return "spatial DCT" if spec.transform == "identity" and spec.spatial_size > 1 else KINDS[spec.transform]


def layer_results(evaluation: Evaluation, policy: Policy | None, cost: NetworkCost, system: str) -> list[LayerResult]:
    """The layers of an evaluation with counted bits; their energy is that of a system of ``cost``."""
    coded = {layer.name: layer.dram.joules for layer in cost[system].layers}
    baseline = {layer.name: layer.dram.joules for layer in cost[BASELINE].layers}
    specs = {} if policy is None else {name: layer.spec for name, layer in policy.layers.items()}
    return [
        LayerResult(
            name=layer.name,
            shape=layer.shape,
            transform=transform_name(specs[layer.name]) if specs else "",
            kind=transform_kind(specs[layer.name]) if specs else UNKNOWN_KIND,
            position="as it is" if layer.activation == "none" else f"after {layer.activation}",
            bits_per_value=layer.bits_per_value or 0.0,
            snr_db=math.inf if layer.snr_db is None else layer.snr_db,
            zero_share=layer.zero_share,
            traffic_share=layer.values / evaluation.values,
            section_bits=layer.section_bits,
            dram_joules=coded[layer.name],
            baseline_dram_joules=baseline[layer.name],
        )
        for layer in evaluation.layers
    ]
