"""The coded experiments by name, and the figures that each gives: what a study file may name.

They are named here because a study file may not import what runs in a measured process.
`measured.experiments` has the code, and a test holds the two together. The end of a figure's name
is its unit.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

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
