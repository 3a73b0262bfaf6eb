"""The fuzzing corpus without libFuzzer: the program of the build runs every input on every instruction set.

Digests of what it saw are kept in tests/corpus/digests.txt. A change of the encoder's choices changes them; run
``build/*/fmcodec_replay TARGET tests/corpus/TARGET/*`` and write its line there.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from build_folder import newest_build

ROOT = Path(__file__).resolve().parent.parent
CORPUS = ROOT / "tests" / "corpus"
DIGESTS = (CORPUS / "digests.txt").read_text(encoding="ascii").splitlines()


def replay_program() -> Path:
    """The one that was built last."""
    return newest_build() / "fmcodec_replay"


# What glibc fills new memory with, so that a result which depends on memory that was never set is another one.
@pytest.mark.parametrize("fill", ["0", "1", "165", "254"])
@pytest.mark.parametrize("line", DIGESTS, ids=[line.split(":")[0] for line in DIGESTS])
def test_replay(line: str, fill: str) -> None:
    target = line.split(":")[0]
    inputs = sorted((CORPUS / target).iterdir())
    environment = {**os.environ, "MALLOC_PERTURB_": fill}
    result = subprocess.run(
        [replay_program(), target, *inputs], env=environment, capture_output=True, text=True, timeout=300
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == line


def test_every_target_has_a_corpus() -> None:
    assert {line.split(":")[0] for line in DIGESTS} == {path.name for path in CORPUS.iterdir() if path.is_dir()}


def test_what_cannot_be_replayed() -> None:
    result = subprocess.run([replay_program(), "nothing"], capture_output=True, text=True)
    assert result.returncode == 2 and "parse decode coder round_trip" in result.stderr
