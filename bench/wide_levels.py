"""Bits and speed of maps with levels of 14 bits, beside zstd and the order-0 entropy.

    python bench/wide_levels.py

Maps of EfficientNet-Lite0 after their activations, every fifth of 49, one view, at a step of a hundredth of the root
mean square. zstd, level 9, gets the levels as 16-bit integers. GB/s are of float32, one thread, medians of 9 runs after
one.
"""

from __future__ import annotations

import numpy as np
import torch
import zstandard
from timing import median_seconds
from transform_rates import entropy_bits, kept_maps

import fmcodec
from fmcodec import CodecSpec
from fmcodec.demo_inputs import REPORT_PHOTOGRAPHS, photograph_views
from fmcodec.evaluation import load_network
from fmcodec.torch.wrap import activate

RELATIVE_STEP = 0.01


def main() -> None:
    network = load_network("efficientnet_lite0")
    view = network.preprocess(photograph_views(REPORT_PHOTOGRAPHS, 1, seed=0).float())
    names = list(network.maps)[::5]
    titles = ("zeros", "fastest", "default", "smallest", "zstd -9", "order 0", "encode", "decode")
    print(f"{'map':<16}" + "".join(f"{title:>10}" for title in titles))
    with torch.no_grad(), kept_maps(network.model, names) as maps:
        network.model(view)
        for name, kept in maps.items():
            x = activate(kept, network.maps[name].activation)[0].numpy()
            step = RELATIVE_STEP * float(np.sqrt(np.mean(np.square(x, dtype=np.float64))))
            spec = CodecSpec(step=step, bits=14, zero_point=0 if x.min() >= 0 else 2**13)
            low, high = spec.level_range
            levels = np.rint(x / step).clip(low, high).astype(np.int16)
            sizes = [fmcodec.cost(x, spec.replace(effort=effort)) for effort in (1, 2, 3)]
            sizes.append(len(zstandard.ZstdCompressor(level=9).compress(levels.tobytes())))
            bits = [8 * size / x.size for size in sizes]
            bits.append(entropy_bits(levels.astype(np.int64)) / x.size)
            frame = fmcodec.encode(x, spec)
            seconds = [
                median_seconds(lambda x=x, spec=spec: fmcodec.encode(x, spec), 9, warm_up=1),
                median_seconds(lambda frame=frame: fmcodec.decode(frame), 9, warm_up=1),
            ]
            numbers = [float(np.mean(levels == 0)), *bits, *(x.nbytes / second / 1e9 for second in seconds)]
            print(f"{name:<16}" + "".join(f"{number:>10.2f}" for number in numbers))


if __name__ == "__main__":
    main()
