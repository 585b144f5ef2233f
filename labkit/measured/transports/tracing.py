"""Phases of requests, by aiohttp's tracing events.

A request is in exactly one phase at any time, so their times add up to its own. The `Tracer` is
pure: it is called when a request enters a phase. Memory is constant: sums and a histogram of each
phase, the first requests whole, and an even sample of those behind them.

Plan of the events. A context variable says which request an event is of: it holds in the task that
makes the request, and in those which aiohttp starts on its behalf. aiohttp hands on, as the second
argument of each event, what the factory of its configuration gives: that request. Most events mean
that the request enters a phase and nothing else; the others count, or have to do with looking up
names, where one look-up serves all requests that ask for the name meanwhile.
"""

from collections import Counter
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from time import perf_counter_ns
from types import SimpleNamespace
from typing import Any, cast

import aiohttp

from labkit.measured.transports.client import Fetch
from labkit.record import histogram
from labkit.record.requests import PHASES, Phases, Spent, Traced

PREPARE, QUEUE, DNS, CONNECT, SEND, WAIT, READ, RELEASE, OVER = range(len(PHASES) + 1)
# Requests of which each is in the sample, from the start on.
MAX_FIRST = 32
# Size of the even sample of those that come later.
MAX_LATER = 64


@dataclass(slots=True)
class TracedRequest:
    """One request under way, in its phase `phase` since `since_ns`."""

    item: int
    number: int
    began_ns: int
    since_ns: int
    phase: int = PREPARE
    spent_ns: list[int] = field(default_factory=lambda: [0] * len(PHASES))
    reused: bool = False

    def enter(self, phase: int, now_ns: int) -> None:
        """End the present phase and begin `phase`; a phase may come again."""
        self.spent_ns[self.phase] += now_ns - self.since_ns
        self.phase, self.since_ns = phase, now_ns


class Tracer:
    """Collects the phases of the requests. `clock` gives nanoseconds that never go back."""

    def __init__(self, clock: Callable[[], int] = perf_counter_ns) -> None:
        self.clock = clock
        self.ok = self._begun = 0
        self._ended_in: Counter[int] = Counter()
        self._sums_ns = [0] * len(PHASES)
        # Sparse, as most phases of most trials lie in a few buckets: at most what latencies have.
        self._buckets: list[Counter[int]] = [Counter() for _ in PHASES]
        self._longest_ns = [0] * len(PHASES)
        # Of all requests: `opened`, `reused`, `redirects`, `lookups`, `cached`, as in `Phases`.
        self.counts: Counter[str] = Counter()
        self._first_ns = 0
        self._first: list[Traced] = []
        self._later: dict[int, Traced] = {}
        self._every = 1

    def begin(self, item: int) -> TracedRequest:
        """Begin a request for `item` now."""
        now_ns = self.clock()
        self._first_ns = self._first_ns if self._begun else now_ns
        request = TracedRequest(item, self._begun, now_ns, now_ns)
        self._begun += 1
        return request

    def enter(self, request: TracedRequest, phase: int) -> None:
        """Begin a phase of the request, unless it is over.

        What is done on its behalf may go on after a request has given up.
        """
        if request.phase != OVER:
            request.enter(phase, self.clock())

    def succeed(self, request: TracedRequest) -> None:
        """End a request that was answered, and the answer read."""
        request.enter(OVER, self.clock())
        self.ok += 1
        for phase, spent_ns in enumerate(request.spent_ns):
            if spent_ns:
                self._sums_ns[phase] += spent_ns
                self._buckets[phase][histogram.index(spent_ns)] += 1
                self._longest_ns[phase] = max(self._longest_ns[phase], spent_ns)
        self._sample(request, failed=False)

    def fail(self, request: TracedRequest) -> None:
        """End a request otherwise, in the phase that it is in."""
        self._ended_in[request.phase] += 1
        request.enter(OVER, self.clock())
        self._sample(request, failed=True)

    def _sample(self, request: TracedRequest, *, failed: bool) -> None:
        behind = request.number - MAX_FIRST
        if behind > 0 and behind % self._every:
            return
        traced = Traced(
            item=request.item,
            began_s=(request.began_ns - self._first_ns) / 1e9,
            spent_s=[spent_ns / 1e9 for spent_ns in request.spent_ns],
            reused=request.reused,
            failed=failed,
        )
        if behind < 0:
            self._first.append(traced)
            return
        self._later[behind] = traced
        while len(self._later) > MAX_LATER:
            self._every *= 2
            later = self._later.items()
            self._later = {number: one for number, one in later if number % self._every == 0}

    @property
    def histograms(self) -> dict[str, dict[int, int]]:
        """Return by phase how many requests spent how long in it."""
        return {name: {**self._buckets[phase]} for phase, name in enumerate(PHASES)}

    def summary(self) -> Phases:
        """Return the phases of all requests that have ended."""
        sample = [*self._first, *self._later.values()]
        phases = {}
        for phase, name in enumerate(PHASES):
            counts, sum_s = self._buckets[phase], self._sums_ns[phase] / 1e9
            longest_s = self._longest_ns[phase] / 1e9
            phases[name] = histogram.phase(counts, sum_s=sum_s, longest_s=longest_s, of=self.ok)
        return Phases(
            n=self.ok,
            spent_s=Spent(**phases),
            ended_in={PHASES[phase]: n for phase, n in sorted(self._ended_in.items())},
            **self.counts,
            sample=sorted(sample, key=lambda one: one.began_s),
        )


