"""Arrays in .npy, .npz and .pt files, for the command line."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

from fmcodec.codec import decode, inspect
from fmcodec.errors import FmcodecError
from fmcodec.spec import CodecSpec
from fmcodec.streaming import HEADER_BYTES, frame_size, recover

SUFFIXES = (".npy", ".npz", ".pt")


def load_array(path: Path, key: str | None = None) -> Any:
    """The array in a file: a numpy array, or a torch tensor from a ``.pt`` file.

    Parameters
    ----------
    path
        A ``.npy``, ``.npz`` or ``.pt`` file. Pickled objects other than tensors are not loaded.
    key
        Which array of a ``.npz`` file, or of a ``.pt`` file with a dict; by default the first.

    Raises
    ------
    ValueError
        The suffix is unknown, there is no such key, or the file does not hold an array.
    """
    _check_suffix(path)
    if path.suffix == ".pt":
        return _load_tensor(path, key)
    with path.open("rb") as file:
        loaded = np.load(file, allow_pickle=False)
        return _entry(loaded, key, path) if isinstance(loaded, np.lib.npyio.NpzFile) else loaded


def save_decoded(
    frame: bytes, path: Path, *, spec: CodecSpec | None = None, key: str | None = None, threads: int = 1
) -> None:
    """Decodes a frame into a ``.npy``, ``.npz`` or ``.pt`` file; ``key`` names the array in a ``.npz`` file.

    ``spec`` and ``threads`` are those of `fmcodec.decode`.

    Raises
    ------
    ValueError
        The suffix is unknown, or the frame holds bfloat16 and the file is not ``.pt``.
    """
    _check_suffix(path)
    info = inspect(frame, spec=spec)
    content = io.BytesIO()
    arrays: dict[str, Any] = {}
    if path.suffix == ".pt":
        import torch

        tensor = torch.empty(info.shape, dtype=getattr(torch, info.dtype))
        decode(frame, spec=spec, out=tensor, threads=threads)
        torch.save(tensor, content)
    elif info.dtype == "bfloat16":
        raise ValueError("bfloat16 can only be written to a .pt file: numpy files have no such dtype")
    elif path.suffix == ".npz":
        arrays[key or "x"] = decode(frame, spec=spec, threads=threads)
        np.savez(content, **arrays)
    else:
        np.save(content, decode(frame, spec=spec, threads=threads))
    # Only now, so that a frame with an error leaves no half-written file.
    path.write_bytes(content.getvalue())


def _check_suffix(path: Path) -> None:
    if path.suffix not in SUFFIXES:
        raise ValueError(f"{path}: the name must end in {', '.join(SUFFIXES)}")


def _load_tensor(path: Path, key: str | None) -> Any:
    import torch

    loaded = torch.load(path, map_location="cpu", weights_only=True)
    entry = _entry(loaded, key, path) if isinstance(loaded, dict) else loaded
    if not isinstance(entry, torch.Tensor):
        raise ValueError(f"{path} holds {type(entry).__name__}, not a tensor")
    return entry


def _entry(entries: Any, key: str | None, path: Path) -> Any:
    names = list(entries)
    if not names:
        raise ValueError(f"{path} holds no arrays")
    if key is not None and key not in names:
        raise ValueError(f"{path} has no array {key!r}, only {', '.join(map(str, names))}")
    return entries[names[0] if key is None else key]


def recover_file(data: bytes, spec: CodecSpec | None = None) -> tuple[list[str], bytes]:
    """What `fmcodec.recover` saves of each frame of a file, as lines to print and as the bytes of a file.

    It ends at the first frame whose head is not whole: where the next one begins is not known then.
    """
    lines: list[str] = []
    frames: list[bytes] = []
    at = 0
    while at < len(data):
        number = len(frames) + 1
        try:
            size = frame_size(data[at : at + HEADER_BYTES])
            saved = recover(data[at : at + size], spec=spec)
        except FmcodecError as error:
            lines.append(f"frame {number}: lost, {error}; {len(data) - at} bytes are left out")
            break
        lines.append(f"frame {number}: {saved.blocks - saved.lost} of {saved.blocks} blocks are whole")
        frames.append(saved.frame)
        at += size
    return lines, b"".join(frames)
