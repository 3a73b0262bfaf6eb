"""NSGA-II over the options of all layers, by the package optuna: for objectives that do not add up over layers."""

from __future__ import annotations

import importlib
from typing import Any

from fmcodec.search.problem import Choice, Problem


class Strategy:
    """Evolves choices on two objectives, cost and predicted divergence.

    Source: K. Deb et al., "A fast and elitist multiobjective genetic algorithm: NSGA-II", IEEE TEC 6(2), 2002. Needs
    the package optuna. With costs and divergences that add up over layers, `lagrangian` finds the optimum at once;
    this is the comparison, and a start for problems where they do not.

    Parameters
    ----------
    trials
        Choices that are looked at.
    population
        Choices of one generation.
    """

    def __init__(self, trials: int = 2000, population: int = 50) -> None:
        self._trials = trials
        self._population = population

    def propose(self, problem: Problem) -> list[Choice]:
        """The choices nearest below each target on the front that was found."""
        optuna: Any = importlib.import_module("optuna")
        optuna.logging.set_verbosity(optuna.logging.WARNING)

        def objective(trial: Any) -> tuple[float, float]:
            indices = _indices(problem, trial.suggest_int)
            return problem.cost(indices), problem.divergence(indices)

        sampler = optuna.samplers.NSGAIISampler(population_size=self._population, seed=problem.seed)
        study = optuna.create_study(directions=["minimize", "minimize"], sampler=sampler)
        # The two ends, so that generations fill what is between them.
        for place in (0, -1):
            names = range(len(problem.curves))
            study.enqueue_trial({str(n): range(len(problem.curves[n].hull))[place] for n in names})
        study.optimize(objective, n_trials=self._trials)
        front = sorted((trial.values[1], trial.values[0], trial.number) for trial in study.best_trials)
        chosen = [max((entry for entry in front if entry[0] <= target), default=front[0]) for target in problem.targets]
        if problem.target_bits is not None:
            bits = [problem.bits_per_value(self._indices(problem, study, number)) for _, _, number in front]
            chosen += [entry for entry, own in zip(front, bits, strict=True) if own <= problem.target_bits][:1]
        unique = dict.fromkeys(tuple(self._indices(problem, study, number)) for _, _, number in chosen)
        return [problem.choice(indices) for indices in unique]

    def _indices(self, problem: Problem, study: Any, number: int) -> list[int]:
        return _indices(problem, lambda name, *_: study.trials[number].params[name])


def _indices(problem: Problem, suggest: Any) -> list[int]:
    return [curve.hull[suggest(str(number), 0, len(curve.hull) - 1)] for number, curve in enumerate(problem.curves)]
