"""aiohttp's tracing events -> the phases of a request.

Which request an event is of, a context variable says: it holds in the task that makes the request,
and in those which aiohttp starts on its behalf.
"""

from __future__ import annotations

from contextvars import ContextVar
from types import SimpleNamespace
from typing import Any, cast

import aiohttp

from labkit.measured.probes import phases
from labkit.measured.probes.phases import Request, Tracer
from labkit.measured.transports import Fetch

_current: ContextVar[Request] = ContextVar("request")


def traced(fetch: Fetch, tracer: Tracer) -> Fetch:
    """`fetch`, of which each call is one request of the tracer's."""

    async def call(item: int) -> None:
        request = tracer.begin(item)
        token = _current.set(request)
        try:
            await fetch(item)
        except BaseException:
            tracer.fail(request)
            raise
        else:
            tracer.succeed(request)
        finally:
            _current.reset(token)

    return call


def events(tracer: Tracer) -> aiohttp.TraceConfig:
    """What a session is to be given as one of its `trace_configs`.

    It serves requests that are made within `traced`, and raises `LookupError` for any other.
    """

    # aiohttp hands on whatever the factory gives, and asks nothing of it.
    def current(trace_request_ctx: object) -> SimpleNamespace:
        return cast(SimpleNamespace, _current.get())

    config = aiohttp.TraceConfig(trace_config_ctx_factory=cast(Any, current))
    heard = _Events(tracer)
    config.on_connection_queued_start.append(heard.queued)
    config.on_connection_reuseconn.append(heard.reused)
    config.on_connection_create_start.append(heard.connecting)
    config.on_connection_create_end.append(heard.connected)
    config.on_dns_cache_hit.append(heard.known)
    config.on_dns_resolvehost_start.append(heard.asked)
    config.on_dns_resolvehost_end.append(heard.told)
    config.on_request_headers_sent.append(heard.sent)
    config.on_request_redirect.append(heard.redirected)
    config.on_request_end.append(heard.answered)
    config.on_response_chunk_received.append(heard.read)
    return config


class _Events:
    """One method for each event; the second argument is the request that it is of."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer, self._enter = tracer, tracer.enter
        # Of each name that is being looked up, the requests that wait for another's look-up of it.
        self._waiting: dict[str, list[Request]] = {}

    async def queued(self, _: object, request: Any, __: object) -> None:
        self._enter(request, phases.QUEUE)

    async def reused(self, _: object, request: Any, __: object) -> None:
        self._tracer.reused += 1
        request.reused = True
        self._enter(request, phases.SEND)

    async def connecting(self, _: object, request: Any, __: object) -> None:
        request.reused = False
        self._enter(request, phases.CONNECT)

    async def connected(self, _: object, request: Any, __: object) -> None:
        self._tracer.opened += 1
        self._enter(request, phases.SEND)

    async def known(self, session: Any, request: Any, params: Any) -> None:
        self._tracer.cached += 1
        # aiohttp calls it a hit as well where another's look-up of the name is still under way, and
        # may say so before it tells of that look-up. Only the connector knows.
        if any(host == params.host for host, _ in session.connector._throttle_dns_futures):
            self._waiting.setdefault(params.host, []).append(request)
            self._enter(request, phases.DNS)

    async def asked(self, _: object, request: Any, params: Any) -> None:
        self._tracer.lookups += 1
        # Those that are over need not be told; a look-up that failed never told them.
        waiting = self._waiting.get(params.host, [])
        self._waiting[params.host] = [one for one in waiting if one.phase == phases.DNS]
        self._enter(request, phases.DNS)

    async def told(self, _: object, request: Any, params: Any) -> None:
        for one in [request, *self._waiting.pop(params.host, [])]:
            if one.phase == phases.DNS:
                self._enter(one, phases.CONNECT)

    async def sent(self, _: object, request: Any, __: object) -> None:
        self._enter(request, phases.WAIT)

    async def redirected(self, _: object, request: Any, __: object) -> None:
        self._tracer.redirects += 1
        self._enter(request, phases.PREPARE)

    async def answered(self, _: object, request: Any, __: object) -> None:
        self._enter(request, phases.READ)

    async def read(self, _: object, request: Any, __: object) -> None:
        self._enter(request, phases.RELEASE)
