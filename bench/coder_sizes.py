"""The sizes that fmcodec's coder gives symbol maps which are the same on every machine, kept in coder_sizes.json.

    python bench/coder_sizes.py            # how the sizes differ from those kept
    python bench/coder_sizes.py --write    # keep the new ones

The maps are made with integers only, from the raw output of PCG64, which numpy keeps from version to version.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import fmcodec

SIZES_FILE = Path(__file__).with_suffix(".json")

# Fields of CodecSpec by the name of the configuration. bench_coder.py measures the speed of each.
CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "fastest": {"effort": 1},
    "default": {},
    "smallest": {"effort": 3},
}

SHAPE = (64, 64, 64)
COUNT = 64 * 64 * 64

SymbolMap = npt.NDArray[np.uint8] | npt.NDArray[np.int8]
Sizes = dict[str, dict[str, int]]


def lossless_spec(x: SymbolMap, configuration: str) -> fmcodec.CodecSpec:
    """The spec that codes each value of an integer map as it is."""
    zero_point = 128 if x.dtype == np.int8 else 0
    return fmcodec.CodecSpec(step=1, bits=8, zero_point=zero_point, **CONFIGURATIONS[configuration])


def symbol_maps() -> dict[str, SymbolMap]:
    """Maps of 256 Ki symbols by name."""
    return {"sparse": _sparse_map(), "smooth": _smooth_map(), "laplace": _laplace_map()}


def measured_sizes() -> Sizes:
    """Bytes of a frame by map and configuration."""
    return {
        name: {key: len(fmcodec.encode(x, lossless_spec(x, key))) for key in CONFIGURATIONS}
        for name, x in symbol_maps().items()
    }


def recorded_sizes() -> Sizes:
    """The content of coder_sizes.json."""
    sizes: Sizes = json.loads(SIZES_FILE.read_text(encoding="ascii")) if SIZES_FILE.exists() else {}
    return sizes


def differences(recorded: Sizes, measured: Sizes) -> list[str]:
    """A line for each size that is not the same in both."""
    before, after = _by_row(recorded), _by_row(measured)
    lines = []
    for row in [*after, *(row for row in before if row not in after)]:
        old, new = before.get(row), after.get(row)
        if old and new and old != new:
            lines.append(f"{row}: {old} -> {new} bytes ({100 * (new - old) / old:+.3f} %)")
        elif old != new:
            lines.append(f"{row}: {old or 'none'} -> {new or 'none'}")
    return lines


def _by_row(sizes: Mapping[str, Mapping[str, int]]) -> dict[str, int]:
    return {f"{name}, {key}": size for name, row in sizes.items() for key, size in row.items()}


def _words(seed: int, count: int = COUNT) -> npt.NDArray[np.uint64]:
    return np.random.PCG64(seed).random_raw(count)


def _bits(words: npt.NDArray[np.uint64], first: int, count: int) -> npt.NDArray[np.int64]:
    """A field of each word."""
    return ((words >> np.uint64(first)) & np.uint64((1 << count) - 1)).astype(np.int64)


def _geometric(words: npt.NDArray[np.uint64], first: int) -> npt.NDArray[np.int64]:
    """Number of zero bits from bit ``first`` on, up to 15: each next value half as frequent."""
    field = _bits(words, first, 15) | 1 << 15
    lowest_one = field & -field
    return sum((((lowest_one >> shift) > 0).astype(np.int64) for shift in range(1, 16)), np.zeros_like(field))


def _exponential(words: npt.NDArray[np.uint64], first: int, scale_bits: int) -> npt.NDArray[np.int64]:
    """Numbers with a falling distribution, half as frequent every 2**scale_bits; uses 15 + scale_bits bits."""
    return (_geometric(words, first) << scale_bits) + _bits(words, first + 15, scale_bits)


def _sparse_map() -> npt.NDArray[np.uint8]:
    """As after a late ReLU: 80 % zeros, some channels nearly empty, the others with active regions."""
    words = _words(1).reshape(SHAPE)
    channel_density = (np.arange(SHAPE[0]) * 37 % 64).reshape(-1, 1, 1)
    region = _bits(_words(2, 64 * 8 * 8), 0, 6).reshape(64, 8, 8).repeat(8, axis=1).repeat(8, axis=2)
    is_active = _bits(words, 0, 6) * 128 < channel_density * (region + 20)
    values = 1 + _exponential(words, 6, 4)
    return np.minimum(values * is_active, 255).astype(np.uint8)


def _smooth_map() -> npt.NDArray[np.uint8]:
    """As an early dense map: sums over windows of noise, another offset in each channel."""
    channels, rows, columns = SHAPE
    noise = _bits(_words(3, channels * (rows + 8) * (columns + 8)), 0, 8).reshape(channels, rows + 8, columns + 8)
    total = noise.cumsum(axis=1).cumsum(axis=2)
    window = total[:, 8:, 8:] - total[:, :-8, 8:] - total[:, 8:, :-8] + total[:, :-8, :-8]
    offset = (np.arange(channels) * 29 % 64).reshape(-1, 1, 1)
    # A window of 64 bytes has mean 8160 and a standard deviation of about 590.
    values: npt.NDArray[np.int64] = 96 + offset + ((window - 8160) >> 5)
    return np.clip(values, 0, 255).astype(np.uint8)


def _laplace_map() -> npt.NDArray[np.int8]:
    """As a linear projection: two-sided, three scales."""
    words = _words(4).reshape(SHAPE)
    values = np.empty(SHAPE, np.int64)
    for index, scale_bits in enumerate((1, 3, 4)):
        part = words[index::3]
        values[index::3] = _exponential(part, 0, scale_bits) - _exponential(part, 32, scale_bits)
    return np.clip(values, -128, 127).astype(np.int8)


def main() -> int:
    parser = argparse.ArgumentParser(description="Compare the sizes that the coder gives with coder_sizes.json.")
    parser.add_argument("--write", action="store_true", help="keep the new sizes")
    write = parser.parse_args().write
    measured = measured_sizes()
    lines = differences(recorded_sizes(), measured)
    print("\n".join(lines) if lines else f"the sizes are those of {SIZES_FILE.name}")
    if write:
        SIZES_FILE.write_text(json.dumps(measured, indent=2) + "\n", encoding="ascii")
    return 1 if lines and not write else 0


if __name__ == "__main__":
    raise SystemExit(main())
