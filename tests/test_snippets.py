"""The examples that the seeds print run here, offline, and give what the seeds say they give.

Each is written anew; its host is a server of the lab's. What is wrong as printed is in the ledger
(`data/claims.toml`), by the id in brackets, and what is right of it is tested here.

Seed 000, the tutorial:

- one session for several documents: `test_one_session_for_two_documents`
- the size of a connector's pool: `test_a_connector_of_twenty`
- a semaphore of five: `test_ten_users_five_at_a_time`
- a semaphore of twice the cores: `test_fifty_posts_at_twice_the_cores`
- an asynchronous driver: `test_five_users_over_one_connection`
- a pool to the database: `test_five_users_from_a_pool_of_five_to_twenty`
- gzip in the server: `test_gzip_makes_94_bytes_of_13_015`, and on the lab's own route
- 'pipelining' [pipelining-snippet: it is none]: `test_five_posts_before_the_first_is_read`

Seed 003, the performance patterns:

- uvloop as default, explicitly, or where it is there: `test_the_loop_is_uvloop`
- a tuned connector [cleanup-closed: its last switch does nothing]: `test_a_tuned_connector`
- a pool to PostgreSQL with limits in time: `test_a_pool_that_limits_queries_and_idle_connections`
- a pool to a Redis: `test_a_redis_pool_of_fifty_that_decodes`
- sizes of pools: a table and no code [pool-sizing]
- a whole body, or its chunks [streaming-memory]: `test_a_large_body_whole_and_in_chunks`
- a larger buffer for a stream [read-buffer]: `test_a_line_longer_than_the_usual_buffer`
- a larger body for a server: `test_a_body_beyond_the_usual_cap`
- batches [batch-as-printed: it deadlocks]: `test_two_users_in_one_call`; awaited one after the
  other, as in its usage, two users are two calls: `test_users_that_are_awaited_in_turn_share_none`
- a queue of priorities: `test_the_lowest_number_comes_first`
- a cache of weak references [weak-cache: no str, no dict]: `test_a_user_that_is_in_use_is_cached`
- chunks, few at a time: `test_a_large_dataset_in_chunks`
- a timer, and timers by name: `test_a_block_is_timed`, `test_times_are_kept_by_name`
- yappi on the wall clock [yappi-wall]: `test_yappi_sees_a_wait_on_the_wall_clock`
"""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import os
import subprocess
import sys
import warnings
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urldefrag

import aiohttp
import asyncpg
import pytest
import redis.asyncio as redis
from aiohttp import web
from databases import postgres
from servers import Running, serving
from test_behaviour import USER
from valkeys import running as valkey

from labkit.measured.experiments.aiohttp import served
from labkit.measured.patterns import Batcher, PriorityQueue, WeakCache, in_chunks
from labkit.profiler.timers import Timers, timer

POST = {"userId", "id", "title", "body"}
MESSAGE = {"message": "Hello, World!" * 1_000}


@pytest.fixture
def server() -> Iterator[Running]:
    """One that has counted nothing yet."""
    with serving() as started:
        yield started


async def document(session: aiohttp.ClientSession, url: str) -> Any:
    async with session.get(url) as answer:
        return await answer.json()


def shape(found: Any) -> Any:
    return {key: shape(value) for key, value in found.items()} if isinstance(found, dict) else None


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


async def test_a_connector_of_twenty(server: Running) -> None:
    connector = aiohttp.TCPConnector(limit=20)
    async with aiohttp.ClientSession(connector=connector) as session:
        user = await document(session, f"{server.url}/users/2")
        await asyncio.gather(
            *(document(session, f"{server.url}/users/{i % 10 + 1}?rate=50000") for i in range(40))
        )

    assert (user["id"], shape(user)) == (2, USER)
    assert server.wait_for(requests=41)["connections_opened"] <= 20


async def at_most(number: int, urls: Sequence[str]) -> list[Any]:
    slots = asyncio.Semaphore(number)

    async def one(session: aiohttp.ClientSession, url: str) -> Any:
        async with slots:
            return await document(session, url)

    async with aiohttp.ClientSession() as session:
        return await asyncio.gather(*(one(session, url) for url in urls))


async def test_ten_users_five_at_a_time(server: Running) -> None:
    found = await at_most(5, [f"{server.url}/users/{number}" for number in range(10)])

    assert len(found) == 10
    assert found[0] == {}  # there is no user 0
    assert [user["id"] for user in found[1:]] == list(range(1, 10))
    assert server.wait_for(requests=10)["max_in_flight"] <= 5


