"""Energy and time of feature map traffic to DRAM: access plans, parts, and what they cost.

docs/energy.md explains the model. `evaluate_network` is the way in; `dram_cost` is for traffic of your own.
"""

from fmcodec.energy.address import Memory
from fmcodec.energy.dram import DramCost, DramEnergy, dram_cost, dram_costs
from fmcodec.energy.flat import FLAT_CONSTANTS, flat_energy
from fmcodec.energy.fmtc2019 import LayerTraffic, NetworkEnergy, network_energy, transfer_energy
from fmcodec.energy.hardware import Accelerator, CodecHardware
from fmcodec.energy.layer import Layer
from fmcodec.energy.network import (
    EnergyObjective,
    FeatureMap,
    LayerCost,
    NetworkCost,
    Storage,
    SystemCost,
    evaluate_network,
    network_plan,
    zero_value_bits,
)
from fmcodec.energy.operations import Operations, transform_operations
from fmcodec.energy.parts import Part, load_part, part_names
from fmcodec.energy.plan import AccessPlan, Bursts, Run
from fmcodec.energy.storage import BlockMap, RawMap
from fmcodec.energy.trace import read_trace, write_trace

__all__ = [
    "FLAT_CONSTANTS",
    "Accelerator",
    "AccessPlan",
    "BlockMap",
    "Bursts",
    "CodecHardware",
    "DramCost",
    "DramEnergy",
    "EnergyObjective",
    "FeatureMap",
    "Layer",
    "LayerCost",
    "LayerTraffic",
    "Memory",
    "NetworkCost",
    "NetworkEnergy",
    "Operations",
    "Part",
    "RawMap",
    "Run",
    "Storage",
    "SystemCost",
    "dram_cost",
    "dram_costs",
    "evaluate_network",
    "flat_energy",
    "load_part",
    "network_energy",
    "network_plan",
    "part_names",
    "read_trace",
    "transfer_energy",
    "transform_operations",
    "write_trace",
    "zero_value_bits",
]
