"""What dead zones save at equal error: one for all bands of a map, or one for each, against rounding to nearest.

    python bench/dead_zones.py
    python bench/dead_zones.py --relative-step 0.8

Maps of EfficientNet-Lite0 with 14 and 28 rows, as `fmcodec demo` sees them, by a KLT of all channels from calibration
views. A dead zone of w codes a coefficient as 0 up to w steps; 0.5 rounds to nearest. Each way gets the step that gives
the error of rounding to nearest at 0.2 times the root mean square of the map. Per band, the dead zone is that of least
error + lambda * bits, measured on the maps themselves; or, "by statistics", what `fmcodec.dead_zone` makes of the mean
magnitudes of calibration views. Bits are entropies, band by band: what a coder could reach, without side information.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from transform_rates import entropy_bits, kept_maps

import fmcodec
from fmcodec.dead_zone import rate_dead_zones
from fmcodec.demo_inputs import CALIBRATION_PHOTOGRAPHS, REPORT_PHOTOGRAPHS, photograph_views
from fmcodec.evaluation import ArraySamples, NetworkInputs, load_network
from fmcodec.torch.wrap import activate

Bands = npt.NDArray[np.float64]
ROUNDING = 0.5
DEAD_ZONES = (ROUNDING, 0.54, 0.58, 0.62, 0.66, 0.7, 0.75, 0.8, 0.9, 1.0)
SHARED = DEAD_ZONES[1:4]
LAMBDAS = (0.06, 0.1, 0.14)  # in squared steps


def costs(bands: Bands, step: float, dead_zones: npt.ArrayLike) -> Bands:
    """Squared error and bits (bands, dead zones, 2), of dead zones for all bands or (bands, dead zones)."""
    widths = np.broadcast_to(dead_zones, (len(bands), np.shape(dead_zones)[-1]))
    found = np.empty((*widths.shape, 2))
    for band, values, own in zip(found, bands, widths, strict=True):
        for cost, width in zip(band, own, strict=True):
            symbols = np.sign(values) * np.floor(np.abs(values) / step + 1 - width)
            cost[:] = np.square(symbols * step - values).sum(), entropy_bits(symbols.astype(np.int64))
    return found


def bits_at(error: float, step: float, total_costs: Callable[[float], Bands]) -> float:
    """Bits where the step, at most ``step``, gives the error."""
    low, high = 0.7 * step, step
    for _ in range(7):
        middle = (low + high) / 2
        found, bits = total_costs(middle)
        low, high = (low, middle) if found > error else (middle, high)
    return float(bits)


def compare(bands: Bands, samples: Bands, step: float) -> tuple[float, ...]:
    """Bits of rounding to nearest, with the best shared dead zone, the best of each band, and those of samples."""
    error, bits = costs(bands, step, (ROUNDING,)).sum(axis=(0, 1))

    def shared(width: float) -> Callable[[float], Bands]:
        return lambda s: costs(bands, s, (width,)).sum(axis=(0, 1))

    def by_band(weight: float) -> Callable[[float], Bands]:
        def total(s: float) -> Bands:
            found = costs(bands, s, DEAD_ZONES)
            best = (found[..., 0] + weight * s * s * found[..., 1]).argmin(axis=1)
            chosen: Bands = found[np.arange(len(found)), best].sum(axis=0)
            return chosen

        return total

    def by_statistics(s: float) -> Bands:
        dead_zones = rate_dead_zones(np.abs(np.rint(samples / s)).mean(axis=1))
        total: Bands = costs(bands, s, dead_zones[:, None]).sum(axis=(0, 1))
        return total

    one = min(bits_at(error, step, shared(width)) for width in SHARED)
    each = min(bits_at(error, step, by_band(weight)) for weight in LAMBDAS)
    return bits, one, each, bits_at(error, step, by_statistics)


def savings(bits: Bands) -> str:
    """What the three ways save, in columns."""
    one, each, by_statistics = bits[1:] / bits[0] - 1
    return f"{one:>15.2%}{each:>14.2%}{by_statistics:>15.2%}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--relative-step", type=float, default=0.2)
    arguments = parser.parse_args()
    network = load_network("efficientnet_lite0")
    names = list(network.maps)
    samples = NetworkInputs(network, ArraySamples(photograph_views(CALIBRATION_PHOTOGRAPHS, 16, seed=1)), 4)
    views = network.preprocess(photograph_views(REPORT_PHOTOGRAPHS, 4, seed=0).float())
    moments: dict[str, fmcodec.ChannelMoments] = {}
    totals = np.zeros(4)
    with torch.no_grad(), kept_maps(network.model, names) as maps:
        for batch in samples:
            network.model(batch)
            for name, x in maps.items():
                moments.setdefault(name, fmcodec.ChannelMoments(x.shape[1])).update(x.numpy())
        learned = {name: x.clone() for name, x in maps.items()}  # of the last batch of calibration
        network.model(views)
        print(f"{'map':<16}{'channels':>9}{'bits':>8}{'one dead zone':>15}{'one per band':>14}{'by statistics':>15}")
        for name, x in maps.items():
            if not 14 <= x.shape[2] <= 28:
                continue
            step = arguments.relative_step * float(activate(x, network.maps[name].activation).square().mean().sqrt())
            components = moments[name].principal_components()
            kept = components.rows[components.variances > step**2 / 12]
            bands, samples_of = (
                kept @ (y.transpose(0, 1).flatten(1).double().numpy() - components.means[:, None])
                for y in (x, learned[name])
            )
            found = np.array(compare(bands, samples_of, step))
            totals += found
            print(f"{name:<16}{x.shape[1]:>9}{found[0] / x.numel():>8.3f}{savings(found)}")
    print(f"{'together':<33}{savings(totals)}")


if __name__ == "__main__":
    main()
