"""Bodies over aiohttp: the server's cap, what a coding costs and saves, memory while reading."""

from __future__ import annotations

import gc
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from statistics import median
from time import perf_counter, process_time
from urllib.parse import urlencode

import aiohttp
from aiohttp import hdrs, web

from labkit.measured.experiments import Figures
from labkit.measured.probes.window import ProcessReader, own_peak_bytes, own_rss_bytes
from labkit.spec import validation

CAP_BYTES = 100_000
SENT_CHUNK_BYTES = 10_000
READ_CHUNK_BYTES = 8_192
WAYS = ("whole", "chunks", "list")


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

    body = b"x" * (CAP_BYTES + beyond_bytes)

    async def chunks() -> AsyncIterator[bytes]:
        for at in range(0, len(body), SENT_CHUNK_BYTES):
            yield body[at : at + SENT_CHUNK_BYTES]

    app = web.Application(client_max_size=CAP_BYTES)
    app.router.add_post("/", take)
    async with (
        served(app) as own,
        aiohttp.ClientSession() as session,
        session.post(own, data=body if announced else chunks()) as response,
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
        async with session.get(f"{url}/-/stats") as response:
            server = ProcessReader(json.loads(await response.read())["pid"])

        def server_s() -> float:
            return server.ran_s() or server.cpu_s() or 0.0

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
        server.close()
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
    if how not in WAYS:
        raise validation.unknown("how", how, WAYS)

    async def read(size: int) -> int:
        async with session.get(f"{url}/bytes/{size}") as response:
            if how == "whole":
                return len(await response.read())
            chunks = response.content.iter_chunked(READ_CHUNK_BYTES)
            if how == "list":
                return sum(map(len, [chunk async for chunk in chunks]))
            total = 0
            async for chunk in chunks:
                total += len(chunk)
            return total

    async with aiohttp.ClientSession() as session:
        # A first request loads and allocates what every request needs.
        await read(1_000)
        gc.collect()
        before_bytes = own_rss_bytes()
        got = await read(size_bytes)
    if got != size_bytes:
        raise ValueError(f"{got} bytes came instead of {size_bytes}")
    return {"growth_bytes": float(max(own_peak_bytes() - before_bytes, 0))}
