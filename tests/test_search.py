"""The search from end to end on a tiny network, and its measurements against independent computations."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from search_problems import SITES, TinyNet, centred, tiny_network, tiny_samples
from torch import nn

from fmcodec import CodecSpec, cost, decode, encode
from fmcodec.errors import FmcodecError, UnsupportedVersionError
from fmcodec.evaluation import ArraySamples, MapSite, Network, evaluate
from fmcodec.policy import Policy
from fmcodec.search import (
    Constraints,
    Frontier,
    Grid,
    SearchResult,
    measure_options,
    measure_sensitivity,
    needs_multipliers,
    search,
)
from fmcodec.search.divergence import divergence
from fmcodec.search.options import LayerOptions, with_dead_zones
from fmcodec.search.path import equal_slope_path
from fmcodec.search.problem import curves_of
from fmcodec.search.search import DIVERGENCE_RANGES
from fmcodec.search.sensitivity import channel_gradients, channel_weights
from fmcodec.search.text import frontier_table
from fmcodec.torch import Candidate
from fmcodec.torch.measure import LayerMeasure, PlanRules

SMALL = Grid(
    candidates=(
        Candidate(),
        Candidate(activation="before"),
        Candidate(weighting=0.5, refinement=16),
        Candidate(transform="klt", activation="before", refinement=16),
        Candidate(transform="hadamard", transform_size=4, permute=True, refinement=16),
    ),
    relative_steps=(0.05, 0.1, 0.2, 0.4),
    coarse_steps=(0.1, 0.4),
    coarse_batches=1,
    level_widths=(4, 6, 8),
)

# The network of the tests hardly feels that its maps are coded.
WEAK = (1e-4, 3e-2)


def inputs_of(samples: ArraySamples, size: int) -> list[torch.Tensor]:
    return [tiny_network().preprocess(batch.float()) for batch in samples.batches(size)]


@pytest.fixture(scope="module")
def result() -> SearchResult:
    return search(
        tiny_network(),
        tiny_samples(16, 1),
        tiny_samples(24, 2),
        strategies=("lagrangian", "uniform", "bitwidth"),
        constraints=Constraints(target_bits=2.5),
        grid=SMALL,
        points=4,
        divergences=WEAK,
        command="a test",
    )


# --- options


def test_options_are_what_encoding_gives() -> None:
    batches = inputs_of(tiny_samples(8, 1), 4)
    weights = {"second": np.linspace(0.5, 1.5, 12)}
    layers = measure_options(tiny_network().model, batches, SITES, SMALL, weights)
    assert [(own.name, own.channels, own.values) for own in layers] == [
        ("first", 8, 8 * 256),
        ("second", 12, 12 * 64),
        ("third", 8, 8 * 64),
    ]
    model = tiny_network().model
    maps: list[torch.Tensor] = []
    handle = model.get_submodule("second").register_forward_hook(lambda _, __, output: maps.append(output))
    with torch.no_grad():
        for batch in batches:
            model(batch)
    handle.remove()
    second = layers[1]
    whole = torch.cat(maps).relu().double()
    assert second.energy == pytest.approx(whole.square().sum().item() / 8)
    plain = [own for own in second.options if own.candidate == Candidate()]
    assert {own.level_width for own in plain} == {None, 4, 6, 8}
    for own in plain:
        # Only odd images are coded: two of each batch share a frame.
        coded = [x[1::2].relu().contiguous() for x in maps]
        frames = [encode(x, own.layer.spec, embed_spec=False) for x in coded]
        errors = [
            (torch.from_numpy(decode(frame, spec=own.layer.spec)) - x).double().square().sum((0, 2, 3))
            for frame, x in zip(frames, coded, strict=True)
        ]
        assert own.bits == 8 * sum(map(len, frames)) / 4
        assert own.peak_bits == 8 * max(map(len, frames)) / 2
        expected = float((sum(errors) * torch.from_numpy(weights["second"])).sum() / 4)
        assert own.squared_error == pytest.approx(expected, rel=1e-5)
        if own.level_width is not None:
            assert (2**own.level_width - 1) * own.layer.spec.step == pytest.approx(float(whole.max()), rel=1e-6)


def test_steps_of_weighted_channels() -> None:
    weights = np.geomspace(1, 16, 12)
    weights /= weights.mean()
    grid = Grid(candidates=(Candidate(weighting=0.5, refinement=16),), relative_steps=(0.1,), level_widths=())
    own = measure_options(tiny_network().model, inputs_of(tiny_samples(4, 1), 4), SITES, grid, {"second": weights})
    steps = np.array(own[1].options[0].layer.spec.band_steps)
    # From 16 times 2 to 16 over 2: the root of a range of 16, around the geometric mean.
    np.testing.assert_array_equal(steps, np.rint(16 * np.geomspace(2, 0.5, 12)))
    assert own[0].options[0].layer.spec.band_steps == (16,)
    with pytest.raises(ValueError, match="weighting is for"):
        Candidate(transform="dct", transform_size=4, weighting=0.5)


def test_steps_of_weighted_components() -> None:
    # Components are the channels themselves, the strongest first.
    torch.manual_seed(7)
    deviations = torch.tensor([1.0, 8.0, 2.0, 4.0])
    maps = torch.randn(4, 4, 40, 40) * deviations.reshape(1, 4, 1, 1)
    measured = LayerMeasure("none", np.array([0.2, 0.2, 3.2, 0.4]))
    measured.update(maps, {"before"})
    rules = PlanRules(0.25, "output", 2)
    klt = Candidate(transform="klt", activation="before", weighting=0.5, refinement=16)
    steps = measured.plan(klt, 1.0, rules).spec.band_steps
    # Channels 1, 3, 2, 0 with weights 0.2, 0.4, 3.2, 0.2, around their geometric mean.
    expected = np.array([0.2, 0.4, 3.2, 0.2]) ** -0.5
    np.testing.assert_allclose(steps, 16 * expected / np.exp(np.log(expected).mean()), rtol=0.05)
    # A component is not kept if its variance is below a twelfth of its own step squared.
    factors = expected / np.exp(np.log(expected).mean())
    for step in (1.0, 2.2, 4.5, 9.0):
        worth = np.flatnonzero(np.array([8.0, 4.0, 2.0, 1.0]) ** 2 > (step * factors) ** 2 / 12)
        assert measured.plan(klt, step, rules).spec.kept_band_count == worth[-1] + 1


def test_dead_zones_are_added_in_the_transform_domain() -> None:
    given = (Candidate(), Candidate(activation="before"), Candidate(transform="klt", refinement=8))
    assert with_dead_zones(given, ()) == given
    added = with_dead_zones(given, (0.6,))[3:]
    assert [(own.dead_zone, own.refinement) for own in added] == [(0.6, 16)] * 3


def test_grid_is_checked() -> None:
    with pytest.raises(ValueError, match="must not be empty"):
        Grid(candidates=())
    with pytest.raises(ValueError, match="above 0"):
        Grid(relative_steps=(0.1, 0.0))
    with pytest.raises(ValueError, match="coarse_batches must be at least 1, not 0"):
        Grid(coarse_batches=0)


# --- sensitivities


def options_of(model: nn.Module, batches: list[torch.Tensor], sites: dict[str, MapSite]) -> list[LayerOptions]:
    grid = Grid(candidates=(Candidate(), Candidate(activation="before")), level_widths=())
    return measure_options(model, batches, sites, grid)


@pytest.mark.parametrize("method", ["quantization", "noise", "fisher"])
def test_sensitivity_of_a_map_that_is_the_output(method: str) -> None:
    torch.manual_seed(3)
    model = nn.Sequential(nn.Identity())
    batches = list(torch.randn(8, 4, 12, 12).split(4))
    sites = {"0": MapSite()}
    layers = options_of(model, batches, sites)
    found = measure_sensitivity(model, batches, sites, layers, task="image", method=method)["0"]  # type: ignore[arg-type]
    # Half the squared error over the energy, which hardly differs from image to image.
    expected = 0.5 / layers[0].energy
    assert found.slopes == pytest.approx([expected] * len(found.slopes), rel=0.05)


def test_methods_agree_on_a_smooth_network() -> None:
    batches = inputs_of(tiny_samples(32, 4), 8)
    model = tiny_network().model
    layers = options_of(model, batches, dict(SITES))
    noise = measure_sensitivity(model, batches, SITES, layers, method="noise")
    fisher = measure_sensitivity(model, batches, SITES, layers, method="fisher")
    for name in SITES:
        # Noise is less where a map is nearly 0, gradients are not.
        assert 0.4 < noise[name].slopes[0] / fisher[name].slopes[0] < 2.5
    again = measure_sensitivity(model, batches, SITES, layers, method="noise")
    assert again == noise
    assert measure_sensitivity(model, batches, SITES, layers, method="noise", seed=1) != noise


def test_gradients_of_channels() -> None:
    torch.manual_seed(5)
    scales = torch.tensor([1.0, 2.0, 0.0, 4.0])
    model = nn.Sequential(nn.Identity(), nn.Conv2d(4, 4, 1, groups=4, bias=False))
    model[1].weight.data = scales.reshape(4, 1, 1, 1)  # type: ignore[union-attr]
    batch = torch.randn(16, 4, 10, 10)
    squares = channel_gradients(model, [batch], {"0": MapSite()}, task="image")["0"]
    assert squares / squares[0] == pytest.approx([1, 4, 0, 16], rel=0.2)
    weights = channel_weights(squares)
    assert weights.mean() == pytest.approx(1.0)
    assert weights[2] == pytest.approx(0.01 / 1.01)
    assert channel_weights(np.zeros(3)) == pytest.approx([1, 1, 1])
    assert not model[0]._forward_hooks

    class Rounded(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.detach().round()

    blind = nn.Sequential(nn.Identity(), Rounded())
    assert not channel_gradients(blind, [batch], {"0": MapSite()}, task="image")["0"].any()
    layers = options_of(blind, [batch], {"0": MapSite()})
    with pytest.raises(ValueError, match="no gradient reaches the map of 0"):
        measure_sensitivity(blind, [batch], {"0": MapSite()}, layers, task="image", method="fisher")


def test_divergence_by_hand() -> None:
    half = torch.log(torch.tensor([[0.5, 0.5]]))
    assert divergence(half, torch.log(torch.tensor([[0.25, 0.75]])), "classification") == pytest.approx(
        [0.5 * np.log(2) + 0.5 * np.log(2 / 3)]
    )
    assert divergence(torch.full((1, 1, 2, 2), 2.0), torch.full((1, 1, 2, 2), 3.0), "image") == [4 / (2 * 16)]


# --- the whole search


def test_frontier_is_measured(result: SearchResult) -> None:
    frontier = result.frontier
    assert frontier.images == 24 and frontier.top1 == 100.0
    assert {point.strategy for point in frontier.points} == {"lagrangian", "uniform", "bitwidth"}
    assert [point.bits_per_value for point in frontier.points] == sorted(p.bits_per_value for p in frontier.points)
    for point in (frontier.points[0], frontier.points[-1]):
        evaluation = evaluate(tiny_network(), result.policy(point), tiny_samples(24, 2), batch_size=8)
        assert evaluation.bits_per_value == point.bits_per_value
        assert evaluation.coded.kl_nats is not None and evaluation.coded.kl_nats.value == point.divergence
        assert evaluation.parameter_bytes == point.parameter_bytes
    best = frontier.best
    assert [point.loss for point in best] == sorted((point.loss for point in best), reverse=True)
    for point in frontier.points:
        beats = [p for p in frontier.points if p.bits_per_value < point.bits_per_value and p.loss < point.loss]
        assert point.is_best or beats
    # What is predicted is not far off where little is lost.
    for point in best:
        assert point.bits_per_value == pytest.approx(point.predicted_bits_per_value, rel=0.25)
    assert min(p.predicted_bits_per_value for p in frontier.points if p.strategy == "lagrangian") <= 2.5


def test_policies_with_fitted_dead_zones_are_points_of_their_own() -> None:
    network = tiny_network()
    found = search(
        network,
        tiny_samples(16, 1),
        tiny_samples(24, 2),
        strategies=("uniform", "bitwidth"),
        points=3,
        fit_dead_zones=True,
    )
    points = {point.policy.removesuffix(".json"): point for point in found.frontier.points}
    fitted = {name for name, point in points.items() if point.strategy.endswith(", dead zones")}
    assert fitted and all(name.startswith("uniform-") and name.endswith("-dead-zones") for name in fitted)
    for name in fitted:
        plain = name.removesuffix("-dead-zones")
        changed = [
            layer.spec.dead_zone != found.policies[plain].layers[place].spec.dead_zone
            for place, layer in found.policies[name].layers.items()
        ]
        assert any(changed)
        assert points[name].bits_per_value < points[plain].bits_per_value
        assert points[name].predicted_bits_per_value == points[plain].predicted_bits_per_value
        own = {layer: policy.spec.replace(dead_zone=0.5) for layer, policy in found.policies[name].layers.items()}
        assert own == {layer: policy.spec for layer, policy in found.policies[plain].layers.items()}


def test_widths_of_levels_are_told(result: SearchResult) -> None:
    for point in result.frontier.points:
        layers = result.policy(point).layers
        sizes = {own.name: own.values for own in result.layers}
        bits = sum(sizes[name] * own.spec.bits for name, own in layers.items()) / sum(sizes.values())
        assert point.level_bits_per_value == pytest.approx(bits)
        if point.strategy == "bitwidth":
            assert {own.spec.transform for own in layers.values()} == {"identity"}
            assert 4 <= bits <= 8


def test_no_proposal_is_predicted_below_the_path(result: SearchResult) -> None:
    curves = curves_of(result.layers, result.sensitivities, Constraints())
    points = [list(zip(curve.divergences, curve.costs, strict=True)) for curve in curves]
    path = [
        np.sum([own[index] for own, index in zip(points, indices, strict=True)], axis=0)
        for indices in equal_slope_path(points)
    ]
    divergences, costs = np.transpose(path)
    values = sum(layer.values for layer in result.layers)
    for point in result.frontier.points:
        least = np.interp(point.predicted_divergence, divergences, costs)
        assert point.predicted_bits_per_value * values >= least - 1e-6
        if point.strategy == "lagrangian":
            assert point.predicted_bits_per_value * values == pytest.approx(least)


def test_provenance(result: SearchResult) -> None:
    policy = result.policies["lagrangian-00"]
    assert policy.provenance["command"] == "a test"
    assert policy.provenance["seed"] == "0"
    assert policy.provenance["strategy"] == "lagrangian"
    assert policy.provenance["calibration"].startswith("16 images of smooth noise 1, SHA-256")
    assert result.frontier.provenance["held_out"].startswith("24 images of smooth noise 2")
    assert {"fmcodec", "torch", "numpy", "network"} <= set(policy.provenance)


def test_files_round_trip(result: SearchResult, tmp_path: Path) -> None:
    result.save(tmp_path / "new")
    frontier = Frontier.load(tmp_path / "new" / "frontier.json")
    assert frontier == result.frontier
    for point in frontier.points:
        assert Policy.load(tmp_path / "new" / point.policy) == result.policy(point)
    text = frontier.to_json()
    with pytest.raises(FmcodecError, match="unknown field `colour`"):
        Frontier.from_json(text.replace(b'"network"', b'"colour": 1, "network"'))
    with pytest.raises(UnsupportedVersionError, match="schema_version 2"):
        Frontier.from_json(text.replace(b'"schema_version": 1', b'"schema_version": 2'))
    with pytest.raises(FmcodecError, match="not a valid frontier"):
        Frontier.from_json(b"[]")
    assert frontier_table(frontier).count("\n") == 2 + len(frontier.points)


def test_selection(result: SearchResult) -> None:
    frontier = result.frontier
    lossless = frontier.select(max_accuracy_drop=0.0)
    assert lossless.drop is not None and lossless.drop <= 0
    assert all(p.bits_per_value >= lossless.bits_per_value for p in frontier.points if (p.drop or 0.0) <= 0)
    cheap = frontier.select(max_bits=lossless.bits_per_value)
    assert cheap.bits_per_value <= lossless.bits_per_value and cheap.loss <= lossless.loss
    with pytest.raises(ValueError, match="no point has a drop"):
        frontier.select(max_accuracy_drop=0.0, max_bits=0.01)
    with pytest.raises(ValueError, match="must be given"):
        frontier.select()


@pytest.mark.parametrize("strategy", ["greedy", "optuna"])
def test_other_strategies_find_their_way(strategy: str) -> None:
    if strategy == "optuna":
        pytest.importorskip("optuna")
    arguments = {"grid": SMALL, "points": 3, "divergences": WEAK, "probe_images": 8}
    found = search(tiny_network(), tiny_samples(8, 1), tiny_samples(8, 2), strategies=(strategy,), **arguments)  # type: ignore[arg-type]
    assert {point.strategy for point in found.frontier.points} == {strategy}
    for point in found.frontier.points[1:]:
        assert point.bits_per_value > found.frontier.points[0].bits_per_value


def test_networks_that_give_images() -> None:
    torch.manual_seed(6)
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 3, 3, padding=1))
    network = Network("filter", model, centred, {"0": MapSite(activation="relu")}, task="image", input_size=16)
    images = tiny_samples(8, 2).images(0, 8)
    held_out = ArraySamples(images, images / 255)
    found = search(
        network,
        ArraySamples(tiny_samples(8, 1).images(0, 8)),
        held_out,
        grid=msgspec.structs.replace(SMALL, relative_steps=(0.01, 0.1, 0.4)),
        points=3,
        sensitivity="noise",
    )
    points = found.frontier.points
    # From 20 dB below the energy of the output to 50 dB: with other numbers the coarsest would be far off.
    ends = [points[0].predicted_divergence, points[-1].predicted_divergence]
    assert DIVERGENCE_RANGES["image"][0] / 10 < ends[1] < ends[0] < 3 * DIVERGENCE_RANGES["image"][1]
    assert len(points) > 1 and all(point.divergence is None and point.drop is None for point in points)
    qualities = [point.output_psnr_db or 0.0 for point in points if point.is_best]
    assert qualities == sorted(qualities) and qualities[-1] > 20
    assert found.frontier.select(max_bits=8.0).output_psnr_db == qualities[-1]
    coded = evaluate(network, found.policy(points[0]), held_out).coded
    likeness, change = (coded.output_psnr_db, coded.output_ssim, coded.output_uqi), coded.target_psnr_difference_db
    assert None not in likeness and change is not None
    values = [estimate.value for estimate in likeness if estimate is not None]
    assert [points[0].output_psnr_db, points[0].output_ssim, points[0].output_uqi] == values
    assert points[0].target_psnr_difference_db == change.value
    assert points[0].target_psnr_difference_error == change.standard_error
    titles, _, row = frontier_table(found.frontier).splitlines()[:3]
    assert titles.split(" | ")[3:7] == ["PSNR, dB", "SSIM", "UQI", "target, dB"]
    expected = [f"{value:.{digits}f}" for value, digits in zip(values, (2, 4, 4), strict=True)]
    assert row.split(" | ")[3:7] == [*expected, f"{change.value:+.2f} +- {change.standard_error:.2f}"]
    with pytest.raises(ValueError, match="no accuracy to keep"):
        found.frontier.select(max_accuracy_drop=1.0)


def test_without_labels_changed_answers_are_counted(result: SearchResult) -> None:
    point = msgspec.structs.replace(result.frontier.points[0], drop=None, agreement=97.5)
    assert point.worst_drop == 2.5


def test_constraints_hold_in_every_policy() -> None:
    found = search(
        tiny_network(),
        tiny_samples(8, 1),
        tiny_samples(8, 2),
        constraints=Constraints(is_multiplier_free=True, max_map_bits=9000),
        grid=SMALL,
        points=3,
        divergences=WEAK,
    )
    channels = {own.name: own.channels for own in found.layers}
    for policy in found.policies.values():
        assert not any(needs_multipliers(own.spec, channels[name]) for name, own in policy.layers.items())
    assert all(point.peak_bits < 10000 for point in found.frontier.points)


def test_coder_of_the_grid_is_that_of_all_policies() -> None:
    grid = Grid(candidates=(Candidate(),), relative_steps=(0.1,), coarse_steps=(0.1,), effort=3, code_layout="serial")
    found = search(tiny_network(), tiny_samples(4, 1), tiny_samples(4, 2), grid=grid, points=1, probe_images=4)
    specs = [own.spec for policy in found.policies.values() for own in policy.layers.values()]
    assert {(spec.effort, spec.code_layout) for spec in specs} == {(3, "serial")}


def test_results_do_not_depend_on_workers(tmp_path: Path) -> None:
    contents = []
    for workers in (1, 2, 3):
        found = search(
            tiny_network(),
            tiny_samples(8, 1),
            tiny_samples(8, 2),
            strategies=("lagrangian",),
            grid=SMALL,
            points=3,
            divergences=WEAK,
            workers=workers,
        )
        found.save(tmp_path / str(workers))
        contents.append({file.name: file.read_bytes() for file in (tmp_path / str(workers)).iterdir()})
    assert contents[0] == contents[1] == contents[2]
    assert len(contents[0]) > 2


def test_invalid_arguments() -> None:
    network, images = tiny_network(), tiny_samples(8, 1)
    with pytest.raises(ValueError, match="calibration images as well"):
        search(network, images, images.subset([0, 1]))
    with pytest.raises(ValueError, match="at least 1"):
        search(network, images, tiny_samples(4, 2), points=0)
    with pytest.raises(ValueError, match="divergences must be above 0"):
        search(network, images, tiny_samples(4, 2), divergences=(0.1, 0.01))
    with pytest.raises(ValueError, match="strategy must be one of"):
        search(network, images, tiny_samples(4, 2), strategies=("best",))
    with pytest.raises(ValueError, match="there must be a strategy"):
        search(network, images, tiny_samples(4, 2), strategies=())


def test_network_is_left_as_it_was() -> None:
    network = tiny_network()
    before = [parameter.clone() for parameter in network.model.parameters()]
    search(network, tiny_samples(4, 1), tiny_samples(4, 2), grid=SMALL, points=1, probe_images=4, sensitivity="fisher")
    assert all(torch.equal(a, b) for a, b in zip(before, network.model.parameters(), strict=True))
    assert all(parameter.grad is None for parameter in network.model.parameters())
    assert not any(module._forward_hooks for module in network.model.modules())
    assert isinstance(network.model, TinyNet)
    assert cost(torch.zeros(8, 4, 4), CodecSpec()) > 0
