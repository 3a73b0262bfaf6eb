"""Frames of earlier days: encoding still gives these bytes, decoding still gives these values."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import fmcodec
from fmcodec import CodecSpec, reference
from fmcodec.reference.transform import band_total
from fmcodec.spec import TRANSFORMS

FOLDER = Path(__file__).resolve().parent / "golden" / "v7"
ENTRIES: dict[str, dict[str, Any]] = {
    entry["name"]: entry for entry in json.loads((FOLDER / "manifest.json").read_text(encoding="ascii"))
}


def load(name: str, part: str) -> Any:
    """An array of a case."""
    x = np.load(FOLDER / f"{name}.{part}.npy", allow_pickle=False)
    return x.view(ml_dtypes.bfloat16) if ENTRIES[name]["dtype"] == "bfloat16" else x


def spec_of(name: str) -> CodecSpec:
    """The spec of a case."""
    return CodecSpec.from_json(json.dumps(ENTRIES[name]["spec"]))


def test_files_are_those_of_the_manifest() -> None:
    expected = {f"{name}.{end}" for name in ENTRIES for end in ("fmc", "input.npy", "output.npy")}
    assert {path.name for path in FOLDER.iterdir()} == expected | {"manifest.json"}
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 360_000


def test_everything_is_covered() -> None:
    entries = ENTRIES.values()
    assert {entry["dtype"] for entry in entries} == {"float32", "float16", "bfloat16", "int8", "uint8"}
    assert {entry["layout"] for entry in entries} == {"nchw", "nhwc"}
    assert {len(entry["shape"]) for entry in entries} == {3, 4}
    assert {spec_of(name).spatial_size for name in ENTRIES} == {1, 2, 4, 8}
    assert {spec_of(name).exact_zeros for name in ENTRIES} == {False, True}
    assert {spec_of(name).transform for name in ENTRIES} == set(TRANSFORMS)
    assert {spec_of(name).transform_size for name in ENTRIES} >= {1, 4, 8, 16, 32}
    assert {(entry["embed_spec"], "tables" in entry["spec"]) for entry in entries} == {
        (embeds, is_static) for embeds in (True, False) for is_static in (True, False)
    }
    assert {(spec_of(name).code_layout, spec_of(name).word_bits) for name in ENTRIES} == {
        ("wavelet", 32),
        ("serial", 8),
        ("serial", 16),
        ("serial", 32),
        ("serial", 64),
    }
    kinds = set()
    modes = set()
    models = set()
    for name in ENTRIES:
        frame = (FOLDER / f"{name}.fmc").read_bytes()
        spec = spec_of(name)
        info = fmcodec.inspect(frame, spec=spec)
        kinds |= {frame[part.offset] if part.size_bytes else None for part in info.blocks if part.kind == "block"}
        for part in info.blocks:
            if part.kind == "tables":
                section = frame[part.offset : part.offset + part.size_bytes]
                channels = ENTRIES[name]["shape"][-1 if info.layout == "nhwc" else -3]
                bands = band_total(spec, channels)
                tables = reference.read_class_section(section, bands, reference.token_minimum(spec))
                models.add(tables.model)
                modes |= {(c.mode, c.shift > 0, c.predicted) for c in tables.classes}
    assert kinds == {None, 0, 1, 2}
    assert models == {"bands", "neighbours"}
    assert modes == {
        ("zero", False, False),
        ("plain", False, False),
        ("plain", False, True),
        ("plain", True, False),
        ("masked", False, False),
        ("masked", False, True),
        ("masked", True, False),
        ("rans", False, False),
    }


@pytest.mark.parametrize("name", ENTRIES)
def test_core(name: str, isa: str) -> None:
    entry, spec = ENTRIES[name], spec_of(name)
    frame = (FOLDER / f"{name}.fmc").read_bytes()
    x, expected = load(name, "input"), load(name, "output")
    assert list(x.shape) == entry["shape"] and x.dtype.name == entry["dtype"]
    assert fmcodec.encode(x, spec, layout=entry["layout"], embed_spec=entry["embed_spec"]) == frame
    decoded = fmcodec.decode(frame, spec=None if entry["embed_spec"] else spec)
    assert decoded.dtype == expected.dtype and decoded.shape == expected.shape
    assert decoded.tobytes() == expected.tobytes()


@pytest.mark.parametrize("name", ENTRIES)
def test_reference(name: str) -> None:
    entry, spec = ENTRIES[name], spec_of(name)
    frame = (FOLDER / f"{name}.fmc").read_bytes()
    expected = load(name, "output")
    encoded = reference.encode(load(name, "input"), spec, layout=entry["layout"], embed_spec=entry["embed_spec"])
    assert encoded == frame
    decoded = reference.decode(frame, spec=None if entry["embed_spec"] else spec)
    assert decoded.dtype == expected.dtype and decoded.shape == expected.shape
    assert decoded.tobytes() == expected.tobytes()


@pytest.mark.parametrize("name", ENTRIES)
def test_the_other_byte_order(name: str) -> None:
    entry, spec = ENTRIES[name], spec_of(name)
    frame = (FOLDER / f"{name}.fmc").read_bytes()
    bits = np.load(FOLDER / f"{name}.input.npy", allow_pickle=False)
    swapped = bits.astype(bits.dtype.newbyteorder(">"))
    assert swapped.itemsize == 1 or swapped.tobytes() != bits.tobytes() or not bits.any()
    options = {"layout": entry["layout"], "embed_spec": entry["embed_spec"]}
    assert reference.encode(swapped, spec, dtype=entry["dtype"], **options) == frame
    if entry["dtype"] != "bfloat16":  # which numpy has in one byte order only
        assert fmcodec.encode(swapped, spec, **options) == frame
