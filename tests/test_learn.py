"""Learning: gradients and bits by hand, and policies that must become better."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from learning import Reader, equal_steps, noise, principal, reader_network, unchanged
from search_problems import tiny_network, tiny_samples
from torch import nn

from fmcodec import Basis, CodecSpec, TableStatistics, decode, encode
from fmcodec.cli import main
from fmcodec.evaluation import ArraySamples, MapSite, Network, evaluate
from fmcodec.learn import LearnedLayer, LearnedPolicy, learn_policy, model_bits, straight_through
from fmcodec.learn.importance import coded, ranks
from fmcodec.learn.layer import refined
from fmcodec.learn.learn import divergence_loss, varied
from fmcodec.learn.straight_through import CodecParameters
from fmcodec.policy import LayerPolicy, Policy
from fmcodec.reference.quantize import levels_from_values
from fmcodec.reference.transform import (
    cells_from_images,
    coefficients_from_levels,
    spatial_from_coefficients,
    symbols_from_coefficients,
)
from fmcodec.search.divergence import divergence
from fmcodec.torch import simulate, wrap

ROUNDING = torch.tensor([0.5])
ROWS = np.linalg.qr(np.random.default_rng(0).standard_normal((6, 6)))[0].T

SPECS = {
    "identity": CodecSpec(step=0.1, zero_point=40, bits=7),
    "steps": CodecSpec(step=0.02, zero_point=200, bits=9, band_steps=(3, 9, 4, 20, 17, 1), dead_zone=(0.7, 0.5, 0.9)),
    "permuted dct": CodecSpec(
        step=0.02,
        zero_point=200,
        bits=9,
        transform="dct",
        transform_size=4,
        permutation=(5, 0, 3, 1, 2, 4),
        band_steps=(16, 16, 16, 40),
        kept_bands=3,
    ),
    "hadamard": CodecSpec(step=0.1, zero_point=60, bits=7, transform="hadamard", transform_size=4),
    "klt": CodecSpec(
        step=0.02,
        zero_point=250,
        bits=9,
        transform="klt",
        transform_size=6,
        kept_bands=4,
        band_steps=(16,),
        basis=Basis.from_array(ROWS[:4], [3, 0, 0, -9, 0, 20]),
    ),
    "klt in groups": CodecSpec(
        step=0.02,
        zero_point=250,
        bits=9,
        transform="klt",
        transform_size=2,
        kept_bands=1,
        permutation=(5, 4, 3, 2, 1, 0),
        band_steps=(12,),
        basis=Basis.from_array(np.full((3, 1, 2), math.sqrt(0.5)), [0] * 6),
    ),
    "spatial": CodecSpec(step=0.02, zero_point=200, bits=9, spatial_size=4, band_steps=(16,), exact_zeros=True),
}


def maps(seed: int = 0, count: int = 2) -> torch.Tensor:
    """Maps (count, 6, 7, 9), whose cells are cut by the border."""
    return torch.randn(count, 6, 7, 9, generator=torch.Generator().manual_seed(seed))


def layer_of(spec: CodecSpec, channels: int = 6) -> LearnedLayer:
    return LearnedLayer(LayerPolicy(spec), channels, "both")


# --- straight-through gradients


@pytest.mark.parametrize("name", SPECS)
def test_values_are_those_of_the_codec(name: str) -> None:
    layer = layer_of(SPECS[name])
    layer.set_groups(torch.arange(len(layer.bands)) % 3)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    x = maps()
    spec = layer.spec()
    with torch.no_grad():
        decoded = layer(x)
    assert torch.equal(decoded, simulate(x, spec))
    assert torch.equal(decoded, torch.from_numpy(decode(encode(x, spec))))
    # With gradients, values that are lost are told apart from those that were 0.
    tiny = torch.finfo(torch.float32).tiny
    expected = torch.where((decoded == 0) & (x > 0), tiny, decoded)
    assert torch.equal(layer(x), expected)


def parameters_of(layer: LearnedLayer) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor]:
    steps = layer.all_steps[layer.bands] * layer.log_factors.exp()[layer.groups]
    spec = layer.start.spec
    matrix = layer._matrix if spec.basis is None else torch.block_diag(*layer.rows())  # type: ignore[no-untyped-call]
    return steps, matrix, layer.means()


@pytest.mark.parametrize("name", SPECS)
def test_coefficients_are_those_of_the_codec(name: str) -> None:
    # Gradients belong to the values that are decoded: their coefficients are those of the reference, but where an
    # integer product falls on the other side of a half.
    spec = refined(SPECS[name])
    layer = layer_of(spec)
    x = maps(count=1)
    with torch.no_grad():
        kept = straight_through(x, spec, CodecParameters(*parameters_of(layer))).coefficients
    levels = levels_from_values(x[0].numpy(), spec)
    cells = cells_from_images(levels[:, None], spec.spatial_size)
    coefficients = coefficients_from_levels(cells.reshape(6, -1), spec)
    spatial = spatial_from_coefficients(
        coefficients.reshape(-1, *cells.shape[1:]), spec.spatial_size, *levels.shape[1:]
    )
    symbols = symbols_from_coefficients(spatial.reshape(len(spatial), -1), spec, 6)
    steps = layer.all_steps[layer.bands][:, None, None]
    found = (kept / steps).round().reshape(symbols.shape)
    differences = (found - torch.from_numpy(symbols)).abs()
    assert float(differences.max()) <= 1 and float(differences.mean()) < 0.03


@given(st.lists(st.floats(-3, 3, width=32), min_size=6, max_size=6))
def test_gradient_is_one_inside_the_range_and_zero_where_clamped(values: list[float]) -> None:
    spec = CodecSpec(step=0.25, zero_point=4, bits=4)  # -1 to 2.75
    x = torch.tensor(values).reshape(1, 6, 1, 1).requires_grad_()
    decoded = layer_of(spec)(x)
    decoded.backward(torch.arange(1.0, 7.0).reshape(1, 6, 1, 1))
    assert x.grad is not None
    refined_high = 2.75 + 0.25 * 15 / 16
    inside = [-1 <= value <= refined_high for value in values]
    assert x.grad.flatten().tolist() == [float(i + 1) if flag else 0.0 for i, flag in enumerate(inside)]


def test_gradient_of_a_map_is_projected_onto_kept_components() -> None:
    spec = SPECS["klt"].replace(zero_point=2**14, bits=15)
    x = maps().requires_grad_()
    layer = layer_of(spec)
    weights = maps(1)
    layer(x).backward(weights)
    assert x.grad is not None
    kept = torch.tensor(ROWS[:4].T @ ROWS[:4], dtype=torch.float32)
    expected = torch.einsum("ij,njhw->nihw", kept, weights)
    torch.testing.assert_close(x.grad, expected, atol=2e-3, rtol=0)


def test_gradient_of_a_step_by_hand() -> None:
    # Values of 10/32 and 38/32 steps become 0 and 1 of them: a longer step moves the decoded values by 0 and 1, and
    # their quotients, which count as not rounded, by 10/32 and 38/32 the other way.
    spec = CodecSpec(step=1 / 32, zero_point=0, bits=10, band_steps=(32,))
    layer = layer_of(spec, 2)
    layer.set_groups(torch.tensor([0, 1]))
    layer(torch.tensor([0.3125, 1.1875]).reshape(1, 2, 1, 1)).backward(torch.tensor([1.0, 10.0]).reshape(1, 2, 1, 1))
    assert layer.log_factors.grad is not None
    assert layer.log_factors.grad.tolist() == pytest.approx([-0.3125, 10 * (1 - 1.1875)], rel=1e-5)


def test_gradient_of_an_angle_by_hand() -> None:
    # Of two channels the first is kept. A rotation by t of the row (1, 0) towards channel 1 decodes (a, b) as
    # (a, 0) + t (b, a), and the Cayley transform rotates by twice the angle.
    spec = CodecSpec(
        step=2.0**-12,
        zero_point=2**14 - 1,
        bits=15,
        transform="klt",
        transform_size=2,
        kept_bands=1,
        band_steps=(16,),
        basis=Basis.from_array([[1.0, 0.0]], [0, 0]),
    )
    layer = layer_of(spec, 2)
    layer(torch.tensor([1.5, 0.25]).reshape(1, 2, 1, 1)).backward(torch.tensor([1.0, 3.0]).reshape(1, 2, 1, 1))
    assert layer.angles.grad is not None
    slope = float(layer.angles.grad[0, 1, 0])
    assert abs(slope) == pytest.approx(2 * (0.25 + 3 * 1.5), rel=1e-2)
    with torch.no_grad():
        layer.angles[0, 1, 0] = math.copysign(0.01, slope)
    assert float(layer.rows()[0, 0, 1].detach()) == pytest.approx(0.02, rel=1e-3)


def test_gradients_of_a_length_and_of_a_mean_by_hand() -> None:
    # The identity becomes a KLT of single channels. A value of 38/32 steps is decoded as one step; with a row of length
    # a it is a^2 times the value for gradients: its symbol, and its quotient once more. A mean is subtracted and added.
    layer = LearnedLayer(LayerPolicy(CodecSpec(step=1 / 32, bits=10, band_steps=(32,))), 1, "projection")
    assert layer.start.spec.transform == "klt" and layer.start.spec.transform_size == 1
    layer(torch.full((1, 1, 1, 1), 1.1875)).backward(torch.full((1, 1, 1, 1), 10.0))
    assert layer.log_lengths.grad is not None and layer.shifts.grad is not None
    assert layer.log_lengths.grad.tolist() == pytest.approx([10 * (1 + 1.1875)], rel=1e-5)
    assert layer.shifts.grad.tolist() == pytest.approx([0.0], abs=1e-6)
    with torch.no_grad():
        layer.log_lengths += math.log(2.0)
        layer.shifts += 0.25
    # (1.1875 - 0.25) x 2 is rounded to 2 steps, which become 4 of the values, and 0.25 is added.
    assert layer(torch.full((1, 1, 1, 1), 1.1875)).item() == 4.25
    # -0.25 x 2 is half a step, and rounds away from 0.
    assert layer(torch.zeros(1, 1, 1, 1)).item() == 0.0


# --- the model of the bits


@pytest.mark.parametrize("scale", [0.15, 0.5, 3.0])
@pytest.mark.parametrize("dead_zone", [0.5, 0.8])
def test_bits_of_laplace_are_its_entropy(scale: float, dead_zone: float) -> None:
    magnitudes = -scale * np.log1p(-(np.arange(20000) + 0.5) / 20000)
    quotients = torch.tensor(np.concatenate([magnitudes, -magnitudes]))
    edges = np.concatenate([[0.0], dead_zone + np.arange(400)])
    shares = -np.diff(np.append(np.exp(-edges / scale), 0.0))
    shares = np.concatenate([shares[:1], shares[1:] / 2, shares[1:] / 2])
    entropy = -(shares[shares > 0] * np.log2(shares[shares > 0])).sum()
    bits = model_bits(quotients.reshape(1, 1, 1, -1), torch.tensor([dead_zone]))
    assert float(bits[0]) / 40000 == pytest.approx(entropy, rel=0.01, abs=1e-4)


def test_bits_of_a_sparse_band_are_those_of_its_entropy() -> None:
    # As after a ReLU: seven of ten are 0, the others have one sign.
    magnitudes = -1.5 * np.log1p(-(np.arange(30000) + 0.5) / 30000)
    quotients = torch.tensor(np.concatenate([magnitudes, np.zeros(70000)]))
    shares = np.bincount(np.floor(quotients.numpy() + 0.5).astype(int)) / 100000
    entropy = -(shares[shares > 0] * np.log2(shares[shares > 0])).sum()
    assert float(model_bits(quotients.reshape(1, 1, 1, -1), ROUNDING)[0]) / 100000 == pytest.approx(entropy, rel=0.01)


def test_zeros_of_a_shifted_band_are_known() -> None:
    values = torch.randn(1, 2, 1, 500, generator=torch.Generator().manual_seed(4)).relu()
    shift = torch.tensor([0.0, -0.25])
    same = model_bits(values, ROUNDING)
    shifted = model_bits(values + shift[:, None, None], ROUNDING, shift)
    assert shifted[0] == same[0]
    assert 0.7 * same[1] < shifted[1] < same[1]


def test_slope_of_bits() -> None:
    quotients = 2 * torch.randn(2, 3, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.autograd.gradcheck(lambda q: model_bits(q, ROUNDING), quotients.requires_grad_())
    dull = torch.zeros(1, 2, 1, 9, requires_grad=True)
    bits = model_bits(dull, ROUNDING)
    assert float(bits.sum().detach()) < 0.001
    bits.sum().backward()
    assert dull.grad is not None and not dull.grad.any()


# --- layers


@pytest.mark.parametrize("name", SPECS)
def test_refined_spec_has_the_same_steps(name: str) -> None:
    spec = SPECS[name]
    fine = refined(spec)
    factor = spec.step / fine.step
    assert fine.band_steps == tuple(factor * step for step in spec.band_steps)
    assert min(fine.band_steps) >= 16 or fine.bits >= 14
    assert fine.level_range[0] == factor * spec.level_range[0]
    x = maps()
    if spec.transform == "identity" and spec.spatial_size == 1:
        # Rounded twice: to half a level more than half a step.
        pairs = itertools.islice(zip(itertools.cycle(spec.band_steps), itertools.cycle(spec.dead_zones)), 6)
        bound = [dead_zone * step * spec.step + fine.step for step, dead_zone in pairs]
        inside = x.abs() < 3
        errors = torch.where(inside, simulate(x, fine) - x, torch.zeros(())).abs().amax((0, 2, 3))
        assert all(float(error) <= most for error, most in zip(errors, bound, strict=True))
    assert refined(fine) == fine


def test_rows_stay_orthonormal() -> None:
    layer = layer_of(SPECS["klt"])
    with torch.no_grad():
        layer.angles.copy_(torch.randn(layer.angles.shape, generator=torch.Generator().manual_seed(2)))
    rows = layer.rows()[0].detach()
    torch.testing.assert_close(rows @ rows.T, torch.eye(4), atol=1e-5, rtol=0)
    basis = layer.spec().basis
    assert basis is not None
    entries = basis.entries(4, 6)[0] / 2.0**basis.fraction_bits
    assert np.abs(entries @ entries.T - np.eye(4)).max() < 2.0**-10


def test_start_is_kept_until_something_is_learned() -> None:
    for spec in SPECS.values():
        same = layer_of(spec).spec()
        assert simulate(maps(), same).sub(simulate(maps(), refined(spec))).abs().max() <= 20 * spec.step
        assert LearnedLayer(LayerPolicy(spec), 6, "precision").spec().basis == refined(spec).basis


def test_ranks_share_out_all_bands() -> None:
    assert ranks(torch.tensor([5.0, 1.0, 3.0, 2.0, 4.0]), 2).tolist() == [0, 1, 0, 1, 0]
    assert ranks(torch.zeros(3), 8).tolist() == [0, 1, 2]


# --- policies


def measured(policy: Policy, samples: ArraySamples, network: Network) -> tuple[float, float]:
    """Divergence and bits per value of real streams on images that learning never saw."""
    evaluation = evaluate(network, policy, samples, batch_size=16)
    assert evaluation.coded.kl_nats is not None and evaluation.bits_per_value is not None
    return evaluation.coded.kl_nats.value, evaluation.bits_per_value


@pytest.fixture(scope="module")
def precise() -> LearnedPolicy:
    return learn_policy(
        reader_network(), noise(64, 1), equal_steps(), method="precision", steps=160, groups=2, checks=4
    )


def test_precision_spares_channels_that_nothing_reads(precise: LearnedPolicy) -> None:
    before = measured(equal_steps(), noise(64, 2), reader_network())
    after = measured(precise.policy, noise(64, 2), reader_network())
    assert after[0] < before[0]
    assert after[1] < 0.8 * before[1]
    steps = precise.policy.layers["map"].spec.band_steps
    assert min(steps[1], steps[3]) > 2 * max(steps[0], steps[2])
    # Two groups by importance: channels of one group have one step.
    assert steps[0] == steps[2] and steps[1] == steps[3]


def test_projection_turns_to_what_is_read() -> None:
    found = learn_policy(
        reader_network(), noise(64, 1, 0.5), principal(), method="projection", price=0.02, steps=150, checks=3
    )
    before = measured(principal(), noise(64, 2, 0.5), reader_network())
    after = measured(found.policy, noise(64, 2, 0.5), reader_network())
    assert after[0] < 0.6 * before[0]
    assert after[1] <= before[1]
    spec = found.policy.layers["map"].spec
    assert spec.basis is not None and spec.band_steps == principal().layers["map"].spec.band_steps


def test_history_is_measured(precise: LearnedPolicy) -> None:
    assert [check.step for check in precise.history] == [0, 40, 80, 120, 160]
    last = precise.history[-1]
    assert last.loss < precise.history[0].loss
    held_out, _ = noise(64, 1).split(16)
    network = reader_network()
    assert isinstance(held_out, ArraySamples)
    kl, bits = measured(precise.policy, held_out, network)
    assert (kl, bits) == (pytest.approx(last.divergence), last.bits_per_value)
    for check in precise.history:
        assert check.loss == pytest.approx(check.divergence + precise.price * check.bits_per_value)


def test_learned_policy_is_an_ordinary_one(precise: LearnedPolicy, tmp_path: Path) -> None:
    precise.policy.save(tmp_path / "learned.json")
    assert Policy.load(tmp_path / "learned.json") == precise.policy
    assert precise.policy.provenance["start by"] == "hand"
    assert precise.policy.provenance["method"] == "fmcodec.learn, precision"


def test_model_codes_as_the_wrapped_one() -> None:
    network = tiny_network()
    policy = Policy(
        layers={
            "first": LayerPolicy(CodecSpec(step=0.1), activation="relu"),
            "third": LayerPolicy(CodecSpec(step=0.1, zero_point=99), where="input", activation="relu"),
        }
    )
    layers = {
        name: LearnedLayer(layer, channels, "both")
        for (name, layer), channels in zip(policy.layers.items(), (8, 12), strict=True)
    }
    x = network.preprocess(tiny_samples(4, 1).images(0, 4).float())
    with coded(network.model, layers):
        for layer in layers.values():
            layer.is_measuring = True
        with torch.no_grad():
            learned = network.model(x)
    exported = Policy(layers={name: layer.policy() for name, layer in layers.items()})
    for mode in ("simulate", "codec"):
        with torch.no_grad(), wrap(network.model, exported, mode=mode, embed_spec=False) as session:  # type: ignore[arg-type]
            assert torch.equal(network.model(x), learned)
    assert [entry.coded_bits for entry in session.stats] == [layer.real_bits for layer in layers.values()]


def test_same_seed_same_policy(precise: LearnedPolicy) -> None:
    arguments = {"method": "precision", "steps": 8, "checks": 2, "batch_size": 8}
    runs = [
        learn_policy(reader_network(), noise(16, 1), equal_steps(), seed=seed, **arguments)  # type: ignore[arg-type]
        for seed in (0, 0, 1)
    ]
    assert runs[0] == runs[1]
    assert runs[0].history[1] != runs[2].history[1]


def test_network_is_left_as_it_was() -> None:
    network = tiny_network()
    before = [parameter.clone() for parameter in network.model.parameters()]
    policy = Policy(layers={"second": LayerPolicy(CodecSpec(step=0.2), activation="relu")})
    calls: list[tuple[int, int]] = []
    learn_policy(
        network,
        tiny_samples(8, 1),
        policy,
        price=0.01,
        steps=3,
        checks=9,
        batch_size=4,
        progress=lambda done, total: calls.append((done, total)),
    )
    assert calls == [(1, 3), (2, 3), (3, 3)]
    assert all(torch.equal(a, b) for a, b in zip(before, network.model.parameters(), strict=True))
    assert all(parameter.grad is None for parameter in network.model.parameters())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.model.modules())


def test_networks_that_give_images() -> None:
    torch.manual_seed(6)
    model = nn.Sequential(nn.Conv2d(4, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 4, 3, padding=1))
    with torch.no_grad():
        model[2].weight[:, ::2] = 0
    network = Network("filter", model, unchanged, {"0": MapSite(activation="relu")}, task="image", channels=4)
    policy = Policy(layers={"0": LayerPolicy(CodecSpec(step=0.3), activation="relu")})
    found = learn_policy(network, noise(32, 1), policy, steps=40, checks=2)
    assert found.history[-1].loss < found.history[0].loss


def test_images_are_mirrored_and_shifted() -> None:
    images = torch.arange(2 * 16 * 24.0).reshape(2, 1, 16, 24)
    generator = torch.Generator().manual_seed(5)
    seen = set()
    for _ in range(20):
        found = varied(images, generator)
        assert found.shape == images.shape
        for image, other in zip(images, found, strict=True):
            # The middle of a varied image is a part of the image or of its mirror image.
            middle = other[0, 8, 12]
            row, column = divmod(int(middle - image[0, 0, 0]), 24)
            is_mirrored = bool(other[0, 8, 13] < middle)
            seen.add((row - 8, (23 - column if is_mirrored else column) - 12, is_mirrored))
    rows, columns, flags = (set(values) for values in zip(*seen, strict=True))
    assert rows == set(range(-2, 3)) and columns == set(range(-3, 4)) and flags == {False, True}


@pytest.mark.parametrize("task", ["classification", "image"])
def test_loss_is_the_divergence(task: str) -> None:
    generator = torch.Generator().manual_seed(3)
    a, b = torch.randn(2, 7, 5, generator=generator)
    if task == "image":
        a, b = a.reshape(7, 5, 1, 1), b.reshape(7, 5, 1, 1)
    expected = np.mean(divergence(a, b, task))  # type: ignore[arg-type]
    assert float(divergence_loss(a, b, task)) == pytest.approx(expected, rel=1e-5)  # type: ignore[arg-type]


def test_errors() -> None:
    network, images, start = reader_network(), noise(8, 1), equal_steps()
    with pytest.raises(ValueError, match="method must be"):
        learn_policy(network, images, start, method="magic")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at least 1"):
        learn_policy(network, images, start, steps=0)
    with pytest.raises(ValueError, match="price must be"):
        learn_policy(network, images, start, price=-1.0)
    with pytest.raises(ValueError, match="at least 4"):
        learn_policy(network, noise(3, 1), start)
    dct = CodecSpec(step=0.1, zero_point=99, transform="dct", transform_size=4)
    with pytest.raises(ValueError, match="nothing to learn by 'projection'"):
        learn_policy(network, images, Policy(layers={"map": LayerPolicy(dct)}), method="projection")
    with pytest.raises(ValueError, match="nothing to learn"):
        learn_policy(network, images, Policy(layers={}))
    with pytest.raises(ValueError, match="no module 'nap'"):
        learn_policy(network, images, Policy(layers={"nap": start.layers["map"]}))
    statistics = TableStatistics(start.layers["map"].spec)
    statistics.update(images.images(0, 8))
    tables = start.layers["map"].spec.replace(tables=statistics.build())
    with pytest.raises(ValueError, match="static tables"):
        learn_policy(network, images, Policy(layers={"map": LayerPolicy(tables)}))
    with pytest.raises(ValueError, match="the basis is for 6 channels, the map has 4"):
        learn_policy(network, images, Policy(layers={"map": LayerPolicy(SPECS["klt"])}))

    class Blind(Reader):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return 0 * super().forward(x)

    blind = Network("blind", Blind(), unchanged, {"map": MapSite()}, input_size=8, channels=4)
    with pytest.raises(ValueError, match="give a price"):
        learn_policy(blind, images, start)


# --- the command


def test_command_writes_a_policy(tmp_path: Path) -> None:
    samples = tiny_samples(12, 1)
    np.savez(tmp_path / "images.npz", images=samples.images(0, 12).numpy())
    Policy(layers={"second": LayerPolicy(CodecSpec(step=0.2), activation="relu")}).save(tmp_path / "start.json")
    arguments = ["learn", "search_problems:tiny_network", "--policy", str(tmp_path / "start.json")]
    arguments += ["--data", str(tmp_path / "images.npz"), "--output", str(tmp_path / "learned.json")]
    result = CliRunner().invoke(main, [*arguments, "--steps", "4", "--checks", "2", "--price", "0.01"])
    assert result.exit_code == 0, result.output
    assert Policy.load(tmp_path / "learned.json").provenance["price"] == "0.01"
    lines = result.output.splitlines()
    assert [line.split()[0] for line in lines[-3:]] == ["0", "2", "4"]
    Policy(layers={}).save(tmp_path / "empty.json")
    wrong = CliRunner().invoke(main, [*arguments, "--policy", str(tmp_path / "empty.json")])
    assert wrong.exit_code == 2 and "nothing to learn" in wrong.output and "Traceback" not in wrong.output
