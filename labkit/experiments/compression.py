"""What gzip makes of the tutorial's body on the wire, and what that costs in CPU.

The body is a JSON object with the thirteen characters of the usual greeting a thousand times.
Server and client are in this process, so the CPU is that of both.
"""

from __future__ import annotations

import gzip
import json
from time import process_time

import aiohttp
from aiohttp import web

from labkit.experiments import Figures
from labkit.experiments.served import served

BODY = json.dumps({"message": "Hello, World!" * 1000}).encode()


async def measure(url: str | None, *, gzipped: bool, requests: int = 100) -> Figures:
    """Bytes of the body as they came over the wire, and CPU a request, unpacking included."""

    async def answer(_: web.Request) -> web.Response:
        body = gzip.compress(BODY) if gzipped else BODY
        headers = {"Content-Encoding": "gzip"} if gzipped else {}
        return web.Response(body=body, headers=headers, content_type="application/json")

    app = web.Application()
    app.router.add_get("/", answer)
    async with (
        served(app) as own,
        aiohttp.ClientSession(auto_decompress=False) as session,
    ):
        began_s = process_time()
        for _ in range(requests):
            async with session.get(own) as response:
                body = await response.read()
            _check(gzip.decompress(body) if gzipped else body)
        cpu_s = process_time() - began_s
    return {"body_bytes": float(len(body)), "cpu_us": 1e6 * cpu_s / requests}


def _check(body: bytes) -> None:
    if body != BODY:
        raise ValueError("the body that came is not the one that was sent")
