"""Load generators that others wrote: their command lines, readers of their output, records.

Reading is pure: text in, `RequestCount` out. A program runs in a folder of its own.
"""

from __future__ import annotations

import math
import re
import shutil
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil

from labkit import paths
from labkit.errors import TrialFailed
from labkit.launch import assembly
from labkit.launch.assembly import StudyPosition
from labkit.launch.process import START_S, Child, run
from labkit.launch.servers import Served
from labkit.record import guards, interference
from labkit.record.record import Counts, Note, Record, Server
from labkit.spec.plan import Program


@dataclass(frozen=True, kw_only=True)
class Load:
    """The load that a program is asked for: `seconds` of it, or `requests` if it can count them."""

    url: str
    connections: int
    seconds: float
    requests: int

    @property
    def whole_seconds(self) -> int:
        """Return the time for programs that know whole seconds only."""
        return math.ceil(self.seconds)

    def fill(self, text: str) -> str:
        """Put this load into a text that names its fields in braces."""
        return text.format(
            url=self.url,
            connections=self.connections,
            whole_seconds=self.whole_seconds,
            milliseconds=round(1e3 * self.seconds),
            least_requests=max(self.requests, self.connections),
        )


@dataclass(frozen=True, kw_only=True)
class RequestCount:
    """The figures that a program reports: right answers, all others, and the time for both."""

    ok: int
    failed: int
    wall_s: float

    @property
    def throughput_rps(self) -> float:
        """Return the right answers a second."""
        return self.ok / self.wall_s


@dataclass(frozen=True, kw_only=True)
class Rival:
    """A program: its command line, what its output has, its scenario, its version.

    `scenario` is the name of a file that it needs, and `text` what is in it. In `words` and `text`
    stand fields of `Load` in braces. What stands in `data/programs.toml` says what each is.
    """

    words: str
    answers: str
    failed: Sequence[str]
    lost: str = ""
    rps: str = ""
    times: str = ""
    scenario: str = ""
    text: str = ""
    # The option to ask for its version; without any, it ends by printing its usage.
    version: str = "--version"
    # Where in the answer the version is.
    versioned: str = r"(\d[\w.+~-]*)"

    def read(self, text: str, load: Load | None = None) -> RequestCount:
        """Read what it printed. Raises `TrialFailed` where that does not have the figures.

        The time comes from the rate of all answers: programs round their times more than rates.
        """

        def numbers(pattern: str) -> list[float]:
            found = re.finditer(pattern, text, flags=re.MULTILINE) if pattern else ()
            return [float(one) for match in found for one in match.groups() if one]

        answers, rps, times_s = numbers(self.answers), numbers(self.rps), numbers(self.times)
        if not answers or (self.rps and not rps):
            raise TrialFailed("its output does not have the figures that it should")
        done = sum(answers)
        wall_s = (
            max(times_s) - min(times_s) if times_s else float(load.whole_seconds if load else 0)
        )
        if self.rps:
            wall_s = done / rps[0] if rps[0] else 0.0
        if done <= 0 or wall_s <= 0:
            raise TrialFailed("it had no answer")
        # A request that failed in several ways is counted once.
        failed = min(max(sum(numbers(one)) for one in self.failed), done)
        lost = sum(numbers(self.lost))
        return RequestCount(ok=int(done - failed), failed=int(failed + lost), wall_s=wall_s)


# Every program, by its name on the command line.
RIVALS = {name: Rival(**row) for name, row in paths.table("programs.toml").items()}


def find(name: str) -> str | None:
    """Return the path of a program, on PATH or beside the interpreter; None where it is neither."""
    return shutil.which(name) or shutil.which(name, path=str(Path(sys.executable).parent))


