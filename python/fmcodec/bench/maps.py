"""The maps of a benchmark: those of the user, or synthetic ones that are called so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fmcodec.files import load_array

Array = npt.NDArray[Any]

DTYPES = ("float32", "float16", "int8", "uint8")


def load_map(path: Path) -> Array:
    """The map in a file of `fmcodec.files.load_array`, contiguous.

    Raises
    ------
    ValueError
        It has not 3 or 4 axes, another dtype than those of `DTYPES`, no values, or values that are not finite; or the
        file holds no array.
    """
    x = np.ascontiguousarray(load_array(path))
    if x.ndim not in (3, 4) or not x.size:
        raise ValueError(f"{path}: a map has the axes (C, H, W) or (N, C, H, W), not shape {x.shape}")
    if str(x.dtype) not in DTYPES:
        raise ValueError(f"{path}: a map has one of the dtypes {', '.join(DTYPES)}, not {x.dtype}")
    if not np.isfinite(x).all():
        raise ValueError(f"{path} holds NaN or infinity")
    return x


def synthetic_maps() -> dict[str, Array]:
    """Random maps by name, the same every time; they are no data of a network.

    *sparse* is a batch of float32 after a ReLU with a scale and a share of zeros for each channel, *smooth* has
    neighbours that are alike, *laplace* has none, and *symbols* is the sparse map as uint8, coded without loss.
    """
    rng = np.random.default_rng(0)
    scale = np.exp(rng.standard_normal((64, 1, 1)))
    sparse = np.maximum(scale * rng.standard_normal((8, 64, 56, 56)) - scale / 2, 0).astype(np.float32)
    sums = rng.standard_normal((32, 121, 121)).cumsum(1).cumsum(2)
    smooth = (sums[:, 9:, 9:] - sums[:, :-9, 9:] - sums[:, 9:, :-9] + sums[:, :-9, :-9]) / 9
    symbols = np.rint(sparse * (255 / sparse.max())).astype(np.uint8)
    return {
        "synthetic sparse": sparse,
        "synthetic smooth": np.maximum(smooth, 0).astype(np.float32),
        "synthetic laplace": rng.laplace(size=(64, 56, 56)).astype(np.float32),
        "synthetic symbols": symbols,
    }
