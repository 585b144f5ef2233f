"""The clients of a trial: started, let go together, and read line by line, whichever way they run.

The plan of several. Each is a process of its own with its share of the items (`delays.Share`). When
it can begin, it sends `ready` and waits; once all are ready the parent sends each a line, `at_ns`,
a moment a little ahead, by the one clock of all processes of a machine. So no client
measures while another one is still being imported. A client that is lost before that moment ends
the trial, and nothing was sent; one that is lost later takes its share with it, and no other client
runs that again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter_ns
from typing import Any

import msgspec

from labkit.launch import process
from labkit.launch.process import Child
from labkit.record import merging
from labkit.record.merging import Part
from labkit.record.record import Counts, Measurement, Process
from labkit.spec.delays import Share
from labkit.spec.trial import Trial

# From the word to the moment at which all begin: for each client the time to read the word, and the
# kernel's counters. It is in no window.
LEAD_S, LEAD_EACH_S = 0.02, 0.01

# What is done with each line of a client.
Noted = Callable[["Client", dict[str, Any]], None]


def started(
    job: Mapping[str, Any], share: Share, *, asked: Mapping[str, str], python: str
) -> Child:
    """Start a client with its share of a trial: the one place where the launcher gets one.

    `job` is what `measured.worker.Job` reads, whole. `asked` are variables of its environment,
    `python` which interpreter runs it (empty: this one). Returns at once: the process may still be
    starting. Whoever calls this awaits `stop`. It is called once for each share, never again.

    Nothing is asked of what it returns but this, so that a process elsewhere may stand behind it.
    `send` takes two lines: where its target is and, for one of several, `at_ns`, when it begins.
    `line` gives its lines until `measurement`, or None once there will be no more. `signal` and
    `stop` end it, whatever it does; `stop` may be awaited twice. `ended` is done once the process
    is gone: `status`, `usage`, `used` and `failure` are known then. `at_ns`, and `ns` in the line
    `window`, are by the clock of this machine. Where `at_ns` is None, a client begins at once and
    answers `went`.
    """
    whole = {**job, "share": share}
    return process.start("labkit.measured.worker", job=whole, asked=asked, python=python)


@dataclass(eq=False)
class Client:
    """One client of a trial, and what it has sent so far."""

    child: Child
    share: Share = field(default_factory=Share)
    core: int | None = None
    # Its last progress, and what it had counted by then.
    line: dict[str, Any] = field(default_factory=dict)
    counts: Counts | None = None
    measured: Measurement | None = None
    peak_rss_bytes: int | None = None
    window_ns: Sequence[int] = (0, 0, 0)
    # How long it waited for its target to start: no part of the process's time.
    waited_s: float = 0.0
    # How it died before it had measured.
    lost: str | None = None
    # The last line, of a client that could not do its job or has done it.
    ended: dict[str, Any] = field(default_factory=dict)

    async def read(self, until: str, note: Noted) -> bool:
        """Read its lines until one of this type; False where it dies before. Each goes to `note`.

        What it measured to the end counts, whatever the parent was doing when it was stopped.
        """
        while self.measured is None and (line := await self.child.line()) is not None:
            if line["type"] in ("measurement", "failed"):
                self.ended = line
            if line["type"] == "measurement":
                self.peak_rss_bytes = line.get("peak_rss_bytes")
                self.measured = msgspec.convert(line["measurement"], Measurement, str_keys=True)
            elif line["type"] == "window":
                self.window_ns = line["ns"]
            elif line["type"] == "waited":
                self.waited_s = line["seconds"]
            elif line["type"] == "progress":
                self.counts = msgspec.convert(line["counts"], Counts, str_keys=True)
            note(self, line)
            if line["type"] == until:
                return True
        self.lost = None if self.measured else self.died
        return self.lost is None

    @property
    def died(self) -> str:
        """Return the sentence on its death, and on the items that are lost with it."""
        if self.share.of == 1:
            return "the client process died"
        first, step = self.share.client, self.share.of
        return f"client {first} of {step} died, and with it its items {first}, {first + step}, ..."

    def part(self, trial: Trial, from_ns: int) -> Part:
        """Return its part of the measurement; of a lost one what it had counted by then."""
        items = len(self.share.items(trial.requests)) if trial.workload.requests else 0
        counts = self.counts or Counts(planned=items, done=0, sent=0, not_sent=items, ok=0)
        return Part(
            measured=self.measured or Measurement(counts=counts),
            starts_s=max(self.window_ns[0] - from_ns, 0) / 1e9,
            with_server=self.core is None,
            lost=self.lost if self.lost or self.measured else "it did not answer, and was ended",
        )

    @property
    def used(self) -> Process | None:
        """Return what the whole process has used, once it has ended."""
        if self.child.usage is None:
            return None
        return self.child.used(self.peak_rss_bytes, waited_s=self.waited_s)


def let_go(clients: Sequence[Client]) -> None:
    """Let all begin, at one moment."""
    at_ns = perf_counter_ns() + round(1e9 * (LEAD_S + LEAD_EACH_S * len(clients)))
    for one in clients:
        one.child.send({"at_ns": at_ns})


async def together(calls: Iterable[Coroutine[Any, Any, bool | None]]) -> list[bool | None]:
    """Await all calls; where one fails, the others are cancelled."""
    tasks = [asyncio.ensure_future(one) for one in calls]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


def whole(used: Sequence[Process | None]) -> Process | None:
    """Return what the processes used in sum, over the time of the one that took longest."""
    found = merging.combined(used, wall_s=max)
    if found is None or len(used) == 1:
        return found
    percent = 100 * (found.cpu_user_s + found.cpu_system_s) / found.wall_s
    return msgspec.structs.replace(found, cpu_percent=round(percent, 2))
