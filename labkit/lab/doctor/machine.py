"""Whether this machine can measure, and what to do where it cannot.

Starts no process; it waits a second, to see who else runs, and speaks to itself over loopback.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

from labkit.lab.doctor.check import Check, check
from labkit.launch import environment, preflight
from labkit.record import guards, interference

PORTS = Path("/proc/sys/net/ipv4/ip_local_port_range")
BACKLOG = Path("/proc/sys/net/core/somaxconn")
CLOCK_SOURCE = Path("/sys/devices/system/clocksource/clocksource0/current_clocksource")

USUAL_LIMIT = 1_000
"""Requests in flight in the published benchmarks."""
WATCHED_S = 1.0
"""How long is looked for other guests and quotas at work."""
MEMORY_LOW, MEMORY_LEAST = 1 << 30, 1 << 28
"""A million tasks at once want the first; client and server alone the second."""
SWAP_USED = 100 << 20
SLOW_CLOCKS = frozenset({"acpi_pm", "hpet", "jiffies"})
"""Read by a call into the kernel or a device: a microsecond or more, at each end of a request."""


def examine() -> list[Check]:
    """Look at everything that decides what a measurement here is worth."""
    return [one for look in _LOOKS for one in look()]


def conclusion(checks: Sequence[Check]) -> str:
    """Whether this machine can measure, and what cannot be trusted, in one sentence."""
    bad = [one for one in checks if one.status == "bad"]
    if bad:
        return f"This machine cannot measure before this is mended: {_spoilt(bad)}."
    doubts = [one for one in checks if one.status == "warn"]
    if doubts:
        return f"This machine can measure, but do not trust {_spoilt(doubts)}."
    return "This machine can measure."


def _spoilt(checks: Sequence[Check]) -> str:
    """What is not to be trusted, each followed by the names of the checks that say so."""
    names: dict[str, list[str]] = {}
    for one in checks:
        names.setdefault(one.spoils, []).append(one.name)
    return "; ".join(f"{spoils} ({', '.join(listed)})" for spoils, listed in names.items())


def _cores() -> Iterator[Check]:
    usable = len(environment.usable_cores()) or os.cpu_count() or 1
    there = max(os.cpu_count() or 1, usable)
    share = f"{usable}" if usable == there else f"{usable} of {there}"
    yield check(
        "cores",
        f"{share} usable, {environment.machine()['cpu']}",
        usable < 2,
        "client and server share one core: give this machine two",
        "time and CPU, which hold the server's",
    )


def _threads() -> Iterator[Check]:
    client, server = environment.core_each()
    if client is None or server is None:
        return
    shared = server in environment.threads_with(client)
    yield check(
        "cores of a trial",
        f"{client} and {server}{', two threads of one core' if shared else ''}",
        shared,
        "each slows the other down: allow a core more (taskset, cpuset) or switch threads off",
        "rate and CPU where both sides are busy",
    )


def _governor() -> Iterator[Check]:
    governor = environment.machine()["governor"]
    yield check(
        "CPU governor",
        governor or "not told by this system",
        governor not in (None, "performance"),
        "the clock follows the load: set it to 'performance'",
        _FROM_RUN_TO_RUN,
    )


def _turbo() -> Iterator[Check]:
    state = environment.turbo()
    yield check(
        "turbo",
        state or "not told by this system",
        state == "on",
        "the clock depends on heat: keep runs long, or switch it off",
        _FROM_RUN_TO_RUN,
    )


def _load() -> Iterator[Check]:
    load = os.getloadavg()[0]
    yield check(
        "load (1 min)",
        f"{load:.2f}",
        load > 0.5,
        "something else is running: wait until it is done, or close it",
        _WHILE_OTHERS_RUN,
    )


def _watched() -> Iterator[Check]:
    """What can only be seen by waiting for it."""
    cores = environment.usable_cores()
    before = interference.read(cores)
    time.sleep(WATCHED_S)
    after = interference.read(cores)
    found = interference.between(before, after)
    yield _steal(found.stolen_percent, found.stolen_s or 0.0)
    yield _throttling(after.throttled_periods or 0, found.throttled_periods or 0)


def _steal(percent: float | None, stolen_s: float) -> Check:
    return check(
        "stolen by other guests",
        "not told by this system" if percent is None else f"{percent:.1f} % of the last second",
        (percent or 0) > guards.STOLEN_PERCENT and stolen_s > guards.STOLEN_FROM_S,
        "the host is shared: compare only within one interleaved study",
        _WHILE_OTHERS_RUN,
    )


def _throttling(ever: int, now: int) -> Check:
    quota = interference.quota_cores()
    used_up = f"this container has a CPU quota that {'is' if now else 'was'} used up: raise it"
    return check(
        "cgroup throttling",
        f"{ever:,} periods so far, {'no quota' if quota is None else f'quota of {quota:g} cores'}",
        ever > 0 or (quota is not None and quota < 2),
        used_up if ever else "client and server want a core each: raise the quota to 2 cores",
        "any time or rate",
        bad=now > 0,
    )


def _memory() -> Iterator[Check]:
    import psutil

    free = psutil.virtual_memory().available
    yield check(
        "memory available",
        f"{free / 1e6:,.0f} MB",
        free < MEMORY_LOW,
        "close what holds memory: a million tasks at once want about 1 GB",
        "trials of many tasks at once",
        bad=free < MEMORY_LEAST,
    )


def _swap() -> Iterator[Check]:
    import psutil

    used = psutil.swap_memory().used
    yield check(
        "swap in use",
        f"{used / 1e6:,.0f} MB",
        used > SWAP_USED,
        "what is swapped out counts as no memory: close what holds memory, then 'swapoff -a'",
        "peak memory",
    )


def descriptors() -> Iterator[Check]:
    """Whether a process may open as many connections as the published benchmarks do."""
    budget = preflight.descriptors()
    needed = USUAL_LIMIT + preflight.RESERVED_DESCRIPTORS
    yield check(
        "open files (hard limit)",
        "no limit" if budget < 0 else f"{budget:,}",
        0 <= budget < needed,  # -1 is no limit
        f"{USUAL_LIMIT:,} requests at a time need {needed:,}: raise 'ulimit -Hn'",
        f"trials of {USUAL_LIMIT:,} connections, which are refused",
        bad=True,
    )


def _ports() -> Iterator[Check]:
    if not PORTS.is_file():
        return
    low, high = map(int, PORTS.read_text(encoding="ascii").split())
    yield check(
        "ephemeral ports",
        f"{high - low:,}",
        high - low < 20_000,
        "a session per request uses one each: widen ip_local_port_range",
        "trials of a session or a connection per request",
    )


def _backlog() -> Iterator[Check]:
    if not BACKLOG.is_file():
        return
    size = int(BACKLOG.read_text(encoding="ascii"))
    yield check(
        "listen backlog",
        f"{size:,}",
        size < 1_024,
        "connections opened at once may wait 1 s: raise somaxconn",
        "the first second of trials that open many connections",
    )


def _loopback() -> Iterator[Check]:
    why = ""
    try:
        with (
            socket.create_server(("127.0.0.1", 0)) as server,
            socket.create_connection(server.getsockname(), timeout=1) as client,
        ):
            accepted, _ = server.accept()
            with accepted:
                accepted.sendall(b".")
                client.recv(1)
    except OSError as error:
        why = error.strerror or str(error)
    yield check(
        "loopback (127.0.0.1)",
        why or "answers",
        bool(why),
        "client and server speak over it: bring 'lo' up and allow it in the firewall",
        "anything, as no trial can run",
        bad=True,
    )


def clock() -> Iterator[Check]:
    """Whether latencies can be told apart, and what reading the clock costs."""
    info = time.get_clock_info("perf_counter")
    source = CLOCK_SOURCE.read_text(encoding="ascii").strip() if CLOCK_SOURCE.is_file() else ""
    coarse = not info.monotonic or info.resolution > 1e-6
    yield check(
        "clock",
        f"{info.implementation}, {info.resolution * 1e9:.0f} ns{f', {source}' if source else ''}",
        coarse or source in SLOW_CLOCKS,
        "latencies cannot be told apart: use another machine"
        if coarse
        else "reading it takes a microsecond or more: boot with clocksource=tsc",
        "latencies",
        bad=coarse,
    )


def _versions() -> Iterator[Check]:
    versions = environment.machine()["versions"]
    listed = ", ".join(f"{name} {found or 'missing'}" for name, found in versions.items())
    missing = [name for name in ("aiohttp", "uvloop", "pypeln") if find_spec(name) is None]
    yield check(
        "versions",
        f"Python {sys.version.split()[0]}, {listed}",
        bool(missing),
        f"install {', '.join(missing)}",
        "trials that need what is missing",
        bad=True,
    )


_FROM_RUN_TO_RUN = "times and rates from one run to another"
_WHILE_OTHERS_RUN = "times and rates while others run"

_LOOKS: tuple[Callable[[], Iterator[Check]], ...] = (
    _cores,
    _threads,
    _governor,
    _turbo,
    _load,
    _watched,
    _memory,
    _swap,
    descriptors,
    _ports,
    _backlog,
    _loopback,
    clock,
    _versions,
)
