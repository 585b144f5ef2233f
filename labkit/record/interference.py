"""Read what the kernel counts: the CPU of a process, and of disturbances quotas, guests, queues.

Read from /proc and /sys, cheaply enough to be read just before and just after a trial.
None where the system has no such counter (macOS). Judges nothing.
"""

import os
import re
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from labkit.record.record import Interference

PROC = Path("/proc")
CGROUPS = Path("/sys/fs/cgroup")
HIGH_WATER = re.compile(rb"VmHWM:\s+(\d+) kB")
# The last bits of a clock's number: all that the threads of a process have run. As the function
# `clock_getcpuclockid` of Linux has it, which Python does not offer.
_CPUCLOCK_SCHED = 2
# In a line of /proc/stat: the fields of idle and steal, and how many make up a core's whole time
# (those after them are counted in the first two as well).
_IDLE, _STEAL, _COUNTED = 3, 7, 8


# Counters at one moment, since the machine or the container was started.
KernelCounters = Mapping[str, float | None]


def read(cores: Collection[int] = ()) -> KernelCounters:
    """Read the counters; those of time over `cores`, or over all where none is named."""
    (periods, throttled_s), (stolen_s, cores_s) = throttled(), stolen(cores)
    return {
        "throttled_periods": periods,
        "throttled_s": throttled_s,
        "stolen_s": stolen_s,
        "cores_s": cores_s,
        "listen_drops": listen_drops(),
        "suspended_s": suspended_s(),
    }


def between(
    before: KernelCounters, after: KernelCounters, *, core_shared: bool = False
) -> Interference:
    """Compute what happened from one reading of the counters to the next."""
    grown = dict[str, Any]()
    for name, old in before.items():
        new = after[name]
        grown[name] = None if old is None or new is None else round(new - old, 6)
    stolen_s, cores_s = grown["stolen_s"], grown.pop("cores_s")
    share = round(100 * stolen_s / cores_s, 2) if stolen_s is not None and cores_s else None
    return Interference(**grown, stolen_percent=share, core_shared=core_shared)


def percent(
    before_s: float | None, after_s: float | None, wall_s: float, digits: int = 1
) -> float | None:
    """Return in percent of this time by how much a counter of seconds grew; None: unknown."""
    if before_s is None or after_s is None or wall_s <= 0:
        return None
    return round(100 * (after_s - before_s) / wall_s, digits)


def cpu_s(pid: int | None) -> float | None:
    """Read the CPU seconds of all threads of a process, also of those that have ended.

    By its clock, as /proc/PID/stat counts ticks of 10 ms, and /proc/PID/schedstat one thread, up to
    the last tick.
    """
    with suppress(OSError):  # it is gone, or the system has no such clocks
        return time.clock_gettime(~pid << 3 | _CPUCLOCK_SCHED) if pid else None
    return None


def high_water_bytes(pid: int | str | None = "self") -> int | None:
    """Read the peak resident memory of a process since it was started."""
    match = HIGH_WATER.search(status(pid))
    return int(match[1]) * 1024 if match else None


def status(pid: int | str | None) -> bytes:
    """Read the text of a process's status; empty where it is gone, or cannot be read."""
    with suppress(OSError):
        return (PROC / f"{pid}/status").read_bytes()
    return b""


def throttled() -> tuple[int, float] | tuple[None, None]:
    """Read for how many periods and seconds a CPU quota stopped this control group or one above."""
    periods, seconds = [], 0.0
    for path in _of_cgroups("cpu.stat"):
        counts = dict(line.split(maxsplit=1) for line in _lines(path) if " " in line)
        if "nr_throttled" in counts:
            periods.append(int(counts["nr_throttled"]))
            # Version 2 counts in microseconds, version 1 in nanoseconds.
            seconds += int(counts.get("throttled_usec", 0)) / 1e6
            seconds += int(counts.get("throttled_time", 0)) / 1e9
    return (sum(periods), seconds) if periods else (None, None)


def quota_cores() -> float | None:
    """Read how many cores the tightest CPU quota allows; None where there is none."""
    pairs = [" ".join(_lines(path)).split() for path in _of_cgroups("cpu.max")]
    for path in _of_cgroups("cpu.cfs_quota_us"):  # version 1 has a file for each of the two
        pairs.append([*_lines(path), *_lines(path.with_name("cpu.cfs_period_us"))])
    # Where there is no quota, it is 'max' or '-1'.
    quotas = [int(pair[0]) / int(pair[1]) for pair in pairs if len(pair) == 2 and pair[0].isdigit()]
    return min((quota for quota in quotas if quota), default=None)


def _of_cgroups(name: str) -> Iterator[Path]:
    """Yield the files called `name` of this process's control group, and of those above."""
    for line in _lines(PROC / "self" / "cgroup"):
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        mounts = (controllers, "cpu") if controllers else ("", "unified")
        mount = next((CGROUPS / one for one in mounts if (CGROUPS / one).is_dir()), CGROUPS)
        group = mount / path.strip("/")
        for folder in (group, *group.parents):
            if (folder / name).is_file():
                yield folder / name
            if folder == mount:
                break


def stolen(cores: Collection[int] = ()) -> tuple[float, float] | tuple[None, None]:
    """Read for how many seconds the host ran other guests on `cores`, and all their seconds."""
    ticks = _ticks(cores)
    if not ticks or any(len(row) < _COUNTED for row in ticks):
        return None, None
    per_s = os.sysconf("SC_CLK_TCK")
    return sum(row[_STEAL] for row in ticks) / per_s, sum(map(sum, ticks)) / per_s


def listen_drops() -> int | None:
    """Read how many connections full queues of listening sockets dropped, of all processes."""
    lines = [line.split() for line in _lines(PROC / "net" / "netstat")]
    for names, values in zip(lines[::2], lines[1::2], strict=False):
        counts = dict(zip(names, values, strict=False))
        if "ListenDrops" in counts:
            return int(counts["ListenDrops"])
    return None


def suspended_s() -> float | None:
    """Read for how many seconds the machine slept since it was started."""
    if not hasattr(time, "CLOCK_BOOTTIME"):
        return None
    return time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC)


def busy_s(core: int | None) -> float | None:
    """Read for how many seconds processes have run on this core; interrupts are of none."""
    ticks = [] if core is None else _ticks([core])
    return sum(ticks[0][:_IDLE]) / os.sysconf("SC_CLK_TCK") if ticks else None


def idle_s(cores: Collection[int]) -> float | None:
    """Read for how many seconds these cores had nothing to run; None where one is not listed."""
    ticks = _ticks(cores) if cores else []
    if not ticks or len(ticks) != len(cores):
        return None
    # Waiting for a disk is idle as well.
    return sum(row[_IDLE] + row[_IDLE + 1] for row in ticks) / os.sysconf("SC_CLK_TCK")


def _ticks(cores: Collection[int]) -> list[list[int]]:
    """Read the times of each of these cores, or of all together, in ticks."""
    names = {f"cpu{core}" for core in cores} or {"cpu"}
    rows = [line.split() for line in _lines(PROC / "stat") if line.split(" ", 1)[0] in names]
    return [[int(word) for word in row[1 : 1 + _COUNTED]] for row in rows]


def _lines(path: Path) -> list[str]:
    return text(path).splitlines()


def text(path: Path | str) -> str:
    """Read a file of the system without the space around it; empty where there is none."""
    with suppress(OSError):
        return Path(path).read_text(encoding="ascii", errors="replace").strip()
    return ""
