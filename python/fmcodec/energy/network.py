"""Energy and time of a whole network, layer by layer, for several ways to store its maps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec
import numpy as np

from fmcodec.energy.address import Memory
from fmcodec.energy.dram import DramCost, DramEnergy, dram_costs
from fmcodec.energy.hardware import Accelerator, CodecHardware
from fmcodec.energy.layer import Layer, LayerWork, choose_tiling, layer_work, map_work
from fmcodec.energy.plan import AccessPlan, joined
from fmcodec.energy.storage import BlockMap, Placement, RawMap, Shape, StoredMap, check_bits, check_shape
from fmcodec.errors import FmcodecError

BASELINE = "8 bits"
# Bits per value at which an objective is worked out; between them it is interpolated.
OBJECTIVE_BITS = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0)


class FeatureMap(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A map that is written once and read once, if nothing more is known of its layers; ``shape`` is (C, H, W)."""

    name: str
    shape: Shape

    def __post_init__(self) -> None:
        check_shape(self.shape)


def map_shape(layer: Layer | FeatureMap) -> Shape:
    """(C, H, W) of the map that a layer writes."""
    return layer.shape if isinstance(layer, FeatureMap) else layer.output_shape


class Storage(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How maps are stored of which only the bits are known: rows of a block, side information, and placement.

    ``side_bytes`` is the part of the bits that is header, index and tables. Bits are those of whole streams, so it adds
    nothing to them.
    """

    block_rows: int = 8
    side_bytes: int = 0
    placement: Placement = "packed"

    def of(self, shape: Shape, bits: float, burst_bytes: int) -> BlockMap:
        """Blocks with these bits per value; see `BlockMap.even`."""
        return BlockMap.even(
            shape,
            bits,
            block_rows=self.block_rows,
            side_bytes=self.side_bytes,
            placement=self.placement,
            slot_bytes=burst_bytes,
        )


class LayerCost(msgspec.Struct, frozen=True, kw_only=True):
    """One layer.

    Parameters
    ----------
    name, shape
        Of the map that it writes.
    bits_per_value
        Of that map as stored, gaps and side information included.
    dram
        Traffic and energy of the DRAM.
    codec_joules
        Coding and transforms.
    stall_joules
        Static power of the accelerator while it does not compute.
    compute_seconds, codec_seconds
        Time that each would need alone; ``dram.busy_seconds`` is that of the bus.
    """

    name: str
    shape: Shape
    bits_per_value: float
    dram: DramCost
    codec_joules: float
    stall_joules: float
    compute_seconds: float
    codec_seconds: float

    @property
    def seconds(self) -> float:
        """Time of the layer: the slowest of bus, codec and compute."""
        return self.dram.seconds

    @property
    def bound(self) -> Literal["bus", "codec", "compute"]:
        """What that is."""
        if self.dram.busy_seconds >= max(self.codec_seconds, self.compute_seconds):
            return "bus"
        return "codec" if self.codec_seconds >= self.compute_seconds else "compute"

    @property
    def joules(self) -> float:
        """DRAM, codec and stall, nominal."""
        return self.dram.joules + self.codec_joules + self.stall_joules


class SystemCost(msgspec.Struct, frozen=True, kw_only=True):
    """A network with its maps stored in one way."""

    name: str
    layers: tuple[LayerCost, ...]

    @property
    def dram(self) -> DramEnergy:
        """DRAM energy of all layers by term."""
        total = DramEnergy()
        for layer in self.layers:
            total += layer.dram.energy
        return total

    @property
    def joules(self) -> float:
        """DRAM, codec and stall of all layers, nominal."""
        return math.fsum(layer.joules for layer in self.layers)

    @property
    def joules_range(self) -> tuple[float, float]:
        """The same with the low and the high estimate of the DRAM."""
        rest = math.fsum(layer.codec_joules + layer.stall_joules for layer in self.layers)
        low = math.fsum(layer.dram.low_joules for layer in self.layers)
        return rest + low, rest + math.fsum(layer.dram.high_joules for layer in self.layers)

    @property
    def seconds(self) -> float:
        """Time of all layers, one after the other."""
        return math.fsum(layer.seconds for layer in self.layers)

    @property
    def bytes_moved(self) -> int:
        """Bytes on the bus."""
        return sum(layer.dram.bytes_moved for layer in self.layers)


class NetworkCost(msgspec.Struct, frozen=True, kw_only=True):
    """All systems on one memory; ``systems`` begins with that of 8 bits per value, stored raw."""

    part: str
    systems: tuple[SystemCost, ...]

    def __getitem__(self, name: str) -> SystemCost:
        for system in self.systems:
            if system.name == name:
                return system
        raise FmcodecError(f"no system {name!r}: there are {', '.join(system.name for system in self.systems)}")

    def ratio(self, name: str) -> float:
        """Joules of a system over those at 8 bits."""
        return self[name].joules / self[BASELINE].joules


MapSizes = Mapping[str, float | StoredMap]


def evaluate_network(
    layers: Sequence[Layer | FeatureMap],
    systems: Mapping[str, MapSizes],
    memory: Memory,
    *,
    accelerator: Accelerator | None = None,
    codec: CodecHardware | None = None,
    storage: Storage | None = None,
    power_down: bool = False,
) -> NetworkCost:
    """Energy and time of a network for each way to store its maps, beside that of raw maps of 8 bits.

    Parameters
    ----------
    layers
        Layers in the order of execution; or only their maps, each written once and read once.
    systems
        Name of a way to store maps to, for each layer's name, the bits per value of its map, everything counted, or the
        stored map itself. Maps that are not named stay raw, with 8 bits.
    memory
        Part, bus and address map.
    accelerator
        Buffer, compute and static power; by default 1 MiB, compute that is never the bound, and no static power.
    codec
        Lanes and energy of the codec for all compressed maps, of whatever system; by default without energy and never
        the bound.
    storage
        For maps of which only the bits are given.
    power_down
        Whether the memory powers down while it waits for codec or compute.

    Raises
    ------
    FmcodecError
        Two layers have the same name, a layer or source that is named is not there, bits are out of their range, or a
        layer does not fit on chip.

    Examples
    --------
    >>> from fmcodec.energy.parts import load_part
    >>> maps = [FeatureMap(name="conv1", shape=(64, 56, 56))]
    >>> cost = evaluate_network(maps, {"coded": {"conv1": 2.0}}, Memory(part=load_part("ddr3-1066-x16")))
    >>> f"{cost['8 bits'].bytes_moved} {cost['coded'].bytes_moved} {cost.ratio('coded'):.2f}"
    '401408 100352 0.25'
    """
    accelerator, storage = accelerator or Accelerator(), storage or Storage()
    works: list[LayerWork] = []
    stored_maps: list[StoredMap] = []
    all_systems: dict[str, MapSizes] = {BASELINE: {}, **systems}
    for sizes in all_systems.values():
        stored, system_works = _stored_and_works(layers, sizes, memory, accelerator, storage)
        stored_maps += stored
        works += system_works
    costs = _costs(works, memory, accelerator, codec, power_down)
    return NetworkCost(
        part=memory.part.name,
        systems=tuple(
            SystemCost(
                name=name,
                layers=tuple(
                    _layer_cost(layer, stored_maps[at], works[at], costs[at], accelerator, codec)
                    for at, layer in enumerate(layers, number * len(layers))
                ),
            )
            for number, name in enumerate(all_systems)
        ),
    )


def network_plan(
    layers: Sequence[Layer | FeatureMap],
    sizes: MapSizes,
    memory: Memory,
    *,
    accelerator: Accelerator | None = None,
    storage: Storage | None = None,
) -> AccessPlan:
    """The plans of all layers, one after the other, with maps stored as ``sizes`` says; see `evaluate_network`.

    Each layer has the addresses to itself: its tensors begin at 0.
    """
    _, works = _stored_and_works(layers, sizes, memory, accelerator or Accelerator(), storage or Storage())
    return joined(work.plan for work in works)


def zero_value_bits(zero_share: float, bits: int = 8) -> float:
    """Bits per value of zero-value compression: one bit for each value, and ``bits`` for each that is not 0."""
    if not 0.0 <= zero_share <= 1.0:
        raise FmcodecError(f"zero_share must be 0 to 1, not {zero_share}")
    return 1.0 + (1.0 - zero_share) * bits


class EnergyObjective:
    """Joules of DRAM traffic as a function of the bits of each map, for a search over policies.

    Each map is written once and read once. The energies at a few numbers of bits are worked out once; calls
    interpolate, which takes microseconds.

    Examples
    --------
    >>> from fmcodec.energy.parts import load_part
    >>> maps = [FeatureMap(name=name, shape=(64, 28, 28)) for name in ("a", "b")]
    >>> objective = EnergyObjective(maps, Memory(part=load_part("lpddr4-3200-x16")))
    >>> objective({"a": 2.0, "b": 4.0}) < objective({"a": 4.0, "b": 4.0}) < objective({})
    True
    """

    def __init__(self, maps: Sequence[FeatureMap], memory: Memory, storage: Storage | None = None) -> None:
        storage = storage or Storage()
        works = [map_work(storage.of(item.shape, bits, memory.burst_bytes)) for item in maps for bits in OBJECTIVE_BITS]
        joules = [cost.joules for cost in dram_costs([work.plan for work in works], memory)]
        size = len(OBJECTIVE_BITS)
        self._curves = {item.name: joules[at * size : (at + 1) * size] for at, item in enumerate(maps)}
        self._values = {item.name: math.prod(item.shape) for item in maps}

    def __call__(self, bits: Mapping[str, float]) -> float:
        """Joules; maps that are not named have 8 bits per value, and more than 8 are stored raw.

        Raises
        ------
        FmcodecError
            A name is not that of a map, or bits are out of their range.
        """
        for name, value in bits.items():
            check_bits(value)
            self._require(name)
        return math.fsum(self._joules(name, bits.get(name, OBJECTIVE_BITS[-1])) for name in self._curves)

    def of_map(self, name: str, values: int, bits: float) -> float:
        """Joules of one map of so many values and bits in all: an ``objective`` of `fmcodec.search.search`.

        Raises
        ------
        FmcodecError
            The name is not that of a map, or the map has another number of values.
        """
        self._require(name)
        if values != self._values[name]:
            raise FmcodecError(f"{name}: the map has {self._values[name]} values, not {values}")
        return self._joules(name, bits / values)

    def _require(self, name: str) -> None:
        if name not in self._curves:
            raise FmcodecError(f"there is no map {name!r}")

    def _joules(self, name: str, bits: float) -> float:
        return float(np.interp(bits, OBJECTIVE_BITS, self._curves[name]))


def _stored_and_works(
    layers: Sequence[Layer | FeatureMap],
    sizes: MapSizes,
    memory: Memory,
    accelerator: Accelerator,
    storage: Storage,
) -> tuple[list[StoredMap], list[LayerWork]]:
    """How the map of each layer is stored, and what each layer moves."""
    names = [layer.name for layer in layers]
    if len(set(names)) != len(names):
        raise FmcodecError("two layers have the same name")
    unknown = sizes.keys() - set(names)
    if unknown:
        raise FmcodecError(f"there is no layer {min(unknown)!r}")
    stored = {layer.name: _stored(layer, sizes.get(layer.name), memory, storage) for layer in layers}
    works = [_work(layer, index, layers, stored, accelerator) for index, layer in enumerate(layers)]
    return list(stored.values()), works


def _stored(layer: Layer | FeatureMap, size: float | StoredMap | None, memory: Memory, storage: Storage) -> StoredMap:
    shape = map_shape(layer)
    if size is None:
        return RawMap(shape=shape)
    if isinstance(size, RawMap | BlockMap):
        if size.shape != shape:
            raise FmcodecError(f"{layer.name}: the stored map is {size.shape}, the layer has {shape}")
        return size
    return storage.of(shape, size, memory.burst_bytes)


def _work(
    layer: Layer | FeatureMap,
    index: int,
    layers: Sequence[Layer | FeatureMap],
    stored: Mapping[str, StoredMap],
    accelerator: Accelerator,
) -> LayerWork:
    if isinstance(layer, FeatureMap):
        return map_work(stored[layer.name])
    for name in (layer.source, layer.shortcut):
        if name is not None and name not in stored:
            raise FmcodecError(f"{layer.name}: there is no layer {name!r}")
    source = layer.source or (layers[index - 1].name if index else None)
    stored_input = RawMap(shape=layer.input_shape) if source is None else stored[source]
    shortcut = None if layer.shortcut is None else stored[layer.shortcut]
    target = stored[layer.name]
    whole = any(isinstance(item, BlockMap) for item in (stored_input, target, shortcut))
    tiling = choose_tiling(layer, accelerator.buffer_bytes, outer=accelerator.outer_loop, whole=whole)
    return layer_work(layer, stored_input, target, tiling, shortcut)


def _costs(
    works: Sequence[LayerWork],
    memory: Memory,
    accelerator: Accelerator,
    codec: CodecHardware | None,
    power_down: bool,
) -> list[DramCost]:
    seconds = [
        max(
            accelerator.compute_seconds(work.macs),
            codec.seconds(decoded=work.decoded, encoded=work.encoded) if codec else 0.0,
        )
        for work in works
    ]
    return dram_costs([work.plan for work in works], memory, seconds=seconds, power_down=power_down)


def _layer_cost(
    layer: Layer | FeatureMap,
    stored: StoredMap,
    work: LayerWork,
    dram: DramCost,
    accelerator: Accelerator,
    codec: CodecHardware | None,
) -> LayerCost:
    compute = accelerator.compute_seconds(work.macs)
    return LayerCost(
        name=layer.name,
        shape=stored.shape,
        bits_per_value=8 * stored.size_bytes / math.prod(stored.shape),
        dram=dram,
        codec_joules=codec.joules(decoded=work.decoded, encoded=work.encoded) if codec else 0.0,
        stall_joules=(dram.seconds - compute) * accelerator.static_watts,
        compute_seconds=compute,
        codec_seconds=codec.seconds(decoded=work.decoded, encoded=work.encoded) if codec else 0.0,
    )
