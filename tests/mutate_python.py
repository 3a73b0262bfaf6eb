"""Breaks checks and comparisons of Python files one at a time and tells which breaks the tests do not notice.

    python tests/mutate_python.py                                        # all breaks of the files of TESTS
    python tests/mutate_python.py --files python/fmcodec/spec.py --count 20 --seed 1

Run by hand, in an environment with fmcodec installed. A copy of the package in build/python-mutants is broken, so
nothing here is touched. Survivors are equivalent (the break changes nothing that can be seen) or miss a test.
"""

from __future__ import annotations

import argparse
import ast
import copy
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from fmcodec import _core

ROOT = Path(__file__).resolve().parent.parent
COPY = ROOT / "build" / "python-mutants"
# The tests of each file, what fails fast first.
TESTS = {
    "arrays": ["errors", "codec"],
    "basis": ["spec", "format_examples", "calibrate", "errors", "reference"],
    "bounds": ["reference", "codec"],
    "codec": ["errors", "codec", "serial"],
    "dead_zone": ["dead_zone"],
    "files": ["streaming", "cli"],
    "klt": ["calibrate", "fold"],
    "link": ["link"],
    "partial": ["partial"],
    "policy": ["policy"],
    "reference/bits": ["golden", "reference", "errors"],
    "reference/blocks": ["golden", "reference", "errors"],
    "reference/frame": ["golden", "reference", "errors"],
    "reference/section": ["golden", "reference", "errors"],
    "reference/tables": ["golden", "reference", "errors"],
    "spec": ["spec", "policy", "golden", "reference", "errors", "codec"],
    "streaming": ["streaming"],
    "table_statistics": ["dead_zone", "errors", "threads", "codec"],
}
# Python code is the same on every instruction set, so one of them is enough.
ONE_ISA = "not avx and not sse4 and not ssse3 and not neon"
COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
}
SWAPPED_NAMES = {"min": "max", "max": "min", "any": "all", "all": "any"}


class Mutant(NamedTuple):
    """A file with one break."""

    file: Path
    line: int
    before: str
    after: str
    source: str


def breaks_of(node: ast.AST) -> Iterator[ast.AST]:
    """What one node can become."""
    match node:
        case ast.Compare(left, operators, others):
            for i, operator in enumerate(operators):
                swapped = [*operators[:i], COMPARISONS[type(operator)](), *operators[i + 1 :]]
                yield ast.Compare(left, swapped, others)
        case ast.BoolOp(operator, values):
            yield ast.BoolOp(ast.And() if isinstance(operator, ast.Or) else ast.Or(), values)
        case ast.UnaryOp(ast.Not(), operand):
            yield operand
        case ast.BinOp(left, operator, right) if type(operator) in OPERATORS:
            yield ast.BinOp(left, OPERATORS[type(operator)](), right)
        case ast.Name(name, context) if name in SWAPPED_NAMES:
            yield ast.Name(SWAPPED_NAMES[name], context)
        case ast.Constant(int(value)) if not isinstance(value, bool):
            yield ast.Constant(value + 1)
        case ast.If(_, body, others) if isinstance(body[0], ast.Raise):
            yield ast.If(ast.Constant(False), body, others)  # the check is not made


def mutants_of(file: Path) -> list[Mutant]:
    """All breaks of a file, but for those of type annotations."""
    tree = ast.parse(file.read_text(encoding="ascii"))
    types = {id(part) for node in ast.walk(tree) for part in annotations_of(node)}
    found = []
    for parent in ast.walk(tree):
        for field, value in ast.iter_fields(parent):
            for i, node in enumerate(value if isinstance(value, list) else [value]):
                for broken in breaks_of(node) if isinstance(node, ast.AST) and id(node) not in types else ():
                    setattr(parent, field, [*value[:i], broken, *value[i + 1 :]] if isinstance(value, list) else broken)
                    source = ast.unparse(ast.fix_missing_locations(copy.deepcopy(tree)))
                    setattr(parent, field, value)
                    texts = (ast.unparse(ast.fix_missing_locations(code)).split("\n")[0] for code in (node, broken))
                    found.append(Mutant(file, node.lineno, *texts, source))
    return found


def annotations_of(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes within the types that a node declares."""
    for name in ("annotation", "returns"):
        annotation = getattr(node, name, None)
        if isinstance(annotation, ast.AST):
            yield from ast.walk(annotation)


def passes(tests: list[str]) -> bool:
    """Whether the tests pass with the copy of the package, file by file up to the first that does not."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-k", ONE_ISA]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(COPY), os.environ.get("PYTHONPATH", "")])}
    for name in tests:
        try:
            subprocess.run(
                [*command, f"tests/test_{name}.py"],
                cwd=ROOT,
                env=environment,
                capture_output=True,
                timeout=600,
                check=True,
            )
        except (subprocess.TimeoutExpired, subprocess.CalledProcessError):
            return False
    return True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    package = ROOT / "python" / "fmcodec"
    parser.add_argument("--files", nargs="*", type=Path, default=[package / f"{name}.py" for name in TESTS])
    parser.add_argument("--count", type=int, help="so many breaks, chosen at random")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    shutil.rmtree(COPY, ignore_errors=True)
    shutil.copytree(package, COPY / "fmcodec", ignore=shutil.ignore_patterns("_core", "__pycache__"))
    shutil.copy(_core.__file__, COPY / "fmcodec")
    names = {file.resolve(): str(file.resolve().relative_to(package).with_suffix("")) for file in arguments.files}
    if not passes(sorted({test for name in names.values() for test in TESTS[name]})):
        sys.exit("the tests do not pass without a break")
    mutants = [mutant for file in names for mutant in mutants_of(file)]
    chosen = mutants
    if arguments.count is not None:
        chosen = random.Random(arguments.seed).sample(mutants, min(arguments.count, len(mutants)))
    survivors = 0
    for mutant in chosen:
        place = COPY / "fmcodec" / mutant.file.relative_to(package)
        place.write_text(mutant.source, encoding="ascii")
        if passes(TESTS[names[mutant.file]]):
            survivors += 1
            where = f"{mutant.file.relative_to(ROOT)}:{mutant.line}"
            print(f"survives: {where}\n  {mutant.before}\n  {mutant.after}", flush=True)
        shutil.copy(mutant.file, place)
    print(f"{len(chosen) - survivors} of {len(chosen)} breaks are noticed, of {len(mutants)} possible ones")


if __name__ == "__main__":
    main()
