"""The services that a trial can call, and how the process of each is started.

A server's settings are those of its target, and of the synthetic server what only its process has,
such as seed and address: with its core their JSON is the command line of its process.
"""

import shlex
from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from msgspec import Meta, structs

from labkit.errors import BadInput
from labkit.spec import delays
from labkit.spec.addresses import check_url, is_loopback
from labkit.spec.validation import Bytes, Loop, Part, Seconds, Seed, ShortSeconds, by_kind, refusal

MAX_VALUES_BYTES = 1 << 28
_OF_A_SHELL = frozenset({"|", "||", "&", "&&", ";", ">", ">>", "<"})
Port = Annotated[int, Meta(ge=0, le=65_535)]


def command_words(name: str, command: str) -> list[str]:
    """Return the words into which a shell would split a command. Raises `BadInput`."""
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise BadInput(f"{name} is {command!r}: it must be words as in a shell ({error})") from None
    if not words or {*words} & _OF_A_SHELL:
        raise refusal("no-shell", name=name, command=command)
    return words


class Target(Part, frozen=True, kw_only=True, tag_field="kind"):
    """The service that is called."""

    role: ClassVar[str] = "target"
    # Whose speed a trial on it is about: the other side is then to have time to spare.
    compared: ClassVar[Literal["client", "server", "both"]] = "client"
    # Whether it serves with the process that it announces, or with children of that as well.
    processes: ClassVar[Literal["one", "many"]] = "one"


class HttpTarget(Target, frozen=True, kw_only=True, tag="http"):
    """The synthetic server. `body_bytes` replaces the text of `GET /{name}` by that many bytes.

    `on` is the worker of a cluster on whose host it runs, by name or address.
    `port` is where it listens, for programs that have an address written into them (0: anywhere).
    `stall_at` is an item: the whole server stands still for `stall_s` when its request comes. With
    `tls` it has a certificate of the lab's own, which the lab's clients trust.
    """

    delay: str = "0"
    port: Port = 0
    engine: Literal["wire"] = "wire"
    loop: Loop = "uvloop"
    body_bytes: Bytes | None = None
    client_max_size: Bytes = 1 << 20
    stall_at: Annotated[int, Meta(ge=0, le=100_000_000)] | None = None
    stall_s: ShortSeconds = 1.0
    tls: bool = False
    on: str | None = None

    def __post_init__(self) -> None:
        if str(self.engine) == "aiohttp":
            # Records of earlier versions have it, as data; nothing can be measured on it any more.
            raise refusal("engine", role=self.role)
        if isinstance(self.delay, int | float) and not isinstance(self.delay, bool):
            # A number is the fixed delay that it would be as text.
            structs.force_setattr(self, "delay", str(self.delay))
        super().__post_init__()
        delays.parse(self.delay)


class HttpServer(HttpTarget, frozen=True, kw_only=True, tag=False):
    """How one synthetic HTTP server is started: `labkit serve`, or the target of a trial.

    It listens on loopback, or on the one other address that `allow_remote` repeats. `keep_log` is
    how many requests `/-/log` shows. A connection is ended whose request is not whole
    `request_timeout_s` after it began, or whose reader takes nothing for so long, and one without a
    request for `idle_timeout_s`; in `counters_folder` several workers share what
    they count. With `keep_history` it counts over time, too.
    """

    role = "serve"

    host: str = "127.0.0.1"
    core: int | None = None
    die_with_stdin: bool = False
    seed: Seed = 0
    keep_history: bool = False
    workers: Annotated[int, Meta(ge=1, le=64)] = 1
    keep_log: Annotated[int, Meta(ge=0, le=100_000)] = 0
    counters_folder: str | None = None
    announce_json: bool = False
    request_timeout_s: Seconds = 60.0
    idle_timeout_s: Seconds = 600.0
    allow_remote: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_listening(self.host, self.allow_remote)
        if self.on is not None:
            raise refusal("on-server", on=self.on)
        if self.keep_log and self.workers > 1:
            raise refusal("keep_log", serve=self)


