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
- gzip in the server: `test_gzip_makes_94_bytes_of_13_015`
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
- a larger body for a server: `test_a_body_beyond_the_usual_cap`
- batches [batch-as-printed: it deadlocks]: and awaited one after the other, as in its
  usage, two users are two calls: `test_two_users_in_one_call_or_in_two`
- a queue of priorities: `test_the_lowest_number_comes_first`
- a cache of weak references [weak-cache: no str, no dict]: `test_a_user_that_is_in_use_is_cached`
- chunks, few at a time: `test_a_large_dataset_in_chunks`
- a timer, and timers by name: `test_blocks_are_timed_alone_and_by_name`
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
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import urldefrag

import aiohttp
import asyncpg
import pytest
import redis.asyncio as redis
from aiohttp import web
from servers import Running, serving
from targets import running
from test_behaviour import USER, shape

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


@pytest.mark.parametrize(
    ("limit", "settings"),
    [
        (20, {"limit": 20}),
        (
            30,
            {
                "limit": 100,
                "limit_per_host": 30,
                "ttl_dns_cache": 300,
                "use_dns_cache": True,
                "keepalive_timeout": 30,
                "enable_cleanup_closed": True,
            },
        ),
    ],
)
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


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    """A PostgreSQL with a table of the server's users."""
    with running("postgres", rows=1) as started, serving() as server:
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
async def test_five_users_from_a_database(database: str) -> None:
    connection = await asyncpg.connect(database)
    assert are_five(await connection.fetch(FIVE))
    await connection.close()
    async with asyncpg.create_pool(database, min_size=5, max_size=20) as pool:
        async with pool.acquire() as pooled:
            assert are_five(await pooled.fetch(FIVE))
        assert (pool.get_min_size(), pool.get_max_size(), pool.get_size()) == (5, 20, 5)
    settings: dict[str, Any] = {"max_inactive_connection_lifetime": 300.0, "command_timeout": 1.0}
    async with asyncpg.create_pool(database, min_size=5, max_size=20, **settings) as pool:
        with pytest.raises(TimeoutError):
            await pool.fetch("SELECT pg_sleep(30)")
        assert are_five(await pool.fetch(FIVE))


# 000: compression


async def compressed(_: web.Request) -> web.Response:
    plain = web.json_response(MESSAGE).body
    assert isinstance(plain, bytes)
    assert len(plain) == 13_015
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    return web.Response(body=gzip.compress(plain), headers=headers)


async def test_gzip_makes_94_bytes_of_13_015(server: Running) -> None:
    app = web.Application()
    app.router.add_get("/", compressed)
    async with served(app) as of_aiohttp, aiohttp.ClientSession() as session:
        # At the level that `gzip.compress` takes: a library in zlib's place may need it for the 94.
        for url in (of_aiohttp, f"{server.url}/message/1000?level=9"):
            async with session.get(url, headers={"Accept-Encoding": "gzip"}) as answer:
                data = await answer.json()
            assert answer.headers["Content-Encoding"] == "gzip"
            assert answer.headers["Content-Length"] == "94"
            assert data == MESSAGE
        identity = {"Accept-Encoding": "identity"}
        async with session.get(f"{server.url}/message/1000", headers=identity) as plain:
            assert plain.headers["Content-Length"] == "13015"


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


def printed(program: str, argument: str) -> str:
    """What a program prints, and nothing to standard error."""
    # Policies and `install` are on their way out: newer Pythons and uvloops warn of them.
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", program, argument]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == ""
    return done.stdout


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
    assert printed(program, server.url + "/x") == f"{loop} Hello, World!\n"


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


@pytest.mark.parametrize("together", [True, False])
async def test_two_users_in_one_call_or_in_two(server: Running, together: bool) -> None:
    async with aiohttp.ClientSession() as session:
        users = Users(session, server.url)
        get = Batcher(users, max_size=50).get
        if together:
            found = await asyncio.gather(get("user-1"), get("user-2"))
        else:
            found = [await get("user-1"), await get("user-2")]

    assert [user["id"] for user in found] == [1, 2]
    two = ("user-1", "user-2")
    assert users.calls == ([two] if together else [(one,) for one in two])


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
    numbers = [item % 100 + 1 for item in range(250)]
    found: list[int] = []
    for chunk in in_chunks(numbers, 100):
        posts = await documents([f"{server.url}/posts/{number}" for number in chunk], 10)
        found += [post["id"] for post in posts]

    assert found == numbers
    assert server.wait_for(requests=250)["max_in_flight"] <= 10


# 003: timers and profiles


async def test_blocks_are_timed_alone_and_by_name(
    server: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    timers = Timers()
    async with aiohttp.ClientSession() as session:
        async with timer("fetch_all") as timing:
            await document(session, f"{server.url}/posts/1")
        for name in ("post", "post", "post", "user"):
            async with timers(name):
                await document(session, f"{server.url}/{name}s/1")

    assert timing.seconds is not None
    assert capsys.readouterr().out == f"fetch_all: {timing.seconds:.3f} s\n"
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
    assert printed(PROFILED, clock) == f"1 {seen}\n"
