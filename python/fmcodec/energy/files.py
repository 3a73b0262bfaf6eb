"""Networks from files: one record a layer, in JSON or CSV."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from fmcodec.codec import inspect
from fmcodec.energy.layer import Layer
from fmcodec.energy.network import FeatureMap, map_shape, zero_value_bits
from fmcodec.energy.storage import BlockMap, Shape, StoredMap
from fmcodec.errors import FmcodecError

CODED = "coded"
ZERO_VALUE = "zero-value"
# Columns of a CSV that stand for a tuple or a dictionary of the record.
DIMENSIONS = ("channels", "height", "width")
SYSTEM_PREFIX = "bits:"


class LayerRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One layer in a file.

    ``shape`` alone is a map that is written once and read once; ``input_shape`` and ``output_shape`` with the fields of
    `Layer` are a layer. The size of its map is one of ``bits`` per value, ``bytes``, and ``frame``: the file of a
    compressed frame, whose shape it may have too. ``zero_share`` is the share of its values that are 0; ``systems`` has
    bits per value of other ways to store it.
    """

    name: str
    shape: Shape | None = None
    input_shape: Shape | None = None
    output_shape: Shape | None = None
    kernel: int = 1
    stride: int = 1
    padding: int | None = None
    groups: int = 1
    weight_bits: int = 8
    source: str | None = None
    shortcut: str | None = None
    bits: float | None = None
    bytes: int | None = None
    frame: str | None = None
    zero_share: float | None = None
    systems: dict[str, float] = {}


class NetworkFile(NamedTuple):
    """Layers, and for each way to store their maps the sizes of the maps that the file gives."""

    layers: list[Layer | FeatureMap]
    systems: dict[str, dict[str, float | StoredMap]]


def load_network_file(path: str | Path) -> NetworkFile:
    """The network in a file: a list of `LayerRecord` in JSON, or CSV if the name ends in ``.csv``.

    In CSV, ``channels``, ``height`` and ``width`` are the shape, and a column ``bits:NAME`` is the system of that name.
    Empty cells are left out. Paths of frames are relative to the file.

    Raises
    ------
    FmcodecError
        The file is not of that form, a record lacks its shape or has two sizes, or a frame is not valid.
    """
    path = Path(path)
    try:
        content = _rows(path) if path.suffix == ".csv" else msgspec.json.decode(path.read_bytes())
        records = msgspec.convert(content, list[LayerRecord], strict=path.suffix != ".csv")
    except (msgspec.MsgspecError, UnicodeDecodeError, csv.Error) as error:
        raise FmcodecError(f"{path}: {error}") from error
    if not records:
        raise FmcodecError(f"{path} holds no layers")
    network = NetworkFile([], {})
    for record in records:
        _add(network, record, path.parent)
    return network


def _rows(path: Path) -> list[dict[str, Any]]:
    with path.open(newline="", encoding="utf-8") as file:
        return [_fields(row) for row in csv.DictReader(file)]


def _fields(row: dict[str, Any]) -> dict[str, Any]:
    """A row as the fields of a record."""
    fields: dict[str, Any] = {name: value for name, value in row.items() if value}
    shape = [fields.pop(name) for name in DIMENSIONS if name in fields]
    if shape:
        fields["shape"] = shape
    systems = {name[len(SYSTEM_PREFIX) :]: fields.pop(name) for name in list(fields) if _is_system(name)}
    return {**fields, "systems": systems} if systems else fields


def _is_system(name: object) -> bool:
    return isinstance(name, str) and name.startswith(SYSTEM_PREFIX)


def _add(network: NetworkFile, record: LayerRecord, folder: Path) -> None:
    sizes = [name for name in ("bits", "bytes", "frame") if getattr(record, name) is not None]
    if len(sizes) > 1:
        raise FmcodecError(f"{record.name}: {' and '.join(sizes)} are sizes of the same map, give one")
    blocks = None if record.frame is None else BlockMap.of_frame(inspect((folder / record.frame).read_bytes()))
    layer = _layer(record, blocks)
    shape = map_shape(layer)
    network.layers.append(layer)
    found: dict[str, float | StoredMap | None] = {
        CODED: blocks or (record.bits if record.bytes is None else 8 * record.bytes / math.prod(shape)),
        ZERO_VALUE: None if record.zero_share is None else zero_value_bits(record.zero_share),
        **record.systems,
    }
    for name, size in found.items():
        if size is not None:
            network.systems.setdefault(name, {})[record.name] = size


def _layer(record: LayerRecord, blocks: BlockMap | None) -> Layer | FeatureMap:
    if record.input_shape is None:
        shape = record.shape or (blocks.shape if blocks else None)
        if shape is None or record.output_shape is not None:
            raise FmcodecError(f"{record.name}: give shape, or both input_shape and output_shape")
        return FeatureMap(name=record.name, shape=shape)
    output_shape = record.output_shape or (blocks.shape if blocks else None)
    if output_shape is None or record.shape is not None:
        raise FmcodecError(f"{record.name}: give shape, or both input_shape and output_shape")
    names = ("name", "input_shape", "kernel", "stride", "padding", "groups", "weight_bits", "source", "shortcut")
    return Layer(output_shape=output_shape, **{name: getattr(record, name) for name in names})
