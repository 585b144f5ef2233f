"""The target `valkey` and the transport `redis`: a real server, its counts, its limits, its end."""

import asyncio
import builtins
import contextlib
import json
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest
import redis
import redis.asyncio
from calls import kinds, raised
from machines import checks
from redis import exceptions
from servers import PATIENCE_S, Ran, ran
from targets import Target, ended, ending, running, started
from test_kills import script

from labkit import stats
from labkit.errors import TrialFailed
from labkit.launch import launcher
from labkit.measured.targets.valkey import value
from labkit.measured.transports import open_transport
from labkit.measured.transports.redis import Redis, keys_of
from labkit.record.guards import FAILURES
from labkit.spec.addresses import REDIS_URL
from labkit.spec.transports import RedisTransport
from labkit.spec.trial import Trial

pytestmark = pytest.mark.service
MODES = ("client", "pool", "blocking", "pipeline")
PREFIX = "labkit-valkey-"


@pytest.fixture(scope="module")
def valkey() -> Iterator[Target]:
    with running("valkey", keys=10, value_bytes=20, maxclients=50) as target:
        yield target


@pytest.fixture
def client(valkey: Target) -> Iterator[redis.Redis]:
    """A client of that server, beside what is tested."""
    with redis.Redis.from_url(valkey.url) as client:
        yield client


async def trial_of(*, killing: str | None = None, **settings: Any) -> Ran:
    return await ran(Trial(target="valkey", **settings), killing=killing)


# The target


def test_the_keys_exist_when_it_is_announced(valkey: Target, client: redis.Redis) -> None:
    assert client.dbsize() == 10
    assert [client.get(f"lab:{key}") for key in range(10)] == [value(key, 20) for key in range(10)]
    expected = {"own": True, "maxclients": 50, "keys": 10, "value_bytes": 20}
    assert valkey.in_force == {"valkey": valkey.in_force["valkey"], **expected}


@pytest.mark.parametrize(("size", "expected"), [(0, b""), (1, b"7"), (5, b"7 xxx")])
def test_a_value_begins_with_its_number(size: int, expected: bytes) -> None:
    assert value(7, size) == expected


def test_it_counts_what_others_ask_and_not_its_own_questions(valkey: Target) -> None:
    before = valkey.counted()
    url = urlsplit(valkey.url)
    with socket.create_connection((url.hostname, url.port or 0)) as connection:
        connection.sendall(f"AUTH {url.password}\r\nGET lab:1\r\nGET nothing\r\n".encode())
        answers = b""
        while not answers.endswith(b"$-1\r\n"):
            answers += connection.recv(4096)
        during = valkey.counted()

    assert {name: during[name] - before[name] for name in during} == {
        "requests": 2,
        "connections_opened": 1,
        "commands": 3,
        "connections_left": 1,
    }
    assert valkey.counted()["commands"] == during["commands"]


def test_it_takes_no_command_without_its_password(valkey: Target) -> None:
    url = urlsplit(valkey.url)
    assert url.hostname == "127.0.0.1"
    with (
        redis.Redis.from_url(f"redis://127.0.0.1:{url.port}") as stranger,
        pytest.raises(exceptions.AuthenticationError),
    ):
        stranger.get("lab:1")
    assert str(url.password).encode() not in Path(f"/proc/{valkey.pid}/cmdline").read_bytes()


def test_it_writes_to_no_disk_and_stays_on_its_core(tmp_path: Path) -> None:
    core = max(os.sched_getaffinity(0))
    with running("valkey", {"TMPDIR": str(tmp_path)}, keys=1, core=core) as target:
        assert os.sched_getaffinity(target.pid or 0) == {core}
        with redis.Redis.from_url(target.url) as client:
            assert client.config_get("save", "appendonly") == {"save": "", "appendonly": "no"}
            with pytest.raises(redis.ResponseError):
                client.save()
        where = str(Path(f"/proc/{target.pid}/cwd").readlink())
        assert where.startswith(str(tmp_path / PREFIX))
        assert where.endswith(" (deleted)")
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("how", ["stdin", "SIGTERM", "SIGKILL"])
def test_it_is_gone_with_the_process_that_looks_after_it(how: str) -> None:
    with running("valkey", keys=1) as target:
        with ending(psutil.Process(target.pid), psutil.Process(target.process.pid)):
            if how == "stdin":
                target.close_stdin()
            else:
                target.process.send_signal(getattr(signal, how))
        assert target.process.wait() == (-signal.SIGKILL if how == "SIGKILL" else 0)


def test_when_the_parent_is_killed_all_three_are_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    with script(tmp_path, "valkey") as (parent, _):
        below = psutil.Process(parent.pid).children(recursive=True)
        with ending(*below):
            parent.kill()

    assert len(below) == 3
    assert list(temporary.glob(f"{PREFIX}*")) == []


