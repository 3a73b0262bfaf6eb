"""Greedy reduction: again and again, the layer that saves the most bits for what the network loses, as measured."""

from __future__ import annotations

import heapq

from fmcodec.search.problem import Choice, Problem

# A step that loses nothing is taken at once, whatever it saves.
LEAST_LOSS = 1e-9


class Strategy:
    """Starts with the best option of every layer and reduces one layer at a time.

    After Tai et al., "Compression-aware Projection with Greedy Dimension Reduction for Convolutional Neural Network
    Activations", arXiv 2110.08828 (ICASSP 2022), whose abstract says that the metric of the greedy choice is accuracy
    and the number of bits saved together. Its formula is not public to us. This is a reconstruction: bits saved over
    divergence added, each measured with all maps coded. Divergence stands for accuracy because few images tell it.

    Quotients of layers get old when another layer is reduced. Only the layer that seems best is measured anew, until
    the one on top is up to date (lazy evaluation: M. Minoux, "Accelerated greedy algorithms for maximizing submodular
    set functions", 1978).
    """

    def propose(self, problem: Problem) -> list[Choice]:
        """The choices that were reached when the measured divergence passed each target, and the target of bits."""
        places = [0] * len(problem.curves)
        reached = problem.measure(self._choice(problem, places))
        # By quotient, then by layer; the number of reductions at which it was measured tells its age.
        heap: list[tuple[float, int, int, float]] = [
            (-float("inf"), number, -1, 0.0) for number, curve in enumerate(problem.curves) if len(curve.hull) > 1
        ]
        chosen: list[list[int]] = []
        waiting = list(problem.targets)
        wants_bits = problem.target_bits is not None
        steps = 0
        while heap and (waiting or wants_bits):
            _, number, age, divergence = heapq.heappop(heap)
            if age < steps:
                trial = [*places[:number], places[number] + 1, *places[number + 1 :]]
                divergence = problem.measure(self._choice(problem, trial))
                saved = self._cost(problem, number, places[number]) - self._cost(problem, number, trial[number])
                heapq.heappush(heap, (-saved / max(divergence - reached, LEAST_LOSS), number, steps, divergence))
                continue
            while waiting and divergence > waiting[0]:
                waiting.pop(0)
                chosen.append(list(places))
            places[number] += 1
            steps += 1
            reached = divergence
            if places[number] + 1 < len(problem.curves[number].hull):
                heapq.heappush(heap, (-float("inf"), number, -1, 0.0))
            if wants_bits and problem.bits_per_value(self._indices(problem, places)) <= (problem.target_bits or 0.0):
                wants_bits = False
                chosen.append(list(places))
        if waiting:
            chosen.append(places)
        unique = list(dict.fromkeys(tuple(self._indices(problem, entry)) for entry in chosen))
        return [problem.choice(indices) for indices in unique]

    def _indices(self, problem: Problem, places: list[int]) -> list[int]:
        return [curve.hull[place] for curve, place in zip(problem.curves, places, strict=True)]

    def _choice(self, problem: Problem, places: list[int]) -> Choice:
        return problem.choice(self._indices(problem, places))

    def _cost(self, problem: Problem, number: int, place: int) -> float:
        curve = problem.curves[number]
        return curve.costs[curve.hull[place]]
