"""Breaks the core in one place at a time and tells which breaks the tests do not notice.

    python tests/mutate.py --count 40 --seed 1                            # files of cpp/fmcodec, the replay alone
    python tests/mutate.py --files cpp/fmcodec/kernels/*.h --python       # slower: what survives meets the Python tests

Run by hand; `--python` in an environment with what the tests need. A copy of the sources is built in build/mutants, so
nothing here is touched, with the portable code and the largest instruction set only. A break counts as noticed if the
program does not compile, crashes, takes far too long, or gives other digests of goldens and corpus, or if a Python test
fails. Survivors are either equivalent (the break changes nothing that can be seen) or miss a test.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
COPY = ROOT / "build" / "mutants"
# What is looked for in a line, and what it becomes.
BREAKS = [
    (r" < ", " <= "),
    (r" <= ", " < "),
    (r" > ", " >= "),
    (r" >= ", " > "),
    (r" == ", " != "),
    (r" != ", " == "),
    (r" \+ 1\b", " + 2"),
    (r" - 1\b", " - 2"),
    (r" \+ ", " - "),
    (r" - ", " + "),
    (r" && ", " || "),
    (r" \|\| ", " && "),
    (r" << ", " >> "),
    (r" & ", " | "),
    (r"\bstd::min\b", "std::max"),
    (r"\bstd::max\b", "std::min"),
    (r"\btrue\b", "false"),
    (r"\bfalse\b", "true"),
]
# All of x86-64 but AVX3_DL, beside those that are never compiled.
DISABLED_TARGETS = "HWY_SVE|HWY_SVE2|HWY_SVE_256|HWY_SVE2_128|HWY_RVV|HWY_SSSE3|HWY_SSE4|HWY_AVX2|HWY_AVX3"
PYTHON_TESTS = [
    *("kernels", "token_kernels", "neighbour_kernels", "golden", "code_lengths", "serial", "neighbours", "streaming"),
    *("errors", "reference", "format_examples", "static_tables", "threads", "codec"),
]
NO_CODE = re.compile(r"^\s*(//|#|static_assert|template|using|namespace|throw|fail\()|^\s*$")
INPUTS = [
    ("decode", "tests/golden/v7/*.fmc"),
    ("decode", "tests/golden/hostile/*.fmc"),
    *((target, f"tests/corpus/{target}/*") for target in ("parse", "decode", "coder", "round_trip")),
]


class Mutant(NamedTuple):
    """One line of a file, and what it becomes."""

    file: str
    line: int
    before: str
    after: str


def mutants_of(file: Path) -> list[Mutant]:
    """All breaks of a file."""
    found = []
    for number, line in enumerate(file.read_text(encoding="ascii").splitlines()):
        if NO_CODE.search(line):
            continue
        code = line.split("//")[0]
        for pattern, replacement in BREAKS:
            broken = re.sub(pattern, replacement, code, count=1)
            if broken != code:
                found.append(Mutant(str(file.relative_to(ROOT)), number, line, broken))
    return found


def run(command: list[str | Path], limit: float) -> str | None:
    """The output of a command, None if it fails or takes longer than so many seconds."""
    try:
        result = subprocess.run(command, cwd=COPY, capture_output=True, text=True, timeout=limit)
    except subprocess.TimeoutExpired:
        return None
    return result.stdout if result.returncode == 0 else None


def digests() -> list[str | None]:
    """What the replay program says of all inputs, up to the first that fails."""
    outputs: list[str | None] = []
    for target, pattern in INPUTS:
        inputs = sorted(ROOT.glob(pattern))
        outputs.append(run([COPY / "build/release/fmcodec_replay", target, *inputs], 60))
        if outputs[-1] is None:
            break
    return outputs


def copy_if_other(source: str, target: str) -> None:
    """Copies a file that has other bytes; one that an earlier break left newer than its object is compiled again."""
    if not Path(target).exists() or Path(source).read_bytes() != Path(target).read_bytes():
        shutil.copy(source, target)


def build(*targets: str) -> bool:
    return run(["cmake", "--build", "build/release", "--target", "fmcodec_replay", *targets], 900) is not None


def python_tests_pass() -> bool:
    """Whether the Python tests of the core pass with the extension of the copy."""
    package = COPY / "package" / "fmcodec"
    package.mkdir(parents=True, exist_ok=True)
    for file in (ROOT / "python" / "fmcodec").iterdir():
        if file.name != "_core" and not (package / file.name).exists():
            (package / file.name).symlink_to(file)
    if not build("_core"):
        return False
    for file in COPY.glob("build/release/_core*.so"):
        shutil.copy(file, package)
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(package.parent), os.environ.get("PYTHONPATH", "")])}
    files = [f"tests/test_{name}.py" for name in PYTHON_TESTS]
    try:
        result = subprocess.run([*command, *files], cwd=ROOT, env=environment, capture_output=True, timeout=600)
    except subprocess.TimeoutExpired:
        return False
    return result.returncode == 0


def configure(*, with_python: bool) -> bool:
    """Whether CMake accepts the copy of the sources."""
    options = ["-DFMC_WERROR=OFF", f"-DFMC_DISABLED_TARGETS={DISABLED_TARGETS}", f"-DFMC_PYTHON={with_python}"]
    if with_python:
        import pybind11

        options.append(f"-Dpybind11_DIR={pybind11.get_cmake_dir()}")
    return run(["cmake", "--preset", "release", *options], 60) is not None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--files", nargs="*", type=Path, default=sorted((ROOT / "cpp" / "fmcodec").glob("*.cpp")))
    parser.add_argument("--python", action="store_true", help="run the Python tests on what the replay does not notice")
    arguments = parser.parse_args()
    shutil.copytree(ROOT / "cpp", COPY / "cpp", dirs_exist_ok=True, copy_function=copy_if_other)
    for name in ("CMakeLists.txt", "CMakePresets.json", "pyproject.toml"):
        shutil.copy(ROOT / name, COPY / name)
    if not configure(with_python=arguments.python) or not build():
        sys.exit("the unbroken sources do not build")
    expected = digests()
    if None in expected or (arguments.python and not python_tests_pass()):
        sys.exit("the tests do not pass without a break")
    mutants = [mutant for file in arguments.files for mutant in mutants_of(file.resolve())]
    replayed = noticed = 0
    chosen = random.Random(arguments.seed).sample(mutants, min(arguments.count, len(mutants)))
    for mutant in chosen:
        file = COPY / mutant.file
        whole = file.read_text(encoding="ascii")
        lines = whole.splitlines(keepends=True)
        lines[mutant.line] = mutant.after + "\n"
        file.write_text("".join(lines), encoding="ascii")
        if not build() or digests() != expected:
            replayed += 1
        elif arguments.python and not python_tests_pass():
            noticed += 1
        else:
            print(
                f"survives: {mutant.file}:{mutant.line + 1}\n  {mutant.before.strip()}\n  {mutant.after.strip()}",
                flush=True,
            )
        file.write_text(whole, encoding="ascii")
    of = f"of {len(chosen)} breaks, of {len(mutants)} possible ones"
    print(f"the replay notices {replayed} and the Python tests {noticed} more {of}")


if __name__ == "__main__":
    main()