# A server of the user's own


def test_of_a_server_that_is_named_only_keys_of_our_own_are_touched(
    valkey: Target, client: redis.Redis
) -> None:
    with running("valkey", {REDIS_URL: valkey.url}, keys=3) as target:
        assert (target.pid, target.counted(), target.in_force["own"]) == (None, {}, False)
        keys = [keys_of(target.url)(item) for item in range(4)]

        assert keys[0] == keys[3]
        assert client.dbsize() == 10 + 3
        assert all(0 < client.ttl(key) <= 86_400 for key in keys)
        target.process.send_signal(signal.SIGTERM)
        target.process.wait(PATIENCE_S)

        assert sorted(client.keys()) == sorted(f"lab:{key}".encode() for key in range(10))


async def test_a_trial_on_it_claims_none_of_its_counts(
    valkey: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(REDIS_URL, valkey.url)

    record = (await trial_of(keys=5, requests=20, limit=2)).record

    assert record.counts.ok == 20
    assert record.effective["server"]["own"] is False
    assert record.server is not None
    assert (record.server.requests, record.server.connections_opened) == (None, None)
    assert valkey.url not in json.dumps(record.to_dict())


@pytest.mark.parametrize(("url", "says"), checks("valkey.toml", "refused"))
def test_a_server_that_cannot_be_used_is_refused(url: str, says: str) -> None:
    process = started("valkey", {REDIS_URL: url}, keys=1)
    process.wait(PATIENCE_S)  # its standard input is open: the end of that would end it too
    status, errors = ended(process)

    assert status == 2
    assert errors.startswith(f"error: {says}")
    assert "secret" not in errors


# The transport


@contextlib.asynccontextmanager
async def opened(url: str, **settings: Any) -> Any:
    transport = open_transport(RedisTransport(**settings), url)
    async with transport as fetch:
        yield fetch, transport


@pytest.mark.parametrize(("settings", "connections"), checks("valkey.toml", "connections"))
async def test_a_call_gets_the_value_of_its_item_and_both_sides_count_the_connections(
    valkey: Target, settings: dict[str, Any], connections: int
) -> None:
    before, classes = valkey.counted(), None
    async with opened(valkey.url, **settings) as (fetch, transport):
        for first in range(0, 12, 3):
            items = range(first, first + 3)
            expected = [value(item % 10, 20) for item in items]
            assert await asyncio.gather(*map(fetch, items)) == expected
            # Making a class for each client would be a good part of what its call costs.
            made = set(redis.asyncio.Connection.__subclasses__())
            classes = classes or made
            assert made <= classes
    after = valkey.counted()

    assert transport.effective["connections_opened"] == connections
    assert after["connections_opened"] - before["connections_opened"] == connections
    assert after["requests"] - before["requests"] == 12


async def test_what_is_in_force_is_read_back_from_the_pool(valkey: Target) -> None:
    pool = {"mode": "blocking", "max_connections": 3, "pool_timeout_s": 1.5, "timeout_s": 7}
    transport = open_transport(RedisTransport(**pool), valkey.url)
    assert transport.effective == {}
    async with transport:
        assert transport.effective == pool | {
            "pool": "BlockingConnectionPool",
            "connect_timeout_s": 30.0,
            "hiredis": transport.effective["hiredis"],
            "connections_opened": 0,
        }


@pytest.mark.parametrize(("settings", "expected"), checks("valkey.toml", "in_use"))
async def test_what_a_pool_does_when_all_of_it_is_in_use(
    valkey: Target, settings: dict[str, Any], expected: list[str]
) -> None:
    async with opened(valkey.url, **settings) as (fetch, _):
        assert await kinds(Redis, *map(fetch, range(5))) == expected


async def test_a_call_that_waits_too_long_for_its_pool(valkey: Target, client: redis.Redis) -> None:
    pooled = {"mode": "blocking", "max_connections": 1, "pool_timeout_s": 0.05}
    async with opened(valkey.url, **pooled) as (fetch, _):
        await fetch(0)
        client.client_pause(400)  # no answer for so many milliseconds

        assert await kinds(Redis, fetch(1), fetch(2)) == ["ok", "pool-timeout"]


async def test_a_server_that_takes_no_more_connections() -> None:
    with running("valkey", keys=1, maxclients=2) as target:
        async with opened(target.url, mode="blocking") as (fetch, _):
            found = await kinds(Redis, *map(fetch, range(6)))

    assert found.count("ok") == 2
    assert "too-many-connections" in found
    # Of one that is refused, sending may fail before its answer is read.
    assert set(found) <= {"ok", "too-many-connections", "reset", "disconnected"}


@pytest.mark.parametrize("mode", MODES)
async def test_a_key_that_does_not_exist_is_a_failure(valkey: Target, mode: str) -> None:
    url = valkey.url.partition("#")[0] + "#prefix=nothing:&keys=5"
    async with opened(url, mode=mode) as (fetch, _):
        assert await kinds(Redis, fetch(1), fetch(2)) == ["payload", "payload"]


async def test_a_server_that_is_gone() -> None:
    with running("valkey", keys=1) as target:
        async with contextlib.AsyncExitStack() as stack:
            each = [await stack.enter_async_context(opened(target.url, mode=m)) for m in MODES]
            assert await kinds(Redis, *(fetch(0) for fetch, _ in each)) == ["ok"] * len(MODES)
            with ending(psutil.Process(target.pid)):
                target.process.kill()

            found = await kinds(Redis, *(fetch(item) for fetch, _ in each for item in range(2)))

    assert set(found) <= {"connect", "reset", "disconnected"}


@pytest.mark.parametrize(("error", "cause", "kind"), checks("valkey.toml", "kinds"))
def test_failures_are_told_apart(error: list[Any], cause: list[Any], kind: str) -> None:
    found = raised(exceptions, *error)
    found.__context__ = raised(builtins, *cause) if cause else None
    assert Redis.kind_of(found) == kind
    assert kind in FAILURES


# Pipelines


async def test_calls_that_come_together_share_a_round_trip_up_to_the_depth(
    valkey: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent, execute = list[int](), redis.asyncio.client.Pipeline.execute

    async def noting(pipeline: Any, **how: Any) -> Any:
        sent.append(len(pipeline))
        return await execute(pipeline, **how)

    monkeypatch.setattr(redis.asyncio.client.Pipeline, "execute", noting)
    async with opened(valkey.url, mode="pipeline", depth=3) as (fetch, _):
        found = await asyncio.gather(*map(fetch, range(7)))

    assert found == [value(item, 20) for item in range(7)]
    assert sent == [3, 3, 1]


async def test_an_error_is_of_the_call_that_it_answers(valkey: Target, client: redis.Redis) -> None:
    url = valkey.url.partition("#")[0] + "#prefix=other:&keys=3"
    client.mset({"other:0": "x", "other:2": "x"})
    client.lpush("other:1", "no text")
    async with opened(url, mode="pipeline") as (fetch, _):
        assert await kinds(Redis, *map(fetch, range(3))) == ["ok", "status", "ok"]
    client.delete(*(f"other:{key}" for key in range(3)))


# Trials


@pytest.mark.parametrize(
    ("mode", "loop"), [("client", "asyncio"), ("pool", "uvloop"), ("pipeline", "asyncio")]
)
async def test_a_trial_counts_the_same_as_its_server(mode: str, loop: str) -> None:
    record = (await trial_of(mode=mode, loop=loop, requests=60, limit=5, keys=7)).record

    opened = record.effective["transport"]["connections_opened"]
    assert opened == 60 if mode == "client" else 1 <= opened <= 5
    assert (record.counts.ok, record.counts.failures) == (60, 0)
    assert record.server is not None
    assert (record.server.requests, record.server.connections_opened) == (60, opened)
    assert record.server.connections_left == 0
    assert (record.server.commands or 0) > 60  # the handshakes
    assert record.server.peak_rss_bytes
    assert record.effective["versions"]["redis"] == redis.__version__
    assert record.effective["server"]["keys"] == 7
    assert record.effective["loop"] == loop
    assert "not-in-force" not in [note.code for note in record.warnings]
    assert stats.METRICS["connections_opened"].of(record) == opened


@pytest.mark.parametrize("killed", ["targets.valkey", "worker"])
async def test_whichever_side_is_killed_no_call_is_lost(killed: str) -> None:
    requests = 4_000 if killed == "targets.valkey" else 10_000_000
    found = await trial_of(requests=requests, limit=1, killing=f"labkit.measured.{killed}")

    counts, server = found.record.counts, found.record.server
    assert counts.ok >= 1
    if killed == "worker":
        assert server is not None
        assert (server.requests or 0) >= counts.ok
        assert server.connections_left == 0
    else:
        assert counts.sent == requests
        assert set(counts.failed) <= {"connect", "reset", "disconnected"}


async def test_a_server_that_stores_no_keys_is_a_failed_trial(
    valkey: Target, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(REDIS_URL, valkey.url)
    client.config_set("maxmemory", "1")
    try:
        with pytest.raises(TrialFailed, match=r"the target did not start .*could not be used"):
            await launcher.run(Trial(target="valkey", keys=1, requests=1), keep=lambda _: None)
    finally:
        client.config_set("maxmemory", "0")


async def test_exhaustion_is_counted_by_kind() -> None:
    record = (await trial_of(mode="pool", max_connections=3, requests=60, limit=10)).record

    assert set(record.counts.failed) == {"pool-exhausted"}
    assert record.server is not None
    assert record.server.connections_opened == 3
    assert record.server.requests == record.counts.ok
