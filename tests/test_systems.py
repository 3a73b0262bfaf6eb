"""Published systems: streams of the counted size that decode to the counted values, and rules worked out by hand."""

from __future__ import annotations

import itertools
import pickle
from typing import cast

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.fft import dct
from torch import nn

from fmcodec.baselines import EncodedBits, Zvc
from fmcodec.errors import CorruptStreamError, TruncatedStreamError
from fmcodec.evaluation import MapSite, Network, Normalize, Placement
from fmcodec.systems import SYSTEMS, find_system
from fmcodec.systems.allocation import greedy_bits, laplace_quantizer, water_filling
from fmcodec.systems.cap2021 import component_counts, greedy_cuts, projection_codec
from fmcodec.systems.dctcm2021 import dct_matrix
from fmcodec.systems.huffman import PooledHuffman
from fmcodec.systems.lmpdr2022 import channel_groups
from fmcodec.systems.shao2021 import SpatialDctCodec
from fmcodec.systems.symbol_codec import ProjectionCodec, SymbolCodec, UniformCodec
from fmcodec.systems.system import MapStatistics, measure
from fmcodec.systems.widths import ComponentWidths
from fmcodec.torch import place


class Tiny(nn.Module):
    """A sum before a ReLU, a ReLU6, and a map without activation."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.relu1 = nn.Conv2d(3, 16, 3, padding=1), nn.ReLU6()
        self.conv2, self.relu2 = nn.Conv2d(16, 16, 3, padding=1), nn.ReLU()
        self.conv3 = nn.Conv2d(16, 10, 1)
        self.conv4, self.relu4 = nn.Conv2d(10, 12, 3, 2), nn.ReLU()
        self.fc = nn.Linear(12, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.relu1(self.conv1(x))
        x = self.conv3(self.relu2(self.conv2(x) + x))
        return self.fc(self.relu4(self.conv4(x)).mean((2, 3)))


def make_network() -> Network:
    torch.manual_seed(5)
    return Network("tiny", Tiny(), Normalize((0.0,) * 3, (1.0,) * 3), input_size=10)


def make_batches(seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.nn.functional.interpolate(torch.randn(n, 3, 4, 4, generator=generator), (10, 10)) for n in (3, 2)]


NETWORK = make_network()
SITES = {
    "conv1": MapSite("output", "relu6"),
    "relu2": MapSite("input", "relu"),
    "conv3": MapSite("output", "none"),
    "conv4": MapSite("output", "relu"),
}


def maps_of(network: Network, batch: torch.Tensor, placements: dict[str, Placement]) -> dict[str, torch.Tensor]:
    """What each codec gets to code while no other one changes anything."""
    seen: dict[str, torch.Tensor] = {}

    class Keep:
        def __init__(self, name: str) -> None:
            self.name = name

        def code(self, x: torch.Tensor) -> object:
            from fmcodec.evaluation import CodedMap

            seen[self.name] = x.clone()
            return CodedMap(x, 0, {})

    kept = {name: Placement(placement.site, cast("SymbolCodec", Keep(name))) for name, placement in placements.items()}
    with torch.no_grad(), place(network.model, kept):
        network.model(batch)
    return seen


def test_the_network_of_these_tests() -> None:
    assert NETWORK.maps == SITES


PUBLISHED_SYSTEMS = [name for name in SYSTEMS if not name.startswith("fmcodec")]


@pytest.mark.parametrize("name", PUBLISHED_SYSTEMS)
def test_streams_decode(name: str) -> None:
    system = find_system(name)
    batch = make_batches(1)[0]
    for level in system.levels[:2]:
        placements = system.calibrate(NETWORK, make_batches(), level)
        assert list(placements) == list(SITES)
        for key, x in maps_of(NETWORK, batch, placements).items():
            site, codec = placements[key]
            assert site.where == SITES[key].where
            assert site.activation in ("none", SITES[key].activation)
            assert isinstance(codec, SymbolCodec)
            coded = codec.code(x)
            stream = codec.encode(x)
            assert coded.bits == stream.size_bits == sum(coded.sections.values())
            assert torch.equal(codec.decode(stream, tuple(x.shape)), coded.decoded)
            assert coded.decoded.dtype == x.dtype
            assert coded.decoded.shape == x.shape
            if coded.published_bits is not None:
                assert coded.published_bits < coded.bits
            assert codec.parameter_bits(x.shape[1]) > 0
            again = pickle.loads(pickle.dumps(codec))
            assert torch.equal(again.code(x).decoded, coded.decoded)


@pytest.mark.parametrize("name", SYSTEMS)
def test_levels_trade_bits_for_error(name: str) -> None:
    system = find_system(name)
    batch = make_batches(1)[0]
    points = []
    for level in (system.levels[0], system.levels[-1]):
        placements = system.calibrate(NETWORK, make_batches(), level)
        bits, error = 0, 0.0
        for key, x in maps_of(NETWORK, batch, placements).items():
            coded = placements[key].codec.code(x)
            bits += coded.bits or 0
            error += float((coded.decoded - x).square().mean() / x.square().mean())
        points.append((bits, error))
    assert points[0][0] > points[1][0]
    assert points[0][1] < points[1][1]


@pytest.mark.parametrize("name", SYSTEMS)
def test_systems_describe_themselves_and_refuse_levels(name: str) -> None:
    system = find_system(name)
    assert system.name == name
    assert all(isinstance(text, str) and text for text in (system.source, system.stated, system.reconstruction))
    assert system.level_name
    with pytest.raises(ValueError, match="level must be"):
        system.calibrate(NETWORK, make_batches(), -1.0)
    with pytest.raises(ValueError, match="must be one of fmcodec"):
        find_system("nothing")


def test_statistics_are_those_of_the_maps() -> None:
    found = measure(NETWORK, make_batches(), "before")
    maps = [
        maps_of(NETWORK, batch, {key: Placement(site.before_activation, UNIT) for key, site in SITES.items()})
        for batch in make_batches()
    ]
    for key, statistics in found.items():
        x = torch.cat([entry[key] for entry in maps]).double()
        assert statistics.coded_range.maximum == float(x.max())
        after = x.clamp(0, 6) if key == "conv1" else x.clamp(0) if key != "conv3" else x
        assert statistics.rms == pytest.approx(float(after.square().mean().sqrt()))
        flat = x.transpose(0, 1).flatten(1).numpy()
        variances = statistics.moments.principal_components().variances
        np.testing.assert_allclose(variances, np.linalg.eigvalsh(np.cov(flat, bias=True))[::-1], atol=1e-9)
        assert statistics.positions == x.shape[2] * x.shape[3]


UNIT = UniformCodec(coder=PooledHuffman(), step=1.0, low=-100, high=100)


def test_fmtc_by_the_published_method() -> None:
    batches = make_batches()
    level = 5.0
    placements = find_system("fmtc2019").calibrate(NETWORK, batches, level)
    maps = maps_of(NETWORK, torch.cat(batches), placements)
    for key, x in maps.items():
        assert placements[key].site == SITES[key].before_activation
        flat = x.transpose(0, 1).flatten(1).double().numpy()
        mean = flat.mean(axis=1, keepdims=True)
        components = np.linalg.eigh(np.cov(flat, bias=True))[1].T @ (flat - mean)
        step = (components.max() - components.min()) / (2**level - 2)
        codec = placements[key].codec
        assert isinstance(codec, ProjectionCodec)
        # On the calibration batch itself all statistics are those of the authors. The signs of components are free, so
        # only magnitudes of symbols are compared; range and histogram depend on signs a little.
        assert float(codec.steps[0]) == pytest.approx(step, rel=0.5)
        own = components / float(codec.steps[0])
        symbols = codec.symbols(x).double().numpy()
        order = np.argsort(-own.var(axis=1))
        assert np.mean(np.abs(np.abs(np.rint(own[order])) - np.abs(symbols)) > 0) < 0.01
        counts = np.unique(symbols, return_counts=True)[1]
        entropy = float(np.sum(counts * np.log2(counts.sum() / counts)))
        assert codec.code(x).published_bits == pytest.approx(entropy)
        assert len(np.unique(symbols)) <= 2**level


def test_dct_is_taken_where_channels_are_smooth() -> None:
    places = torch.arange(16.0)
    smooth = torch.cos(places / 16)[None, :, None, None] * (2 + torch.rand(4, 1, 6, 6))
    sparse = torch.relu(torch.randn(4, 16, 6, 6) - 1.5)
    for x, has_dct in ((smooth, True), (sparse, False)):
        network = Network(
            "one", nn.Sequential(nn.Identity(), nn.MaxPool2d(2)), Normalize((0.0,), (1.0,)), {"0": MapSite()}
        )
        codec = find_system("dctcm2021").calibrate(network, [x], 0.1)["0"].codec
        assert isinstance(codec, ProjectionCodec)
        assert torch.equal(codec.rows, torch.eye(16)) != has_dct
        # The matrix is known to everybody; steps are not.
        assert codec.parameter_bits(16) == 16 * 16


def test_dct_matrix() -> None:
    for size in (1, 8, 10):
        np.testing.assert_allclose(dct_matrix(size), dct(np.eye(size), axis=0, norm="ortho"), atol=1e-12)


def test_spatial_dct_of_a_constant() -> None:
    codec = SpatialDctCodec(coder=Zvc(bits=8, signed=True), steps=torch.ones(8, 8))
    symbols = codec.symbols(torch.full((1, 1, 9, 8), 2.0))
    # Two cells: the second row of cells is filled with the nearest values. The mean is 8 times as large in the DCT.
    assert symbols.shape == (2, 8, 8)
    assert symbols[:, 0, 0].tolist() == [16, 16]
    assert int(symbols.count_nonzero()) == 2
    ramp = torch.arange(72.0).reshape(1, 1, 9, 8)
    expected = dct(dct(ramp[0, 0, :8].numpy(), axis=0, norm="ortho"), axis=1, norm="ortho")
    assert expected.max() > 127
    assert np.array_equal(codec.symbols(ramp)[0].numpy(), np.rint(expected).clip(-128, 127))


def test_water_filling() -> None:
    # Half the logarithm of 16, 4, 1, 1/4 and 0 over 1: 2, 1, 0, below 0, below 0.
    assert water_filling(np.array([16.0, 4.0, 1.0, 0.25, 0.0]), 1.0) == (2, 1, 0, 0, 0)


def test_laplace_quantizers() -> None:
    # With one bit the levels are the mean of either half, 1 / sqrt(2): half of the variance is left.
    assert laplace_quantizer(0).error == 1.0
    assert laplace_quantizer(1).step == pytest.approx(np.sqrt(2), abs=1e-3)
    assert laplace_quantizer(1).error == pytest.approx(0.5, abs=1e-3)
    errors = [laplace_quantizer(bits).error for bits in range(8)]
    assert all(2 < left / right < 4 for left, right in itertools.pairwise(errors[1:]))


def test_greedy_bits() -> None:
    # The first bit takes half of the error, which is 8 of the first part and 1 of the second, for 2 values each.
    assert greedy_bits([16.0, 2.0], [2.0, 2.0], 2.0) == [1, 0]
    assert greedy_bits([16.0, 2.0], [2.0, 2.0], 1.0) == [0, 0]
    # A part that costs ten times as much has to wait until the other one has hardly an error left.
    assert greedy_bits([1.0, 1.0], [1.0, 10.0], 3.0) == [3, 0]
    assert greedy_bits([0.0, 1.0], [1.0, 1.0], 2.0) == [0, 2]


def test_channel_groups() -> None:
    assert channel_groups(20) == [[2 * g, 2 * g + 1] for g in range(7)] + [list(range(14, 20))]
    assert channel_groups(3) == [[0], [1], [2]]


def test_greedy_cuts() -> None:
    def codec(count: int) -> ProjectionCodec:
        rows = np.eye(4)[:count]
        return projection_codec(rows, rows.T, np.zeros(4), -np.ones(count), np.ones(count))

    statistics = MapStatistics(4)
    statistics.positions = 10
    choices = {name: [Placement(MapSite(), codec(count)) for count in (4, 2, 1)] for name in "ab"}
    divergences = {"a": [0.0, 1.0, 1.5], "b": [0.0, 0.1, 10.0]}
    found = dict.fromkeys("ab", statistics)

    def kept(level: float) -> list[int]:
        return [len(placement.codec.rows) for placement in greedy_cuts(choices, divergences, found, level).values()]  # type: ignore[attr-defined]

    # 8 bits per value uncut. Bits saved per divergence: b to 2 components 160 / 0.1, a to 2 160 / 1, a to 1 80 / 0.5.
    assert kept(8.0) == [4, 4]
    assert kept(6.0) == [4, 2]
    assert kept(5.0) == [2, 2]
    assert kept(3.5) == [1, 2]
    assert kept(0.1) == [1, 1]
    assert component_counts(32) == [32, 24, 18, 14, 10, 8, 6, 4, 2]


def test_trained_projections_have_a_decoder_of_their_own() -> None:
    rows, columns = np.array([[1.0, 1.0]]), np.array([[0.25], [0.75]])
    codec = projection_codec(rows, columns, np.zeros(2), np.array([-127.0]), np.array([127.0]))
    x = torch.tensor([[[[3.0]], [[5.0]]]])
    assert codec.code(x).decoded.flatten().tolist() == [2.0, 6.0]
    assert codec.code(x).bits == 8


def test_pooled_huffman_by_hand() -> None:
    coder = PooledHuffman()
    symbols = np.array([-1, -1, 1, -1, 2])
    # Smallest symbol -1, four symbols from there to 2 of which 0 is not used; lengths 1, 0, 2, 2; the codes 0, 10, 11.
    bits = f"{32767:016b}{3:016b}" + "0001 0000 0010 0010".replace(" ", "") + "00" + "10" + "0" + "11"
    encoded = coder.encode(symbols)
    assert encoded.size_bits == len(bits)
    assert encoded.data == int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(-(-len(bits) // 8), "big")
    size = coder.size(symbols)
    assert (size.table_bits, size.code_bits) == (48, 7)
    assert size.entropy_bits == pytest.approx(3 * np.log2(5 / 3) + 2 * np.log2(5))


@settings(deadline=None)
@given(st.lists(st.integers(-40, 40) | st.integers(-32768, 32767), max_size=60))
def test_pooled_huffman_round_trips(values: list[int]) -> None:
    coder, symbols = PooledHuffman(), np.array(values, dtype=np.int64)
    encoded = coder.encode(symbols)
    assert np.array_equal(coder.decode(encoded, (len(values),)), symbols)
    assert coder.size_bits(symbols) == encoded.size_bits


@settings(deadline=None, max_examples=200)
@given(st.binary(min_size=1, max_size=40), st.integers(1, 30))
def test_pooled_huffman_refuses_or_decodes_anything(data: bytes, count: int) -> None:
    coder = PooledHuffman()
    encoded = EncodedBits(data, 8 * len(data))
    try:
        symbols = coder.decode(encoded, (count,))
    except CorruptStreamError:
        return
    assert coder.encode(symbols) == encoded


def test_coders_refuse() -> None:
    coder = PooledHuffman()
    with pytest.raises(TypeError, match="integers"):
        coder.encode(np.zeros(3))
    with pytest.raises(ValueError, match="16 bits"):
        coder.encode(np.array([40000]))
    with pytest.raises(TruncatedStreamError):
        coder.decode(EncodedBits(b"\x80\x00\x00\x00\x10", 40), (50,))
    # Lowest symbol, span, and the length of each code: none, too many of one bit, and one code where bits hold another.
    for lengths, message in (
        (("0000",), "prefix code"),
        (("0001",) * 3, "prefix code"),
        (("0001",), "bits are no code"),
    ):
        text = f"{0:016b}{len(lengths) - 1:016b}{''.join(lengths)}" + "1" * 40
        data = int(text.ljust(-(-len(text) // 8) * 8, "0"), 2).to_bytes(-(-len(text) // 8), "big")
        with pytest.raises(CorruptStreamError, match=message):
            coder.decode(EncodedBits(data, len(text)), (1,))
    widths = ComponentWidths((2, 1), (-2, 0))
    with pytest.raises(ValueError, match="does not fit"):
        widths.encode(np.array([[2], [0]]))
    with pytest.raises(ValueError, match=r"\(2, positions\)"):
        widths.encode(np.array([[1]]))
    with pytest.raises(TypeError, match="integers"):
        widths.size_bits(np.zeros((2, 1)))
    with pytest.raises(CorruptStreamError):
        widths.decode(EncodedBits(b"\xff", 7), (2, 2))
    with pytest.raises(TruncatedStreamError):
        widths.decode(EncodedBits(b"\xff", 5), (2, 2))


def test_component_widths_by_hand() -> None:
    coder = ComponentWidths((2, 1), (-2, 0))
    symbols = np.array([[-2, 1, 0], [1, 0, 1]])
    encoded = coder.encode(symbols)
    assert (encoded.data, encoded.size_bits) == (bytes([0b00111010, 0b10000000]), 9)
    assert coder.size_bits(symbols) == 9
    assert np.array_equal(coder.decode(encoded, (2, 3)), symbols)
