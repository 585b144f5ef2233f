"""The machine and the versions that a record was measured with. Nothing personal.

Of variables only the names of those that measured processes are not given.
"""

import os
import platform
import re
import subprocess
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from labkit import paths
from labkit.record import interference
from labkit.spec import variables

OF_PYTHON = ("python", "implementation", "build")
LIBRARIES = ("labkit", "aiohttp", "uvloop", "pypeln", "msgspec")
BOOST = Path("/sys/devices/system/cpu/cpufreq/boost")
NO_TURBO = Path("/sys/devices/system/cpu/intel_pstate/no_turbo")
SIBLINGS = Path("/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list")
_GOVERNOR = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")


def now() -> dict[str, Any]:
    """Return the environment at this moment: the machine, the versions and the load on it."""
    periods, throttled_s = interference.throttled()
    stolen_s, cores_s = interference.stolen()
    return {
        **machine(),
        "turbo": turbo(),
        "load_average_1min": round(os.getloadavg()[0], 2),
        "niceness": os.getpriority(os.PRIO_PROCESS, 0),
        # Since the machine, or the container, was started; a record has those of its window too.
        "stolen_percent": round(100 * stolen_s / cores_s, 3) if stolen_s and cores_s else stolen_s,
        "throttled_periods": periods,
        "throttled_s": throttled_s,
        "quota_cores": interference.quota_cores(),
        "variables_left_out": variables.left_out(os.environ),
    }


def turbo() -> str | None:
    """Return if the clock may exceed its nominal rate: on, off, unknown; None without a file."""
    for path, names in {BOOST: {"1": "on", "0": "off"}, NO_TURBO: {"0": "on", "1": "off"}}.items():
        if state := interference.text(path):
            return names.get(state, "unknown")
    return None


@lru_cache(maxsize=1)
def machine() -> dict[str, Any]:
    """Return what does not change while a process lives."""
    here: dict[str, Any] = {}
    exec(paths.table("environments.toml")["about"], here)  # noqa: S102  # our own
    here = here["found"]
    model = re.search(r"^model name\s*: (.*\S)", interference.text("/proc/cpuinfo"), re.MULTILINE)
    return {
        "system": platform.system(),
        "kernel": platform.release(),
        "cpu": model[1] if model else platform.processor() or platform.machine(),
        "cores": os.cpu_count() or 0,
        "cores_usable": len(usable_cores()),
        "governor": interference.text(_GOVERNOR) or None,
        "memory_bytes": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        **{name: here[name] for name in OF_PYTHON},
        "versions": {name: version(name) for name in LIBRARIES},
        "commit": _commit(),
    }


def usable_cores() -> list[int]:
    """Return the cores that this process may run on; empty where that is not known (macOS)."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


def core_each(cores: list[int] | None = None) -> tuple[int | None, int | None]:
    """Return a core for the client and one for the server; None for both where there is only one.

    They are of `cores`, or of all that are usable, and no threads of the same core, where there are
    two such.
    """
    usable = cores or usable_cores()
    if len(usable) < 2:
        return None, None
    first, *others = usable
    apart = [core for core in others if core not in threads_with(first)]
    return first, (apart or others)[0]


def threads_with(core: int) -> set[int]:
    """Return the cores, as the system counts them, that are threads of the same core."""
    listed = interference.text(str(SIBLINGS).format(core)) or str(core)
    ends = [one.partition("-") for one in listed.split(",")]
    return {n for low, _, high in ends for n in range(int(low), int(high or low) + 1)}


def version(package: str) -> str | None:
    """Return the installed version of a package; None where it is not installed."""
    from importlib import metadata  # here: it takes a while

    with suppress(metadata.PackageNotFoundError):
        return metadata.version(package)
    return None


def _commit() -> str | None:
    """Return the checkout's commit, and if what is measured was changed since; None elsewhere."""
    git = ["git", "-C", str(paths.CHECKOUT), "--no-optional-locks", "status", "--porcelain=2"]
    git += ["--branch", "--", "labkit", "data/experiments", "data/studies"]
    with suppress(OSError, subprocess.SubprocessError):
        if paths.in_checkout():
            told = subprocess.check_output(git, stderr=subprocess.DEVNULL, text=True)  # noqa: S603
            head, *others = told.splitlines()
            changed = ", changed since" if any(line[0] != "#" for line in others) else ""
            return f"{head.split()[-1][:10]}{changed}"
    return None
