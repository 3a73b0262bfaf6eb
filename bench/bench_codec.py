"""encode() and decode() of named maps beside the pipelines a user would write today, at the same step, on one core.

    pytest bench/bench_codec.py --benchmark-columns=median,iqr,rounds

The step is 0.2 times the root mean square of the map. Peers: numpy quantization to 8 bits and zstd level 1; an 8-point
scipy.fft.dct over channels, the same quantization, and zstd level 1. "Static" has tables calibrated on other data,
which are loaded once and not sent, as hardware does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import scipy.fft
import zstandard
from conftest import FloatMap

import fmcodec

Array = npt.NDArray[Any]
DCT_SIZE = 8


@dataclass(frozen=True)
class Pipeline:
    """A codec as two functions."""

    name: str
    encode: Callable[[], bytes]
    decode: Callable[[bytes], Array]


def _step(x: FloatMap) -> float:
    return float(np.float32(0.2 * np.sqrt(np.mean(np.square(x, dtype=np.float64)))))


def _spec(x: FloatMap, transform: str) -> fmcodec.CodecSpec:
    step, signed = _step(x), bool(x.min() < 0)
    if transform == "identity":
        return fmcodec.CodecSpec(step=step, bits=8, zero_point=128 if signed else 0)
    # A fine step before the transform, the step proper after it.
    return fmcodec.CodecSpec(
        step=step / 16,
        bits=12,
        zero_point=2048 if signed else 0,
        transform="dct",
        transform_size=DCT_SIZE,
        band_steps=(16,),
    )


def _fmcodec(x: FloatMap, transform: str, effort: str | None = None) -> Pipeline:
    spec = _spec(x, transform)
    name = f"fmcodec {fmcodec.active_isa()}"
    if effort:
        spec, name = spec.replace(effort=EFFORTS[effort]), f"{name}, {effort}"
    return Pipeline(name, lambda: fmcodec.encode(x, spec), fmcodec.decode)


def _fmcodec_static(x: FloatMap, transform: str, calibration: FloatMap) -> Pipeline:
    spec = _spec(x, transform)
    statistics = fmcodec.TableStatistics(spec)
    statistics.update(calibration)
    spec = spec.replace(tables=statistics.build())
    return Pipeline(
        f"fmcodec {fmcodec.active_isa()}, static",
        lambda: fmcodec.encode(x, spec, embed_spec=False),
        lambda frame: fmcodec.decode(frame, spec=spec),
    )


def _numpy_zstd(x: FloatMap, transform: str) -> Pipeline:
    step = np.float32(_step(x))
    inverse_step = np.float32(1) / step
    kind = np.int8 if x.min() < 0 or transform == "dct" else np.uint8
    limits = np.iinfo(kind)
    compressor, decompressor = zstandard.ZstdCompressor(level=1), zstandard.ZstdDecompressor()
    groups = (-1, DCT_SIZE, *x.shape[1:])

    def encode() -> bytes:
        y = scipy.fft.dct(x.reshape(groups), axis=1, norm="ortho") if transform == "dct" else x
        return compressor.compress(np.clip(np.rint(y * inverse_step), limits.min, limits.max).astype(kind))

    def decode(frame: bytes) -> Array:
        y = np.frombuffer(decompressor.decompress(frame), kind).astype(np.float32) * step
        if transform == "dct":
            y = scipy.fft.idct(y.reshape(groups), axis=1, norm="ortho")
        return y.reshape(x.shape)

    return Pipeline("numpy + zstd -1" if transform == "identity" else "scipy dct + zstd -1", encode, decode)


CODECS = [*fmcodec.available_isas(), "fastest", "smallest", "static", "peer"]
EFFORTS = {"fastest": 1, "smallest": 3}


@pytest.fixture(params=["identity", "dct"])
def transform(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=CODECS)
def pipeline(
    request: pytest.FixtureRequest, feature_map: FloatMap, calibration_map: FloatMap, transform: str
) -> Iterator[Pipeline]:
    if request.param == "peer":
        yield _numpy_zstd(feature_map, transform)
    elif request.param in EFFORTS:
        yield _fmcodec(feature_map, transform, request.param)
    elif request.param == "static":
        yield _fmcodec_static(feature_map, transform, calibration_map)
    else:
        fmcodec.force_isa(request.param)
        yield _fmcodec(feature_map, transform)
        fmcodec.force_isa(None)


def _record(benchmark: Any, x: FloatMap, pipeline: Pipeline, frame: bytes) -> None:
    benchmark.extra_info.update(codec=pipeline.name, bytes=x.nbytes, bits=8 * len(frame) / x.size)


def test_encode(benchmark: Any, feature_map: FloatMap, map_name: str, transform: str, pipeline: Pipeline) -> None:
    benchmark.group = f"encode {transform} {map_name}"
    _record(benchmark, feature_map, pipeline, pipeline.encode())
    benchmark(pipeline.encode)


def test_decode(benchmark: Any, feature_map: FloatMap, map_name: str, transform: str, pipeline: Pipeline) -> None:
    frame = pipeline.encode()
    benchmark.group = f"decode {transform} {map_name}"
    _record(benchmark, feature_map, pipeline, frame)
    benchmark(pipeline.decode, frame)
