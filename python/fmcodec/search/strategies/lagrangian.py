"""Equal slope: no bit could buy more in another layer."""

from __future__ import annotations

from fmcodec.search.path import choose_at, equal_slope_path
from fmcodec.search.problem import Choice, Problem


class Strategy:
    """Minimises the sum of costs + price x divergences, for all prices in one pass over the edges of convex hulls.

    The solution of each price is optimal for the sum of divergences that it has, if divergences add; see
    `equal_slope_path`.
    """

    def propose(self, problem: Problem) -> list[Choice]:
        """Choices of the path at the targets of the problem."""
        points = [list(zip(curve.divergences, curve.costs, strict=True)) for curve in problem.curves]
        path = list(equal_slope_path(points))
        chosen = choose_at(path, problem.divergence, problem.bits_per_value, problem.targets, problem.target_bits)
        return [problem.choice(indices) for indices in chosen]
