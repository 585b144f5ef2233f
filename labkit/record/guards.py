"""What to doubt about a measurement: the thresholds, and the notes that the figures call for. Pure.

`codes.CODES` has every code, with its verdict and what to do; doubts about an arm of several
records are in `stats`.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from labkit import paths
from labkit.record import stalls
from labkit.record.record import Interference, Measurement, Note, Record
from labkit.spec.delays import Share
from labkit.spec.targets import TARGETS
from labkit.spec.trial import Trial

# Above this the server may be the bottleneck.
SERVER_BUSY_PERCENT = 70.0

# From this on the client may be the bottleneck, and from this on it is (in a window long enough to
# hold more than the opening of connections). 90 %: Locust's threshold.
CLIENT_CPU_PERCENT, CLIENT_FULL_PERCENT, CLIENT_FULL_FROM_S = 80.0, 90.0, 1.0

# Above this the client may be the bottleneck, where the server is what is measured.
CLIENT_BUSY_PERCENT = 90.0

# From this on a side works as fast as it can: the rate is its own if the other side is less busy.
SATURATED_PERCENT = 90.0

# Above this share of late sends an open workload is in doubt (fortio), and invalid.
LATE_SHARE, TOO_LATE_SHARE = 0.05, 0.20
# Below this share of the asked rate a record is in doubt, and invalid.
RATE_MISSED_SHARE, RATE_LOST_SHARE = 0.99, 0.95

# Above this share of the time in which a side waited for its core a record is in doubt, and invalid
# (in a window long enough for the share to mean anything).
CONTENDED_PERCENT, CORE_LOST_PERCENT, CORE_LOST_FROM_S = 5.0, 20.0, 1.0
# A side that is seldom busy cannot wait for long: in such a window it is in doubt as well where it
# waited for more than this share of the time that it waited or ran. Between neighbours that burn
# its core that is a quarter to a half; on a quiet machine a tenth at most, and then under 1 % in
# all.
MIN_WAITED_PERCENT, MAX_WAIT_SHARE = 1.0, 0.20

# By so much, and over this share of the window, clients start apart whose figures are in doubt; and
# below this share of what another one did, or of the time that it took.
MAX_SKEW_S, MAX_SKEW_SHARE, UNEVEN_SHARE = 0.02, 0.01, 0.2

# Above this share of failures an arm is not to be compared: fast failures make it look fast. And
# above this one the run itself failed.
MAX_FAILED_SHARE, MOST_FAILED_SHARE = 0.01, 0.10

# Above this share of what no order of the items can beat, a trial did less than it was asked.
MAX_EFFICIENCY = 1.01
# A larger body goes out in pieces: a client may have the last of them, and send its next request,
# before the server has counted the one before as answered.
PIECE_BYTES = 1 << 15

# The kinds of failure that the transports distinguish, each with what to look at first where it is
# that of most.
FAILURES: Mapping[str, str] = paths.table("failures.toml")

# Every code by the group whose verdict it makes, and the sentences on what a latency means.
TABLE = paths.table("codes.toml")
LATENCY: Mapping[str, str] = TABLE["latency"]
ROWS: Mapping[str, Mapping[str, str]] = {
    code: row | {"verdict": verdict}
    for group, verdict in TABLE["verdicts"].items()
    for code, row in TABLE[group].items()
}

# What share of the median latency the loop may be late by, besides the whole milliseconds in which
# both loops keep timers.
MAX_LAG_SHARE, TIMER_S = 0.1, 0.001
# Timers that must have been later than a percentile for it to mean something.
MIN_LATER_TIMERS = 10

# Above this the host took the cores away; it counts in ticks of 10 ms, so one alone is nothing.
STOLEN_PERCENT, STOLEN_FROM_S = 1.0, 0.02

# Settings for which None is whatever the library chooses; the record says what it chose.
_OPTIONAL = ("transport.accept_encoding", "transport.min_size", "transport.read_bufsize")


def noted(code: str, **values: Any) -> Note:
    """Return the note of a code: its sentence, with these values."""
    return Note(code=code, message=ROWS[code]["says"].format(**values))


def find_notes(trial: Trial, measured: Measurement) -> list[Note]:
    """Return the notes that the figures of a measurement call for."""
    return [
        *_of_counts(trial, measured),
        *_of_limit(trial, measured),
        *stalls.notes(measured),
        *_of_arrivals(measured),
        *_of_clients(measured),
        *_of_waits(measured),
        *_of_cpu(trial, measured),
        *_of_lag(trial, measured),
        *_of_interference(measured.interference),
        *_of_connections(trial),
        *_of_settings(trial, measured.effective),
    ]


def of_machine(measured: Measurement) -> list[Note]:
    """Return the notes on what kept a client or its server from running, whatever it was to do."""
    of_cores = [*_of_waits(measured), *_of_interference(measured.interference)]
    return [*stalls.notes(measured), *of_cores]


def other_side_is_bottleneck(record: Record) -> bool:
    """Return True if the side that is not compared may have set the rate of a trial.

    Compared is the client, and the server of an echo. The rate is its own where its core is full
    and fuller than the other's. Of a database both are compared together.
    """
    whose = compared(record)
    client = max((one.cpu_percent for one in record.processes), default=None)
    server = record.server.cpu_percent if record.server else None
    if whose == "both" or client is None or server is None:
        return False
    side, other = (server, client) if whose == "server" else (client, server)
    own = side >= SATURATED_PERCENT and side > other
    return other > SERVER_BUSY_PERCENT and not own


def compared(record: Record) -> str:
    """Return whose speed a record is about: `client`, `server`, or `both` together."""
    kind = TARGETS.get(record.trial.get("target", {}).get("kind", ""))
    return kind.compared if kind and not record.trial.get("program") else "client"


def of_latency(records: Iterable[Record]) -> list[str]:
    """Return what the latencies mean, of closed workloads and open ones, and what is in none."""
    records = list(records)
    warmed = {one.trial["workload"]["warmup"] for one in records if one.warmup}
    opens = {record.arrivals is not None for record in records if record.latency_s is not None}
    says = [LATENCY["open" if is_open else "closed"] for is_open in sorted(opens)]
    return [*says, *map(LATENCY["warmed"].format, sorted(warmed))]


def _of_counts(trial: Trial, measured: Measurement) -> Iterable[Note]:
    counts = measured.counts
    if trial.program and measured.server and measured.server.requests == 0:
        yield Note(code="not-called", message="the program never called the server")
        return
    ended, unsent = 0, float(measured.arrivals.dropped if measured.arrivals else 0)
    if trial.workload.lasts_s:
        # The clock ends what is in flight, and what a strategy has taken for its next calls. An
        # open workload may be behind its schedule: there are notes on that.
        ended = trial.slots
        ahead = math.inf if measured.arrivals else max(ended, trial.chunk_size or 0)
        unsent = max(unsent, ahead + 1)
    if not counts.conserved:
        yield noted("not-conserved")
    if counts.repeated:
        yield noted("items-repeated", counts=counts)
    if counts.cancelled > ended and counts.lost:
        yield noted("cancelled", counts=counts)
    if counts.not_sent > unsent:
        yield noted("not-sent", counts=counts)
    if counts.sent and not counts.ok:
        most = max(counts.failed, key=counts.failed.__getitem__, default="cancelled")
        why, cause = counts.why or most, FAILURES.get(most) or "there is no latency"
        yield noted("all-failed", counts=counts, why=why, cause=cause)
    if counts.failures:
        again = f", and {counts.retried:,} were sent again" if counts.retried else ""
        yield noted("failures", counts=counts, again=again)
    share = counts.failed_share
    if counts.ok and share > MAX_FAILED_SHARE:
        code = "failures-most" if share > MOST_FAILED_SHARE else "failures-many"
        yield noted(code, percent=100 * share)


def _of_limit(trial: Trial, measured: Measurement) -> Iterable[Note]:
    """Yield the notes on a trial that did more at a time than it may, or faster than it can."""
    counts, server = measured.counts, measured.server
    most = max(filter(None, measured.timeline.in_flight), default=0)
    pieces = server is not None and (server.bytes_out or 0) >= PIECE_BYTES * counts.sent
    if server is not None and server.max_in_flight is not None and not pieces:
        # A server may still be at work for clients that have given up.
        most = max(most, server.max_in_flight - counts.failures - counts.cancelled)
    if most > trial.slots and (not trial.program or trial.states("limit")):
        yield noted("over-limit", most=most, limit=trial.slots)
    bound_s, wall_s, arrivals = trial.bound_s, measured.wall_s, measured.arrivals
    # A window opens with the first request, which an open workload may have sent late.
    late_s = arrivals.lateness_s.max if arrivals and arrivals.lateness_s else 0.0
    # One query for many rows waits once.
    alone = getattr(trial.transport, "batch", 1) == 1
    whole = alone and counts.ok == counts.planned
    if whole and bound_s and wall_s and bound_s > MAX_EFFICIENCY * (wall_s + late_s):
        yield noted("too-fast", wall_s=wall_s, bound_s=bound_s)


def _of_arrivals(measured: Measurement) -> Iterable[Note]:
    arrivals, counts = measured.arrivals, measured.counts
    if arrivals is None:
        return
    late, achieved = arrivals.late / (counts.sent or 1), arrivals.achieved_rps
    if late > LATE_SHARE:
        code = "too-late" if late > TOO_LATE_SHARE else "late"
        yield noted(code, late=arrivals.late, sent=counts.sent)
    rate = arrivals.rate_rps
    met = [] if achieved is None else [(achieved / rate, achieved, rate, "")]
    # One more or less says that it was due at the end of its stage.
    met += [
        (one.sent / one.due, one.achieved_rps, one.asked, f" in stage {one.name or n}")
        for n, one in enumerate(measured.stages, 1)
        if one.due > one.sent + 1
    ]
    if met and min(met)[0] < RATE_MISSED_SHARE:
        share, achieved, rate, where = min(met)
        code = "rate-lost" if share < RATE_LOST_SHARE else "rate-missed"
        yield noted(code, achieved=achieved, where=where, rate=rate)
    if arrivals.dropped:
        yield noted("dropped", dropped=arrivals.dropped, planned=counts.planned)


def _of_clients(measured: Measurement) -> Iterable[Note]:
    """Yield the notes on several clients that did not start together, or did not do alike."""
    skew_s, wall_s = measured.start_skew_s or 0.0, measured.wall_s or 0.0
    if skew_s >= MAX_SKEW_S and skew_s > MAX_SKEW_SHARE * wall_s:
        yield noted("clients-skewed", skew_s=skew_s, wall_s=wall_s)
    known = [(n, one) for n, one in enumerate(measured.clients) if one.wall_s and not one.lost]
    did = sorted((one.counts.sent, f"client {n} sent {one.counts.sent:,}") for n, one in known)
    took = sorted((one.wall_s or 0.0, f"client {n} took {one.wall_s:.3g} s") for n, one in known)
    for found, usual in ((did, 1.0), (took, MAX_SKEW_S)):
        if found and found[-1][0] - found[0][0] > max(UNEVEN_SHARE * found[-1][0], usual):
            yield noted("clients-uneven", least=found[0][1], most=found[-1][1])


def _of_waits(measured: Measurement) -> Iterable[Note]:
    """Yield the notes on the sides that had to wait for their core, as others had it."""
    worst = max(measured.processes, key=lambda one: one.waited_percent or 0.0, default=None)
    is_long = (measured.wall_s or 0) >= CORE_LOST_FROM_S
    for side, contended, lost in (
        (worst, "core-contended", "core-lost"),
        (measured.server, "server-contended", "server-core-lost"),
    ):
        percent, least = side.waited_percent if side else None, CONTENDED_PERCENT
        if side and side.cpu_percent is not None and is_long:
            often = MAX_WAIT_SHARE / (1 - MAX_WAIT_SHARE) * side.cpu_percent
            least = min(least, max(often, MIN_WAITED_PERCENT))
        if percent is not None and percent > least:
            is_lost = is_long and percent > CORE_LOST_PERCENT
            yield noted(lost if is_lost else contended, percent=percent)


def _of_cpu(trial: Trial, measured: Measurement) -> Iterable[Note]:
    """Yield the notes on who was busy: the side that is measured is to be the bottleneck."""
    client = max((one.cpu_percent for one in measured.processes), default=0.0)
    server = measured.server.cpu_percent if measured.server else None
    if trial.target.compared == "server" and not trial.program:
        if server is not None and client > max(CLIENT_BUSY_PERCENT, server):
            yield noted("client-busy", client=client, server=server)
        return
    if client >= CLIENT_CPU_PERCENT:
        is_long = (measured.wall_s or 0) >= CLIENT_FULL_FROM_S
        full = "client-full" if client >= CLIENT_FULL_PERCENT and is_long else "client-cpu"
        yield noted("client-saturated" if trial.saturates else full, client=client)
    if trial.target.compared == "client" and server is not None and server > SERVER_BUSY_PERCENT:
        yield noted("server-busy", server=server)


def _of_lag(trial: Trial, measured: Measurement) -> Iterable[Note]:
    lag, latency, clients = measured.loop_lag_s, measured.latency_s, measured.processes
    # A loop is late where its client is full, as the trial means it to be. One that others keep
    # from its core would fill that time as well; there is another note on that.
    wanted = max((one.cpu_percent + (one.waited_percent or 0) for one in clients), default=0.0)
    full_on_purpose = wanted >= CLIENT_CPU_PERCENT and trial.saturates
    if lag is None or latency is None or full_on_purpose:
        return
    # The highest percentile that has enough timers behind it.
    for name, share in {"p99": 0.01, "p90": 0.1, "p50": 0.5}.items():
        late_s: float | None = getattr(lag, name)
        if late_s is not None and (lag.n is None or lag.n * share >= MIN_LATER_TIMERS):
            if late_s - TIMER_S > MAX_LAG_SHARE * latency.p50:
                most, of_ms = 100 * MAX_LAG_SHARE, 1e3 * latency.p50
                yield noted("loop-lag", ms=1e3 * late_s, name=name, most=most, of_ms=of_ms)
            return


def _of_interference(found: Interference | None) -> Iterable[Note]:
    if found is None:
        return
    if found.core_shared:
        yield noted("core-shared")
    if found.throttled_periods:
        yield noted("throttled", periods=found.throttled_periods, s=found.throttled_s or 0)
    share = found.stolen_percent or 0.0
    if share > STOLEN_PERCENT and (found.stolen_s or 0) > STOLEN_FROM_S:
        yield noted("steal", percent=share)
    if found.listen_drops:
        yield noted("backlog", dropped=found.listen_drops)


def _of_connections(trial: Trial) -> Iterable[Note]:
    if trial.program:
        return
    share, transport = Share(0, trial.clients), trial.transport
    most, in_flight = share.part(trial.slots), share.part(min(trial.slots, trial.requests))
    if transport.sent_at(in_flight) < in_flight:
        code = "pool-queue" if transport.queues else "connector-limit"
        shared = {"in_flight": in_flight, "connections": transport.connections_at(in_flight)}
        yield noted(code, **shared, most=most, kind=transport.kind)


def _of_settings(trial: Trial, effective: Mapping[str, Any]) -> Iterable[Note]:
    if trial.program or not effective:
        return
    asked, in_force = trial.to_dict(), effective.get("transport", {})
    pairs = [(name, asked[name], effective.get(name)) for name in ("loop", "eager_tasks")]
    pairs += [
        (f"transport.{name}", value, in_force[name])
        for name, value in asked["transport"].items()
        if name in in_force
    ]
    for name, wanted, found in pairs:
        chosen = wanted is None and name in _OPTIONAL
        never = name.endswith("keepalive_timeout") and found is None
        if wanted != found and not chosen and not never:
            yield noted("not-in-force", name=name, wanted=wanted, found=found)