class Programs:
    """Runs programs of others against one server; each is asked for its version once."""

    def __init__(self, served: Served, core: int | None) -> None:
        self._served, self._core = served, core
        self._known: dict[str, tuple[str, str | None, float]] = {}

    async def run(self, asked: Program, position: StudyPosition) -> Record:
        """Return the record of one run. One without figures has a note with the reason."""
        started, name = datetime.now(UTC), asked.name
        trial = asked.workload.to_dict() | {"program": name}
        load = Load(
            url=f"{self._served.url}/x",
            connections=asked.workload.limit,
            seconds=asked.seconds,
            requests=asked.workload.requests,
        )
        try:
            path, version, start_cpu_s = await self._version(name)
            before_s, waited_s = _cpu_s(self._served), _waited_s(self._served)
            ended, counted = await _measured(name, path, load, self._core)
            server_s, waited_s = _cpu_s(self._served) - before_s, _waited_s(self._served) - waited_s
        except TrialFailed as error:
            code = "program-failed" if psutil.pid_exists(self._served.pid or 0) else "target-lost"
            note = Note(code=code, message=str(error))
            return assembly.of_run(position, started, [note], trial=trial)
        wall_s = counted.wall_s
        done, cpu_s = counted.ok + counted.failed, max(ended.cpu_s - start_cpu_s, 0.0)
        failed = {"other": counted.failed} if counted.failed else {}
        counts = Counts(planned=done, sent=done, ok=counted.ok, failed=failed)
        waited = None if math.isnan(waited_s) else 100 * waited_s / wall_s
        server = Server(cpu_percent=100 * server_s / wall_s, waited_percent=waited)
        found = [*guards.of_failures(counts), *guards.contention(ended.others_percent, wall_s)]
        found += guards.contention(server.waited_percent, wall_s, "server")
        return assembly.of_run(
            position,
            started,
            [Note(code=code, message=message) for code, message in found],
            trial=trial,
            figures={"cpu_us_per_request": 1e6 * cpu_s / done},
            effective={"program": {"name": name, "version": version}},
            counts=counts,
            wall_s=wall_s,
            throughput_rps=counted.throughput_rps,
            process=ended.used(1024 * ended.usage.ru_maxrss),
            server=server,
        )

    async def _version(self, name: str) -> tuple[str, str | None, float]:
        """Return where a program is, its version, and the CPU that it takes to start and end.

        It is asked the first time alone. Raises `TrialFailed`.
        """
        if name not in self._known:
            path, rival = find(name), RIVALS[name]
            if path is None:
                raise TrialFailed(f"{name} is not installed")
            with paths.temporary_folder("program") as (folder, _):
                words = [path, *rival.version.split()]
                ended, out, errors = await run(words, core=self._core, folder=folder)
            found = re.search(rival.versioned, out + errors, flags=re.MULTILINE)
            self._known[name] = path, found[1] if found else None, ended.cpu_s
        return self._known[name]


async def _measured(
    name: str, path: str, load: Load, core: int | None
) -> tuple[Child, RequestCount]:
    """Let a program put `load` on a server. Raises `TrialFailed` where it gives no figures."""
    rival = RIVALS[name]
    with paths.temporary_folder("program") as (folder, _):
        if rival.scenario:
            (folder / rival.scenario).write_text(load.fill(rival.text), encoding="utf-8")
        words = [path, *load.fill(rival.words).split()]
        within_s = START_S + 3 * load.seconds
        ended, out, errors = await run(words, core=core, folder=folder, within_s=within_s)
    try:
        return ended, rival.read(out, load)
    except TrialFailed as error:
        last = (errors.strip().splitlines() or [""])[-1][:200]
        why = f"{name} (exit status {ended.status}): {error}{': ' + last if last else ''}"
        raise TrialFailed(why) from None


def _waited_s(served: Served) -> float:
    """Return the seconds that a server was ready to run and had no core; nan outside Linux."""
    with suppress(OSError, IndexError, ValueError):
        return int(Path(f"/proc/{served.pid}/schedstat").read_text().split()[1]) / 1e9
    return math.nan


def _cpu_s(served: Served) -> float:
    """Return the CPU seconds of a server so far. Raises `TrialFailed` where it died."""
    try:
        used = interference.cpu_s(served.pid)
        return used or float(sum(psutil.Process(served.pid).cpu_times()[:2]))
    except psutil.NoSuchProcess:
        assert served.child is not None
        raise served.child.failure("the synthetic server died") from None
