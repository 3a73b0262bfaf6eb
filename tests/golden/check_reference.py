"""The NumPy reference on the goldens with nothing but NumPy and msgspec, for machines without the core and the tests.

python tests/golden/check_reference.py
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from fmcodec import reference
from fmcodec.spec import CodecSpec

FOLDER = Path(__file__).resolve().parent / "v7"


def main() -> None:
    entries = json.loads((FOLDER / "manifest.json").read_text(encoding="ascii"))
    for entry in entries:
        name, embeds = entry["name"], entry["embed_spec"]
        spec = CodecSpec.from_json(json.dumps(entry["spec"]))
        x, expected = (np.load(FOLDER / f"{name}.{part}.npy", allow_pickle=False) for part in ("input", "output"))
        frame = (FOLDER / f"{name}.fmc").read_bytes()
        if reference.encode(x, spec, layout=entry["layout"], embed_spec=embeds, dtype=entry["dtype"]) != frame:
            sys.exit(f"{name}: other bytes")
        decoded = reference.decode(frame, spec=None if embeds else spec)
        native = expected.astype(expected.dtype.newbyteorder("="))
        if decoded.shape != native.shape or decoded.view(native.dtype).tobytes() != native.tobytes():
            sys.exit(f"{name}: other values")
    print(f"{len(entries)} goldens are encoded and decoded alike on this {sys.byteorder}-endian machine")


if __name__ == "__main__":
    main()
