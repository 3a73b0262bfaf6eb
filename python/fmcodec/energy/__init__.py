"""Energy of feature map traffic to external memory, and the arithmetic of the codec."""

from fmcodec.energy.fmtc2019 import LayerTraffic, NetworkEnergy, network_energy, transfer_energy
from fmcodec.energy.operations import Operations, transform_operations

__all__ = [
    "LayerTraffic",
    "NetworkEnergy",
    "Operations",
    "network_energy",
    "transfer_energy",
    "transform_operations",
]