async def test_fifty_posts_at_twice_the_cores(server: Running) -> None:
    cores = os.cpu_count() or 1
    found = await at_most(2 * cores, [f"{server.url}/posts/{number}" for number in range(50)])

    assert len(found) == 50
    assert found[0] == {}
    assert all(set(post) == POST for post in found[1:])
    assert server.wait_for(requests=50)["max_in_flight"] <= 2 * cores


# 000: the database


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    """A PostgreSQL with a table of the server's users."""
    with postgres(rows=1) as started, serving() as server:
        connection = server.connect()
        connection.request("GET", "/users")
        users = json.loads(connection.getresponse().read())
        connection.close()
        asyncio.run(stored(started.url, [(user["id"], user["name"]) for user in users]))
        yield started.url


async def stored(dsn: str, users: list[tuple[int, str]]) -> None:
    connection = await asyncpg.connect(dsn)
    await connection.execute("CREATE TABLE users (id integer PRIMARY KEY, name text NOT NULL)")
    await connection.executemany("INSERT INTO users VALUES ($1, $2)", users)
    await connection.close()


FIVE = "SELECT * FROM users LIMIT 5"


def are_five(rows: list[Any]) -> bool:
    users = [dict(row) for row in rows]
    named = all(set(user) == {"id", "name"} and user["name"] for user in users)
    return named and [user["id"] for user in users] == [1, 2, 3, 4, 5]


@pytest.mark.service
async def test_five_users_over_one_connection(database: str) -> None:
    connection = await asyncpg.connect(database)
    try:
        rows = await connection.fetch(FIVE)
    finally:
        await connection.close()

    assert are_five(rows)


@pytest.mark.service
async def test_five_users_from_a_pool_of_five_to_twenty(database: str) -> None:
    async with (
        asyncpg.create_pool(database, min_size=5, max_size=20) as pool,
        pool.acquire() as connection,
    ):
        assert are_five(await connection.fetch(FIVE))
        assert (pool.get_min_size(), pool.get_max_size(), pool.get_size()) == (5, 20, 5)


# 000: compression


async def compressed(_: web.Request) -> web.Response:
    plain = web.json_response(MESSAGE).body
    assert isinstance(plain, bytes)
    assert len(plain) == 13_015
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    return web.Response(body=gzip.compress(plain), headers=headers)


@asynccontextmanager
async def of_aiohttp() -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_get("/", compressed)
    async with served(app) as url:
        yield url


@asynccontextmanager
async def of_the_lab() -> AsyncIterator[str]:
    with serving() as server:
        # At the level that `gzip.compress` takes: a library in zlib's place may need it for the 94.
        yield f"{server.url}/message/1000?level=9"


@pytest.mark.parametrize("serves", [of_aiohttp, of_the_lab])
async def test_gzip_makes_94_bytes_of_13_015(serves: Any) -> None:
    async with serves() as url, aiohttp.ClientSession() as session:
        async with session.get(url, headers={"Accept-Encoding": "gzip"}) as answer:
            data = await answer.json()
        if serves is of_the_lab:
            identity = {"Accept-Encoding": "identity"}
            async with session.get(url.partition("?")[0], headers=identity) as plain:
                assert plain.headers["Content-Length"] == "13015"

    assert answer.headers["Content-Encoding"] == "gzip"
    assert answer.headers["Content-Length"] == "94"
    assert data == MESSAGE
    assert len(str(data)) == 13_015


# 000: 'pipelining'


async def test_five_posts_before_the_first_is_read(server: Running) -> None:
    urls = [f"{server.url}/posts/{number}" for number in range(5)]
    async with aiohttp.ClientSession() as session, session.get(urls[0]) as first:
        others = [session.get(url) for url in urls[1:]]
        head, *answers = await asyncio.gather(first.json(), *others)
        found = [head, *[await answer.json() for answer in answers]]

    assert found[0] == {}
    assert [post["id"] for post in found[1:]] == [1, 2, 3, 4]
    assert all(post["userId"] == 1 and set(post) == POST for post in found[1:])
    # Each on a connection of its own, but for the one that the first may have left free.
    assert server.wait_for(requests=5)["connections_opened"] >= 4


# 003: uvloop

