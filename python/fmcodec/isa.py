"""The instruction set the kernels run on. It never changes a byte of output; it is for tests and measurements."""

from __future__ import annotations

from typing import Any

from fmcodec import _core


def available_isas() -> list[str]:
    """Names of the instruction sets this machine can run, the best first."""
    return _core.available_isas()


def active_isa() -> str:
    """Name of the instruction set in use: the best, or the one of FMCODEC_ISA or `force_isa`."""
    return _core.active_isa()


def force_isa(name: str | None) -> None:
    """Use instruction set ``name`` for all later calls in this process; None returns to the default.

    Raises ValueError that lists the valid names. The environment variable FMCODEC_ISA does the same from outside.
    """
    _core.force_isa(name or "")


def build_info() -> dict[str, Any]:
    """Facts about this build: versions of package and stream, compiler, build type, instruction sets."""
    return {**_core.build_info(), "available_isas": available_isas(), "active_isa": active_isa()}
