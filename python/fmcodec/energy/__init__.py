"""Energy of feature map traffic to external memory."""

from fmcodec.energy.fmtc2019 import LayerTraffic, NetworkEnergy, network_energy, transfer_energy

__all__ = ["LayerTraffic", "NetworkEnergy", "network_energy", "transfer_energy"]
