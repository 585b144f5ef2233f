"""What to doubt about a measurement: notes with codes, and the verdict that follows. Pure.

`codes.CODES` is the table of all codes; doubts about an arm of several records are in `stats`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from labkit.record import codes
from labkit.record.record import (
    Arrivals,
    Counts,
    Interference,
    LoopLag,
    Measurement,
    Note,
    Record,
    Verdict,
)
from labkit.spec.targets import TARGETS
from labkit.spec.trial import Trial

SERVER_BUSY_PERCENT = 70.0
"""Above this the server may be the bottleneck."""

CLIENT_CPU_PERCENT, CLIENT_FULL_PERCENT, CLIENT_FULL_FROM_S = 80.0, 90.0, 1.0
"""From this on the client may be the bottleneck, and from this on it is (in a window long enough to
hold more than the opening of connections). 90 %: Locust's threshold."""

CLIENT_BUSY_PERCENT = 90.0
"""Above this the client may be the bottleneck, where the server is what is measured."""

SATURATED_PERCENT = 90.0
"""From this on a side does what it can: the rate is its own if the other side has more to spare."""

LATE_SHARE, TOO_LATE_SHARE = 0.05, 0.20
"""Share of the sends of an open workload that left late: to be doubted (fortio), and invalid."""
RATE_MISSED_SHARE, RATE_LOST_SHARE = 0.99, 0.95
"""Share of the asked rate below which a record is to be doubted, and invalid."""

CONTENDED_PERCENT, CORE_LOST_PERCENT, CORE_LOST_FROM_S = 5.0, 20.0, 1.0
"""Share of the time in which the client waited for its core: to be doubted, and not to be used at
all (in a window long enough for the share to mean anything)."""

FAILED_MANY_SHARE = 0.01
"""Above this share of failures an arm is not to be compared: fast failures make it look fast."""

SERVICE_TIME = (
    "Latency is service time in a closed workload: not what an independent user would feel"
)
"""Schroeder and others, 'Open versus closed: a cautionary tale' (NSDI 2006)."""
FELT_TIME = (
    "Latency since due is what independent users would have felt; that since sent leaves out what "
    "their requests waited for room"
)
"""The same of an open workload."""

LAG_SHARE, TIMER_S = 0.1, 0.001
"""What share of the median latency the loop may be late by, besides the whole milliseconds in which
both loops keep timers."""

STOLEN_PERCENT, STOLEN_FROM_S = 1.0, 0.02
"""Above this the host took the cores away; it counts in ticks of 10 ms, so one alone is nothing."""

BEYOND = 10
"""Timers that must have been later than a percentile for it to mean something."""

FAILED = frozenset(
    {
        "all-failed",
        "deadline",
        "ended-early",
        "interrupted",
        "items-repeated",
        "not-conserved",
        "not-sent",
        "program-failed",
        "strategy-failed",
        "worker-lost",
    }
)
"""The trial did not do what it was to do."""
INVALID = FAILED | {"client-full", "core-lost", "rate-lost", "throttled", "too-late"}
"""It did not, or its figures are not those of the client."""
SAID = frozenset({"client-saturated", "pool-queue"})
"""To be known, and no reason for doubt."""


def failed(record: Record) -> bool:
    """Whether the trial itself failed, and not only its figures are in doubt."""
    return any(note.code in FAILED for note in record.warnings)


def interrupted(record: Record) -> bool:
    """Whether the trial was stopped by whoever ran it."""
    return any(note.code == "interrupted" for note in record.warnings)


def verdict(notes: Iterable[Note]) -> Verdict:
    """`invalid` where one note alone makes the record unusable, `warn` where one gives doubt."""
    return verdict_of(note.code for note in notes)


def verdict_of(codes: Iterable[str]) -> Verdict:
    """The same of the notes' codes alone."""
    given = set(codes) - SAID
    if given & INVALID:
        return "invalid"
    return "warn" if given else "valid"


def look_at(trial: Trial, measured: Measurement) -> list[Note]:
    """The notes that the figures themselves give cause for."""
    found = [
        *_conservation(measured),
        *_arrivals(measured.arrivals, measured.counts),
        *_failures(measured.counts),
        *_contention(measured),
        *_client(trial, measured),
        *_lag(trial, measured),
        *_interference(measured.interference),
        *_server(trial, measured),
        *_connector(trial),
        *_not_in_force(trial, measured.effective),
    ]
    return [Note(code=code, message=message) for code, message in found]


def advised(notes: Iterable[Note]) -> list[Note]:
    """The notes, each with what to do about it at the end of its sentence."""
    return [Note(code=one.code, message=codes.advised(one.code, one.message)) for one in notes]


