"""Plain mixed precision: bits of a level for each layer, without transforms. For comparison."""

from __future__ import annotations

from fmcodec.search.path import choose_at, equal_slope_path
from fmcodec.search.problem import Choice, Problem


class Strategy:
    """Allocates widths of levels by equal slope, as if maps were stored in words of that width.

    The policies are measured like all others, in streams of the entropy coder; words alone would take as many bits as
    the levels have (``level_bits_per_value`` of a `FrontierPoint`).
    """

    def propose(self, problem: Problem) -> list[Choice]:
        """Choices at the targets of the problem.

        Raises
        ------
        ValueError
            A layer has no option of plain quantization that obeys the constraints.
        """
        widths = [
            [index for index, option in enumerate(curve.options) if option.level_width is not None]
            for curve in problem.curves
        ]
        for curve, own in zip(problem.curves, widths, strict=True):
            if not own:
                raise ValueError(f"{curve.name!r} has no option of plain quantization")
        points = [
            [(curve.divergences[index], float(curve.values * (curve.options[index].level_width or 0))) for index in own]
            for curve, own in zip(problem.curves, widths, strict=True)
        ]
        path = [
            tuple(own[place] for own, place in zip(widths, places, strict=True)) for places in equal_slope_path(points)
        ]
        chosen = choose_at(path, problem.divergence, problem.bits_per_value, problem.targets, problem.target_bits)
        return [problem.choice(indices) for indices in chosen]