DEFAULT = """
import asyncio, uvloop
uvloop.install()
"""
EXPLICIT = """
import asyncio, uvloop
"""
IF_THERE = """
import asyncio
def policy():
    try:
        import uvloop
    except ImportError:
        return asyncio.DefaultEventLoopPolicy()
    return uvloop.EventLoopPolicy()
asyncio.set_event_loop_policy(policy())
"""
MISSING = "import sys; sys.modules['uvloop'] = None\n"
ASKED = """
import aiohttp, sys
async def main():
    async with aiohttp.ClientSession() as session, session.get(sys.argv[1]) as answer:
        return type(asyncio.get_running_loop()).__module__.partition(".")[0], await answer.text()
"""
RUN = "print(*asyncio.run(main()))"
RUNNER = """
with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
    print(*runner.run(main()))
"""


@pytest.mark.parametrize(
    ("program", "loop"),
    [
        (DEFAULT + ASKED + RUN, "uvloop"),
        (EXPLICIT + ASKED + RUNNER, "uvloop"),
        (IF_THERE + ASKED + RUN, "uvloop"),
        (MISSING + IF_THERE + ASKED + RUN, "asyncio"),
    ],
    ids=["default", "explicit", "if there", "if missing"],
)
def test_the_loop_is_uvloop(program: str, loop: str, server: Running) -> None:
    # Policies and `install` are on their way out: newer Pythons and uvloops warn of them.
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", program, server.url + "/x"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert (done.stdout, done.stderr) == (f"{loop} Hello, World!\n", "")


# 003: pools


async def test_a_tuned_connector(server: Running) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # enable_cleanup_closed
        connector = aiohttp.TCPConnector(
            limit=100,
            limit_per_host=30,
            ttl_dns_cache=300,
            use_dns_cache=True,
            keepalive_timeout=30,
            enable_cleanup_closed=True,
        )
    async with aiohttp.ClientSession(connector=connector) as session:
        asked = (document(session, f"{server.url}/users/1?rate=50000") for _ in range(60))
        found = await asyncio.gather(*asked)

    assert len(found) == 60
    assert (connector.limit, connector.limit_per_host) == (100, 30)
    assert server.wait_for(requests=60)["connections_opened"] <= 30


@pytest.mark.service
async def test_a_pool_that_limits_queries_and_idle_connections(database: str) -> None:
    settings: dict[str, Any] = {"max_inactive_connection_lifetime": 300.0, "command_timeout": 1.0}
    async with asyncpg.create_pool(database, min_size=5, max_size=20, **settings) as pool:
        assert are_five(await pool.fetch(FIVE))
        with pytest.raises(TimeoutError):
            await pool.fetch("SELECT pg_sleep(30)")
        assert are_five(await pool.fetch(FIVE))


@pytest.mark.service
async def test_a_redis_pool_of_fifty_that_decodes() -> None:
    with valkey(keys=1) as target:
        url = urldefrag(target.url).url
        pool = redis.ConnectionPool.from_url(url, max_connections=50, decode_responses=True)
        async with redis.Redis(connection_pool=pool) as client:
            await client.set("name", "\N{GREEK SMALL LETTER LAMDA}")
            found = await asyncio.gather(*(client.get("name") for _ in range(50)))
        await pool.aclose()

        assert found == ["\N{GREEK SMALL LETTER LAMDA}"] * 50
        assert target.counts()["connections_opened"] <= 50


# 003: buffers


async def test_a_large_body_whole_and_in_chunks(server: Running) -> None:
    size, chunks = 1_000_000, []
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{server.url}/bytes/{size}") as answer:
            whole = await answer.read()
        async with session.get(f"{server.url}/bytes/{size}") as answer:
            async for chunk in answer.content.iter_chunked(8_192):
                chunks.append(len(chunk))

    assert len(whole) == sum(chunks) == size
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


@pytest.mark.parametrize(("cap", "status"), [(1 << 20, 413), (100 << 20, 200)])
async def test_a_body_beyond_the_usual_cap(cap: int, status: int) -> None:
    beyond = (1 << 20) + 1

    async def size(request: web.Request) -> web.Response:
        return web.Response(text=str(len(await request.read())))

    app = web.Application(client_max_size=cap)
    app.router.add_post("/", size)
    body = io.BytesIO(b"x" * beyond)
    async with (
        served(app) as url,
        aiohttp.ClientSession() as session,
        session.post(url, data=body) as answer,
    ):
        found = await answer.text()

    assert answer.status == status
    assert found == str(beyond) or status == 413


