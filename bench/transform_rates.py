"""Bits of a network's maps with the best transform of each layer, beside the transform coding of 2019.

    python bench/transform_rates.py
    python bench/transform_rates.py --effort 3 --relative-step 0.15

The network is EfficientNet-Lite0, the maps are those that `fmcodec demo` codes. fmcodec: real frames without their
spec, of the candidate that calibration takes. FMTC 2019 (B. Chmiel et al., arXiv 1905.10830): at the same step, a KLT
of all channels before the activation, means of the present batch, one histogram of all components, and its entropy, as
the authors count it: without tables, headers or means. The basis is that of the calibration views for both.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

import fmcodec
from fmcodec.demo_inputs import CALIBRATION_PHOTOGRAPHS, REPORT_PHOTOGRAPHS, photograph_views
from fmcodec.evaluation import ArraySamples, NetworkInputs, load_network
from fmcodec.torch import calibrate, relative_rms, wrap

Maps = dict[str, torch.Tensor]


@contextmanager
def kept_maps(model: torch.nn.Module, names: list[str]) -> Iterator[Maps]:
    """The outputs of named modules in the last forward pass."""
    maps: Maps = {}

    def keep(name: str) -> Any:
        return lambda _module, _inputs, output: maps.__setitem__(name, output)

    handles = [model.get_submodule(name).register_forward_hook(keep(name)) for name in names]
    try:
        yield maps
    finally:
        for handle in handles:
            handle.remove()


def entropy_bits(symbols: npt.NDArray[np.int64]) -> float:
    """Bits of all symbols by their own histogram."""
    _, counts = np.unique(symbols, return_counts=True)
    return float(np.sum(counts * np.log2(counts.sum() / counts)))


def fmtc_bits(x: torch.Tensor, rows: npt.NDArray[np.float64], step: float) -> float:
    """Bits of a map (N, C, H, W) before its activation by the method of 2019."""
    flat = x.transpose(0, 1).flatten(1).double().numpy()
    components = rows @ (flat - flat.mean(axis=1, keepdims=True))
    return entropy_bits(np.rint(components / step).astype(np.int64))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--effort", type=int, choices=(1, 2, 3), default=2)
    parser.add_argument("--relative-step", type=float, default=0.2)
    parser.add_argument("--views", type=int, default=24)
    arguments = parser.parse_args()
    network = load_network("efficientnet_lite0")
    model, layers = network.model, network.maps
    samples = NetworkInputs(network, ArraySamples(photograph_views(CALIBRATION_PHOTOGRAPHS, 16, seed=1)), 4)
    views = network.preprocess(photograph_views(REPORT_PHOTOGRAPHS, arguments.views, seed=0).float())
    policy = calibrate(
        model,
        samples,
        layers,
        step_rule=relative_rms(arguments.relative_step),
        effort=arguments.effort,
        embed_spec=False,
    )
    with torch.no_grad():
        moments: dict[str, fmcodec.ChannelMoments] = {}
        with kept_maps(model, list(layers)) as maps:
            for batch in samples:
                model(batch)
                for name, x in maps.items():
                    moments.setdefault(name, fmcodec.ChannelMoments(x.shape[1])).update(x.numpy())
            answers = model(views).argmax(1)
            published = {}
            for name, x in maps.items():
                spec = policy.layers[name].spec
                step = spec.step * spec.band_steps[0]
                published[name] = fmtc_bits(x, moments[name].principal_components().rows, step)
        with wrap(model, policy, embed_spec=False) as session:
            coded_answers = model(views).argmax(1)
    print(f"{'layer':<18}{'transform':<18}{'fmcodec':>8}{'FMTC 2019':>11}")
    for layer in session.stats:
        spec, activation = policy.layers[layer.name].spec, policy.layers[layer.name].activation
        cells = f"/{spec.spatial_size}" if spec.spatial_size > 1 else ""
        kept = f" {spec.kept_band_count}" if spec.transform == "klt" else ""
        transform = f"{spec.transform}{kept}{cells}, {'before' if activation == 'none' else 'after'}"
        print(
            f"{layer.name:<18}{transform:<18}{layer.bits_per_value:>8.3f}{published[layer.name] / layer.values:>11.3f}"
        )
    totals = session.totals()
    ours, theirs = totals.bits_per_value or 0.0, sum(published.values()) / totals.values
    print(f"all: {ours:.3f} bits against {theirs:.3f}, ratio {ours / theirs:.3f};", end=" ")
    print(f"{int((answers == coded_answers).sum())} of {len(views)} answers unchanged")


if __name__ == "__main__":
    main()
