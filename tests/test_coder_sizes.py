"""The sizes of coded maps that are the same everywhere do not drift unnoticed (bench/coder_sizes.json)."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

SCRIPT = Path(__file__).resolve().parent.parent / "bench" / "coder_sizes.py"


def load_script() -> ModuleType:
    """bench/coder_sizes.py, which is not part of the package."""
    specification = importlib.util.spec_from_file_location("coder_sizes", SCRIPT)
    assert specification and specification.loader
    module = importlib.util.module_from_spec(specification)
    sys.modules["coder_sizes"] = module
    specification.loader.exec_module(module)
    return module


def test_sizes_are_those_recorded() -> None:
    # If a change is meant: python bench/coder_sizes.py --write
    script = load_script()
    assert script.differences(script.recorded_sizes(), script.measured_sizes()) == []


def test_most_effort_gives_fewest_bytes() -> None:
    for sizes in load_script().recorded_sizes().values():
        assert sizes["smallest"] == min(sizes.values())
