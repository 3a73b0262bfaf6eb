"""The folder in which the core was built last."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def newest_build() -> Path:
    """The newest one for this machine without sanitizers, such as that of ``pip install .``."""
    found = sorted(ROOT.glob("build/*/fmcodec_replay"), key=lambda path: path.stat().st_mtime)
    native = [path.parent for path in found if path.parent.name not in ("aarch64", "fuzz", "asan", "tsan")]
    assert native, "no fmcodec_replay in build/: run `pip install .` in this folder first"
    return native[-1]
