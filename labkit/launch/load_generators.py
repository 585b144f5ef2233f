"""Load generators that others wrote: how each is called, how its output is read, its record.

The readers are pure: text in, `Counted` out. A program runs in a folder of its own, by `program`.
"""

from __future__ import annotations

import math
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType

import msgspec
import psutil

from labkit.errors import TrialFailed
from labkit.launch import assembly, environment
from labkit.launch.assembly import StudyPosition
from labkit.launch.launcher import Served
from labkit.launch.process import START_S, Ended, run
from labkit.record import guards
from labkit.record.record import Counts, Note, Process, Record, Server
from labkit.spec.plan import Program


@dataclass(frozen=True, kw_only=True)
class Load:
    """What a program is asked to do; it ends after so many `seconds`, or `requests` if it can."""

    url: str
    connections: int
    seconds: float
    requests: int

    @property
    def whole_seconds(self) -> int:
        """The time for programs that know whole seconds only."""
        return math.ceil(self.seconds)


@dataclass(frozen=True, kw_only=True)
class Counted:
    """What a program says of itself: answers that were right, the others, and in what time."""

    ok: int
    failed: int
    wall_s: float

    @property
    def throughput_rps(self) -> float:
        """Right answers a second."""
        return self.ok / self.wall_s


@dataclass(frozen=True, kw_only=True)
class Rival:
    """A program: its command line, how to read what it says, its scenario, its version."""

    words: Callable[[Load], Sequence[str]]
    read: Callable[[str, Load], Counted]
    scenario: Callable[[Load], tuple[str, str]] | None = None
    """The name and the text of a file that it needs."""
    version: str = ""
    """What makes it tell its version and end; with nothing, it ends by saying how to use it."""
    versioned: str = r"(\d[\w.+~-]*)"
    """Where in the answer the version is."""


def _number(pattern: str, text: str, usual: str | None = None) -> float:
    found = re.search(pattern, text, flags=re.MULTILINE)
    if found is None and usual is None:
        raise TrialFailed("its output does not hold the figures that it should")
    return float(found[1] if found else usual or 0)


def _counted(ok: float, failed: float, rps: float) -> Counted:
    """From a rate of all answers: the programs round their times more than their rates."""
    if ok + failed <= 0 or rps <= 0:
        raise TrialFailed("it had no answer")
    return Counted(ok=int(ok), failed=int(failed), wall_s=(ok + failed) / rps)


def read_wrk(text: str, load: Load | None = None) -> Counted:
    """What wrk 4 prints; errors of its sockets are no requests to it, here they are failed ones."""
    answers = _number(r"^\s*(\d+) requests in ", text)
    bad = _number(r"Non-2xx or 3xx responses: (\d+)", text, "0")
    errors = re.search(r"Socket errors: (.*)", text)
    broken = sum(map(int, re.findall(r"\d+", errors[1]))) if errors else 0
    rps = _number(r"^Requests/sec:\s+([\d.]+)", text)
    counted = _counted(answers - bad, bad, rps)
    return Counted(ok=counted.ok, failed=counted.failed + broken, wall_s=counted.wall_s)


def read_hey(text: str, load: Load | None = None) -> Counted:
    """What hey prints: answers by status, and errors by their text."""
    by_status = re.findall(r"^\s*\[(\d+)\]\s+(\d+) responses", text, flags=re.MULTILINE)
    ok = sum(int(n) for status, n in by_status if status < "4")
    bad = sum(int(n) for status, n in by_status if status >= "4")
    errors = text.partition("Error distribution:")[2]
    bad += sum(map(int, re.findall(r"^\s*\[(\d+)\]", errors, flags=re.MULTILINE)))
    return _counted(ok, bad, _number(r"Requests/sec:\s+([\d.]+)", text))


def read_ab(text: str, load: Load | None = None) -> Counted:
    """What ApacheBench 2.3 prints; a request that failed in several ways is counted once."""
    done = _number(r"^Complete requests:\s+(\d+)", text)
    failed = _number(r"^Failed requests:\s+(\d+)", text)
    bad = max(failed, _number(r"^Non-2xx responses:\s+(\d+)", text, "0"))
    return _counted(
        done - min(bad, done), min(bad, done), _number(r"^Requests per second:\s+([\d.]+)", text)
    )