class EchoTarget(Target, frozen=True, kw_only=True, tag="echo"):
    """A server that sends back what it is sent, written in one of three styles.

    `api`: sockets (`loop.sock_recv` and `sock_sendall`), streams (line by line) or protocol
    (`asyncio.Protocol`). It belongs to the transport `echo`, which decides what is sent.
    """

    compared = "server"

    # Where it listens: at any port.
    host: ClassVar[str] = "127.0.0.1"
    port: ClassVar[int] = 0

    api: Literal["sockets", "streams", "protocol"] = "protocol"
    loop: Loop = "uvloop"


class UrlTarget(Target, frozen=True, kw_only=True, tag="url"):
    """A server of the user's own. `{item}` in the URL stands for the item's number.

    On this machine its processes are found by their port and measured, and its core is left alone.
    Loopback only, unless `allow_remote` repeats the host: then requests, rate and time are capped.
    """

    url: str
    allow_remote: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_url(self.url, self.allow_remote)


class Command(Target, frozen=True, tag="command"):
    """A server that the lab starts: `Command("uvicorn app:app --port {port}")`.

    It runs in the current folder and without a shell, in the words into which a shell would split
    the text. `{port}` stands for a port of loopback that is free, or for `port` where that is one,
    and `{notebooks}` for the folder of the lab's notebooks, which has `example_app.py`. It is
    waited for until it answers HTTP, for `start_s` at most.
    """

    compared = "server"
    processes = "many"

    command: str
    port: Port = 0
    start_s: Seconds = 30.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.words(self.port)
        if not self.port and "{port}" not in self.command:
            raise refusal("no-port", command=self.command)

    def words(self, port: int) -> list[str]:
        """Return the program and its arguments for this port."""
        words = command_words("target.command", self.command)
        words = [word.replace("{port}", str(port)) for word in words]
        if "{notebooks}" not in self.command:
            return words
        from labkit import paths  # here: a measured client starts without it

        return [word.replace("{notebooks}", str(paths.notebooks())) for word in words]


class NoTarget(Target, frozen=True, kw_only=True, tag="none"):
    """No service at all: of a program that is measured alone."""


class PostgresTarget(Target, frozen=True, kw_only=True, tag="postgres"):
    """PostgreSQL: one of the lab's own, or the user's where `LABKIT_POSTGRES_DSN` names it.

    `labkit.items` has `rows` rows, keys from 0. In the server a query waits `query_s`, as for locks
    or disks, and adds up `query_work` numbers, which takes CPU. `max_connections` is of the lab's
    own alone.
    """

    compared = "both"
    processes = "many"

    rows: Annotated[int, Meta(ge=1, le=1_000_000)] = 10_000
    query_s: ShortSeconds = 0.0
    query_work: Annotated[int, Meta(ge=0, le=10_000_000)] = 0
    max_connections: Annotated[int, Meta(ge=1, le=1_000)] = 100

    @property
    def delay(self) -> str:
        """Return how long each query waits, as a delay expression."""
        return f"{self.query_s:.9f}".rstrip("0").rstrip(".")


class ValkeyTarget(Target, frozen=True, kw_only=True, tag="valkey"):
    """A Valkey (a Redis) with `keys` values of `value_bytes` each; item i asks for key i % keys.

    The lab's own, without persistence, unless `LABKIT_REDIS_URL` names one. `maxclients` is how
    many connections the lab's own accepts; one that is named has a limit of its own.
    """

    keys: Annotated[int, Meta(ge=1, le=1_000_000)] = 1_000
    value_bytes: Annotated[int, Meta(ge=0, le=1 << 20)] = 64
    maxclients: Annotated[int, Meta(ge=1, le=100_000)] = 10_000

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.keys * self.value_bytes > MAX_VALUES_BYTES:
            raise refusal("values", target=self, most=MAX_VALUES_BYTES)


TARGETS: Mapping[str, type[Target]] = by_kind(
    *(HttpTarget, EchoTarget, UrlTarget, Command, PostgresTarget, ValkeyTarget, NoTarget)
)
# The servers that the lab has written.
Listener = HttpServer | EchoTarget
# The settings of all servers that the lab starts.
TargetServer = Listener | PostgresTarget | ValkeyTarget


def check_listening(host: str, allow_remote: str | None) -> None:
    """Raise `BadInput` unless `host` is loopback or the one that the user named.

    A name below localhost may be anything's: whoever answers for names decides.
    """
    here = is_loopback(host) and not host.endswith(".localhost")
    if not here and host != allow_remote:
        raise refusal("listening", host=host)
