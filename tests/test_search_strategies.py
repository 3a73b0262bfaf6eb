"""Hulls, the path of equal slope, and what strategies propose, against hand-worked numbers and exhaustive search."""

from __future__ import annotations

import itertools

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from search_problems import MEMORY, SHAPES, joules, layer, option, problem

from fmcodec import CodecSpec
from fmcodec.energy import FeatureMap, evaluate_network
from fmcodec.reference.transform import group_matrix, transform_groups
from fmcodec.search import Constraints, Grid, make_strategy, needs_multipliers, strategy_names
from fmcodec.search.hull import lower_hull
from fmcodec.search.options import smallest_faithful
from fmcodec.search.path import equal_slope_path
from fmcodec.search.problem import Choice, curves_of
from fmcodec.search.sensitivity import Sensitivity
from fmcodec.torch import Candidate

POINTS = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=1, max_size=12)


def total(choice: Choice) -> tuple[float, float]:
    """Bits and errors of a choice."""
    return sum(entry.bits for entry in choice.values()), sum(entry.squared_error for entry in choice.values())


# --- hull and path


@given(POINTS)
def test_hull_holds_exactly_the_best_points_of_all_prices(points: list[tuple[int, int]]) -> None:
    hull = lower_hull(points)
    distortions = [points[index][0] for index in hull]
    rates = [points[index][1] for index in hull]
    assert distortions == sorted(set(distortions)) and rates == sorted(set(rates), reverse=True)
    # Slopes of integers up to 30 differ by more than the distance of these prices.
    for price in (0.0, *np.geomspace(0.01, 100, 60)):
        costs = [rate + price * distortion for distortion, rate in points]
        assert min(costs[index] for index in hull) <= min(costs) + 1e-9
    slopes = [(b - a) / (y - x) for (x, a), (y, b) in itertools.pairwise(points[index] for index in hull)]
    assert all(before < after for before, after in itertools.pairwise(slopes))


@given(st.lists(POINTS, min_size=1, max_size=3), st.floats(0.01, 50))
def test_path_holds_an_optimum_of_every_price(curves: list[list[tuple[int, int]]], price: float) -> None:
    def lagrangian(indices: tuple[int, ...]) -> float:
        points = [curve[index] for curve, index in zip(curves, indices, strict=True)]
        return sum(rate + price * distortion for distortion, rate in points)

    everything = itertools.product(*(range(len(curve)) for curve in curves))
    assert min(map(lagrangian, equal_slope_path(curves))) <= min(map(lagrangian, everything)) + 1e-9


# --- strategies

# Bits and errors as in docs/policy_search.md.
WIDE = layer("wide", option(800, 1), option(500, 4), option(300, 16), values=400)
NARROW = layer("narrow", option(100, 2), option(60, 8), option(40, 32), values=100)


def test_lagrangian_follows_the_slopes() -> None:
    own = problem([WIDE, NARROW], [0.001, 0.01], targets=(0.03, 0.04, 0.1, 1.0), target_bits=1.3)
    found = [total(choice) for choice in make_strategy("lagrangian").propose(own)]
    # Bits saved per divergence: wide 300 / 0.003 and 200 / 0.012, narrow 40 / 0.06 and 20 / 0.24. In this order:
    # (900, 0.021), (600, 0.024), (400, 0.036), (360, 0.096), (340, 0.336).
    assert found == [(600, 6), (400, 18), (360, 24), (340, 48)]


def test_uniform_takes_one_step_everywhere() -> None:
    layers = [
        layer(
            "a", option(90, 1.0, step=0.1), option(70, 1.2, step=0.1), option(50, 1.3, step=0.1), option(9, 4, step=0.2)
        ),
        layer("b", option(80, 2.0, step=0.1), option(10, 2.0, step=0.1, width=3), option(40, 8.0, step=0.2)),
    ]
    found = make_strategy("uniform").propose(problem(layers, [1.0, 1.0], targets=(0.1, 100.0)))
    # 1.3 is more than 1.25 times the least error at that step, and plain quantization is not looked at.
    assert [total(choice) for choice in found] == [(150, 3.2), (49, 12)]


def test_bitwidth_allocates_words() -> None:
    layers = [
        layer("a", option(7, 1, width=4), option(6, 4, width=3), option(1, 0, step=0.1), values=10),
        layer("b", option(70, 1, width=4), option(60, 4, width=3), values=100),
    ]
    found = make_strategy("bitwidth").propose(problem(layers, [1.0, 1.0], targets=(2.0, 5.0, 8.0)))
    # One bit less saves 10 words of bits in a and 100 in b, for 3 in both.
    assert [total(choice) for choice in found] == [(77, 2), (67, 5), (66, 8)]
    with pytest.raises(ValueError, match="'narrow' has no option of plain quantization"):
        make_strategy("bitwidth").propose(problem([layers[0], NARROW], [1.0, 1.0]))


def test_greedy_measures_what_it_takes() -> None:
    measured: list[tuple[float, float]] = []

    def measure(choice: Choice) -> float:
        measured.append(total(choice))
        # Layers do harm together: the second one that is reduced costs more than it seems alone.
        return (choice["wide"].squared_error - 1) * (choice["narrow"].squared_error + 1) / 100

    own = problem([WIDE, NARROW], [0.001, 0.01], targets=(0.2, 0.5, 1.0), measure=measure)
    found = [total(choice) for choice in make_strategy("greedy").propose(own)]
    # Narrow first, which costs nothing while wide is at its best (divergence 0); then wide: 3 * 33 / 100 = 0.99 is
    # within 1.0 but not within 0.5; its next step, 15 * 33 / 100, is not.
    assert found == [(840, 33), (540, 36)]
    assert len(measured) < 12


