"""A tensor that autograd saved, as a frame: packed without loss of signs, and unpacked as it was laid out."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from fmcodec import codec
from fmcodec.klt import level_range
from fmcodec.spec import CodecSpec

# How to code a saved tensor; None to keep it as it is.
SpecRule = Callable[[torch.Tensor], CodecSpec | None]

# What is added to values before they are rounded, in steps: half a step, but so much less that 0 stays level 0.
SHIFT = 0.5 - 2.0**-16


def relative_step(relative: float = 0.25, *, effort: int = 1) -> SpecRule:
    """Rule: the step is ``relative`` times the root mean square of the tensor, and levels cover all its values.

    Tensors that hold NaN or infinity are kept as they are, as in training without the codec.

    Parameters
    ----------
    relative
        Step over root mean square. The error of a value is at most half a step, as far as 16 bits reach.
    effort
        As in `CodecSpec`.

    Raises
    ------
    ValueError
        ``relative`` is not above 0.
    """
    if not relative > 0:
        raise ValueError(f"relative must be above 0, not {relative}")

    def rule(x: torch.Tensor) -> CodecSpec | None:
        rms = torch.linalg.vector_norm(x, dtype=torch.float32).item() / math.sqrt(max(1, x.numel()))
        if not math.isfinite(rms):
            return None
        step = min(max(relative * rms, 2.0**-64), 2.0**64)
        low, high = (limit.item() / step for limit in torch.aminmax(x))
        zero_point, bits = level_range(low, high + 1.0)
        return CodecSpec(step=step, zero_point=zero_point, bits=bits, effort=effort)

    return rule


class PackedTensor:
    """The frame of a tensor, and what it takes to unpack it.

    Without a transform, values are shifted by half a step before rounding and back after it, so that those above 0
    come back above 0 (if they are above 2^-16 steps), and those of a ReLU that are 0 come back as 0. Rounding to the
    nearest level would send all values up to half a step to 0, and the gradient would lose them at every ReLU.

    Parameters
    ----------
    x
        Tensor (N, C, H, W) of float32, float16 or bfloat16 on the CPU.
    spec
        Parameters of the codec.
    threads
        Threads of each encode and decode.
    embed_spec
        Whether the frame holds the spec, and ``size_bytes`` counts it.

    Raises
    ------
    ValueError
        The spec does not fit the tensor, or it holds NaN or infinity.
    """

    def __init__(self, x: torch.Tensor, spec: CodecSpec, *, threads: int, embed_spec: bool) -> None:
        self._dtype = x.dtype
        self._empty = torch.empty_like(x, device="meta")
        self._spec = spec
        self._threads = threads
        is_plain = spec.transform == "identity" and spec.spatial_size == 1 and spec.band_steps == (1,)
        self._shift = SHIFT * spec.step if is_plain else 0.0
        if is_plain:
            # In float32: a shifted value of half precision would be rounded to multiples of more than a step.
            x = x.to(torch.float32) + self._shift
        self._frame = codec.encode(x, spec, threads=threads, embed_spec=embed_spec)

    @property
    def size_bytes(self) -> int:
        """Bytes of the frame."""
        return len(self._frame)

    def unpack(self) -> torch.Tensor:
        """The decoded tensor, in shape, dtype and memory format of the one that was packed."""
        dtype = torch.float32 if self._shift else self._dtype
        decoded = torch.empty_like(self._empty, dtype=dtype, device="cpu")
        limit = max(1, decoded.nbytes)
        codec.decode(self._frame, spec=self._spec, out=decoded, max_bytes=limit, threads=self._threads)
        if self._shift:
            decoded -= self._shift
            if self._spec.zero_point == 0:
                decoded.relu_()
        return decoded.to(self._dtype)
