"""Maps of a model as they pass: shown to an observer, for as many batches as there are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from fmcodec.policy import Where
from fmcodec.torch.wrap import find_modules, single_tensor

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
    handles = []
    try:
        for name, module in find_modules(model, list(places)).items():

            def see_input(_: nn.Module, inputs: tuple[Any, ...], name: str = name) -> None:
                observer(name, single_tensor(inputs[0] if len(inputs) == 1 else inputs, name, "input").detach())

            def see_output(_: nn.Module, __: tuple[Any, ...], output: Any, name: str = name) -> None:
                observer(name, single_tensor(output, name, "output").detach())

            if places[name] == "input":
                handles.append(module.register_forward_pre_hook(see_input))
            else:
                handles.append(module.register_forward_hook(see_output))
        yield
    finally:
        for handle in handles:
            handle.remove()