def held_up(record: Record) -> bool:
    """Whether the side that is not compared may have set the rate of a trial.

    Compared is the client, and the server of an echo. The rate is its own where its core is full
    and that of the other fuller by nothing. Of a database both are compared together.
    """
    whose = compared(record)
    if whose == "both":
        return False
    client = record.client.cpu_percent if record.client else None
    server = record.server.cpu_percent if record.server else None
    if client is None or server is None:
        return False
    side, other = (server, client) if whose == "server" else (client, server)
    own = side >= SATURATED_PERCENT and side > other
    return other > SERVER_BUSY_PERCENT and not own


def compared(record: Record) -> str:
    """Whose speed a record is about: the client's, the server's, or that of both together."""
    kind = TARGETS.get(record.trial.get("target", {}).get("kind", ""))
    return kind.compared if kind else "client"


def of_latency(records: Iterable[Record]) -> list[str]:
    """What the latencies of these records mean: of closed workloads, of open ones, or of both."""
    opens = {record.arrivals is not None for record in records if record.latency_s is not None}
    says = {False: SERVICE_TIME, True: FELT_TIME}
    return [says[is_open] for is_open in sorted(opens)]


def _conservation(measured: Measurement) -> Iterable[tuple[str, str]]:
    counts = measured.counts
    dropped = measured.arrivals.dropped if measured.arrivals else 0
    if not counts.conserved:
        yield "not-conserved", "planned = sent + not_sent and sent = ok + failed + cancelled fails"
    if counts.cancelled:
        yield "cancelled", f"{counts.cancelled:,} requests were cancelled in flight"
    if counts.not_sent > dropped:
        yield "not-sent", f"{counts.not_sent:,} of {counts.planned:,} requests were never sent"


def _arrivals(arrivals: Arrivals | None, counts: Counts) -> Iterable[tuple[str, str]]:
    if arrivals is None:
        return
    late, achieved = arrivals.late / (counts.sent or 1), arrivals.achieved_rps
    if late > LATE_SHARE:
        yield (
            "too-late" if late > TOO_LATE_SHARE else "late",
            f"{arrivals.late:,} of {counts.sent:,} requests were sent more than 1 ms after they "
            "were due",
        )
    if achieved is not None and achieved < RATE_MISSED_SHARE * arrivals.rate_rps:
        yield (
            "rate-lost" if achieved < RATE_LOST_SHARE * arrivals.rate_rps else "rate-missed",
            f"{achieved:,.4g} requests a second were sent where {arrivals.rate_rps:,.4g} were "
            "asked for",
        )
    if arrivals.dropped:
        yield (
            "dropped",
            f"{arrivals.dropped:,} of {counts.planned:,} requests were never sent, as there was no "
            "room when they were due",
        )


def _failures(counts: Counts) -> Iterable[tuple[str, str]]:
    if counts.sent and not counts.ok:
        yield "all-failed", f"none of {counts.sent:,} requests succeeded: there is no latency"
    if counts.failures:
        kinds = ", ".join(f"{kind} {n:,}" for kind, n in sorted(counts.failed.items()))
        yield "failures", f"{counts.failures:,} of {counts.sent:,} requests failed ({kinds})"
    share = counts.failures / counts.sent if counts.sent else 0.0
    if counts.ok and share > FAILED_MANY_SHARE:
        said = f"{100 * share:.1f} % of the requests failed"
        yield "failures-many", f"{said}: such arms are not comparable"


def contention(percent: float | None, wall_s: float) -> str | None:
    """The code for a client whose core others had for so much of a window; None: of no account."""
    if percent is None or percent <= CONTENDED_PERCENT:
        return None
    lost = wall_s >= CORE_LOST_FROM_S and percent > CORE_LOST_PERCENT
    return "core-lost" if lost else "core-contended"


def _contention(measured: Measurement) -> Iterable[tuple[str, str]]:
    waited = measured.client.waited_percent if measured.client else None
    code = contention(waited, measured.wall_s or 0)
    if code:
        yield (
            code,
            f"other processes had the client's core for {waited:.0f} % of the time",
        )


def _client(trial: Trial, measured: Measurement) -> Iterable[tuple[str, str]]:
    """Of an echo the server is measured; `_echo` looks at its client."""
    used = measured.client.cpu_percent if measured.client else 0.0
    if used < CLIENT_CPU_PERCENT or trial.target.compared == "server":
        return
    said = f"the client used {used:.0f} % of its core"
    if trial.saturates:
        yield "client-saturated", f"{said}, as this trial means it to"
    elif used >= CLIENT_FULL_PERCENT and (measured.wall_s or 0) >= CLIENT_FULL_FROM_S:
        yield "client-full", f"{said}: what was measured is the client, not what it waits for"
    else:
        yield "client-cpu", f"{said}: it may be the bottleneck"


