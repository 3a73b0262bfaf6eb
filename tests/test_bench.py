"""The command bench: what is measured is right, and the table says what was measured. Speeds are not tested."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner, Result

import fmcodec
from fmcodec.bench import BenchResult, Measurement, bench_table, load_map, run_bench, synthetic_maps
from fmcodec.bench import measure as measure_module
from fmcodec.bench.coders import PEERS, copy_coder, fmcodec_coder, peer_coder, peers, step_of
from fmcodec.cli import main

Array = np.ndarray[Any, Any]
INSTALLED = peers()


def float_map(dtype: type[np.floating[Any]] = np.float32, scale: float = 1.0) -> Array:
    return (scale * np.random.default_rng(1).standard_normal((2, 6, 9, 7))).astype(dtype)


def run(*arguments: Any) -> Result:
    return CliRunner().invoke(main, ["bench", *map(str, arguments)])


def measurement(**fields: Any) -> Measurement:
    """A measurement of 1000 float32 values."""
    given: dict[str, Any] = {
        **{"map_name": "m", "shape": (10, 10, 10), "dtype": "float32", "values": 1000, "raw_bytes": 4000},
        **{"coder": "fmcodec", "effort": 2, "isa": "avx2", "threads": 1, "coded_bytes": 250},
        **{"encode_seconds": 1e-6, "decode_seconds": 5e-7},
    }
    return Measurement(**{**given, **fields})


def peer_measurement(**fields: Any) -> Measurement:
    given = {"coder": "zstd -1", "effort": None, "isa": None, "encode_seconds": 3e-6, "decode_seconds": 2e-6}
    return measurement(**{**given, **fields})


# --- coders


def test_synthetic_maps_are_always_the_same_and_named_as_such() -> None:
    first, second = synthetic_maps(), synthetic_maps()
    assert list(first) == list(second) and all(name.startswith("synthetic ") for name in first)
    assert all(np.array_equal(first[name], second[name]) for name in first)
    assert {str(x.dtype) for x in first.values()} == {"float32", "uint8"}


def test_step_is_a_share_of_the_root_mean_square() -> None:
    x = np.array([3.0, -4.0, 0.0, 0.0], np.float32).reshape(1, 2, 2)
    assert step_of(x, 0.2) == np.float32(0.5)
    assert step_of(x.astype(np.int8), 0.2) == 1
    with pytest.raises(ValueError, match="a map of zeros"):
        step_of(np.zeros((1, 2, 2), np.float16), 0.2)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("name", INSTALLED)
def test_peers_quantize_as_fmcodec_does(name: str, dtype: type[np.floating[Any]]) -> None:
    x = float_map(dtype)
    peer, own = peer_coder(x, 0.2, name, INSTALLED[name]), fmcodec_coder(x, 0.2, 2, fmcodec.active_isa(), 1)
    peer.decode()
    own.decode()
    # One divides by the step, the other multiplies by its inverse: a value in the middle may go either way.
    np.testing.assert_allclose(peer.decoded.astype(float), own.decoded.astype(float), atol=1e-6)
    assert np.abs(peer.decoded.astype(float) - x).max() <= float(step_of(x, 0.2)) * 0.51
    assert peer.encode() == len(peer.frame)


@pytest.mark.parametrize("name", INSTALLED)
def test_levels_of_peers_hold_wide_ranges(name: str) -> None:
    x = float_map()
    x[0, 0, 0, 0] = 3000.0
    coder = peer_coder(x, 0.001, name, INSTALLED[name])
    coder.decode()
    assert np.abs(coder.decoded - x).max() <= float(step_of(x, 0.001)) * 0.51
    wide = peer_coder(x, 1e-6, name, INSTALLED[name])
    wide.decode()
    np.testing.assert_allclose(wide.decoded, x, atol=1e-3)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_integers_come_back_from_all_coders(dtype: type[np.integer[Any]]) -> None:
    x = np.random.default_rng(2).integers(np.iinfo(dtype).min, np.iinfo(dtype).max, (3, 5, 8), dtype, endpoint=True)
    coders = [copy_coder(x), fmcodec_coder(x, 0.2, 1, fmcodec.active_isa(), 1)]
    for coder in [*coders, *(peer_coder(x, 0.2, name, own) for name, own in INSTALLED.items())]:
        coder.encode()
        coder.decode()
        np.testing.assert_array_equal(coder.decoded, x)


def test_fmcodec_is_measured_on_whole_frames() -> None:
    x = float_map()
    coder = fmcodec_coder(x, 0.2, 3, fmcodec.active_isa(), 2)
    coder.decode()
    info = fmcodec.inspect(coder.frame)
    assert coder.encode() == len(coder.frame) == info.size_bytes == fmcodec.cost(x, info.spec.replace(effort=3))
    assert info.spec.step == float(step_of(x, 0.2))
    np.testing.assert_array_equal(coder.decoded, fmcodec.decode(fmcodec.encode(x, info.spec)))
    # No value is clamped.
    assert np.abs(coder.decoded - x).max() <= info.spec.step / 2 * (1 + 1e-6)


# --- runs


def test_a_run_measures_every_setting_and_leaves_the_instruction_set() -> None:
    before = fmcodec.active_isa()
    isas = fmcodec.available_isas()
    seen: list[str] = []
    result = run_bench(
        {"a": float_map(), "b": float_map(scale=3.0)},
        isas=isas,
        threads=(1, 2),
        efforts=(1, 3),
        seconds=1e-6,
        progress=seen.append,
    )
    assert seen == ["a", "b"]
    assert fmcodec.active_isa() == before
    own = [entry for entry in result.measurements if entry.coder == "fmcodec" and entry.map_name == "a"]
    assert [(entry.effort, entry.isa, entry.threads) for entry in own] == [
        (effort, isa, threads) for effort in (1, 3) for isa in isas for threads in (1, 2)
    ]
    assert len({entry.coded_bytes for entry in own if entry.effort == 1}) == 1
    names = [entry.coder for entry in result.measurements if entry.coder != "fmcodec"]
    assert names == ["copy", *INSTALLED] * 2
    assert all(entry.encode_seconds >= 0 and entry.decode_seconds >= 0 for entry in result.measurements)
    fmcodec.force_isa(None)


def test_other_bytes_of_another_instruction_set_are_an_error() -> None:
    x = float_map()
    coders = [fmcodec_coder(x, 0.2, 1, isa, 1) for isa in ("first", "second")]
    for coder in coders:
        coder.decode()
    measure_module._check_equal("x", coders)
    with pytest.raises(RuntimeError, match="first with 1 threads and second with 1 threads do not give the same bytes"):
        measure_module._check_equal("x", [coders[0], coders[1]._replace(frame=coders[1].frame[:-1])])
    coders[1].decoded[0, 0, 0, 0] += 1
    with pytest.raises(RuntimeError, match="of 'x'"):
        measure_module._check_equal("x", coders)


def test_totals_are_sums_over_all_maps() -> None:
    entries = (
        measurement(),
        measurement(map_name="n", values=3000, raw_bytes=3000, coded_bytes=350, encode_seconds=3e-6),
        peer_measurement(),
    )
    (total,) = BenchResult(relative_step=0.2, waiting_share=0.0, measurements=entries, provenance={}).totals()
    assert total.label == "fmcodec effort 2, avx2, 1 thread"
    assert total.bits_per_value == 8 * 600 / 4000
    assert total.encode_gb_per_s == pytest.approx(7000 / 4e-6 / 1e9)


def test_the_table_by_hand() -> None:
    entries = (measurement(), measurement(threads=2, encode_seconds=4e-6), peer_measurement(coded_bytes=500))
    result = BenchResult(
        relative_step=0.1, waiting_share=0.25, measurements=entries, provenance={"processor": "some processor"}
    )
    lines = bench_table(result).splitlines()
    assert lines[0] == "some processor"
    assert "a step of 0.1 times" in lines[1]
    assert any("Other programs had 25% of the time" in line for line in lines)
    assert any("Not installed: lz4, blosc2 lz4" in line for line in lines)
    assert "m: float32, 10 x 10 x 10, 0.0 MB" in lines
    rows = {line[:33].strip(): line[33:].split() for line in lines[-3:]}
    # 250 bytes of 1000 values are 2 bits; 4000 bytes in a microsecond are 4 GB/s, three times as fast as the peer.
    assert rows["fmcodec effort 2, avx2, 1 thread"] == ["2.000", "4.00", "8.00", "3.0", "4.0"]
    assert rows["fmcodec effort 2, avx2, 2 threads"] == ["2.000", "1.00", "8.00", "0.8", "4.0"]
    assert rows["zstd -1"] == ["4.000", "1.33", "2.00", "1.0", "1.0"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"threads": ()}, "threads"),
        ({"threads": (0,)}, "threads"),
        ({"efforts": ()}, "efforts"),
        ({"relative_step": 0.0}, "relative_step"),
        ({"seconds": -1.0}, "seconds"),
        ({"isas": ["mmx"]}, "valid names are"),
    ],
)
def test_arguments_out_of_range(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        run_bench({"x": float_map()}, **change)
    with pytest.raises(ValueError, match="maps"):
        run_bench({})


# --- the command


def test_the_command_measures_files(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", float_map()[:, :, ::2])
    np.save(tmp_path / "y.npy", (float_map()[0] * 20).astype(np.int8))
    files = tmp_path / "x.npy", tmp_path / "y.npy"
    outputs = "--json", tmp_path / "found.json", "--plot", tmp_path / "found.svg"
    result = run(*files, "--seconds", 1e-6, "--threads", "1,2", "--effort", 1, "--isa", "all", *outputs)
    assert result.exit_code == 0, result.output
    assert f"{tmp_path / 'y.npy'}: int8, 6 x 9 x 7" in result.stdout
    assert "all maps" in result.stdout and "synthetic" not in result.stdout
    found = msgspec.json.decode((tmp_path / "found.json").read_bytes(), type=BenchResult)
    assert len(found.measurements) == 2 * (1 + 2 * len(fmcodec.available_isas()) + len(INSTALLED))
    assert {"command", "processor", "fmcodec"} <= set(found.provenance)
    assert "<svg" in (tmp_path / "found.svg").read_text(encoding="utf-8")
    fmcodec.force_isa(None)


def test_the_command_says_which_peers_are_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", float_map())
    for name in PEERS:
        monkeypatch.setitem(PEERS, name, (f"not_installed_{name[:2]}", PEERS[name][1]))
    result = run(tmp_path / "x.npy", "--seconds", 1e-6, "--effort", 2, "--threads", 1)
    assert result.exit_code == 0, result.output
    assert "Not installed: zstd -1, lz4, blosc2 lz4 (pip install 'fmcodec[bench]')" in result.stdout
    assert "times as fast" not in result.stdout
    fmcodec.force_isa(None)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros((4, 4), np.float32), "not shape (4, 4)"),
        (np.zeros((1, 0, 4), np.float32), "not shape (1, 0, 4)"),
        (np.zeros((1, 4, 4)), "not float64"),
        (np.full((1, 4, 4), np.nan, np.float32), "holds NaN or infinity"),
        (np.zeros((1, 4, 4), np.float32), "a map of zeros"),
    ],
)
def test_maps_that_cannot_be_measured(x: Array, message: str, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", x)
    result = run(tmp_path / "x.npy", "--seconds", 1e-6)
    assert result.exit_code == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_options_that_are_wrong(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", float_map())
    assert "--threads must be numbers" in run(tmp_path / "x.npy", "--threads", "1;2").stderr
    assert "valid names are" in run(tmp_path / "x.npy", "--isa", "mmx").stderr
    (tmp_path / "y.txt").write_text("1")
    assert "the name must end in" in run(tmp_path / "y.txt").stderr
    np.testing.assert_array_equal(load_map(tmp_path / "x.npy"), float_map())


def test_a_benchmark_needs_numpy_only() -> None:
    code = "import sys, fmcodec.bench; print({'torch', 'matplotlib', 'rich', 'zstandard'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"
