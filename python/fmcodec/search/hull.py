"""The lower convex hull of distortion and rate: the options that some price of distortion makes the best."""

from __future__ import annotations

from collections.abc import Sequence


def lower_hull(points: Sequence[tuple[float, float]]) -> list[int]:
    """Indices of the points (distortion, rate) that minimise rate + price x distortion for some price of 0 or more.

    They come in the order of rising distortion and falling rate. Of equal points the first is taken, and points on a
    straight line between two others are left out. Source: A. M. Andrew, "Another efficient algorithm for convex hulls
    in two dimensions", Information Processing Letters 9(5), 1979.

    Examples
    --------
    >>> lower_hull([(0.0, 8.0), (1.0, 7.0), (1.0, 4.0), (2.0, 3.0), (3.0, 3.0), (4.0, 0.0)])
    [0, 2, 5]
    """
    kept: list[int] = []
    for index in sorted(range(len(points)), key=lambda index: (points[index], index)):
        if kept and points[index][1] >= points[kept[-1]][1]:
            continue
        while len(kept) > 1 and not _bends_up(points[kept[-2]], points[kept[-1]], points[index]):
            kept.pop()
        kept.append(index)
    return kept


def _bends_up(first: tuple[float, float], second: tuple[float, float], third: tuple[float, float]) -> bool:
    """Whether the slope from first to second is steeper (more negative) than that from first to third."""
    return (second[1] - first[1]) * (third[0] - first[0]) < (third[1] - first[1]) * (second[0] - first[0])
