"""encode() and decode() with each transform, beside the products that a user would write in torch, on one core.

    pytest -c bench/pytest.ini bench/bench_transforms.py

The maps are combinations of fewer sources than they have channels, as the maps behind 1 x 1 convolutions are. Specs are
not in the frames. "torch" is the product of the same basis and the map by torch.matmul in float32 with one thread, and
rounding to int8, or back: no entropy coding, so no bits. "copy" is numpy's copy of the map.

Of a map of 134 MB, far larger than caches, transforms are measured with steps so coarse that next to nothing is left to
code: what remains is reading, quantizing, transforming and writing, beside the copy of the same map.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pytest
from conftest import FloatMap

import fmcodec

# Channels, sources, rows and columns.
MAPS = {"64x56x56": (64, 24, 56), "256x28x28": (256, 64, 28)}
STEP = 0.2
REFINEMENT = 16
COARSE = ", coarse"  # steps so large that every symbol is 0: the transform without a coder, as what torch does


@dataclass(frozen=True)
class Task:
    """Both directions, and the bits per value if there is a stream."""

    encode: Callable[[], Any]
    decode: Callable[[], Any]
    bits: float | None = None


@pytest.fixture(params=MAPS)
def map_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def x(map_name: str) -> FloatMap:
    channels, sources, side = MAPS[map_name]
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(channels, sources)) / np.sqrt(sources)
    mixed: FloatMap = np.tensordot(mixing, rng.normal(size=(sources, side, side)), axes=1).astype(np.float32)
    return mixed


def _spec(x: FloatMap, kind: str) -> fmcodec.CodecSpec:
    if kind.startswith("klt"):
        moments = fmcodec.ChannelMoments(len(x))
        moments.update(x)
        components = moments.principal_components()
        if kind == "klt, all":
            variances = np.maximum(components.variances, 1.0)
            components = components._replace(variances=variances)
        return fmcodec.klt_spec(components, STEP, float(x.min()), float(x.max()))
    if kind == "identity":
        return fmcodec.CodecSpec(step=STEP, zero_point=128)
    name, spatial = kind.removesuffix(" spatial"), 4 if kind.endswith(" spatial") else 1
    return fmcodec.CodecSpec(
        step=STEP / REFINEMENT,
        bits=12,
        zero_point=2048,
        transform=name,
        transform_size=8,
        spatial_size=spatial,
        band_steps=(REFINEMENT,),
    )


def _fmcodec(x: FloatMap, kind: str) -> Task:
    spec = _spec(x, kind.removesuffix(COARSE)).replace(effort=1)
    if kind.endswith(COARSE):
        spec = spec.replace(band_steps=(30000,))
    buffer, out = np.empty(fmcodec.encode_bound(x.shape, x.dtype, spec), np.uint8), np.empty_like(x)
    frame = fmcodec.encode(x, spec, embed_spec=False)
    return Task(
        lambda: fmcodec.encode_into(x, buffer, spec, embed_spec=False),
        lambda: fmcodec.decode(frame, spec=spec, out=out),
        8 * len(frame) / x.size,
    )


def _torch(x: FloatMap, kind: str) -> Task:
    import torch

    torch.set_num_threads(1)
    spec = _spec(x, kind)
    assert spec.basis is not None
    rows = spec.basis.entries(spec.kept_band_count, len(x))[0] / 2.0**spec.basis.fraction_bits
    basis, values = torch.tensor(rows, dtype=torch.float32), torch.tensor(x).flatten(1)

    def encode() -> torch.Tensor:
        return torch.matmul(basis, values).mul_(1 / STEP).round_().clamp_(-128, 127).to(torch.int8)

    symbols = encode()
    return Task(encode, lambda: torch.matmul(basis.T, symbols.float().mul_(STEP)))


def _copy(x: FloatMap) -> Task:
    target = np.empty_like(x)
    return Task(lambda: np.copyto(target, x), lambda: np.copyto(target, x))


def _transform_only(x: FloatMap, kind: str) -> Task:
    size = 1 if kind == "identity" else 8
    spec = fmcodec.CodecSpec(
        step=0.01, bits=12, zero_point=2048, transform=kind, transform_size=size, band_steps=(1000,), effort=1
    )
    buffer, out = np.empty(fmcodec.encode_bound(x.shape, x.dtype, spec), np.uint8), np.empty_like(x)
    frame = fmcodec.encode(x, spec)
    return Task(
        lambda: fmcodec.encode_into(x, buffer, spec),
        lambda: fmcodec.decode(frame, out=out, max_bytes=x.nbytes),
        8 * len(frame) / x.size,
    )


KINDS = ("identity", "dct", "hadamard", "dct spatial", "klt", "klt, all", f"klt, all{COARSE}")
TASKS: dict[str, Callable[[FloatMap], Task]] = {
    "copy": _copy,
    **{f"fmcodec {kind}": partial(_fmcodec, kind=kind) for kind in KINDS},
    **{f"torch {kind}": partial(_torch, kind=kind) for kind in ("klt", "klt, all")},
}


@pytest.fixture(params=TASKS)
def task_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("direction", ["encode", "decode"])
def test_transform(benchmark: Any, direction: str, map_name: str, x: FloatMap, task_name: str) -> None:
    task = TASKS[task_name](x)
    benchmark.group = f"{direction} {map_name}"
    benchmark.extra_info.update(codec=task_name, bytes=x.nbytes, **({"bits": task.bits} if task.bits else {}))
    benchmark(task.encode if direction == "encode" else task.decode)


BIG_TASKS: dict[str, Callable[[FloatMap], Task]] = {
    "copy": _copy,
    **{f"fmcodec {kind}": partial(_transform_only, kind=kind) for kind in ("identity", "dct", "hadamard")},
}


@pytest.fixture(scope="module")
def big_map() -> FloatMap:
    return 0.3 * np.random.default_rng(0).standard_normal((64, 724, 724), dtype=np.float32)


@pytest.mark.parametrize("name", BIG_TASKS)
@pytest.mark.parametrize("direction", ["encode", "decode"])
def test_transform_from_memory(benchmark: Any, direction: str, name: str, big_map: FloatMap) -> None:
    task = BIG_TASKS[name](big_map)
    benchmark.group = f"{direction} 64x724x724, nothing to code"
    benchmark.extra_info.update(codec=name, bytes=big_map.nbytes, **({"bits": task.bits} if task.bits else {}))
    benchmark(task.encode if direction == "encode" else task.decode)
