"""Published lossless coders of feature maps, to compare the rate of fmcodec with (docs/baselines.md).

>>> import numpy as np
>>> from fmcodec import baselines
>>> relu_map = np.array([[0, 5, 0, 0], [1, 0, 0, 0]])
>>> zvc = baselines.coder("zvc", bits=4)
>>> encoded = zvc.encode(relu_map)
>>> encoded.size_bits, encoded.size_bits / relu_map.size
(16, 2.0)
>>> bool((zvc.decode(encoded, (2, 4)) == relu_map).all())
True

To add a coder, write its module and list its class in ``CODERS``.
"""

from __future__ import annotations

from typing import Any

from fmcodec.baselines.coder import Coder, WordCoder
from fmcodec.baselines.dctcm import DctCm
from fmcodec.baselines.ebpc import Ebpc
from fmcodec.baselines.fields import EncodedBits
from fmcodec.baselines.fixed import Fixed
from fmcodec.baselines.frames import FrameCoder
from fmcodec.baselines.rlc import Rlc
from fmcodec.baselines.rle4 import Rle4
from fmcodec.baselines.zvc import Zvc

# The published ones.
CODERS: dict[str, type[WordCoder]] = {cls.name: cls for cls in (Fixed, Zvc, Rlc, Rle4, Ebpc, DctCm)}


def coder(name: str, **parameters: Any) -> Coder:
    """The coder of a name in ``CODERS``, or ``"fmcodec"``, with the parameters of its class.

    All have ``bits`` and ``signed``.

    Raises
    ------
    ValueError
        The name is unknown, or a parameter is out of its range.
    """
    if name == FrameCoder.name:
        return FrameCoder(**parameters)
    if name not in CODERS:
        raise ValueError(f"name must be one of {', '.join([*CODERS, FrameCoder.name])}, not {name!r}")
    return CODERS[name](**parameters)


__all__ = [
    "CODERS",
    "Coder",
    "DctCm",
    "Ebpc",
    "EncodedBits",
    "Fixed",
    "FrameCoder",
    "Rlc",
    "Rle4",
    "WordCoder",
    "Zvc",
    "coder",
]
