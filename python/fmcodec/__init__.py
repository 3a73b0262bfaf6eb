"""fmcodec: a bit-exact codec for the feature maps of convolutional neural networks.

>>> import numpy as np, fmcodec
>>> x = np.zeros((8, 16, 16), np.float32)
>>> fmcodec.decode(fmcodec.encode(x)).shape
(8, 16, 16)
"""

from fmcodec import _core
from fmcodec.basis import Basis
from fmcodec.bounds import error_bound
from fmcodec.codec import BlockInfo, FrameInfo, cost, decode, encode, encode_bound, encode_into, inspect, relayout
from fmcodec.errors import (
    ChecksumError,
    CorruptStreamError,
    FmcodecError,
    LimitExceededError,
    LinkTimeoutError,
    NonFiniteError,
    SpecMismatchError,
    TruncatedStreamError,
    UnsupportedVersionError,
)
from fmcodec.isa import active_isa, available_isas, build_info, force_isa
from fmcodec.klt import ChannelMoments, klt_spec
from fmcodec.spec import CodecSpec, TableClass, Tables
from fmcodec.streaming import FrameReader, FrameWriter, Recovered, recover
from fmcodec.table_statistics import TableStatistics

__version__ = _core.version

__all__ = [
    "Basis",
    "BlockInfo",
    "ChannelMoments",
    "ChecksumError",
    "CodecSpec",
    "CorruptStreamError",
    "FmcodecError",
    "FrameInfo",
    "FrameReader",
    "FrameWriter",
    "LimitExceededError",
    "LinkTimeoutError",
    "NonFiniteError",
    "Recovered",
    "SpecMismatchError",
    "TableClass",
    "TableStatistics",
    "Tables",
    "TruncatedStreamError",
    "UnsupportedVersionError",
    "active_isa",
    "available_isas",
    "build_info",
    "cost",
    "decode",
    "encode",
    "encode_bound",
    "encode_into",
    "error_bound",
    "force_isa",
    "inspect",
    "klt_spec",
    "recover",
    "relayout",
]
