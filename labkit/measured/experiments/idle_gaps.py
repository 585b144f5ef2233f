"""Requests with a pause between them, shorter or longer than what a connection is kept alive."""

from __future__ import annotations

import asyncio
from time import perf_counter

import aiohttp

from labkit.measured.experiments import Figures


async def measure(
    url: str, *, keepalive_timeout: float, gap_s: float = 0.015, requests: int = 100
) -> Figures:
    """Connections that were opened, and the mean time of a request, the pauses left out."""
    opened, took_s = 0, 0.0
    trace = aiohttp.TraceConfig()

    async def count(*_: object) -> None:
        nonlocal opened
        opened += 1

    trace.on_connection_create_end.append(count)
    connector = aiohttp.TCPConnector(keepalive_timeout=keepalive_timeout)
    async with aiohttp.ClientSession(connector=connector, trace_configs=[trace]) as session:
        for item in range(requests):
            began = perf_counter()
            async with session.get(f"{url}/{item}") as response:
                await response.read()
            took_s += perf_counter() - began
            await asyncio.sleep(gap_s)
    return {"connections": float(opened), "latency_s": took_s / requests}
