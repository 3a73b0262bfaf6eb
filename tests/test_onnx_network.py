"""ONNX files as networks: calibration, evaluation, search and the command line, as for torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner, Result
from onnx import helper
from onnx_models import from_torch, make_model
from search_problems import tiny_network, tiny_samples

from fmcodec import CodecSpec
from fmcodec.cli import main
from fmcodec.evaluation import Network, NetworkInputs, Normalize, evaluate, load_network
from fmcodec.learn import learn_policy
from fmcodec.onnx import CompressedSession, OnnxModule
from fmcodec.policy import LayerPolicy, Policy
from fmcodec.search import Frontier, Grid, search
from fmcodec.torch import Candidate, calibrate

OPTIONS = ("--size", "16", "--mean", "128,128,128", "--std", "64,64,64")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The network of `tiny_network` as a file."""
    path = tmp_path_factory.mktemp("onnx") / "tiny.onnx"
    onnx.save(from_torch(tiny_network().model, torch.zeros(1, 3, 16, 16)), path)
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    samples = tiny_samples(16, 1)
    assert samples.targets is not None
    path = tmp_path_factory.mktemp("data") / "images.npz"
    np.savez(path, images=samples.images(0, 16).numpy(), labels=samples.targets.numpy())
    return path


def load(file: Path) -> Network:
    return load_network(str(file), preprocess=Normalize((128.0,) * 3, (64.0,) * 3))


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_networks_of_files(file: Path) -> None:
    network = load(file)
    assert (network.name, network.input_size, network.class_count) == ("tiny", 16, 5)
    assert [site.activation for site in network.maps.values()] == ["relu", "relu", "relu"]
    x = torch.randn(2, 3, 16, 16)
    torch.testing.assert_close(network.model(x), tiny_network().model(x).detach(), rtol=1e-4, atol=1e-4)


def test_evaluation_agrees_with_that_of_torch(file: Path) -> None:
    ours, other, samples = load(file), tiny_network(), tiny_samples(12, 2)
    learned, test = samples.split(4)
    policy = calibrate(other.model, NetworkInputs(other, learned, 4), other.maps, embed_spec=False)
    renamed = Policy(layers=dict(zip(ours.maps, policy.layers.values(), strict=True)))
    expected = evaluate(other, policy, test, batch_size=4)
    found = evaluate(ours, renamed, test, batch_size=4)
    # The same networks but for the rounding of their sums, so a value at the border of two levels may differ.
    assert found.bits_per_value == pytest.approx(expected.bits_per_value, rel=1e-3)
    assert found.coded.kl_nats is not None and expected.coded.kl_nats is not None
    assert found.coded.kl_nats.value == pytest.approx(expected.coded.kl_nats.value, rel=0.05)
    assert found.uncompressed.top1 == expected.uncompressed.top1
    own = calibrate(ours.model, NetworkInputs(ours, learned, 4), ours.maps, embed_spec=False)
    assert [layer.spec.transform for layer in own.layers.values()] == [
        layer.spec.transform for layer in policy.layers.values()
    ]


def test_evaluation_does_not_depend_on_workers(file: Path) -> None:
    network = load(file)
    policy = Policy(layers={name: LayerPolicy(CodecSpec(step=0.1)) for name in network.maps})
    alone = evaluate(network, policy, tiny_samples(6, 3), batch_size=3)
    shared = evaluate(network, policy, tiny_samples(6, 3), batch_size=3, workers=2)
    assert alone.layers == shared.layers
    assert alone.coded == shared.coded


