"""Every code of a note: when it is given, which verdict it makes, what to do; and the verdict.

`CODES` is the table, which `labkit doctor --guards` prints. A record has the worst verdict of its
notes. `guards` finds the notes and has the thresholds; those of an arm's repeats are in `stats`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Literal

import msgspec

from labkit.record import guards, stalls
from labkit.record.record import Note, Record, Verdict


class Code(msgspec.Struct, frozen=True):
    """One code. `verdict` is of a record that has no other note; `do` ends each note's sentence."""

    code: str
    when: str
    verdict: Verdict | Literal["of an arm"]
    do: str


def _codes(
    verdict: Verdict | Literal["of an arm"], rows: Iterable[tuple[str, str, str]]
) -> dict[str, Code]:
    """Return by its name each code with this verdict: `rows` hold name, when, what to do."""
    return {code: Code(code, when, verdict, do) for code, when, do in rows}


# The trial did not do what it was to do.
_FAILED = _codes("invalid", (
    ("all-failed", "no request succeeded",
     "see the first error"),
    ("deadline", "the trial passed its deadline", "send fewer requests, or raise deadline_s"),
    ("ended-early", "the client was asked to end before all items were sent",
     "let it run to its end, or send fewer requests"),
    ("failures-most", f"over {100 * guards.MOST_FAILED_SHARE:.0f} % of the requests failed",
     "mend what fails: see the first error"),
    ("interrupted", "Ctrl-C", "run it again"),
    ("items-repeated", "the strategy sent an item more than once", "call fetch once for each item"),
    ("not-awaited", "the strategy called fetch without await", "write `await fetch(item)`"),
    ("not-conserved", "planned, sent, ok, failed and cancelled do not add up",
     "do not use the record; run it again, and report it if it comes back"),
    ("not-sent", "some requests were never sent",
     "look for what ended the strategy early, and run it again"),
    ("over-limit", "more requests were in flight at a time than the limit allows",
     "let the strategy have at most `limit` calls of fetch under way, or raise limit"),
    ("program-failed", "a program of others, or a coded experiment, gave no figures",
     "read the last line that it wrote, and whether its version is one that the lab knows"),
    ("strategy-failed", "the strategy itself raised an exception",
     "mend the strategy: fetch never raises, so the exception is its own"),
    ("target-lost", "the target's process did not start, died, or answered no more",
     "read the last line that it wrote, and run it again"),
    ("too-fast", "the trial took less time than any order of its delays needs",
     "do not use it: more were sent at a time than the limit, or the server left delays out"),
    ("worker-lost", "the client's process died",
     "read the last line that it wrote; out of memory is the usual reason"),
))  # fmt: skip

# The trial did it, but its figures are not those of the client.
_SPOILT = _codes("invalid", (
    ("client-full", f"the client used {guards.CLIENT_FULL_PERCENT:.0f} % of its core or more, "
     f"for {guards.CLIENT_FULL_FROM_S:.0f} s or longer",
     "lower limit, lengthen the delay, or say so on purpose with saturate=true"),
    ("core-lost", f"others had the client's core for over {guards.CORE_LOST_PERCENT:.0f} % of "
     f"{guards.CORE_LOST_FROM_S:.0f} s or longer", "end them and run it again"),
    ("rate-lost", f"under {100 * guards.RATE_LOST_SHARE:.0f} % of the rate was sent",
     "raise limit, or ask for a lower rate"),
    ("server-core-lost", f"others had the server's core for over {guards.CORE_LOST_PERCENT:.0f} % "
     f"of {guards.CORE_LOST_FROM_S:.0f} s or longer", "end them and run it again"),
    ("stalled", "client, server or machine stood still for a hundredth of the window, from "
     f"{stalls.MIN_STALL_S:g} s on, or for {stalls.MAX_STALL_S:g} s in a long one",
     "look for what stopped it: code that blocks the loop, a signal, a machine that slept"),
    ("too-late", f"over {100 * guards.TOO_LATE_SHARE:.0f} % of the requests were sent over 1 ms "
     "after they were due", "raise limit, ask for a lower rate, or read latency since due alone"),
    ("throttled", "a CPU quota stopped the processes during the run",
     "raise the container's CPU quota and run it again"),
))  # fmt: skip

