"""aiohttp's tracing events -> the phases of a request.

Plan. A context variable says which request an event is of: it holds in the task that makes the
request, and in those which aiohttp starts on its behalf. aiohttp hands on, as the second argument
of each event, what the factory of its configuration gives: that request. Most events mean that the
request enters a phase and nothing else; the others count, or have to do with looking up names,
where one look-up serves all requests that ask for the name meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from types import SimpleNamespace
from typing import Any, cast

import aiohttp

from labkit.measured.probes import phases
from labkit.measured.probes.phases import TracedRequest, Tracer
from labkit.measured.transports.client import Fetch

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
            if phase == phases.CONNECT or counted == "reused":
                request.reused = bool(counted)
            tracer.enter(request, phase)

        return enter

    config = aiohttp.TraceConfig(trace_config_ctx_factory=cast(Any, current))
    config.on_connection_queued_start.append(entering(phases.QUEUE))
    config.on_connection_reuseconn.append(entering(phases.SEND, "reused"))
    config.on_connection_create_start.append(entering(phases.CONNECT))
    config.on_connection_create_end.append(entering(phases.SEND, "opened"))
    _watch_lookups(config, tracer)
    config.on_request_headers_sent.append(entering(phases.WAIT))
    config.on_request_redirect.append(entering(phases.PREPARE, "redirects"))
    config.on_request_end.append(entering(phases.READ))
    config.on_response_chunk_received.append(entering(phases.RELEASE))
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
            tracer.enter(request, phases.DNS)

    async def looking_up(_: object, request: Any, params: Any) -> None:
        tracer.counts["lookups"] += 1
        # Requests that are over need not be moved on; a look-up that failed has moved none.
        others = waiting.get(params.host, [])
        waiting[params.host] = [one for one in others if one.phase == phases.DNS]
        tracer.enter(request, phases.DNS)

    async def looked_up(_: object, request: Any, params: Any) -> None:
        for one in [request, *waiting.pop(params.host, [])]:
            if one.phase == phases.DNS:
                tracer.enter(one, phases.CONNECT)

    config.on_dns_cache_hit.append(found_in_cache)
    config.on_dns_resolvehost_start.append(looking_up)
    config.on_dns_resolvehost_end.append(looked_up)
