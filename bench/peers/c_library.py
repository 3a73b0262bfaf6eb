"""C code compiled with the system's compiler and loaded into this process."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from peers.coder import MissingPeerError


def static_library(name: str) -> Path:
    """Where the compiler finds a static library, such as libzstd.a."""
    # The compiler answers with the bare name if it does not find the file.
    path = Path(_run([_compiler(), f"-print-file-name={name}"]).strip())
    if not path.is_absolute():
        raise MissingPeerError(f"the compiler does not find {name}")
    return path


def load(source: Path, link: Sequence[str] = ()) -> ctypes.CDLL:
    """Compile a source file, link and load it."""
    with tempfile.TemporaryDirectory() as folder:
        library = str(Path(folder) / "library.so")
        _run([_compiler(), "-O3", "-fPIC", "-shared", str(source), *link, "-o", library])
        return ctypes.CDLL(library)


def _compiler() -> str:
    for name in (os.environ.get("CC"), "cc", "gcc", "clang"):
        if name and shutil.which(name):
            return name
    raise MissingPeerError("there is no C compiler: set CC, or install gcc or clang")


def _run(command: Sequence[str]) -> str:
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        errors = [line for line in result.stderr.splitlines() if "error" in line]
        raise MissingPeerError((errors or [f"{command[0]} failed"])[0])
    return result.stdout