_DOUBTFUL = _codes("warn", (
    ("backlog", "a full queue of a listening socket dropped connections",
     "each waited a second or more: raise somaxconn, or open fewer connections at once"),
    ("cancelled", "requests were cancelled in flight",
     "let the strategy wait for all that it started"),
    ("client-busy", f"of an echo: the client used over {guards.CLIENT_BUSY_PERCENT:.0f} % of its "
     "core, the server less", "read the server's rate as a lower bound, or send larger messages"),
    ("client-cpu", f"the client used {guards.CLIENT_CPU_PERCENT:.0f} % of its core or more",
     "its latencies hold its own queue: lower limit, lengthen the delay, or say so on purpose "
     "with saturate=true"),
    ("connector-limit", "the transport allows fewer connections than the workload asks for",
     "raise the transport's own limit, or lower limit to it"),
    ("core-contended", f"others had the client's core for over {guards.CONTENDED_PERCENT:.0f} % of "
     "the time", "end them, or read its time and CPU with that in mind"),
    ("core-shared", "client and server had one core, or another run of the lab had one of theirs",
     "each waits for the other: run one at a time, or give them a core each"),
    ("dropped", "requests were never sent, as there was no room when they were due",
     "raise limit, ask for a lower rate, or let them wait with overflow=wait"),
    ("failures", "requests failed",
     "latencies are of those that succeeded; see the first error"),
    ("failures-many", f"over {100 * guards.MAX_FAILED_SHARE:.0f} % of the requests failed",
     "do not compare this arm's times with another's: mend what fails first"),
    ("late", f"over {100 * guards.LATE_SHARE:.0f} % of the requests were sent over 1 ms after they "
     "were due", "raise limit, ask for a lower rate, or read latency since due alone"),
    ("loop-lag", f"the event loop ran timers later than {100 * guards.MAX_LAG_SHARE:.0f} % of the "
     "median latency", "the client adds that to what it measures: look for code that does not give "
     "way, or lower limit"),
    ("not-in-force", "a setting was asked for and another was in force",
     "read effective in the record, and compare under what it says"),
    ("rate-missed", f"under {100 * guards.RATE_MISSED_SHARE:.0f} % of the rate was sent",
     "raise limit, or ask for a lower rate"),
    ("server-busy", f"the server used over {guards.SERVER_BUSY_PERCENT:.0f} % of its core",
     "lower limit or use a lighter target, or read the figures as the server's"),
    ("server-contended", "others had the server's core for over "
     f"{guards.CONTENDED_PERCENT:.0f} % of the time",
     "end them, or read its answers' times with that in mind"),
    ("stalled-briefly", f"client or server stood still for {stalls.MIN_STALL_S:g} s or more, in a "
     "long window", "read the longest latencies with that in mind"),
    ("steal", "the host ran other guests on the trial's cores for over "
     f"{guards.STOLEN_PERCENT:.0f} % of the time",
     "compare only within one interleaved study, or use a machine of your own"),
    ("tasks-left-behind", "the strategy returned while tasks of its own were running",
     "await every task before it returns"),
))  # fmt: skip

_FOR_INFORMATION = _codes("valid", (
    ("client-saturated", f"the client used {guards.CLIENT_CPU_PERCENT:.0f} % of its core or more, "
     "as the trial asks",
     "read rate and CPU, and not latency, which holds the queue inside the client"),
    ("not-stored", "the record could not be written into the store",
     "make room there and move the record's file into it, or save the result with --json"),
    ("pool-queue", "more requests at a time than the pool has connections",
     "read latency as a caller feels it, the wait for a connection included"),
))  # fmt: skip

# Of an arm of a study; no record has them.
_OF_AN_ARM = _codes("of an arm", (
    ("correlated", "each of an arm's 10 repeats or more is like the one before (lag-1 correlation)",
     "its own interval is too narrow, though not for what all arms share: let the machine settle, "
     "and run more repeats"),
    ("few-repeats", "an arm has fewer than 5 repeats",
     "run at least 5 repeats: with fewer there is no interval and nothing is decided"),
    ("spread", "the standard deviation of an arm's repeats is over 10 % of their mean, or one "
     "of them is 50 % off it", "send more requests, close what else runs, or run more repeats"),
))  # fmt: skip

CODES: Mapping[str, Code] = MappingProxyType(
    _FAILED | _SPOILT | _DOUBTFUL | _FOR_INFORMATION | _OF_AN_ARM
)
"""Every code by its name: those that make a record invalid first."""
FAILED = frozenset(_FAILED)
"""The codes of a trial that did not do what it was to do."""
INVALID = frozenset(name for name, code in CODES.items() if code.verdict == "invalid")
"""The codes that make a record invalid."""
OTHERS = ("core-lost", "server-core-lost", "stalled", "throttled")
"""Those that something else on the machine causes: the same run may well be valid next time."""
UNKNOWN = "invalid"
"""What spoilt an invalid record that has no code which this version knows."""


def verdict(notes: Iterable[Note]) -> Verdict:
    """Return `invalid` if one note makes the record unusable, `warn` if one gives doubt."""
    # A code that this version does not know is of a newer one: it gives doubt.
    given = {CODES[note.code].verdict if note.code in CODES else "warn" for note in notes}
    if "invalid" in given:
        return "invalid"
    return "warn" if "warn" in given else "valid"


def failed(record: Record) -> bool:
    """Return True if the trial itself failed, and not only its figures are in doubt."""
    return any(note.code in FAILED for note in record.warnings)


def not_stored(record: Record) -> bool:
    """Return True if the store could not be written when the record was there."""
    return any(note.code == "not-stored" for note in record.warnings)


def disturbance(record: Record) -> str:
    """Return by its codes what makes the times and CPU of a run not its own; empty for nothing.

    A core that was lost counts in a window of any length: a short one may say so wrongly, and then
    a run is made again, or not compared, in vain.
    """
    found = [note.code for note in record.warnings if note.code in INVALID]
    for side, code in ((record.client, "core-lost"), (record.server, "server-core-lost")):
        waited = side.waited_percent if side else None
        if (waited or 0.0) > guards.CORE_LOST_PERCENT:
            found.append(code)
    if record.verdict == "invalid" and not found:
        return UNKNOWN
    return ", ".join(dict.fromkeys(found))


def by_others(record: Record) -> bool:
    """Return True if a run did what it was to do, and something else on the machine spoilt it."""
    found = disturbance(record)
    return any(code in found for code in OTHERS) and not failed(record)


def interrupted(record: Record) -> bool:
    """Return True if the person who ran the trial stopped it."""
    return any(note.code == "interrupted" for note in record.warnings)


def with_advice(notes: Iterable[Note]) -> list[Note]:
    """Return the notes, each with what to do about it at the end of its sentence."""
    return [
        Note(code=note.code, message=f"{note.message.rstrip('.')}; {CODES[note.code].do}")
        if note.code in CODES
        else note
        for note in notes
    ]
