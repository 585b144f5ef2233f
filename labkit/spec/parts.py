"""The parts of a trial: target, transport, workload, switches; and the strategies there are.

Frozen, and valid once constructed. Only what can be checked by looking at the values is checked
here; what depends on this machine (descriptors, uvloop, the Python version) `preflight` checks
before anything starts.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from labkit.spec.drivers import BATCH_DELAY_S, AsyncpgTransport, PsycopgTransport, RedisTransport
from labkit.spec.servers import (
    EchoServer,
    PostgresServer,
    Process,
    Server,
    TargetProcess,
    ValkeyServer,
    check_listening,
)
from labkit.spec.strategies import GATHER_AT_MOST, OPTION_TYPES, STRATEGIES
from labkit.spec.targets import (
    MOST_VALUES_BYTES,
    EchoTarget,
    HttpTarget,
    PostgresTarget,
    Target,
    UrlTarget,
    ValkeyTarget,
)
from labkit.spec.transports import (
    AiohttpTransport,
    EchoTransport,
    OwnHttpTransport,
    OwnTransport,
    StreamsTransport,
    Transport,
    WireTransport,
)
from labkit.spec.types import (
    Bytes,
    Coding,
    Connections,
    Count,
    EchoApi,
    LookupSeconds,
    Loop,
    Part,
    PoolLeast,
    PoolMost,
    Port,
    Seconds,
    StallSeconds,
)
from labkit.spec.workload import Switches, Workload

__all__ = [
    "BATCH_DELAY_S",
    "GATHER_AT_MOST",
    "MOST_VALUES_BYTES",
    "OPTION_TYPES",
    "SPEAK",
    "STRATEGIES",
    "TARGETS",
    "TRANSPORTS",
    "AiohttpTransport",
    "AsyncpgTransport",
    "Bytes",
    "Coding",
    "Connections",
    "Count",
    "EchoApi",
    "EchoServer",
    "EchoTarget",
    "EchoTransport",
    "HttpTarget",
    "LookupSeconds",
    "Loop",
    "OwnHttpTransport",
    "OwnTransport",
    "Part",
    "PoolLeast",
    "PoolMost",
    "Port",
    "PostgresServer",
    "PostgresTarget",
    "Process",
    "PsycopgTransport",
    "RedisTransport",
    "Seconds",
    "Server",
    "StallSeconds",
    "StreamsTransport",
    "Switches",
    "Target",
    "TargetProcess",
    "Transport",
    "UrlTarget",
    "ValkeyServer",
    "ValkeyTarget",
    "WireTransport",
    "Workload",
    "check_listening",
]

TARGETS: Mapping[str, type[Target]] = MappingProxyType(
    {
        "http": HttpTarget,
        "echo": EchoTarget,
        "url": UrlTarget,
        "postgres": PostgresTarget,
        "valkey": ValkeyTarget,
    }
)
TRANSPORTS: Mapping[str, type[Transport]] = MappingProxyType(
    {
        "aiohttp": AiohttpTransport,
        "streams": StreamsTransport,
        "wire": WireTransport,
        "echo": EchoTransport,
        "asyncpg": AsyncpgTransport,
        "psycopg": PsycopgTransport,
        "redis": RedisTransport,
    }
)

_HTTP = ("aiohttp", "streams", "wire")
SPEAK: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "http": _HTTP,
        "echo": ("echo",),
        "url": _HTTP,
        "postgres": ("asyncpg", "psycopg"),
        "valkey": ("redis",),
    }
)
"""For each target the transports that speak with it; the first is what it gets unless told."""
