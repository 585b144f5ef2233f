"""The code that runs in a measured process, by name: strategies and experiments.

Its names stand here, because the parent may not import that code: `measured.strategies` and
`measured.experiments` have it, and tests prove that both sides agree.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any

from msgspec import Meta

# Each strategy with its options and their defaults.
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
# Strategies that need the package of their name, from the extra `peers`.
PEERS = ("aiometer", "aiostream", "anyio")
# Strategies that are another library's: a record names the version of the package.
LIBRARIES = ("pypeln", *PEERS)
# Strategies that take all items before the first is done: none for items that end by the clock.
TAKE_ALL = ("gather", "semaphore", "aiometer", "anyio", "pypeln")
# Items that `gather` may be given: it creates a task for each.
MAX_GATHER_ITEMS = 1_000_000

# Each experiment: its module, the figures that it gives, its settings.
_EXPERIMENTS: Mapping[str, tuple[str, str, str]] = {
    "body_cap": ("aiohttp", "status", "beyond_bytes announced?"),
    "cache_memory": ("as_printed", "in_use_bytes left_bytes", "how values?"),
    "chunk_results": ("as_printed", "most_held all_s", "how items?"),
    "clocks": ("costs", "seen_share", "clock"),
    "compression": (
        "aiohttp",
        "wire_bytes decoded_bytes client_cpu_us server_cpu_us cpu_us latency_s",
        "coding path? rate? level? requests?",
    ),
    "default_limit": ("aiohttp", "most_in_flight", ""),
    "freed_block": ("aiohttp", "plain_cpu_us freed_cpu_us cpu_ratio", "requests?"),
    "gathered": ("aiohttp", "connections overlapping", ""),
    "held_lock": ("as_printed", "answered calls", "twice printed?"),
    "idle_gaps": ("aiohttp", "connections latency_s", "keepalive_timeout gap_s? requests?"),
    "overhead": ("costs", "throughput_ratio cpu_ratio", "transport? loop? turns?"),
    "polling": ("costs", "poll_us", "limit"),
    "priority": ("as_printed", "urgent_wait_s other_wait_s all_s overtaken", "queue pieces?"),
    "reading": ("aiohttp", "growth_bytes", "how size_bytes?"),
    "resolver": ("aiohttp", "lookups latency_s", "cache named requests?"),
    "weak_cache": ("as_printed", "kept locks_left", "kind printed?"),
}
EXPERIMENT_MODULES = {name: module for name, (module, _, _) in _EXPERIMENTS.items()}
EXPERIMENT_MODULES["timed"] = "costs"  # of a function of the user's own, for `lab_compare`
# Each experiment with the figures that it gives; the end of a figure's name is its unit.
EXPERIMENTS = {name: tuple(figures.split()) for name, (_, figures, _) in _EXPERIMENTS.items()}
# The settings of those that have any; one with a question mark may be left out.
EXPERIMENT_SETTINGS = {
    name: settings for name, (_, _, settings) in _EXPERIMENTS.items() if settings
}
