"""Named feature and symbol maps, the instruction set parameter, and tables of speeds and bits at the end of a run."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from coder_sizes import SymbolMap
from coder_table import coder_table

import fmcodec

# One core: numpy and torch must not use more for the peers, nor leave threads spinning beside a measurement.
for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

FloatMap = npt.NDArray[np.float32]

# Maps of EfficientNet-Lite0 by the batch norm they come from: a linear projection, the others after their ReLU6.
NETWORK_MAPS = {
    "stem_32x112x112": "_bn0",
    "expand_96x112x112": "_blocks.1._bn0",
    "depthwise_96x56x56": "_blocks.1._bn1",
    "project_24x56x56": "_blocks.2._bn2",
    "expand_240x28x28": "_blocks.5._bn0",
    "depthwise_480x14x14": "_blocks.8._bn1",
    "expand_1152x7x7": "_blocks.15._bn0",
    "head_1280x7x7": "_bn1",
}
SYNTHETIC_MAPS = ("sparse_256x56x56", "laplace_64x56x56", "uniform_64x56x56")
CALIBRATION_VIEWS = 4

# Symbol maps and the views in each batch, so that each has at least about a million symbols.
SYMBOL_MAPS = {
    "stem_32x112x112": 8,
    "expand_96x112x112": 2,
    "depthwise_96x56x56": 8,
    "project_24x56x56": 16,
    "expand_240x28x28": 8,
    "depthwise_480x14x14": 16,
    "expand_1152x7x7": 16,
    "sparse_head_1280x7x7": 16,
}


@cache
def _network_maps(photographs: tuple[str, ...], views: int) -> dict[str, FloatMap]:
    """Maps (N, C, H, W) of views of photographs."""
    import torch

    from fmcodec.demo_inputs import photograph_views
    from fmcodec.evaluation import load_network

    torch.set_num_threads(1)
    network = load_network("efficientnet_lite0")
    maps: dict[str, FloatMap] = {}
    for name, layer in NETWORK_MAPS.items():

        def keep(_module: object, _inputs: object, output: torch.Tensor, name: str = name) -> None:
            activated = output if name.startswith("project") else output.clamp(0, 6)
            maps[name] = np.ascontiguousarray(activated.numpy())

        network.model.get_submodule(layer).register_forward_hook(keep)
    with torch.no_grad():
        network.model(network.preprocess(photograph_views(photographs, views, seed=0).float()))
    return maps


@cache
def _synthetic_map(name: str, seed: int) -> FloatMap:
    rng = np.random.default_rng(seed)
    kind, shape_text = name.split("_")
    shape = tuple(int(extent) for extent in shape_text.split("x"))
    if kind == "sparse":
        scale = np.exp(rng.standard_normal((shape[0], 1, 1)))
        values: FloatMap = np.maximum(scale * rng.standard_normal(shape) - scale, 0).astype(np.float32)
        return values
    if kind == "laplace":
        return rng.laplace(size=shape).astype(np.float32)
    return rng.uniform(-1, 1, shape).astype(np.float32)


@cache
def _symbol_map(name: str) -> SymbolMap:
    """8-bit symbols (N, C, H, W) of a network map: of 0 to 6 as uint8, or of its range, around 0, as int8."""
    from fmcodec.demo_inputs import REPORT_PHOTOGRAPHS

    maps = _network_maps(REPORT_PHOTOGRAPHS, max(SYMBOL_MAPS.values()))
    x = maps[name.removeprefix("sparse_")][: SYMBOL_MAPS[name]]
    is_signed = bool(x.min() < 0)
    scale = np.float32(127 / np.abs(x).max() if is_signed else 255 / 6)
    symbols: SymbolMap = np.rint(x * scale).astype(np.int8 if is_signed else np.uint8)
    return symbols


@pytest.fixture(params=[*NETWORK_MAPS, *SYNTHETIC_MAPS])
def map_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def feature_map(map_name: str) -> FloatMap:
    if map_name not in NETWORK_MAPS:
        return _synthetic_map(map_name, 0)
    from fmcodec.demo_inputs import REPORT_PHOTOGRAPHS

    view: FloatMap = _network_maps(REPORT_PHOTOGRAPHS, 1)[map_name][0]
    return view


@pytest.fixture
def calibration_map(map_name: str) -> FloatMap:
    """Other data of the same kind as feature_map: views of other photographs, or another seed."""
    if map_name not in NETWORK_MAPS:
        return _synthetic_map(map_name, 1)
    from fmcodec.demo_inputs import CALIBRATION_PHOTOGRAPHS

    return _network_maps(CALIBRATION_PHOTOGRAPHS, CALIBRATION_VIEWS)[map_name]


@pytest.fixture(params=SYMBOL_MAPS)
def symbol_map_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def symbol_map(symbol_map_name: str) -> SymbolMap:
    return _symbol_map(symbol_map_name)


@pytest.fixture(params=fmcodec.available_isas())
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    fmcodec.force_isa(request.param)
    yield str(request.param)
    fmcodec.force_isa(None)


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """The table of coders, and the groups of the other benchmarks."""
    session = getattr(config, "_benchmarksession", None)
    groups: dict[str, list[tuple[str, float, dict[str, float]]]] = defaultdict(list)
    coders: list[tuple[float, dict[str, Any]]] = []
    for benchmark in session.benchmarks if session else []:
        record = benchmark.extra_info
        if not benchmark.stats.data or not record:
            continue
        if "coder" in record:
            coders.append((benchmark.stats.median, record))
        else:
            groups[benchmark.group].append((record["codec"], benchmark.stats.median, record))
    if coders:
        terminalreporter.section("entropy coders: bits per symbol, GB/s of symbols (median), speed relative to zstd's")
        for line in coder_table(coders):
            terminalreporter.write_line(line)
    if groups:
        _write_groups(terminalreporter, groups)


def _write_groups(
    terminalreporter: pytest.TerminalReporter, groups: dict[str, list[tuple[str, float, dict[str, float]]]]
) -> None:
    """Median GB/s of the uncompressed side, bits per value, and time relative to fmcodec's best instruction set."""
    terminalreporter.section("GB/s (median), bits per value, time relative to the first row")
    for group, rows in groups.items():
        terminalreporter.write_line(group)
        first = rows[0][1]
        for codec, median, info in rows:
            bits = f"{info['bits']:7.3f} bits" if "bits" in info else " " * 12
            speed = info["bytes"] / median / 1e9
            terminalreporter.write_line(f"    {codec:28s} {speed:8.2f} GB/s {bits} {median / first:8.2f} x")
