"""Training with compressed activations: what autograd saves for the backward pass is kept as frames."""

from __future__ import annotations

import weakref
from contextlib import ExitStack
from types import TracebackType
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.utils.weak import WeakTensorKeyDictionary

from fmcodec.policy import Policy
from fmcodec.spec import CodecSpec
from fmcodec.torch.hooks import attached
from fmcodec.torch.packed import PackedTensor, SpecRule

DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def saved_tensors(
    rule: SpecRule | CodecSpec | Policy, model: nn.Module | None = None, *, min_values: int = 4096, threads: int = 1
) -> SavedTensors:
    """While active, tensors that autograd saves are coded in the forward pass and decoded in the backward pass.

    The forward pass is exact; gradients are those of slightly other activations (docs/torch.md says which of them stay
    exact). Coded are tensors (N, C, H, W) of float32, float16 or bfloat16 that are no parameters, each once, however
    many operations save it. All others are kept as they are.

    Parameters
    ----------
    rule
        How to code a tensor: `relative_step`, or any function from a tensor to its spec (None keeps the tensor); one
        spec for all; or a policy, whose maps alone are coded. A policy must name each map as it is saved: after its
        activation, so at the output of a ReLU or the input of the next convolution, with activation ``"none"``.
    model
        The model of a policy, else None.
    min_values
        Tensors with fewer values are kept as they are.
    threads
        Threads of each encode and decode.

    Returns
    -------
    SavedTensors
        A context manager for the forward pass; the backward pass may come later. It can be entered again.

    Raises
    ------
    ValueError
        A policy has no model, names a module the model does not have, or has an activation. In the forward pass: a
        spec does not fit a map, or (`NonFiniteError`) the map holds NaN or infinity and the spec refuses them.
    TypeError
        ``rule`` is none of these. In the forward pass: a tensor to be coded is not on the CPU.

    Notes
    -----
    A compiled function chooses by itself what it saves, and unpacks all of it before its backward pass begins. If a
    tensor is changed in place after it was saved, the backward pass is an error, as in autograd, unless it was coded.

    Examples
    --------
    >>> from fmcodec.torch import relative_step
    >>> net = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.ReLU())
    >>> with saved_tensors(relative_step(0.25)) as saved:
    ...     loss = net(torch.rand(8, 3, 32, 32)).mean()
    >>> loss.backward()
    >>> saved.stored_bytes < saved.raw_bytes / 4
    True
    """
    return SavedTensors(rule, model, min_values, threads)


class _Saved:
    """What a graph holds in place of a tensor: the tensor itself, or its frame."""

    def __init__(self, x: torch.Tensor) -> None:
        # Without its graph, which would hold this object and so itself.
        self.content: torch.Tensor | PackedTensor = x.detach()
        self._version = x._version

    def unpack(self) -> torch.Tensor:
        if isinstance(self.content, PackedTensor):
            return self.content.unpack()
        # Autograd leaves this check to the hooks.
        if self.content._version != self._version:
            raise RuntimeError(
                f"a tensor of shape {tuple(self.content.shape)} that the backward pass needs was changed in place: "
                "make the change on a clone, or after the backward pass"
            )
        return self.content


class _Known(NamedTuple):
    """The last thing that was saved of a tensor, at which of its versions."""

    version: int
    saved: weakref.ref[_Saved]


