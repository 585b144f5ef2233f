"""What a record has of its requests: phases, bodies, latencies, arrivals."""

from msgspec import Struct

# What a request goes through, in this order. It is in one of them at any time.
PHASES = ("prepare", "queue", "dns", "connect", "send", "wait", "read", "release")


class Phase(Struct, frozen=True, kw_only=True):
    """Seconds that requests spent in one phase.

    `n` requests were in it for any time; `p50`, `p99` and `max` are theirs. `mean` is over all that
    succeeded, so that the means of all phases add up to the mean latency.
    """

    n: int
    mean: float
    p50: float | None = None
    p99: float | None = None
    max: float | None = None


class Spent(Struct, frozen=True, kw_only=True):
    """Where the requests that succeeded spent their time, a field for each of `PHASES`.

    `prepare`: the client's own work before it asks for a connection. `queue`: waiting for one to be
    free. `dns`: looking up the name, or waiting for another's look-up of it. `connect`: opening a
    connection. `send`: from having one to having written the head of the request. `wait`: until the
    head of the answer is there. `read`: until the body is read. `release`: until the connection is
    given back, and a session of the request's own closed; where a body comes in chunks, its end is
    not known and this is in `read`.
    """

    prepare: Phase
    queue: Phase
    dns: Phase
    connect: Phase
    send: Phase
    wait: Phase
    read: Phase
    release: Phase


class Traced(Struct, frozen=True, kw_only=True):
    """One whole request: begun `began_s` after the first one, `spent_s` in each of `PHASES`.

    `failed` says that it did not succeed: its last phase is the one that it failed in.
    """

    item: int
    began_s: float
    spent_s: list[float]
    reused: bool
    failed: bool = False


class Phases(Struct, frozen=True, kw_only=True):
    """Phases of the requests of a trial whose transport traces them.

    `n` requests succeeded. `ended_in` counts the others, which failed or were cancelled, by the
    phase that they were in (for a bad status: the one in which it was looked at). Over all
    requests: `opened` connections, `reused` an open one, followed `redirects`; `lookups` that were
    begun, names that were `cached` or being looked up already. `sample` holds the first requests,
    and behind them an even sample of those that came later.
    """

    n: int
    spent_s: Spent
    ended_in: dict[str, int] = {}
    opened: int = 0
    reused: int = 0
    redirects: int = 0
    lookups: int = 0
    cached: int = 0
    sample: list[Traced] = []


class Received(Struct, frozen=True, kw_only=True):
    """The bodies that the client read to their end, where the transport counts them.

    `wire_bytes` came over the wire, `decoded_bytes` is what became of them once they were unpacked.
    Heads and the framing of chunks are in neither.
    """

    bodies: int
    wire_bytes: int
    decoded_bytes: int

    @property
    def wire_bytes_each(self) -> float | None:
        """Return the mean bytes of a body on the wire."""
        return self.wire_bytes / self.bodies if self.bodies else None

    @property
    def decoded_bytes_each(self) -> float | None:
        """Return the mean bytes of a body once unpacked."""
        return self.decoded_bytes / self.bodies if self.bodies else None


class Latency(Struct, frozen=True, kw_only=True):
    """Service time of the requests that succeeded, in seconds, from the histogram."""

    mean: float
    p50: float
    p90: float
    p99: float
    p999: float
    max: float


class Warmup(Struct, frozen=True, kw_only=True):
    """The requests that came before the trial, over the same connections.

    They are in no figure but the time and the CPU of the whole process, and the peak of a target's
    memory. What a target counts itself is not known then: it counted them too.
    """

    requests: int
    failed: int
    wall_s: float | None


class Staged(Struct, frozen=True, kw_only=True):
    """One stage of a schedule: `asked` is the mean of its rate, or of its limit.

    Of a rate, `achieved_rps` is what was asked for, times the requests sent meanwhile over those
    `due`: random arrivals come to another rate than was asked for. Of a limit nothing is due.
    """

    name: str
    asked: float
    due: int
    sent: int
    achieved_rps: float


class Lateness(Struct, frozen=True, kw_only=True):
    """How late `n` things came that were due, in seconds: timers of a loop, requests to send.

    A percentile p means something from n >= 10 / (1 - p) on.
    """

    p50: float
    p90: float | None = None
    p99: float
    max: float
    n: int | None = None


class Arrivals(Struct, frozen=True, kw_only=True):
    """What became of the schedule of an open workload; rates are in requests per second.

    `late` requests were sent more than a millisecond after they were due, `dropped` ones not at all
    for want of room. `latency_s` and `latency_hdr` count from when a request was due; those of the
    record itself count from when it was sent.
    """

    rate_rps: float
    achieved_rps: float | None
    late: int
    dropped: int
    lateness_s: Lateness | None
    latency_s: Latency | None
    latency_hdr: str | None