def _lag(trial: Trial, measured: Measurement) -> Iterable[tuple[str, str]]:
    lag, latency = measured.loop_lag_s, measured.latency_s
    if lag is None or latency is None or _saturated(trial, measured):
        return
    name, late_s = _worst_known(lag)
    if late_s - TIMER_S > LAG_SHARE * latency.p50:
        yield (
            "loop-lag",
            f"the client's event loop was {1e3 * late_s:.3g} ms late ({name}), over "
            f"{100 * LAG_SHARE:.0f} % of the median latency of {1e3 * latency.p50:.3g} ms",
        )


def _saturated(trial: Trial, measured: Measurement) -> bool:
    """Whether the loop is late because the client is full, as the trial means it to be.

    A client that others keep from its core would fill that time as well; it has a note of its own.
    """
    client = measured.client
    wanted = client.cpu_percent + (client.waited_percent or 0) if client else 0.0
    return trial.saturates and wanted >= CLIENT_CPU_PERCENT


def _worst_known(lag: LoopLag) -> tuple[str, float]:
    """The highest percentile of the lag, up to p99, that so many timers support."""
    percentiles = [("p99", lag.p99, 0.01), ("p90", lag.p90, 0.1), ("p50", lag.p50, 0.5)]
    for name, value, beyond in percentiles:
        if value is not None and (lag.n is None or lag.n * beyond >= BEYOND):
            return name, value
    return "too few timers", 0.0


def _interference(found: Interference | None) -> Iterable[tuple[str, str]]:
    if found is None:
        return
    if found.throttled_periods:
        yield (
            "throttled",
            f"a CPU quota held the processes in {found.throttled_periods:,} periods, "
            f"{found.throttled_s or 0:.3g} s in all",
        )
    share = found.stolen_percent or 0.0
    if share > STOLEN_PERCENT and (found.stolen_s or 0) > STOLEN_FROM_S:
        yield "steal", f"the host ran other guests on these cores for {share:.1f} % of the time"
    if found.listen_drops:
        yield (
            "backlog",
            f"{found.listen_drops:,} connections were dropped at a full queue of a listening "
            "socket, here or of another process",
        )


def _server(trial: Trial, measured: Measurement) -> Iterable[tuple[str, str]]:
    busy = measured.server.cpu_percent if measured.server else None
    if trial.target.compared == "server":
        yield from _echo(measured, busy)
    elif trial.target.compared == "client" and busy is not None and busy > SERVER_BUSY_PERCENT:
        yield (
            "server-busy",
            f"the server used {busy:.0f} % of its core: it may be the bottleneck",
        )


def _echo(measured: Measurement, server: float | None) -> Iterable[tuple[str, str]]:
    """Of an echo the server is measured, so it is to be the bottleneck."""
    client = measured.client.cpu_percent if measured.client else 0.0
    if server is not None and client > CLIENT_BUSY_PERCENT and client > server:
        yield (
            "client-busy",
            f"the client used {client:.0f} % of its core and the server {server:.0f} %: the client "
            "may be the bottleneck, and the server able to do more",
        )


def _connector(trial: Trial) -> Iterable[tuple[str, str]]:
    in_flight = min(trial.slots, trial.requests)
    transport = trial.transport
    if transport.sent_at(in_flight) >= in_flight:
        return
    if transport.queues:
        yield (
            "pool-queue",
            f"{in_flight:,} requests at a time share {transport.connections_at(in_flight):,} "
            "connections: latency holds the wait for one",
        )
    else:
        yield (
            "connector-limit",
            f"the transport allows {transport.connections_at(in_flight):,} connections, the "
            f"workload {trial.slots:,} "
            f"requests in flight: the rest wait inside {transport.kind}",
        )


_LEFT_OPEN = ("transport.accept_encoding", "transport.min_size", "transport.read_bufsize")
"""Settings for which None is whatever the library chooses; the record says what it chose."""


def _not_in_force(trial: Trial, effective: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    if trial.probes == "bare" or not effective:
        return
    asked = trial.to_dict()
    pairs = [("loop", asked["loop"], effective.get("loop"))]
    pairs += [("eager_tasks", asked["eager_tasks"], effective.get("eager_tasks"))]
    got = effective.get("transport", {})
    pairs += [(f"transport.{k}", v, got[k]) for k, v in asked["transport"].items() if k in got]
    for name, wanted, found in pairs:
        told = wanted is not None or name not in _LEFT_OPEN
        never = name.endswith("keepalive_timeout") and found is None
        if wanted != found and told and not never:
            yield "not-in-force", f"{name} was asked as {wanted} but {found} was in force"
