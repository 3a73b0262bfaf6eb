"""Writes tests/golden/hostile: for each error that bytes can cause, the first frame of tests/test_errors.py with it.

    python tests/golden/make_hostile.py

Run by hand, never by tests. Frames that need an external spec are left out.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

import fmcodec

TESTS = Path(__file__).resolve().parent.parent
FOLDER = TESTS / "golden" / "hostile"


class Recorder:
    """A pytest plugin that keeps what `expect` is called with, by class and message of the error."""

    def __init__(self) -> None:
        self.found: dict[tuple[str, str], tuple[bytes, fmcodec.FmcodecError]] = {}

    def pytest_collection_finish(self) -> None:
        import test_errors

        expect = test_errors.expect

        def record(error: Any, offset: Any, message: str, frame: bytes, spec: Any = None) -> None:
            expect(error, offset, message, frame, spec)
            if spec is None:
                with pytest.raises(fmcodec.FmcodecError) as caught:
                    fmcodec.decode(frame)
                text = re.sub(r" \(at byte \d+\)$", "", str(caught.value))
                self.found.setdefault((error.__name__, text), (bytes(frame), caught.value))

        test_errors.expect = record


def main() -> None:
    sys.path.insert(0, str(TESTS))
    recorder = Recorder()
    assert pytest.main(["-q", "-p", "no:cacheprovider", str(TESTS / "test_errors.py")], plugins=[recorder]) == 0
    FOLDER.mkdir(exist_ok=True)
    for old in FOLDER.iterdir():
        old.unlink()
    manifest = []
    for (error, text), (frame, caught) in sorted(recorder.found.items(), key=lambda item: item[0]):
        name = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
        (FOLDER / f"{name}.fmc").write_bytes(frame)
        manifest.append({"name": name, "error": error, "offset": caught.offset, "message": str(caught)})
    assert len({entry["name"] for entry in manifest}) == len(manifest)
    (FOLDER / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n", encoding="ascii")
    print(f"{len(manifest)} frames")


if __name__ == "__main__":
    main()
