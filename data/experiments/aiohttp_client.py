"""What aiohttp does with connections and bodies: limits, keep-alive, DNS cache, codings, memory."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from statistics import median
from time import perf_counter, process_time
from typing import Any
from urllib.parse import urlencode

import aiohttp
from aiohttp import hdrs, web

from labkit.measured.probes import malloc
from labkit.measured.probes.window import ProcessReader, own_peak_bytes, own_rss_bytes
from labkit.measured.transports import open_transport
from labkit.record.record import Figures
from labkit.spec import validation
from labkit.spec.transports import AiohttpTransport

MANY_REQUESTS, FEW_REQUESTS = 300, 5
LOOKUP_S = 0.02
CAP_BYTES, FREED_BYTES = 100_000, 300_000
READ_CHUNK_BYTES = 8_192
WAYS = ("whole", "chunks", "list")


async def ask(session: aiohttp.ClientSession, url: str) -> Any:
    """Return the JSON document at `url`."""
    async with session.get(url) as response:
        return await response.json()


# Connections


async def default_limit(url: str) -> Figures:
    """Count how many of 300 requests travel at a time where nobody sets a limit."""
    async with aiohttp.ClientSession() as session:

        async def fetch(item: int) -> None:
            async with session.get(f"{url}/{item}") as response:
                await response.read()

        await asyncio.gather(*map(fetch, range(MANY_REQUESTS)))
        stats = await ask(session, f"{url}/-/stats")
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
        log = (await ask(session, f"{url}/-/log"))["requests"]
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
    connector, took_s = aiohttp.TCPConnector(keepalive_timeout=keepalive_timeout), 0.0
    async with aiohttp.ClientSession(connector=connector) as session:
        for item in range(requests):
            began_s = perf_counter()
            async with session.get(f"{url}/{item}") as response:
                await response.read()
            took_s += perf_counter() - began_s
            await asyncio.sleep(gap_s)
        opened = (await ask(session, f"{url}/-/stats"))["connections_opened"]
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


# Bodies


@asynccontextmanager
async def served(app: web.Application) -> AsyncIterator[str]:
    """Serve `app` on loopback within the block, which gets its URL."""
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()


async def body_cap(url: str | None, *, beyond_bytes: int, announced: bool = True) -> Figures:
    """Return the status for a body that is so many bytes larger than the cap (or smaller, below 0).

    The server is aiohttp's own, with a `client_max_size`. With `announced` the length is sent
    before the body; else the body comes in chunks, and is counted as it comes.
    """

    async def take(request: web.Request) -> web.Response:
        return web.Response(text=str(len(await request.read())))

    app = web.Application(client_max_size=CAP_BYTES)
    app.router.add_post("/", take)
    body = b"x" * (CAP_BYTES + beyond_bytes)
    async with (
        served(app) as own,
        aiohttp.ClientSession() as session,
        session.post(own, data=body, chunked=None if announced else True) as response,
    ):
        return {"status": float(response.status)}


async def compression(
    url: str,
    *,
    coding: str,
    path: str = "/message/1000",
    rate: int | None = None,
    level: int | None = None,
    requests: int = 50,
) -> Figures:
    """Measure bytes of a body on the wire and decoded, CPU of each end a request, median latency.

    The server encodes each body anew, and sends it at `rate` bytes a second, as over a link. The
    client is aiohttp's, one request at a time; a first one loads what every request needs.
    """
    asked = {name: value for name, value in (("rate", rate), ("level", level)) if value is not None}
    target = f"{url}{path}?{urlencode(asked)}"
    async with aiohttp.ClientSession(headers={hdrs.ACCEPT_ENCODING: coding}) as session:
        async with (
            session.get(f"{url}{path}") as response,
            session.get(f"{url}{path}?encoding=identity") as plain,
        ):
            body = await response.read()
            found = response.headers.get(hdrs.CONTENT_ENCODING, "identity")
            if found != coding or body != await plain.read():
                raise ValueError(f"the body came as {found} instead of {coding}, or is another one")
        server = ProcessReader((await ask(session, f"{url}/-/stats"))["pid"])

        def server_s() -> float:
            return server.cpu_s() or 0.0

        wire_bytes, latencies_s = 0, []
        began_s, server_began_s = process_time(), server_s()
        for _ in range(requests):
            sent_s = perf_counter()
            async with session.get(target) as response:
                size_bytes = len(await response.read())
            latencies_s.append(perf_counter() - sent_s)
            if size_bytes != len(body):
                raise ValueError(f"{size_bytes} bytes came instead of {len(body)}")
            wire_bytes = max(wire_bytes, response.content.total_raw_bytes)
        client_us = 1e6 * (process_time() - began_s) / requests
        server_us = 1e6 * (server_s() - server_began_s) / requests
    return {
        "wire_bytes": float(wire_bytes),
        "decoded_bytes": float(len(body)),
        "client_cpu_us": client_us,
        "server_cpu_us": server_us,
        "cpu_us": client_us + server_us,
        "latency_s": median(latencies_s),
    }


async def reading(url: str, *, how: str, size_bytes: int = 50_000_000) -> Figures:
    """Measure the growth of memory while a large body is read: whole, in chunks, or in a list.

    The growth is from this process's memory before the request to its peak.
    """
    validation.check_known("how", how, WAYS)

    async def read(size: int) -> int:
        async with session.get(f"{url}/bytes/{size}") as response:
            if how == "whole":
                return len(await response.read())
            chunks = response.content.iter_chunked(READ_CHUNK_BYTES)
            if how == "list":
                return sum(map(len, [chunk async for chunk in chunks]))
            return sum([len(chunk) async for chunk in chunks])

    async with aiohttp.ClientSession() as session:
        # A first request loads and allocates what every request needs.
        await read(1_000)
        gc.collect()
        before_bytes = own_rss_bytes()
        got = await read(size_bytes)
    if got != size_bytes:
        raise ValueError(f"{got} bytes came instead of {size_bytes}")
    return {"growth_bytes": float(max(own_peak_bytes() - before_bytes, 0))}


async def freed_block(url: str, *, requests: int = 1_000) -> Figures:
    """Measure the CPU of a request on asyncio before and after one block of 300 KB was freed.

    Before, malloc takes what asyncio reads into from the system each time: see `probes.malloc`.
    Raises `ValueError` where it does not: on another system, or as such a block was freed already,
    which Python does from 3.13 on.
    """
    async with aiohttp.ClientSession() as session:

        async def cpu_us() -> float:
            began_s = process_time()
            for item in range(requests):
                async with session.get(f"{url}/{item}") as response:
                    await response.read()
            return 1e6 * (process_time() - began_s) / requests

        await cpu_us()  # loads and allocates what every request needs
        if not malloc.settle():
            raise ValueError("malloc takes no block of 256 KiB from the system on this Python")
        plain_us = await cpu_us()
        bytearray(FREED_BYTES)
        freed_us = await cpu_us()
    return {"plain_cpu_us": plain_us, "freed_cpu_us": freed_us, "cpu_ratio": freed_us / plain_us}
