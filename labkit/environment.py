"""What machine and which versions a record was measured with. Nothing personal, no variables."""

from __future__ import annotations

import os
import platform
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

LIBRARIES = ("labkit", "aiohttp", "uvloop", "pypeln", "msgspec")
_GOVERNOR = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")


def now() -> dict[str, Any]:
    """The environment at this moment: the machine, the versions and the load on it."""
    load = round(os.getloadavg()[0], 2)
    return {**machine(), "load_average_1min": load, "niceness": os.getpriority(os.PRIO_PROCESS, 0)}


@lru_cache(maxsize=1)
def machine() -> dict[str, Any]:
    """What does not change while a process lives."""
    return {
        "system": platform.system(),
        "kernel": platform.release(),
        "cpu": _cpu_model(),
        "cores": psutil.cpu_count() or 0,
        "cores_usable": len(usable_cores()),
        "governor": _text(_GOVERNOR),
        "memory_bytes": psutil.virtual_memory().total,
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "versions": {name: version(name) for name in LIBRARIES},
    }


def usable_cores() -> list[int]:
    """The cores that this process may run on; empty where the system does not tell (macOS)."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


def core_each() -> tuple[int | None, int | None]:
    """The cores of client and server: one each where there are two, no particular one elsewhere."""
    usable = usable_cores()
    return (usable[0], usable[1]) if len(usable) > 1 else (None, None)


def version(package: str) -> str | None:
    """The installed version of a package; None where it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _cpu_model() -> str:
    for line in (_text(Path("/proc/cpuinfo")) or "").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return None
