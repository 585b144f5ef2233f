"""A large body read whole, chunk by chunk, or chunk by chunk into a list: what each holds."""

from __future__ import annotations

import gc
import os

import aiohttp

from labkit.measured.experiments import Figures
from labkit.measured.probes.memory import Watched, own_peak_bytes
from labkit.spec import validation

CHUNK_BYTES = 8_192
WAYS = ("whole", "chunks", "list")


async def measure(url: str, *, how: str, size_bytes: int = 50_000_000) -> Figures:
    """By how much the peak memory of this process exceeds what it held before the request."""
    if how not in WAYS:
        raise validation.unknown("how", how, WAYS)
    async with aiohttp.ClientSession() as session:
        # A first request loads and allocates what every request needs.
        await _read(session, f"{url}/bytes/1000", how)
        gc.collect()
        before = _held_bytes()
        got = await _read(session, f"{url}/bytes/{size_bytes}", how)
    if got != size_bytes:
        raise ValueError(f"{got} bytes came instead of {size_bytes}")
    return {"growth_bytes": float(max((own_peak_bytes() or 0) - before, 0))}


async def _read(session: aiohttp.ClientSession, url: str, how: str) -> int:
    async with session.get(url) as response:
        if how == "whole":
            return len(await response.read())
        if how == "list":
            chunks = [chunk async for chunk in response.content.iter_chunked(CHUNK_BYTES)]
            return sum(map(len, chunks))
        total = 0
        async for chunk in response.content.iter_chunked(CHUNK_BYTES):
            total += len(chunk)
        return total


def _held_bytes() -> int:
    own = Watched(os.getpid())
    try:
        return own.rss_bytes() or own_peak_bytes() or 0
    finally:
        own.close()
