"""The code that runs in a measured process, by name: strategies and experiments.

Its names stand here, because the parent may not import that code: `measured.strategies` and
`measured.experiments` have it, and tests prove that both sides agree.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any

from msgspec import Meta

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
"""Each strategy with its options and their defaults."""

OPTION_TYPES: Mapping[str, Any] = MappingProxyType(
    {
        "maxsize": Annotated[int, Meta(ge=0, le=100_000_000)],
        "chunk_size": Annotated[int, Meta(ge=1, le=100_000_000)],
        "classes": Annotated[int, Meta(ge=1, le=1_000)],
    }
)
PEERS = ("aiometer", "aiostream", "anyio")
"""Strategies that need the package of their name, from the extra `peers`."""
LIBRARIES = ("pypeln", *PEERS)
"""Strategies that are another library's: a record names the version of the package."""
MAX_GATHER_ITEMS = 1_000_000
"""Items that `gather` may be given: it creates a task for each."""

EXPERIMENTS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "body_cap": ("status",),
        "cache_memory": ("in_use_bytes", "left_bytes"),
        "chunk_results": ("most_held", "all_s"),
        "clocks": ("seen_share",),
        "compression": (
            *("wire_bytes", "decoded_bytes"),
            *("client_cpu_us", "server_cpu_us", "cpu_us", "latency_s"),
        ),
        "default_limit": ("most_in_flight",),
        "freed_block": ("plain_cpu_us", "freed_cpu_us", "cpu_ratio"),
        "gathered": ("connections", "overlapping"),
        "held_lock": ("answered", "calls"),
        "idle_gaps": ("connections", "latency_s"),
        "overhead": ("throughput_ratio", "cpu_ratio"),
        "polling": ("poll_us",),
        "priority": ("urgent_wait_s", "other_wait_s", "all_s", "overtaken"),
        "reading": ("growth_bytes",),
        "resolver": ("lookups", "latency_s"),
        "weak_cache": ("kept", "locks_left"),
    }
)
"""Each experiment with the figures that it gives; the end of a figure's name is its unit."""

EXPERIMENT_SETTINGS: Mapping[str, str] = MappingProxyType(
    {
        "body_cap": "beyond_bytes announced?",
        "cache_memory": "how values?",
        "chunk_results": "how items?",
        "clocks": "clock",
        "compression": "coding path? rate? level? requests?",
        "freed_block": "requests?",
        "held_lock": "twice printed?",
        "idle_gaps": "keepalive_timeout gap_s? requests?",
        "overhead": "transport? loop? turns?",
        "polling": "limit",
        "priority": "queue pieces?",
        "reading": "how size_bytes?",
        "resolver": "cache named requests?",
        "weak_cache": "kind printed?",
    }
)
"""The settings of those that have any; one with a question mark may be left out."""
