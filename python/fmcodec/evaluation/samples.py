"""Images to calibrate and evaluate on: folders, zip files and array bundles, with labels or without.

Samples give images as they are stored, of one size; what a network wants is made by its preprocessing. Two objects
with the same image are found by `require_apart`: nothing that is calibrated may see a test image.
"""

from __future__ import annotations

import csv
import hashlib
import io
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fmcodec.evaluation.network import Network

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp"}
BUNDLE_SUFFIXES = {".npz", ".safetensors"}


class Samples(ABC):
    """Images, and what the network should make of them.

    ``targets`` is None, or int64 class numbers (N,), or images (N, C, H, W) that the output should be.
    """

    name: str
    targets: torch.Tensor | None

    @abstractmethod
    def __len__(self) -> int:
        """Number of images."""

    @abstractmethod
    def images(self, start: int, stop: int) -> torch.Tensor:
        """Images (N, C, H, W), uint8 or float32."""

    @abstractmethod
    def keys(self) -> list[str]:
        """What identifies each image wherever it is stored: a digest of its content."""

    @abstractmethod
    def subset(self, indices: Sequence[int]) -> Samples:
        """The samples at some places, in this order."""

    def limited(self, limit: int | None) -> Samples:
        """At most ``limit`` of the samples, taken at even distances."""
        if limit is None or limit >= len(self):
            return self
        return self.subset([index * len(self) // limit for index in range(limit)])

    def split(self, count: int) -> tuple[Samples, Samples]:
        """``count`` of the samples, taken at even distances, and all others.

        Raises
        ------
        ValueError
            One of the two would be empty.
        """
        if not 0 < count < len(self):
            raise ValueError(
                f"{count} of {len(self)} images cannot be split off: take fewer, and at least one must be left"
            )
        first = [index * len(self) // count for index in range(count)]
        others = sorted(set(range(len(self))) - set(first))
        return self.subset(first), self.subset(others)

    def batches(self, size: int) -> Iterator[torch.Tensor]:
        """Images, up to ``size`` at a time, in order."""
        for start in range(0, len(self), size):
            yield self.images(start, min(start + size, len(self)))


class ArraySamples(Samples):
    """Images in memory.

    Parameters
    ----------
    images
        (N, C, H, W), uint8 or float32.
    targets
        As in `Samples`.
    name
        For people.

    Raises
    ------
    ValueError
        A shape does not fit, or there are no images.
    """

    def __init__(self, images: torch.Tensor, targets: torch.Tensor | None = None, name: str = "arrays") -> None:
        if images.dim() != 4 or not len(images):
            raise ValueError(f"images must be (N, C, H, W) with N above 0, not {tuple(images.shape)}")
        if targets is not None and len(targets) != len(images):
            raise ValueError(f"there are {len(images)} images and {len(targets)} targets")
        self._images = images
        self.targets = targets
        self.name = name

    def __len__(self) -> int:
        return len(self._images)

    def images(self, start: int, stop: int) -> torch.Tensor:
        """Images (N, C, H, W) in the dtype they have."""
        return self._images[start:stop]

    def keys(self) -> list[str]:
        """Digests of the arrays of the images."""
        return [_digest(image.contiguous().numpy().tobytes()) for image in self._images]

    def subset(self, indices: Sequence[int]) -> ArraySamples:
        """The samples at some places."""
        places = torch.tensor(list(indices), dtype=torch.int64)
        targets = None if self.targets is None else self.targets[places]
        return ArraySamples(self._images[places], targets, self.name)


class ImageFiles(Samples):
    """Images of a folder or a zip file; pixels are read only when asked for. Needs pillow.

    Parameters
    ----------
    path
        A folder or zip file with ``labels.csv`` (columns ``file`` and ``label``); a folder with one folder of images
        per class; or a folder of images without labels. Class folders are named by class number, or else there are
        ``class_count`` of them and their sorted order is the order of classes, as with WordNet names.
    size
        Rows and columns of an image: the middle of it, after its shorter side is brought to 8/7 of ``size`` if it is
        not between the two already. 0 leaves images as they are: those of one batch must then have one size.
    class_count
        Classes that there are.
    mode
        ``"RGB"``, or ``"L"`` for one channel of grey.

    Raises
    ------
    ValueError
        There are no images, or their classes cannot be told.
    """

    def __init__(self, path: Path, *, size: int = 224, class_count: int = 1000, mode: str = "RGB") -> None:
        self._path = path
        self._size = size
        self._mode = mode
        self.name = path.name
        entries = self._entries(class_count)
        if not entries:
            raise ValueError(f"{path} holds no images")
        self._files = [file for file, _ in entries]
        labels = [label for _, label in entries if label is not None]
        self.targets = torch.tensor(labels) if labels else None

    def __len__(self) -> int:
        return len(self._files)

    def images(self, start: int, stop: int) -> torch.Tensor:
        """Images (N, C, H, W) of uint8."""
        with self._open() as folder:
            return torch.stack([self._image(folder, file) for file in self._files[start:stop]])

    def keys(self) -> list[str]:
        """Digests of the files."""
        with self._open() as folder:
            return [_digest(folder.read(file)) for file in self._files]

    def subset(self, indices: Sequence[int]) -> ImageFiles:
        """The samples at some places."""
        part = object.__new__(ImageFiles)
        part.__dict__.update(self.__dict__)
        part._files = [self._files[index] for index in indices]
        if self.targets is not None:
            part.targets = self.targets[torch.tensor(list(indices), dtype=torch.int64)]
        return part

    def _open(self) -> _Folder:
        return _Folder(self._path)

    def _entries(self, class_count: int) -> list[tuple[str, int | None]]:
        with self._open() as folder:
            if folder.is_archive or (self._path / "labels.csv").is_file():
                return self._labels_file(folder.read("labels.csv").decode())
        return _class_folders(self._path, class_count)

    def _labels_file(self, text: str) -> list[tuple[str, int | None]]:
        try:
            return [(row["file"], int(row["label"])) for row in csv.DictReader(io.StringIO(text))]
        except KeyError as error:
            raise ValueError(f"{self._path}: labels.csv with columns file and label is needed ({error})") from error

    def _image(self, folder: _Folder, file: str) -> torch.Tensor:
        from PIL import Image

        image = Image.open(io.BytesIO(folder.read(file))).convert(self._mode)
        pixels = np.array(_centre_view(image, self._size) if self._size else image, dtype=np.uint8)
        return torch.from_numpy(pixels.reshape(*pixels.shape[:2], -1)).permute(2, 0, 1).contiguous()


class _Folder:
    """Files of a folder or zip file by their names in it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._archive = None if path.is_dir() else zipfile.ZipFile(path)
        self.is_archive = self._archive is not None

    def __enter__(self) -> _Folder:
        return self

    def __exit__(self, *_: object) -> None:
        if self._archive is not None:
            self._archive.close()

    def read(self, file: str) -> bytes:
        """The content of a file; ValueError if a zip file has none of this name."""
        if self._archive is None:
            return (self._path / file).read_bytes()
        try:
            return self._archive.read(file)
        except KeyError as error:
            raise ValueError(f"{self._path} holds no {file}") from error


def load_samples(path: str | Path, *, size: int = 224, class_count: int = 1000, mode: str = "RGB") -> Samples:
    """The samples of a path.

    Parameters
    ----------
    path
        What `ImageFiles` takes, or a ``.npz`` or ``.safetensors`` file with ``images``, (N, C, H, W), or channels last
        if only the last axis has 1 or 3 entries; and, if known, ``labels`` (N,) or ``targets`` (N, C, H, W).
    size, class_count, mode
        As in `ImageFiles`; not for array files.

    Raises
    ------
    ValueError
        The file or folder does not hold what it should.
    OSError
        It cannot be read.
    """
    path = Path(path)
    if path.suffix not in BUNDLE_SUFFIXES:
        return ImageFiles(path, size=size, class_count=class_count, mode=mode)
    arrays = _bundle(path)
    if "images" not in arrays:
        raise ValueError(f"{path} has no array 'images', only {', '.join(arrays) or 'nothing'}")
    images, targets = arrays["images"], arrays.get("targets")
    if images.dim() == 4 and images.shape[-1] in (1, 3) and images.shape[1] not in (1, 3):
        images = images.permute(0, 3, 1, 2)
    if "labels" in arrays:
        targets = arrays["labels"].to(torch.int64)
    return ArraySamples(images.contiguous(), targets, path.name)


def require_apart(calibration: Samples, test: Samples) -> None:
    """Checks that no image is in both.

    Raises
    ------
    ValueError
        Some images are.
    """
    shared = set(calibration.keys()) & set(test.keys())
    if shared:
        raise ValueError(f"{len(shared)} images of {test.name} are calibration images as well")


class NetworkInputs:
    """Network inputs from samples, batch by batch: preprocessed, and as often as they are asked for."""

    def __init__(self, network: Network, samples: Samples, batch_size: int) -> None:
        self._network = network
        self._samples = samples
        self._batch_size = batch_size

    def __len__(self) -> int:
        return -(-len(self._samples) // self._batch_size)

    def __iter__(self) -> Iterator[torch.Tensor]:
        return (self._network.preprocess(batch.to(torch.float32)) for batch in self._samples.batches(self._batch_size))


def _bundle(path: Path) -> dict[str, torch.Tensor]:
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as arrays:
            return {name: torch.from_numpy(arrays[name]) for name in arrays.files}
    from safetensors.torch import load_file

    loaded: dict[str, torch.Tensor] = load_file(path)
    return loaded


def _class_folders(path: Path, class_count: int) -> list[tuple[str, int | None]]:
    folders = sorted(entry.name for entry in path.iterdir() if entry.is_dir())
    if not folders:
        return [(file.name, None) for file in sorted(path.iterdir()) if file.suffix.lower() in IMAGE_SUFFIXES]
    if all(name.isdecimal() for name in folders):
        classes = {name: int(name) for name in folders}
    elif len(folders) == class_count:
        classes = {name: index for index, name in enumerate(folders)}
    else:
        raise ValueError(
            f"{path} has neither labels.csv, nor folders named by class number, nor {class_count} class folders"
        )
    return [
        (str(file.relative_to(path)), classes[name])
        for name in folders
        for file in sorted((path / name).iterdir())
        if file.suffix.lower() in IMAGE_SUFFIXES
    ]


def _centre_view(image: Any, size: int) -> Any:
    """The middle of an image, which is 7/8 of its shorter side.

    That is how ImageNet networks are usually evaluated; images cut to size beforehand stay sharp.
    """
    from PIL import Image

    shorter, whole = min(image.size), round(size * 8 / 7)
    if not size <= shorter <= whole:
        scale = whole / shorter
        image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)
    left, top = (image.width - size) // 2, (image.height - size) // 2
    return image.crop((left, top, left + size, top + size))


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
