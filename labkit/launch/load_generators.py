"""The programs of others that the ladder runs: how each is called, and how its output is read.

The readers are pure: text in, `Counted` out. A program runs in a folder of its own, by `programs`.
"""

from __future__ import annotations

import math
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import msgspec

from labkit.errors import TrialFailed
from labkit.launch.program import START_S, run


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
class Known:
    """What is learnt of a program once: its version, and the CPU that it takes to start and end."""

    path: str
    version: str | None
    start_cpu_s: float


async def known(name: str, path: str, core: int | None) -> Known:
    """Ask a program for its version. Raises `TrialFailed` where it cannot be run."""
    rival = RIVALS[name]
    with tempfile.TemporaryDirectory(prefix="labkit-") as folder:
        ended = await run([path, *rival.version.split()], core=core, folder=folder)
    said = re.search(rival.versioned, ended.out + ended.errors, flags=re.MULTILINE)
    return Known(path=path, version=said[1] if said else None, start_cpu_s=ended.cpu_s)


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a program counted, its CPU seconds without those of its start, who else had its core."""

    counted: Counted
    cpu_s: float
    others_percent: float | None


async def measured(name: str, program: Known, load: Load, core: int | None) -> Result:
    """Let a program put `load` on a server. Raises `TrialFailed` where it gives no figures."""
    rival = RIVALS[name]
    with tempfile.TemporaryDirectory(prefix="labkit-") as folder:
        if rival.scenario is not None:
            file, text = rival.scenario(load)
            (Path(folder) / file).write_text(text, encoding="utf-8")
        words = [program.path, *rival.words(load)]
        ended = await run(words, core=core, folder=folder, within_s=START_S + 3 * load.seconds)
    try:
        counted = rival.read(ended.out, load)
    except TrialFailed as error:
        said = (ended.errors.strip().splitlines() or [""])[-1][:200]
        why = f"{name} (exit status {ended.status}): {error}{': ' + said if said else ''}"
        raise TrialFailed(why) from None
    cpu_s = max(ended.cpu_s - program.start_cpu_s, 0.0)
    return Result(counted=counted, cpu_s=cpu_s, others_percent=ended.others_percent)