class SavedTensors:
    """Hooks on what autograd saves, and the bytes that they keep. Made by `saved_tensors`.

    Attributes
    ----------
    raw_bytes
        Bytes of all tensors that were saved while active, parameters aside, each counted once.
    stored_bytes
        Bytes that are kept for them: frames, and tensors that are not coded.
    coded_count, kept_count
        Number of tensors of each kind.
    """

    def __init__(
        self, rule: SpecRule | CodecSpec | Policy, model: nn.Module | None, min_values: int, threads: int
    ) -> None:
        if not (isinstance(rule, (CodecSpec, Policy)) or callable(rule)):
            raise TypeError(f"rule must be a function, a CodecSpec or a Policy, not {type(rule).__name__}")
        if isinstance(rule, Policy):
            _check_policy(rule, model)
        self._rule = rule
        self._model = model
        self._min_values = min_values
        self._threads = threads
        self._active: list[ExitStack] = []
        self._known: Any = WeakTensorKeyDictionary()  # tensor -> _Known
        self._maps: Any = WeakTensorKeyDictionary()  # tensor -> (version, name of its layer)
        self.raw_bytes = self.stored_bytes = self.coded_count = self.kept_count = 0

    def __enter__(self) -> SavedTensors:
        with ExitStack() as stack:
            if isinstance(self._rule, Policy) and self._model is not None:
                places = {name: layer.where for name, layer in self._rule.layers.items()}
                stack.enter_context(attached(self._model, places, self._mark))
            stack.enter_context(torch.autograd.graph.saved_tensors_hooks(self._pack, _Saved.unpack))
            self._active.append(stack.pop_all())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._active.pop().close()

    def _pack(self, x: torch.Tensor) -> _Saved:
        if isinstance(x, nn.Parameter):
            return _Saved(x)
        known = self._known_of(x)
        if known is not None:
            return known
        saved = _Saved(x)
        self.raw_bytes += x.nbytes
        self.stored_bytes += x.nbytes
        self.kept_count += 1
        self._known[x] = _Known(x._version, weakref.ref(saved))
        version, name = self._maps.get(x, (-1, ""))
        if not isinstance(self._rule, Policy) or version == x._version:
            self._code(saved, x, name)
        return saved

    def _mark(self, name: str, x: torch.Tensor) -> None:
        """Notes that a tensor is a map of the policy; an operation inside the module may have saved it already."""
        self._maps[x] = x._version, name
        saved = self._known_of(x)
        if saved is not None and isinstance(saved.content, torch.Tensor):
            self._code(saved, x, name)

    def _known_of(self, x: torch.Tensor) -> _Saved | None:
        known = self._known.get(x)
        return known.saved() if known is not None and known.version == x._version else None

    def _code(self, saved: _Saved, x: torch.Tensor, name: str) -> None:
        if x.dim() != 4 or x.dtype not in DTYPES or x.numel() < self._min_values or _is_of_parameter(x):
            return
        if x.device.type != "cpu":
            raise TypeError(
                f"a saved tensor is on {x.device}, but saved_tensors codes in CPU memory: "
                "train on the CPU, or use torch.autograd.graph.save_on_cpu"
            )
        with torch.no_grad():
            spec, embed_spec = self._spec_of(x, name)
            if spec is None:
                return
            try:
                packed = PackedTensor(x.detach(), spec, threads=self._threads, embed_spec=embed_spec)
            except ValueError as error:
                error.add_note(
                    f"while coding a saved tensor of shape {tuple(x.shape)}" + (f", {name!r}" if name else "")
                )
                raise
        saved.content = packed
        self.stored_bytes += packed.size_bytes - x.nbytes
        self.kept_count -= 1
        self.coded_count += 1

    def _spec_of(self, x: torch.Tensor, name: str) -> tuple[CodecSpec | None, bool]:
        """The spec of a tensor, and whether it is news that the frame must hold."""
        if isinstance(self._rule, CodecSpec):
            return self._rule, False
        if isinstance(self._rule, Policy):
            return self._rule.layers[name].spec, False
        return self._rule(x.detach()), True


def _check_policy(policy: Policy, model: nn.Module | None) -> None:
    if model is None:
        raise ValueError("a policy needs the model that it is for: saved_tensors(policy, model)")
    for name, layer in policy.layers.items():
        if layer.activation != "none":
            raise ValueError(
                f"the policy codes {name!r} with activation {layer.activation!r}, but what is saved is the map after "
                "it: name the module of the activation, or the input of the next one, with activation 'none'"
            )


def _is_of_parameter(x: torch.Tensor) -> bool:
    """Whether a tensor is a parameter in another dtype or shape, as autocast makes them."""
    node: Any = x.grad_fn
    while node is not None and len(node.next_functions) == 1:
        node = node.next_functions[0][0]
    return isinstance(getattr(node, "variable", None), nn.Parameter)
