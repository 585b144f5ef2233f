"""What to doubt about a measurement: notes with codes, and the verdict that follows. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from labkit.parts import EchoTarget
from labkit.record import Arrivals, Counts, Measurement, Note, Record, Verdict
from labkit.spec import Trial

SERVER_BUSY_PERCENT = 70.0
"""Above this the server may be the bottleneck."""

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

FAILED = frozenset(
    {
        "all-failed",
        "deadline",
        "ended-early",
        "interrupted",
        "items-repeated",
        "not-conserved",
        "not-sent",
        "strategy-failed",
        "worker-lost",
    }
)
"""The trial did not do what it was to do."""
INVALID = FAILED | {"core-lost", "rate-lost", "too-late"}
"""It did not, or its figures are not those of the client."""


def failed(record: Record) -> bool:
    """Whether the trial itself failed, and not only its figures are in doubt."""
    return any(note.code in FAILED for note in record.warnings)


def verdict(notes: Iterable[Note]) -> Verdict:
    """`invalid` where one note alone makes the record unusable, `warn` where there is any."""
    return verdict_of(note.code for note in notes)


def verdict_of(codes: Iterable[str]) -> Verdict:
    """The same of the notes' codes alone."""
    given = set(codes)
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
        *_server(trial, measured),
        *_connector(trial),
        *_not_in_force(trial, measured.effective),
    ]
    return [Note(code=code, message=message) for code, message in found]


def held_up(record: Record) -> bool:
    """Whether the side that is not compared may have set the rate of a trial.

    Compared is the client, and the server of an echo. The rate is its own where its core is full
    and that of the other fuller by nothing.
    """
    client = record.client.cpu_percent if record.client else None
    server = record.server.cpu_percent if record.server else None
    if client is None or server is None:
        return False
    echo = record.trial.get("target", {}).get("kind") == "echo"
    compared, other = (server, client) if echo else (client, server)
    own = compared >= SATURATED_PERCENT and compared > other
    return other > SERVER_BUSY_PERCENT and not own


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
    room = "raise limit, or ask for a lower rate"
    if late > LATE_SHARE:
        yield (
            "too-late" if late > TOO_LATE_SHARE else "late",
            f"{arrivals.late:,} of {counts.sent:,} requests were sent more than 1 ms after they "
            f"were due: {room}",
        )
    if achieved is not None and achieved < RATE_MISSED_SHARE * arrivals.rate_rps:
        yield (
            "rate-lost" if achieved < RATE_LOST_SHARE * arrivals.rate_rps else "rate-missed",
            f"{achieved:,.4g} requests a second were sent where {arrivals.rate_rps:,.4g} were "
            f"asked for: {room}",
        )
    if arrivals.dropped:
        yield (
            "dropped",
            f"{arrivals.dropped:,} of {counts.planned:,} requests were never sent, as there was no "
            f"room when they were due: {room}",
        )


def _failures(counts: Counts) -> Iterable[tuple[str, str]]:
    if counts.sent and not counts.ok:
        yield "all-failed", f"none of {counts.sent:,} requests succeeded: there is no latency"
    if counts.failures:
        kinds = ", ".join(f"{kind} {n:,}" for kind, n in sorted(counts.failed.items()))
        yield "failures", f"{counts.failures:,} of {counts.sent:,} requests failed ({kinds})"


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
            f"other processes had the client's core for {waited:.0f} % of the time: end them, or "
            "read its time and CPU with that in mind",
        )


def _server(trial: Trial, measured: Measurement) -> Iterable[tuple[str, str]]:
    busy = measured.server.cpu_percent if measured.server else None
    if isinstance(trial.target, EchoTarget):
        yield from _echo(measured, busy)
    elif busy is not None and busy > SERVER_BUSY_PERCENT:
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
    if transport.sent_at(in_flight) < in_flight:
        yield (
            "connector-limit",
            f"the transport allows {transport.connections_at(in_flight):,} connections, the "
            f"workload {trial.slots:,} "
            f"requests in flight: the rest wait inside {transport.kind}",
        )


def _not_in_force(trial: Trial, effective: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    if trial.probes == "bare" or not effective:
        return
    asked = trial.to_dict()
    pairs = [("loop", asked["loop"], effective.get("loop"))]
    pairs += [("eager_tasks", asked["eager_tasks"], effective.get("eager_tasks"))]
    got = effective.get("transport", {})
    pairs += [(f"transport.{k}", v, got[k]) for k, v in asked["transport"].items() if k in got]
    for name, wanted, found in pairs:
        if wanted != found and not (name.endswith("keepalive_timeout") and found is None):
            yield "not-in-force", f"{name} was asked as {wanted} but {found} was in force"