def test_a_search_and_what_becomes_of_its_policies(file: Path) -> None:
    network = load(file)
    grid = Grid(candidates=(Candidate(), Candidate(transform="klt")), relative_steps=(0.1, 0.4, 1.6), level_widths=())
    first, second = tiny_samples(8, 1), tiny_samples(6, 2)
    result = search(network, first, second, grid=grid, points=3, probe_images=4, batch_size=4)
    points = sorted(result.frontier.points, key=lambda point: point.bits_per_value)
    assert points[0].bits_per_value < points[-1].bits_per_value
    assert points[0].divergence > points[-1].divergence
    policy = result.policy(points[-1])
    session = CompressedSession(file, policy, embed_spec=False)
    inputs = network.preprocess(second.images(0, 6).float())
    session.run(None, {"x": inputs.numpy()})
    assert [layer.name for layer in session.stats] == list(network.maps)
    assert session.totals().bits_per_value == pytest.approx(points[-1].bits_per_value, rel=0.1)


def test_what_needs_gradients_or_weights_says_so(file: Path) -> None:
    network = load(file)
    first, second = tiny_samples(8, 1), tiny_samples(4, 2)
    grid = Grid(candidates=(Candidate(),), relative_steps=(0.1,), level_widths=())
    with pytest.raises(ValueError, match="no gradient reaches the map of"):
        search(network, first, second, grid=grid, points=1, batch_size=4, sensitivity="fisher")
    policy = Policy(layers={name: LayerPolicy(CodecSpec(step=0.1)) for name in network.maps})
    with pytest.raises(ValueError, match="no convolution or linear layer of torch"):
        evaluate(network, policy, second, weight_bits=8)
    with pytest.raises(ValueError, match="no gradients pass through an ONNX model"):
        learn_policy(network, tiny_samples(8, 1), policy, method="precision", steps=1)


def test_commands_take_files(file: Path, data: Path, tmp_path: Path) -> None:
    fast = ("--images", "8", "--verify-images", "4", "--points", "2", "--probe-images", "4", "--steps", "0.1,1.6")
    some = ("--transforms", "identity")
    result = run("search", file, *OPTIONS, "--data", data, "--output", tmp_path, *fast, *some, "--target-bits", "3")
    assert result.exit_code == 0, result.output
    assert Frontier.load(tmp_path / "frontier.json").network == "tiny"
    policy = tmp_path / "policy.json"
    assert set(Policy.load(policy).layers) == set(load(file).maps)
    result = run("evaluate", file, *OPTIONS, "--data", data, "--policy", policy, "--json", tmp_path / "result.json")
    assert result.exit_code == 0, result.output
    assert "tiny: coded maps" in result.output


def test_errors_of_files(tmp_path: Path, data: Path) -> None:
    Policy(layers={"none": LayerPolicy(CodecSpec(step=0.1))}).save(tmp_path / "policy.json")

    def fails(name: str) -> str:
        result = run("evaluate", tmp_path / name, "--data", data, "--policy", tmp_path / "policy.json")
        assert result.exit_code == 2
        assert len(result.stderr.strip().splitlines()) == 1
        return result.stderr

    (tmp_path / "text.onnx").write_text("this is no model")
    assert "text.onnx is not a valid ONNX model" in fails("text.onnx")
    assert "missing.onnx" in fails("missing.onnx")
    relu = helper.make_node("Relu", ["x"], ["y"])
    onnx.save(make_model([relu], {"x": [1, 3, 8, 8]}, {"y": [1, 3, 8, 8]}), tmp_path / "relu.onnx")
    assert "no stored feature map was found" in fails("relu.onnx")
    onnx.save(from_torch(tiny_network().model, torch.zeros(1, 3, 16, 16)), tmp_path / "tiny.onnx")
    assert "the model has no module 'none'" in fails("tiny.onnx")


def test_a_softmax_at_the_end_is_left_out(file: Path, tmp_path: Path) -> None:
    model = onnx.load(file)
    model.graph.node.append(helper.make_node("Softmax", ["y"], ["p"]))
    model.graph.output[0].name = "p"
    onnx.save(model, tmp_path / "softmax.onnx")
    x = torch.randn(3, 3, 16, 16)
    assert torch.equal(load(tmp_path / "softmax.onnx").model(x), load(file).model(x))
    assert torch.allclose(OnnxModule(tmp_path / "softmax.onnx")(x).sum(1), torch.ones(3))
