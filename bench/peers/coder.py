"""What a coder is to the benchmark."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Symbols = npt.NDArray[np.uint8]

# Coders without blocks of their own code pieces of this many symbols, each with its own statistics.
PIECE = 1 << 20


class MissingPeerError(Exception):
    """A coder cannot run on this machine; the text says what it needs."""


@dataclass(frozen=True)
class Coder:
    """An encoder of one tensor and its decoder.

    Both may return their own memory, which holds the result until the next call.
    """

    encode: Callable[[], Any]
    decode: Callable[[Any], npt.NDArray[Any]]


def pieces(symbols: Symbols) -> list[Symbols]:
    return [symbols[start : start + PIECE] for start in range(0, symbols.size, PIECE)]
