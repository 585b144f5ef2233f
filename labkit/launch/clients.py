"""The clients of a trial: started, let go together, and read line by line, whichever way they run.

The plan of several. Each is a process of its own with its share of the items (`delays.Share`). When
it can begin, it sends `ready` and waits; once all are ready the parent sends each a line, `at_ns`,
a moment a little ahead, by the one clock of all processes of a machine. So no client measures while
another one still starts. A client that is lost before that moment ends the trial, and nothing was
sent; one that is lost later takes its share with it, and no other client runs that again.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from time import perf_counter_ns
from typing import Any

import msgspec

from labkit.launch import process, servers
from labkit.launch.preflight import Ready
from labkit.launch.process import Child
from labkit.record.merging import Part
from labkit.record.record import Counts, Measurement, Process
from labkit.spec import variables
from labkit.spec.delays import Share
from labkit.spec.trial import Trial

# From the word to the moment at which all begin: for each client the time to read the word, and the
# kernel's counters. It is in no window.
LEAD_S, LEAD_EACH_S = 0.02, 0.01
# From there on, how long each client of a core may take until it can send.
TURN_NS = 2_000_000

Start = Callable[..., Child]
# What is done with each line of a client.
Noted = Callable[["Client", dict[str, Any], dict[str, Any]], None]


def kind_of(ready: Ready) -> dict[str, Any]:
    """Return how `process.start` is called for a client of a trial, whatever its job is."""
    asked, there = variables.parse(ready.trial.switches.variables), ready.environment
    if getattr(ready.trial.target, "tls", False):
        asked |= servers.trusting()
    python = "" if there is None or ready.trial.program else there.python
    return {"module": "labkit.measured.worker", "asked": asked, "python": python}


def start_ahead(ready: Ready | None) -> None:
    """Start a client of the trial that is run next, if there is one: it gets its job then."""
    if ready is not None:
        with suppress(OSError):
            process.start_ahead(**kind_of(ready))


def started(job: Mapping[str, Any], share: Share, start: Start | None, **how: Any) -> Child:
    """Start a client with its share of a trial: the one place where the launcher gets one.

    `job` is what `measured.worker.Job` reads, whole. `start` is called in place of `process.start`,
    which knows the rest. Returns at once: the process may still be starting. Whoever calls this
    awaits `stop`. It is called once for each share, never again.

    Nothing is asked of what it returns but this, so that a process elsewhere may stand behind it.
    `send` takes two lines: where its target is and, for one of several, `at_ns`, when it begins,
    and `together_ns`, before which it sends nothing.
    `line` gives its lines until `measurement`, or None once there will be no more. `signal` and
    `stop` end it, whatever it does; `stop` may be awaited twice. `ended` is done once the process
    is gone: `status`, `usage`, `used` and `failure` are known then. `at_ns`, and `ns` in the line
    `window`, are by the clock of this machine. Where `at_ns` is None, a client begins at once and
    answers `went`.
    """
    return (start or process.start)(job={**job, "share": share}, **how)


@dataclass(eq=False)
class Client:
    """One client of a trial, and what it has sent so far."""

    child: Child
    share: Share = field(default_factory=Share)
    core: int | None = None
    # Its last line of each type, and what it measured in all, or how it died before.
    last: dict[str, dict[str, Any]] = field(default_factory=dict)
    measured: Measurement | None = None
    lost: str | None = None

    async def read(self, until: str, note: Noted) -> bool:
        """Read its lines until one of this type; False where it dies before.

        Each goes to `note`, with the one of its type before it.
        """
        while self.measured is None and (line := await self.child.line()) is not None:
            before, self.last[line["type"]] = self.last.get(line["type"], {}), line
            if line["type"] == "measurement":
                self.measured = msgspec.convert(line["measurement"], Measurement, str_keys=True)
            note(self, line, before)
            if line["type"] == until:
                return True
        if self.measured is None:
            n, of = self.share.client, self.share.of
            several = f"client {n} of {of} died, and with it its items {n}, {n + of}, ..."
            self.lost = "the client process died" if of == 1 else several
        return self.lost is None

    @property
    def ended(self) -> dict[str, Any]:
        """Return its last line, where it has done its job or could not."""
        return self.last.get("failed", {}) or self.last.get("measurement", {})

    @property
    def counts(self) -> Counts | None:
        """Return what it has reported last."""
        counted = self.last.get("progress", {}).get("counts")
        return None if counted is None else msgspec.convert(counted, Counts, str_keys=True)

    @property
    def window_ns(self) -> Sequence[int]:
        """Return its start, its first send and its last answer; 0 for what was none."""
        return [*self.last.get("window", {}).get("ns", (0, 0, 0))]

    @property
    def used(self) -> Process | None:
        """Return what the whole process has used, once it has ended; not its wait for a target."""
        if self.child.usage is None:
            return None
        waited_s = self.last.get("waited", {}).get("seconds", 0.0)
        return self.child.used(self.ended.get("peak_rss_bytes"), waited_s=waited_s)

    def part(self, trial: Trial, from_ns: int) -> Part:
        """Return its part of the measurement; of a lost one what it had counted by then."""
        items = len(self.share.items(trial.requests)) if trial.workload.requests else 0
        counts = self.counts or Counts(planned=items, done=0, sent=0, not_sent=items, ok=0)
        return Part(
            measured=self.measured or Measurement(counts=counts),
            starts_s=max(self.window_ns[0] - from_ns, 0) / 1e9,
            with_server=self.core is None,
            place=self.child.place,
            apart_s=self.child.apart_s,
            lost=self.lost if self.lost or self.measured else "it did not answer, and was ended",
        )


def let_go(clients: Sequence[Client], *, scheduled: bool) -> None:
    """Let all begin, at one moment; with `scheduled`, a schedule says when each sends first."""
    on_core = Counter(one.core for one in clients)
    at_ns = perf_counter_ns() + round(1e9 * (LEAD_S + LEAD_EACH_S * len(clients)))
    for one in clients:
        turns_ns = 0 if scheduled else TURN_NS * (on_core[one.core] - 1)
        one.child.send({"at_ns": at_ns, "together_ns": at_ns + turns_ns})


async def together(calls: Iterable[Coroutine[Any, Any, bool | None]]) -> list[bool | None]:
    """Await all calls; where one fails, the others are cancelled."""
    tasks = [asyncio.ensure_future(one) for one in calls]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
