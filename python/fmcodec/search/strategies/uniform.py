"""The same relative step in every layer: what calibration without sensitivities does."""

from __future__ import annotations

from fmcodec.search.options import smallest_faithful
from fmcodec.search.problem import Choice, Curve, Problem


class Strategy:
    """For each relative step, the cheapest option of every layer that is hardly worse than rounding to this step."""

    def propose(self, problem: Problem) -> list[Choice]:
        """One choice for each step of the grid whose divergence is predicted within the targets, or for all steps."""
        rows = [[_cheapest(curve, step) for curve in problem.curves] for step in problem.relative_steps]
        low, high = problem.targets[0], problem.targets[-1]
        kept = [row for row in rows if low <= problem.divergence(row) <= high]
        return [problem.choice(row) for row in kept or rows]


def _cheapest(curve: Curve, step: float) -> int:
    """The option that `fmcodec.torch.calibrate` takes, by cost; ties go to the first."""
    same = [
        index
        for index, option in enumerate(curve.options)
        if option.relative_step == step and option.level_width is None
    ]
    if not same:
        # The constraints leave none at this step: the one with the least error.
        return min(range(len(curve.options)), key=lambda index: curve.options[index].squared_error)
    return same[smallest_faithful([(curve.options[index].squared_error, curve.costs[index]) for index in same])]
