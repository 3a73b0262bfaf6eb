"""Frames that must be refused, kept as files: each with its error, for ever (tests/golden/make_hostile.py)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import fmcodec
from fmcodec import reference

FOLDER = Path(__file__).resolve().parent / "golden" / "hostile"
ENTRIES: list[dict[str, Any]] = json.loads((FOLDER / "manifest.json").read_text(encoding="ascii"))


def test_files_are_those_of_the_manifest() -> None:
    assert {path.name for path in FOLDER.iterdir()} == {f"{entry['name']}.fmc" for entry in ENTRIES} | {"manifest.json"}
    # All errors that bytes alone can cause, without a limit or a spec of the caller.
    assert {entry["error"] for entry in ENTRIES} == {
        "ChecksumError",
        "CorruptStreamError",
        "SpecMismatchError",
        "TruncatedStreamError",
        "UnsupportedVersionError",
    }


@pytest.mark.parametrize("entry", ENTRIES, ids=[entry["name"] for entry in ENTRIES])
def test_refused(entry: dict[str, Any], isa: str) -> None:
    frame = (FOLDER / f"{entry['name']}.fmc").read_bytes()
    with pytest.raises(fmcodec.FmcodecError) as caught:
        fmcodec.decode(frame)
    assert (type(caught.value).__name__, caught.value.offset, str(caught.value)) == (
        entry["error"],
        entry["offset"],
        entry["message"],
    )
    with pytest.raises(fmcodec.FmcodecError) as refused:
        reference.decode(frame)
    assert type(refused.value).__name__ == entry["error"]
