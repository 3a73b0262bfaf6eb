"""What machine this is, for reports and defaults; no byte of output depends on it."""

from __future__ import annotations

import os
import platform
from pathlib import Path


def processor_name() -> str:
    """Name of the processor; the architecture where the system does not tell it."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines() if cpuinfo.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def usable_cpus() -> int:
    """CPUs that this process may use; all of them where the system does not tell."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