class _Entry(msgspec.Struct):
    """One row of Locust's statistics."""

    num_requests: int
    num_failures: int
    start_time: float
    last_request_timestamp: float | None


def read_locust(text: str, load: Load | None = None) -> Counted:
    """What Locust prints with `--json`: the time from the last user's start to the last answer."""
    try:
        entries = msgspec.json.decode(text, type=list[_Entry])
    except msgspec.DecodeError:
        raise TrialFailed("its output does not hold the figures that it should") from None
    requests = sum(entry.num_requests for entry in entries)
    failed = sum(entry.num_failures for entry in entries)
    ends = [entry.last_request_timestamp or entry.start_time for entry in entries]
    wall_s = max(ends, default=0.0) - min((entry.start_time for entry in entries), default=0.0)
    if requests <= 0 or wall_s <= 0:
        raise TrialFailed("it had no answer")
    return Counted(ok=requests - failed, failed=failed, wall_s=wall_s)


def read_molotov(text: str, load: Load) -> Counted:
    """What molotov prints; it does not say how long it took, so it is what it was asked for."""
    found = re.findall(r"SUCCESSES: (\d+) \| FAILURES: (\d+)", text)
    if not found:
        raise TrialFailed("its output does not hold the figures that it should")
    ok, failed = map(int, found[-1])
    return _counted(ok, failed, (ok + failed) / load.whole_seconds)


def _locustfile(load: Load) -> tuple[str, str]:
    return "locustfile.py", (
        "from locust import FastHttpUser, constant, task\n\n\n"
        "class User(FastHttpUser):\n"
        "    wait_time = constant(0)\n\n"
        "    @task\n"
        "    def get(self):\n"
        f"        self.client.get({load.url!r})\n"
    )


def _loadtest(load: Load) -> tuple[str, str]:
    return "loadtest.py", (
        "from molotov import scenario\n\n\n"
        "@scenario(weight=1)\n"
        "async def get(session):\n"
        f"    async with session.get({load.url!r}) as answer:\n"
        "        await answer.read()\n"
        "        assert answer.status == 200\n"
    )


def _wrk(load: Load) -> list[str]:
    return ["-t1", f"-c{load.connections}", f"-d{load.whole_seconds}s", load.url]


def _hey(load: Load) -> list[str]:
    for_ms = f"{load.seconds * 1e3:.0f}ms"
    return ["-cpus", "1", "-c", str(load.connections), "-z", for_ms, load.url]


def _ab(load: Load) -> list[str]:
    # -t sets a number of requests of its own, so -n has to follow it.
    ends = ["-t", str(load.whole_seconds), "-n", str(max(load.requests, load.connections))]
    return ["-k", "-q", "-r", "-c", str(load.connections), *ends, load.url]


def _locust(load: Load) -> list[str]:
    users = ["-u", str(load.connections), "-r", str(load.connections)]
    quiet = ["--json", "--only-summary", "--reset-stats", "--exit-code-on-error", "0"]
    return [
        *("-f", "locustfile.py", "--headless", "-t", f"{load.whole_seconds}s", *users, *quiet),
        *("--host", load.url),
    ]


def _molotov(load: Load) -> list[str]:
    return ["-w", str(load.connections), "-d", str(load.whole_seconds), "-c", "loadtest.py"]


RIVALS: Mapping[str, Rival] = MappingProxyType(
    {
        "wrk": Rival(words=_wrk, read=read_wrk, version="-v", versioned=r"^wrk (\S+)"),
        "hey": Rival(words=_hey, read=read_hey, versioned=r"^hey version (\S+)"),
        "ab": Rival(words=_ab, read=read_ab, version="-V", versioned=r"Version (\S+)"),
        "locust": Rival(words=_locust, read=read_locust, scenario=_locustfile, version="--version"),
        "molotov": Rival(
            words=_molotov, read=read_molotov, scenario=_loadtest, version="--version"
        ),
    }
)
"""Every program, by its name on the command line."""


def find(name: str) -> str | None:
    """The program `name`: on the path, or beside the interpreter; None where it is neither."""
    return shutil.which(name) or shutil.which(name, path=str(Path(sys.executable).parent))


@dataclass(frozen=True, kw_only=True)
class _Version:
    """What is learnt of a program once: its version, and the CPU that it takes to start and end."""

    path: str
    version: str | None
    start_cpu_s: float


