"""What the kernel counts of those who disturb a measurement: quotas, other guests, full queues.

Read from /proc and /sys, cheaply enough to be read just before and just after a trial.
None where the system does not tell (macOS). Judges nothing.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

from labkit.record.record import Interference

PROC = Path("/proc")
CGROUPS = Path("/sys/fs/cgroup")
_STEAL, _COUNTED = 7, 8
"""In a line of /proc/stat: the field of steal, and the fields that make up a core's whole time
(those after them are counted in the first two as well)."""


class Reading(NamedTuple):
    """Counters at one moment, since the machine or the container was started."""

    throttled_periods: int | None
    throttled_s: float | None
    stolen_s: float | None
    cores_s: float | None
    listen_drops: int | None


def read(cores: Collection[int] = ()) -> Reading:
    """The counters now; those of time over `cores`, or over all where none is named."""
    (periods, throttled_s), (stolen_s, cores_s) = throttled(), stolen(cores)
    return Reading(periods, throttled_s, stolen_s, cores_s, listen_drops())


def between(before: Reading, after: Reading) -> Interference:
    """What happened from one reading to the next."""
    grown = [
        None if old is None or new is None else new - old
        for old, new in zip(before, after, strict=True)
    ]
    periods, throttled_s, stolen_s, cores_s, drops = grown
    share = 100 * stolen_s / cores_s if stolen_s is not None and cores_s else None
    return Interference(
        throttled_periods=None if periods is None else int(periods),
        throttled_s=None if throttled_s is None else round(throttled_s, 6),
        stolen_s=None if stolen_s is None else round(stolen_s, 3),
        stolen_percent=None if share is None else round(share, 2),
        listen_drops=None if drops is None else int(drops),
    )


def throttled() -> tuple[int, float] | tuple[None, None]:
    """Periods and seconds in which a CPU quota held this process's control group, or one above."""
    counted = [found for path in _of_cgroups("cpu.stat") if (found := _throttled_in(path))]
    if not counted:
        return None, None
    return sum(periods for periods, _ in counted), sum(seconds for _, seconds in counted)


def _throttled_in(path: Path) -> tuple[int, float] | None:
    counts = dict(line.split(maxsplit=1) for line in _lines(path) if " " in line)
    if "nr_throttled" not in counts:
        return None
    # Version 2 counts in microseconds, version 1 in nanoseconds.
    in_s = int(counts.get("throttled_usec", 0)) / 1e6 + int(counts.get("throttled_time", 0)) / 1e9
    return int(counts["nr_throttled"]), in_s


def quota_cores() -> float | None:
    """How many cores the tightest CPU quota allows; None where there is none."""
    quotas = [*map(_quota, _of_cgroups("cpu.max")), *map(_quota_1, _of_cgroups("cpu.cfs_quota_us"))]
    return min((quota for quota in quotas if quota), default=None)


def _quota(path: Path) -> float | None:
    words = " ".join(_lines(path)).split()
    return int(words[0]) / int(words[1]) if len(words) == 2 and words[0] != "max" else None


def _quota_1(path: Path) -> float | None:
    quota, period = _lines(path), _lines(path.with_name("cpu.cfs_period_us"))
    return int(quota[0]) / int(period[0]) if quota and period and int(quota[0]) > 0 else None


def _of_cgroups(name: str) -> Iterator[Path]:
    """The files called so of the control group that this process is in, and of those above."""
    for line in _lines(PROC / "self" / "cgroup"):
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        mounts = (controllers, "cpu") if controllers else ("", "unified")
        mount = next((CGROUPS / one for one in mounts if (CGROUPS / one).is_dir()), CGROUPS)
        place = mount / path.strip("/")
        for folder in (place, *place.parents):
            if (folder / name).is_file():
                yield folder / name
            if folder == mount:
                break


def stolen(cores: Collection[int] = ()) -> tuple[float, float] | tuple[None, None]:
    """Seconds in which the host ran other guests on `cores`, and all seconds of these cores."""
    names = {f"cpu{core}" for core in cores} or {"cpu"}
    rows = [line.split() for line in _lines(PROC / "stat") if line.split(" ", 1)[0] in names]
    ticks = [[int(word) for word in row[1 : 1 + _COUNTED]] for row in rows]
    if not ticks or any(len(row) < _COUNTED for row in ticks):
        return None, None
    per_s = os.sysconf("SC_CLK_TCK")
    return sum(row[_STEAL] for row in ticks) / per_s, sum(map(sum, ticks)) / per_s


def listen_drops() -> int | None:
    """Connections that a full queue of a listening socket dropped, of all processes."""
    lines = [line.split() for line in _lines(PROC / "net" / "netstat")]
    for names, values in zip(lines[::2], lines[1::2], strict=False):
        counts = dict(zip(names, values, strict=False))
        if "ListenDrops" in counts:
            return int(counts["ListenDrops"])
    return None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return []
