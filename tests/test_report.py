"""fmcodec report: what is on the page is what was measured, and what is missing is left out."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner
from pages import assert_ids_resolve, assert_self_contained
from search_problems import SITES, TinyNet, centred, tiny_samples

torch = pytest.importorskip("torch")
for package in ("matplotlib", "jinja2"):
    pytest.importorskip(package)

from fmcodec import CodecSpec, FmcodecError  # noqa: E402
from fmcodec.cli import main  # noqa: E402
from fmcodec.energy import FeatureMap, Memory, evaluate_network, load_part  # noqa: E402
from fmcodec.evaluation import ArraySamples, Evaluation, MapSite, Network, NetworkInputs, evaluate  # noqa: E402
from fmcodec.policy import LayerPolicy, Policy  # noqa: E402
from fmcodec.report import Report, load_report, render_report  # noqa: E402
from fmcodec.report.energy_plot import system_energy_plot  # noqa: E402
from fmcodec.report.frontier_plot import MEASURES, POLICY, Line, Point, frontier_plot  # noqa: E402
from fmcodec.report.layers import transform_kind, transform_name  # noqa: E402
from fmcodec.report.report_text import policy_text  # noqa: E402
from fmcodec.search import Frontier, FrontierPoint  # noqa: E402
from fmcodec.search.frontier import frontier_point  # noqa: E402
from fmcodec.systems.comparison import Comparison, compare  # noqa: E402
from fmcodec.torch import calibrate, relative_rms  # noqa: E402


def point(name: str, bits: float, divergence: float, drop: float) -> FrontierPoint:
    return FrontierPoint(
        policy=f"{name}.json",
        strategy="lagrangian",
        bits_per_value=bits,
        predicted_bits_per_value=bits,
        level_bits_per_value=6.0,
        peak_bits=8000.0,
        parameter_bytes=1000,
        predicted_divergence=divergence,
        divergence=divergence,
        divergence_error=divergence / 10,
        output_psnr_db=None,
        top1=90.0 - drop,
        drop=drop,
        drop_error=0.5,
        agreement=95.0,
    )


FRONTIER = Frontier(
    network="resnet18",
    images=77,
    top1=90.0,
    provenance={"command": "a search", "seed": "0"},
    points=(point("small", 1.5, 0.1, 4.0), point("large", 3.0, 0.0, -0.25)),
)


@pytest.fixture(scope="module")
def full() -> Report:
    """All that a report may have, of a tiny network by the name of one with published results."""
    network = Network("resnet18", TinyNet(), centred, SITES, input_size=16)
    calibration, test = tiny_samples(8, 1), tiny_samples(12, 2)
    policy = calibrate(
        network.model,
        NetworkInputs(network, calibration, 4),
        network.maps,
        step_rule=relative_rms(0.3),
        embed_spec=False,
    )
    policy = msgspec.structs.replace(policy, provenance={"network": "resnet18", "seed": "<none>"})
    return Report(
        evaluation=evaluate(network, policy, test, batch_size=4),
        comparison=compare(network, calibration, test, {"fmtc2019": (8, 5), "zvc": (8,)}, batch_size=4),
        frontier=FRONTIER,
        policy=policy,
        part="ddr4-2400-x16",
    )


@pytest.fixture(scope="module")
def page(full: Report) -> str:
    return render_report(full)


def test_page_is_self_contained(page: str) -> None:
    assert_self_contained(page)
    assert_ids_resolve(page)


def test_page_has_what_was_measured(full: Report, page: str) -> None:
    evaluation, comparison = full.evaluation, full.comparison
    assert evaluation is not None and comparison is not None and full.policy is not None
    for text in (
        f"{evaluation.bits_per_value:.3f}",
        f"{evaluation.ratio:.2f}",
        "12 images of smooth noise 2",
        "77 held-out images",
        "MT40A512M16 DDR4-2400 x16",
        "fmtc2019 5",
        "Chmiel et al., arXiv 1905.10830",
        "a search",
        "&lt;none&gt;",
    ):
        assert text in page, text
    for layer in evaluation.layers:
        assert f"<td>{layer.bits_per_value:.3f}</td><td>{layer.ratio:.2f}</td>" in page
        assert transform_name(full.policy.layers[layer.name].spec) in page
    for item in comparison.points:
        assert f"<td>{item.evaluation.bits_per_value:.3f}</td>" in page


def test_energy_is_that_of_the_model(full: Report, page: str) -> None:
    evaluation, cost = full.evaluation, full.cost
    assert evaluation is not None and cost is not None
    maps = [FeatureMap(name=layer.name, shape=layer.shape) for layer in evaluation.layers]
    bits = {layer.name: 8 * layer.coded_bits / (8 * layer.values) for layer in evaluation.layers if layer.coded_bits}
    exact = evaluate_network(maps, {"coded": bits}, Memory(part=load_part("ddr4-2400-x16")))
    assert cost.ratio(POLICY) == exact.ratio("coded")
    assert [system.name for system in cost.systems] == ["8 bits", POLICY, "fmtc2019 8", "fmtc2019 5", "zvc 8"]
    bars = system_energy_plot(cost, False).axes[0].patches
    # Terms stand one on the other, so the right ends of the bars of a system reach its total.
    for place, system in enumerate(cost.systems):
        ends = [bar.get_x() + bar.get_width() for bar in bars if round(bar.get_y() + bar.get_height() / 2) == place]
        assert max(ends) == pytest.approx(1e3 * system.joules)
    assert f"{1 - exact.ratio('coded'):.1%}" in page
    assert sum(layer.dram_joules for layer in full.layers) == pytest.approx(exact["coded"].joules)


def test_maps_that_are_not_coded_have_8_bits(full: Report) -> None:
    evaluation = full.evaluation
    assert evaluation is not None
    shorter = msgspec.structs.replace(evaluation, layers=evaluation.layers[:1])
    cost = Report(evaluation=shorter, comparison=full.comparison).cost
    assert cost is not None
    assert [layer.bits_per_value for layer in cost[POLICY].layers][1:] == [8.0, 8.0]
    assert cost["8 bits"].joules > cost[POLICY].joules > cost["8 bits"].layers[1].joules


def test_sections_add_up(full: Report) -> None:
    assert full.evaluation is not None
    for layer, result in zip(full.evaluation.layers, full.layers, strict=True):
        assert sum(layer.section_bits.values()) == layer.coded_bits
        assert sum(result.section_share(name) for name in layer.section_bits) == pytest.approx(1)


HEADINGS = {
    "Answers against bits": {"evaluation", "comparison", "frontier"},
    "Bits per value, and where the traffic is": {"evaluation"},
    "Rate and answers of every system": {"evaluation", "comparison"},
    "Policies of the search": {"frontier"},
    "Energy of external memory": {"evaluation", "comparison"},
    "What the coder writes": {"evaluation"},
    "The policy</h2>": {"policy"},
    "The runs": {"evaluation", "comparison", "frontier"},
}


@pytest.mark.parametrize(
    "parts",
    [{"evaluation"}, {"comparison"}, {"frontier"}, {"policy"}, {"frontier", "policy"}],
    ids="+".join,
)
def test_what_is_missing_is_left_out(full: Report, parts: set[str]) -> None:
    report = Report(**{name: getattr(full, name) for name in parts})
    page = render_report(report)
    for heading, sources in HEADINGS.items():
        assert (heading in page) == bool(sources & parts), heading
    words = re.sub(r"<svg.*?</svg>|<style>.*?</style>", "", page, flags=re.DOTALL)
    assert not re.search(r"\b(None|nan|inf)\b", words)


def test_frontier_has_the_points(full: Report) -> None:
    lines = {line.label: line.points for line in full.lines}
    assert list(lines) == ["search: lagrangian", "fmtc2019", "zvc", POLICY]
    # A drop of 4 points is a change of -4.
    assert lines["search: lagrangian"]["top1_difference"] == [(1.5, -4.0, 0.5, 1.5), (3.0, 0.25, 0.5, 3.0)]
    assert lines["search: lagrangian"]["kl_nats"] == [(1.5, 0.1, pytest.approx(0.01), 1.5), (3.0, 0.0, 0.0, 3.0)]
    assert full.evaluation is not None and full.evaluation.coded.top1_difference is not None
    (own,) = lines[POLICY]["top1_difference"]
    assert own.bits == full.evaluation.bits_per_value
    assert own.value == 100 * full.evaluation.coded.top1_difference.value
    fmtc = lines["fmtc2019"]["kl_nats"]
    assert [entry.bits for entry in fmtc] == sorted(entry.bits for entry in fmtc)
    assert all(entry.published_bits < entry.bits for entry in fmtc)
    figure = frontier_plot(full.lines, full.network, False)
    accuracy, divergence = figure.axes
    assert accuracy.get_xlim()[0] == divergence.get_xlim()[0] == 0
    low, high = divergence.get_ylim()
    shown = [entry.value for line in full.lines for entry in line.points["kl_nats"] if entry.value > 1e-6]
    assert 0 < low < min(shown) <= max(shown) < high
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert "FMTC, published" in labels and POLICY in labels
    published = next(line for line in accuracy.lines if line.get_label() == "FMTC, published")
    assert (4.24, pytest.approx(-0.03)) in list(zip(*published.get_data(), strict=True))


def test_a_large_loss_does_not_hide_small_ones() -> None:
    def axis(*changes: float) -> Any:
        points = [Point(1.0 + index, change, 0.5, 1.0 + index) for index, change in enumerate(changes)]
        lines = [Line("some", {name: [] for name in MEASURES} | {"top1_difference": points})]
        return frontier_plot(lines, "a network", False).axes[0]

    assert axis(-4.0, 0.5).get_yscale() == "linear"
    axes = axis(-70.0, -1.0, 0.5)
    assert "logarithmic beyond 2" in axes.get_ylabel()
    ticks = dict(zip(axes.get_yticks(), (label.get_text() for label in axes.get_yticklabels()), strict=True))
    assert ticks == {tick: str(tick) for tick in (0, 1, -1, -2, -5, -10, -20, -50)}
    low, high = axes.get_ylim()
    assert low < -70.5 and high > 1.0 - 1e-9


def test_networks_that_give_images() -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(4, 1, 3, padding=1)
    )
    network = Network("denoiser", model, centred, {"0": MapSite(activation="relu")}, input_size=0, task="image")
    images = torch.randint(0, 256, (4, 1, 16, 16), dtype=torch.uint8)
    policy = Policy(layers={name: LayerPolicy(CodecSpec(step=0.05)) for name in network.maps})
    evaluation = evaluate(network, policy, ArraySamples(images))
    found = frontier_point("one", "lagrangian", policy, evaluation, 2.0, 1e-3)
    found = msgspec.structs.replace(found, target_psnr_difference_db=-0.625, target_psnr_difference_error=0.125)
    frontier = Frontier(network="denoiser", images=4, top1=None, provenance={}, points=(found,))
    page = render_report(Report(evaluation=evaluation, policy=policy, frontier=frontier))
    assert "PSNR against the uncompressed output, dB" in page
    assert "change of PSNR against the target, dB" in page
    coded = evaluation.coded
    assert coded.output_ssim is not None and coded.output_uqi is not None
    ssim, uqi = f"{coded.output_ssim.value:.4f}", f"{coded.output_uqi.value:.4f}"
    assert page.count(f"<td>{ssim}</td><td>{uqi}</td>") == 2  # of the evaluated policy, and of the search
    assert f"UQI {uqi}" in page
    assert "<td>-0.62 +- 0.12</td>" in page
    assert "divergence of the answers" not in page
    assert "Top-1" not in page


def test_results_must_belong_together(full: Report) -> None:
    assert full.evaluation is not None and full.policy is not None
    with pytest.raises(FmcodecError, match="nothing to report"):
        Report()
    other = msgspec.structs.replace(FRONTIER, network="resnet50")
    with pytest.raises(FmcodecError, match="several networks: resnet18, resnet50"):
        Report(evaluation=full.evaluation, frontier=other)
    foreign = Policy(layers={"conv9": LayerPolicy(CodecSpec(step=0.1))})
    with pytest.raises(FmcodecError, match="not that of the evaluation"):
        Report(evaluation=full.evaluation, policy=foreign)
    layers = tuple(msgspec.structs.replace(layer, coded_bits=None) for layer in full.evaluation.layers)
    with pytest.raises(FmcodecError, match="run it with --mode codec"):
        Report(evaluation=msgspec.structs.replace(full.evaluation, layers=layers))


def save(full: Report, folder: Path) -> list[str]:
    """Writes the inputs of the command; returns its options."""
    assert full.evaluation and full.comparison and full.frontier and full.policy
    full.evaluation.save(folder / "evaluation.json")
    full.comparison.save(folder / "comparison.json")
    (folder / "found").mkdir()
    (folder / "found" / "frontier.json").write_bytes(full.frontier.to_json())
    full.policy.save(folder / "policy.json")
    names = {
        "evaluation": "evaluation.json",
        "comparison": "comparison.json",
        "search": "found",
        "policy": "policy.json",
    }
    return [part for name, file in names.items() for part in (f"--{name}", str(folder / file))]


def test_command(full: Report, page: str, tmp_path: Path) -> None:
    options = save(full, tmp_path)
    target, figures = tmp_path / "page.html", tmp_path / "figures"
    result = CliRunner().invoke(
        main, ["report", str(target), *options, "--part", "ddr4-2400-x16", "--figures", str(figures)]
    )
    assert result.exit_code == 0, result.output
    assert target.read_text(encoding="utf-8") == page
    plots = ("frontier", "bits", "snr", "layer-energy", "sections", "energy")
    assert {file.name for file in figures.iterdir()} == {
        "report.md",
        *(f"{name}.{suffix}" for name in plots for suffix in ("png", "svg")),
    }
    text = (figures / "report.md").read_text(encoding="utf-8")
    assert "## The policy" in text and "| FMTC | 4.24 | -0.03 |" in text
    for line in text.splitlines():
        assert not line.startswith("|") or line.endswith("|")
    assert (figures / "bits.png").read_bytes().startswith(b"\x89PNG")


def test_command_refuses(full: Report, tmp_path: Path) -> None:
    options = dict(zip(*[iter(save(full, tmp_path))] * 2, strict=True))
    evaluation, comparison = options["--evaluation"], options["--comparison"]
    for arguments, message in (
        ([], "there is nothing to report"),
        (["--evaluation", comparison], f"{comparison}: Object missing required field"),
        (["--comparison", evaluation], f"{evaluation}: Object missing required field"),
        (["--search", evaluation], f"{evaluation}: not a valid frontier"),
        (["--policy", evaluation], f"{evaluation}: not a valid policy"),
        (["--evaluation", evaluation, "--part", "ddr9"], "ddr9"),
        (["--search", str(tmp_path)], "No such file"),
    ):
        result = CliRunner().invoke(main, ["report", str(tmp_path / "page.html"), *arguments])
        assert result.exit_code == 2, result.output
        assert message in " ".join(result.output.split())
        assert not (tmp_path / "page.html").exists()


def test_names_of_transforms() -> None:
    for fields, name, kind in (
        ({}, "identity", "identity"),
        ({"spatial_size": 4}, "identity/4", "spatial DCT"),
        ({"transform": "dct", "transform_size": 8}, "DCT 8", "DCT"),
        (
            {"transform": "hadamard", "transform_size": 4, "permutation": (1, 0, 3, 2), "spatial_size": 2},
            "WHT 4*/2",
            "Hadamard",
        ),
    ):
        spec = CodecSpec(step=0.1, **fields)
        assert (transform_name(spec), transform_kind(spec)) == (name, kind)


def test_long_arrays_are_told_by_their_length() -> None:
    spec = CodecSpec(step=0.5, transform="dct", transform_size=4, band_steps=(1, 2, 3, 4), permutation=tuple(range(16)))
    text = policy_text(Policy(layers={"conv1": LayerPolicy(spec)}, provenance={"seed": "0"}))
    fields: Any = msgspec.json.decode(text)
    assert fields["layers"]["conv1"]["spec"]["permutation"] == "16 entries"
    assert fields["layers"]["conv1"]["spec"]["band_steps"] == [1, 2, 3, 4]
    assert fields["provenance"] == {"seed": "0"}


def test_files_are_what_the_commands_write(full: Report, tmp_path: Path) -> None:
    save(full, tmp_path)
    loaded = load_report(evaluation=tmp_path / "evaluation.json", search=tmp_path / "found" / "frontier.json")
    assert loaded.evaluation == full.evaluation and loaded.frontier == full.frontier
    assert math.isfinite(loaded.layers[0].dram_joules)
    assert (
        isinstance(loaded.evaluation, Evaluation) and Comparison.load(tmp_path / "comparison.json") == full.comparison
    )
