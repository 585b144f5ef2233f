"""What to doubt about a measurement: the thresholds, and the notes that the figures call for. Pure.

`codes.CODES` has every code, with its verdict and what to do; doubts about an arm of several
records are in `stats`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from labkit import paths
from labkit.record import stalls
from labkit.record.record import Counts, Interference, Measurement, Note, Record
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

# Schroeder and others, 'Open versus closed: a cautionary tale' (NSDI 2006).
SERVICE_TIME = (
    "Latency is service time in a closed workload: not what an independent user would feel"
)
# The same of an open workload.
FELT_TIME = (
    "Latency since due is what independent users would have felt; that since sent leaves out what "
    "their requests waited for room"
)
WARMED = "A warm-up of {} came before over the same connections, and is in no figure"

# What share of the median latency the loop may be late by, besides the whole milliseconds in which
# both loops keep timers.
MAX_LAG_SHARE, TIMER_S = 0.1, 0.001
# Timers that must have been later than a percentile for it to mean something.
MIN_LATER_TIMERS = 10

# Above this the host took the cores away; it counts in ticks of 10 ms, so one alone is nothing.
STOLEN_PERCENT, STOLEN_FROM_S = 1.0, 0.02

# Settings for which None is whatever the library chooses; the record says what it chose.
_OPTIONAL = ("transport.accept_encoding", "transport.min_size", "transport.read_bufsize")


def find_notes(trial: Trial, measured: Measurement) -> list[Note]:
    """Return the notes that the figures of a measurement call for."""
    found = [
        *_of_counts(trial, measured),
        *_of_limit(trial, measured),
        *stalls.notes(measured),
        *_of_arrivals(measured),
        *_of_waits(measured),
        *_of_cpu(trial, measured),
        *_of_lag(trial, measured),
        *_of_interference(measured.interference),
        *_of_connections(trial),
        *_of_settings(trial, measured.effective),
    ]
    return [Note(code=code, message=message) for code, message in found]


def of_machine(measured: Measurement) -> list[Note]:
    """Return the notes on what kept a client or its server from running, whatever it was to do."""
    found = [
        *stalls.notes(measured),
        *_of_waits(measured),
        *_of_interference(measured.interference),
    ]
    return [Note(code=code, message=message) for code, message in found]


def other_side_is_bottleneck(record: Record) -> bool:
    """Return True if the side that is not compared may have set the rate of a trial.

    Compared is the client, and the server of an echo. The rate is its own where its core is full
    and fuller than the other's. Of a database both are compared together.
    """
    whose = compared(record)
    client = record.client.cpu_percent if record.client else None
    server = record.server.cpu_percent if record.server else None
    if whose == "both" or client is None or server is None:
        return False
    side, other = (server, client) if whose == "server" else (client, server)
    own = side >= SATURATED_PERCENT and side > other
    return other > SERVER_BUSY_PERCENT and not own


def compared(record: Record) -> str:
    """Return whose speed a record is about: `client`, `server`, or `both` together."""
    kind = TARGETS.get(record.trial.get("target", {}).get("kind", ""))
    return kind.compared if kind else "client"


def of_latency(records: Iterable[Record]) -> list[str]:
    """Return what the latencies mean, of closed workloads and open ones, and what is in none."""
    records = list(records)
    warmed = {one.trial["workload"]["warmup"] for one in records if one.warmup}
    opens = {record.arrivals is not None for record in records if record.latency_s is not None}
    says = {False: SERVICE_TIME, True: FELT_TIME}
    return [*(says[is_open] for is_open in sorted(opens)), *map(WARMED.format, sorted(warmed))]


def contention(
    percent: float | None,
    wall_s: float | None,
    side: str = "client",
    ran_percent: float | None = None,
) -> list[tuple[str, str]]:
    """Return the code and the sentence on a side that had to wait for its core; none for little.

    It waited `percent` of a window of `wall_s` seconds, as others had the core, and ran for
    `ran_percent`.
    """
    is_long = (wall_s or 0) >= CORE_LOST_FROM_S
    least = CONTENDED_PERCENT
    if is_long and ran_percent is not None:
        often = MAX_WAIT_SHARE / (1 - MAX_WAIT_SHARE) * ran_percent
        least = min(least, max(often, MIN_WAITED_PERCENT))
    if percent is None or percent <= least:
        return []
    lost = percent > CORE_LOST_PERCENT and is_long
    message = f"other processes had the {side}'s core for {percent:.0f} % of the time"
    names = {"client": "core-contended core-lost", "server": "server-contended server-core-lost"}
    return [(names[side].split()[lost], message)]


def of_failures(counts: Counts) -> Iterable[tuple[str, str]]:
    """Yield the codes and sentences on requests that failed."""
    if counts.failures:
        failed = f"{counts.failures:,} of {counts.sent:,} requests failed"
        again = f", and {counts.retried:,} were sent again" if counts.retried else ""
        yield "failures", f"{failed} ({counts.why}){again}"
    share = f"{100 * counts.failed_share:.1f} % of the requests failed"
    if counts.ok and counts.failed_share > MOST_FAILED_SHARE:
        yield "failures-most", share
    elif counts.ok and counts.failed_share > MAX_FAILED_SHARE:
        yield "failures-many", f"{share}: such arms are not comparable"


def _of_counts(trial: Trial, measured: Measurement) -> Iterable[tuple[str, str]]:
    counts = measured.counts
    ended, unsent = 0, float(measured.arrivals.dropped if measured.arrivals else 0)
    if trial.workload.lasts_s:
        # The clock ends what is in flight, and what a strategy has taken for its next calls. An
        # open workload may be behind its schedule: there are notes on that.
        ended = trial.slots
        ahead = math.inf if measured.arrivals else max(ended, trial.chunk_size or 0)
        unsent = max(unsent, ahead + 1)
    if not counts.conserved:
        sums = "planned = done + lost + not_sent and sent = ok + failed + cancelled"
        yield "not-conserved", f"{sums} fails"
    if counts.repeated:
        which = f"{counts.repeated:,} of {counts.sent:,} requests"
        yield "items-repeated", f"{which} were for an item sent before, or for none of the trial's"
    if counts.cancelled > ended and counts.lost:
        yield "cancelled", f"{counts.cancelled:,} requests were cancelled in flight"
    if counts.not_sent > unsent:
        yield "not-sent", f"{counts.not_sent:,} of {counts.planned:,} requests were never sent"
    if counts.sent and not counts.ok:
        most = max(counts.failed, key=counts.failed.__getitem__, default="cancelled")
        why, cause = counts.why or most, FAILURES.get(most) or "there is no latency"
        yield "all-failed", f"none of {counts.sent:,} requests succeeded ({why}): {cause}"
    yield from of_failures(counts)


def _of_limit(trial: Trial, measured: Measurement) -> Iterable[tuple[str, str]]:
    """Yield the notes on a trial that did more at a time than it may, or faster than it can."""
    counts, server = measured.counts, measured.server
    most = max(measured.timeline.in_flight, default=0)
    pieces = server is not None and (server.bytes_out or 0) >= PIECE_BYTES * counts.sent
    if server is not None and server.max_in_flight is not None and not pieces:
        # A server may still be at work for clients that have given up.
        most = max(most, server.max_in_flight - counts.failures - counts.cancelled)
    if most > trial.slots:
        yield "over-limit", f"{most:,} requests were in flight where the limit is {trial.slots:,}"
    bound_s, wall_s, arrivals = trial.bound_s, measured.wall_s, measured.arrivals
    # A window opens with the first request, which an open workload may have sent late.
    late_s = arrivals.lateness_s.max if arrivals and arrivals.lateness_s else 0.0
    # One query for many rows waits once.
    alone = getattr(trial.transport, "batch", 1) == 1
    whole = alone and counts.ok == counts.planned
    if whole and bound_s and wall_s and bound_s > MAX_EFFICIENCY * (wall_s + late_s):
        least = f"no order of its requests takes less than {bound_s:.3g} s"
        yield "too-fast", f"the trial took {wall_s:.3g} s, and {least}"


def _of_arrivals(measured: Measurement) -> Iterable[tuple[str, str]]:
    arrivals, counts = measured.arrivals, measured.counts
    if arrivals is None:
        return
    late, achieved = arrivals.late / (counts.sent or 1), arrivals.achieved_rps
    if late > LATE_SHARE:
        which = f"{arrivals.late:,} of {counts.sent:,} requests"
        message = f"{which} were sent more than 1 ms after they were due"
        yield "too-late" if late > TOO_LATE_SHARE else "late", message
    rate = arrivals.rate_rps
    met = [] if achieved is None else [(achieved / rate, achieved, rate, "")]
    # One more or less says that it was due at the end of its stage.
    met += [
        (one.sent / one.due, one.achieved_rps, one.asked, f" in stage {one.name or n}")
        for n, one in enumerate(measured.stages, 1)
        if one.due > one.sent + 1
    ]
    share, achieved, rate, where = min(met, default=(1.0, 0.0, 0.0, ""))
    if share < RATE_MISSED_SHARE:
        sent = f"{achieved:,.4g} requests a second were sent{where}"
        code = "rate-lost" if share < RATE_LOST_SHARE else "rate-missed"
        yield code, f"{sent} where {rate:,.4g} were asked for"
    if arrivals.dropped:
        which = f"{arrivals.dropped:,} of {counts.planned:,} requests"
        yield "dropped", f"{which} were never sent, as there was no room when they were due"


def _of_waits(measured: Measurement) -> Iterable[tuple[str, str]]:
    """Yield the notes on cores that others had."""
    for side, name in ((measured.client, "client"), (measured.server, "server")):
        if side is not None:
            waited, ran = side.waited_percent, side.cpu_percent
            yield from contention(waited, measured.wall_s, name, ran)


def _of_cpu(trial: Trial, measured: Measurement) -> Iterable[tuple[str, str]]:
    """Yield the notes on who was busy: the side that is measured is to be the bottleneck."""
    client = measured.client.cpu_percent if measured.client else 0.0
    server = measured.server.cpu_percent if measured.server else None
    used = f"the client used {client:.0f} % of its core"
    if trial.target.compared == "server":
        if server is not None and client > max(CLIENT_BUSY_PERCENT, server):
            both = f"{used} and the server {server:.0f} %"
            yield "client-busy", f"{both}: the client may be the bottleneck, the server not"
        return
    if client >= CLIENT_CPU_PERCENT:
        if trial.saturates:
            yield "client-saturated", f"{used}, as this trial means it to"
        elif client >= CLIENT_FULL_PERCENT and (measured.wall_s or 0) >= CLIENT_FULL_FROM_S:
            yield "client-full", f"{used}: what was measured is the client, not what it waits for"
        else:
            yield "client-cpu", f"{used}: it may be the bottleneck"
    if trial.target.compared == "client" and server is not None and server > SERVER_BUSY_PERCENT:
        yield "server-busy", f"the server used {server:.0f} % of its core: it may be the bottleneck"


def _of_lag(trial: Trial, measured: Measurement) -> Iterable[tuple[str, str]]:
    lag, latency, client = measured.loop_lag_s, measured.latency_s, measured.client
    # A loop is late where its client is full, as the trial means it to be. One that others keep
    # from its core would fill that time as well; there is another note on that.
    wanted = client.cpu_percent + (client.waited_percent or 0) if client else 0.0
    full_on_purpose = wanted >= CLIENT_CPU_PERCENT and trial.saturates
    if lag is None or latency is None or full_on_purpose:
        return
    # The highest percentile that has enough timers behind it.
    for name, share in {"p99": 0.01, "p90": 0.1, "p50": 0.5}.items():
        late_s: float | None = getattr(lag, name)
        if late_s is not None and (lag.n is None or lag.n * share >= MIN_LATER_TIMERS):
            if late_s - TIMER_S > MAX_LAG_SHARE * latency.p50:
                yield (
                    "loop-lag",
                    f"the client's event loop was {1e3 * late_s:.3g} ms late ({name}), over "
                    f"{100 * MAX_LAG_SHARE:.0f} % of the median latency of "
                    f"{1e3 * latency.p50:.3g} ms",
                )
            return


def _of_interference(found: Interference | None) -> Iterable[tuple[str, str]]:
    if found is None:
        return
    if found.core_shared:
        yield ("core-shared", "client and server had one core between them")
    if found.throttled_periods:
        periods = f"{found.throttled_periods:,} periods, {found.throttled_s or 0:.3g} s in all"
        yield "throttled", f"a CPU quota stopped the processes in {periods}"
    share = found.stolen_percent or 0.0
    if share > STOLEN_PERCENT and (found.stolen_s or 0) > STOLEN_FROM_S:
        yield "steal", f"the host ran other guests on these cores for {share:.1f} % of the time"
    if found.listen_drops:
        dropped = f"{found.listen_drops:,} connections were dropped at a full queue"
        yield "backlog", f"{dropped} of a listening socket, here or of another process"


def _of_connections(trial: Trial) -> Iterable[tuple[str, str]]:
    in_flight, transport = min(trial.slots, trial.requests), trial.transport
    connections = f"{transport.connections_at(in_flight):,} connections"
    if transport.sent_at(in_flight) >= in_flight:
        return
    if transport.queues:
        share = f"{in_flight:,} requests at a time share {connections}"
        yield "pool-queue", f"{share}: latency holds the wait for one"
    else:
        yield (
            "connector-limit",
            f"the transport allows {connections}, the workload {trial.slots:,} requests in flight: "
            f"the rest wait inside {transport.kind}",
        )


def _of_settings(trial: Trial, effective: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    if trial.probes == "bare" or not effective:
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
            yield "not-in-force", f"{name} was asked as {wanted} but {found} was in force"
