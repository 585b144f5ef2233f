"""How many requests of a session really travel at a time where nobody says how many may."""

from __future__ import annotations

import asyncio

import aiohttp

from labkit.measured.experiments import Figures

REQUESTS = 300


async def measure(url: str) -> Figures:
    """The most that the server saw at a time, of `REQUESTS` that were started at once."""
    async with aiohttp.ClientSession() as session:

        async def fetch(item: int) -> None:
            async with session.get(f"{url}/{item}") as response:
                await response.read()

        await asyncio.gather(*map(fetch, range(REQUESTS)))
        async with session.get(f"{url}/-/stats") as response:
            counted = await response.json()
    return {"most_in_flight": float(counted["max_in_flight"])}