class Programs:
    """Runs programs of others against one server; each is asked for its version once."""

    def __init__(self, served: Served) -> None:
        self._served, self._core = served, environment.core_each()[0]
        self._known: dict[str, _Version] = {}

    async def run(self, asked: Program, position: StudyPosition) -> Record:
        """Return the record of one run. One that gives no figures has a note that says why."""
        started, name = datetime.now(UTC), asked.name
        trial = asked.workload.to_dict() | {"program": name}
        load = Load(
            url=f"{self._served.url}/x",
            connections=asked.workload.limit,
            seconds=asked.seconds,
            requests=asked.workload.requests,
        )
        before_s = _cpu_s(self._served.pid)
        try:
            version = await self._version(name)
            ended, counted = await _measured(name, version.path, load, self._core)
        except TrialFailed as error:
            note = Note(code="program-failed", message=str(error))
            return assembly.record_of_others(position, trial, started, figures={}, notes=[note])
        server_s, wall_s = _cpu_s(self._served.pid) - before_s, counted.wall_s
        done, cpu_s = counted.ok + counted.failed, max(ended.cpu_s - version.start_cpu_s, 0.0)
        found = guards.contention(ended.others_percent, wall_s)
        if counted.failed:
            found = [("failures", f"{counted.failed:,} of {done:,} requests failed"), *found]
        record = assembly.record_of_others(
            position,
            trial,
            started,
            figures={"cpu_us_per_request": 1e6 * cpu_s / done},
            notes=[Note(code=code, message=message) for code, message in found],
            counts=Counts(
                planned=done,
                sent=done,
                not_sent=0,
                ok=counted.ok,
                failed={"other": counted.failed} if counted.failed else {},
                cancelled=0,
            ),
            wall_s=wall_s,
            throughput_rps=counted.throughput_rps,
            process=Process(
                wall_s=ended.wall_s,
                cpu_user_s=ended.cpu_s,
                cpu_system_s=0.0,
                cpu_percent=round(100 * ended.cpu_s / ended.wall_s, 2),
                peak_rss_bytes=ended.peak_rss_bytes,
            ),
            server=Server(
                cpu_percent=100 * server_s / wall_s,
                peak_rss_bytes=None,
                requests=None,
                max_in_flight=None,
                connections_opened=None,
            ),
        )
        about = {"name": name, "version": version.version}
        return msgspec.structs.replace(record, effective={"program": about})

    async def _version(self, name: str) -> _Version:
        """Ask a program for its version, the first time. Raises `TrialFailed`."""
        if name not in self._known:
            path, rival = find(name), RIVALS[name]
            if path is None:
                raise TrialFailed(f"{name} is not installed")
            with tempfile.TemporaryDirectory(prefix="labkit-") as folder:
                words = [path, *rival.version.split()]
                ended = await run(words, core=self._core, folder=folder)
            found = re.search(rival.versioned, ended.out + ended.errors, flags=re.MULTILINE)
            self._known[name] = _Version(
                path=path, version=found[1] if found else None, start_cpu_s=ended.cpu_s
            )
        return self._known[name]


async def _measured(name: str, path: str, load: Load, core: int | None) -> tuple[Ended, Counted]:
    """Let a program put `load` on a server. Raises `TrialFailed` where it gives no figures."""
    rival = RIVALS[name]
    with tempfile.TemporaryDirectory(prefix="labkit-") as folder:
        if rival.scenario is not None:
            file, text = rival.scenario(load)
            (Path(folder) / file).write_text(text, encoding="utf-8")
        words = [path, *rival.words(load)]
        ended = await run(words, core=core, folder=folder, within_s=START_S + 3 * load.seconds)
    try:
        return ended, rival.read(ended.out, load)
    except TrialFailed as error:
        last = (ended.errors.strip().splitlines() or [""])[-1][:200]
        why = f"{name} (exit status {ended.status}): {error}{': ' + last if last else ''}"
        raise TrialFailed(why) from None


def waited_s(pid: int | None) -> float | None:
    """Return the seconds that a process was ready to run and had no core; None outside Linux."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9
    except (OSError, IndexError, ValueError):
        return None


def _cpu_s(pid: int | None) -> float:
    """Return the CPU seconds of a process so far."""
    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.NoSuchProcess:
        raise TrialFailed("the synthetic server died") from None
    return float(times.user + times.system)
