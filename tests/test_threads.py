"""Threads and processes: the same bytes whatever runs at the same time."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import fmcodec
from fmcodec import CodecSpec

SPECS = [
    CodecSpec(step=0.05, zero_point=60, block_shape=(4, 9)),
    CodecSpec(step=0.01, bits=12, zero_point=900, transform="dct", transform_size=8, block_shape=(5, 5)),
    CodecSpec(step=0.01, bits=12, zero_point=900, spatial_size=4, block_shape=(4, 4), band_steps=(5,)),
]


def tensor(seed: int, shape: tuple[int, ...] = (20, 45, 50)) -> Any:
    """Values that make many blocks in several groups."""
    return np.random.default_rng(seed).laplace(size=shape).astype(np.float32)


@pytest.mark.parametrize("spec", SPECS, ids=["identity", "dct", "spatial"])
def test_number_of_threads_has_no_influence(spec: CodecSpec) -> None:
    x = tensor(0)
    frame = fmcodec.encode(x, spec)
    decoded = fmcodec.decode(frame)
    assert len(fmcodec.inspect(frame).blocks) > 4 * 17
    for threads in [*range(1, 9), 1000]:
        assert fmcodec.encode(x, spec, threads=threads) == frame
        assert fmcodec.decode(frame, threads=threads).tobytes() == decoded.tobytes()
        buffer = bytearray(len(frame))
        assert fmcodec.encode_into(x, buffer, spec, threads=threads) == len(frame) and buffer == frame


@pytest.mark.parametrize("threads", [1, 2, 8])
def test_groups_are_brought_to_their_places_within_the_buffer(threads: int) -> None:
    # Eight groups, which threads finish in any order.
    x = np.random.default_rng(4).integers(0, 50, (8, 4, 512, 512), np.uint8)
    frame = fmcodec.encode(x)
    for room in (len(frame) // 2, len(frame) - 1, len(frame), len(frame) + 1):
        outer = bytearray(b"\xaa" * (room + 200))
        buffer = memoryview(outer)[100:-100]
        if room < len(frame):
            with pytest.raises(ValueError, match="bytes"):
                fmcodec.encode_into(x, buffer, threads=threads)
        else:
            assert fmcodec.encode_into(x, buffer, threads=threads) == len(frame)
            assert bytes(buffer[: len(frame)]) == frame
        assert outer[:100] == outer[-100:] == b"\xaa" * 100


def test_errors_in_threads_are_raised_in_the_caller() -> None:
    x = tensor(0)
    frame = bytearray(fmcodec.encode(x, SPECS[0]))
    last = fmcodec.inspect(frame).blocks[-1]
    frame[last.offset] ^= 1
    for threads in (1, 4, 8):
        with pytest.raises(fmcodec.ChecksumError) as caught:
            fmcodec.decode(frame, threads=threads)
        assert caught.value.offset == last.offset
    x[19, 44, 49] = np.nan
    for threads in (1, 4, 8):
        with pytest.raises(fmcodec.NonFiniteError):
            fmcodec.encode(x, SPECS[0], threads=threads)


def round_trip(seed: int) -> tuple[bytes, bytes]:
    """Frame and values of a tensor of its own."""
    spec = SPECS[seed % len(SPECS)]
    frame = fmcodec.encode(tensor(seed), spec, threads=1 + seed % 3)
    return frame, fmcodec.decode(frame, threads=1 + seed % 2).tobytes()


def test_callers_in_many_threads() -> None:
    expected = [round_trip(seed) for seed in range(12)]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(3):
            assert list(pool.map(round_trip, range(12))) == expected


def test_one_spec_used_first_by_many_threads_at_once() -> None:
    x = tensor(1, (8, 12, 12))
    expected = fmcodec.encode(x, SPECS[0])
    for _ in range(20):
        fresh = CodecSpec.from_json(SPECS[0].to_json())
        barrier = threading.Barrier(6)

        def first_use(spec: CodecSpec, barrier: threading.Barrier) -> bytes:
            barrier.wait()
            return fmcodec.encode(x, spec)

        with ThreadPoolExecutor(6) as pool:
            futures = [pool.submit(first_use, fresh, barrier) for _ in range(6)]
            assert all(future.result() == expected for future in futures)


@pytest.mark.parametrize("shape", [(4, 40, 40), (512, 2, 4)])
def test_statistics_that_several_threads_fill(shape: tuple[int, ...]) -> None:
    spec = SPECS[0].replace(effort=3)
    tensors = [tensor(seed, shape) * (1 + seed % 5) for seed in range(16)]
    expected = fmcodec.TableStatistics(spec)
    for x in tensors:
        expected.update(x)
    for _ in range(3):
        statistics, part = fmcodec.TableStatistics(spec), fmcodec.TableStatistics(spec)
        part.update(tensors[0])
        with ThreadPoolExecutor(6) as pool:
            calls = [pool.submit(statistics.update, x) for x in tensors[1:]]
            calls += [pool.submit(statistics.merge, part)]
            for call in calls:
                call.result()
        assert statistics.build() == expected.build()


def test_statistics_that_are_merged_crosswise() -> None:
    # Each thread holds one of the two and wants the other.
    x = tensor(3, (2, 8, 8))
    for _ in range(50):
        left, right = fmcodec.TableStatistics(SPECS[0]), fmcodec.TableStatistics(SPECS[0])
        left.update(x)
        right.update(x)
        with ThreadPoolExecutor(2) as pool:
            calls = [pool.submit(left.merge, right), pool.submit(right.merge, left), pool.submit(left.merge, left)]
            for call in calls:
                call.result(timeout=60)
        assert left.build().class_map == right.build().class_map


def ticks_during(call: Callable[[], object]) -> int:
    """How often another thread ran within the middle of a call."""
    ticks: list[float] = []
    is_done = threading.Event()

    def tick() -> None:
        while not is_done.is_set():
            ticks.append(time.perf_counter())
            time.sleep(0.0005)

    ticker = threading.Thread(target=tick)
    ticker.start()
    start = time.perf_counter()
    call()
    stop = time.perf_counter()
    is_done.set()
    ticker.join()
    margin = (stop - start) / 4
    return sum(start + margin < at < stop - margin for at in ticks)


def test_other_threads_run_during_encode_and_decode() -> None:
    x = np.tile(tensor(2, (32, 64, 64)), (8, 4, 4))
    spec = SPECS[1].replace(block_shape=None)
    frame = fmcodec.encode(x, spec)
    out = np.empty_like(x)
    buffer = bytearray(fmcodec.encode_bound(x.shape, x.dtype, spec))
    statistics = fmcodec.TableStatistics(spec)
    calls: list[Callable[[], object]] = [
        lambda: fmcodec.encode_into(x, buffer, spec),
        lambda: fmcodec.decode(frame, out=out),
        lambda: statistics.update(x),
    ]
    for call in calls:
        assert max(ticks_during(call) for _ in range(3)) >= 3


INTERRUPTED = """
import signal, sys
import numpy as np
import fmcodec

