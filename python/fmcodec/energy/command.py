"""What the command ``fmcodec energy`` does."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal

import msgspec

from fmcodec.energy.address import Memory
from fmcodec.energy.files import CODED, NetworkFile, load_network_file
from fmcodec.energy.flat import FLAT_CONSTANTS, flat_energy
from fmcodec.energy.fmtc2019 import LayerTraffic, network_energy
from fmcodec.energy.hardware import Accelerator, CodecHardware
from fmcodec.energy.network import BASELINE, MapSizes, NetworkCost, Storage, evaluate_network, map_shape, network_plan
from fmcodec.energy.parts import load_part, part_names
from fmcodec.energy.storage import Placement
from fmcodec.energy.table import aligned, network_table, quantity
from fmcodec.energy.trace import write_trace
from fmcodec.errors import FmcodecError

Mode = Literal["datasheet", "flat", "fmtc2019"]
FMTC2019_NOTE = (
    "mode fmtc2019: the published formula has a factor of 4 without a meaning; use its ratios, not its joules"
)


def list_parts() -> str:
    """The parts of this package, one a line."""
    rows = [("name", "part", "banks", "burst", "row", "peak")]
    for name in part_names():
        part = load_part(name)
        rows.append(
            (
                name,
                part.name,
                str(part.banks),
                f"{part.burst_bytes} B",
                f"{part.organisation.page_bytes} B",
                f"{part.peak_gb_per_s:.2f} GB/s",
            )
        )
    return "\n".join(aligned(rows, left=2))


def run_energy(
    source: Path,
    *,
    part_name: str,
    mode: Mode,
    constant: str,
    chips: int,
    ranks: int,
    block_rows: int,
    placement: Placement,
    buffer_bytes: int,
    macs_per_clock: int | None,
    lanes: int | None,
    megahertz: float,
    static_watts: float,
    power_down: bool,
    trace_path: Path | None,
    plot: Path | None,
    as_json: bool,
) -> str:
    """The output of the command, as text or JSON; writes trace and plot."""
    network = load_network_file(source)
    memory = Memory(part=load_part(part_name), chips=chips, ranks=ranks)
    accelerator = Accelerator(
        buffer_bytes=buffer_bytes, macs_per_clock=macs_per_clock, megahertz=megahertz, static_watts=static_watts
    )
    storage = Storage(block_rows=block_rows, placement=placement)
    notes = []
    if trace_path is not None:
        name = CODED if CODED in network.systems else BASELINE
        plan = network_plan(
            network.layers, network.systems.get(CODED, {}), memory, accelerator=accelerator, storage=storage
        )
        count = write_trace(plan, trace_path, memory.burst_bytes)
        notes.append(f"Trace: {trace_path}, {count} bursts of {memory.burst_bytes} bytes, {name}")
    if mode != "datasheet":
        text = _simple_mode(network, mode, constant, as_json)
        return text if as_json else "\n".join([text, *notes])
    cost = evaluate_network(
        network.layers,
        network.systems,
        memory,
        accelerator=accelerator,
        codec=None if lanes is None else CodecHardware(lanes=lanes, megahertz=megahertz),
        storage=storage,
        power_down=power_down,
    )
    if plot is not None:
        from fmcodec.energy.plots import plot_layers

        plot_layers(cost, plot)
        notes.append(f"Plot: {plot}")
    return _json(cost) if as_json else "\n".join([network_table(cost), *notes])


def _json(cost: NetworkCost) -> str:
    """Every field of the result, with the totals of each system."""
    content: dict[str, Any] = {"mode": "datasheet", "part": cost.part, "systems": []}
    for system in cost.systems:
        low, high = system.joules_range
        content["systems"].append(
            {
                "name": system.name,
                "joules": system.joules,
                "low_joules": low,
                "high_joules": high,
                "seconds": system.seconds,
                "bytes_moved": system.bytes_moved,
                "of_8_bits": cost.ratio(system.name),
                "dram": msgspec.to_builtins(system.dram),
                "layers": [{**msgspec.to_builtins(layer), "bound": layer.bound} for layer in system.layers],
            }
        )
    return msgspec.json.encode(content).decode()


def _simple_mode(network: NetworkFile, mode: Mode, constant: str, as_json: bool) -> str:
    """Modes that know bits alone: each map is written once and read once."""
    joules = {
        name: _simple_joules(network, sizes, mode, constant)
        for name, sizes in {BASELINE: {}, **network.systems}.items()
    }
    if as_json:
        return msgspec.json.encode({"mode": mode, "joules": joules}).decode()
    rows = [("total", "energy", "of 8 bits")]
    rows += [(name, quantity(value, "J"), f"{value / joules[BASELINE]:.1%}") for name, value in joules.items()]
    note = FMTC2019_NOTE if mode == "fmtc2019" else f"mode flat: {FLAT_CONSTANTS[constant].source}"
    return "\n".join([*aligned(rows), note])


def _simple_joules(network: NetworkFile, sizes: MapSizes, mode: Mode, constant: str) -> float:
    traffic = []
    for layer in network.layers:
        size = sizes.get(layer.name, 8.0)
        values = math.prod(map_shape(layer))
        bits = size if isinstance(size, int | float) else 8 * size.size_bytes / values
        if not math.isfinite(bits) or bits < 0:
            raise FmcodecError(f"{layer.name}: bits per value must be 0 or more, not {bits}")
        traffic.append(LayerTraffic(values, bits))
    if mode == "fmtc2019":
        return network_energy(traffic).total_joules
    return flat_energy(2 * math.fsum(item.values * item.bits_per_value for item in traffic), constant)
