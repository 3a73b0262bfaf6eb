"""Checks an installed fmcodec that has nothing but its dependencies: frames of earlier days, and the command line.

    python tests/installed.py

For wheels: the session `package` of nox and cibuildwheel run it in an environment without the packages that pytest and
the other tests need.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np

import fmcodec

FOLDER = Path(__file__).resolve().parent / "golden" / "v7"
EXTRAS = ("hypothesis", "ml_dtypes", "pytest", "torch")


def check_golden(name: str, dtype: str, layout: fmcodec.codec.Layout, spec: fmcodec.CodecSpec, embeds: bool) -> None:
    """Encodes and decodes one case; the bytes and values must be those that are stored."""
    if dtype == "bfloat16":  # needs ml_dtypes or torch
        return
    frame = (FOLDER / f"{name}.fmc").read_bytes()
    x, expected = (np.load(FOLDER / f"{name}.{part}.npy") for part in ("input", "output"))
    for isa in fmcodec.available_isas():
        fmcodec.force_isa(isa)
        assert fmcodec.encode(x, spec, layout=layout, embed_spec=embeds) == frame, (name, isa)
        decoded = fmcodec.decode(frame, spec=None if embeds else spec)
        assert decoded.tobytes() == expected.tobytes(), (name, isa)
    fmcodec.force_isa(None)


def main() -> None:
    """Runs all checks."""
    entries = json.loads((FOLDER / "manifest.json").read_text(encoding="ascii"))
    for entry in entries:
        spec = fmcodec.CodecSpec.from_json(json.dumps(entry["spec"]))
        check_golden(entry["name"], entry["dtype"], entry["layout"], spec, entry["embed_spec"])
    text = subprocess.run(
        [sys.executable, "-m", "fmcodec", "--help"], capture_output=True, text=True, check=True
    ).stdout
    assert all(command in text for command in ("encode", "decode", "search", "report"))
    assert (Path(fmcodec.__file__).parent / "py.typed").exists()
    assert not {name for name in EXTRAS if name in sys.modules}
    print(f"fmcodec {fmcodec.__version__} in {Path(fmcodec.__file__).parent}")
    print(f"{len(entries)} golden frames on {', '.join(fmcodec.available_isas())}")


if __name__ == "__main__":
    main()