def test_optuna_comes_near_the_optimum() -> None:
    pytest.importorskip("optuna")
    from fmcodec.search.strategies.optuna import Strategy

    own = problem([WIDE, NARROW], [0.001, 0.01], targets=(0.03, 0.1, 1.0))
    found = [total(choice) for choice in Strategy(trials=60, population=10).propose(own)]
    assert found == [(600, 6), (360, 24), (340, 48)]
    assert found == [total(choice) for choice in Strategy(trials=60, population=10).propose(own)]


def test_names_are_the_modules() -> None:
    assert strategy_names() == ("bitwidth", "greedy", "lagrangian", "optuna", "uniform")
    with pytest.raises(ValueError, match="must be one of bitwidth, greedy"):
        make_strategy("magic")


# --- sensitivities and constraints


def test_sensitivity_is_interpolated() -> None:
    own = Sensitivity((2.0, 8.0, 32.0), (0.1, 0.4, 0.4))
    assert own.divergence(0.0) == 0.0
    assert own.divergence(1.0) == pytest.approx(0.1)
    # Halfway between 2 and 8 on logarithmic axes.
    assert own.divergence(4.0) == pytest.approx(4 * 0.2)
    assert own.divergence(16.0) == pytest.approx(6.4)
    assert own.divergence(100.0) == pytest.approx(40.0)


def test_limit_of_the_largest_map_and_objective() -> None:
    sensitivities = {name: Sensitivity((1.0,), (1.0,)) for name in ("wide", "narrow")}
    curves = curves_of(
        [WIDE, NARROW], sensitivities, Constraints(max_map_bits=500), lambda name, values, bits: 2 * bits + values
    )
    assert [curve.costs for curve in curves] == [(1400.0, 1000.0), (300.0, 220.0, 180.0)]
    with pytest.raises(ValueError, match="'wide' obeys the constraints; its smallest map has 300 bits"):
        curves_of([WIDE, NARROW], sensitivities, Constraints(max_map_bits=299))


def test_joules_are_costs() -> None:
    sizes = (1024.0, 4096.0, 8192.0)
    first = layer("first", *(option(bits, 1 / bits) for bits in sizes), values=2048)
    (curve,) = curves_of([first], {"first": Sensitivity((1.0,), (1.0,))}, Constraints(), joules)
    maps = [FeatureMap(name="first", shape=SHAPES["first"])]
    exact = [evaluate_network(maps, {"x": {"first": bits / 2048}}, MEMORY)["x"].joules for bits in sizes]
    assert curve.costs == pytest.approx(exact, rel=0.02)


def test_transforms_are_constrained() -> None:
    candidates = (
        Candidate(),
        Candidate(spatial_size=4, refinement=16),
        Candidate(transform="klt", refinement=16),
        Candidate(transform="hadamard", transform_size=4, refinement=16),
    )
    grid = Grid(candidates=candidates)
    assert Constraints(transforms=("identity", "hadamard")).applied(grid).candidates == (candidates[0], candidates[3])
    assert Constraints(transforms=("identity", "spatial")).applied(grid).candidates == candidates[:2]
    assert Constraints(transforms=("klt",)).applied(grid).level_widths == ()
    assert Constraints(is_multiplier_free=True).applied(grid) == msgspec.structs.replace(grid, is_multiplier_free=True)
    with pytest.raises(ValueError, match="no candidate"):
        Constraints(transforms=("dct",)).applied(grid)
    with pytest.raises(ValueError, match="must be some of"):
        Constraints(transforms=("wavelet",))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="target_bits must be above 0"):
        Constraints(target_bits=0.0)


@pytest.mark.parametrize("channels", [16, 18, 20, 24, 32, 40])
@pytest.mark.parametrize(
    ("transform", "size"), [("identity", 1), *((t, s) for t in ("dct", "hadamard") for s in (4, 8, 16, 32))]
)
def test_multipliers_are_needed_where_entries_are_no_powers_of_two(transform: str, size: int, channels: int) -> None:
    spec = CodecSpec(transform=transform, transform_size=size, band_steps=(16,))  # type: ignore[arg-type]
    entries = {
        abs(int(entry))
        for group in transform_groups(spec, channels)
        if group.size > 1
        for entry in np.ravel(group_matrix(spec, group.size))
    }
    assert needs_multipliers(spec, channels) == any(entry & (entry - 1) for entry in entries)
    assert needs_multipliers(spec.replace(band_steps=(12,)), channels)
    assert needs_multipliers(spec.replace(spatial_size=2), channels)


def test_curves_are_values() -> None:
    curve = problem([WIDE], [1.0]).curves[0]
    assert curve.hull == (0, 1, 2)
    assert msgspec.structs.replace(curve, costs=(1.0, 1.0, 1.0)).hull == (0,)


def test_smallest_of_the_faithful() -> None:
    # 1.25 is just within the margin; the third and the fifth are equal.
    assert smallest_faithful([(1.0, 9.0), (1.3, 1.0), (1.25, 5.0), (1.1, 6.0), (1.2, 5.0)]) == 2
