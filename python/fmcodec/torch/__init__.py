"""fmcodec for PyTorch: code the feature maps of a model in place, simulate the codec, calibrate policies."""

from fmcodec.torch.calibrate import Candidate, calibrate, relative_rms
from fmcodec.torch.simulate import simulate
from fmcodec.torch.statistics import LayerStatistics, RangeStatistics, Totals
from fmcodec.torch.wrap import Session, wrap

__all__ = [
    "Candidate",
    "LayerStatistics",
    "RangeStatistics",
    "Session",
    "Totals",
    "calibrate",
    "relative_rms",
    "simulate",
    "wrap",
]
