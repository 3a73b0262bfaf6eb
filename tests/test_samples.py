"""Samples: folders, zip files and bundles give the same images, and calibration stays apart from tests."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("PIL")

from PIL import Image

from fmcodec.evaluation import ArraySamples, ImageFiles, load_samples, require_apart


def picture(seed: int, height: int = 40, width: int = 40) -> np.ndarray:
    """A random colour picture, uint8 (H, W, 3)."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def save_pictures(folder: Path, names: list[str]) -> None:
    for seed, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(seed)).save(path)


def test_labels_file_in_folder_and_zip(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    save_pictures(folder, ["a.png", "deep/b.png", "c.png"])
    (folder / "labels.csv").write_text("file,label\na.png,3\ndeep/b.png,7\nc.png,999\n")
    samples = load_samples(folder, size=40)
    assert samples.targets is not None
    assert samples.targets.tolist() == [3, 7, 999]
    assert [batch.shape for batch in samples.batches(2)] == [(2, 3, 40, 40), (1, 3, 40, 40)]
    assert torch.equal(samples.images(1, 2)[0], torch.from_numpy(picture(1)).permute(2, 0, 1))
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for file in ("a.png", "deep/b.png", "c.png", "labels.csv"):
            archive.write(folder / file, file)
    zipped = load_samples(tmp_path / "set.zip", size=40)
    assert torch.equal(zipped.images(0, 3), samples.images(0, 3))
    assert zipped.keys() == samples.keys()
    again = pickle.loads(pickle.dumps(zipped))
    assert torch.equal(again.images(2, 3), samples.images(2, 3))


def test_class_folders(tmp_path: Path) -> None:
    save_pictures(tmp_path / "numbers", ["12/a.png", "12/b.png", "3/c.png"])
    (tmp_path / "numbers" / "3" / "notes.txt").write_text("not an image")
    numbers = load_samples(tmp_path / "numbers", size=40)
    assert numbers.targets is not None
    assert numbers.targets.tolist() == [12, 12, 3]
    save_pictures(tmp_path / "words", ["cat/a.png", "dog/b.png", "ant/c.png"])
    words = load_samples(tmp_path / "words", size=40, class_count=3)
    assert words.targets is not None
    assert words.targets.tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match="neither labels"):
        load_samples(tmp_path / "words", size=40, class_count=10)


def test_images_without_labels(tmp_path: Path) -> None:
    save_pictures(tmp_path, ["b.png", "a.png"])
    samples = load_samples(tmp_path, size=40)
    assert samples.targets is None
    assert torch.equal(samples.images(0, 1)[0], torch.from_numpy(picture(1)).permute(2, 0, 1))


def test_what_is_no_set_of_images(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no images"):
        load_samples(tmp_path)
    (tmp_path / "labels.csv").write_text("name,label\na.png,1\n")
    with pytest.raises(ValueError, match="columns file and label"):
        load_samples(tmp_path)
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("a.png", b"")
    with pytest.raises(ValueError, match=r"holds no labels\.csv"):
        load_samples(tmp_path / "x.zip")
    np.savez(tmp_path / "x.npz", pictures=np.zeros(3))
    with pytest.raises(ValueError, match="no array 'images'"):
        load_samples(tmp_path / "x.npz")


def test_sizes(tmp_path: Path) -> None:
    # 8/7 of 28 is 32: pictures with a shorter side of 28 to 32 are only cut, others are scaled to 32 first.
    for name, size in (("near", (30, 28)), ("tall", (90, 45)), ("small", (20, 16))):
        Image.fromarray(picture(1, *size)).save(tmp_path / f"{name}.png")
    (tmp_path / "labels.csv").write_text("file,label\nnear.png,0\ntall.png,1\nsmall.png,2\n")
    samples = ImageFiles(tmp_path, size=28)
    assert samples.images(0, 3).shape == (3, 3, 28, 28)
    assert torch.equal(samples.images(0, 1)[0], torch.from_numpy(picture(1, 30, 28)[1:29]).permute(2, 0, 1))
    assert ImageFiles(tmp_path, size=0).images(1, 2).shape == (1, 3, 90, 45)
    assert ImageFiles(tmp_path, size=0, mode="L").images(1, 2).shape == (1, 1, 90, 45)


def test_bundles(tmp_path: Path) -> None:
    save_file = pytest.importorskip("safetensors.torch").save_file
    images = torch.randint(0, 256, (4, 3, 8, 6), dtype=torch.uint8)
    labels = torch.tensor([1, 0, 3, 2])
    save_file({"images": images, "labels": labels.to(torch.int32)}, tmp_path / "a.safetensors")
    np.savez(tmp_path / "b.npz", images=images.permute(0, 2, 3, 1).numpy(), labels=labels.numpy())
    for name in ("a.safetensors", "b.npz"):
        samples = load_samples(tmp_path / name)
        assert torch.equal(samples.images(1, 3), images[1:3])
        assert samples.targets is not None
        assert torch.equal(samples.targets, labels)
    np.savez(tmp_path / "c.npz", images=images.numpy(), targets=images.float().numpy() / 255)
    pictures = load_samples(tmp_path / "c.npz")
    assert pictures.targets is not None
    assert torch.equal(pictures.targets, images / 255)
    np.savez(tmp_path / "d.npz", images=images.numpy(), labels=labels[:3].numpy())
    with pytest.raises(ValueError, match="4 images and 3 targets"):
        load_samples(tmp_path / "d.npz")
    for shape in ((3, 4, 4), (0, 3, 4, 4)):
        with pytest.raises(ValueError, match=r"images must be \(N, C, H, W\) with N above 0"):
            ArraySamples(torch.zeros(shape))


def test_parts_of_files(tmp_path: Path) -> None:
    save_pictures(tmp_path, ["a.png", "b.png", "c.png"])
    pictures = load_samples(tmp_path, size=40)
    (tmp_path / "labels.csv").write_text("file,label\na.png,3\nb.png,7\nc.png,9\n")
    labelled = load_samples(tmp_path, size=40)
    for samples, labels in ((pictures, None), (labelled, [9, 3])):
        part = samples.subset([2, 0])
        assert len(part) == 2 and part.keys() == [samples.keys()[2], samples.keys()[0]]
        assert torch.equal(part.images(0, 2), samples.images(0, 3)[[2, 0]])
        assert (None if part.targets is None else part.targets.tolist()) == labels
        assert len(samples) == 3


def test_parts_of_samples() -> None:
    images = torch.arange(10, dtype=torch.float32).reshape(10, 1, 1, 1)
    samples = ArraySamples(images, torch.arange(10))
    few = samples.limited(4)
    assert few.targets is not None
    assert few.targets.tolist() == [0, 2, 5, 7]
    assert samples.limited(10) is samples
    calibration, test = samples.split(3)
    assert calibration.targets is not None
    assert test.targets is not None
    assert calibration.targets.tolist() == [0, 3, 6]
    assert test.targets.tolist() == [1, 2, 4, 5, 7, 8, 9]
    require_apart(calibration, test)
    with pytest.raises(ValueError, match="3 images of arrays are calibration images"):
        require_apart(calibration, samples)
    with pytest.raises(ValueError, match="cannot be split"):
        samples.split(10)
