"""Hooks on the maps of a model: modules by name, and functions that see or change what passes them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from fmcodec.errors import close_names
from fmcodec.policy import Where

# Takes the name of a module and its map; what it returns, unless None, passes on in place of the map.
MapFunction = Callable[[str, torch.Tensor], torch.Tensor | None]


def find_modules(model: nn.Module, names: list[str]) -> dict[str, nn.Module]:
    """The modules of the given names.

    Raises
    ------
    ValueError
        A name is unknown, or two names are the same module.
    """
    known = dict(model.named_modules(remove_duplicate=False))
    found: dict[str, nn.Module] = {}
    owner: dict[int, str] = {}
    for name in names:
        if name not in known:
            raise ValueError(f"the model has no module {name!r}{_hint(name, known)}")
        found[name] = known[name]
        if id(known[name]) in owner:
            raise ValueError(f"{owner[id(known[name])]!r} and {name!r} are the same module")
        owner[id(known[name])] = name
    return found


def _hint(name: str, known: Iterable[str]) -> str:
    if close := close_names(name, known):
        return close
    own = [repr(name) for name in known if name][:3]
    return f", so the policy may be of another network; here they are named {', '.join(own)} and so on" if own else ""


def single_tensor(value: Any, name: str, where: str) -> torch.Tensor:
    """``value`` itself if it is a tensor (N, C, H, W), as hooks must check before they code it.

    Raises
    ------
    TypeError
        It is not a tensor.
    ValueError
        It has not four axes.
    """
    if not isinstance(value, torch.Tensor):
        raise TypeError(f"the {where} of {name!r} must be a single tensor to be coded, not {type(value).__name__}")
    if value.dim() != 4:
        raise ValueError(f"the {where} of {name!r} must have axes (N, C, H, W), not shape {tuple(value.shape)}")
    return value


def attach(name: str, module: nn.Module, where: Where, function: MapFunction) -> RemovableHandle:
    """Lets a function see the map (N, C, H, W) at the input or the output of a module, until the handle is removed.

    A copy of the module, by ``copy.deepcopy`` or pickle, is a module without the function.

    Raises
    ------
    TypeError, ValueError
        In the forward pass: there is no such map; see `single_tensor`.
    """
    if where == "input":
        return module.register_forward_pre_hook(_InputHook(name, function))
    return module.register_forward_hook(_OutputHook(name, function))


class _NoHook:
    """What copies of a module have in place of a hook: it does nothing."""

    def __call__(self, *_: Any) -> None:
        return None


class _Hook:
    """A hook that is not copied with its module, since whoever attached it could not remove it from the copy."""

    def __init__(self, name: str, function: MapFunction) -> None:
        self._name = name
        self._function = function

    def __reduce__(self) -> tuple[type[_NoHook], tuple[()]]:
        return _NoHook, ()


class _InputHook(_Hook):
    def __call__(self, _: nn.Module, inputs: tuple[Any, ...]) -> torch.Tensor | None:
        value = inputs[0] if len(inputs) == 1 else inputs
        return self._function(self._name, single_tensor(value, self._name, "input"))


class _OutputHook(_Hook):
    def __call__(self, _: nn.Module, __: tuple[Any, ...], output: Any) -> torch.Tensor | None:
        return self._function(self._name, single_tensor(output, self._name, "output"))


@contextmanager
def attached(model: nn.Module, places: Mapping[str, Where], function: MapFunction) -> Iterator[None]:
    """While active, a function sees the maps at the inputs or outputs of the named modules.

    Raises
    ------
    ValueError
        A name is unknown, or two names are the same module.
    """
    with ExitStack() as stack:
        for name, module in find_modules(model, list(places)).items():
            stack.callback(attach(name, module, places[name], function).remove)
        yield
