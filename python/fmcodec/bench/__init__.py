"""Speed and rate of fmcodec on this machine and these maps, beside the general compressors that are installed."""

from fmcodec.bench.maps import load_map, synthetic_maps
from fmcodec.bench.measure import BenchResult, Measurement, run_bench
from fmcodec.bench.plot import plot_bench
from fmcodec.bench.text import bench_table

__all__ = [
    "BenchResult",
    "Measurement",
    "bench_table",
    "load_map",
    "plot_bench",
    "run_bench",
    "synthetic_maps",
]
