"""The fields of a record. Plain data, versioned; `codec` has its JSON.

A `Measurement` is what the client's process measured; a `Record` is that and what the parent knows:
what was run, where and when, and how far to trust it. Nothing is measured or judged here. Names of
fields carry their units; None means not measured. `SCHEMA_VERSION` goes up when a field changes
its meaning or goes away; an added field does not count, as unknown fields are ignored.
"""

from typing import Annotated, Any, Literal, Self

import msgspec

from labkit.escaping import arm_label, escape, visible
from labkit.record.requests import Arrivals, Latency, Lateness, Phases, Received, Staged, Warmup

SCHEMA_VERSION = 1
# Above this share of the time in which others had a core a p99 is not the lab's own.
MAX_OTHERS_PERCENT = 0.5

Verdict = Literal["valid", "warn", "invalid"]
# What a coded experiment found, by name.
Figures = dict[str, float]


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the items, and of the attempts, which are more where a strategy tries again.

    Items: planned = done + lost + not_sent. Attempts: sent = ok + failed + cancelled. Of these
    `retried` were for an item whose attempts before had failed, `repeated` for another that had
    been sent, or for none of the trial's. `statuses` counts by its number each answer that is no
    success; `failed` has them as `status`. Records of earlier versions have no `done`.
    """

    planned: int
    done: int | None = None
    sent: int
    not_sent: int = 0
    repeated: int = 0
    ok: int
    failed: dict[str, int] = {}
    statuses: dict[int, int] = {}
    cancelled: int = 0
    retried: int = 0

    @property
    def lost(self) -> int:
        """Count the items whose last attempt failed or was cancelled."""
        return self.failures + self.cancelled - self.retried

    @property
    def failures(self) -> int:
        """Count the requests that failed, of any kind."""
        return sum(self.failed.values())

    @property
    def reasons(self) -> dict[str, int]:
        """Count the failures by reason: an answer by its status, any other by its kind."""
        others = {kind: n for kind, n in self.failed.items() if kind != "status"}
        by_status = {str(code): n for code, n in sorted(self.statuses.items())}
        return (by_status or {"status": self.failed.get("status", 0)}) | others

    @property
    def why(self) -> str:
        """Return the failures by reason as text, most first: '404: 300, reset: 2'."""
        most_first = sorted(self.reasons.items(), key=lambda one: -one[1])
        return ", ".join(f"{reason}: {n:,}" for reason, n in most_first if n)

    @property
    def failed_share(self) -> float:
        """Return the share of the sent items that failed at last; 0 where none was sent."""
        items = self.sent - self.retried
        return min(self.failures, self.lost) / items if items else 0.0

    @property
    def conserved(self) -> bool:
        """Return True if no request was lost and none was counted twice."""
        done = self.ok - self.repeated if self.done is None else self.done
        whole = self.planned == done + self.lost + self.not_sent
        return whole and self.sent == self.ok + self.failures + self.cancelled


class Used(msgspec.Struct, frozen=True, kw_only=True):
    """What a process used: CPU, of which `cpu_percent` is of one core, and memory at its peak."""

    cpu_user_s: float
    cpu_system_s: float
    cpu_percent: float
    peak_rss_bytes: int | None

    @classmethod
    def of(cls, user_s: float, system_s: float, in_s: float, /, **more: Any) -> Self:
        """Return what was used in so many seconds; `more` are the other fields."""
        percent = round(100 * (user_s + system_s) / in_s, 2)
        return cls(cpu_user_s=user_s, cpu_system_s=system_s, cpu_percent=percent, **more)


class Client(Used, frozen=True, kw_only=True):
    """The client process over the window from its first send to its last answer.

    `peak_rss_bytes` is the process's own high-water mark (VmHWM) at the end of the window,
    `rss_before_bytes` its memory before the strategy was started, `to_first_send_s` the time from
    there to the first send. `waited_percent` is the share of the window in which the process was
    ready to run and other processes had its core. Where other clients of the trial run there,
    `core_idle_s` is for how long nothing did.
    """

    cpu_us_per_request: float | None = None
    rss_before_bytes: int | None = None
    waited_percent: float | None = None
    to_first_send_s: float | None = None
    core_idle_s: float | None = None


class Process(Used, frozen=True, kw_only=True):
    """The whole client process, from spawn to exit, as `/usr/bin/time` sees it."""

    wall_s: float


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """The target's process over the same window, and what it counted itself.

    Of a PostgreSQL and of a server of the user's own it is all processes of the server: CPU
    includes those that ended meanwhile, memory counts shared pages once, and its peak is the most
    that was seen ten times a second. Of a PostgreSQL `requests` are the scans of the lab's table,
    its connections the sessions.

    Of a Valkey: `requests` are the GETs that it ran, `commands` all that it processed, those of the
    handshake of each connection among them, `connections_left` how many connections were still open
    when the client's process had ended.

    `waited_percent` is as of the client: the share of the window in which others had its core.
    `cpu_s` is its CPU in seconds, of all threads. `bytes_out` are the bytes of bodies as they were
    sent, packed where they were.
    """

    cpu_percent: float | None = None
    peak_rss_bytes: int | None = None
    requests: int | None = None
    max_in_flight: int | None = None
    connections_opened: int | None = None
    bytes_out: int | None = None
    cpu_s: float | None = None
    delay_error_s: dict[str, float] | None = None
    commands: int | None = None
    connections_left: int | None = None
    waited_percent: float | None = None


class Interference(msgspec.Struct, frozen=True, kw_only=True):
    """What disturbed both processes, from the strategy's start to the last answer.

    None where the system does not tell.

    `throttled_periods` and `throttled_s`: a CPU quota stopped their control group. `stolen_s`: the
    host ran other guests on their cores, `stolen_percent` of these cores' time. `listen_drops`:
    connections that a full queue of a listening socket dropped, of whatever process. `suspended_s`:
    the machine slept. `core_shared`: client and server had one core between them.
    """

    throttled_periods: int | None = None
    throttled_s: float | None = None
    stolen_s: float | None = None
    stolen_percent: float | None = None
    listen_drops: int | None = None
    suspended_s: float | None = None
    core_shared: bool = False


class Stall(msgspec.Struct, frozen=True, kw_only=True):
    """Who stood still, for how long, and since when on the timeline's axis.

    It is the `client`, the `server`, the `target` where a server of the user's own answered nothing
    for a while, or the `strategy`, where its own code blocked the client's loop. `at_s` is None
    where only one long request shows it. `client` is which of several it was.
    """

    who: str
    client: int | None = None
    at_s: float | None = None
    lasted_s: float


class Timeline(msgspec.Struct, frozen=True, kw_only=True):
    """Columns of equal length on one monotonic axis; `t_s` is 0 where the strategy was started.

    `completed` is cumulative, as is `failed`, a part of it, and `received_bytes`, of bodies as they
    came over the wire, where the transport counts them. CPU is percent of one core since the row
    before; `loop_lag_s` is the worst since the row before. Percentiles of latency are of the part
    of the run that the row is in, half a second or a thirtieth of the run: of what ended in it, to
    3 %. Of several clients there are none. A column holds None where it could not be read. Of a
    program the client is all of its processes, `connections` are those that were open at the
    server, and what the synthetic server counted is up to 20 ms old; of `failed` it has nothing.
    """

    t_s: list[float] = []
    completed: list[int | None] = []
    failed: list[int | None] = []
    in_flight: list[int | None] = []
    client_rss_bytes: list[int | None] = []
    client_cpu_percent: list[float | None] = []
    server_rss_bytes: list[int | None] = []
    server_cpu_percent: list[float | None] = []
    loop_lag_s: list[float | None] = []
    latency_p50_s: list[float | None] = []
    latency_p90_s: list[float | None] = []
    latency_p99_s: list[float | None] = []
    connections: list[int | None] = []
    received_bytes: list[int | None] = []


class Note(msgspec.Struct, frozen=True, kw_only=True):
    """One thing to know before believing the record: a code for programs, a sentence for people."""

    code: str
    message: str


class OneClient(msgspec.Struct, frozen=True, kw_only=True):
    """One of several clients of a trial, which had every n-th item: its part of the measurement.

    `first_send_s` is counted from the first send of all. `place` is the worker of a cluster that
    ran it. `lost` says how its process died: then `counts` are what it reported last, and nothing
    else is known.
    """

    counts: Counts
    wall_s: float | None = None
    client: Client | None = None
    latency_s: Latency | None = None
    loop_lag_s: Lateness | None = None
    first_send_s: float | None = None
    cores: list[int] | None = None
    place: str | None = None
    lost: str | None = None


class OfRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One of several requests of a trial, by its method and path; `others`: those behind the 100th.

    `ok` and `failed` are its attempts, `latency_s` is from the send.
    """

    request: str
    ok: int
    failed: int
    latency_s: Latency | None = None


