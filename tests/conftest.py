"""Fixtures of all tests, the profiles of hypothesis, and the order of the files: what fails fast runs first."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

import fmcodec

# Examples are derived from the test, so that a run can be repeated; `ci` has more of them.
settings.register_profile(
    "default",
    max_examples=60,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
settings.register_profile("ci", settings.get_profile("default"), max_examples=400, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

FIRST_FILES = ["architecture", "format_examples", "golden", "kernels", "errors", "reference", "codec"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort by file: those of FIRST_FILES, then the others in their own order."""
    order = {f"test_{name}": place for place, name in enumerate(FIRST_FILES)}
    items.sort(key=lambda item: order.get(item.path.stem, len(order)))


@pytest.fixture(params=fmcodec.available_isas())
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each instruction set of this machine in turn; the default comes back afterwards."""
    fmcodec.force_isa(request.param)
    yield request.param
    fmcodec.force_isa(None)


@pytest.fixture(scope="session")
def root() -> Path:
    """The root of the repository."""
    return Path(__file__).resolve().parent.parent