# 003: batches, priorities, a cache, chunks


class Users:
    """Looks users up in the server, many at a time, and notes each call."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self.session, self.url = session, url
        self.calls: list[tuple[str, ...]] = []

    async def __call__(self, keys: tuple[str, ...]) -> dict[str, Any]:
        self.calls.append(keys)
        listed = await document(self.session, f"{self.url}/users")
        named = {f"user-{user['id']}": user for user in listed}
        return {key: named[key] for key in keys if key in named}


async def test_two_users_in_one_call(server: Running) -> None:
    async with aiohttp.ClientSession() as session:
        users = Users(session, server.url)
        batcher = Batcher(users, max_size=50)
        first, second = await asyncio.gather(batcher.get("user-1"), batcher.get("user-2"))

    assert (first["id"], second["id"]) == (1, 2)
    assert users.calls == [("user-1", "user-2")]


async def test_users_that_are_awaited_in_turn_share_none(server: Running) -> None:
    async with aiohttp.ClientSession() as session:
        users = Users(session, server.url)
        batcher = Batcher(users, max_size=50)
        assert [(await batcher.get(f"user-{i}"))["id"] for i in (1, 2)] == [1, 2]

    assert users.calls == [("user-1",), ("user-2",)]


async def test_the_lowest_number_comes_first() -> None:
    queue: PriorityQueue[str] = PriorityQueue()
    for priority, name in ((1, "critical"), (10, "low"), (5, "normal")):
        await queue.put(priority, name)

    assert [await queue.get() for _ in range(3)] == ["critical", "normal", "low"]


class User(dict[str, Any]):
    """A class of one's own: unlike a dict, it can be referred to weakly."""


async def test_a_user_that_is_in_use_is_cached(server: Running) -> None:
    async with aiohttp.ClientSession() as session:

        async def load(key: str) -> User:
            return User(await document(session, f"{server.url}/users/{key}"))

        cache = WeakCache(load)
        held = await asyncio.gather(*(cache.get("3") for _ in range(5)))
        again = await cache.get("3")

    assert again["id"] == 3
    assert all(user is again for user in held)
    assert server.wait_for(requests=1)["requests"] == 1


async def test_a_large_dataset_in_chunks(server: Running) -> None:
    slots = asyncio.Semaphore(10)

    async with aiohttp.ClientSession() as session:

        async def process(item: int) -> Any:
            async with slots:
                return (await document(session, f"{server.url}/posts/{item % 100 + 1}"))["id"]

        found: list[int] = []
        for chunk in in_chunks(range(250), 100):
            found += await asyncio.gather(*map(process, chunk))

    assert found == [item % 100 + 1 for item in range(250)]
    assert server.wait_for(requests=250)["max_in_flight"] <= 10


# 003: timers and profiles


async def test_a_block_is_timed(server: Running, capsys: pytest.CaptureFixture[str]) -> None:
    async with aiohttp.ClientSession() as session, timer("fetch_all") as timing:
        await document(session, f"{server.url}/posts/1")

    assert timing.seconds is not None
    assert capsys.readouterr().out == f"fetch_all: {timing.seconds:.3f} s\n"


async def test_times_are_kept_by_name(server: Running) -> None:
    timers = Timers()
    async with aiohttp.ClientSession() as session:
        for number in range(3):
            async with timers("post"):
                await document(session, f"{server.url}/posts/{number}")
        async with timers("user"):
            await document(session, f"{server.url}/users/1")

    rows = {row["name"]: row for row in timers.rows()}
    assert {name: row["count"] for name, row in rows.items()} == {"post": 3, "user": 1}
    assert rows["post"]["mean_s"] == pytest.approx(rows["post"]["total_s"] / 3)


PROFILED = """
import asyncio, sys, yappi

async def waits():
    await asyncio.sleep(0.05)

async def main():
    await waits()

yappi.set_clock_type(sys.argv[1])
yappi.start()
asyncio.run(main())
yappi.stop()
[found] = [one for one in yappi.get_func_stats() if one.name == "waits"]
print(found.ncall, found.ttot >= 0.04)
"""


@pytest.mark.parametrize(("clock", "seen"), [("wall", True), ("cpu", False)])
def test_yappi_sees_a_wait_on_the_wall_clock(clock: str, seen: bool) -> None:
    command = [sys.executable, "-c", PROFILED, clock]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert (done.stdout, done.stderr) == (f"1 {seen}\n", "")
