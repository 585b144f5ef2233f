"""What aiohttp's own server answers to a body around its `client_max_size`."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
from aiohttp import web

from labkit.measured.experiments import Figures
from labkit.measured.experiments.served import served

CAP_BYTES = 100_000
CHUNK_BYTES = 10_000


async def measure(url: str | None, *, beyond_bytes: int, announced: bool = True) -> Figures:
    """The status for a body that is so many bytes larger than the cap (or smaller, below 0).

    `announced`: its length is said beforehand; else it comes in chunks, and is counted as it comes.
    """

    async def take(request: web.Request) -> web.Response:
        return web.Response(text=str(len(await request.read())))

    body = b"x" * (CAP_BYTES + beyond_bytes)

    async def chunks() -> AsyncIterator[bytes]:
        for at in range(0, len(body), CHUNK_BYTES):
            yield body[at : at + CHUNK_BYTES]

    app = web.Application(client_max_size=CAP_BYTES)
    app.router.add_post("/", take)
    async with (
        served(app) as own,
        aiohttp.ClientSession() as session,
        session.post(own, data=body if announced else chunks()) as response,
    ):
        return {"status": float(response.status)}
