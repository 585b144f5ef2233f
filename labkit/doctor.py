"""Whether this machine can measure, and what to do where it cannot. Starts nothing."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import msgspec

from labkit import environment, preflight

PORTS = Path("/proc/sys/net/ipv4/ip_local_port_range")
BACKLOG = Path("/proc/sys/net/core/somaxconn")
BOOST = Path("/sys/devices/system/cpu/cpufreq/boost")
NO_TURBO = Path("/sys/devices/system/cpu/intel_pstate/no_turbo")
THROTTLED = Path("/sys/fs/cgroup/cpu.stat")

Status = Literal["ok", "warn", "bad"]

USUAL_LIMIT = 1_000
"""Requests in flight in the published benchmarks."""


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was looked at; `advice` says what to do where `status` is not ok."""

    name: str
    found: str
    status: Status
    advice: str = ""


def examine() -> list[Check]:
    """Look at everything that decides what a measurement here is worth."""
    return [check for look in _LOOKS for check in look()]


def _cores() -> Iterator[Check]:
    usable = len(environment.usable_cores()) or os.cpu_count() or 1
    yield Check(
        name="cores",
        found=f"{usable} usable, {environment.machine()['cpu']}",
        status="ok" if usable > 1 else "warn",
        advice="" if usable > 1 else "client and server share one core: times include both",
    )


def _governor() -> Iterator[Check]:
    governor = environment.machine()["governor"]
    fixed = governor in (None, "performance")
    yield Check(
        name="CPU governor",
        found=governor or "not told by this system",
        status="ok" if fixed else "warn",
        advice="" if fixed else "the clock follows the load: set it to 'performance'",
    )


def _turbo() -> Iterator[Check]:
    states = {BOOST: {"1": "on", "0": "off"}, NO_TURBO: {"0": "on", "1": "off"}}
    known = [(path, names) for path, names in states.items() if path.is_file()]
    if not known:
        yield Check(name="turbo", found="not told by this system", status="ok")
        return
    path, names = known[0]
    state = names.get(path.read_text(encoding="ascii").strip(), "unknown")
    advice = "" if state != "on" else "the clock depends on heat: keep runs long, or switch it off"
    yield Check(name="turbo", found=state, status="warn" if advice else "ok", advice=advice)


def _load() -> Iterator[Check]:
    load = os.getloadavg()[0]
    busy = load > 0.5
    yield Check(
        name="load (1 min)",
        found=f"{load:.2f}",
        status="warn" if busy else "ok",
        advice="something else is running: wait until it is done, or close it" if busy else "",
    )


def _steal() -> Iterator[Check]:
    import psutil

    times = psutil.cpu_times()
    steal = getattr(times, "steal", 0.0)
    share = 100 * steal / sum(times)
    yield Check(
        name="stolen by other guests",
        found=f"{share:.2f} % since the machine was started",
        status="warn" if share > 1 else "ok",
        advice="the host is shared: compare only within one run" if share > 1 else "",
    )


def _throttling() -> Iterator[Check]:
    try:
        lines = THROTTLED.read_text(encoding="ascii").splitlines()
        throttled = int(dict(line.split() for line in lines).get("nr_throttled", 0))
    except (OSError, ValueError):
        throttled = 0
    yield Check(
        name="cgroup throttling",
        found=f"{throttled:,} periods",
        status="warn" if throttled else "ok",
        advice="this container has a CPU quota that was used up: raise it" if throttled else "",
    )


def _descriptors() -> Iterator[Check]:
    budget = preflight.descriptors()
    needed = USUAL_LIMIT + preflight.RESERVED_DESCRIPTORS
    enough = budget >= needed or budget < 0  # -1 is no limit
    yield Check(
        name="open files (hard limit)",
        found="no limit" if budget < 0 else f"{budget:,}",
        status="ok" if enough else "bad",
        advice=""
        if enough
        else f"{USUAL_LIMIT:,} requests at a time need {needed:,}: raise 'ulimit -Hn'",
    )


def _ports() -> Iterator[Check]:
    if not PORTS.is_file():
        return
    low, high = map(int, PORTS.read_text(encoding="ascii").split())
    enough = high - low >= 20_000
    yield Check(
        name="ephemeral ports",
        found=f"{high - low:,}",
        status="ok" if enough else "warn",
        advice="" if enough else "a session per request uses one each: widen ip_local_port_range",
    )


def _backlog() -> Iterator[Check]:
    if not BACKLOG.is_file():
        return
    size = int(BACKLOG.read_text(encoding="ascii"))
    enough = size >= 1_024
    yield Check(
        name="listen backlog",
        found=f"{size:,}",
        status="ok" if enough else "warn",
        advice="" if enough else "connections opened at once may wait 1 s: raise somaxconn",
    )


def _clock() -> Iterator[Check]:
    import time

    info = time.get_clock_info("perf_counter")
    fine = info.monotonic and info.resolution <= 1e-6
    yield Check(
        name="clock",
        found=f"{info.implementation}, {info.resolution * 1e9:.0f} ns",
        status="ok" if fine else "bad",
        advice="" if fine else "latencies cannot be told apart: use another machine",
    )


def _versions() -> Iterator[Check]:
    versions = environment.machine()["versions"]
    listed = ", ".join(f"{name} {found or 'missing'}" for name, found in versions.items())
    missing = [name for name in ("aiohttp", "uvloop", "pypeln") if find_spec(name) is None]
    yield Check(
        name="versions",
        found=f"Python {sys.version.split()[0]}, {listed}",
        status="bad" if missing else "ok",
        advice=f"install {', '.join(missing)}" if missing else "",
    )


_LOOKS: tuple[Callable[[], Iterator[Check]], ...] = (
    _cores,
    _governor,
    _turbo,
    _load,
    _steal,
    _throttling,
    _descriptors,
    _ports,
    _backlog,
    _clock,
    _versions,
)
