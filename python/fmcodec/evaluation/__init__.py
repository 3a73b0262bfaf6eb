"""Evaluation of networks with coded feature maps: networks, samples, and what coding does to their answers."""

from fmcodec.evaluation.evaluate import evaluate
from fmcodec.evaluation.maps import find_maps
from fmcodec.evaluation.metrics import Estimate
from fmcodec.evaluation.network import Network, Normalize, load_network
from fmcodec.evaluation.result import Answers, Evaluation, LayerEvaluation
from fmcodec.evaluation.samples import (
    ArraySamples,
    ImageFiles,
    NetworkInputs,
    Samples,
    load_samples,
    require_apart,
)
from fmcodec.evaluation.weights import quantized_weights
from fmcodec.torch.map_codec import CodedMap, MapCodec, MapSite, Placement, SpecCodec, placements_of

__all__ = [
    "Answers",
    "ArraySamples",
    "CodedMap",
    "Estimate",
    "Evaluation",
    "ImageFiles",
    "LayerEvaluation",
    "MapCodec",
    "MapSite",
    "Network",
    "NetworkInputs",
    "Normalize",
    "Placement",
    "Samples",
    "SpecCodec",
    "evaluate",
    "find_maps",
    "load_network",
    "load_samples",
    "placements_of",
    "quantized_weights",
    "require_apart",
]
