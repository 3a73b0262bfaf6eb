"""Bits per symbol of the published coders and of fmcodec itself, on the symbol maps of bench_coder.py.

    python bench/baseline_rates.py

The symbols of a map are coded in the order channel by channel, row by row, and for dctcm with the channels of a
position next to each other, without a DCT. fmcodec's figures are those of whole frames.
"""

from __future__ import annotations

import numpy as np
from conftest import SYMBOL_MAPS, _symbol_map

import fmcodec
from fmcodec import baselines

CODERS = {
    "fixed": {},
    "zvc": {},
    "rlc": {},
    "rle4": {},
    "ebpc": {"block": 8},
    "ebpc 16": {"block": 16},
    "dctcm": {},
}
EFFORTS = {1: "fastest", 2: "default", 3: "smallest"}


def rates(name: str) -> dict[str, float]:
    """Bits per symbol by coder, and the number of symbols."""
    x = _symbol_map(name)[:2]
    signed = x.dtype == np.int8
    row = {"symbols": float(x.size)}
    for label, parameters in CODERS.items():
        coder = baselines.coder(label.split()[0], bits=8, signed=signed, **parameters)
        ordered = np.moveaxis(x, 1, -1) if label == "dctcm" else x
        row[label] = coder.size_bits(np.ascontiguousarray(ordered).astype(np.int64)) / x.size
    for effort, label in EFFORTS.items():
        spec = fmcodec.CodecSpec(zero_point=128 if signed else 0, effort=effort)
        row[label] = 8 * fmcodec.cost(x, spec) / x.size
    return row


def main() -> None:
    """Print the table, and the rate of all maps together."""
    rows = {name: rates(name) for name in SYMBOL_MAPS}
    labels = [*CODERS, *EFFORTS.values()]
    symbols = sum(row["symbols"] for row in rows.values())
    rows["all"] = {label: sum(row[label] * row["symbols"] for row in rows.values()) / symbols for label in labels}
    print("| map |", " | ".join(labels), "|")
    print("|---" * (1 + len(labels)) + "|")
    for name, row in rows.items():
        print("|", name.replace("_", " "), "|", " | ".join(f"{row[label]:.2f}" for label in labels), "|")


if __name__ == "__main__":
    main()
