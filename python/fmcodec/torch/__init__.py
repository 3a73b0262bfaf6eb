"""fmcodec for PyTorch: code the feature maps of a model in place, simulate the codec, calibrate policies."""

try:
    import torch as _torch  # noqa: F401
except ModuleNotFoundError as error:
    raise ModuleNotFoundError("fmcodec.torch needs PyTorch: pip install 'fmcodec[torch]'", name="torch") from error

from fmcodec.torch.calibrate import calibrate, relative_rms
from fmcodec.torch.candidates import Candidate
from fmcodec.torch.code_map import CodeMap
from fmcodec.torch.dead_zones import fit_dead_zones
from fmcodec.torch.fold import FoldedKlt, fold_batch_norm, fold_klt, permute_inputs, permute_outputs
from fmcodec.torch.insert import insert
from fmcodec.torch.ops import code, decode, encode
from fmcodec.torch.packed import relative_step
from fmcodec.torch.saved_tensors import SavedTensors, saved_tensors
from fmcodec.torch.simulate import simulate
from fmcodec.torch.statistics import LayerStatistics, RangeStatistics, Totals
from fmcodec.torch.wrap import Session, place, wrap

__all__ = [
    "Candidate",
    "CodeMap",
    "FoldedKlt",
    "LayerStatistics",
    "RangeStatistics",
    "SavedTensors",
    "Session",
    "Totals",
    "calibrate",
    "code",
    "decode",
    "encode",
    "fit_dead_zones",
    "fold_batch_norm",
    "fold_klt",
    "insert",
    "permute_inputs",
    "permute_outputs",
    "place",
    "relative_rms",
    "relative_step",
    "saved_tensors",
    "simulate",
    "wrap",
]
