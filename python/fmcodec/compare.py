"""All transforms on one feature map: bits against signal-to-noise ratio, by real frames."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from fmcodec.codec import decode, encode
from fmcodec.klt import ChannelMoments, klt_spec, level_range
from fmcodec.spec import TRANSFORM_SIZES, CodecSpec

RELATIVE_STEPS = (0.05, 0.1, 0.2, 0.4, 0.8)
# Levels are so much finer than the step of a transform.
REFINEMENT = 16


class TransformPoint(msgspec.Struct, frozen=True, kw_only=True):
    """One transform at one step.

    ``transform`` is its name: ``dct8``, with a star if channels are reordered by likeness, ``klt`` with the components
    kept in brackets. ``relative_step`` is the step divided by the root mean square of the map, ``bits_per_value`` that
    of a whole frame without its spec. ``is_best`` is set if no other point has fewer bits and as good a ratio.
    """

    transform: str
    relative_step: float
    bits_per_value: float
    snr_db: float
    is_best: bool


def compare_transforms(
    x: npt.NDArray[Any],
    *,
    samples: npt.NDArray[Any] | None = None,
    relative_steps: Sequence[float] = RELATIVE_STEPS,
    exact_zeros: bool = False,
    effort: int = 2,
    threads: int = 1,
) -> list[TransformPoint]:
    """Codes a feature map with every transform at several steps.

    Parameters
    ----------
    x
        Map (C, H, W) or (N, C, H, W), of floats or integers.
    samples
        Other maps of the same layer, from which orders of channels and KLTs are learned; by default the map itself,
        which flatters them if it has few positions.
    relative_steps
        Steps as shares of the root mean square of the map.
    exact_zeros, effort, threads
        As in `CodecSpec` and `encode`; the identity keeps zeros anyway.

    Returns
    -------
    list of TransformPoint
        In the order of steps, then of transforms.

    Raises
    ------
    ValueError
        The map is empty or all 0, holds NaN or infinity, or the samples have other channels.
    """
    values = np.asarray(x, dtype=np.float32)
    learned_from = values if samples is None else np.asarray(samples, dtype=np.float32)
    if values.ndim not in (3, 4) or learned_from.shape[-3:-2] != values.shape[-3:-2]:
        raise ValueError("a map has the axes (C, H, W) or (N, C, H, W), and samples have the same channels")
    rms = math.sqrt(float(np.mean(np.square(values, dtype=np.float64)))) if values.size else 0.0
    if not (0.0 < rms < math.inf):
        raise ValueError("the map must hold finite values that are not all 0")
    moments = ChannelMoments(values.shape[-3])
    moments.update(learned_from)
    found = []
    for relative_step in relative_steps:
        for name, spec in _specs(values, moments, relative_step * rms):
            spec = spec.replace(effort=effort, exact_zeros=exact_zeros and spec.transform != "identity")
            frame = encode(values, spec, embed_spec=False, threads=threads)
            bits = 8 * len(frame) / values.size
            snr_db = _snr_db(values, decode(frame, spec=spec, threads=threads, max_bytes=values.nbytes))
            found.append((name, relative_step, bits, snr_db))
    return [
        TransformPoint(
            transform=name,
            relative_step=relative_step,
            bits_per_value=bits,
            snr_db=snr_db,
            is_best=not any(b <= bits and s >= snr_db and (b, s) != (bits, snr_db) for _, _, b, s in found),
        )
        for name, relative_step, bits, snr_db in found
    ]


def _specs(x: npt.NDArray[np.float32], moments: ChannelMoments, step: float) -> Iterable[tuple[str, CodecSpec]]:
    low, high = min(float(x.min()), 0.0), max(float(x.max()), 0.0)

    def with_levels(fine_step: float, **fields: Any) -> CodecSpec:
        zero_point, bits = level_range(low / fine_step, high / fine_step)
        return CodecSpec(step=fine_step, zero_point=zero_point, bits=bits, **fields)

    yield "identity", with_levels(step)
    for transform, sizes in TRANSFORM_SIZES.items():
        for size in sizes if transform != "identity" else ():
            for order in (None, moments.greedy_order()):
                spec = with_levels(
                    step / REFINEMENT,
                    transform=transform,
                    transform_size=size,
                    permutation=order,
                    band_steps=(REFINEMENT,),
                )
                yield f"{transform}{size}{'*' if order else ''}", spec
    klt = klt_spec(moments.principal_components(), step, low, high, refinement=REFINEMENT)
    yield f"klt ({klt.kept_band_count})", klt


def _snr_db(x: npt.NDArray[np.float32], decoded: npt.NDArray[Any]) -> float:
    error = float(np.sum(np.square(decoded - x, dtype=np.float64)))
    signal = float(np.sum(np.square(x, dtype=np.float64)))
    return 10 * math.log10(signal / error) if error else math.inf


def transform_table(points: Sequence[TransformPoint]) -> str:
    """The points as text, one line each, those on the envelope marked."""
    lines = [f"{'step/RMS':>8}  {'transform':<14}{'bits/value':>10}{'SNR dB':>9}"]
    for point in points:
        mark = "  best" if point.is_best else ""
        lines.append(
            f"{point.relative_step:>8g}  {point.transform:<14}{point.bits_per_value:>10.3f}{point.snr_db:>9.2f}{mark}"
        )
    return "\n".join(lines)


def plot_transforms(points: Sequence[TransformPoint], path: str | Path, title: str) -> None:
    """Draws bits against signal-to-noise ratio, one line for each kind of transform, and the envelope of all.

    The format follows from the end of the name: ``.png``, ``.svg``, ``.pdf``. Needs matplotlib.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 5.0), layout="constrained")
    axes = figure.add_subplot()
    lines: dict[str, list[TransformPoint]] = {}
    for point in points:
        # The rank of a KLT changes with the step.
        lines.setdefault(point.transform.split(" ")[0], []).append(point)
    colors: dict[str, str] = {}
    for name, line in lines.items():
        kind = name.rstrip("*0123456789")
        label = None if kind in colors else _label(kind)
        axes.plot(
            [point.bits_per_value for point in line],
            [point.snr_db for point in line],
            color=colors.setdefault(kind, f"C{len(colors)}"),
            linestyle="--" if name.endswith("*") else "-",
            linewidth=1.6 if kind in ("identity", "klt") else 0.9,
            alpha=1.0 if kind in ("identity", "klt") else 0.6,
            marker="o",
            markersize=2.5,
            label=label,
        )
    best = sorted((point.bits_per_value, point.snr_db) for point in points if point.is_best)
    axes.plot(*zip(*best, strict=True), color="black", linestyle=":", linewidth=1.2, label="envelope")
    axes.set_xlabel("bits per value, frames without their spec")
    axes.set_ylabel("signal-to-noise ratio, dB")
    axes.set_title(title)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(path)


def _label(kind: str) -> str:
    sizes = TRANSFORM_SIZES.get(kind, ())
    names = {"identity": "identity", "dct": "DCT", "hadamard": "Hadamard", "klt": "KLT"}
    if len(sizes) < 2:
        return names[kind]
    return f"{names[kind]}, {sizes[0]} to {sizes[-1]} channels (dashed: reordered)"
