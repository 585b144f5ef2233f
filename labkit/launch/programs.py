"""What is known of a program that ran: what its server counted, or what it has printed itself.

Any program is measured from outside by `measured.program`. Load generators of others print figures
of their own, too: reading those is pure, text in, `Counts` and a time out.
"""

import bisect
import math
import re
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from labkit import paths
from labkit.errors import TrialFailed
from labkit.launch import process
from labkit.record.record import Counts, Measurement, Note, Process, Server, Timeline
from labkit.spec import delays
from labkit.spec.requests import ITEM
from labkit.spec.targets import HttpTarget, NoTarget
from labkit.spec.trial import Trial

# By how much, as a share, a sum of delays may be off where it is added up in another order.
SAME_SHARE = 1e-6
# How much of what a program wrote last a record has, in letters.
MAX_STORED = 2_000


@dataclass(frozen=True, kw_only=True)
class Rival:
    """A program: its command line, what its output has, its scenario, its version.

    `scenario` is the name of a file that it needs, and `text` what is in it. In `words` stand
    fields of a trial's program, and its time. `data/programs.toml` says what each is.
    """

    words: str
    answers: str
    failed: Sequence[str]
    lost: str = ""
    rps: str = ""
    times: str = ""
    lasts: str = ""
    scenario: str = ""
    text: str = ""
    # The option to ask for its version; without any, it ends by printing its usage.
    version: str = "--version"
    # Where in the answer the version is.
    versioned: str = r"(\d[\w.+~-]*)"

    def read(self, text: str, asked: str = "") -> tuple[Counts, float]:
        """Return right answers and all others, and the seconds for both, of what it printed.

        `asked` is its command line, which may say how long it runs. The time comes from the rate of
        all answers: programs round their times more than rates. Raises `TrialFailed` where the text
        does not have the figures.
        """

        def numbers(pattern: str) -> list[float]:
            found = re.finditer(pattern, text, flags=re.MULTILINE) if pattern else ()
            return [float(one) for match in found for one in match.groups() if one]

        answers, rps, times_s = numbers(self.answers), numbers(self.rps), numbers(self.times)
        if not answers or (self.rps and not rps):
            raise TrialFailed("its output does not have the figures that it should")
        done = sum(answers)
        wall_s = max(times_s) - min(times_s) if times_s else 0.0
        if self.lasts and (lasts := re.search(self.lasts, asked)):
            wall_s = float(lasts[1])
        if self.rps:
            wall_s = done / rps[0] if rps[0] else 0.0
        if done <= 0 or wall_s <= 0:
            raise TrialFailed("it had no answer")
        # A request that failed in several ways is counted once.
        failed = min(max(sum(numbers(one)) for one in self.failed), done)
        ok, others = int(done - failed), int(failed + sum(numbers(self.lost)))
        failures = {"other": others} if others else {}
        return Counts(planned=ok + others, sent=ok + others, ok=ok, failed=failures), wall_s


# Every program whose output has figures, by its name on the command line.
RIVALS = {name: Rival(**row) for name, row in paths.table("programs.toml").items()}


def counted(trial: Trial, measured: Measurement, stats: Mapping[str, Any]) -> Measurement:
    """Return a measurement of a program with what the synthetic server counted of its requests.

    What it answered with a status from 400 on has failed, and what the program did not wait for was
    cancelled. CPU per request is what the program used from its first request to its last answer,
    as it is of the lab's own client: without its start and its end.
    """
    sent = stats["requests"]
    statuses = {int(code): n for code, n in stats["statuses"].items()}
    failed, left = sum(statuses.values()), stats["given_up"] + stats["in_flight"]
    ok = sent - failed - left
    planned = max(sent, trial.requests if trial.states("requests") else 0)
    known = {"planned": planned, "done": ok, "sent": sent, "not_sent": planned - sent, "ok": ok}
    by_kind = {"status": failed} if failed else {}
    counts = Counts(**known, failed=by_kind, statuses=statuses, cancelled=left)
    client, rows, outside_s = measured.client, measured.timeline, 0.0
    if client is not None and sent:
        left_s = used_s = client.cpu_user_s + client.cpu_system_s
        steps = zip(rows.t_s, [0.0, *rows.t_s], rows.client_cpu_percent, strict=False)
        for n, (t_s, before_s, percent) in enumerate(steps):
            of_row_s = (percent or 0) / 100 * (t_s - before_s)
            left_s -= of_row_s
            is_before = rows.completed[n] == rows.in_flight[n] == 0
            if is_before or (n and rows.completed[n - 1] == sent):
                outside_s += of_row_s
        # What it used after the last row, for which it had no longer than that, is of its end.
        if rows.completed[-1:] == [sent]:
            outside_s += max(min(left_s, (measured.wall_s or 0.0) - rows.t_s[-1]), 0.0)
        each_us = 1e6 * (used_s - outside_s) / sent
        client = msgspec.structs.replace(client, cpu_us_per_request=round(each_us, 3))
    return msgspec.structs.replace(measured, counts=counts, client=client)


