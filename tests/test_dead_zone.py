"""Dead zones of bands: what they do to symbols, and the choice from statistics."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn

import fmcodec
from fmcodec import ChannelMoments, CodecSpec, TableStatistics, decode, encode, klt_spec
from fmcodec.dead_zone import SQUARED_STEPS_PER_BIT, rate_dead_zones
from fmcodec.policy import LayerPolicy, Policy
from fmcodec.torch import fit_dead_zones, simulate

SIZES = [100.0, 10.0, 1.0, 0.3, 0.1, 0.02]


def laplace(scale: float, count: int = 2_000_000) -> npt.NDArray[np.float64]:
    """Quantiles of the density of Laplace, both signs alike."""
    magnitudes = -scale * np.log1p(-(np.arange(count // 2) + 0.5) / (count // 2))
    return np.concatenate([magnitudes, -magnitudes])


def cost(values: npt.NDArray[np.float64], dead_zone: float) -> float:
    """Squared error and bits of values in steps, summed up as `rate_dead_zones` does."""
    symbols = np.sign(values) * np.floor(np.abs(values) + 1 - dead_zone)
    _, counts = np.unique(symbols, return_counts=True)
    shares = counts / counts.sum()
    return float(np.mean((symbols - values) ** 2) - SQUARED_STEPS_PER_BIT * np.sum(shares * np.log2(shares)))


@pytest.mark.parametrize("is_signed", [True, False])
@pytest.mark.parametrize("scale", [0.2, 0.7, 3.0, 20.0])
def test_dead_zones_have_the_least_cost(scale: float, is_signed: bool) -> None:
    values = laplace(scale) if is_signed else np.abs(laplace(scale))
    mean = np.abs(np.rint(values)).mean()
    (chosen,) = rate_dead_zones([mean], is_signed=is_signed).tolist()
    least = cost(values, chosen)
    # Grids of quantiles have costs of their own in the sixth digit.
    assert least <= min(cost(values, dead_zone) for dead_zone in np.arange(50, 101, 5) / 100) + 1e-5
    # Symbols made with another dead zone tell the same.
    wide = np.floor(np.abs(values) + 1 - 0.8).mean()
    assert rate_dead_zones([wide], 0.8, is_signed=is_signed)[0] == pytest.approx(chosen, abs=0.01)


def test_sparser_bands_have_wider_dead_zones() -> None:
    found = rate_dead_zones([1e6, *SIZES]).tolist()
    assert found == sorted(found)
    assert found[0] == 0.5
    assert found[-1] == 1.0
    # Positive symbols cost no sign, so that the first of them is less dear.
    assert rate_dead_zones([0.3], is_signed=False)[0] < rate_dead_zones([0.3])[0]


def test_a_band_has_the_dead_zone_of_its_entry() -> None:
    x = np.full((6, 1, 1), 6.5, np.float32)
    for spec, expected in [
        # 6.5 is the level 6 (ties go to even), of a step of 10.
        (CodecSpec(band_steps=(10,), dead_zone=0.5), [10] * 6),
        (CodecSpec(band_steps=(10,), dead_zone=0.7), [0] * 6),
        (CodecSpec(band_steps=(10,), dead_zone=(0.5, 0.7)), [10, 0] * 3),
        (CodecSpec(band_steps=(10,), dead_zone=(0.7, 0.5, 0.5, 0.5, 0.5, 0.9)), [0, 10, 10, 10, 10, 0]),
    ]:
        assert fmcodec.decode(fmcodec.encode(x, spec)).ravel().tolist() == expected
    # A group of 4 and one of 2: a dead zone by frequency, where that of 2 is for the frequencies 0 and 2 of 4.
    frequencies = CodecSpec(
        zero_point=128, transform="dct", transform_size=4, band_steps=(40,), dead_zone=(0.5, 0.5, 1.0, 0.5)
    )
    alternating = np.array([9, -9, -9, 9, 19, -19], np.float32).reshape(6, 1, 1)
    decoded = fmcodec.decode(fmcodec.encode(alternating, frequencies))
    assert not decoded.any()
    assert fmcodec.decode(fmcodec.encode(alternating, frequencies.replace(dead_zone=0.5))).any()


def test_one_number_and_a_tuple_of_it_are_equal() -> None:
    assert CodecSpec(dead_zone=(0.75,)) == CodecSpec(dead_zone=0.75)
    assert CodecSpec(dead_zone=np.array([0.5, 0.75])).dead_zone == (0.5, 0.75)
    spec = CodecSpec(dead_zone=(0.5, 0.75))
    assert CodecSpec.from_json(spec.to_json()) == spec
    assert spec.dead_zones == (0.5, 0.75)
    assert CodecSpec(dead_zone=0.6).dead_zones == (0.6,)


def test_statistics_count_magnitudes_by_channel() -> None:
    spec = CodecSpec(step=1 / 16, zero_point=128, bits=12, band_steps=(16,))
    x = np.zeros((2, 3, 8, 8), np.float32)
    x[:, 0] = 10
    x[0, 1] = 1
    statistics = TableStatistics(spec)
    statistics.update(x[:1])
    other = TableStatistics(spec)
    other.update(x[1:])
    statistics.merge(other)
    assert statistics.dead_zone() == tuple(rate_dead_zones([10, 0.5, 0]).tolist())
    with pytest.raises(ValueError, match="no values were seen"):
        TableStatistics(spec).dead_zone()


def test_statistics_skip_bands_that_are_not_kept() -> None:
    spec = CodecSpec(
        step=1 / 16, zero_point=2000, bits=12, transform="hadamard", transform_size=4, kept_bands=2, band_steps=(16,),
        spatial_size=2, exact_zeros=True,
    )  # fmt: skip
    x = np.zeros((6, 2, 2), np.float32)
    x[:4] = 20  # the first frequency: 40 for each place, 80 at the first of four
    x[4:, 0] = [4, 0]  # leftover: sqrt(2) * 4 in the first place of the cell, (4, 0) along rows
    statistics = TableStatistics(spec)
    statistics.update(x)
    found = statistics.dead_zone()
    assert len(found) == 6
    assert found[:4] == (float(rate_dead_zones([80 / 4])[0]), 0.5, 0.5, 0.5)
    assert 0.5 < found[4] < 1.0
    assert found[5] == 0.5


@pytest.mark.parametrize("spatial_size", [1, 2])
def test_bits_fall_at_equal_error(spatial_size: int) -> None:
    # Twelve channels of sizes that fall by halves, mixed by a rotation that the KLT finds.
    rng = np.random.default_rng(0)
    rotation = np.linalg.qr(rng.standard_normal((12, 12)))[0]
    samples = [rng.laplace(size=(12, 64, 64)) * 0.5 ** np.arange(12)[:, None, None] for _ in range(2)]
    maps = [np.einsum("ij,jrc->irc", rotation, sample).astype(np.float32) for sample in samples]
    moments = ChannelMoments(12)
    moments.update(maps[0])
    components = moments.principal_components()

    def coded(step: float, with_dead_zones: bool) -> tuple[float, float]:
        """Root mean squared error and bytes of the second map; statistics are of the first."""
        spec = klt_spec(components, step, -20, 20, spatial_size=spatial_size).replace(effort=3)
        if with_dead_zones:
            statistics = TableStatistics(spec)
            statistics.update(maps[0])
            spec = spec.replace(dead_zone=statistics.dead_zone())
        frame = fmcodec.encode(maps[1], spec)
        error = float(np.sqrt(np.mean((fmcodec.decode(frame) - maps[1]) ** 2)))
        return error, len(fmcodec.encode(maps[1], spec, embed_spec=False))

    error, size = coded(1.0, False)
    finer_error, smaller_size = coded(0.88, True)
    assert finer_error <= error
    assert smaller_size < 0.95 * size


# --- policies


def small_network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 4, 3, padding=1)).eval()


def test_dead_zones_of_a_policy_are_those_of_its_maps() -> None:
    model = small_network()
    batches = [torch.randn(2, 3, 12, 12), torch.randn(1, 3, 12, 12)]
    coarse = CodecSpec(step=1 / 16, zero_point=512, bits=10, band_steps=(16,), effort=3)
    layers = {
        "0": LayerPolicy(coarse),
        "1": LayerPolicy(coarse.replace(zero_point=0)),
        "2": LayerPolicy(CodecSpec(step=0.5, zero_point=128)),
    }
    policy = Policy(layers=layers, provenance={"made": "by hand"})
    fitted = fit_dead_zones(model, batches, policy)
    statistics = TableStatistics(coarse)
    for batch in batches:
        statistics.update(model[0](batch).detach())
    assert fitted.layers["0"].spec == coarse.replace(dead_zone=statistics.dead_zone())
    assert len(set(fitted.layers["0"].spec.dead_zones)) > 1
    # After the ReLU there is one sign, and without band steps nothing to widen.
    assert fitted.layers["1"] == layers["1"] and fitted.layers["2"] == layers["2"]
    assert fitted.provenance == {"made": "by hand", "dead_zones": "fmcodec.torch.fit_dead_zones: 2 batches"}
    assert Policy.from_json(fitted.to_json()) == fitted
    # As coded by hooks, so as simulated.
    x = model[0](batches[0]).detach()
    assert torch.equal(
        simulate(x, fitted.layers["0"].spec), torch.from_numpy(decode(encode(x, fitted.layers["0"].spec)))
    )


def test_policies_that_cannot_be_fitted() -> None:
    model, x = small_network(), torch.randn(1, 3, 8, 8)
    statistics = TableStatistics(CodecSpec(zero_point=128, band_steps=(2,)))
    statistics.update(model[0](x).detach())
    static = Policy(layers={"0": LayerPolicy(statistics.spec.replace(tables=statistics.build()))})
    with pytest.raises(ValueError, match="static tables, which are for its present dead zones"):
        fit_dead_zones(model, [x], static)
    adaptive = Policy(layers={"0": LayerPolicy(statistics.spec)})
    with pytest.raises(ValueError, match="batches must not be empty"):
        fit_dead_zones(model, [], adaptive)
    absent = Policy(layers={"5": LayerPolicy(statistics.spec)})
    with pytest.raises(ValueError, match="5"):
        fit_dead_zones(model, [x], absent)
