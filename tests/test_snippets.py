"""The examples that the seeds print run here, offline, and give what the seeds say they give.

Each is written anew; its host is a server of the lab's. What is wrong as printed is in the ledger
(`data/claims.toml`), by the id in brackets, and what is right of it is tested here.

Seed 000, the tutorial:

- one session for several documents: `test_one_session_for_two_documents`
- the size of a connector's pool: `test_a_connector_opens_no_more_than_its_limit`
- a semaphore of five: `test_documents_a_few_at_a_time`
- a semaphore of twice the cores: `test_documents_a_few_at_a_time`
- an asynchronous driver: `test_five_users_from_a_database`
- a pool to the database: `test_five_users_from_a_database`
- gzip in the server: `test_behaviour.test_the_tutorial_of_gzip_gets_its_94_bytes`
- 'pipelining' [pipelining-snippet: it is none]: `test_five_posts_before_the_first_is_read`

Seed 003, the performance patterns:

- uvloop as default, explicitly, or where it is there: `test_the_loop_is_uvloop`
- a tuned connector [cleanup-closed: its last switch does nothing]:
  `test_a_connector_opens_no_more_than_its_limit`
- a pool to PostgreSQL with limits in time: `test_five_users_from_a_database`
- a pool to a Redis: `test_a_redis_pool_of_fifty_that_decodes`
- sizes of pools: a table and no code [pool-sizing]
- a whole body, or its chunks [streaming-memory]: `test_a_large_body_whole_and_in_chunks`
- a larger buffer for a stream [read-buffer]: `test_a_line_longer_than_the_usual_buffer`
- a larger body for a server: `test_experiments.test_faults_are_seen_every_time`, of `body_cap`
- batches [batch-as-printed: it deadlocks]: `test_patterns.py`, 'The batcher'
- a queue of priorities: `test_patterns.test_the_lowest_comes_first_and_equals_in_their_order`
- a cache of weak references [weak-cache: no str, no dict]:
  `test_patterns.test_an_entry_lives_as_long_as_its_value_is_in_use`
- chunks: `test_patterns.test_chunks_hold_everything_in_order`
- a timer, and timers by name: `test_timers.py`
- yappi on the wall clock [yappi-wall]: `test_profiling.py`
"""

import asyncio
import importlib
import os
import sys
import warnings
from collections.abc import Coroutine, Iterator, Sequence
from typing import Any
from urllib.parse import urldefrag

import aiohttp
import asyncpg
import pytest
import redis.asyncio as redis
import uvloop
from servers import Running, serving
from targets import running
from test_behaviour import USER, shape

POST = {"userId", "id", "title", "body"}


@pytest.fixture
def server() -> Iterator[Running]:
    """One that has counted nothing yet."""
    with serving() as started:
        yield started


async def document(session: aiohttp.ClientSession, url: str) -> Any:
    async with session.get(url) as answer:
        return await answer.json()


async def documents(
    urls: Sequence[str], limit: int, connector: aiohttp.TCPConnector | None = None
) -> list[Any]:
    slots = asyncio.Semaphore(limit)

    async def one(session: aiohttp.ClientSession, url: str) -> Any:
        async with slots:
            return await document(session, url)

    async with aiohttp.ClientSession(connector=connector) as session:
        return await asyncio.gather(*(one(session, url) for url in urls))


# 000: sessions, pools, semaphores


async def test_one_session_for_two_documents(server: Running) -> None:
    urls = [f"{server.url}/posts/1", f"{server.url}/users/1"]
    async with aiohttp.ClientSession() as session:
        found = await asyncio.gather(*(document(session, url) for url in urls))
        again = [await document(session, url) for url in urls]

    post, user = found
    assert (set(post), shape(user)) == (POST, USER)
    assert (post["id"], post["userId"], user["id"]) == (1, 1, 1)
    assert again == found
    assert server.wait_for(requests=4)["connections_opened"] <= 2


TUNED = {"limit": 100, "limit_per_host": 30, "ttl_dns_cache": 300, "use_dns_cache": True}
TUNED |= {"keepalive_timeout": 30, "enable_cleanup_closed": True}


