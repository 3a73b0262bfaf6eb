"""The path of equal slope: all choices that are optimal for some price of divergence, from the best to the cheapest."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

from fmcodec.search.hull import lower_hull

Point = tuple[float, float]
Indices = tuple[int, ...]


def equal_slope_path(curves: Sequence[Sequence[Point]]) -> Iterator[Indices]:
    """Choices of one point of each curve that minimise sum of costs + price x sum of divergences, as the price falls.

    Each choice differs from the one before in one curve: in the edge of a convex hull that saves the most cost for its
    divergence among those that are left. Because hulls are convex, that order is also the order within each of them.
    Source: Y. Shoham and A. Gersho, "Efficient bit allocation for an arbitrary set of quantizers", IEEE TASSP 36(9),
    1988.

    Parameters
    ----------
    curves
        Points (divergence, cost) of each layer.

    Examples
    --------
    >>> list(equal_slope_path([[(0.0, 8.0), (1.0, 4.0), (4.0, 2.0)], [(0.0, 6.0), (2.0, 3.0)]]))
    [(0, 0), (1, 0), (1, 1), (2, 1)]
    """
    hulls = [lower_hull(points) for points in curves]
    edges = []
    for number, (points, hull) in enumerate(zip(curves, hulls, strict=True)):
        for place in range(1, len(hull)):
            (start, high), (end, low) = points[hull[place - 1]], points[hull[place]]
            edges.append((-(high - low) / (end - start), number, place))
    places = [hull[0] for hull in hulls]
    yield tuple(places)
    for _, number, place in sorted(edges):
        places[number] = hulls[number][place]
        yield tuple(places)


def choose_at(
    path: Sequence[Indices],
    divergence: Callable[[Indices], float],
    bits: Callable[[Indices], float],
    targets: Sequence[float],
    target_bits: float | None,
) -> list[Indices]:
    """The last choice of a path below each target of divergence, and the first at or below the target of bits.

    Equal ones are returned once; the target of bits is left out where no choice reaches it.
    """
    reached = [divergence(indices) for indices in path]
    chosen = {max((place for place, value in enumerate(reached) if value <= target), default=0) for target in targets}
    if target_bits is not None:
        below = next((place for place, indices in enumerate(path) if bits(indices) <= target_bits), math.inf)
        chosen |= {int(below)} if below < math.inf else set()
    return [path[place] for place in sorted(chosen)]
