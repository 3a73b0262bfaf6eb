"""EfficientNet-Lite0 as ONNX beside the same network in torch: outputs, bits, answers, and the time that cutting costs.

    python bench/onnx_session.py

The network is written down operation by operation from its torch module (tests/onnx_models.py), with the pretrained
weights, and looked at with the photographs of the demo. Times are medians of passes over one image on one thread.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from timing import median_seconds

from fmcodec import CodecSpec
from fmcodec.demo_inputs import CALIBRATION_PHOTOGRAPHS, REPORT_PHOTOGRAPHS, photograph_views
from fmcodec.evaluation import ArraySamples, MapSite, Network, NetworkInputs, evaluate, load_network
from fmcodec.onnx import CompressedSession, OnnxModule, feature_maps
from fmcodec.policy import LayerPolicy, Policy
from fmcodec.torch import calibrate

sys.path.append(str(Path(__file__).resolve().parent.parent / "tests"))
from onnx_models import from_torch

TEST_VIEWS = 64
CALIBRATION_VIEWS = 8
BATCH = 8


def median_ms(call: Callable[[], Any]) -> float:
    """Median milliseconds of 15 calls, after three that warm up."""
    return 1e3 * median_seconds(call, 15, warm_up=3)


def main() -> None:
    torch.set_num_threads(1)
    network = load_network("efficientnet_lite0")
    model = from_torch(network.model, torch.zeros(1, 3, 224, 224))
    maps = {entry.name: MapSite("output", entry.activation) for entry in feature_maps(model) if entry.is_stored}
    test = ArraySamples(photograph_views(REPORT_PHOTOGRAPHS, TEST_VIEWS, seed=0))
    inputs = network.preprocess(test.images(0, BATCH).float())
    print(f"{len(maps)} stored maps, {len(network.maps)} in torch; {len(test)} images")

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    plain = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    exact = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    feed = {"x": inputs.numpy()}
    (expected,), (unfused,) = plain.run(None, feed), exact.run(None, feed)
    cut, cut_unfused = OnnxModule(model, maps), OnnxModule(model, maps, optimize=False)
    print(f"largest output                        {np.abs(expected).max():.3g}")
    print(f"cut, without fusions: difference      {np.abs(cut_unfused.run(feed)['y'] - unfused).max():.3g}")
    print(f"cut, with fusions: difference         {np.abs(cut.run(feed)['y'] - expected).max():.3g}")

    one = {"x": feed["x"][:1]}
    policy = Policy(layers={name: LayerPolicy(CodecSpec(step=0.1, zero_point=128)) for name in maps})
    coded = CompressedSession(model, policy, embed_spec=False)
    print(f"one image, whole                      {median_ms(lambda: plain.run(None, one)):.1f} ms")
    print(f"one image, cut at {len(maps)} maps            {median_ms(lambda: cut.run(one)):.1f} ms")
    print(f"one image, cut and coded              {median_ms(lambda: coded.run(None, one)):.1f} ms")

    learned = ArraySamples(photograph_views(CALIBRATION_PHOTOGRAPHS, CALIBRATION_VIEWS, seed=0))
    for title, own in (("torch", network), ("onnx", Network("onnx", cut, network.preprocess, maps))):
        found = calibrate(own.model, NetworkInputs(own, learned, BATCH), own.maps, embed_spec=False)
        print_answers(f"{title}, its own policy", own, found, test)
    # What rounding alone does: it moves values across the border of two levels, and that goes on from map to map.
    renamed = Policy(layers=dict(zip(network.maps, found.layers.values(), strict=True)))
    for seed in range(3):
        moved = Network("moved", network.model, Moved(network.preprocess, seed), network.maps)
        print_answers("torch, that of onnx, input + 1e-6", moved, renamed, test)


class Moved:
    """A preprocessing whose result is moved by noise of 1e-6."""

    def __init__(self, preprocess: Callable[[torch.Tensor], torch.Tensor], seed: int) -> None:
        self._preprocess = preprocess
        self._generator = torch.Generator().manual_seed(seed)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        y = self._preprocess(x)
        return y + 1e-6 * torch.randn(y.shape, generator=self._generator)


def print_answers(title: str, network: Network, policy: Policy, test: ArraySamples) -> None:
    """Bits, divergence and agreement of a network with coded maps."""
    result = evaluate(network, policy, test, batch_size=BATCH)
    agreement, divergence = result.coded.agreement, result.coded.kl_nats
    assert agreement is not None and divergence is not None
    nats = f"{divergence.value:.4f} +- {divergence.standard_error:.4f} nats"
    print(f"{title:34} {result.bits_per_value:.4f} bits per value, {nats}, same answer {agreement.value:.1%}")


if __name__ == "__main__":
    main()
