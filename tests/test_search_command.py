"""The command search: files, table, and one-line errors."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner, Result
from search_problems import tiny_samples

from fmcodec.cli import main
from fmcodec.cli_search import _command
from fmcodec.policy import Policy
from fmcodec.search import Frontier

NETWORK = "search_problems:tiny_network"
FAST = ("--images", "8", "--verify-images", "8", "--points", "2", "--probe-images", "8", "--steps", "0.1,0.4,1.6")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    samples = tiny_samples(16, 1)
    assert samples.targets is not None
    path = tmp_path / "images.npz"
    np.savez(path, images=samples.images(0, 16).numpy(), labels=samples.targets.numpy())
    return path


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["search", *map(str, arguments)])


def test_search_writes_policies_and_a_report(data: Path, tmp_path: Path) -> None:
    output = tmp_path / "found"
    result = run(
        NETWORK, "--data", data, "--output", output, *FAST, "--target-bits", "3", "--transforms", "identity,klt"
    )
    assert result.exit_code == 0, result.output
    frontier = Frontier.load(output / "frontier.json")
    names = {point.policy for point in frontier.points}
    assert {file.name for file in output.iterdir()} == {
        *names,
        "frontier.json",
        "frontier.md",
        "frontier.svg",
        "policy.json",
    }
    chosen = frontier.select(max_bits=3)
    assert f"policy.json is {chosen.policy}" in result.output
    assert (output / "policy.json").read_bytes() == (output / chosen.policy).read_bytes()
    policy = Policy.load(output / "policy.json")
    assert {layer.spec.transform for layer in policy.layers.values()} <= {"identity", "klt"}
    assert {layer.spec.spatial_size for layer in policy.layers.values()} == {1}
    assert policy.provenance["network"] == "tiny"
    assert (output / "frontier.md").read_text().count("\n") == 2 + len(names)
    fields = msgspec.json.decode((output / "frontier.json").read_bytes())
    assert fields["points"][0]["bits_per_value"] == frontier.points[0].bits_per_value


def test_dead_zones_are_fitted_if_asked_for(data: Path, tmp_path: Path) -> None:
    output = tmp_path / "found"
    result = run(NETWORK, "--data", data, "--output", output, *FAST, "--strategy", "uniform", "--fit-dead-zones")
    assert result.exit_code == 0, result.output
    strategies = {point.strategy for point in Frontier.load(output / "frontier.json").points}
    assert strategies == {"uniform", "uniform, dead zones"}


def test_options_reach_the_search(data: Path, tmp_path: Path) -> None:
    result = run(
        *(NETWORK, "--data", data, "--output", tmp_path / "found", *FAST, "--multiplier-free", "--effort", "1"),
        *("--max-map-bytes", "4000", "--sensitivity", "fisher", "--strategy", "uniform", "--strategy", "bitwidth"),
        *(
            "--layout",
            "serial",
            "--dead-zone",
            "0.6",
            "--max-drop",
            "100",
            "--objective",
            "search_problems:squared_bits",
        ),
    )
    assert result.exit_code == 0, result.output
    frontier = Frontier.load(tmp_path / "found" / "frontier.json")
    assert {point.strategy for point in frontier.points} == {"uniform", "bitwidth"}
    for point in frontier.points:
        for layer in Policy.load(tmp_path / "found" / point.policy).layers.values():
            assert layer.spec.code_layout == "serial" and layer.spec.effort == 1
            assert layer.spec.transform in ("identity", "hadamard")
        assert point.peak_bits <= 1.2 * 32000


def test_errors_are_one_line(data: Path, tmp_path: Path) -> None:
    for arguments, message in (
        (("--strategy", "magic"), "strategy must be one of"),
        (("--transforms", "fourier"), "transforms must be some of"),
        (("--max-map-bytes", "3"), "obeys the constraints"),
        (("--images", "16"), "cannot be split off"),
        (("--objective", "math"), "must be module:function"),
        (("--max-drop", "-200"), "no point has a drop"),
    ):
        result = run(NETWORK, "--data", data, "--output", tmp_path / "found", *FAST, *arguments)
        assert result.exit_code == 2
        assert message in result.output and "Traceback" not in result.output


def test_command_in_provenance_has_no_workers() -> None:
    assert _command(["/bin/fmcodec", "search", "net", "--workers", "3", "--seed", "1"]) == "fmcodec search net --seed 1"
    assert _command(["fmcodec", "search", "--workers=2", "net"]) == "fmcodec search net"


def test_energy_is_an_objective(data: Path, tmp_path: Path) -> None:
    found = {}
    for name, options in {"bits": (), "joules": ("--objective", "search_problems:joules")}.items():
        result = run(NETWORK, "--data", data, "--output", tmp_path / name, *FAST, *options)
        assert result.exit_code == 0, result.output
        found[name] = Frontier.load(tmp_path / name / "frontier.json").points
    # Reading and writing whole bursts costs joules nearly in proportion to bits.
    for by_bits, by_joules in zip(found["bits"], found["joules"], strict=True):
        assert by_joules.predicted_bits_per_value == pytest.approx(by_bits.predicted_bits_per_value, rel=0.2)
