"""A module that codes the map it gets, for models that are built, compiled or exported with the codec inside."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from fmcodec.policy import Activation, LayerPolicy, Policy
from fmcodec.spec import CodecSpec
from fmcodec.torch.ops import code
from fmcodec.torch.wrap import activate


class CodeMap(nn.Module):
    """Encodes its input and gives out what the decoder makes of it, with a straight-through gradient; see `code`.

    The spec is part of ``state_dict()``, as ``_extra_state``: the JSON of a policy in a tensor of uint8. Loading a
    state puts the spec of the state in place of the present one.

    Parameters
    ----------
    spec
        Parameters of the codec.
    activation
        Applied just before coding, as in `LayerPolicy`.
    threads
        Threads of the encoder and decoder; not part of the state.

    Raises
    ------
    TypeError, ValueError
        In the forward pass, as `code`.

    Examples
    --------
    >>> trained = CodeMap(CodecSpec(step=0.1), activation="relu")
    >>> fresh = CodeMap(CodecSpec())
    >>> fresh.load_state_dict(trained.state_dict())
    <All keys matched successfully>
    >>> fresh
    CodeMap(CodecSpec(step=0.10000000149011612), activation='relu')
    """

    def __init__(self, spec: CodecSpec, activation: Activation = "none", *, threads: int = 1) -> None:
        super().__init__()
        self.spec = spec
        self.activation: Activation = activation
        self.threads = threads

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The map (N, C, H, W) or (C, H, W) after activation, encoder and decoder."""
        return code(activate(x, self.activation), self.spec, threads=self.threads)

    def get_extra_state(self) -> torch.Tensor:
        """Spec and activation, as text in a tensor of uint8: files that hold nothing but tensors can keep it."""
        text = Policy(layers={"": LayerPolicy(self.spec, activation=self.activation)}).to_json()
        return torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8)

    def set_extra_state(self, state: torch.Tensor) -> None:
        """Takes over what `get_extra_state` gave; `FmcodecError` if it is damaged or of a newer version."""
        layer = Policy.from_json(state.cpu().numpy().tobytes()).layers[""]
        self.spec, self.activation = layer.spec, layer.activation

    def extra_repr(self) -> str:
        """The arguments that make such a module."""
        fields: dict[str, Any] = {
            name: getattr(self.spec, name)
            for name, default in zip(self.spec.__struct_fields__, self.spec.__struct_defaults__, strict=True)
            if getattr(self.spec, name) is not default and name not in ("basis", "tables")
        }
        spec = ", ".join(f"{name}={value!r}" for name, value in fields.items())
        return f"CodecSpec({spec}), activation={self.activation!r}"
