"""Size and speed of a data set of feature maps in zarr, with fmcodec and with what zarr has.

    python bench/zarr_storage.py

The maps of one layer of EfficientNet-Lite0 for views of photographs, as float32 in a store in memory, chunks of
eight images. The quantizing codecs round to the same step, 0.2 times the root mean square of the maps. Times are
medians, each round of all codecs in turn; a part is 4 of the rows of one image.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections import defaultdict
from typing import Any, NamedTuple

import numcodecs.blosc
import numpy as np
import numpy.typing as npt
import torch
import zarr
from conftest import NETWORK_MAPS
from zarr.codecs import BloscCodec
from zarr.storage import MemoryStore

import fmcodec
from fmcodec.demo_inputs import REPORT_PHOTOGRAPHS, photograph_views
from fmcodec.evaluation import ArraySamples, NetworkInputs, load_network
from fmcodec.torch.observe import run
from fmcodec.zarr import FeatureMapCodec

FloatMaps = npt.NDArray[np.float32]
CHUNK_IMAGES = 8
PART_ROWS = 4


class CountingStore(MemoryStore):
    """A store in memory that counts what is read of chunks."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes_read = 0

    async def get(self, key: str, prototype: Any = None, byte_range: Any = None) -> Any:
        value = await super().get(key, prototype, byte_range)
        self.bytes_read += 0 if value is None or key.endswith("zarr.json") else len(value)
        return value

    @property
    def size_bytes(self) -> int:
        """All of the array, its metadata too."""
        return sum(len(value) for value in self._store_dict.values())


class Way(NamedTuple):
    """A way to store float maps: options of the array, and a step if its values are levels of that step."""

    name: str
    options: dict[str, Any]
    step: float | None = None


def ways(step: float, signed: bool) -> list[Way]:
    """What is compared, each as its users would set it up."""
    spec = fmcodec.CodecSpec(step=step, zero_point=128 if signed else 0)
    fastest = FeatureMapCodec(spec.replace(effort=1))
    bitshuffled = BloscCodec(cname="zstd", clevel=5, shuffle="bitshuffle")
    return [
        Way("float32, zstd (zarr's default)", {}),
        Way("float32, blosc zstd, bitshuffle", {"compressors": bitshuffled}),
        Way("levels, zstd (zarr's default)", {}, step),
        Way("levels, blosc zstd, bitshuffle", {"compressors": bitshuffled}, step),
        Way("fmcodec, fastest", {"serializer": fastest, "compressors": None}),
        Way("fmcodec, default", {"serializer": FeatureMapCodec(spec), "compressors": None}),
    ]


def write(way: Way, x: FloatMaps) -> zarr.Array[Any]:
    """The maps in a new array."""
    kind = np.int8 if x.min() < 0 else np.uint8
    dtype = np.float32 if way.step is None else kind
    chunks = (CHUNK_IMAGES, *x.shape[1:])
    array = zarr.create_array(CountingStore(), shape=x.shape, chunks=chunks, dtype=dtype, **way.options)
    if way.step is None:
        array[:] = x
    else:
        limits = np.iinfo(kind)
        array[:] = np.clip(np.rint(x * np.float32(1 / way.step)), limits.min, limits.max).astype(kind)
    return array


def read(way: Way, array: zarr.Array[Any], selection: Any) -> FloatMaps:
    """Maps as float32."""
    values = np.asarray(array[selection])
    return values if way.step is None else values * np.float32(way.step)


def measure(x: FloatMaps, rounds: int) -> dict[str, dict[str, float]]:
    """Sizes in bytes and median seconds by name."""
    step = float(0.2 * np.sqrt(np.mean(np.square(x, dtype=np.float64))))
    part = (x.shape[0] // 2, slice(None), slice(0, PART_ROWS))
    seconds: dict[tuple[str, str], list[float]] = defaultdict(list)
    rows: dict[str, dict[str, float]] = {}
    for _ in range(rounds):
        for way in ways(step, bool(x.min() < 0)):
            start = time.perf_counter()
            array = write(way, x)
            written = time.perf_counter()
            whole = read(way, array, slice(None))
            ended = time.perf_counter()
            array.store.bytes_read = 0
            part_start = time.perf_counter()
            rows_read = read(way, array, part)
            part_end = time.perf_counter()
            assert np.array_equal(rows_read, whole[part])
            error = float(np.abs(np.asarray(whole) - x).max())
            assert error <= (0 if "float32" in way.name else 0.5001 * step) or x.max() > 255 * step
            rows[way.name] = {"size": array.store.size_bytes, "part_bytes": array.store.bytes_read}
            for name, time_taken in (("write", written - start), ("read", ended - written)):
                seconds[way.name, name].append(time_taken)
            seconds[way.name, "part"].append(part_end - part_start)
    for (name, what), times in seconds.items():
        rows[name][what] = statistics.median(times)
    return rows


def network_maps(count: int) -> dict[str, FloatMaps]:
    """Maps of views of photographs, after their ReLU6 where one follows."""
    network = load_network("efficientnet_lite0")
    views = NetworkInputs(network, ArraySamples(photograph_views(REPORT_PHOTOGRAPHS, count, 2)), 8)
    names = {NETWORK_MAPS[name]: name for name in ("expand_240x28x28", "project_24x56x56")}
    found: dict[str, list[FloatMaps]] = defaultdict(list)

    def keep(name: str, x: torch.Tensor) -> None:
        found[names[name]].append((x if names[name].startswith("project") else x.clamp(0, 6)).numpy())

    run(network.model, list(views), {name: "output" for name in names}, keep)
    return {name: np.concatenate(maps) for name, maps in found.items()}


def main() -> None:
    """Prints a table for each layer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    numcodecs.blosc.set_nthreads(1)
    zarr.config.set({"threading.max_workers": 1})
    for name, x in network_maps(options.images).items():
        print(f"\n{name.replace('_', ' ')}, {len(x)} images, {x.nbytes / 1e6:.0f} MB\n")
        print("| stored as | bits per value | write MB/s | read MB/s | part: bytes read | part: ms |")
        print("|---|---|---|---|---|---|")
        for way, row in measure(x, options.rounds).items():
            cells = (
                f"{8 * row['size'] / x.size:.2f}",
                *(f"{x.nbytes / 1e6 / row[key]:.0f}" for key in ("write", "read")),
            )
            print(f"| {way} | {' | '.join(cells)} | {row['part_bytes']:,.0f} | {1e3 * row['part']:.1f} |", flush=True)


if __name__ == "__main__":
    main()
