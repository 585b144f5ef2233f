"""Resolvers that ask no one: they know the addresses, and may take their time to tell them."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from urllib.parse import urlsplit

import aiohttp.abc

NAME = "lab.test"
"""What the synthetic server is called where it has a name. `.test` is reserved (RFC 6761)."""


class Known(aiohttp.abc.AbstractResolver):
    """Every name has these addresses, found in `lookup_s`; `lookups` counts how often it was asked.

    Several connectors may share one: it holds nothing.
    """

    def __init__(self, addresses: Sequence[str], lookup_s: float = 0.0) -> None:
        self._addresses, self._lookup_s = addresses, lookup_s
        self.lookups = 0

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[aiohttp.abc.ResolveResult]:
        """All the addresses, whatever the family that was asked for."""
        self.lookups += 1
        if self._lookup_s:
            await asyncio.sleep(self._lookup_s)
        return [
            aiohttp.abc.ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in self._addresses
        ]

    async def close(self) -> None:
        """Nothing is held."""


def named(url: str, lookup_s: float) -> tuple[str, Known]:
    """A URL that holds an address, with `NAME` in its place, and the resolver that knows it."""
    split = urlsplit(url)
    port = "" if split.port is None else f":{split.port}"
    renamed = split._replace(netloc=f"{NAME}{port}").geturl()
    return renamed, Known([split.hostname or ""], lookup_s)