def over_time(timeline: Timeline, started_ns: int, history: Sequence[Sequence[int]]) -> Timeline:
    """Return the rows of a program with what its server had counted by then: None for nothing."""
    at_ns = [row[0] for row in history]
    last = [bisect.bisect(at_ns, started_ns + round(1e9 * t_s)) - 1 for t_s in timeline.t_s]
    columns = {
        name: [history[i][n] if i >= 0 else None for i in last]
        for n, name in enumerate(("completed", "in_flight", "connections"), 1)
    }
    return msgspec.structs.replace(timeline, loop_lag_s=[None] * len(last), failed=[], **columns)


def requests_s(measured: Measurement, started_ns: int, history: Sequence[Sequence[int]]) -> float:
    """Return the time of a program without its start and its end, to 40 ms at most too long.

    From the last time that its server had no request yet to the first that it had answered all; of
    a program without a request it is the whole time.
    """
    sent, wall_s = measured.counts.sent, measured.wall_s or 0.0
    none_ns = [at_ns for at_ns, done, in_flight, _ in history if done == in_flight == 0]
    all_ns = [at_ns for at_ns, done, *_ in history if done == sent]
    began_ns = max([started_ns, *none_ns])
    return (min(all_ns, default=started_ns + 1e9 * wall_s) - began_ns) / 1e9 if sent else wall_s


# When are the floor and the bound of a program known? The delay of a request is drawn from its
# name, and those of the lab's own clients are 0 to requests - 1. A program may ask for 1 to N, or
# for anything. The server adds up the delays that it drew: where that is the sum of these names,
# they were these, as another set has the same sum by chance only. Fixed delays need no names.
# Rejected: to store every delay in its order, which takes memory for each request.
def floor_and_bound(trial: Trial, stats: Mapping[str, Any]) -> tuple[float | None, float | None]:
    """Return the floor of what a program asked for, and what no order beats; None: not known.

    On as many slots as the trial states, or as the server saw in flight at most.
    """
    delay, requests = delays.parse(stats["delay"]), stats["requests"]
    slots = trial.limit if trial.states("limit") else stats["max_in_flight"]
    if not requests or not slots:
        return None, None
    for first in (0, 1):
        drawn = [delay.draw(trial.seed, str(name)) for name in range(first, first + requests)]
        if math.isclose(math.fsum(drawn), stats["delays_s"], rel_tol=SAME_SHARE):
            return delays.floor_and_bound(drawn, slots)
    return None, stats["delays_s"] / slots


# The version of each known program, and the CPU seconds that it takes to start and end: asked once.
_VERSIONS: dict[str, tuple[str | None, tuple[float, float]]] = {}


