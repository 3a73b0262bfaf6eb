"""fmcodec evaluate and compare: from the command line to tables, JSON and plots."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

for package in ("rich", "matplotlib"):
    pytest.importorskip(package)

from fmcodec.cli import main  # noqa: E402
from fmcodec.evaluation import (  # noqa: E402
    ArraySamples,
    Evaluation,
    Network,
    Normalize,
    evaluate,
    load_network,
)
from fmcodec.policy import Policy  # noqa: E402
from fmcodec.report.plots import save_frontier  # noqa: E402
from fmcodec.report.report import Report  # noqa: E402
from fmcodec.systems import SYSTEMS, System  # noqa: E402
from fmcodec.systems.comparison import Comparison, compare, comparison_table  # noqa: E402
from fmcodec.systems.published import PUBLISHED, published_points  # noqa: E402
from fmcodec.torch import calibrate  # noqa: E402

NETWORK_FILE = """
import torch
from torch import nn

def resnet18():
    torch.manual_seed(2)
    return nn.Sequential(
        nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 8, 3), nn.ReLU6(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4),
    )

def denoiser():
    torch.manual_seed(2)
    return nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 1, 3, padding=1))
"""
OPTIONS = ["--size", "12", "--mean", "127,127,127", "--std", "64,64,64", "--batch-size", "4"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a network and images, the present one while a test runs."""
    (tmp_path / "tiny_networks.py").write_text(NETWORK_FILE)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (20, 3, 12, 12), dtype=np.uint8)
    np.savez(tmp_path / "data.npz", images=images, labels=rng.integers(0, 4, 20))
    np.savez(tmp_path / "other.npz", images=images[::-1] // 2, labels=rng.integers(0, 4, 20))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def run(*arguments: str) -> Result:
    result = CliRunner().invoke(main, list(arguments))
    assert result.exit_code == 0, result.output
    return result


def save_policy(folder: Path) -> tuple[Network, Policy]:
    network = load_network("tiny_networks:resnet18", preprocess=Normalize((127.0,) * 3, (64.0,) * 3), input_size=12)
    policy = calibrate(network.model, [torch.randn(4, 3, 12, 12)], network.maps, embed_spec=False)
    policy.save(folder / "policy.json")
    return network, policy


def test_evaluate_command(folder: Path) -> None:
    network, policy = save_policy(folder)
    command = ["evaluate", "tiny_networks:resnet18", "--policy", "policy.json", "--data", "data.npz", *OPTIONS]
    result = run(*command, "--limit", "6", "--json", "out.json", "--resume", "journal", "--weight-bits", "8")
    evaluation = Evaluation.from_json(Path("out.json").read_bytes())
    arrays = np.load("data.npz")
    samples = ArraySamples(torch.from_numpy(arrays["images"]), torch.from_numpy(arrays["labels"]), "data.npz").limited(
        6
    )
    expected = evaluate(network, policy, samples, batch_size=4, weight_bits=8)
    assert evaluation.layers == expected.layers
    assert evaluation.coded == expected.coded
    assert evaluation.provenance["torch"] == torch.__version__
    assert json.loads(Path("out.json").read_bytes())["summary"]["bits_per_value"] == evaluation.bits_per_value
    for text in ("8x8x8", f"{evaluation.bits_per_value:.3f} of whole streams", "8-bit weights: top-1", "coded: top-5"):
        assert text in result.output
    assert len(Path("journal").read_bytes().splitlines()) == 2
    simulated = run(*command, "--mode", "simulate")
    assert "whole streams" not in simulated.output


def test_evaluate_command_refuses(folder: Path) -> None:
    save_policy(folder)
    for model, options, message in (
        ("nothing", OPTIONS, "module:function"),
        ("no_module:x", OPTIONS, "no module 'no_module'"),
        ("tiny_networks:resnet18", ["--mean", "1,2,3"], "--mean and --std"),
        ("tiny_networks:resnet18", ["--mean", "1,x,3", "--std", "1,1,1"], "numbers with commas"),
    ):
        result = CliRunner().invoke(
            main, ["evaluate", model, "--policy", "policy.json", "--data", "data.npz", *options]
        )
        assert result.exit_code == 2
        assert message in result.output
        assert "Traceback" not in result.output


def test_compare_command_with_all_systems(folder: Path) -> None:
    levels = [f"--levels={name}={system.levels[0]:g},{system.levels[-1]:g}" for name, system in SYSTEMS.items()]
    result = run(
        *("compare", "tiny_networks:resnet18", "--data", "data.npz", "--calibration-count", "8", "--systems", "all"),
        *(*levels, *OPTIONS, "--json", "out.json", "--plot", "out.svg", "--table", "out.md", "--resume", "journal"),
    )
    comparison = Comparison.load("out.json")
    assert [(point.system, point.level) for point in comparison.points] == [
        (name, level) for name, system in SYSTEMS.items() for level in (system.levels[0], system.levels[-1])
    ]
    assert {point.evaluation.images for point in comparison.points} == {12}
    assert comparison.calibration == "8 images of data.npz"
    assert comparison.measure == "change of top-1 accuracy, points"
    table = Path("out.md").read_text()
    assert table in result.output
    measured, _, published = table.partition("\nPublished for this network")
    assert published.count("| FMTC |") == 5
    rows = [line.split(" | ") for line in measured.splitlines()[4:]]
    assert [row[2] for row in rows] == [f"{point.evaluation.bits_per_value:.3f}" for point in comparison.points]
    assert all(re.fullmatch(r"[+-]\d+\.\d\d( \+- \d+\.\d\d)?", row[7]) for row in rows)
    assert "<svg" in Path("out.svg").read_text()
    # Finished evaluations are in the journal: nothing is evaluated again.
    before = Path("journal").read_bytes()
    run(
        *("compare", "tiny_networks:resnet18", "--data", "data.npz", "--calibration-count", "8", "--systems", "zvc"),
        *("--levels", "zvc=8", *OPTIONS, "--resume", "journal"),
    )
    assert Path("journal").read_bytes() == before


def test_compare_command_refuses(folder: Path) -> None:
    base = ["compare", "tiny_networks:resnet18", "--data", "data.npz", *OPTIONS]
    for options, message in (
        (["--systems", "zvc", "--levels", "rlc=8"], "names 'rlc'"),
        (["--systems", "nothing", "--calibration-count", "4"], "must be one of fmcodec"),
        (["--calibration", "data.npz"], "20 images of data.npz are calibration images as well"),
        (["--calibration-count", "20"], "cannot be split"),
        (["--systems", "zvc", "--levels", "zvc=8.5", "--calibration", "other.npz"], "whole number of bits"),
    ):
        result = CliRunner().invoke(main, [*base, *options])
        assert result.exit_code == 2, result.output
        assert message in " ".join(result.output.split())


def test_comparison_of_images(tmp_path: Path, folder: Path) -> None:
    as_it_is = Normalize((0.0,), (1.0,))
    network = load_network("tiny_networks:denoiser", task="image", preprocess=as_it_is, input_size=0, channels=1)
    images = torch.rand(6, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    calibration, test = ArraySamples(images[:2]), ArraySamples(images[2:])
    comparison = compare(network, calibration, test, {"zvc": (8, 4), "fmcodec": (0.2,)})
    assert comparison.measure == "PSNR of the output against the uncompressed output, dB"
    fine, coarse = (point.difference.value for point in comparison.points[:2])
    assert fine > coarse > 10
    save_frontier(Report(comparison=comparison), tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 10_000
    coded = comparison.points[0].evaluation.coded
    assert coded.output_ssim is not None and coded.output_uqi is not None
    titles, _, row = comparison_table(comparison).splitlines()[2:5]
    assert titles.split(" | ")[8:11] == ["PSNR to uncompressed, dB", "SSIM", "UQI"]
    assert row.startswith("| zvc | 8 |")
    assert row.split(" | ")[8:11] == [
        f"{fine:.2f}",
        f"{coded.output_ssim.value:.4f}",
        f"{coded.output_uqi.value:.4f}",
    ]
    with_targets = compare(network, calibration, ArraySamples(images[2:], images[2:] / 2), {"zvc": (8,)})
    assert with_targets.measure == "change of PSNR of the output against the target, dB"
    assert with_targets.points[0].difference == with_targets.points[0].evaluation.coded.target_psnr_difference_db
    with pytest.raises(ValueError, match="at least one system"):
        compare(network, calibration, test, {})


def test_labels_of_classes_are_nothing_to_networks_that_give_images(folder: Path) -> None:
    rng = np.random.default_rng(1)
    np.savez("grey.npz", images=rng.integers(0, 256, (4, 1, 16, 16), dtype=np.uint8), labels=rng.integers(0, 4, 4))
    run(
        *("compare", "tiny_networks:denoiser", "--task", "image", "--gray", "--mean", "127", "--std", "64"),
        *("--data", "grey.npz", "--calibration-count", "2", "--systems", "zvc", "--levels", "zvc=6"),
        *("--json", "out.json"),
    )
    coded = Comparison.load("out.json").points[0].evaluation.coded
    assert coded.output_psnr_db is not None and coded.target_psnr_db is None and coded.top1 is None


def test_published_points() -> None:
    assert {point.network for point in published_points("ResNet-18")} == {"resnet18"}
    assert published_points("torch_resnet50_v2") == [point for point in PUBLISHED if point.network == "resnet50"]
    assert published_points("cifar_resnet20") == []
    assert published_points("resnet181") == []
    fmtc = [point for point in published_points("mobilenet_v2") if point.system == "FMTC"]
    # 71.77 % of 71.8 % at 3.85 bits, 63.0 % at 2.6 bits.
    assert (fmtc[0].bits_per_value, fmtc[0].top1_difference) == (3.85, -0.03)
    assert (fmtc[-1].bits_per_value, fmtc[-1].top1_difference) == (2.6, -8.8)
    unknown = [point for point in published_points("resnet50") if point.top1_difference is None]
    assert [round(8 / point.bits_per_value, 2) for point in unknown] == [2.9, 2.31]
    assert all(point.note for point in PUBLISHED)


def test_the_registry_lists_all_systems() -> None:
    from fmcodec.systems import cap2021, dctcm2021, fmtc2019, lmpdr2022, lossless, own, shao2021, stc2020, tq2020

    modules = (cap2021, dctcm2021, fmtc2019, lmpdr2022, lossless, own, shao2021, stc2020, tq2020)
    classes = {
        value
        for module in modules
        for key, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, System) and not key.startswith("_") and value is not System
    }
    assert classes == {type(system) for system in SYSTEMS.values()}


def test_the_page_about_systems_lists_them() -> None:
    page = (Path(__file__).resolve().parent.parent / "docs" / "systems.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    for name, system in SYSTEMS.items():
        row = next(line for line in rows if f"`{name}`" in line.split("|")[1])
        papers = re.findall(r"arXiv (\d+\.\d+)", system.source)
        assert all(paper in row for paper in papers) or name == "fmtc2019-rms"
