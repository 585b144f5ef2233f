"""A small service to start with one server or another: docs/guide.md has a line that compares them.

`app` is an ASGI application without any dependency, for uvicorn, granian, hypercorn and gunicorn:
it waits as long as `?wait=0.01` says, and answers with as many bytes as `?bytes=10240` asks for.
`of_aiohttp` makes the same service with aiohttp, for `python -m aiohttp.web`. Each answers any GET
with the same JSON. Two arguments after `of_aiohttp` slow it down, as a database behind it would:
how many seconds an answer takes, and how many places there are to wait in.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aiohttp import web

BODY = json.dumps({"items": [{"id": n, "title": f"item {n}"} for n in range(20)]}).encode()
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """Serve one request, or the start and the end of a server (ASGI 3)."""
    while scope["type"] == "lifespan":
        kind = (await receive())["type"]
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return
    query, body = scope["query_string"], BODY
    if query.startswith(b"wait="):
        await asyncio.sleep(float(query[5:]))
    if query.startswith(b"bytes="):
        body = b"x" * int(query[6:])
    head = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": head})
    await send({"type": "http.response.body", "body": body})


def of_aiohttp(argv: list[str]) -> web.Application:
    """Return the same service as an application of aiohttp."""
    from aiohttp import web

    seconds, places = (float(one) for one in argv or ("0", "100"))
    free = asyncio.Semaphore(int(places))

    async def answer(request: web.Request) -> web.Response:
        async with free:
            await asyncio.sleep(seconds)
        return web.Response(body=BODY, content_type="application/json")

    made = web.Application()
    made.router.add_get("/{name:.*}", answer)
    return made
