"""Coding of the feature maps of a model while it runs: hooks by policy, and statistics by layer."""

from __future__ import annotations

from types import TracebackType

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from fmcodec.policy import Activation, Policy
from fmcodec.torch.hooks import attach, find_modules
from fmcodec.torch.map_codec import CodedMap, Mode, Placement, Placements, placements_of
from fmcodec.torch.statistics import LayerStatistics, Totals, energies


def wrap(
    model: nn.Module,
    policy: Policy,
    *,
    mode: Mode = "codec",
    threads: int = 1,
    embed_spec: bool = True,
    allow_device_copy: bool = False,
    count_bits: bool = False,
) -> Session:
    """Codes the feature maps a policy names in every forward pass until the session is removed.

    Parameters
    ----------
    model
        Any module. Hooks are added to its submodules and nothing else is touched.
    policy
        Which maps are coded, and how.
    mode
        ``"codec"`` encodes each map to a frame and decodes it; ``"simulate"`` computes the same values in torch
        operations on the device of the map, without frames.
    threads
        Threads of each encode and decode.
    embed_spec
        Whether frames hold their spec; see docs/format.md, section 2.4.
    allow_device_copy
        Lets mode ``"codec"`` copy maps of other devices to the CPU and back.
    count_bits
        Makes mode ``"simulate"`` encode too (on the CPU), only to count bits.

    Returns
    -------
    Session
        Active from now on. It is a context manager that removes its hooks at the end; `Session.remove` does so
        without ``with``.

    Raises
    ------
    ValueError
        The policy names a module the model does not have, or one module twice; or the mode is unknown.
        Raised in the forward pass: a map is not (N, C, H, W), or is on another device than the CPU.
    TypeError
        Raised in the forward pass: what is to be coded is not a single tensor.

    Notes
    -----
    Decoded maps carry no gradient: this is for inference. A compiled model sees hooks only when it is traced: call it
    for the first time in the session, or after ``torch.compiler.reset()``; or compile what `insert` makes of it.
    """
    placements = placements_of(
        policy,
        mode=mode,
        threads=threads,
        embed_spec=embed_spec,
        allow_device_copy=allow_device_copy,
        count_bits=count_bits,
    )
    return place(model, placements)


def place(model: nn.Module, placements: Placements) -> Session:
    """Codes feature maps with any codecs in every forward pass until the session is removed.

    Parameters
    ----------
    model
        Any module, as for `wrap`.
    placements
        Name of a module, as in ``model.named_modules()``, to the site of its map and the codec.

    Raises
    ------
    ValueError, TypeError
        As `wrap`, and what the codecs raise.
    """
    modules = find_modules(model, list(placements))
    session = Session()
    for name, placement in placements.items():
        session._attach(name, modules[name], placement)
    return session


def activate(x: torch.Tensor, activation: Activation) -> torch.Tensor:
    """The map after an activation of a policy."""
    if activation == "relu":
        return torch.relu(x)
    return x.clamp(0, 6) if activation == "relu6" else x


class _Layer:
    """Placement and running sums of one layer."""

    def __init__(self, name: str, placement: Placement) -> None:
        self.name = name
        self.placement = placement
        self.clear()

    def clear(self) -> None:
        self.shape: tuple[int, ...] = ()
        self.dtype = ""
        self.frames = self.values = self.raw_bytes = self.zeros = 0
        self.coded_bits: int | None = None
        self.published_bits = self.peak_bits = 0.0
        self.section_bits: dict[str, int] = {}
        self.signal_energy = self.error_energy = 0.0
        self.encode_seconds = self.decode_seconds = 0.0

    def add_map(self, x: torch.Tensor, coded: CodedMap) -> None:
        self.shape = tuple(x.shape)
        self.dtype = str(x.dtype).removeprefix("torch.")
        self.frames += 1
        self.values += x.numel()
        self.raw_bytes += x.numel() * x.element_size()
        self.zeros += coded.decoded.numel() - int(torch.count_nonzero(coded.decoded))
        signal, error = energies(x, coded.decoded)
        self.signal_energy += signal
        self.error_energy += error
        if coded.bits is not None:
            self.coded_bits = (self.coded_bits or 0) + coded.bits
            published = coded.bits if coded.published_bits is None else coded.published_bits
            self.published_bits += published
            self.peak_bits = max(self.peak_bits, coded.bits / max(1, len(x)))
        for section, bits in coded.sections.items():
            self.section_bits[section] = self.section_bits.get(section, 0) + bits
        self.encode_seconds += coded.encode_seconds
        self.decode_seconds += coded.decode_seconds

    def statistics(self) -> LayerStatistics:
        return LayerStatistics(
            name=self.name,
            shape=self.shape,
            dtype=self.dtype,
            frames=self.frames,
            values=self.values,
            raw_bytes=self.raw_bytes,
            coded_bits=self.coded_bits,
            published_bits=None if self.coded_bits is None else self.published_bits,
            peak_bits=None if self.coded_bits is None else self.peak_bits,
            section_bits=dict(self.section_bits),
            zeros=self.zeros,
            signal_energy=self.signal_energy,
            error_energy=self.error_energy,
            encode_seconds=self.encode_seconds,
            decode_seconds=self.decode_seconds,
        )


class Session:
    """Hooks on a model that code its feature maps, and statistics of what they coded. Made by `wrap` and `place`."""

    def __init__(self) -> None:
        self._handles: list[RemovableHandle] = []
        # In the order of first execution: a layer enters when its first map passes.
        self._seen: dict[str, _Layer] = {}

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()

    def remove(self) -> None:
        """Takes the hooks off the model; statistics stay. Calling it again does nothing."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def reset(self) -> None:
        """Forgets all statistics; the hooks stay."""
        for layer in self._seen.values():
            layer.clear()
        self._seen.clear()

    @property
    def stats(self) -> list[LayerStatistics]:
        """Statistics of every layer that has run, in the order in which they first ran."""
        return [layer.statistics() for layer in self._seen.values()]

    def totals(self) -> Totals:
        """Sums over all layers that have run."""
        return Totals.of(self.stats)

    def _attach(self, name: str, module: nn.Module, placement: Placement) -> None:
        layer = _Layer(name, placement)
        handle = attach(name, module, placement.site.where, lambda _, x: self._code(x, layer))
        self._handles.append(handle)

    # A compiled model leaves its graph here. It may still do so after the hooks were removed, since it does not look at
    # them again.
    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def _code(self, value: torch.Tensor, layer: _Layer) -> torch.Tensor:
        if not self._handles:
            return value
        site, codec = layer.placement
        with torch.no_grad():
            x = activate(value.detach(), site.activation).contiguous()
            try:
                coded = codec.code(x)
            except (TypeError, ValueError) as error:
                error.add_note(f"while coding the map of {layer.name!r}")
                raise
            layer.add_map(x, coded)
        self._seen.setdefault(layer.name, layer)
        return coded.decoded
