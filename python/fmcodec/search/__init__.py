"""Search of policies: which option for which layer, on the frontier of bits and accuracy. Start with `search`."""

from fmcodec.search.frontier import Frontier, FrontierPoint
from fmcodec.search.multipliers import needs_multipliers
from fmcodec.search.options import Grid, LayerOptions, Option, measure_options
from fmcodec.search.problem import Constraints, Problem
from fmcodec.search.search import SearchResult, search
from fmcodec.search.sensitivity import Sensitivity, measure_sensitivity
from fmcodec.search.strategies import Strategy, make_strategy, strategy_names

__all__ = [
    "Constraints",
    "Frontier",
    "FrontierPoint",
    "Grid",
    "LayerOptions",
    "Option",
    "Problem",
    "SearchResult",
    "Sensitivity",
    "Strategy",
    "make_strategy",
    "measure_options",
    "measure_sensitivity",
    "needs_multipliers",
    "search",
    "strategy_names",
]
