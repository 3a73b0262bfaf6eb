"""The package as users get it: names, versions, types."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import pkgutil
import shutil
import subprocess
import sys
import types
from pathlib import Path

import pytest

import fmcodec
from fmcodec import _core

PUBLIC_MODULES = [
    "fmcodec",
    "fmcodec.bench",
    "fmcodec.energy",
    "fmcodec.evaluation",
    "fmcodec.learn",
    "fmcodec.onnx",
    "fmcodec.reference",
    "fmcodec.report",
    "fmcodec.search",
    "fmcodec.torch",
]


@pytest.mark.parametrize("name", PUBLIC_MODULES)
def test_all_is_what_is_exported(name: str) -> None:
    module = importlib.import_module(name)
    declared = list(getattr(module, "__all__", []))
    assert len(set(declared)) == len(declared)
    assert declared == sorted(declared, key=lambda exported: (not exported.isupper(), exported))
    for exported in declared:
        if not exported.isupper():
            assert getattr(module, exported).__module__.split(".")[0] == "fmcodec"
    public = {
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType) and name != "annotations"
    }
    assert public == set(declared)


def test_versions_are_equal(root: Path) -> None:
    assert fmcodec.__version__ == importlib.metadata.version("fmcodec")
    project = (root / "pyproject.toml").read_text(encoding="utf-8")
    assert f'\nversion = "{fmcodec.__version__}"\n' in project
    assert fmcodec.build_info()["stream_version"] == fmcodec.inspect(fmcodec.encode(bytes_tensor())).version == 7


def bytes_tensor() -> memoryview:
    """A tensor without NumPy."""
    return memoryview(bytes(8)).cast("B", shape=[2, 2, 2])


def test_build_info_describes_the_build() -> None:
    info = fmcodec.build_info()
    assert info["version"] == fmcodec.__version__
    assert set(info) == {
        "version",
        "stream_version",
        "compiler",
        "build_type",
        "has_assertions",
        "available_isas",
        "active_isa",
    }
    assert info["active_isa"] in info["available_isas"]


def test_every_module_can_be_imported() -> None:
    names = [info.name for info in pkgutil.walk_packages(fmcodec.__path__, "fmcodec.")]
    assert "fmcodec.reference.tables" in names
    for name in names:
        if not name.endswith("__main__"):
            module = importlib.import_module(name)
            assert module.__doc__ or name.startswith("fmcodec._core"), name


def test_types_are_shipped() -> None:
    package = Path(fmcodec.__file__).parent
    assert (package / "py.typed").exists()
    assert (package / "_core" / "__init__.pyi").exists()
    assert (package / "_core" / "kernels.pyi").exists()
    # The stubs do not shadow the extension.
    assert _core.__file__.endswith((".so", ".pyd"))


def test_stubs_describe_the_extension(root: Path, tmp_path: Path) -> None:
    # The stubs alone: the rest of the package would have to be checked as well.
    shutil.copytree(root / "python" / "fmcodec" / "_core", tmp_path / "stubs" / "fmcodec" / "_core")
    (tmp_path / "stubs" / "fmcodec" / "__init__.pyi").touch()
    result = subprocess.run(
        [sys.executable, "-m", "mypy.stubtest", "fmcodec._core"],
        cwd=tmp_path,
        env={**os.environ, "MYPYPATH": str(tmp_path / "stubs")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "no issues found in 2 modules" in result.stdout
