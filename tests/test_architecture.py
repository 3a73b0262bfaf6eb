"""The layers of the source: who may include and import what, and the form of each file."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CPP = ROOT / "cpp"
PYTHON = ROOT / "python" / "fmcodec"
CPP_FILES = sorted([*CPP.rglob("*.h"), *CPP.rglob("*.cpp")])
PYTHON_FILES = sorted([*PYTHON.rglob("*.py"), *PYTHON.rglob("*.pyi")])

INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', re.MULTILINE)
STANDARD_HEADER = re.compile(r"[a-z_]+")


def names(files: list[Path]) -> list[str]:
    """Paths in the repository, as names of tests."""
    return [str(file.relative_to(ROOT)) for file in files]


def includes(file: Path) -> list[str]:
    """What a C++ file includes."""
    return INCLUDE.findall(file.read_text(encoding="ascii"))


def files_of(folder: str) -> list[Path]:
    """The C++ files of one folder, without its folders."""
    return [file for file in CPP_FILES if file.parent == CPP / folder]


# --- C++


@pytest.mark.parametrize("file", files_of("fmcodec/kernels"), ids=names(files_of("fmcodec/kernels")))
def test_kernels_know_nothing_but_themselves(file: Path) -> None:
    for header in includes(file):
        is_own = header.startswith("fmcodec/kernels/") and (CPP / header).exists()
        assert STANDARD_HEADER.fullmatch(header) or header.startswith("hwy/") or is_own, header


# Kernels that tests call by another name.
CALLED = {
    **dict.fromkeys(("forward_dct", "inverse_dct"), "dct"),
    **dict.fromkeys(("dct_to_tokens", "hadamard_to_tokens"), "values_to_tokens"),
    **dict.fromkeys(("dct_from_tokens", "hadamard_from_tokens"), "tokens_to_values"),
    "write_tree": "write_wavelet",
    "read_tree": "read_wavelet",
    "advance_crc": "crc32c",
}


def test_every_kernel_has_a_test_of_its_own() -> None:
    table = (CPP / "fmcodec" / "kernels" / "kernels.h").read_text(encoding="ascii")
    kernels = re.findall(r"^  \S.* \(\*(\w+)\)\(", table, re.MULTILINE)
    tests = "".join(file.read_text(encoding="utf-8") for file in sorted((ROOT / "tests").glob("test_*kernels.py")))
    assert len(kernels) > 40
    assert [kernel for kernel in kernels if f"kernels.{CALLED.get(kernel, kernel)}(" not in tests] == []


@pytest.mark.parametrize("file", files_of("fmcodec"), ids=names(files_of("fmcodec")))
def test_core_knows_nothing_of_python_and_vectors(file: Path) -> None:
    for header in includes(file):
        assert not re.search(r"pybind11|Python\.h|numpy|hwy|-inl\.h", header), header
        assert not header.startswith("fmcodec/") or (CPP / header).exists(), header


@pytest.mark.parametrize("file", files_of("bindings"), ids=names(files_of("bindings")))
def test_bindings_leave_vectors_to_the_core(file: Path) -> None:
    for header in includes(file):
        assert not re.search(r"hwy|-inl\.h|immintrin", header), header


def test_no_includes_in_a_circle() -> None:
    graph = {str(file.relative_to(CPP)): includes(file) for file in CPP_FILES if file.suffix == ".h"}
    done: set[str] = set()

    def visit(header: str, path: tuple[str, ...]) -> None:
        assert header not in path, " -> ".join((*path, header))
        if header not in done:
            for included in graph.get(header, ()):
                visit(included, (*path, header))
            done.add(header)

    for header in graph:
        visit(header, ())


# --- Python


def imports(file: Path, *, with_nested: bool) -> set[str]:
    """Modules that a Python file imports, at its top or anywhere."""
    tree = ast.parse(file.read_text(encoding="ascii"))
    found: set[str] = set()
    for node in ast.walk(tree) if with_nested else tree.body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {str(node.module)}
    return found


def is_below(module: str, packages: tuple[str, ...]) -> bool:
    """Whether a module is one of the packages or inside one."""
    return any(module == package or module.startswith(package + ".") for package in packages)


CORE = [
    "__init__",
    "arrays",
    "basis",
    "bounds",
    "codec",
    "dead_zone",
    "errors",
    "isa",
    "klt",
    "link",
    "partial",
    "spec",
    "streaming",
    "table_statistics",
]


@pytest.mark.parametrize("name", CORE)
def test_core_modules_import_only_each_other(name: str) -> None:
    # The reference has the arithmetic that bounds follow from, the cells of parts of frames, and the order of bands.
    also = ("fmcodec.reference.transform",) if name in ("bounds", "partial", "table_statistics") else ()
    allowed = ("fmcodec._core", *(f"fmcodec.{module}" for module in CORE), *also)
    for module in imports(PYTHON / f"{name}.py", with_nested=False):
        top = module.split(".")[0]
        is_own = module == "fmcodec" or is_below(module, allowed)
        assert top in sys.stdlib_module_names or top in ("numpy", "msgspec") or is_own, module


@pytest.mark.parametrize("file", sorted((PYTHON / "reference").glob("*.py")), ids=lambda file: file.stem)
def test_reference_is_plain_numpy(file: Path) -> None:
    allowed = ("numpy", "fmcodec.reference", "fmcodec.basis", "fmcodec.errors", "fmcodec.spec")
    for module in imports(file, with_nested=True):
        assert module.split(".")[0] in sys.stdlib_module_names or is_below(module, allowed), module


@pytest.mark.parametrize("file", sorted((PYTHON / "energy").glob("*.py")), ids=lambda file: file.stem)
def test_energy_is_over_the_codec_and_below_what_people_look_at(file: Path) -> None:
    below = ("fmcodec.codec", "fmcodec.errors", "fmcodec.reference.transform", "fmcodec.spec")
    for module in imports(file, with_nested=True):
        top = module.split(".")[0]
        is_own = is_below(module, ("fmcodec.energy", *below))
        assert top in sys.stdlib_module_names or top in ("numpy", "msgspec", "matplotlib") or is_own, module


# From the bottom up; a package may import what stands before it, and search and systems not each other.
LAYERS = (
    "baselines",
    "energy",
    "torch",
    "split",
    "onnx",
    "evaluation",
    "systems",
    "search",
    "learn",
    "report",
    "demo",
    "bench",
    "cli",
)


@pytest.mark.parametrize("file", PYTHON_FILES, ids=names(PYTHON_FILES))
def test_layers_use_only_what_is_below(file: Path) -> None:
    first = file.relative_to(PYTHON).parts[0].removesuffix(".py").split("_")[0]
    if first not in LAYERS:
        return
    above = [*LAYERS[LAYERS.index(first) + 1 :], *(["systems"] if first == "search" else [])]
    for module in imports(file, with_nested=True):
        parts = module.split(".")
        assert len(parts) < 2 or parts[0] != "fmcodec" or parts[1].split("_")[0] not in above, module


OVER_TORCH = ("torch", "split.py", "onnx", "evaluation", "search", "systems", "learn")
PLUGINS = {"zarr.py": ("zarr",), "numcodecs.py": ("numcodecs",)}
HEAVY = (
    "torch",
    "onnx",
    "onnxruntime",
    "matplotlib",
    "jinja2",
    "rich",
    "scipy",
    "PIL",
    "skimage",
    "ml_dtypes",
    "zarr",
    "numcodecs",
)


@pytest.mark.parametrize("file", PYTHON_FILES, ids=names(PYTHON_FILES))
def test_heavy_packages_are_imported_late(file: Path) -> None:
    # Some packages are layers over torch, the demo is an application, and plugins are loaded by what they plug into;
    # elsewhere the functions import what they need.
    first = file.relative_to(PYTHON).parts[0]
    allowed = ("torch",) if first in OVER_TORCH else HEAVY if first.startswith("demo") else PLUGINS.get(first, ())
    allowed = (*allowed, "onnx", "onnxruntime") if first == "onnx" else allowed
    for module in imports(file, with_nested=False):
        assert is_below(module, allowed) or not is_below(module, HEAVY), module


def modules_after(statement: str) -> set[str]:
    """Modules that are loaded after a statement in a new interpreter."""
    code = f"import json, sys\n{statement}\nprint(json.dumps(sorted(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(result.stdout))


def test_import_is_light() -> None:
    loaded = modules_after("import fmcodec")
    assert not {module.split(".")[0] for module in loaded} & {*HEAVY, "click", "hypothesis", "networkx"}
    own = {module for module in loaded if is_below(module, ("fmcodec",))}
    core = ("fmcodec._core", "fmcodec.reference", *(f"fmcodec.{name}" for name in CORE[1:]))
    assert all(module == "fmcodec" or is_below(module, core) for module in own), own
    assert len(loaded - modules_after("import numpy, msgspec.json, importlib.metadata")) <= 35


@pytest.mark.parametrize("name", PLUGINS)
def test_plugins_are_over_the_core_alone(name: str) -> None:
    allowed = ("fmcodec._core", *PLUGINS[name], *(f"fmcodec.{module}" for module in CORE))
    for module in imports(PYTHON / name, with_nested=True):
        top = module.split(".")[0]
        assert top in sys.stdlib_module_names or top == "numpy" or is_below(module, allowed), module


# --- files


@pytest.mark.parametrize("file", [*CPP_FILES, *PYTHON_FILES], ids=names([*CPP_FILES, *PYTHON_FILES]))
def test_files_are_short_and_ascii(file: Path) -> None:
    content = file.read_bytes()
    content.decode("ascii")
    assert content.count(b"\n") < 500
    assert not content or content.endswith(b"\n")
    assert b"\r" not in content and b"\t" not in content


@pytest.mark.parametrize("file", CPP_FILES, ids=names(CPP_FILES))
def test_cpp_files_begin_with_licence_and_purpose(file: Path) -> None:
    lines = file.read_text(encoding="ascii").splitlines()
    assert lines[0] == "// SPDX-License-Identifier: Apache-2.0"
    # A .cpp file with a header of its own has the sentence there.
    if file.suffix == ".h" or not file.with_suffix(".h").exists():
        comment = re.match(r"((?:// .*\n|//\n)+)", "\n".join(lines[1:]) + "\n")
        assert comment and re.search(r"\.$", comment[1], re.MULTILINE)
    if file.suffix == ".h" and not file.name.endswith("-inl.h"):
        assert "#pragma once" in lines


@pytest.mark.parametrize("file", PYTHON_FILES, ids=names(PYTHON_FILES))
def test_python_files_begin_with_a_docstring(file: Path) -> None:
    docstring = ast.get_docstring(ast.parse(file.read_text(encoding="ascii")))
    assert docstring and docstring.split("\n\n")[0].rstrip().endswith((".", ":"))