@pytest.mark.parametrize(("limit", "settings"), [(20, {"limit": 20}), (30, TUNED)])
async def test_a_connector_opens_no_more_than_its_limit(
    server: Running, limit: int, settings: dict[str, Any]
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # enable_cleanup_closed
        connector = aiohttp.TCPConnector(**settings)
    urls = [f"{server.url}/users/{i % 10 + 1}?rate=50000" for i in range(60)]
    found = await documents(urls, 60, connector)

    assert [user["id"] for user in found] == [i % 10 + 1 for i in range(60)]
    assert all(shape(user) == USER for user in found)
    assert server.wait_for(requests=60)["connections_opened"] <= limit


CORES = os.cpu_count() or 1


@pytest.mark.parametrize(("kind", "number", "limit"), [("users", 10, 5), ("posts", 50, 2 * CORES)])
async def test_documents_a_few_at_a_time(
    server: Running, kind: str, number: int, limit: int
) -> None:
    found = await documents([f"{server.url}/{kind}/{i}" for i in range(number)], limit)

    assert found[0] == {}  # there is no user or post 0
    assert [one["id"] for one in found[1:]] == list(range(1, number))
    assert server.wait_for(requests=number)["max_in_flight"] <= limit


# 000: the database


@pytest.mark.service
async def test_five_users_from_a_database() -> None:
    users = [(number, f"user {number}") for number in range(1, 11)]
    settings: dict[str, Any] = {"max_inactive_connection_lifetime": 300.0, "command_timeout": 1.0}
    with running("postgres", rows=1) as target:
        connection = await asyncpg.connect(target.url)
        await connection.execute("CREATE TABLE users (id integer PRIMARY KEY, name text NOT NULL)")
        await connection.executemany("INSERT INTO users VALUES ($1, $2)", users)
        pool = asyncpg.create_pool(target.url, min_size=5, max_size=20, **settings)
        async with pool, pool.acquire() as pooled:
            assert (pool.get_min_size(), pool.get_max_size(), pool.get_size()) == (5, 20, 5)
            with pytest.raises(TimeoutError):
                await pool.fetch("SELECT pg_sleep(30)")
            for ask in (connection, pooled, pool):
                rows = await ask.fetch("SELECT * FROM users LIMIT 5")
                assert [tuple(row) for row in rows] == users[:5]
        await connection.close()


# 000: 'pipelining'


async def test_five_posts_before_the_first_is_read(server: Running) -> None:
    urls = [f"{server.url}/posts/{number}" for number in range(5)]
    async with aiohttp.ClientSession() as session, session.get(urls[0]) as first:
        head, *answers = await asyncio.gather(first.json(), *[session.get(url) for url in urls[1:]])
        found = [head, *[await answer.json() for answer in answers]]

    assert found[0] == {}
    assert [post["id"] for post in found[1:]] == [1, 2, 3, 4]
    assert all(post["userId"] == 1 and set(post) == POST for post in found[1:])
    # Each on a connection of its own, but for the one that the first may have left free.
    assert server.wait_for(requests=5)["connections_opened"] >= 4


# 003: uvloop


def by_default(main: Coroutine[Any, Any, Any]) -> Any:
    uvloop.install()
    return asyncio.run(main)


def explicitly(main: Coroutine[Any, Any, Any]) -> Any:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)


def where_it_is_there(main: Coroutine[Any, Any, Any]) -> Any:
    try:
        policy = importlib.import_module("uvloop").EventLoopPolicy()
    except ImportError:
        policy = asyncio.DefaultEventLoopPolicy()
    asyncio.set_event_loop_policy(policy)
    return asyncio.run(main)


# Policies and `install` are on their way out: newer Pythons and uvloops warn of them.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    ("way", "loop"),
    [
        (by_default, "uvloop"),
        (explicitly, "uvloop"),
        (where_it_is_there, "uvloop"),
        (where_it_is_there, "asyncio"),
    ],
)
def test_the_loop_is_uvloop(
    way: Any, loop: str, server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> tuple[str, str]:
        async with aiohttp.ClientSession() as session, session.get(f"{server.url}/x") as answer:
            return type(asyncio.get_running_loop()).__module__, await answer.text()

    if loop == "asyncio":
        monkeypatch.setitem(sys.modules, "uvloop", None)
    try:
        module, text = way(main())
    finally:
        asyncio.set_event_loop_policy(None)
    assert (module.partition(".")[0], text) == (loop, "Hello, World!")


# 003: pools


@pytest.mark.service
async def test_a_redis_pool_of_fifty_that_decodes() -> None:
    with running("valkey", keys=1) as target:
        url = urldefrag(target.url).url
        pool = redis.ConnectionPool.from_url(url, max_connections=50, decode_responses=True)
        async with redis.Redis(connection_pool=pool) as client:
            await client.set("name", "\N{GREEK SMALL LETTER LAMDA}")
            found = await asyncio.gather(*(client.get("name") for _ in range(50)))
        await pool.aclose()

        assert found == ["\N{GREEK SMALL LETTER LAMDA}"] * 50
        assert target.counted()["connections_opened"] <= 50


# 003: buffers


async def test_a_large_body_whole_and_in_chunks(server: Running) -> None:
    size, url = 1_000_000, f"{server.url}/bytes/1000000"
    async with aiohttp.ClientSession() as session:
        async with session.get(url) as answer:
            assert len(await answer.read()) == size
        async with session.get(url) as answer:
            chunks = [len(chunk) async for chunk in answer.content.iter_chunked(8_192)]

    assert sum(chunks) == size
    assert max(chunks) <= 8_192


async def test_a_line_longer_than_the_usual_buffer() -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readexactly(size))
        writer.close()

    size = 500_000
    line = b"x" * (size - 1) + b"\n"
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    async with server:
        answers: list[Any] = []
        for buffer in ({"limit": 2**20}, {}):
            reader, writer = await asyncio.open_connection(host, port, **buffer)
            writer.write(line)
            answers += await asyncio.gather(reader.readline(), return_exceptions=True)
            writer.close()

    assert answers[0] == line
    assert isinstance(answers[1], ValueError)  # 64 KiB are too few
