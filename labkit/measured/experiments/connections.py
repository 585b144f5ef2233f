"""Which connections aiohttp's client opens: limit, keep-alive, DNS cache, no pipelining."""

from __future__ import annotations

import asyncio
from time import perf_counter
from typing import Any

import aiohttp

from labkit.measured.experiments import Figures
from labkit.measured.transports import open_transport
from labkit.spec.transports import AiohttpTransport

MANY_REQUESTS, FEW_REQUESTS = 300, 5
LOOKUP_S = 0.02


async def default_limit(url: str) -> Figures:
    """Count how many of 300 requests travel at a time where nobody sets a limit."""
    async with aiohttp.ClientSession() as session:

        async def fetch(item: int) -> None:
            async with session.get(f"{url}/{item}") as response:
                await response.read()

        await asyncio.gather(*map(fetch, range(MANY_REQUESTS)))
        async with session.get(f"{url}/-/stats") as response:
            stats = await response.json()
    return {"most_in_flight": float(stats["max_in_flight"])}


async def gathered(url: str) -> Figures:
    """Count the connections of requests that are gathered while an answer is still unread.

    And how many of them began while an earlier one was not answered. If they were pipelined, they
    would share a connection in the server's log.
    """
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{url}/0") as first:
            others = [session.get(f"{url}/{item}") for item in range(1, FEW_REQUESTS)]
            answers = await asyncio.gather(*others)
            await first.read()
        for answer in answers:
            await answer.read()
            answer.release()
        async with session.get(f"{url}/-/log") as response:
            log: list[dict[str, Any]] = (await response.json())["requests"]
    overlapping = 0
    for entry in log:
        began_s = entry["began_s"]
        overlapping += any(
            other["began_s"] < began_s < (other["ended_s"] or began_s) for other in log
        )
    connections = {entry["connection"] for entry in log}
    return {"connections": float(len(connections)), "overlapping": float(overlapping)}


async def idle_gaps(
    url: str, *, keepalive_timeout: float, gap_s: float = 0.015, requests: int = 100
) -> Figures:
    """Count connections, and time requests, with pauses shorter or longer than the keep-alive."""
    opened, took_s = 0, 0.0
    trace = aiohttp.TraceConfig()

    async def count(*_: object) -> None:
        nonlocal opened
        opened += 1

    trace.on_connection_create_end.append(count)
    connector = aiohttp.TCPConnector(keepalive_timeout=keepalive_timeout)
    async with aiohttp.ClientSession(connector=connector, trace_configs=[trace]) as session:
        for item in range(requests):
            began_s = perf_counter()
            async with session.get(f"{url}/{item}") as response:
                await response.read()
            took_s += perf_counter() - began_s
            await asyncio.sleep(gap_s)
    return {"connections": float(opened), "latency_s": took_s / requests}


async def resolver(url: str, *, cache: bool, named: bool, requests: int = 20) -> Figures:
    """Count lookups, and time requests, with and without aiohttp's DNS cache.

    The resolver is the lab's own and takes 20 ms. Each request opens a connection, because only a
    new connection needs an address.
    """
    settings = AiohttpTransport(
        force_close=True, use_dns_cache=cache, resolve_s=LOOKUP_S if named else None
    )
    opened = open_transport(settings, url)
    async with opened as fetch:
        began_s = perf_counter()
        for item in range(requests):
            await fetch(item)
        took_s = perf_counter() - began_s
        lookups = opened.effective.get("lookups", 0)
    return {"lookups": float(lookups), "latency_s": took_s / requests}
