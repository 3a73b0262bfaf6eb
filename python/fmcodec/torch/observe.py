"""Maps of a model as they pass: shown to an observer, for as many batches as there are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from fmcodec.policy import Where
from fmcodec.torch.hooks import attached

Observer = Callable[[str, torch.Tensor], None]


def run(
    model: nn.Module,
    batches: Iterable[Any],
    places: Mapping[str, Where],
    observer: Observer,
    report: Callable[[int], None] = lambda count: None,
) -> int:
    """Runs the model on all batches and shows its maps; see `observe`.

    Parameters
    ----------
    model
        Called as ``model(batch)``, or ``model(*batch)`` for tuples and lists.
    report
        Called after each batch with the number of batches so far.

    Returns
    -------
    int
        The number of batches.

    Raises
    ------
    ValueError
        There are no batches, or a module is unknown.
    """
    count = 0
    with torch.no_grad(), observe(model, places, observer):
        for batch in batches:
            model(*batch) if isinstance(batch, (tuple, list)) else model(batch)
            count += 1
            report(count)
    if not count:
        raise ValueError("batches must not be empty")
    return count


@contextmanager
def observe(model: nn.Module, places: Mapping[str, Where], observer: Observer) -> Iterator[None]:
    """While active, calls ``observer(name, map)`` for the inputs or outputs (N, C, H, W) of the named modules."""
    with attached(model, places, lambda name, x: observer(name, x.detach())):
        yield
