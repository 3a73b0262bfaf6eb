"""Tensors, specs and layouts for hypothesis, and what tests compare them with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import ml_dtypes
import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import fmcodec
from fmcodec import CodecSpec, TableClass, Tables, reference
from fmcodec.basis import Basis
from fmcodec.reference.transform import band_total
from fmcodec.spec import leading_bits

DTYPES = ("float32", "float16", "bfloat16", "int8", "uint8")
ISAS = tuple(fmcodec.available_isas())
VIEWS = ("contiguous", "transposed", "reversed", "stepped", "sliced", "packed", "unaligned")
KINDS = ("dense", "relu", "sparse", "smooth", "heavy", "few", "constant", "zeros", "extreme")

Layout = Literal["nchw", "nhwc"]
Array = NDArray[Any]


def share(part: float) -> settings:
    """Settings with a part of the examples of the profile, for tests whose examples take long."""
    return settings(max_examples=max(1, round(part * settings().max_examples)))


@contextmanager
def on_isa(name: str) -> Iterator[None]:
    """Use one instruction set for a while."""
    fmcodec.force_isa(name)
    try:
        yield
    finally:
        fmcodec.force_isa(None)


def numpy_dtype(name: str) -> np.dtype[Any]:
    """The dtype of a name, also for bfloat16."""
    return np.dtype(ml_dtypes.bfloat16) if name == "bfloat16" else np.dtype(name)


def same(a: Array, b: Array) -> bool:
    """Whether two arrays have one dtype, one shape and the same bits."""
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


# --- values


def values(rng: np.random.Generator, kind: str, shape: tuple[int, ...], scale: float) -> NDArray[np.float64]:
    """Values of a kind, with another scale along each entry of the first axis."""
    if kind == "zeros":
        return np.zeros(shape)
    if kind == "constant":
        return np.full(shape, scale * rng.normal())
    if kind == "few":
        return rng.choice(scale * rng.normal(size=3), size=shape)
    if kind == "extreme":
        limits = [0.0, -0.0, 1e-45, -1e-40, 6e-8, 65504.0, 1e30, -1e38, 3.4e38, -3.4e38, 0.5, 1.5, scale, -scale]
        return rng.choice(limits, size=shape)
    gain = scale * np.exp2(rng.integers(-5, 3, size=shape[:1]).reshape(-1, *[1] * (len(shape) - 1)))
    if kind == "heavy":
        return rng.standard_t(1.5, size=shape) * gain
    x = rng.normal(0.2, 1.0, size=shape) * gain
    if kind == "smooth":
        return np.cumsum(x, axis=-2)
    if kind == "relu":
        return np.maximum(x, 0.0)
    if kind == "sparse":
        return np.where(rng.random(shape) < rng.choice([0.5, 0.9, 0.99]), 0.0, x)
    return x


def as_dtype(x: NDArray[np.float64], dtype: str) -> Array:
    """Converted to a dtype, out-of-range values to its limits."""
    if dtype in ("int8", "uint8"):
        info = np.iinfo(dtype)
        return np.clip(np.rint(x), info.min, info.max).astype(dtype)
    largest = {"float32": 3.4028235e38, "float16": 65504.0, "bfloat16": 3.3895314e38}[dtype]
    return np.clip(x, -largest, largest).astype(np.float32).astype(numpy_dtype(dtype))


def with_view(x: Array, view: str) -> Array:
    """The same values in memory with other strides."""
    if view == "transposed":
        axes = tuple(np.roll(range(x.ndim), 1))
        return np.ascontiguousarray(x.transpose(axes)).transpose(np.argsort(axes))
    if view == "reversed":
        backwards = (slice(None, None, -1),) * x.ndim
        return np.ascontiguousarray(x[backwards])[backwards]
    if view == "stepped":
        stepped = np.zeros(tuple(3 * extent for extent in x.shape), x.dtype)[(slice(None, None, 3),) * x.ndim]
        stepped[...] = x
        return stepped
    if view == "sliced":
        inner = np.zeros(tuple(extent + 3 for extent in x.shape), x.dtype)[(slice(1, -2),) * x.ndim]
        inner[...] = x
        return inner
    if view == "packed":
        # A field of packed records: strides that are no multiples of the item size.
        record = np.zeros(x.shape, np.dtype([("tag", "u1"), ("value", x.dtype)]))["value"]
        record[...] = x
        return record
    if view == "unaligned":
        memory = np.zeros(x.nbytes + 1, np.uint8)[1:].view(x.dtype).reshape(x.shape)
        memory[...] = x
        return memory
    return np.ascontiguousarray(x)


# --- shapes


@st.composite
def nchw_shapes(draw: st.DrawFn, *, with_empty: bool = True) -> tuple[int, int, int, int]:
    """Small shapes: also without values, of one pixel or channel, with channels that are no multiple of a transform."""
    least = 0 if with_empty else 1
    channels = draw(st.sampled_from([1, 2, 3, 4, 5, 7, 8, 12, 16, 17, 31, 32, 33, 44, 70]) | st.integers(least, 20))
    pixels = st.sampled_from([1, 2, 7, 8, 9]) | st.integers(least, 13)
    return draw(st.integers(least, 3)), channels, draw(pixels), draw(pixels)


def smooth_shapes() -> st.SearchStrategy[tuple[int, int, int, int]]:
    """Shapes of a few channels with rows and columns enough for the encoder to predict bands."""
    return st.tuples(st.integers(1, 2), st.integers(1, 5), st.integers(20, 45), st.integers(20, 50))


def in_layout(x: Array, layout: str) -> Array:
    """An NCHW array with the axes of a layout, contiguous."""
    return np.ascontiguousarray(x if layout == "nchw" else np.moveaxis(x, -3, -1))


# --- specs


@st.composite
def code_lengths(draw: st.DrawFn, tokens: list[int]) -> tuple[int, ...]:
    """Lengths of a complete code for some of the tokens, cut after the last used one."""
    used = draw(st.lists(st.sampled_from(tokens), min_size=1, max_size=len(tokens), unique=True))
    histogram = np.zeros(256, np.int64)
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    histogram[used] = np.exp2(rng.uniform(0, draw(st.sampled_from([1, 6, 20])), size=len(used))).astype(np.int64)
    lengths = reference.limited_lengths(histogram, draw(st.integers(8, 15)))
    return tuple(np.trim_zeros(lengths, "b").tolist())


@st.composite
def table_classes(draw: st.DrawFn) -> TableClass:
    """Any class."""
    mode = draw(st.sampled_from(["zero", "plain", "plain", "masked"]))
    if mode == "zero":
        return TableClass(mode="zero")
    small = [0, 1, 2, 3, 253, 254, 255]
    everything = list(range(256))
    tokens = draw(st.sampled_from([small, everything]))
    shift = draw(st.sampled_from([0, 0, 0, 1, 5, 13]))
    if mode == "plain":
        return TableClass(
            mode="plain",
            shift=shift,
            predicted=not shift and draw(st.booleans()),
            value_lengths=draw(code_lengths(tokens)),
        )
    return TableClass(
        mode="masked",
        shift=shift,
        predicted=not shift and draw(st.booleans()),
        value_lengths=draw(code_lengths(tokens if shift else tokens[1:])),
        mask_lengths=draw(code_lengths(everything)),
    )


@st.composite
def rans_classes(draw: st.DrawFn) -> TableClass:
    """Any class of contexts: with weights for a few or for all tokens."""
    everything = st.lists(st.integers(1, 4096), min_size=256, max_size=256)
    weights = draw(st.lists(st.integers(0, 32767), max_size=20) | everything)
    return TableClass(mode="rans", weights=tuple(leading_bits(weight) for weight in [*weights, 1][:256]))


@st.composite
def tables(draw: st.DrawFn, band_count: int) -> Tables:
    """Any static tables for a number of bands."""
    if draw(st.booleans()):
        steps = draw(st.sets(st.integers(1, 96), max_size=3))
        contexts = tuple(sum(step <= context for step in steps) for context in range(97))
        context_classes = tuple(draw(rans_classes()) for _ in range(1 + len(steps)))
        return Tables(model="neighbours", class_map=contexts, classes=context_classes)
    classes = draw(st.lists(table_classes(), min_size=1, max_size=4))
    class_map = draw(st.lists(st.integers(0, len(classes) - 1), min_size=band_count, max_size=band_count))
    return Tables(class_map=tuple(class_map), classes=tuple(classes))


@st.composite
def bases(draw: st.DrawFn, groups: int, kept: int, size: int, low: int, high: int) -> Basis:
    """Orthonormal rows, or any entries at all."""
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    means = rng.integers(low, high, groups * size, endpoint=True)
    entry_bits: Literal[8, 16] = draw(st.sampled_from([8, 16]))
    if draw(st.integers(0, 3)):
        rows = np.linalg.qr(rng.normal(size=(groups, size, size)))[0][:, :kept]
        return Basis.from_array(rows, means, entry_bits=entry_bits)
    limit = 2 ** (entry_bits - 1)
    entries = rng.integers(-limit, limit, (groups, kept, size)).astype(f"<i{entry_bits // 8}")
    return Basis(
        means=tuple(means.tolist()),
        rows=entries.tobytes(),
        entry_bits=entry_bits,
        fraction_bits=draw(st.sampled_from([1, 6, 12, 14])),
    )


@st.composite
def transforms(draw: st.DrawFn, channels: int, bits: int, zero_point: int) -> dict[str, Any]:
    """The fields of a spec that say which transform it has."""
    transform = draw(st.sampled_from(["identity", "dct", "hadamard", "klt"]))
    if transform == "klt" and (bits == 16 or not channels):
        transform = "identity"
    divisors = [size for size in range(1, channels + 1) if channels % size == 0]
    size = draw(st.sampled_from({"identity": [1], "klt": divisors}.get(transform, [4, 8, 16, 32])))
    kept_bands = draw(st.integers(1, size))
    spatial_size = draw(st.sampled_from([1, 1, 1, 2, 4, 8])) if bits <= 14 else 1
    fields = {
        "transform": transform,
        "transform_size": size,
        "kept_bands": kept_bands,
        "spatial_size": spatial_size,
        "exact_zeros": (transform != "identity" or spatial_size > 1) and draw(st.sampled_from([False, False, True])),
    }
    if transform == "klt":
        low = -zero_point
        fields["basis"] = draw(bases(channels // size, kept_bands, size, low, low + 2**bits - 1))
    return fields


def dead_zones(size: int, channels: int) -> st.SearchStrategy[float | tuple[float, ...]]:
    """One dead zone, or one for each frequency or channel."""
    one = st.sampled_from([0.5, 0.6, 0.75, 1.0])
    return one | st.sampled_from([size, max(channels, 1), 3]).flatmap(lambda count: st.tuples(*[one] * count))


@st.composite
def specs(draw: st.DrawFn, channels: int, dtype: str, *, with_tables: bool = True) -> CodecSpec:
    """Any spec that can code such a tensor."""
    bits = draw(st.sampled_from([8, 8, 4, 2, 6] + ([] if dtype in ("int8", "uint8") else [9, 12, 16])))
    zero_point = draw(st.sampled_from([0, 2 ** (bits - 1), 2**bits - 1]) | st.integers(0, 2**bits - 1))
    transform = draw(transforms(channels, bits, zero_point))
    size = transform["transform_size"]
    steps = draw(st.sampled_from([1, size, max(channels, 1), 3]))
    code_layout = draw(st.sampled_from(["wavelet", "serial"]))
    step_values = draw(st.sampled_from([[1], [1, 2, 3], [16, 17, 255, 65535]]))
    spec = CodecSpec(
        step=draw(st.sampled_from([1.0, 0.5, 0.1, 1 / 3, 0.01, 3.7, 2.0**-64, 2.0**64])),
        zero_point=zero_point,
        bits=bits,
        effort=draw(st.integers(1, 3)),
        **transform,
        band_steps=tuple(draw(st.lists(st.sampled_from(step_values), min_size=steps, max_size=steps))),
        permutation=draw(st.none() | st.permutations(range(channels)).map(tuple)) if channels else None,
        code_layout=code_layout,
        word_bits=draw(st.sampled_from([8, 16, 32, 64])) if code_layout == "serial" else 32,
        dead_zone=draw(dead_zones(size, channels)),
        max_code_length=draw(st.integers(8, 15)),
        block_shape=draw(st.none() | st.tuples(st.integers(1, 9), st.integers(1, 9))),
        nonfinite=draw(st.sampled_from(["raise", "clamp"])),
    )
    if with_tables and draw(st.integers(0, 3)) == 0:
        return spec.replace(tables=draw(tables(band_total(spec, channels))))
    return spec


# --- histograms


def histogram_of(counts: dict[int, int]) -> NDArray[np.int64]:
    """A histogram by token."""
    histogram = np.zeros(256, dtype=np.int64)
    for token, count in counts.items():
        histogram[token] = count
    return histogram


def alphabets() -> dict[str, NDArray[np.int64]]:
    """Histograms by token."""
    rng = np.random.default_rng(5)
    fibonacci = np.ones(256, np.int64)
    for i in range(2, 40):
        fibonacci[i] = fibonacci[i - 1] + fibonacci[i - 2]
    fibonacci[40:] = 0
    geometric = np.zeros(256, np.int64)
    geometric[:30] = 2 ** np.arange(30)[::-1]
    laplace = np.zeros(256, np.int64)
    laplace[np.arange(-60, 61) % 256] = (1e6 * 0.85 ** np.abs(np.arange(-60, 61)) + 1).astype(np.int64)
    sparse = np.where(rng.random(256) < 0.1, rng.integers(1, 10**6, 256), 0)
    single, pair, last = (np.zeros(256, np.int64) for _ in range(3))
    single[77] = 5
    pair[[3, 250]] = [1, 9]
    last[[0, 255]] = [4, 4]
    return {
        "uniform": np.full(256, 7),
        "random": rng.integers(1, 10**6, 256),
        "ties": rng.integers(1, 4, 256),
        "fibonacci": fibonacci,
        "geometric": geometric,
        "laplace": laplace,
        "sparse": sparse,
        "single": single,
        "pair": pair,
        "last": last,
        "powers": 2 ** (np.arange(256) % 40),
        "three": np.where(np.arange(256) < 3, 1, 0),
        "odd": np.where(np.arange(256) < 129, 1, 0),
    }


ALPHABETS = alphabets()


@st.composite
def histograms(draw: st.DrawFn) -> NDArray[np.int64]:
    """Counts by token, of a few or of all tokens, near each other or octaves apart."""
    used = draw(st.integers(1, 256))
    rng = np.random.default_rng(draw(st.integers(0, 9999)))
    histogram = np.zeros(256, np.int64)
    octaves = rng.uniform(0, draw(st.sampled_from([0.5, 2, 10, 17, 40, 55])), used)
    histogram[rng.permutation(256)[:used]] = np.exp2(octaves).astype(np.int64)
    return histogram


# --- cases


@dataclass(frozen=True)
class Case:
    """A tensor in some memory and layout, and how to code it."""

    x: Array
    layout: Layout
    spec: CodecSpec
    embed_spec: bool

    @property
    def channels(self) -> int:
        """Number of channels."""
        return int(self.x.shape[-3 if self.layout == "nchw" else -1])

    @property
    def decode_spec(self) -> CodecSpec | None:
        """What `decode` has to be given."""
        return None if self.embed_spec else self.spec

    def encode(self, **options: Any) -> bytes:
        """The frame of the core."""
        return fmcodec.encode(self.x, self.spec, layout=self.layout, embed_spec=self.embed_spec, **options)

    def encode_by_reference(self) -> bytes:
        """The frame of the reference."""
        return reference.encode(self.x, self.spec, layout=self.layout, embed_spec=self.embed_spec)


@st.composite
def tensors(draw: st.DrawFn, layout: str, dtypes: tuple[str, ...] = DTYPES, *, with_empty: bool = True) -> Array:
    """A tensor of rank 3 or 4 in any memory."""
    dtype = draw(st.sampled_from(dtypes))
    kind = draw(st.sampled_from(KINDS))
    shape = draw(smooth_shapes() if kind == "smooth" else nchw_shapes(with_empty=with_empty))
    if draw(st.booleans()):
        shape = shape[1:]
    rng = np.random.default_rng(draw(st.integers(0, 9999)))
    x = as_dtype(values(rng, kind, shape, draw(st.sampled_from([0.05, 1.0, 40.0]))), dtype)
    return with_view(in_layout(x, layout), draw(st.sampled_from(VIEWS)))


@st.composite
def cases(
    draw: st.DrawFn, dtypes: tuple[str, ...] = DTYPES, *, with_tables: bool = True, with_empty: bool = True
) -> Case:
    """A tensor and a spec for it."""
    layout: Layout = draw(st.sampled_from(["nchw", "nhwc"]))
    x = draw(tensors(layout, dtypes, with_empty=with_empty))
    channels = x.shape[-3 if layout == "nchw" else -1]
    spec = draw(specs(channels, x.dtype.name, with_tables=with_tables))
    return Case(x, layout, spec, embed_spec=draw(st.booleans()))
