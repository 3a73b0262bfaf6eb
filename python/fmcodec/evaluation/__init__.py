"""Evaluation of networks with coded feature maps: networks, samples, and what coding does to their answers."""

from fmcodec.evaluation.maps import find_maps
from fmcodec.evaluation.network import IMAGENET, Network, Normalize, load_network
from fmcodec.torch.map_codec import CodedMap, MapCodec, MapSite, Placement, Placements, SpecCodec, placements_of

__all__ = [
    "IMAGENET",
    "CodedMap",
    "MapCodec",
    "MapSite",
    "Network",
    "Normalize",
    "Placement",
    "Placements",
    "SpecCodec",
    "find_maps",
    "load_network",
    "placements_of",
]