_current: ContextVar[TracedRequest] = ContextVar("request")


def traced(fetch: Fetch, tracer: Tracer) -> Fetch:
    """Return `fetch`, of which each call is one request of the tracer's."""

    async def call(item: int) -> object:
        request = tracer.begin(item)
        token = _current.set(request)
        try:
            answer = await fetch(item)
        except BaseException:
            tracer.fail(request)
            raise
        else:
            tracer.succeed(request)
            return answer
        finally:
            _current.reset(token)

    return call


def events(tracer: Tracer) -> aiohttp.TraceConfig:
    """Return what a session is to be given as one of its `trace_configs`.

    It serves requests that are made within `traced`, and raises `LookupError` for any other.
    """

    # aiohttp hands on whatever the factory gives, and asks nothing of it.
    def current(trace_request_ctx: object) -> SimpleNamespace:
        return cast(SimpleNamespace, _current.get())

    def entering(phase: int, counted: str = "") -> Callable[[object, Any, object], Any]:
        async def enter(_: object, request: Any, __: object) -> None:
            if counted:
                tracer.counts[counted] += 1
            if phase == CONNECT or counted == "reused":
                request.reused = bool(counted)
            tracer.enter(request, phase)

        return enter

    config = aiohttp.TraceConfig(trace_config_ctx_factory=cast(Any, current))
    config.on_connection_queued_start.append(entering(QUEUE))
    config.on_connection_reuseconn.append(entering(SEND, "reused"))
    config.on_connection_create_start.append(entering(CONNECT))
    config.on_connection_create_end.append(entering(SEND, "opened"))
    _watch_lookups(config, tracer)
    config.on_request_headers_sent.append(entering(WAIT))
    config.on_request_redirect.append(entering(PREPARE, "redirects"))
    config.on_request_end.append(entering(READ))
    config.on_response_chunk_received.append(entering(RELEASE))
    return config


def _watch_lookups(config: aiohttp.TraceConfig, tracer: Tracer) -> None:
    """Let requests be in the phase of the look-up while their name is looked up, by whichever."""
    # Of each name that is being looked up, the requests that wait for another's look-up of it.
    waiting: dict[str, list[TracedRequest]] = {}

    async def found_in_cache(session: Any, request: Any, params: Any) -> None:
        tracer.counts["cached"] += 1
        # aiohttp calls it a hit as well where another's look-up of the name is still under way, and
        # may say so before it reports that look-up. Only the connector knows.
        if any(host == params.host for host, _ in session.connector._throttle_dns_futures):
            waiting.setdefault(params.host, []).append(request)
            tracer.enter(request, DNS)

    async def looking_up(_: object, request: Any, params: Any) -> None:
        tracer.counts["lookups"] += 1
        # Requests that are over need not be moved on; a look-up that failed has moved none.
        waiting[params.host] = [one for one in waiting.get(params.host, []) if one.phase == DNS]
        tracer.enter(request, DNS)

    async def looked_up(_: object, request: Any, params: Any) -> None:
        for one in [request, *waiting.pop(params.host, [])]:
            if one.phase == DNS:
                tracer.enter(one, CONNECT)

    config.on_dns_cache_hit.append(found_in_cache)
    config.on_dns_resolvehost_start.append(looking_up)
    config.on_dns_resolvehost_end.append(looked_up)
