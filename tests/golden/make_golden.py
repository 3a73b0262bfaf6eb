"""Writes tests/golden/v7: small frames with their input and output, for ever. Run by hand, never by tests.

    python tests/golden/make_golden.py

Frames of version 7 must not change any more once they are released: a change of the encoder's choices needs new files
here, a change of what a decoder returns needs a new version. Inputs come from integer arithmetic alone.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

import fmcodec
from fmcodec import Basis, CodecSpec, TableClass, Tables, TableStatistics, reference

FOLDER = Path(__file__).resolve().parent / "v7"


class Case(NamedTuple):
    """A tensor and how to code it."""

    name: str
    about: str
    x: Any
    spec: CodecSpec
    layout: str = "nchw"
    embed_spec: bool = True


def random_integers(seed: int, count: int) -> list[int]:
    """32-bit integers of Knuth's linear congruential generator (MMIX), the upper half of its state."""
    state = seed
    found = []
    for _ in range(count):
        state = (6364136223846793005 * state + 1442695040888963407) % 2**64
        found.append(state >> 32)
    return found


def peaked(seed: int, shape: tuple[int, ...], *, zeros: int = 0, bits: int = 7) -> Any:
    """Integers around 0 with another spread in each channel; ``zeros`` of 16 values are 0. Channels are axis -3."""
    count = int(np.prod(shape))
    draws = np.array(random_integers(seed, 3 * count), np.int64).reshape(3, *shape)
    spread = 1 << np.resize(np.arange(bits + 1)[::-1] % bits + 1, shape[-3]).reshape(-1, 1, 1)
    # The product of two uniform numbers has a peak at 0.
    magnitude = (draws[0] % spread) * (draws[0] // 256 % spread) // spread
    sign = 1 - 2 * (draws[1] % 2)
    return np.where(draws[2] % 16 < zeros, 0, sign * magnitude)


def smooth(seed: int, shape: tuple[int, ...]) -> Any:
    """Integers that resemble their neighbours along all axes of the last three."""
    x = peaked(seed, shape, bits=5)
    for axis in (-1, -2, -3):
        x = np.cumsum(x, axis=axis) // 2
    return np.clip(x, -8191, 8191)


def patchy(seed: int, shape: tuple[int, ...]) -> Any:
    """Noise around 0 of equal strength in patches of 8 x 8 positions of all channels: like no row above."""
    *lead, _, rows, columns = shape
    patches = (*lead, 1, -(-rows // 8), -(-columns // 8))
    width = np.array(random_integers(seed, int(np.prod(patches))), np.int64).reshape(patches) % 6
    largest = (1 << width.repeat(8, axis=-2).repeat(8, axis=-1)[..., :rows, :columns]) - 1
    draws = np.array(random_integers(seed + 1, int(np.prod(shape))), np.int64).reshape(shape)
    return draws % (2 * largest + 1) - largest


def falling(seed: int, shape: tuple[int, ...]) -> Any:
    """Integers that differ little from the row above, from another start in each column; channel 0 is noise."""
    count = int(np.prod(shape))
    draws = np.array(random_integers(seed, 2 * count), np.int64).reshape(2, *shape)
    spread = 1 + np.arange(shape[-3]).reshape(-1, 1, 1) % 3
    steps = draws[0] % (2 * spread + 1) - spread
    steps[..., :1, :] = draws[1][..., :1, :] % 100
    x = np.cumsum(steps, axis=-2)
    x[..., 0, :, :] = draws[1][..., 0, :, :] % 100
    return x


def mixing_basis(groups: int, kept: int, size: int, *, fraction_bits: int) -> Basis:
    """Rows that change their sign as those of a Hadamard matrix do, with a small ripple; means that rise."""
    rows = np.arange(groups * kept).reshape(groups, kept, 1)
    columns = np.arange(size)
    signs = 1 - 2 * ((rows * columns // 2 + columns * (rows % 3)) % 2)
    entries = signs * (2**fraction_bits * 2 // 5 + (rows + 3 * columns) % 4)
    entry_bits = 8 if fraction_bits < 7 else 16
    means = np.arange(groups * size) - 3
    return Basis.from_array(entries / 2**fraction_bits, means, entry_bits=entry_bits, fraction_bits=fraction_bits)


def scaled(x: Any, dtype: str = "float32") -> Any:
    """Integers as multiples of 1 / 64: exact in binary32, and rounded to the dtype."""
    numbers = x.astype(np.float32) / np.float32(64)
    return numbers.astype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)


def calibrated(spec: CodecSpec, x: Any) -> CodecSpec:
    """The spec with static tables for a tensor."""
    statistics = TableStatistics(spec)
    statistics.update(x)
    return spec.replace(tables=statistics.build())


def cases() -> list[Case]:
    """All frames."""
    dct = CodecSpec(step=1 / 64, bits=14, zero_point=8192, transform="dct", transform_size=4)
    plain_and_masked = Tables(
        class_map=(0, 1, 2, 1),
        classes=(
            TableClass(mode="zero"),
            TableClass(mode="plain", shift=1, value_lengths=(1, 2, 3, *[0] * 252, 3)),
            TableClass(mode="masked", value_lengths=(0, 1, *[0] * 253, 1), mask_lengths=(1, *[0] * 254, 1)),
        ),
    )
    predicted_tables = Tables(
        class_map=(1, 0, 2),
        classes=(
            TableClass(mode="plain", predicted=True, value_lengths=(1, 3, 3, *[0] * 251, 3, 3)),
            TableClass(mode="plain", value_lengths=(7,) * 128),
            TableClass(
                mode="masked", predicted=True, value_lengths=(0, 2, 2, *[0] * 251, 2, 2), mask_lengths=(8,) * 256
            ),
        ),
    )
    context_tables = Tables(
        model="neighbours",
        class_map=(0,) * 9 + (1,) * 50 + (2,) * 38,
        classes=(
            TableClass(mode="rans", weights=(1024, *[1] * 15)),
            TableClass(mode="rans", weights=(1,) * 16),
            TableClass(mode="rans", weights=(14, *range(8, 1, -1), *[1] * 8)),
        ),
    )
    few_codes = np.minimum(np.abs(peaked(31, (4, 6, 8), bits=3)), 3)
    few_codes[0] = 0
    few_codes[2] = -1
    half_zero = peaked(17, (6, 12, 8), bits=5)
    half_zero[:, :6] = 0
    not_finite = scaled(peaked(19, (3, 4, 5)))
    not_finite[0, 0, :3] = [np.nan, np.inf, -np.inf]
    activations = np.abs(peaked(16, (8, 40, 40), zeros=10)).astype(np.uint8)
    fine = scaled(peaked(11, (24, 9, 7)))
    few_differences = falling(63, (3, 15, 10))
    few_differences[1:] = np.cumsum(np.diff(few_differences[1:], axis=1, prepend=0).clip(-2, 2), axis=1)
    return [
        Case("one-value", "the smallest tensor", np.array([[[200]]], np.uint8), CodecSpec()),
        Case("float32", "identity, signed levels", scaled(peaked(1, (12, 9, 11))), CodecSpec(step=0.05, zero_point=60)),
        Case(
            "float16-nhwc",
            "rank 4, channels last, sparse",
            np.ascontiguousarray(scaled(np.abs(peaked(2, (2, 9, 8, 7), zeros=11)), "float16").transpose(0, 2, 3, 1)),
            CodecSpec(step=0.03),
            layout="nhwc",
        ),
        Case(
            "bfloat16",
            "dead zone, band step",
            scaled(peaked(3, (7, 6, 9)), "bfloat16"),
            CodecSpec(step=0.02, zero_point=128, band_steps=(2,), dead_zone=0.75),
        ),
        Case(
            "int8-lossless",
            "all levels",
            np.clip(peaked(4, (9, 10, 10), bits=8), -128, 127).astype(np.int8),
            CodecSpec(zero_point=128),
        ),
        Case(
            "uint8-blocks",
            "100 blocks in 2 groups",
            np.abs(peaked(5, (3, 20, 30))).astype(np.uint8),
            CodecSpec(block_shape=(2, 3)),
        ),
        Case("uint8-sampled", "blocks large enough for sampled histograms", activations, CodecSpec()),
        Case(
            "wide-levels",
            "16-bit levels with low bits, permutation",
            scaled(peaked(6, (5, 8, 9), bits=12)),
            CodecSpec(step=1 / 128, bits=16, zero_point=30000, permutation=(3, 0, 4, 1, 2)),
        ),
        Case(
            "wide-sparse",
            "masked classes with low bits",
            scaled(np.abs(peaked(11, (4, 9, 10), zeros=9, bits=13))),
            CodecSpec(step=1 / 64, bits=14),
        ),
        Case(
            "wide-sparse-serial",
            "masked classes with low bits in words of 16 bits, all counted",
            scaled(peaked(12, (4, 9, 9), zeros=8, bits=12)),
            CodecSpec(step=1 / 64, bits=14, zero_point=8192, effort=3, code_layout="serial", word_bits=16),
        ),
        Case("dct4", "one band step", scaled(smooth(7, (8, 7, 9))), dct.replace(band_steps=(5,))),
        Case(
            "dct8",
            "groups of 8, 4 and 1, a step per frequency, zonal mask",
            scaled(smooth(8, (13, 7, 9))),
            dct.replace(transform_size=8, kept_bands=5, band_steps=tuple(range(2, 10))),
        ),
        Case(
            "dct16",
            "groups of 16, 8, 4, a step per channel, two images",
            scaled(smooth(9, (2, 28, 5, 6))),
            dct.replace(transform_size=16, band_steps=tuple(range(2, 30)), dead_zone=0.6, max_code_length=9),
        ),
        Case(
            "dct-fine", "coefficients with low bits", scaled(64 * smooth(12, (9, 6, 7))), dct.replace(transform_size=8)
        ),
        Case(
            "dct32",
            "groups of 32 and 8, permutation, blocks",
            scaled(smooth(10, (40, 6, 6))),
            dct.replace(
                transform_size=32,
                permutation=tuple(7 * i % 40 for i in range(40)),
                band_steps=(6,),
                block_shape=(4, 4),
            ),
        ),
        Case(
            "hadamard",
            "groups of 8 and 4 and one channel",
            scaled(smooth(22, (21, 6, 7))),
            dct.replace(transform="hadamard", transform_size=8, kept_bands=6, band_steps=(5,)),
        ),
        Case(
            "klt",
            "one group of 6 channels, 4 rows, permutation",
            scaled(smooth(23, (6, 9, 8))),
            dct.replace(
                transform="klt",
                transform_size=6,
                kept_bands=4,
                band_steps=(3,),
                permutation=(5, 0, 4, 1, 3, 2),
                basis=mixing_basis(1, 4, 6, fraction_bits=12),
            ),
        ),
        Case(
            "klt-8-bit",
            "two groups of 5 channels, entries of 8 bits",
            scaled(smooth(24, (2, 10, 6, 5))),
            dct.replace(
                transform="klt",
                transform_size=5,
                band_steps=tuple(range(2, 7)),
                basis=mixing_basis(2, 5, 5, fraction_bits=6),
            ),
        ),
        Case(
            "spatial",
            "cells of 3 and 4 rows and columns, blocks",
            scaled(smooth(25, (2, 5, 14, 11))),
            CodecSpec(step=1 / 64, bits=14, zero_point=8192, spatial_size=4, band_steps=(7,), block_shape=(8, 12)),
        ),
        Case(
            "spatial-dct",
            "cells of 2 x 2, DCT of 4 channels and 1, channels last",
            np.moveaxis(scaled(smooth(26, (5, 7, 6)), "float16"), 0, -1).copy(),
            dct.replace(spatial_size=2, band_steps=(3,), kept_bands=3),
            layout="nhwc",
        ),
        Case(
            "spatial-klt",
            "cells of 8 x 8, a KLT of two groups, contexts",
            scaled(smooth(27, (6, 24, 16))),
            dct.replace(
                transform="klt",
                transform_size=3,
                kept_bands=2,
                spatial_size=8,
                band_steps=(6,),
                effort=3,
                basis=mixing_basis(2, 2, 3, fraction_bits=12),
            ),
        ),
        Case(
            "exact-zeros",
            "flags of exact zeros beside a DCT of reordered channels and cells of 2 x 2",
            np.maximum(scaled(patchy(28, (6, 18, 13))), 0),
            dct.replace(
                transform_size=4, spatial_size=2, band_steps=(5,), exact_zeros=True, permutation=(3, 0, 5, 1, 4, 2)
            ),
        ),
        Case("static", "calibrated tables in the frame", fine, calibrated(CodecSpec(step=0.05, zero_point=60), fine)),
        Case(
            "static-external",
            "calibrated tables, spec not in the frame",
            fine,
            calibrated(dct.replace(transform_size=8, band_steps=(7,)), fine),
            embed_spec=False,
        ),
        Case(
            "external",
            "adaptive tables, spec not in the frame",
            fine,
            CodecSpec(step=0.1, bits=6, zero_point=20),
            embed_spec=False,
        ),
        Case(
            "neighbours",
            "contexts from neighbours, odd sizes, two images",
            np.abs(patchy(41, (2, 6, 27, 21))).astype(np.uint8),
            CodecSpec(effort=3),
        ),
        Case(
            "neighbours-signed",
            "contexts from neighbours of a DCT, tiles that are cut",
            scaled(patchy(44, (8, 24, 26))),
            dct.replace(transform_size=8, band_steps=(3,), effort=3, block_shape=(10, 26)),
        ),
        Case(
            "neighbours-static",
            "static classes of contexts",
            np.abs(smooth(43, (4, 13, 9))).clip(0, 15).astype(np.uint8),
            CodecSpec(bits=4, tables=context_tables),
        ),
        Case(
            "predicted",
            "bands like the row above beside others, blocks",
            falling(61, (5, 30, 20)).clip(0, 255).astype(np.uint8),
            CodecSpec(block_shape=(14, 20)),
        ),
        Case(
            "predicted-signed",
            "bands like the row above, masks, the highest effort, serial layout",
            (falling(62, (2, 4, 24, 16)) // 3 - 20).astype(np.int8),
            CodecSpec(zero_point=128, effort=3, code_layout="serial", word_bits=8),
        ),
        Case(
            "predicted-static",
            "static predicted classes, plain and masked",
            few_differences.astype(np.int8),
            CodecSpec(zero_point=128, tables=predicted_tables),
        ),
        Case(
            "serial",
            "serial layout, words of 32 bits, plain and masked classes",
            np.abs(peaked(51, (6, 20, 20), zeros=9, bits=5)).astype(np.uint8),
            CodecSpec(code_layout="serial", block_shape=(12, 20)),
        ),
        Case(
            "serial-low-bits",
            "serial layout, words of 64 bits, low bits behind the codes",
            scaled(peaked(52, (5, 8, 9), bits=12)),
            CodecSpec(step=1 / 128, bits=16, zero_point=30000, code_layout="serial", word_bits=64),
        ),
        Case(
            "serial-external",
            "serial layout, words of 16 bits, spec not in the frame",
            fine,
            CodecSpec(step=0.1, bits=6, zero_point=20, code_layout="serial", word_bits=16),
            embed_spec=False,
        ),
        Case(
            "static-modes",
            "static classes of all modes",
            few_codes.astype(np.float32),
            CodecSpec(bits=9, zero_point=200, tables=plain_and_masked),
        ),
        Case(
            "patched",
            "rare values without a code, in classes of all modes",
            np.where(np.arange(few_codes.size).reshape(few_codes.shape) % 181 == 11, 60, few_codes)
            .repeat(4, axis=-1)
            .astype(np.float32),
            CodecSpec(bits=9, zero_point=200, tables=plain_and_masked),
        ),
        Case(
            "raw",
            "no value has a code",
            (few_codes + 40).astype(np.float32),
            CodecSpec(bits=9, zero_point=200, tables=plain_and_masked),
        ),
        Case(
            "zero-blocks",
            "half of the blocks have size 0",
            half_zero.astype(np.int8),
            CodecSpec(zero_point=128, block_shape=(6, 4)),
        ),
        Case(
            "not-finite",
            "NaN and infinities, clamped",
            not_finite,
            CodecSpec(step=0.5, bits=4, zero_point=7, nonfinite="clamp"),
        ),
        Case("no-values", "rank 4 with 0 images", np.zeros((0, 3, 4, 5), np.float32), CodecSpec(step=0.5)),
        Case(
            "no-rows",
            "rank 3 with 0 rows, transformed",
            np.zeros((5, 0, 4), np.float16),
            CodecSpec(transform="dct", transform_size=4),
        ),
    ]


def stored(x: Any) -> Any:
    """bfloat16 as its bit patterns, which every NumPy can read."""
    return x.view(np.uint16) if x.dtype.name == "bfloat16" else x


def main() -> None:
    """Write all files, and remove what is no longer listed."""
    FOLDER.mkdir(exist_ok=True)
    for path in FOLDER.iterdir():
        path.unlink()
    entries = []
    for case in cases():
        frame = fmcodec.encode(case.x, case.spec, layout=case.layout, embed_spec=case.embed_spec)
        if frame != reference.encode(case.x, case.spec, layout=case.layout, embed_spec=case.embed_spec):
            raise SystemExit(f"{case.name}: core and reference differ")
        (FOLDER / f"{case.name}.fmc").write_bytes(frame)
        np.save(FOLDER / f"{case.name}.input.npy", stored(case.x), allow_pickle=False)
        np.save(FOLDER / f"{case.name}.output.npy", stored(fmcodec.decode(frame, spec=case.spec)), allow_pickle=False)
        entries.append(
            {
                "name": case.name,
                "about": case.about,
                "dtype": case.x.dtype.name,
                "shape": list(case.x.shape),
                "layout": case.layout,
                "embed_spec": case.embed_spec,
                "spec": json.loads(case.spec.to_json()),
            }
        )
        print(f"{case.name:16} {case.x.nbytes:6} -> {len(frame):6} bytes")
    lines = ",\n".join(json.dumps(entry) for entry in entries)
    (FOLDER / "manifest.json").write_text(f"[\n{lines}\n]\n", encoding="ascii")


if __name__ == "__main__":
    main()
