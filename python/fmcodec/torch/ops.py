"""The codec as operators of torch: `torch.ops.fmcodec` with fake kernels and gradients, and a function for each.

Importing this module registers the operators; programs that were exported with them need the import, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch

from fmcodec import codec
from fmcodec.arrays import DTYPE_CODES
from fmcodec.spec import CodecSpec
from fmcodec.torch.simulate import simulate


def code(x: torch.Tensor, spec: CodecSpec, *, threads: int = 1) -> torch.Tensor:
    """What the codec makes of a map: ``decode(encode(x, spec))``, with a straight-through gradient.

    The gradient is that of clamping to the range of the levels: 1 inside, 0 outside, as if nothing were rounded
    (Y. Bengio et al., arXiv 1308.3432). This is ``torch.ops.fmcodec.code``, which ``torch.compile`` and
    ``torch.export`` keep as one operator.

    Parameters
    ----------
    x
        Tensor (N, C, H, W) or (C, H, W) of float32, float16, bfloat16, int8 or uint8, of any strides. On the CPU it is
        coded to a frame and decoded; on other devices it is simulated there, with the same values.
    spec
        Parameters of the codec. ``effort`` has no influence, the entropy coder is lossless.
    threads
        Threads of the encoder and decoder.

    Returns
    -------
    torch.Tensor
        Shape, dtype, device and memory format of ``x``.

    Raises
    ------
    TypeError
        The dtype is none of the five.
    NonFiniteError
        ``x`` holds NaN or infinity and ``spec.nonfinite`` is ``"raise"``.
    ValueError
        The rank or the number of channels does not fit.

    Examples
    --------
    >>> x = torch.tensor([0.26, 0.6, 9.0]).reshape(1, 1, 3).requires_grad_()
    >>> y = code(x, CodecSpec(step=0.5, bits=4))
    >>> y.sum().backward()
    >>> y.flatten().tolist(), x.grad.flatten().tolist()
    ([0.5, 0.5, 7.5], [1.0, 1.0, 0.0])
    """
    decoded: torch.Tensor = _code(x, spec_text(spec), threads)
    return decoded


def encode(x: torch.Tensor, spec: CodecSpec, *, threads: int = 1, embed_spec: bool = True) -> torch.Tensor:
    """The frame of a map as a tensor of uint8 (bytes,): `fmcodec.encode` as ``torch.ops.fmcodec.encode``.

    Parameters and errors are those of `fmcodec.encode`; ``x`` must be on the CPU. In a traced graph the number of
    bytes is a symbol.
    """
    frame: torch.Tensor = _encode(x, spec_text(spec), threads, embed_spec)
    return frame


def decode(
    frame: torch.Tensor,
    shape: Sequence[int],
    dtype: torch.dtype,
    *,
    spec: CodecSpec | None = None,
    threads: int = 1,
) -> torch.Tensor:
    """The map of a frame: `fmcodec.decode` as ``torch.ops.fmcodec.decode``.

    Parameters
    ----------
    frame
        Contiguous tensor of uint8 on the CPU.
    shape, dtype
        Those of the map that was encoded. A traced graph must know them before it sees a frame; they also bound what
        a hostile frame can ask for.
    spec
        The spec the frame was encoded with; only needed for frames with an external one.
    threads
        Threads to use.

    Raises
    ------
    FmcodecError
        One of its subclasses says what is wrong with the frame.
    ValueError, TypeError
        The frame holds another shape or dtype.

    Examples
    --------
    >>> x = torch.rand(2, 3, 4, 5)
    >>> frame = encode(x, CodecSpec(step=0.1))
    >>> torch.equal(decode(frame, x.shape, x.dtype), code(x, CodecSpec(step=0.1)))
    True
    """
    decoded: torch.Tensor = _decode(frame, shape, dtype, None if spec is None else spec_text(spec), threads)
    return decoded


def spec_text(spec: CodecSpec) -> str:
    """The spec as the operators take it: JSON, so that exported programs stand alone."""
    if not isinstance(spec, CodecSpec):
        raise TypeError(f"spec must be a CodecSpec, not {type(spec).__name__}")
    return _text(spec)


# A compiled function is compiled anew for another spec object: specs are values and do not change.
torch.compiler.assume_constant_result(spec_text)  # type: ignore[no-untyped-call]

_text = lru_cache(maxsize=256)(CodecSpec.to_json)


@lru_cache(maxsize=256)
def _spec(text: str) -> CodecSpec:
    return CodecSpec.from_json(text)


@lru_cache(maxsize=256)
def _fast_spec(text: str) -> CodecSpec:
    """The spec with the effort that is fastest, which decodes to the same values."""
    return _spec(text).replace(effort=1)


def _check(x: torch.Tensor) -> None:
    """What the core would refuse, too, but not while a graph is traced."""
    name = str(x.dtype).removeprefix("torch.")
    if name not in DTYPE_CODES:
        hint = ": call .float() first" if x.dtype.is_floating_point else ""
        raise TypeError(f"dtype must be one of {', '.join(DTYPE_CODES)}, not {name}{hint}")
    if x.dim() not in (3, 4):
        raise ValueError(f"a map must have axes (C, H, W) or (N, C, H, W), not shape {tuple(x.shape)}: reshape it")


@torch.library.custom_op("fmcodec::code", mutates_args=())
def _code(x: torch.Tensor, spec: str, threads: int) -> torch.Tensor:
    _check(x)
    decoded = torch.empty_like(x)
    if x.device.type != "cpu":
        return decoded.copy_(simulate(x, _spec(spec)))
    fast = _fast_spec(spec)
    frame = codec.encode(x, fast, threads=threads, embed_spec=False)
    # The frame comes from the line above, so its size is no threat and needs no limit.
    codec.decode(frame, spec=fast, out=decoded, max_bytes=max(1, decoded.nbytes), threads=threads)
    return decoded


@_code.register_fake
def _(x: torch.Tensor, spec: str, threads: int) -> torch.Tensor:
    _check(x)
    return torch.empty_like(x)


def _keep_input(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
    x, ctx.spec, _ = inputs
    ctx.save_for_backward(x)


def _straight_through(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None]:
    (x,) = ctx.saved_tensors
    spec = _spec(ctx.spec)
    low, high = spec.level_range
    is_inside = (x >= low * spec.step) & (x <= high * spec.step)
    return gradient * is_inside, None, None


_code.register_autograd(_straight_through, setup_context=_keep_input)


@torch.library.custom_op("fmcodec::encode", mutates_args=())
def _encode(x: torch.Tensor, spec: str, threads: int, embed_spec: bool) -> torch.Tensor:
    _check(x)
    frame = bytearray(codec.encode(x, _spec(spec), threads=threads, embed_spec=embed_spec))
    return torch.frombuffer(frame, dtype=torch.uint8)


@_encode.register_fake
def _(x: torch.Tensor, spec: str, threads: int, embed_spec: bool) -> torch.Tensor:
    _check(x)
    return x.new_empty(torch.library.get_ctx().new_dynamic_size(), dtype=torch.uint8)


@torch.library.custom_op("fmcodec::decode", mutates_args=())
def _decode(
    frame: torch.Tensor, shape: Sequence[int], dtype: torch.dtype, spec: str | None, threads: int
) -> torch.Tensor:
    decoded = torch.empty(tuple(shape), dtype=dtype)
    parsed = None if spec is None else _spec(spec)
    codec.decode(frame, spec=parsed, out=decoded, max_bytes=max(1, decoded.nbytes), threads=threads)
    return decoded


@_decode.register_fake
def _(frame: torch.Tensor, shape: Sequence[int], dtype: torch.dtype, spec: str | None, threads: int) -> torch.Tensor:
    return frame.new_empty(tuple(shape), dtype=dtype)
