"""The command line: files in and out, one-line errors, and nothing heavy imported at its start."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from click.testing import CliRunner, Result

import fmcodec
from fmcodec.cli import TRANSFORMS, main
from fmcodec.spec import CodecSpec

torch = pytest.importorskip("torch")


@pytest.fixture
def x() -> npt.NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal((2, 12, 9, 7), np.float32)


def run(*arguments: Any) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def run_fine(*arguments: Any) -> str:
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def check_failure(result: Result, message: str) -> None:
    assert result.exit_code == 2
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert result.stdout == ""


def test_round_trip_of_npy(tmp_path: Path, x: npt.NDArray[np.float32]) -> None:
    np.save(tmp_path / "x.npy", x)
    output = run_fine("encode", tmp_path / "x.npy", tmp_path / "x.fmc", "--threads", 2)
    frame = (tmp_path / "x.fmc").read_bytes()
    assert frame == fmcodec.encode(x)
    assert f"{len(frame)} bytes" in output
    run_fine("decode", tmp_path / "x.fmc", tmp_path / "y.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), fmcodec.decode(frame))


def test_options_make_the_spec(tmp_path: Path, x: npt.NDArray[np.float32]) -> None:
    np.save(tmp_path / "x.npy", x)
    files = tmp_path / "x.npy", tmp_path / "x.fmc"
    run_fine("encode", *files, "--step", 0.1, "--bits", 7, "--zero-point", 60, "--transform", "dct4")
    spec = CodecSpec(step=0.1, bits=7, zero_point=60, transform="dct", transform_size=4)
    assert files[1].read_bytes() == fmcodec.encode(x, spec)
    run_fine("encode", *files, "--spec", spec.to_json())
    assert files[1].read_bytes() == fmcodec.encode(x, spec)
    (tmp_path / "spec.json").write_text(spec.to_json())
    run_fine("encode", *files, "--spec", f"@{tmp_path / 'spec.json'}", "--bits", 6, "--transform", "identity")
    changed = spec.replace(bits=6, transform="identity", transform_size=1)
    assert files[1].read_bytes() == fmcodec.encode(x, changed)
    run_fine("encode", *files, "--spec", spec.to_json(), "--layout", "nhwc")
    assert fmcodec.inspect(files[1].read_bytes()).layout == "nhwc"
    assert TRANSFORMS["dct32"] == ("dct", 32)


def test_npz_and_keys(tmp_path: Path, x: npt.NDArray[np.float32]) -> None:
    np.savez(tmp_path / "x.npz", first=x, second=x[:, :4])
    run_fine("encode", tmp_path / "x.npz", tmp_path / "1.fmc")
    run_fine("encode", tmp_path / "x.npz", tmp_path / "2.fmc", "--key", "second")
    assert (tmp_path / "1.fmc").read_bytes() == fmcodec.encode(x)
    assert (tmp_path / "2.fmc").read_bytes() == fmcodec.encode(x[:, :4])
    run_fine("decode", tmp_path / "2.fmc", tmp_path / "y.npz", "--key", "map")
    assert list(np.load(tmp_path / "y.npz")) == ["map"]
    check_failure(run("encode", tmp_path / "x.npz", tmp_path / "3.fmc", "--key", "third"), "only first, second")
    np.savez(tmp_path / "empty.npz")
    check_failure(run("encode", tmp_path / "empty.npz", tmp_path / "3.fmc"), "holds no arrays")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_torch_files(tmp_path: Path, x: npt.NDArray[np.float32], dtype: Any) -> None:
    tensor = torch.from_numpy(x).to(dtype)
    torch.save(tensor, tmp_path / "x.pt")
    torch.save({"map": tensor}, tmp_path / "named.pt")
    run_fine("encode", tmp_path / "x.pt", tmp_path / "x.fmc")
    run_fine("encode", tmp_path / "named.pt", tmp_path / "named.fmc", "--key", "map")
    assert (tmp_path / "x.fmc").read_bytes() == (tmp_path / "named.fmc").read_bytes()
    run_fine("decode", tmp_path / "x.fmc", tmp_path / "y.pt")
    decoded = torch.load(tmp_path / "y.pt")
    assert decoded.dtype == dtype
    expected = torch.empty_like(tensor)
    fmcodec.decode((tmp_path / "x.fmc").read_bytes(), out=expected)
    assert torch.equal(decoded, expected)


def test_inspect(tmp_path: Path, x: npt.NDArray[np.float32]) -> None:
    spec = CodecSpec(step=0.1, zero_point=100)
    (tmp_path / "x.fmc").write_bytes(fmcodec.encode(x, spec))
    text = run_fine("inspect", tmp_path / "x.fmc")
    assert "2 x 12 x 9 x 7 (nchw)" in text
    fields = json.loads(run_fine("inspect", tmp_path / "x.fmc", "--json"))
    assert fields["shape"] == [2, 12, 9, 7]
    assert fields["dtype"] == "float32"
    assert sum(fields["section_bits"].values()) == 8 * fields["size_bytes"]
    assert CodecSpec.from_json(json.dumps(fields["spec"])) == spec


def test_external_specs(tmp_path: Path, x: npt.NDArray[np.float32]) -> None:
    spec = CodecSpec(step=0.1, zero_point=100)
    (tmp_path / "x.fmc").write_bytes(fmcodec.encode(x, spec, embed_spec=False))
    files = tmp_path / "x.fmc", tmp_path / "y.npy"
    check_failure(run("decode", *files), "spec")
    run_fine("decode", *files, "--spec", spec.to_json())
    np.testing.assert_array_equal(np.load(files[1]), fmcodec.decode(fmcodec.encode(x, spec)))
    assert "(not in the frame)" in run_fine("inspect", files[0], "--spec", spec.to_json())


def test_relayout(tmp_path: Path, x: npt.NDArray[np.float32]) -> None:
    spec = CodecSpec(step=0.1, zero_point=100)
    frame = fmcodec.encode(x, spec)
    (tmp_path / "x.fmc").write_bytes(frame)
    run_fine("relayout", tmp_path / "x.fmc", tmp_path / "s.fmc", "--layout", "serial", "--word-bits", 16)
    serial = spec.replace(code_layout="serial", word_bits=16)
    assert (tmp_path / "s.fmc").read_bytes() == fmcodec.encode(x, serial)
    run_fine("relayout", tmp_path / "s.fmc", tmp_path / "w.fmc", "--layout", "wavelet")
    assert (tmp_path / "w.fmc").read_bytes() == frame
    (tmp_path / "x.fmc").write_bytes(fmcodec.encode(x, spec, embed_spec=False))
    files = tmp_path / "x.fmc", tmp_path / "e.fmc"
    check_failure(run("relayout", *files, "--layout", "serial"), "spec")
    run_fine("relayout", *files, "--layout", "serial", "--spec", spec.to_json(), "--threads", 2)
    assert files[1].read_bytes() == fmcodec.encode(x, spec.replace(code_layout="serial"), embed_spec=False)
    wrong = run("relayout", tmp_path / "s.fmc", tmp_path / "w.fmc", "--layout", "wavelet", "--word-bits", 8)
    check_failure(wrong, "word_bits is for code_layout 'serial'")


def test_errors_are_one_line(tmp_path: Path, x: npt.NDArray[np.float32]) -> None:
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "double.npy", x.astype(np.float64))
    torch.save([1, 2], tmp_path / "list.pt")
    frame = fmcodec.encode(x)
    (tmp_path / "cut.fmc").write_bytes(frame[:-1])
    (tmp_path / "changed.fmc").write_bytes(frame[:-1] + bytes([frame[-1] ^ 1]))
    (tmp_path / "empty.npy").write_bytes(b"")
    out = tmp_path / "out"
    check_failure(run("encode", tmp_path / "x.npy", out, "--bits", 17), "bits must be 2 to 16, not 17")
    check_failure(run("encode", tmp_path / "x.npy", out, "--spec", "{"), "truncated")
    check_failure(run("encode", tmp_path / "x.npy", out, "--spec", '{"stap": 1}'), "stap")
    check_failure(run("encode", tmp_path / "x.npy", out, "--spec", f"@{tmp_path / 'none.json'}"), "none.json")
    check_failure(run("encode", tmp_path / "double.npy", out), "float64")
    check_failure(run("encode", tmp_path / "list.pt", out), "not a tensor")
    check_failure(run("encode", tmp_path / "empty.npy", out), "")
    check_failure(run("encode", tmp_path / "cut.fmc", out), "the name must end in .npy, .npz, .pt")
    check_failure(run("decode", tmp_path / "cut.fmc", tmp_path / "out.npy"), "byte")
    check_failure(run("decode", tmp_path / "changed.fmc", tmp_path / "out.npy"), "CRC-32C")
    check_failure(run("inspect", tmp_path / "x.npy"), "frame")
    assert not list(tmp_path.glob("out*"))


def test_usage_errors_exit_with_2(tmp_path: Path) -> None:
    assert run("encode", tmp_path / "none.npy", tmp_path / "x.fmc").exit_code == 2
    assert run("unknown").exit_code == 2


def test_bfloat16_needs_a_torch_file(tmp_path: Path, x: npt.NDArray[np.float32]) -> None:
    (tmp_path / "x.fmc").write_bytes(fmcodec.encode(torch.from_numpy(x).to(torch.bfloat16)))
    check_failure(run("decode", tmp_path / "x.fmc", tmp_path / "y.npy"), "bfloat16 can only be written to a .pt file")


def test_missing_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "fmcodec.demo", raising=False)
    monkeypatch.setitem(sys.modules, "rich.console", None)
    check_failure(run("demo"), "pip install 'fmcodec[demo]'")


def test_start_imports_nothing_heavy() -> None:
    script = (
        "import sys, fmcodec.cli; "
        "print([name for name in ('torch', 'matplotlib', 'rich', 'jinja2', 'PIL') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_module_runs() -> None:
    result = subprocess.run([sys.executable, "-m", "fmcodec", "--version"], capture_output=True, text=True, check=True)
    assert fmcodec.__version__ in result.stdout
