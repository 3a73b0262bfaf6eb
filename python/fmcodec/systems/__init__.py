"""Published systems for coding feature maps, and fmcodec, behind one interface (docs/systems.md).

To add a system, write its module and list its class in ``SYSTEMS``.
"""

from __future__ import annotations

from fmcodec.systems.cap2021 import Cap2021
from fmcodec.systems.dctcm2021 import DctCm2021
from fmcodec.systems.fmtc2019 import Fmtc2019, Fmtc2019Rms
from fmcodec.systems.lmpdr2022 import Lmpdr2022
from fmcodec.systems.lossless import Ebpc, Rlc, Zvc
from fmcodec.systems.own import Fmcodec, FmcodecSmallest
from fmcodec.systems.shao2021 import Shao2021
from fmcodec.systems.stc2020 import Stc2020
from fmcodec.systems.system import System
from fmcodec.systems.tq2020 import Tq2020

SYSTEMS: dict[str, System] = {
    system.name: system
    for system in (
        Fmcodec(),
        FmcodecSmallest(),
        Fmtc2019(),
        Fmtc2019Rms(),
        DctCm2021(),
        Shao2021(),
        Cap2021(),
        Lmpdr2022(),
        Tq2020(),
        Stc2020(),
        Zvc(),
        Rlc(),
        Ebpc(),
    )
}


def find_system(name: str) -> System:
    """The system of a name in ``SYSTEMS``; ValueError if there is none."""
    if name not in SYSTEMS:
        raise ValueError(f"name must be one of {', '.join(SYSTEMS)}, not {name!r}")
    return SYSTEMS[name]


__all__ = ["SYSTEMS", "System", "find_system"]
