"""What a coding makes of a body on the wire, and what it costs: CPU at both ends, and time.

The server packs each body anew, and sends it at a rate where one is asked for, as over a link. The
client is aiohttp's, one request at a time. What every request needs is loaded before it counts.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from statistics import median
from time import perf_counter, process_time
from urllib.parse import urlencode

import aiohttp
from aiohttp import hdrs

from labkit.measured.experiments import Figures
from labkit.measured.probes.memory import Watched


async def measure(
    url: str,
    *,
    coding: str,
    path: str = "/message/1000",
    rate: int | None = None,
    level: int | None = None,
    requests: int = 50,
) -> Figures:
    """Bytes of a body on the wire and unpacked, CPU of each end a request, the median latency."""
    asked = {name: value for name, value in (("rate", rate), ("level", level)) if value is not None}
    target = f"{url}{path}?{urlencode(asked)}"
    async with aiohttp.ClientSession(headers={hdrs.ACCEPT_ENCODING: coding}) as session:
        size_bytes = await _checked(session, f"{url}{path}", coding)
        server_s = await _server_clock(session, url)
        began_s, server_began_s = process_time(), server_s()
        got = [await _get(session, target, size_bytes) for _ in range(requests)]
        client_us = 1e6 * (process_time() - began_s) / requests
        server_us = 1e6 * (server_s() - server_began_s) / requests
        return {
            "wire_bytes": float(max(wire_bytes for wire_bytes, _ in got)),
            "decoded_bytes": float(size_bytes),
            "client_cpu_us": client_us,
            "server_cpu_us": server_us,
            "cpu_us": client_us + server_us,
            "latency_s": median(took_s for _, took_s in got),
        }


async def _checked(session: aiohttp.ClientSession, url: str, coding: str) -> int:
    """The size of the body, once it is sure that it comes packed as asked and is the plain one."""
    async with session.get(url) as response, session.get(f"{url}?encoding=identity") as plain:
        body = await response.read()
        found = response.headers.get(hdrs.CONTENT_ENCODING, "identity")
        if found != coding or body != await plain.read():
            raise ValueError(f"the body came as {found} instead of {coding}, or is another one")
    return len(body)


async def _get(session: aiohttp.ClientSession, url: str, size_bytes: int) -> tuple[int, float]:
    """The bytes of the body as they came, before they were unpacked, and how long it took."""
    began_s = perf_counter()
    async with session.get(url) as response:
        body = await response.read()
    took_s = perf_counter() - began_s
    if len(body) != size_bytes:
        raise ValueError(f"{len(body)} bytes came instead of {size_bytes}")
    return response.content.total_raw_bytes, took_s


async def _server_clock(session: aiohttp.ClientSession, url: str) -> Callable[[], float]:
    """What reads the CPU seconds that the server has used."""
    async with session.get(f"{url}/-/stats") as response:
        server = Watched(json.loads(await response.read())["pid"])
    return lambda: server.ran_s() or server.cpu_s() or 0.0
