"""How long a call takes, for scripts that print a table; the benchmarks of pytest have their own clock."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable


def median_seconds(call: Callable[[], object], rounds: int, *, warm_up: int) -> float:
    """Median of some rounds, after others that warm up."""
    times = []
    for _ in range(warm_up + rounds):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times[warm_up:])
