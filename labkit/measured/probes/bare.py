"""A loop as a person would write it by hand, without any code of the lab: the yardstick.

What the lab adds to a request (its transport, its strategies, its probes) is what a trial costs
beyond this loop on the same event loop against the same server.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import aiohttp


async def run(url: str, requests: int, limit: int) -> int:
    """Send `requests` requests to `url`/0, /1, ... on `limit` workers; how many got a 200."""
    answered = 0

    async def worker(session: aiohttp.ClientSession, items: Iterator[int]) -> None:
        nonlocal answered
        for item in items:
            async with session.get(f"{url}/{item}", allow_redirects=False) as response:
                await response.read()
                answered += response.status == 200

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        items = iter(range(requests))
        await asyncio.gather(*(worker(session, items) for _ in range(limit)))
    return answered
