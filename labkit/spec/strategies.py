"""The names of the strategies, and the options each takes; `measured.strategies` has the code."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any

from msgspec import Meta

# Name -> the options it takes, with their defaults. `measured.strategies` holds the code; a test
# holds the two together, because the parent may not import what runs in a measured process.
STRATEGIES: Mapping[str, Mapping[str, int]] = MappingProxyType(
    {
        "sequential": {},
        "gather": {},
        "semaphore": {},
        "as_completed": {},
        "task_pool": {},
        "pypeln": {"maxsize": 0},
        "chunked": {"chunk_size": 1_000},
        "wait": {},
        "task_group": {},
        "queue": {},
        "worker_pool": {},
        "priority": {"classes": 1},
        "aiometer": {},
        "aiostream": {},
        "anyio": {},
    }
)
OPTION_TYPES: Mapping[str, Any] = MappingProxyType(
    {
        "maxsize": Annotated[int, Meta(ge=0, le=100_000_000)],
        "chunk_size": Annotated[int, Meta(ge=1, le=100_000_000)],
        "classes": Annotated[int, Meta(ge=1, le=1_000)],
    }
)


GATHER_AT_MOST = 1_000_000
"""Items that `gather` may be given: it holds a task for each."""
