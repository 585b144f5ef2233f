"""What aiohttp's DNS cache saves: a resolver of the lab's own that takes 20 ms, on loopback.

Each request opens a connection, because only a new connection needs an address.
"""

from __future__ import annotations

import asyncio
import socket
from time import perf_counter

import aiohttp
import aiohttp.abc
from yarl import URL

from labkit.experiments import Figures

LOOKUP_S = 0.02
NAME = "lab.test"
"""Never asked of any real resolver: `.test` is reserved (RFC 6761)."""


class Slow(aiohttp.abc.AbstractResolver):
    """Every name is this machine, after `LOOKUP_S`."""

    def __init__(self) -> None:
        self.lookups = 0

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[aiohttp.abc.ResolveResult]:
        """127.0.0.1, whatever was asked for."""
        self.lookups += 1
        await asyncio.sleep(LOOKUP_S)
        return [
            aiohttp.abc.ResolveResult(
                hostname=host,
                host="127.0.0.1",
                port=port,
                family=socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
        ]

    async def close(self) -> None:
        """Nothing is held."""


async def measure(url: str, *, cache: bool, named: bool, requests: int = 20) -> Figures:
    """How often a name was looked up, and the mean time of a request."""
    slow = Slow()
    connector = aiohttp.TCPConnector(resolver=slow, use_dns_cache=cache, force_close=True)
    where = URL(url).with_host(NAME) if named else URL(url)
    async with aiohttp.ClientSession(connector=connector) as session:
        began = perf_counter()
        for item in range(requests):
            async with session.get(where / str(item)) as response:
                await response.read()
        took_s = perf_counter() - began
    return {"lookups": float(slow.lookups), "latency_s": took_s / requests}
