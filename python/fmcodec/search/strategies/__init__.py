"""Strategies: how options are combined to policies. Each module here is one, and holds a class `Strategy`."""

from __future__ import annotations

import importlib
import pkgutil
from typing import Protocol

from fmcodec.search.problem import Choice, Problem


class Strategy(Protocol):
    """Proposes choices for a problem. Equal problems must give equal proposals."""

    def propose(self, problem: Problem) -> list[Choice]:
        """Choices to be measured, near ``problem.targets`` if the strategy can aim at divergences."""


def strategy_names() -> tuple[str, ...]:
    """Names of all strategies: the modules of this package."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))


def make_strategy(name: str) -> Strategy:
    """The strategy of a name, with its default parameters.

    Raises
    ------
    ValueError
        There is none of this name.
    ModuleNotFoundError
        It needs a package that is not installed.
    """
    if name not in strategy_names():
        raise ValueError(f"strategy must be one of {', '.join(strategy_names())}, not {name!r}")
    made: Strategy = importlib.import_module(f"{__name__}.{name}").Strategy()
    return made
