"""What the demo looks at: views of the photographs that scikit-image installs with itself."""

from __future__ import annotations

import importlib.util
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

IMAGE_SIZE = 224

# The policy is made on the first set and reported on the second.
CALIBRATION_PHOTOGRAPHS = ("motorcycle_left.png", "camera.png", "retina.jpg", "hubble_deep_field.jpg")
REPORT_PHOTOGRAPHS = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg")


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


def _to_tensor(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image, dtype=np.uint8)).permute(2, 0, 1).contiguous()
