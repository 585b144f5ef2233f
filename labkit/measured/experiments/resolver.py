"""What aiohttp's DNS cache saves: the transport with a resolver of the lab's own that takes 20 ms.

Each request opens a connection, because only a new connection needs an address.
"""

from __future__ import annotations

from time import perf_counter

from labkit.measured.experiments import Figures
from labkit.measured.transports import open_transport
from labkit.spec import parts

LOOKUP_S = 0.02


async def measure(url: str, *, cache: bool, named: bool, requests: int = 20) -> Figures:
    """How often a name was looked up, and the mean time of a request."""
    settings = parts.AiohttpTransport(
        force_close=True, use_dns_cache=cache, resolve_s=LOOKUP_S if named else None
    )
    opened = open_transport(settings, url)
    async with opened as fetch:
        began = perf_counter()
        for item in range(requests):
            await fetch(item)
        took_s = perf_counter() - began
        lookups = opened.effective.get("lookups", 0)
    return {"lookups": float(lookups), "latency_s": took_s / requests}
