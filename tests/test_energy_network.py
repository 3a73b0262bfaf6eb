"""Whole networks: totals, bounds, hardware, the objective of a search, files, the command, and plots."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

import fmcodec
from fmcodec import CodecSpec, FmcodecError
from fmcodec.cli import main
from fmcodec.energy import (
    FLAT_CONSTANTS,
    Accelerator,
    BlockMap,
    CodecHardware,
    EnergyObjective,
    FeatureMap,
    Layer,
    Memory,
    NetworkCost,
    Storage,
    evaluate_network,
    flat_energy,
    load_part,
    network_plan,
    read_trace,
    transform_operations,
    zero_value_bits,
)
from fmcodec.energy.hardware import DECODE_ENERGY, MAC_ENERGY, STATIC_POWER, SYMBOL_ENERGY
from fmcodec.energy.table import network_table, quantity

DDR3 = Memory(part=load_part("ddr3-1066-x16"))
RESNET18_SHAPES = [(64, 112, 112)] + [(64, 56, 56)] * 4 + [(128, 28, 28)] * 4 + [(256, 14, 14)] * 4 + [(512, 7, 7)] * 4
RESNET18 = [FeatureMap(name=f"conv{index}", shape=shape) for index, shape in enumerate(RESNET18_SHAPES, 1)]


def small_network() -> list[Layer | FeatureMap]:
    return [
        Layer(name="stem", input_shape=(3, 32, 32), output_shape=(16, 16, 16), kernel=3, stride=2),
        Layer(name="conv", input_shape=(16, 16, 16), output_shape=(16, 16, 16), kernel=3, shortcut="stem"),
        Layer(name="pool", input_shape=(16, 16, 16), output_shape=(16, 8, 8), kernel=2, stride=2, weight_bits=0),
        Layer(name="head", input_shape=(16, 8, 8), output_shape=(10, 1, 1), kernel=8, padding=0),
    ]


def test_resnet18_on_one_ddr3_part() -> None:
    """17 maps of 8 bits, written and read once: 0.68 mJ in the core of the chip, and 2.16 ms of bus without refresh."""
    cost = evaluate_network(
        RESNET18,
        {"half": {item.name: 4.0 for item in RESNET18}},
        DDR3,
        accelerator=Accelerator(static_watts=STATIC_POWER.value),
    )
    raw, half = cost["8 bits"], cost["half"]
    assert raw.bytes_moved == 2 * 2_308_096
    assert raw.dram.core * 1e3 == pytest.approx(0.68, abs=0.01)
    bus = 2 * 2_308_096 / DDR3.part.peak_gb_per_s * 1e-9
    assert bus * 1e3 == pytest.approx(2.16, abs=0.01)
    assert raw.seconds / bus == pytest.approx(1 / (1 - 157 / 4160), rel=0.005)
    stall = sum(layer.stall_joules for layer in raw.layers)
    assert stall == pytest.approx(4.3 * raw.seconds)
    assert half.joules / raw.joules == cost.ratio("half") == pytest.approx(0.5, abs=0.005)
    low, high = raw.joules_range
    assert low < raw.joules < high
    assert raw.joules == pytest.approx(raw.dram.total + stall)


def test_layers_read_what_the_layer_before_wrote() -> None:
    layers = small_network()
    bits = {"stem": 2.0, "conv": 4.0}
    plan = network_plan(layers, bits, DDR3)
    costs = evaluate_network(layers, {"coded": bits}, DDR3)["coded"].layers
    assert plan.size_bytes("read", "shortcut") == 16 * 16 * 16 // 4
    # The image, and the maps of stem, conv and pool.
    assert plan.size_bytes("read", "input") == 3 * 32 * 32 + 16 * 16 * 16 // 4 + 16 * 16 * 16 // 2 + 16 * 8 * 8
    assert plan.size_bytes("read", "weights") == sum(layer.weights for layer in layers if isinstance(layer, Layer))
    assert [layer.bits_per_value for layer in costs] == [2.0, 4.0, 8.0, 8.0]
    assert sum(layer.dram.bytes_moved for layer in costs) == 16 * plan.burst_count(16)
    named = [
        *layers[:-1],
        Layer(name="head", input_shape=(16, 16, 16), output_shape=(1, 1, 1), kernel=16, padding=0, source="conv"),
    ]
    assert network_plan(named, {}, DDR3).size_bytes("read", "input") == 3 * 1024 + 3 * 4096


def test_bounds() -> None:
    layer = [Layer(name="conv", input_shape=(16, 32, 32), output_shape=(16, 32, 32), kernel=3)]
    coded = {"coded": {"conv": 2.0}}
    macs = 16 * 16 * 9 * 1024

    def bound(macs_per_clock: int | None, lanes: int) -> tuple[str, float]:
        accelerator = Accelerator(macs_per_clock=macs_per_clock, megahertz=100, static_watts=2.0)
        codec = CodecHardware(lanes=lanes, megahertz=100)
        cost = evaluate_network(layer, coded, DDR3, accelerator=accelerator, codec=codec)["coded"].layers[0]
        assert cost.stall_joules == pytest.approx(2.0 * (cost.seconds - cost.compute_seconds))
        return cost.bound, cost.seconds

    assert bound(None, 1000)[0] == "bus"
    assert bound(64, 1000) == ("compute", pytest.approx(macs / 64 / 100e6))
    # Encoding 16 x 32 x 32 values, one a clock.
    assert bound(None, 1) == ("codec", pytest.approx(16384 / 100e6))


def test_a_codec_costs_energy_but_no_bytes() -> None:
    coded = {"coded": {item.name: 4.0 for item in RESNET18}}
    free = evaluate_network(RESNET18, coded, DDR3)["coded"]
    paid = evaluate_network(RESNET18, coded, DDR3, codec=CodecHardware(lanes=10_000))["coded"]
    assert paid.bytes_moved == free.bytes_moved
    expected = 2_308_096 * (SYMBOL_ENERGY.value + DECODE_ENERGY.value) * 1e-12
    assert paid.joules - free.joules == pytest.approx(expected)
    assert evaluate_network(RESNET18, {}, DDR3, codec=CodecHardware()).systems[0].layers[0].codec_joules == 0.0


def test_energy_of_a_transform() -> None:
    spec = CodecSpec(step=0.01, bits=12, transform="dct", transform_size=8, band_steps=(16,))
    codec = CodecHardware().with_transform(spec, 64)
    assert codec.macs_per_value == transform_operations(spec, 64).multiplications
    more = codec.joules(decoded=10, encoded=5) - CodecHardware().joules(decoded=10, encoded=5)
    assert more == pytest.approx(15 * codec.macs_per_value * MAC_ENERGY.value * 1e-12)


@pytest.mark.parametrize("figure", [SYMBOL_ENERGY, DECODE_ENERGY, MAC_ENERGY, STATIC_POWER])
def test_figures_say_how_far_they_can_be_trusted(figure: Any) -> None:
    assert figure.confidence in ("low", "assumption")
    assert figure.unit
    assert len(figure.source) > 20


def test_figures_of_the_authors_notes() -> None:
    """12.66 mW for 64 coders at 160 MHz; 511 mW for 64 x 64 products a clock."""
    assert SYMBOL_ENERGY.value == pytest.approx(12.66e-3 / (64 * 160e6) * 1e12, abs=0.005)
    assert MAC_ENERGY.value == pytest.approx(511e-3 / (64 * 64 * 160e6) * 1e12, abs=0.005)
    assert STATIC_POWER.value == pytest.approx(4.507 - 0.192, abs=0.02)


def test_flat_constants() -> None:
    assert flat_energy(32, "horowitz") == pytest.approx(640e-12)
    assert {name: item.picojoules_per_bit for name, item in FLAT_CONSTANTS.items()} == {
        "horowitz": 20.0,
        "lpddr": 40.0,
        "lpddr4": 8.0,
        "ddr3": 70.0,
        "gddr5": 14.0,
        "hbm2": 3.9,
        "hmc": 4.2,
    }
    assert all(item.source for item in FLAT_CONSTANTS.values())
    with pytest.raises(FmcodecError, match="take one of horowitz"):
        flat_energy(1, "core")


def test_zero_value_compression() -> None:
    assert zero_value_bits(0.75) == 1 + 0.25 * 8
    with pytest.raises(FmcodecError, match="zero_share"):
        zero_value_bits(1.5)


def test_placement_costs_bytes() -> None:
    maps = [FeatureMap(name="a", shape=(3, 64, 50))]

    def moved(placement: Any) -> int:
        storage = Storage(block_rows=1, placement=placement)
        return evaluate_network(maps, {"x": {"a": 3.3}}, DDR3, storage=storage)["x"].bytes_moved

    # Blocks of 62 bytes: packed they are one run, in slots of 64 bytes each fetches 4 whole bursts.
    assert moved("packed") == 2 * 64 * 62
    assert moved("aligned") == moved("slot") == 2 * 64 * 64


def test_objective_follows_the_model() -> None:
    maps = RESNET18[5:8]
    objective = EnergyObjective(maps, DDR3)
    for bits in ({"conv6": 2.0, "conv7": 4.0}, {"conv6": 2.6, "conv7": 4.7, "conv8": 0.7}):
        exact = evaluate_network(maps, {"x": bits}, DDR3)["x"].joules
        assert objective(bits) == pytest.approx(exact, rel=0.01)
    assert objective({"conv6": 12.0}) == objective({})
    values = {item.name: math.prod(item.shape) for item in maps}
    each = [
        objective.of_map(name, values[name], bits * values[name])
        for name, bits in zip(values, (2.6, 4.7, 0.7), strict=True)
    ]
    assert sum(each) == pytest.approx(objective({"conv6": 2.6, "conv7": 4.7, "conv8": 0.7}))
    with pytest.raises(FmcodecError, match="conv6: the map has 100352 values, not 3"):
        objective.of_map("conv6", 3, 1.0)
    with pytest.raises(FmcodecError, match="no map 'conv9'"):
        objective.of_map("conv9", 3, 1.0)
    with pytest.raises(FmcodecError, match="no map 'conv9'"):
        objective({"conv9": 1.0})
    with pytest.raises(FmcodecError, match="bits per value"):
        objective({"conv6": -1.0})


@pytest.mark.parametrize(
    ("layers", "systems", "message"),
    [
        ([*RESNET18, RESNET18[0]], {}, "same name"),
        (RESNET18, {"x": {"fc": 1.0}}, "no layer 'fc'"),
        (RESNET18, {"x": {"conv1": -1.0}}, "bits per value"),
        (RESNET18, {"x": {"conv1": BlockMap.even((1, 1, 1), 1.0)}}, "the stored map is"),
        ([Layer(name="a", input_shape=(1, 1, 1), output_shape=(1, 1, 1), shortcut="b")], {}, "no layer 'b'"),
        ([Layer(name="a", input_shape=(1, 1, 1), output_shape=(1, 1, 1), source="b")], {}, "no layer 'b'"),
    ],
)
def test_networks_that_make_no_sense(layers: Any, systems: Any, message: str) -> None:
    with pytest.raises(FmcodecError, match=message):
        evaluate_network(layers, systems, DDR3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Accelerator(buffer_bytes=0), "buffer_bytes"),
        (lambda: Accelerator(megahertz=0.0), "megahertz"),
        (lambda: Accelerator(static_watts=math.inf), "static_watts"),
        (lambda: Accelerator(outer_loop="columns"), "outer_loop"),  # type: ignore[arg-type]
        (lambda: CodecHardware(lanes=0), "lanes"),
        (lambda: CodecHardware(mac_picojoules=-1.0), "mac_picojoules"),
    ],
)
def test_hardware_that_makes_no_sense(make: Any, message: str) -> None:
    with pytest.raises(FmcodecError, match=message):
        make()


def test_unknown_system() -> None:
    with pytest.raises(FmcodecError, match="there are 8 bits"):
        evaluate_network(RESNET18[:1], {}, DDR3)["coded"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0 J"),
        (1.0, "1.00 J"),
        (9.999e-4, "1.00 mJ"),
        (1.2345e-5, "12.3 uJ"),
        (4.5e-13, "0.450 pJ"),
        (2.5e4, "25.0 kJ"),
    ],
)
def test_quantities_have_three_digits(value: float, text: str) -> None:
    assert quantity(value, "J") == text


# --- the command


def run(*arguments: Any) -> Result:
    return CliRunner().invoke(main, ["energy", *map(str, arguments)])


def run_fine(*arguments: Any) -> str:
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture
def csv_file(tmp_path: Path) -> Path:
    path = tmp_path / "net.csv"
    path.write_text(
        "name,channels,height,width,bits,zero_share,bits:ebpc\na,16,28,28,2.5,0.5,3.5\nb,32,14,14,,0.25,\n",
    )
    return path


def test_command_on_csv(csv_file: Path) -> None:
    output = run_fine(csv_file, "--part", "ddr4-2400-x16")
    maps = [FeatureMap(name="a", shape=(16, 28, 28)), FeatureMap(name="b", shape=(32, 14, 14))]
    systems = {"coded": {"a": 2.5}, "zero-value": {"a": 5.0, "b": 7.0}, "ebpc": {"a": 3.5}}
    cost = evaluate_network(maps, systems, Memory(part=load_part("ddr4-2400-x16")))
    assert output == network_table(cost) + "\n"
    assert "MT40A512M16" in output
    assert "pump" in output


def test_command_on_json(tmp_path: Path) -> None:
    x = np.maximum(np.random.default_rng(0).standard_normal((16, 16, 16), np.float32), 0)
    frame = fmcodec.encode(x, CodecSpec(step=0.1))
    (tmp_path / "stem.fmc").write_bytes(frame)
    records = [
        {"name": "stem", "input_shape": [3, 32, 32], "kernel": 3, "stride": 2, "frame": "stem.fmc"},
        {"name": "conv", "input_shape": [16, 16, 16], "output_shape": [16, 16, 16], "shortcut": "stem", "bytes": 1024},
    ]
    path = tmp_path / "net.json"
    path.write_text(json.dumps(records))
    options = ("--macs-per-clock", 64, "--lanes", 8, "--static-watts", 4.3, "--buffer", 1 << 16)
    content = json.loads(run_fine(path, *options, "--json"))
    coded = content["systems"][1]
    assert [layer["bits_per_value"] for layer in coded["layers"]] == [8 * len(frame) / x.size, 2.0]
    assert coded["of_8_bits"] == pytest.approx(coded["joules"] / content["systems"][0]["joules"])
    assert coded["low_joules"] < coded["joules"] < coded["high_joules"]
    output = run_fine(path, *options, "--trace", tmp_path / "trace")
    trace = read_trace(tmp_path / "trace")
    assert 16 * len(trace.addresses) == coded["bytes_moved"]
    assert f"{len(trace.addresses)} bursts of 16 bytes" in output


def test_command_in_other_modes(csv_file: Path) -> None:
    bits = {"8 bits": 8 * 18816, "coded": 2.5 * 12544 + 8 * 6272, "zero-value": 5 * 12544 + 7 * 6272}
    flat = json.loads(run_fine(csv_file, "--mode", "flat", "--constant", "ddr3", "--json"))["joules"]
    assert {name: flat[name] for name in bits} == pytest.approx({n: 2 * b * 70e-12 for n, b in bits.items()})
    published = json.loads(run_fine(csv_file, "--mode", "fmtc2019", "--json"))["joules"]
    assert published["8 bits"] == pytest.approx(bits["8 bits"] * (77.3921200750469 + 63.3208255159475) * 1e-12)
    assert "use its ratios" in run_fine(csv_file, "--mode", "fmtc2019")
    assert "Horowitz" in run_fine(csv_file, "--mode", "flat")


def test_command_lists_parts() -> None:
    lines = run_fine("--parts").splitlines()
    assert lines[1].startswith("ddr3-1066-x16")
    assert len(lines) == 10


@pytest.mark.parametrize(
    ("content", "arguments", "message"),
    [
        ("[]", (), "holds no layers"),
        ("{", (), "net.json"),
        ('[{"shape": [1, 2, 3]}]', (), "missing required field `name`"),
        ('[{"name": "a"}]', (), "a: give shape"),
        ('[{"name": "a", "shape": [1, 2, 3], "bits": 1, "bytes": 2}]', (), "bits and bytes"),
        ('[{"name": "a", "shape": [1, 2, 3], "colour": 1}]', (), "colour"),
        ('[{"name": "a", "shape": [1, 2, 3], "frame": "none.fmc"}]', (), "none.fmc"),
        ('[{"name": "a", "input_shape": [1, 2, 3]}]', (), "a: give shape"),
        ('[{"name": "a", "shape": [1, 2, 3]}]', ("--part", "ddr9"), "no part 'ddr9'"),
        ('[{"name": "a", "shape": [1, 2, 3]}]', ("--chips", 3), "chips"),
        ('[{"name": "a", "shape": [1, 2, 3]}]', ("--mode", "flat", "--constant", "x"), "no constant 'x'"),
        (None, (), "give the file of a network"),
    ],
)
def test_errors_of_the_command(tmp_path: Path, content: str | None, arguments: tuple[Any, ...], message: str) -> None:
    path = tmp_path / "net.json"
    if content is not None:
        path.write_text(content)
        arguments = (path, *arguments)
    result = run(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


# --- plots


@pytest.fixture
def cost() -> NetworkCost:
    return evaluate_network(
        RESNET18[9:],
        {"coded": {item.name: 3.0 for item in RESNET18[9:]}},
        DDR3,
        accelerator=Accelerator(static_watts=4.3),
        codec=CodecHardware(),
    )


def test_plot_of_layers(tmp_path: Path, cost: NetworkCost) -> None:
    pytest.importorskip("matplotlib")
    from fmcodec.energy.plots import layer_terms, plot_layers

    for layer in cost["coded"].layers:
        assert math.fsum(layer_terms(layer).values()) == pytest.approx(layer.joules)
    plot_layers(cost, tmp_path / "layers.png")
    assert (tmp_path / "layers.png").stat().st_size > 10_000
    plot_layers(evaluate_network(RESNET18[:2], {}, DDR3), tmp_path / "raw.svg")
    assert (tmp_path / "raw.svg").stat().st_size > 5_000


def test_plot_of_the_command(csv_file: Path) -> None:
    pytest.importorskip("matplotlib")
    target = csv_file.with_suffix(".png")
    assert f"Plot: {target}" in run_fine(csv_file, "--plot", target)
    assert target.stat().st_size > 10_000


def test_frontier(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from fmcodec.energy.plots import FrontierPoint, frontier, plot_frontier

    points = [
        FrontierPoint("ours", 1.0, 0.70),
        FrontierPoint("ours", 2.0, 0.75),
        FrontierPoint("other", 2.0, 0.74),
        FrontierPoint("other", 3.0, 0.75),
        FrontierPoint("8 bits", 4.0, 0.76),
    ]
    assert frontier(points) == [points[0], points[1], points[4]]
    plot_frontier(points, tmp_path / "frontier.png", "made up")
    assert (tmp_path / "frontier.png").stat().st_size > 10_000
