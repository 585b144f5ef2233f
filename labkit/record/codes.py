"""Every code that a note can carry: when it is given, what it makes of the record, what to do.

`CODES` is the table of them; `guards` decides which are given, and `labkit doctor --guards` prints
the table. Thresholds stand in `guards` and `stats`; a test holds their numbers to this text.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import msgspec


class Code(msgspec.Struct, frozen=True):
    """One code. `verdict` is of a record that has no other note; `do` ends each note's sentence."""

    code: str
    when: str
    verdict: str
    do: str


_TABLE = (
    # The trial did not do what it was to do.
    Code("all-failed", "no request succeeded", "invalid",
         "see first_errors in the record, and whether the target runs"),
    Code("deadline", "the trial passed its deadline", "invalid",
         "send fewer requests, or raise deadline_s"),
    Code("ended-early", "the client was told to end before all items were sent", "invalid",
         "let it run to its end, or send fewer requests"),
    Code("interrupted", "Ctrl-C", "invalid", "run it again"),
    Code("items-repeated", "the strategy sent an item more than once", "invalid",
         "call fetch once for each item"),
    Code("not-conserved", "planned, sent, ok, failed and cancelled do not add up", "invalid",
         "do not use the record; run it again, and report it if it comes back"),
    Code("not-sent", "some requests were never sent", "invalid",
         "look for what ended the strategy early, and run it again"),
    Code("program-failed", "a program of others, or a coded experiment, gave no figures", "invalid",
         "read what it said last, and whether its version is one that the lab knows"),
    Code("strategy-failed", "the strategy itself raised an exception", "invalid",
         "mend the strategy: fetch never raises, so the exception is its own"),
    Code("worker-lost", "the client's process died", "invalid",
         "read what it said last; out of memory is the usual reason"),
    # It did, but its figures are not those of the client.
    Code("client-full", "the client used 90 % of its core or more, for 1 s or longer", "invalid",
         "lower limit, lengthen the delay, or say so on purpose with saturate=true"),
    Code("core-lost", "others had the client's core for over 20 % of 1 s or longer", "invalid",
         "end them and run it again"),
    Code("rate-lost", "under 95 % of the rate was sent", "invalid",
         "raise limit, or ask for a lower rate"),
    Code("too-late", "over 20 % of the requests were sent over 1 ms after they were due", "invalid",
         "raise limit, ask for a lower rate, or read latency since due alone"),
    Code("throttled", "a CPU quota held the processes during the run", "invalid",
         "raise the container's CPU quota and run it again"),
    # Its figures are to be read with care.
    Code("backlog", "a full queue of a listening socket dropped connections", "warn",
         "each waited a second or more: raise somaxconn, or open fewer connections at once"),
    Code("cancelled", "requests were cancelled in flight", "warn",
         "let the strategy wait for all that it started"),
    Code("client-busy", "of an echo: the client used over 90 % of its core, the server less",
         "warn", "read the server's rate as a lower bound, or send larger messages"),
    Code("client-cpu", "the client used 80 % of its core or more", "warn",
         "its latencies hold its own queue: lower limit, lengthen the delay, or say so on purpose "
         "with saturate=true"),
    Code("connector-limit", "the transport allows fewer connections than the workload asks for",
         "warn", "raise the transport's own limit, or lower limit to it"),
    Code("core-contended", "others had the client's core for over 5 % of the time", "warn",
         "end them, or read its time and CPU with that in mind"),
    Code("dropped", "requests were never sent, as there was no room when they were due", "warn",
         "raise limit, ask for a lower rate, or let them wait with overflow=wait"),
    Code("failures", "requests failed", "warn",
         "latencies are of those that succeeded; see first_errors in the record"),
    Code("failures-many", "over 1 % of the requests failed", "warn",
         "do not compare this arm's times with another's: mend what fails first"),
    Code("late", "over 5 % of the requests were sent over 1 ms after they were due", "warn",
         "raise limit, ask for a lower rate, or read latency since due alone"),
    Code("loop-lag", "the event loop ran timers later than 10 % of the median latency", "warn",
         "the client adds that to what it measures: look for code that does not give way, or "
         "lower limit"),
    Code("not-in-force", "a setting was asked for and another was in force", "warn",
         "read effective in the record, and compare under what it says"),
    Code("rate-missed", "under 99 % of the rate was sent", "warn",
         "raise limit, or ask for a lower rate"),
    Code("server-busy", "the server used over 70 % of its core", "warn",
         "lower limit or use a lighter target, or read the figures as the server's"),
    Code("server-contended", "of a ladder: others had the server's core for over 5 % of the time",
         "warn", "end them and climb again"),
    Code("steal", "the host ran other guests on the trial's cores for over 1 % of the time",
         "warn", "compare only within one interleaved study, or use a machine of your own"),
    Code("tasks-left-behind", "the strategy returned while tasks of its own were running", "warn",
         "await every task before it returns"),
    # Said, because it matters; nothing is wrong.
    Code("client-saturated", "the client used 80 % of its core or more, as the trial asks", "valid",
         "read rate and CPU, and not latency, which holds the queue inside the client"),
    Code("pool-queue", "more requests at a time than the pool has connections", "valid",
         "read latency as a caller feels it, the wait for a connection included"),
    # Of an arm of a study; no record holds them.
    Code("few-repeats", "an arm has fewer than 5 repeats", "of an arm",
         "run at least 5 repeats: with fewer there is no interval and nothing is decided"),
    Code("spread", "the standard deviation of an arm's repeats is over 10 % of their mean, or one "
         "of them is 50 % off it", "of an arm",
         "send more requests, close what else runs, or run more repeats"),
)  # fmt: skip

CODES: Mapping[str, Code] = MappingProxyType({code.code: code for code in _TABLE})
"""By code: those that make a record invalid first."""


def advised(code: str, sentence: str) -> str:
    """The sentence of a note, and what to do about it."""
    known = CODES.get(code)
    return f"{sentence.rstrip('.')}; {known.do}" if known else sentence