class Measurement(msgspec.Struct, frozen=True, kw_only=True):
    """What the client's process measured in one trial. `effective` is what was really in force.

    `returned` is what a strategy of the user's own returned, as JSON has it. Of several clients CPU
    and memory are those of all together; `clients` has each, and `start_skew_s` is by how much they
    sent their first requests apart, or started where a schedule says when they send. On its way to
    the others, each has its `histograms`, by name: how many are in each bucket.
    """

    counts: Counts
    wall_s: float | None = None
    client: Client | None = None
    server: Server | None = None
    latency_s: Latency | None = None
    latency_hdr: str | None = None
    loop_lag_s: Lateness | None = None
    arrivals: Arrivals | None = None
    phases: Phases | None = None
    received: Received | None = None
    requests: list[OfRequest] = []
    warmup: Warmup | None = None
    stages: list[Staged] = []
    timeline: Timeline = msgspec.field(default_factory=Timeline)
    effective: dict[str, Any] = {}
    interference: Interference | None = None
    stalls: list[Stall] = []
    warnings: list[Note] = []
    first_errors: list[str] = []
    returned: Any = None
    clients: list[OneClient] = []
    start_skew_s: float | None = None
    histograms: dict[str, dict[int, int]] = {}

    @property
    def processes(self) -> list[Client]:
        """Return what each process of the client used: one, or several."""
        several = [one.client for one in self.clients if one.client]
        return several or [one for one in [self.client] if one]


