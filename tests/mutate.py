"""Breaks the core in one place at a time and tells which breaks the replay of goldens and corpus does not notice.

    python tests/mutate.py --count 40 --seed 1                # files of cpp/fmcodec
    python tests/mutate.py --files cpp/fmcodec/kernels/*.h    # slower: every kernel is compiled again

Run by hand. A copy of the sources is built in build/mutants, so nothing here is touched. A break counts as noticed if
the program does not compile, crashes, takes far too long, or prints other digests. Survivors are either equivalent (the
break changes nothing that can be seen) or miss a test; the Python tests may still notice those.
"""

from __future__ import annotations

import argparse
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
NO_CODE = re.compile(r"^\s*(//|#|static_assert|template|using|namespace|throw|fail\()|^\s*$")
INPUTS = [
    ("decode", "tests/golden/v6/*.fmc"),
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


def build() -> bool:
    return run(["cmake", "--build", "build/release", "--target", "fmcodec_replay"], 900) is not None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--files", nargs="*", type=Path, default=sorted((ROOT / "cpp" / "fmcodec").glob("*.cpp")))
    arguments = parser.parse_args()
    shutil.copytree(ROOT / "cpp", COPY / "cpp", dirs_exist_ok=True)
    for name in ("CMakeLists.txt", "CMakePresets.json", "pyproject.toml"):
        shutil.copy(ROOT / name, COPY / name)
    if run(["cmake", "--preset", "release", "-DFMC_WERROR=OFF"], 60) is None or not build():
        sys.exit("the unbroken sources do not build")
    expected = digests()
    assert None not in expected
    mutants = [mutant for file in arguments.files for mutant in mutants_of(file.resolve())]
    survivors = 0
    chosen = random.Random(arguments.seed).sample(mutants, min(arguments.count, len(mutants)))
    for mutant in chosen:
        file = COPY / mutant.file
        whole = file.read_text(encoding="ascii")
        lines = whole.splitlines(keepends=True)
        lines[mutant.line] = mutant.after + "\n"
        file.write_text("".join(lines), encoding="ascii")
        if build() and digests() == expected:
            survivors += 1
            print(
                f"survives: {mutant.file}:{mutant.line + 1}\n  {mutant.before.strip()}\n  {mutant.after.strip()}",
                flush=True,
            )
        file.write_text(whole, encoding="ascii")
    print(f"{len(chosen) - survivors} of {len(chosen)} breaks are noticed, of {len(mutants)} possible ones")


if __name__ == "__main__":
    main()
