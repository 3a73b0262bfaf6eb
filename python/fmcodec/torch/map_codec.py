"""What codes a feature map: the interface of all codecs, fmcodec and published systems alike, and where each is put."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Literal, NamedTuple, Protocol

import msgspec
import numpy as np
import torch

from fmcodec import decode, encode, inspect
from fmcodec.policy import Activation, Policy, Where
from fmcodec.spec import CodecSpec
from fmcodec.torch.simulate import check_channels, simulate

Mode = Literal["codec", "simulate"]


class CodedMap(NamedTuple):
    """What a codec made of a map.

    Parameters
    ----------
    decoded
        What the decoder returns: shape and dtype of the map, on its device.
    bits
        Size of the stream, all that it holds included; None if it was not counted.
    sections
        Parts of ``bits`` by name; they add up to it. Empty if they are not known.
    published_bits
        Bits as the authors of a published system count them, where that is not the size of a stream that could be
        decoded; None where it is.
    encode_seconds, decode_seconds
        Time of the coder alone; 0 where it was not measured.
    """

    decoded: torch.Tensor
    bits: int | None
    sections: dict[str, int]
    published_bits: float | None = None
    encode_seconds: float = 0.0
    decode_seconds: float = 0.0


class MapCodec(Protocol):
    """Codes and decodes feature maps. Codecs are values: they do not change while they code, and can be pickled."""

    def code(self, x: torch.Tensor) -> CodedMap:
        """The map (N, C, H, W) through encoder and decoder."""

    def parameter_bits(self, channels: int) -> int:
        """Bits that the decoder has beforehand, as it has weights, and that no stream holds: bases, static tables."""


class MapSite(msgspec.Struct, frozen=True):
    """Where a feature map is found in a model: before or after a module, and its activation.

    Parameters
    ----------
    where
        Whether the map is the ``"output"`` or the ``"input"`` of the module.
    activation
        In a `Network`: the activation that follows in the model. In a `Placement`: the one applied just before coding,
        which must be that of the network, or ``"none"`` to code the map before its activation; see `LayerPolicy`.
    """

    where: Where = "output"
    activation: Activation = "none"

    @property
    def before_activation(self) -> MapSite:
        """The site at which the map is coded before its activation."""
        return MapSite(self.where)


class Placement(NamedTuple):
    """A codec at a site. The name of the module comes from the mapping that holds the placement."""

    site: MapSite
    codec: MapCodec


class SpecCodec(msgspec.Struct, frozen=True, kw_only=True):
    """fmcodec itself as a `MapCodec`.

    Parameters
    ----------
    spec
        Parameters of the codec.
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
    """

    spec: CodecSpec
    mode: Mode = "codec"
    threads: int = 1
    embed_spec: bool = False
    allow_device_copy: bool = False
    count_bits: bool = False

    def code(self, x: torch.Tensor) -> CodedMap:
        """The map through encode and decode, or its simulation.

        Raises
        ------
        ValueError
            The map is on another device, or the spec was made for another number of channels.
        """
        check_channels(self.spec, x.shape[1])
        if self.mode == "simulate":
            frame = self._encode(x.cpu()) if self.count_bits else None
            decoded = simulate(x, self.spec)
            return CodedMap(decoded, None, {}) if frame is None else CodedMap(decoded, *self._size(frame))
        on_cpu = self._to_cpu(x)
        start = time.perf_counter()
        frame = self._encode(on_cpu)
        middle = time.perf_counter()
        decoded = torch.empty_like(on_cpu)
        # Frames come from the line above, so their size is no threat and needs no limit.
        bound = max(1, decoded.numel() * decoded.element_size())
        spec = None if self.embed_spec else self.spec
        decode_start = time.perf_counter()
        decode(frame, spec=spec, out=decoded, max_bytes=bound, threads=self.threads)
        end = time.perf_counter()
        bits, sections = self._size(frame)
        return CodedMap(decoded.to(x.device), bits, sections, None, middle - start, end - decode_start)

    def parameter_bits(self, channels: int) -> int:
        """Bits of the spec as a frame would hold it; 0 if frames do hold it."""
        if self.embed_spec:
            return 0
        return inspect(encode(np.zeros((channels, 1, 1), dtype=np.float32), self.spec)).sections["spec"]

    def _encode(self, x: torch.Tensor) -> bytes:
        return encode(x, self.spec, threads=self.threads, embed_spec=self.embed_spec)

    def _size(self, frame: bytes) -> tuple[int, dict[str, int]]:
        return 8 * len(frame), inspect(frame, spec=self.spec).sections

    def _to_cpu(self, x: torch.Tensor) -> torch.Tensor:
        if x.device.type != "cpu" and not self.allow_device_copy:
            raise ValueError(
                f"the map is on {x.device}; the codec runs on the CPU: "
                "pass allow_device_copy=True to copy it there and back, or use mode='simulate'"
            )
        return x.cpu()


def placements_of(
    policy: Policy,
    *,
    mode: Mode = "codec",
    threads: int = 1,
    embed_spec: bool = False,
    allow_device_copy: bool = False,
    count_bits: bool = False,
) -> dict[str, Placement]:
    """The placements of a policy; the options are those of `SpecCodec`.

    Raises
    ------
    ValueError
        The mode is unknown.
    """
    if mode not in ("codec", "simulate"):
        raise ValueError(f"mode must be 'codec' or 'simulate', not {mode!r}")
    return {
        name: Placement(
            MapSite(layer.where, layer.activation),
            SpecCodec(
                spec=layer.spec,
                mode=mode,
                threads=threads,
                embed_spec=embed_spec,
                allow_device_copy=allow_device_copy,
                count_bits=count_bits,
            ),
        )
        for name, layer in policy.layers.items()
    }


Placements = Mapping[str, Placement]