@dataclass(frozen=True, kw_only=True)
class Running:
    """A program that is the client of a trial: its words, its folder, and what is known of it."""

    trial: Trial
    words: Sequence[str]
    folder: str | None = None
    rival: Rival | None = None
    version: str | None = None
    # What its start takes, itself and in the kernel.
    start_s: tuple[float, float] = (0.0, 0.0)

    def _read(self, ended: Mapping[str, Any]) -> tuple[Counts, float] | None:
        """Return the figures that it printed, if it is one that does; raises `TrialFailed`.

        One that is measured alone may print them as wrk does.
        """
        if self.rival is not None:
            return self.rival.read(ended["output"], " ".join(self.words))
        if isinstance(self.trial.target, NoTarget):
            with suppress(TrialFailed):
                return RIVALS["wrk"].read(ended["output"])
        return None

    def failure(self, ended: Mapping[str, Any]) -> Note | None:
        """Return the note on a program that did not do its work, as its status or output says."""
        name = Path(self.words[0]).name
        if "status" not in ended:
            why = f"does not start ({ended['message']})" if ended else "was lost"
            return Note(code="program-failed", message=f"{name} {why}")
        lines = (ended["errors"].strip() or ended["output"].strip()).splitlines()
        what, last = "", f": {lines[-1][-200:]}" if lines else ""
        try:
            if self._read(ended) is not None or ended["status"] == 0:
                return None
        except TrialFailed as error:
            if isinstance(self.trial.target, HttpTarget) and ended["status"] == 0:
                return None  # what its requests came to the server has counted
            what = f": {error}"
        message = f"{name} (exit status {ended['status']}){what}{last}"
        return Note(code="program-failed", message=message)

    def whole(
        self,
        measured: Measurement,
        ended: Mapping[str, Any],
        stats: Mapping[str, Any] | None,
        started_ns: int,
        floor_s: float | None,
    ) -> tuple[Measurement, dict[str, Any]]:
        """Return the measurement with what is known from server and output, and more of a record.

        Of the lab's own server `stats` are what it counted; of another nobody knows.
        """
        own, figures, history = None, dict[str, float](), (stats or {}).get("history", [])
        rows = over_time(measured.timeline, started_ns, history)
        measured = msgspec.structs.replace(measured, timeline=rows)
        if stats is not None and "statuses" in stats:
            measured = counted(self.trial, measured, stats)
            figures = {"requests_s": requests_s(measured, started_ns, history)}
            figures |= {"requests_efficiency": floor_s / figures["requests_s"]} if floor_s else {}
        with suppress(TrialFailed):
            own = self._read(ended)
        used = msgspec.convert(ended["process"], Process)
        if own is not None:
            (counts, wall_s), server = own, measured.server or Server()
            user_s = max(used.cpu_user_s - self.start_s[0], 0.0)
            system_s = max(used.cpu_system_s - self.start_s[1], 0.0)
            percent = None if server.cpu_s is None else 100 * server.cpu_s / wall_s
            figures = {"cpu_us_per_request": 1e6 * (user_s + system_s) / counts.sent}
            figures["cpu_us_in_kernel"] = 1e6 * system_s / counts.sent
            parts: dict[str, Any] = {"client": None} if self.rival else {}
            parts["server"] = msgspec.structs.replace(server, cpu_percent=percent)
            measured = msgspec.structs.replace(measured, counts=counts, wall_s=wall_s, **parts)
        wrote = {name: ended[name][-MAX_STORED:] for name in ("output", "errors")}
        program = {"name": Path(self.words[0]).name, "version": self.version, **wrote}
        effective = {"program": program | {"status": ended["status"]}}
        whole = msgspec.structs.replace(measured, effective=effective)
        return whole, {"figures": figures, "process": used}


async def started(trial: Trial, url: str, core: int | None, stack: AsyncExitStack) -> Running:
    """Return the program of a trial for a target at `url`, ready to be run on this core.

    One that needs a scenario gets a folder of its own, which `stack` removes.
    """
    words, folder = trial.words(url), None
    path, rival = process.find(words[0]), RIVALS.get(Path(words[0]).name)
    if rival is None or path is None:
        return Running(trial=trial, words=words)
    if rival.scenario in words:
        made, _ = stack.enter_context(paths.temporary_folder("program"))
        text, folder = rival.text.format(url=url.replace(ITEM, "0")), str(made)
        (made / rival.scenario).write_text(text, encoding="utf-8")
    if path not in _VERSIONS:
        with paths.temporary_folder("program") as (asking, _):
            asked = [path, *rival.version.split()]
            ended, out, errors = await process.run(asked, core=core, folder=asking)
        found = re.search(rival.versioned, out + errors, flags=re.MULTILINE)
        start_s = ended.usage.ru_utime, ended.usage.ru_stime
        _VERSIONS[path] = found[1] if found else None, start_s
    version, start_s = _VERSIONS[path]
    known = Running(trial=trial, words=words, folder=folder, rival=rival, version=version)
    return replace(known, start_s=start_s)