class Record(Measurement, frozen=True, kw_only=True):
    """A measurement, and what the parent knows of it. `trial` is `Trial.to_dict()`.

    `floor_s` is the makespan of the delays in this order, `bound_s` what no order of them can beat
    (None of an older record), and `efficiency` is floor_s / wall_s. `study` is the id shared by the
    trials of one experiment, `axes` the settings that it varied in this one, `arm` their place
    among all arms, `repeat` which repeat this is (from 0), `order` its place in the interleaved
    order.

    Of a coded experiment, `trial` holds its name as `experiment`, its `settings` and those of its
    `server`, and `figures` what it measured, by name. Of a program that others wrote, `trial` is
    what it was asked for, with its name as `program`; it reported all figures but its CPU itself.
    """

    schema_version: Annotated[int, msgspec.Meta(le=SCHEMA_VERSION)] = SCHEMA_VERSION
    id: str
    started_at: str
    study: str | None = None
    experiment: str | None = None
    axes: dict[str, Any] = {}
    arm: int = 0
    repeat: int = 0
    order: int = 0
    trial: dict[str, Any]
    floor_s: float | None = None
    bound_s: float | None = None
    efficiency: float | None = None
    throughput_rps: float | None = None
    process: Process | None = None
    figures: Figures = {}
    environment: dict[str, Any]
    verdict: Verdict

    @property
    def ran(self) -> str:
        """Return the name of what ran: a strategy, a program of others, or a coded experiment."""
        names = (self.trial.get(name) for name in ("program", "experiment", "strategy"))
        return next((str(name) for name in names if name), "")

    @property
    def called(self) -> str:
        """Return what was called: the URL of a server that ran, else the target and the path."""
        target, path = self.trial.get("target", {}), self.trial.get("workload", {}).get("path")
        if "url" in target:
            return f"{target['url']}{path or ''}"
        return " ".join(filter(None, [target.get("command", target.get("kind")), path]))

    @property
    def cpu_us_in_kernel(self) -> float | None:
        """Return the part of the client's CPU per request that it spent in the kernel."""
        client = self.client
        if client is None or client.cpu_us_per_request is None:
            return None
        used_s = client.cpu_user_s + client.cpu_system_s
        return client.cpu_us_per_request * client.cpu_system_s / used_s if used_s else None

    @property
    def server_cpu_us_per_request(self) -> float | None:
        """Return the CPU that the server used for each request that ended, or that it counted."""
        server, ended = self.server or Server(), self.counts.sent - self.counts.cancelled
        requests = server.requests or ended
        return 1e6 * server.cpu_s / requests if server.cpu_s is not None and requests else None

    @property
    def busy_percent(self) -> float | None:
        """Return the percent of the window in which the client ran or waited for its core.

        100 of a client that never sleeps, whatever others do; of several the busiest. None where
        others had the core for over three quarters of the time: any client would have been behind.
        """
        client = max(self.processes, key=lambda one: one.cpu_percent, default=None)
        if client is None or client.waited_percent is None or client.waited_percent > 75:
            return None
        return client.cpu_percent + client.waited_percent

    @property
    def mean_in_flight(self) -> float | None:
        """Return how many requests were in flight on average: rate times mean latency (Little)."""
        if self.throughput_rps is None or self.latency_s is None:
            return None
        return self.throughput_rps * self.latency_s.mean

    @property
    def latency_error_p50_s(self) -> float | None:
        """Return by how much the median latency exceeds the fixed delay that the server gave."""
        return self._latency_error_s("p50")

    @property
    def latency_error_p99_s(self) -> float | None:
        """Return the same of the 99th percentile; None where others had much of a hundredth.

        A p99 is made of the slowest hundredth. Measured, of 1 ms that is allowed: 0.5 ms where
        others and the host had a core for 0.5 % of the time, and 1.5 to 3 ms where for 1 %.
        """
        sides, host = (self.client, self.server), self.interference
        others = sum(side.waited_percent or 0.0 for side in sides if side)
        others += host.stolen_percent or 0.0 if host else 0.0
        return None if others > MAX_OTHERS_PERCENT else self._latency_error_s("p99")

    def _latency_error_s(self, percentile: str) -> float | None:
        late_s = (self.server.delay_error_s if self.server else None) or {}
        delay = str(self.trial.get("target", {}).get("delay", ""))
        is_fixed = delay.replace(".", "").isdigit()
        if self.latency_s is None or percentile not in late_s or not is_fixed:
            return None
        return float(getattr(self.latency_s, percentile)) - float(delay) - late_s[percentile]

    @property
    def reasons(self) -> list[str]:
        """Return each note behind its code, and the first error: all that there is to explain."""
        notes = [f"{note.code}: {note.message}" for note in self.warnings]
        return [*notes, *(f"first error: {error}" for error in self.first_errors[:1])]

    @property
    def says(self) -> str:
        """Return one line: what ran, what was answered and when, and how far to trust it."""
        arm = arm_label(self.axes, in_line=True)
        took = f"{self.wall_s:.2f} s" if self.wall_s is not None else "no answer"
        codes = ", ".join(dict.fromkeys(note.code for note in self.warnings))
        trust = f"{self.verdict} ({codes})" if codes else self.verdict
        failed = f" ({self.counts.why})" if self.counts.failures else ""
        several = f" by {len(self.clients)} clients" if self.clients else ""
        counts = f"{self.counts.ok:,} of {self.counts.planned:,} ok{failed}{several}"
        if "experiment" in self.trial:
            found = [f"{name} {value:,.4g}" for name, value in self.figures.items()]
            return f"{arm or self.ran}: {', '.join([*found, trust])}"
        if self.trial.get("program") and not self.counts.planned:  # nobody counted its requests
            return f"{arm or self.ran}: {took}, {trust}"
        return f"{arm or self.ran}: {counts}, {took}, {trust}"

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        text = visible(f"Record {self.id}: {self.says}", lines=False)
        more = f"<code>lab.load({escape(self.id)!r})</code>"
        html = f"<p>{escape(text)}. All of it: {more}</p>"
        return {"text/html": html, "text/plain": text}

    def to_dict(self) -> dict[str, Any]:
        """Return this record as plain data, ready for JSON."""
        return dict(msgspec.to_builtins(self, str_keys=True))