# Many small blocks, so that everything takes much longer than the tenth of a second between two looks at signals.
spec = fmcodec.CodecSpec(step=0.01, effort=1, block_shape=(1, 1))
x = np.random.default_rng(0).normal(size=(32, 64, 64, 64)).astype(np.float32).clip(-1, 1)
x = np.tile(x, (6, 1, 1, 1))
frame = fmcodec.encode(x, spec, threads=2)
calls = {
    "encode": lambda: fmcodec.encode(x, spec, threads=threads),
    "cost": lambda: fmcodec.cost(x, spec, threads=threads),
    "decode": lambda: fmcodec.decode(frame, threads=threads),
    "relayout": lambda: fmcodec.relayout(frame, "serial", threads=threads),
}
signal.signal(signal.SIGALRM, signal.default_int_handler)
for threads in (1, 2):
    for name, call in calls.items():
        # The kernel's own timer: it is not late where a thread would be.
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        try:
            call()
            sys.exit(name + " was not interrupted")
        except KeyboardInterrupt:
            pass
print("interrupted")
"""


def test_interrupts_end_long_work() -> None:
    result = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    assert result.stdout == "interrupted\n"


def test_a_pool_of_new_processes() -> None:
    # Specs travel to the processes with what was cached in them.
    expected = [round_trip(seed) for seed in range(4)]
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        assert list(pool.map(round_trip, range(4))) == expected
        frames = list(
            pool.map(fmcodec.encode, [tensor(i) for i in range(4)], [SPECS[i % len(SPECS)] for i in range(4)])
        )
    assert frames == [frame for frame, _ in expected]


FORK = """
import multiprocessing, sys, warnings
import numpy as np
import fmcodec

# Newer Pythons warn about any fork of a process that once had threads.
warnings.simplefilter("ignore", DeprecationWarning)
x = np.random.default_rng(0).laplace(size=(16, 40, 40)).astype(np.float32)
spec = fmcodec.CodecSpec(step=0.05, zero_point=60, block_shape=(4, 4))
frame = fmcodec.encode(x, spec, threads=4)
decoded = fmcodec.decode(frame, threads=4)

def again(threads):
    same = np.array_equal(fmcodec.decode(frame, threads=threads), decoded)
    return same and fmcodec.encode(x, spec, threads=threads) == frame

if __name__ == "__main__":
    with multiprocessing.get_context("fork").Pool(3) as pool:
        results = pool.map_async(again, [1, 2, 3, 4] * 3).get(timeout=60)
    print(sum(results), again(4))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork")
def test_fork_after_use() -> None:
    result = subprocess.run([sys.executable, "-c", FORK], capture_output=True, text=True, timeout=120, check=False)
    assert (result.stdout, result.stderr) == ("12 True\n", "")


GIL = """
import sys
import numpy
before = sys._is_gil_enabled()
import fmcodec
print(before, sys._is_gil_enabled())
"""


@pytest.mark.skipif(not sysconfig.get_config_var("Py_GIL_DISABLED"), reason="only in free-threaded builds of CPython")
def test_import_does_not_bring_the_gil_back() -> None:
    result = subprocess.run([sys.executable, "-c", GIL], capture_output=True, text=True, timeout=120, check=True)
    before, after = result.stdout.split()
    assert before == after
