"""What other classes and flags would save: ideal bits of models that the stream does not have, beside classes of bands.

    python bench/class_models.py
    python bench/class_models.py --relative-step 0.01

Maps of EfficientNet-Lite0 after their activations, every fifth of 49, one view, at a step of 0.2 times the root mean
square. Classes are made of half-octaves of the mean magnitude, of bands or of runs of 64 positions of a band. Bits are
entropies of the tokens of each class or, where that is shorter, of the bytes of its mask and of the tokens that are not
0; 24 bits and 4 per entry for each table; the low bits of classes that need some; and the class of each band or run, of
a run by the better of two models: its band, or the run before it. Bands are predicted as the encoder of effort 3 does
it. "Flags of flags" codes which bytes of a mask are not 0 as a mask of its own, and then those bytes, where that is
shorter.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from transform_rates import entropy_bits, kept_maps

from fmcodec import CodecSpec
from fmcodec.demo_inputs import REPORT_PHOTOGRAPHS, photograph_views
from fmcodec.evaluation import load_network
from fmcodec.reference.choice import predicted_bands
from fmcodec.reference.entropy import mask_bytes, residuals_from_symbols, smallest_shift
from fmcodec.torch.wrap import activate

Integers = npt.NDArray[np.int64]
RUN = 64
TABLE_BITS, ENTRY_BITS = 24, 4
MODELS = ("8 bands", "32 bands", "8 runs", "16 runs", "flags of flags")


def half_octaves(means: npt.NDArray[np.float64], most: int) -> Integers:
    """Classes by mean magnitude, joined in pairs, threes and so on until there are at most so many."""
    octaves = np.where(means > 0, np.floor(2 * np.log2(np.maximum(means, 2.0**-8))), -17).astype(np.int64)
    joined = 1
    while len(np.unique(octaves // joined)) > most:
        joined += 1
    return octaves // joined


def table_bits(tokens: Integers) -> int:
    return TABLE_BITS + ENTRY_BITS * len(np.unique(tokens))


def token_bits(members: Integers) -> float:
    """Symbols and their table."""
    if not members.size:
        return 0.0
    shift = smallest_shift(members, -128)
    tokens = members >> shift
    return entropy_bits(tokens) + shift * members.size + table_bits(tokens)


def class_bits(members: Integers) -> float:
    """The symbols of a class, with a mask of those that are not 0 if that is shorter."""
    return min(token_bits(members), token_bits(mask_bytes(members)) + token_bits(members[members != 0]))


def class_bits_with_flags(members: Integers) -> float:
    """The same, with flags of flags if they are shorter."""
    masks = mask_bytes(members)
    flags = token_bits(mask_bytes(masks)) + token_bits(masks[masks != 0])
    return min(class_bits(members), flags + token_bits(members[members != 0]))


def by_class(stream: Integers, classes: Integers, bits_of: Callable[[Integers], float] = class_bits) -> float:
    return sum(bits_of(stream[classes == number]) for number in np.unique(classes).tolist())


def conditional_bits(classes: Integers, conditions: Integers) -> float:
    """Classes of runs, with a table for each condition."""
    return sum(
        entropy_bits(classes[conditions == condition]) + table_bits(classes[conditions == condition])
        for condition in np.unique(conditions).tolist()
    )


def model_bits(symbols: Integers) -> list[float]:
    """Bits of a map, bands by rows by columns, by each of the models."""
    spec = CodecSpec(zero_point=128, effort=3)
    predicted = predicted_bands([symbols], spec).reshape(-1, 1, 1)
    stream = np.where(predicted, residuals_from_symbols(symbols), symbols).reshape(len(symbols), -1)
    magnitudes = np.abs(stream)
    of_bands = {most: half_octaves(magnitudes.mean(axis=1), most) for most in (8, 32)}
    found = [by_class(stream, of_bands[most]) + len(stream) * np.log2(most) for most in (8, 32)]
    begins = np.arange(0, stream.shape[1], RUN)
    lengths = np.diff(np.append(begins, stream.shape[1]))
    means = np.add.reduceat(magnitudes, begins, axis=1) / lengths
    for most in (8, 16):
        classes = half_octaves(means, most)
        bands = np.repeat(of_bands[8], len(begins))
        before = np.concatenate([of_bands[8][:, None] + 1000, classes[:, :-1]], axis=1).reshape(-1)
        side = min(conditional_bits(classes.reshape(-1), condition) for condition in (bands, before))
        runs = by_class(stream, np.repeat(classes, lengths, axis=1))
        found.append(runs + side + len(stream) * np.log2(8))
    found.append(by_class(stream, of_bands[8], class_bits_with_flags) + len(stream) * np.log2(8))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--relative-step", type=float, default=0.2)
    arguments = parser.parse_args()
    network = load_network("efficientnet_lite0")
    view = network.preprocess(photograph_views(REPORT_PHOTOGRAPHS, 1, seed=0).float())
    names = list(network.maps)[::5]
    print(f"{'map':<16}{'bits':>8}" + "".join(f"{model:>16}" for model in MODELS))
    totals = np.zeros(len(MODELS))
    with torch.no_grad(), kept_maps(network.model, names) as maps:
        network.model(view)
        for name, x in maps.items():
            values = activate(x, network.maps[name].activation)[0].double().numpy()
            step = arguments.relative_step * np.sqrt(np.mean(values**2))
            found = np.array(model_bits(np.rint(values / step).astype(np.int64)))
            totals += found
            print(f"{name:<16}{found[0] / values.size:>8.3f}" + "".join(f"{r:>16.3f}" for r in found / found[0]))
    print(f"{'together':<24}" + "".join(f"{ratio:>16.3f}" for ratio in totals / totals[0]))


if __name__ == "__main__":
    main()
