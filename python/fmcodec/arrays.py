"""Arrays of other libraries as numpy arrays over the same memory; the only place that knows about their kinds."""

from __future__ import annotations

import functools
import importlib.util
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from fmcodec.errors import LimitExceededError

# Anything with the buffer protocol; typing has a name for it only since Python 3.12.
Buffer: TypeAlias = Any

# Codes of docs/format.md, section 2.1. bfloat16 travels as uint16.
DTYPE_CODES = {"float32": 1, "float16": 2, "bfloat16": 3, "int8": 4, "uint8": 5}
DTYPE_NAMES = {code: name for name, code in DTYPE_CODES.items()}


def dtype_code(dtype: Any) -> int:
    """Code of a dtype given as name, numpy dtype or torch dtype; TypeError for others."""
    name = str(dtype).removeprefix("torch.")
    if name not in DTYPE_CODES:
        name = np.dtype(dtype).newbyteorder("=").name if not name.startswith("complex") else name
    check_dtype(name)
    return DTYPE_CODES[name]


def check_dtype(name: str) -> None:
    """TypeError for a dtype that cannot be coded."""
    if name not in DTYPE_CODES:
        raise TypeError(f"dtype must be one of {', '.join(DTYPE_CODES)}, not {name}: convert the array to one of them")


# numpy makes the name anew at each call, which takes as long as coding a small map.
@functools.lru_cache(maxsize=64)
def _name_of(dtype: np.dtype[Any]) -> str:
    return dtype.name


def stored_dtype(name: str) -> np.dtype[Any]:
    """The numpy dtype that holds values of this name."""
    return np.dtype("uint16" if name == "bfloat16" else name)


def check_layout(layout: str) -> None:
    """ValueError for a layout that does not exist."""
    if layout not in ("nchw", "nhwc"):
        raise ValueError(f"layout must be 'nchw' or 'nhwc', not {layout!r}")


def as_tensor(x: Any) -> tuple[npt.NDArray[Any], str]:
    """The array of ``x`` in native byte order and its dtype name; a view of the same memory where that is possible."""
    if _is_torch(x):
        return _torch_to_numpy(x)
    if isinstance(x, np.ndarray):
        array = x
    elif hasattr(x, "__dlpack__"):
        try:
            array = np.from_dlpack(x)
        except (BufferError, RuntimeError) as error:
            raise TypeError(f"the array must be in CPU memory: {error}") from error
    elif hasattr(x, "__array__"):
        array = np.asarray(x)
    else:
        try:
            array = np.asarray(memoryview(x))
        except TypeError as error:
            raise TypeError(
                f"what is coded must be an array, not {type(x).__name__}: np.asarray(x, np.float32) makes one"
            ) from error
    name = _name_of(array.dtype)
    check_dtype(name)
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    if name == "bfloat16":
        array = array.view(np.uint16)
    if not _has_whole_strides(array):
        array = np.ascontiguousarray(array)
    return array, name


def as_output(out: Any, shape: tuple[int, ...], name: str) -> npt.NDArray[Any]:
    """The memory of ``out`` to write to; bfloat16 as uint16. Raises if it does not fit."""
    if _is_torch(out):
        memory, out_name = _torch_to_numpy(out)
    elif isinstance(out, np.ndarray):
        out_name = _name_of(out.dtype)
        memory = out.view(np.uint16) if out_name == "bfloat16" else out
    else:
        raise TypeError(f"out must be a numpy array or a torch tensor, not {type(out).__name__}")
    if out_name != name:
        raise TypeError(f"out must have dtype {name}, not {out_name}")
    if not memory.dtype.isnative:
        raise TypeError("out must have the byte order of this machine")
    if memory.shape != shape:
        raise ValueError(f"out must have shape {shape}, not {memory.shape}")
    if not memory.flags.writeable:
        raise ValueError("out must be writable")
    if not _has_whole_strides(memory):
        raise ValueError("the strides of out must be multiples of its item size")
    return memory


def empty_array(shape: tuple[int, ...], name: str, max_bytes: int) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """A new array, and its memory to write to; bfloat16 as uint16."""
    count = 1
    for extent in shape:
        count *= extent
    stored = stored_dtype(name)
    if count * stored.itemsize > max_bytes:
        raise LimitExceededError(
            f"the decoded array has {count * stored.itemsize} bytes, max_bytes is {max_bytes}: "
            "pass a larger one if you trust the frame, or decode a region"
        )
    try:
        memory = np.empty(shape, stored)
    except ValueError as error:
        # Without values, but with other extents whose product numpy cannot hold.
        raise LimitExceededError(f"numpy cannot hold an array of shape {shape}") from error
    if name != "bfloat16":
        return memory, memory
    if importlib.util.find_spec("ml_dtypes") is None:
        raise TypeError("bfloat16 needs the package ml_dtypes, or out= with a torch.bfloat16 tensor")
    import ml_dtypes

    return memory.view(ml_dtypes.bfloat16), memory


def bytes_view(buffer: Buffer) -> memoryview:
    """A flat byte view of a contiguous buffer or torch uint8 tensor."""
    if _is_torch(buffer):
        buffer, name = _torch_to_numpy(buffer)
        if name != "uint8":
            raise TypeError(f"a frame must be bytes, not {name}")
    try:
        view = memoryview(buffer)
    except TypeError as error:
        raise TypeError(f"a frame must be bytes or another buffer of them, not {type(buffer).__name__}") from error
    if not view.c_contiguous:
        raise ValueError("the buffer must be contiguous")
    return view if view.ndim == 1 and view.format == "B" else view.cast("B") if view.nbytes else memoryview(b"")


def _has_whole_strides(array: npt.NDArray[Any]) -> bool:
    return array.flags.c_contiguous or not any(stride % array.itemsize for stride in array.strides)


def _is_torch(x: Any) -> bool:
    # By name, so that torch is never imported here.
    return type(x).__module__.partition(".")[0] == "torch" and hasattr(x, "detach")


def _torch_to_numpy(x: Any) -> tuple[npt.NDArray[Any], str]:
    if x.device.type != "cpu":
        raise TypeError(f"the tensor must be in CPU memory, not on {x.device}: call .cpu() first")
    name = str(x.dtype).removeprefix("torch.")
    check_dtype(name)
    x = x.detach().resolve_neg()
    if name == "bfloat16":
        import torch

        return x.view(torch.int16).numpy().view(np.uint16), name
    return x.numpy(), name
