"""Requests gathered over one session while an answer is still unread: on which connections?

Whether that is pipelining shows in the server's own log: then they share a connection.
"""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp

from labkit.measured.experiments import Figures

REQUESTS = 5


async def measure(url: str) -> Figures:
    """Connections that the requests came on, and how many began while an earlier one went on."""
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{url}/0") as first:
            others = [session.get(f"{url}/{item}") for item in range(1, REQUESTS)]
            answers = await asyncio.gather(*others)
            await first.read()
        for answer in answers:
            await answer.read()
            answer.release()
        async with session.get(f"{url}/-/log") as response:
            log: list[dict[str, Any]] = (await response.json())["requests"]
    return {
        "connections": float(len({entry["connection"] for entry in log})),
        "overlapping": float(sum(_overlaps(entry, log) for entry in log)),
    }


def _overlaps(entry: dict[str, Any], log: list[dict[str, Any]]) -> bool:
    began_s = entry["began_s"]
    return any(one["began_s"] < began_s < (one["ended_s"] or began_s) for one in log)
