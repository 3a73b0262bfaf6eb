"""Evaluation: numbers against ones worked out apart, the same for any number of workers, and after an interruption."""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from fmcodec import CodecSpec, encode, inspect
from fmcodec.errors import FmcodecError
from fmcodec.evaluation import (
    ArraySamples,
    Evaluation,
    MapSite,
    Network,
    Normalize,
    evaluate,
    load_network,
    quantized_weights,
)
from fmcodec.evaluation.metrics import is_in_top, kl_divergence, mean, paired_difference, proportion, psnr, ssim, uqi
from fmcodec.policy import Activation, LayerPolicy, Policy
from fmcodec.torch import wrap


def make_model(seed: int = 0) -> nn.Sequential:
    """A small classifier of 7 classes."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(8, 12, 3, padding=1),
        nn.ReLU6(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(12, 7),
    ).eval()


NORMALIZE = Normalize(mean=(127.0,) * 3, std=(64.0,) * 3)


def make_network(seed: int = 0) -> Network:
    return Network("tiny", make_model(seed), NORMALIZE, input_size=12)


def make_samples(count: int = 11) -> ArraySamples:
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (count, 3, 12, 12), generator=generator, dtype=torch.uint8)
    with torch.no_grad():
        labels = make_model()(NORMALIZE(images.float())).argmax(1)
    labels[::3] = (labels[::3] + 1) % 7
    return ArraySamples(images, labels, "noise")


POLICY = Policy(
    layers={
        "0": LayerPolicy(CodecSpec.for_range(-8, 8, bits=3)),
        "2": LayerPolicy(CodecSpec.for_range(0, 6, bits=4), activation="relu6"),
    }
)


def test_evaluation_against_numbers_worked_out_here() -> None:
    network, samples = make_network(), make_samples()
    done: list[tuple[int, int]] = []
    result = evaluate(network, POLICY, samples, batch_size=4, progress=lambda *counts: done.append(counts))
    assert done == [(0, 11), (4, 11), (8, 11), (11, 11)]
    assert list(network.maps.items()) == [("0", MapSite("output", "relu")), ("2", MapSite("output", "relu6"))]

    bits = dict.fromkeys(POLICY.layers, 0)
    answers, references = [], []
    with torch.no_grad():
        for batch in samples.batches(4):
            x = NORMALIZE(batch.float())
            references.append(network.model(x))
            with wrap(network.model, POLICY, embed_spec=False) as session:
                answers.append(network.model(x))
            for layer in session.stats:
                bits[layer.name] += layer.coded_bits or 0
    answer, reference, labels = torch.cat(answers), torch.cat(references), samples.targets
    assert labels is not None
    hits, reference_hits = (answer.argmax(1) == labels).double(), (reference.argmax(1) == labels).double()
    assert result.uncompressed.top1 is not None
    assert result.uncompressed.top1.value == pytest.approx(7 / 11)
    assert result.coded.top1 is not None
    assert result.coded.top1.value == pytest.approx(float(hits.mean()))
    difference = hits - reference_hits
    assert result.coded.top1_difference is not None
    assert result.coded.top1_difference.value == pytest.approx(float(difference.mean()))
    assert result.coded.top1_difference.standard_error == pytest.approx(float(difference.std()) / math.sqrt(11))
    assert result.coded.agreement is not None
    assert result.coded.agreement.value == float((answer.argmax(1) == reference.argmax(1)).double().mean())
    logits, expected = answer.double(), reference.double()
    divergence = nn.functional.kl_div(logits.log_softmax(1), expected.softmax(1), reduction="batchmean")
    assert result.coded.kl_nats is not None
    assert result.coded.kl_nats.value == pytest.approx(float(divergence))
    assert result.uncompressed.agreement is None

    assert {layer.name: layer.coded_bits for layer in result.layers} == bits
    assert result.values == 11 * 144 * (8 + 12)
    assert result.bits_per_value == sum(bits.values()) / result.values
    assert result.published_bits_per_value == result.bits_per_value
    ratios = [8 * 11 * 144 * 8 / bits["0"], 8 * 11 * 144 * 12 / bits["2"]]
    assert result.mean_layer_ratio == pytest.approx(sum(ratios) / 2)
    assert result.worst_layer is not None
    assert result.worst_layer.name == ("0" if ratios[0] < ratios[1] else "2")
    assert Evaluation.from_json(result.to_json()) == result


def test_parameters_and_largest_map() -> None:
    network, samples = make_network(), make_samples(3)
    layer = POLICY.layers["0"]
    result = evaluate(network, Policy(layers={"0": layer}), samples, batch_size=1)
    with torch.no_grad():
        maps = network.model[0](NORMALIZE(samples.images(0, 3).float()))  # type: ignore[index, operator]
    sizes = [8 * len(encode(x, layer.spec, embed_spec=False)) for x in maps[:, None]]
    assert result.coded_bits == sum(sizes)
    assert result.peak_layer is not None
    assert result.peak_layer.peak_bits == max(sizes)
    # In frames that hold it, the spec is a section of so many bits.
    assert result.layers[0].parameter_bits == inspect(encode(maps, layer.spec)).sections["spec"]
    assert 8 * result.parameter_bytes == result.layers[0].parameter_bits
    assert result.parameter_bits_per_value == 8 * result.parameter_bytes / (3 * 8 * 144)


def test_simulation_gives_the_same_answers() -> None:
    network, samples = make_network(), make_samples()
    coded = evaluate(network, POLICY, samples)
    simulated = evaluate(network, POLICY, samples, mode="simulate")
    assert simulated.coded == coded.coded
    assert simulated.bits_per_value is None
    assert simulated.worst_layer is None
    assert Evaluation.from_json(simulated.to_json()) == simulated
    counted = evaluate(network, POLICY, samples, mode="simulate", count_bits=True)
    assert counted.layers == coded.layers


def test_quantized_weights_are_a_network_of_their_own() -> None:
    network, samples = make_network(), make_samples()
    result = evaluate(network, POLICY, samples, weight_bits=4)
    assert result.quantized is not None
    plain = evaluate(network, POLICY, samples)
    assert result.uncompressed == plain.uncompressed
    apart = Network("apart", quantized_weights(network.model, 4), NORMALIZE, network.maps, input_size=12)
    assert evaluate(apart, POLICY, samples).coded.top1 == result.coded.top1
    assert evaluate(apart, POLICY, samples).uncompressed.top1 == result.quantized.top1


def test_levels_of_weights() -> None:
    model = make_model()
    before = [parameter.clone() for parameter in model.parameters()]
    quantized = quantized_weights(model, 4)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    for index, bits in (("0", 8), ("2", 4), ("6", 8)):
        weight, rounded = (part.get_submodule(index).weight.detach().flatten(1) for part in (model, quantized))
        for row, levels in zip(weight, rounded, strict=True):
            values = levels.unique()
            gaps = values.diff()
            assert len(values) <= 2**bits
            # Uniform levels: all distances are whole numbers of one step, which covers the channel or clips it.
            step = float(gaps.min())
            assert torch.allclose(gaps / step, torch.round(gaps / step), atol=2e-3 * 2**bits)
            assert float(levels.mean()) == pytest.approx(float(row.mean()), abs=1e-6)
            # Not worse than plain rounding to levels that cover the largest weight.
            plain = float(row.abs().max()) / (2 ** (bits - 1) - 1)
            error = float((levels - row).square().sum())
            assert error <= float((torch.round(row / plain) * plain - row).square().sum()) * 1.0001
    assert torch.equal(quantized.get_submodule("2").bias, model.get_submodule("2").bias)
    with pytest.raises(ValueError, match="2 to 16 bits"):
        quantized_weights(model, 1)


def test_the_number_of_workers_changes_nothing() -> None:
    network, samples = make_network(), make_samples()
    alone = evaluate(network, POLICY, samples, batch_size=2)
    assert evaluate(network, POLICY, samples, batch_size=2, workers=2) == alone
    with ThreadPoolExecutor(3) as executor:
        assert evaluate(network, POLICY, samples, batch_size=2, workers=3, executor=executor) == alone


def test_a_run_goes_on_where_it_stopped(tmp_path: Path) -> None:
    network, samples, journal = make_network(), make_samples(), tmp_path / "journal.jsonl"
    expected = evaluate(network, POLICY, samples, batch_size=3)

    class Stop(Exception):
        pass

    def stop_after_two(done: int, total: int) -> None:
        if done >= 6:
            raise Stop

    with pytest.raises(Stop):
        evaluate(network, POLICY, samples, batch_size=3, progress=stop_after_two, resume=journal)
    # As if it had been stopped while it wrote.
    with journal.open("ab") as file:
        file.write(b'{"digest":"00')
    done: list[int] = []
    again = evaluate(
        network, POLICY, samples, batch_size=3, progress=lambda count, _: done.append(count), resume=journal
    )
    assert again == expected
    assert done == [6, 9, 11]
    # Another network, policy or setting has batches of its own in the same file.
    for other, options in ((make_network(1), {}), (network, {"weight_bits": 8})):
        fresh: list[int] = []
        options: dict[str, Any] = {**options, "progress": lambda count, _, fresh=fresh: fresh.append(count)}
        evaluate(other, POLICY, samples, batch_size=3, resume=journal, **options)
        assert fresh[0] == 0
    assert len(journal.read_bytes().splitlines()) == 4 + 4 + 4
    (tmp_path / "text").write_text("no journal\n")
    with pytest.raises(ValueError, match="not a journal"):
        evaluate(network, POLICY, samples, resume=tmp_path / "text")


def test_images_as_outputs() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 1, 3, padding=1))
    network = Network("denoiser", model, Normalize((0.0,), (1.0,)), task="image", input_size=0, channels=1)
    images = torch.rand(3, 1, 16, 18)
    policy = Policy(layers={"0": LayerPolicy(CodecSpec.for_range(0, 2, bits=4), activation="relu")})
    result = evaluate(network, policy, ArraySamples(images, images.clone()), batch_size=2)
    with torch.no_grad():
        reference = model(images)
        with wrap(model, policy):
            output = model(images)
    assert result.coded.output_psnr_db is not None
    assert result.coded.output_psnr_db.value == pytest.approx(sum(psnr(reference, output, 1.0)) / 3)
    assert result.coded.target_ssim is not None
    assert result.coded.target_ssim.value == pytest.approx(sum(ssim(images, output, 1.0)) / 3)
    assert result.coded.target_uqi is not None and result.coded.output_uqi is not None
    assert result.coded.target_uqi.value == pytest.approx(sum(uqi(images, output)) / 3)
    assert result.coded.output_uqi.value == pytest.approx(sum(uqi(reference, output)) / 3)
    assert result.uncompressed.target_psnr_db is not None
    assert result.uncompressed.output_psnr_db is None
    after, before = psnr(images, output, 1.0), psnr(images, reference, 1.0)
    changes = torch.tensor(after, dtype=torch.float64) - torch.tensor(before, dtype=torch.float64)
    change = result.coded.target_psnr_difference_db
    assert change is not None and result.uncompressed.target_psnr_difference_db is None
    assert change.value == pytest.approx(float(changes.mean()), abs=1e-6)
    assert change.standard_error == pytest.approx(float(changes.std()) / 3**0.5, abs=1e-6)
    assert result.coded.top1 is None


@pytest.mark.parametrize("name", ["0", "2", "4"])
@pytest.mark.parametrize("activation", ["none", "relu", "relu6"])
def test_an_activation_must_be_that_of_the_network(name: str, activation: Activation) -> None:
    # After ReLU6, ReLU changes nothing; after ReLU, ReLU6 does.
    network, samples = make_network(), make_samples(2)
    network.maps["4"] = MapSite("output", "none")
    policy = Policy(layers={name: LayerPolicy(CodecSpec(step=0.05, bits=12, zero_point=2048), activation=activation)})
    if (name, activation) in (("0", "relu6"), ("4", "relu"), ("4", "relu6")):
        with pytest.raises(ValueError, match=f"coded after {activation}, but the network has (relu|none) there: cal"):
            evaluate(network, policy, samples)
    else:
        evaluate(network, policy, samples)


def test_what_cannot_be_evaluated() -> None:
    network, samples = make_network(), make_samples(2)
    with pytest.raises(ValueError, match="no map is coded"):
        evaluate(network, {}, samples)
    with pytest.raises(ValueError, match="no module 'nine'"):
        evaluate(network, Policy(layers={"nine": LayerPolicy(CodecSpec())}), samples)
    with pytest.raises(ValueError, match="7 classes"):
        evaluate(network, POLICY, ArraySamples(samples.images(0, 2), torch.tensor([3, 7])))
    with pytest.raises(ValueError, match="at least 1"):
        evaluate(network, POLICY, samples, batch_size=0)
    unused = make_model()
    unused.add_module("other", nn.Conv2d(3, 3, 1))
    unused.forward = lambda x: nn.Sequential(*list(unused)[:-1])(x)  # type: ignore[assignment]
    policy = Policy(layers={"other": LayerPolicy(CodecSpec())})
    with pytest.raises(ValueError, match="does not compute the map of other"):
        evaluate(Network("unused", unused, NORMALIZE, input_size=12), policy, samples)
    with pytest.raises(FmcodecError) as caught:
        evaluate(network, POLICY, ArraySamples(torch.full((1, 3, 12, 12), math.nan)))
    assert "'0'" in caught.value.__notes__[0]


class Answers(nn.Module):
    """A convolution, and an answer made of what it gives."""

    def __init__(self, answer: Callable[[torch.Tensor], Any]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.answer = answer

    def forward(self, x: torch.Tensor) -> Any:
        return self.answer(self.conv(x))


@pytest.mark.parametrize(
    ("task", "answer", "error", "message"),
    [
        ("classification", lambda x: (x, x), TypeError, "must be a tensor, not tuple"),
        ("classification", lambda x: x.mean((2, 3)) / 0, ValueError, "holds NaN or infinity"),
        ("classification", lambda x: x, ValueError, r"must be \(N, classes\), not \(2, 4, 10, 10\)"),
        (
            "image",
            lambda x: x[:, :1],
            ValueError,
            r"output is \(2, 1, 10, 10\), but the target is \(2, 3, 12, 12\)",
        ),
    ],
)
def test_answers_that_are_none(
    task: Any, answer: Callable[[torch.Tensor], Any], error: type[Exception], message: str
) -> None:
    maps = {"conv": MapSite("output", "none")}
    network = Network("none", Answers(answer), NORMALIZE, input_size=12, task=task, maps=maps)
    images = make_samples(2).images(0, 2)
    targets = images.float() if task == "image" else torch.tensor([0, 1])
    policy = Policy(layers={"conv": LayerPolicy(CodecSpec.for_range(-8, 8))})
    with pytest.raises(error, match=message):
        evaluate(network, policy, ArraySamples(images, targets))


def test_width_of_the_output() -> None:
    assert make_network().class_count == 7
    assert Network("image", nn.Conv2d(3, 3, 1), NORMALIZE, task="image", maps={}).class_count == 0


def test_a_changed_network_is_not_loaded_from_its_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parent)
    network = load_network(f"{__name__}:make_network")
    loaded = load_network(f"{__name__}:make_model", preprocess=NORMALIZE, input_size=12)
    assert loaded.maps == network.maps
    with torch.no_grad():
        loaded.model[0].weight.mul_(2)  # type: ignore[index, operator, union-attr]
    with ThreadPoolExecutor(1) as executor, pytest.raises(ValueError, match="not those of its source"):
        evaluate(loaded, POLICY, make_samples(2), executor=executor)


def test_names_of_networks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parent)
    with pytest.raises(ValueError, match="module:function"):
        load_network("resnet")
    with pytest.raises(ValueError, match="no module 'no_such_module'"):
        load_network("no_such_module:make")
    # What the module itself lacks is told as it is.
    (tmp_path / "needs_more.py").write_text("import no_such_module\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        load_network("needs_more:make")
    with pytest.raises(ValueError, match="no function 'nothing'"):
        load_network("torch.nn:nothing")
    with pytest.raises(ValueError, match="must return a module"):
        load_network("builtins:str:text")
    with pytest.raises(ValueError, match="has its own task"):
        load_network(f"{__name__}:make_network", input_size=10)


def test_estimates() -> None:
    # 8 of 10: Wilson's interval as in textbooks.
    share = proportion([True] * 8 + [False] * 2)
    assert (share.value, share.standard_error) == (0.8, pytest.approx(math.sqrt(0.016)))
    assert (share.low, share.high) == (pytest.approx(0.4902, abs=1e-4), pytest.approx(0.9433, abs=1e-4))
    assert (proportion([True] * 5).high, proportion([False] * 5).low) == (1.0, 0.0)
    # One image lost, one gained, two unchanged: mean 0, variance 2/3.
    paired = paired_difference([True, False, True, False], [False, True, True, False])
    assert (paired.value, paired.standard_error) == (0.0, pytest.approx(math.sqrt(2 / 3 / 4)))
    assert mean([3.0]).standard_error is None


def test_ranks_and_divergence() -> None:
    logits = torch.tensor([[3.0, 1.0, 2.0], [1.0, 1.0, 0.0]])
    assert is_in_top(logits, torch.tensor([2, 1]), 1) == [False, False]
    assert is_in_top(logits, torch.tensor([2, 1]), 2) == [True, True]
    assert is_in_top(logits, torch.tensor([0, 0]), 1) == [True, True]
    half, quarter = torch.tensor([[0.0, 0.0]]), torch.tensor([[0.0, math.log(3)]])
    expected = 0.5 * math.log(0.5 / 0.25) + 0.5 * math.log(0.5 / 0.75)
    assert kl_divergence(half, quarter) == [pytest.approx(expected)]
    assert kl_divergence(half, half + 5) == [0.0]


def test_likeness_of_images() -> None:
    metrics = pytest.importorskip("skimage.metrics")
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(2, 3, 20, 24, generator=generator)
    y = (x + 0.1 * torch.randn(x.shape, generator=generator)).clamp(0, 1)
    assert psnr(x, x + 0.1, 1.0) == [pytest.approx(20.0, abs=1e-3)] * 2
    for index, value in enumerate(ssim(x, y, 1.0)):
        expected = metrics.structural_similarity(
            x[index].double().numpy(),
            y[index].double().numpy(),
            channel_axis=0,
            data_range=1.0,
            gaussian_weights=True,
            use_sample_covariance=False,
        )
        assert value == pytest.approx(expected, abs=1e-9)
    with pytest.raises(ValueError, match="at least 11"):
        ssim(x[..., :10], y[..., :10], 1.0)


def test_universal_quality_index() -> None:
    generator = torch.Generator().manual_seed(1)
    x = torch.rand(1, 1, 8, 9, generator=generator, dtype=torch.float64)
    y = 0.5 * x + 0.1 * torch.rand(x.shape, generator=generator, dtype=torch.float64)
    expected = []
    for first in (0, 1):  # two blocks
        a, b = x[0, 0, :, first : first + 8].flatten(), y[0, 0, :, first : first + 8].flatten()
        covariance = ((a - a.mean()) * (b - b.mean())).mean()
        spread = ((a - a.mean()) ** 2).mean() + ((b - b.mean()) ** 2).mean()
        expected.append(4 * covariance * a.mean() * b.mean() / (spread * (a.mean() ** 2 + b.mean() ** 2)))
    assert uqi(x, y) == [pytest.approx(float(sum(expected)) / 2)]
    assert uqi(x, x) == [pytest.approx(1.0)]
    flat = torch.ones_like(x)
    assert uqi(flat, 3 * flat) == [pytest.approx(2 * 3 / (1 + 9))]
    assert uqi(0 * x, 0 * x) == [1.0]
    with pytest.raises(ValueError, match="at least 8"):
        uqi(x[..., :7, :], y[..., :7, :])
