"""Calibration: statistics that merge, ranges that are covered, and the smallest candidate."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import pytest
import torch
from torch import nn

from fmcodec import ChannelMoments, CodecSpec, encode, inspect
from fmcodec.klt import coarsened, level_range
from fmcodec.torch import Candidate, RangeStatistics, calibrate, relative_rms, wrap
from fmcodec.torch.candidates import DEFAULT_CANDIDATES


class Smooth(nn.Module):
    """Makes 16 channels that differ only slowly, in a scrambled order."""

    ORDER = torch.tensor([3, 12, 0, 9, 6, 15, 1, 10, 4, 13, 7, 2, 11, 5, 14, 8])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        phases = torch.arange(16.0).mul(0.15)[self.ORDER]
        return torch.sin(phases[None, :, None, None] + 3.0 * x[:, :1])


class Model(nn.Module):
    """Two maps: one followed by ReLU, one of slowly changing channels."""

    def __init__(self) -> None:
        super().__init__()
        self.sparse = nn.Conv2d(3, 8, 3, padding=1)
        self.relu = nn.ReLU()
        self.smooth = Smooth()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.relu(self.sparse(x)).sum() + self.smooth(x).sum()


def make_model() -> Model:
    torch.manual_seed(0)
    return Model().eval()


def make_batches() -> list[torch.Tensor]:
    torch.manual_seed(1)
    return [torch.randn(2, 3, 24, 24), torch.randn(1, 3, 24, 24) * 2]


def maps_of(model: Model, name: str) -> list[torch.Tensor]:
    maps: list[torch.Tensor] = []
    handle = model.get_submodule(name).register_forward_hook(lambda _, __, output: maps.append(output.detach()))
    for batch in make_batches():
        model(batch)
    handle.remove()
    return maps


def test_range_statistics_merge() -> None:
    torch.manual_seed(2)
    parts = [torch.randn(5, 7) * 10 + 3, torch.randn(200_001), torch.zeros(0)]
    whole, merged = RangeStatistics(), RangeStatistics()
    for part in parts:
        whole.update(part)
        other = RangeStatistics()
        other.update(part)
        merged.merge(other)
    exact = torch.cat([part.reshape(-1) for part in parts]).double()
    for statistics in (whole, merged):
        assert statistics.count == exact.numel()
        assert statistics.minimum == exact.min()
        assert statistics.maximum == exact.max()
        assert statistics.mean == pytest.approx(exact.mean().item(), rel=1e-12)
        assert statistics.rms == pytest.approx(exact.square().mean().sqrt().item(), rel=1e-12)
    assert RangeStatistics().rms == 0.0


def test_channel_moments_merge() -> None:
    torch.manual_seed(3)
    x = torch.randn(4, 6, 5, 7)
    whole, first, second = ChannelMoments(6), ChannelMoments(6), ChannelMoments(6)
    whole.update(x)
    first.update(x[:1])
    second.update(x[1:])
    first.merge(second)
    assert first.count == whole.count == 4 * 5 * 7
    flat = x.double().permute(1, 0, 2, 3).reshape(6, -1).numpy()
    np.testing.assert_allclose(first.products, flat @ flat.T, rtol=1e-12)
    np.testing.assert_allclose(first.products, whole.products, rtol=1e-12)


def test_greedy_order_finds_a_chain() -> None:
    moments = ChannelMoments(16)
    moments.update(Smooth()(make_batches()[0]))
    order = moments.greedy_order()
    assert sorted(order) == list(range(16))
    neighbours = Smooth.ORDER[torch.tensor(order)]
    jumps = (neighbours[1:] - neighbours[:-1]).abs()
    assert int(jumps.sum()) <= 2 * 16
    assert int(jumps.median()) == 1


def test_mean_order() -> None:
    moments = ChannelMoments(4)
    moments.update(torch.tensor([1.0, 3.0, 1.0, 2.0]).reshape(4, 1, 1).expand(4, 2, 2).numpy())
    assert moments.mean_order() == (1, 3, 0, 2)


class Branches(nn.Module):
    """Two convolutions that read the same tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 12, 1)
        self.left, self.right = nn.Conv2d(12, 4, 1), nn.Conv2d(12, 4, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shared = self.stem(x)
        return self.left(shared) + self.right(shared)


def test_layers_that_see_one_tensor_share_a_spec() -> None:
    torch.manual_seed(0)
    model, batches = Branches().eval(), make_batches()
    names = ["left", "right"]
    alone = calibrate(model, batches, names, where="input")
    shared = calibrate(model, batches, names, where="input", same_map=[names])
    assert shared.layers == alone.layers and list(shared.layers) == names
    spec = shared.layers["left"].spec
    assert spec is shared.layers["right"].spec and spec.transform == "klt"
    for groups, message in [
        ([["left", "stem"]], "must name coded layers"),
        ([["left", "right"], ["right", "left"]], "each in one group"),
    ]:
        with pytest.raises(ValueError, match=message):
            calibrate(model, batches, names, where="input", same_map=groups)
    with pytest.raises(ValueError, match="activations differ"):
        calibrate(model, batches, {"left": "relu", "right": "none"}, same_map=[names])


def test_policy_covers_the_range_and_is_smallest() -> None:
    model = make_model()
    policy = calibrate(model, make_batches(), {"sparse": "relu", "smooth": "none"})
    assert list(policy.layers) == ["sparse", "smooth"]
    sparse, smooth = policy.layers["sparse"], policy.layers["smooth"]
    assert sparse.activation == "relu"
    assert sparse.spec.zero_point == 0
    assert smooth.activation == "none"
    # All channels are combinations of the sine and the cosine of one number.
    assert (smooth.spec.transform, smooth.spec.transform_size, smooth.spec.kept_band_count) == ("klt", 16, 2)
    others = [candidate for candidate in DEFAULT_CANDIDATES if candidate.transform != "klt"]
    by_dct = calibrate(model, make_batches(), ["smooth"], candidates=others).layers["smooth"].spec
    assert by_dct.transform == "dct" and by_dct.permutation is not None
    for name, layer in policy.layers.items():
        for x in maps_of(model, name):
            coded = x.relu() if layer.activation == "relu" else x
            low, high = layer.spec.level_range
            assert low * layer.spec.step <= coded.min()
            assert high * layer.spec.step >= 1.2 * coded.max()
    assert not model.sparse._forward_hooks
    digest = hashlib.sha256(b"".join(batch.numpy().tobytes() for batch in make_batches())).hexdigest()
    assert policy.provenance["batches"] == f"2, SHA-256 of their values {digest}"


def test_choice_is_by_exact_size() -> None:
    model = make_model()
    batches = make_batches()
    sizes = {}
    for candidate in DEFAULT_CANDIDATES:
        policy = calibrate(model, batches, ["smooth"], candidates=[candidate])
        frames = [encode(x, policy.layers["smooth"].spec) for x in maps_of(model, "smooth")]
        sizes[policy.layers["smooth"]] = sum(map(len, frames))
    chosen = calibrate(model, batches, ["smooth"]).layers["smooth"]
    assert sizes[chosen] == min(sizes.values())


def test_principal_components() -> None:
    torch.manual_seed(4)
    mixing = torch.randn(6, 3, dtype=torch.float64)
    x = torch.einsum("ck,nkhw->nchw", mixing, torch.randn(2, 3, 40, 30, dtype=torch.float64)) + 5.0
    moments = ChannelMoments(6)
    moments.update(x)
    rows, variances, means = moments.principal_components()
    flat = x.permute(1, 0, 2, 3).reshape(6, -1).numpy()
    np.testing.assert_allclose(rows @ rows.T, np.eye(6), atol=1e-9)
    np.testing.assert_allclose(means, flat.mean(axis=1))
    components = rows @ (flat - means[:, None])
    np.testing.assert_allclose(components.var(axis=1), variances, atol=1e-9)
    assert (np.diff(variances) <= 0).all() and variances[3:].max() < 1e-9 < variances[2]
    assert (rows[np.arange(6), np.abs(rows).argmax(axis=1)] > 0).all()


def test_transforms_are_tried_on_images_they_were_not_learned_from() -> None:
    # Each image is a direction of its own: rows learned from some of them do not fit the others.
    torch.manual_seed(5)
    model = nn.Sequential(nn.Identity())
    batches = [torch.randn(1, 64, 1, 1) * torch.randn(1, 1, 6, 6) for _ in range(8)]
    spec = calibrate(model, batches, ["0"], embed_spec=False).layers["0"].spec
    assert spec.transform != "klt"
    klt = [candidate for candidate in DEFAULT_CANDIDATES if candidate.transform == "klt"]
    with wrap(model, calibrate(model, batches, ["0"], candidates=klt)) as session:
        model(torch.randn(1, 64, 1, 1) * torch.randn(1, 1, 6, 6))
    assert session.stats[0].snr_db < 10


def test_effort_is_that_of_all_specs() -> None:
    policy = calibrate(make_model(), make_batches(), {"sparse": "relu", "smooth": "none"}, effort=3)
    assert {layer.spec.effort for layer in policy.layers.values()} == {3}


def test_step_rule_and_bits() -> None:
    model = make_model()
    exact = torch.cat([x.relu().reshape(-1) for x in maps_of(model, "sparse")])
    rms = exact.double().square().mean().sqrt().item()
    for relative, candidate, bits in [
        (0.2, Candidate(), 8),
        (0.001, Candidate(), 13),
        (0.2, DEFAULT_CANDIDATES[-1], 9),
    ]:
        rule = relative_rms(relative)
        spec = calibrate(model, make_batches(), {"sparse": "relu"}, candidates=[candidate], step_rule=rule)
        layer = spec.layers["sparse"]
        assert layer.spec.step * candidate.refinement == pytest.approx(relative * rms, rel=1e-6)
        assert layer.spec.bits == pytest.approx(bits, abs=1)
        assert (layer.spec.bits == 8) == (bits == 8)
    with pytest.raises(ValueError, match="relative_step"):
        relative_rms(0)


def test_snr_follows_the_step() -> None:
    model = make_model()
    policy = calibrate(model, make_batches(), ["smooth"], candidates=[Candidate()], step_rule=relative_rms(0.05))
    with wrap(model, policy) as session:
        for batch in make_batches():
            model(batch)
    assert session.stats[0].snr_db == pytest.approx(10.79 - 20 * math.log10(0.05), abs=0.3)


def test_static_tables() -> None:
    model = make_model()
    stages: list[tuple[str, int]] = []
    policy = calibrate(
        model,
        make_batches(),
        {"sparse": "relu", "smooth": "none"},
        static_tables=True,
        progress=lambda *stage: stages.append(stage),
    )
    assert stages == [(name, count) for name in ("measure", "choose", "tables") for count in (1, 2)]
    for name, layer in policy.layers.items():
        assert layer.spec.tables is not None
        x = maps_of(model, name)[0]
        assert inspect(encode(x, layer.spec)).sections["tables"] == 0
    with wrap(model, policy) as coded:
        first = model(make_batches()[0])
    with wrap(model, policy, mode="simulate"):
        assert torch.equal(model(make_batches()[0]), first)
    assert coded.totals().layers == 2


def test_inputs_are_calibrated() -> None:
    model = make_model()
    policy = calibrate(model, make_batches(), ["relu"], where="input", candidates=[Candidate(activation="before")])
    assert policy.layers["relu"].where == "input"
    assert policy.layers["relu"].spec.zero_point > 0
    with wrap(model, policy) as session:
        model(make_batches()[0])
    assert session.stats[0].shape == (2, 8, 24, 24)


def test_batches_of_several_arguments() -> None:
    class Sum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.identity = nn.Identity()

        def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            total: torch.Tensor = self.identity(x + y)
            return total

    x = torch.ones(1, 2, 3, 4)
    policy = calibrate(Sum(), [(x, x)], ["identity"], candidates=[Candidate()])
    assert policy.layers["identity"].spec.step == pytest.approx(0.4)


def test_constant_zero_map() -> None:
    model = nn.Sequential(nn.Identity())
    policy = calibrate(model, [torch.zeros(1, 2, 3, 4)], ["0"])
    assert policy.layers["0"].spec.step * policy.layers["0"].spec.band_steps[0] == 1.0


def test_levels_of_a_range() -> None:
    # Levels of two bits more than there are, halved until they fit.
    assert [coarsened(16, 1.0, 0.0, high, 8) for high in (15.0, 16.0, 40.0, 1000.0)] == [16, 8, 4, 1]
    assert level_range(-3.5, 250.0) == (4, 8)
    assert level_range(-1.0, 2.0) == (127, 8)
    assert level_range(0.0, 256.0) == (0, 9) and level_range(-1e9, 0.0) == (2**16 - 1, 16)
    for low, high in ((math.inf, -math.inf), (0.0, math.nan), (-math.inf, 0.0)):
        with pytest.raises(ValueError, match="NaN or infinity, or no values"):
            level_range(low, high)


def test_invalid_arguments() -> None:
    model = make_model()
    with pytest.raises(ValueError, match="close names: smooth"):
        calibrate(model, make_batches(), ["smoooth"])
    with pytest.raises(ValueError, match="must not be empty"):
        calibrate(model, make_batches(), [])
    with pytest.raises(ValueError, match="must not be empty"):
        calibrate(model, make_batches(), ["smooth"], candidates=[])
    with pytest.raises(ValueError, match="batches must not be empty"):
        calibrate(model, [], ["smooth"])
    with pytest.raises(TypeError, match="more than once"):
        calibrate(model, iter(make_batches()), ["smooth"])
    with pytest.raises(ValueError, match="NaN or infinity"):
        calibrate(nn.Sequential(nn.Identity()), [torch.full((1, 1, 2, 2), math.inf)], ["0"])
    assert not model.smooth._forward_hooks


def test_specs_are_plain_values() -> None:
    policy = calibrate(make_model(), make_batches(), ["smooth"])
    assert CodecSpec.from_json(policy.layers["smooth"].spec.to_json()) == policy.layers["smooth"].spec
