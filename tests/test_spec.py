"""What a trial admits, refuses and is called: each field of each part, and the names for them."""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Iterator
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit.errors import BadInput, LabError, TrialFailed
from labkit.measured import strategies
from labkit.spec import trial as spec
from labkit.spec import validation
from labkit.spec.parts import Switches, Workload
from labkit.spec.registry import OPTION_TYPES, STRATEGIES
from labkit.spec.targets import (
    TARGETS,
    EchoServer,
    EchoTarget,
    HttpServer,
    HttpTarget,
    PostgresServer,
    PostgresTarget,
    UrlTarget,
    ValkeyTarget,
    check_listening,
)
from labkit.spec.transports import (
    TRANSPORTS,
    AiohttpTransport,
    AsyncpgTransport,
    EchoTransport,
    PsycopgTransport,
    RedisTransport,
    StreamsTransport,
    WireTransport,
)
from labkit.spec.trial import Trial
from labkit.spec.validation import Count, Loop, Part, Seconds

MANY = 100_000_000
DAY = 86_400
ODD = [math.nan, math.inf, -math.inf, True, "5", "", [1], {}]
NOT_NUMBERS = [*ODD, None]
NOT_WHOLE = [1.5, -0.5, *NOT_NUMBERS]
NOT_BOOL = [0, 1, 1.0, "true", None, math.nan]
NOT_TEXT = [0, 1.5, True, math.nan, b"x", ["x"]]
NOT_SECONDS = [0, 0.0, -1, -0.1, DAY + 0.1, *ODD]
NOT_BYTES = [-1, (1 << 30) + 1, *NOT_WHOLE]
NOT_LOOP = ["", "Asyncio", "trio", 1, True, None]
NOT_SEED = [-1, 1 << 63, *NOT_WHOLE]
NOT_CONNECTIONS = [-1, 1_000_001, *NOT_WHOLE]


def but_none(values: list[Any]) -> list[Any]:
    return [value for value in values if value is not None]


# Role and field -> values that it admits (its bounds among them), and values that it refuses.
FIELDS: dict[str, tuple[list[Any], list[Any]]] = {
    "workload.requests": ([1, 3, MANY], [0, -1, MANY + 1, *NOT_WHOLE]),
    "workload.limit": ([1, 7, 1_000_000], [0, -1, 1_000_001, *NOT_WHOLE]),
    "workload.seed": ([0, 5, (1 << 63) - 1], NOT_SEED),
    "workload.path": ([None, "/", "/{item}", "/a%20b?c=d"], NOT_TEXT),
    # With a rate they depend on each other: see 'Open workloads'.
    "workload.rate": ([None], [0, -1, 1_000_001, *but_none(NOT_NUMBERS)]),
    "workload.arrival": (["constant"], ["", "uniform", 1, True, None]),
    "workload.overflow": (["wait"], ["", "refuse", 1, True, None]),
    "target.stall_at": ([None, 0, 7], [-1, *but_none(NOT_WHOLE)]),
    "target.stall_s": ([0, 0.5, 60], [-1, 60.1, *NOT_NUMBERS]),
    "target.delay": (["0", "randint(0,3)*0.1"], [*NOT_TEXT, None]),
    "target.engine": (["wire"], ["", "aiohttp", "nginx", 1, True, None]),
    "target.loop": (["asyncio", "uvloop"], NOT_LOOP),
    "target.body_bytes": ([None, 0, 1 << 30], but_none(NOT_BYTES)),
    "target.client_max_size": ([0, 1 << 20, 1 << 30], NOT_BYTES),
    "transport.limit": ([0, 30, 1_000_000], NOT_CONNECTIONS),
    "transport.limit_per_host": ([0, 30, 1_000_000], NOT_CONNECTIONS),
    "transport.keepalive_timeout": ([0, 0.5, 15.0, DAY], [-1, DAY + 1, *NOT_NUMBERS]),
    "transport.force_close": ([True, False], NOT_BOOL),
    "transport.ttl_dns_cache": ([None, 0, DAY], [-1, DAY + 1, *but_none(NOT_WHOLE)]),
    "transport.use_dns_cache": ([True, False], NOT_BOOL),
    "transport.enable_cleanup_closed": ([True, False], NOT_BOOL),
    "transport.timeout_s": ([None, 0.001, 5, DAY], NOT_SECONDS),
    "transport.connect_timeout_s": ([None, 0.001, 5, DAY], NOT_SECONDS),
    "transport.sock_connect_timeout_s": ([None, 0.001, 5, DAY], NOT_SECONDS),
    "transport.sock_read_timeout_s": ([None, 0.001, 5, DAY], NOT_SECONDS),
    "transport.session_per_request": ([True, False], NOT_BOOL),
    "transport.read": (["read", "stream", "release"], ["", "Read", "text", 1, None]),
    "transport.chunk_bytes": ([1, 1 << 26], [0, -1, (1 << 26) + 1, *NOT_WHOLE]),
    "transport.accept_encoding": ([None, "identity", "br"], ["", "BR", "compress", 1, True]),
    "transport.read_bufsize": ([None, 1, 1 << 26], [0, (1 << 26) + 1, *but_none(NOT_WHOLE)]),
    "transport.retry_dropped": ([True, False], NOT_BOOL),
    "transport.resolve_s": ([None, 0, 0.02, 60], [-1, 60.1, *NOT_NUMBERS[:-1]]),
    "transport.trace": ([True, False], NOT_BOOL),
    **{
        f"{kind}.{leaf}": values
        for kind in ("wire", "streams")
        for leaf, values in {
            "connections": ([0, 30, 1_000_000], NOT_CONNECTIONS),
            "timeout_s": ([None, 0.001, 5, DAY], NOT_SECONDS),
            "connect_timeout_s": ([None, 0.001, 5, DAY], NOT_SECONDS),
            "most_head_bytes": ([64, 1 << 20], [63, (1 << 20) + 1, *NOT_WHOLE]),
            "most_body_bytes": ([0, 1 << 30], NOT_BYTES),
        }.items()
    },
    "wire.depth": ([1, 16, 1_024], [0, -1, 1_025, *NOT_WHOLE]),
    "echo.message_bytes": ([16, 1_024, 1 << 20], [15, (1 << 20) + 1, *NOT_WHOLE]),
    "echo.connections": ([0, 30, 1_000_000], NOT_CONNECTIONS),
    "echo.timeout_s": ([None, 0.001, 5, DAY], NOT_SECONDS),
    "echo.connect_timeout_s": ([None, 0.001, 5, DAY], NOT_SECONDS),
    "echo-target.api": (["sockets", "streams", "protocol"], ["", "Protocol", 1, True, None]),
    "echo-target.loop": (["asyncio", "uvloop"], NOT_LOOP),
    **{
        f"{kind}.{leaf}": values
        for kind in ("postgres-target", "serve-postgres")
        for leaf, values in {
            "rows": ([1, 1_000_000], [0, 1_000_001, *NOT_WHOLE]),
            "query_s": ([0, 0.5, 60], [-1, 60.1, *NOT_NUMBERS]),
            "max_connections": ([1, 1_000], [0, 1_001, *NOT_WHOLE]),
            "auth": (["trust", "scram-sha-256"], ["", "md5", 1, True, None]),
        }.items()
    },
    "serve-postgres.die_with_stdin": ([True, False], NOT_BOOL),
    "serve-postgres.core": ([None, 0, 3], but_none(NOT_WHOLE)),
    **{
        f"{kind}.{leaf}": values
        for kind in ("asyncpg", "psycopg")
        for leaf, values in {
            "command_timeout_s": ([None, 0.001, 5, DAY], NOT_SECONDS),
            "connect_timeout_s": ([0.001, 5, DAY], NOT_SECONDS),
            "overcommit": ([True, False], NOT_BOOL),
        }.items()
    },
    "asyncpg.mode": (["connect", "single", "pool"], ["", "Pool", 1, True, None]),
    "asyncpg.min_size": ([None, 0, 10], [-1, 1_001, *but_none(NOT_WHOLE)]),
    "asyncpg.max_size": ([1, 1_000], [0, 1_001, *NOT_WHOLE]),
    "asyncpg.acquire_timeout_s": ([None, 0.001, 5, DAY], NOT_SECONDS),
    "asyncpg.max_inactive_s": ([0, 15.0, DAY], [-0.1, DAY + 1, *NOT_NUMBERS]),
    "asyncpg.batch": ([1, 10_000], [0, 10_001, *NOT_WHOLE]),
    "asyncpg.batch_delay_s": ([0.01], [-0.1, 61, *NOT_NUMBERS]),
    "psycopg.threads": ([1, 256], [0, 257, *NOT_WHOLE]),
    "streams.buffer_bytes": ([64, 1 << 26], [63, (1 << 26) + 1, *NOT_WHOLE]),
    "redis.mode": (["client", "pool", "blocking", "pipeline"], ["", "Pool", "sentinel", 1, None]),
    "redis.max_connections": ([0, 30, 1_000_000], NOT_CONNECTIONS),
    # Heeded in some modes only: see 'What depends on several settings'.
    "redis.pool_timeout_s": ([20, 20.0], NOT_SECONDS),
    "redis.depth": ([16], [0, -1, 10_001, *NOT_WHOLE]),
    "redis.timeout_s": ([None, 0.001, 5, DAY], NOT_SECONDS),
    "redis.connect_timeout_s": ([None, 0.001, 5, DAY], NOT_SECONDS),
    "valkey.keys": ([1, 5, 1_000_000], [0, -1, 1_000_001, *NOT_WHOLE]),
    "valkey.value_bytes": ([0, 64, 100_000], [-1, (1 << 20) + 1, *NOT_WHOLE]),
    "valkey.maxclients": ([1, 100_000], [0, -1, 100_001, *NOT_WHOLE]),
    "trial.loop": (["asyncio", "uvloop"], NOT_LOOP),
    "trial.eager_tasks": ([True, False], NOT_BOOL),
    "trial.pin": ([True, False], NOT_BOOL),
    "trial.probes": (["full", "counts", "bare"], ["", "none", 0, False, None]),
    "trial.saturate": ([None, True, False], but_none(NOT_BOOL)),
    "trial.deadline_s": ([None, 0.001, 5, DAY], NOT_SECONDS),
    "serve.engine": (["wire"], ["", "nginx", 1, True, None]),
    "serve.host": (["127.0.0.1", "::1"], [*NOT_TEXT, None]),
    "serve.port": ([0, 8080, 65_535], [-1, 65_536, *NOT_WHOLE]),
    "serve.delay": (["0", "1.5"], [*NOT_TEXT, None]),
    "serve.seed": ([0, (1 << 63) - 1], NOT_SEED),
    "serve.loop": (["asyncio", "uvloop"], NOT_LOOP),
    "serve.workers": ([1, 2, 64], [0, -1, 65, *NOT_WHOLE]),
    "serve.keep_log": ([0, 5, 100_000], [-1, 100_001, *NOT_WHOLE]),
    "serve.counters_folder": ([None, "x"], NOT_TEXT),
    "serve.body_bytes": ([None, 0, 1 << 30], but_none(NOT_BYTES)),
    "serve.stall_at": ([None, 0, 7], [-1, *but_none(NOT_WHOLE)]),
    "serve.stall_s": ([0, 0.5, 60], [-1, 60.1, *NOT_NUMBERS]),
    "serve.client_max_size": ([0, 1 << 30], NOT_BYTES),
    "serve.announce_json": ([True, False], NOT_BOOL),
    "serve.die_with_stdin": ([True, False], NOT_BOOL),
    "serve.core": ([None, 0, 3], but_none(NOT_WHOLE)),
    "serve-echo.api": (["sockets", "streams", "protocol"], ["", "Protocol", 1, True, None]),
    **{
        f"serve-echo.{leaf}": values
        for leaf, values in {
            "host": (["127.0.0.1", "::1"], [*NOT_TEXT, None]),
            "port": ([0, 8080, 65_535], [-1, 65_536, *NOT_WHOLE]),
            "loop": (["asyncio", "uvloop"], NOT_LOOP),
            "die_with_stdin": ([True, False], NOT_BOOL),
            "core": ([None, 0, 3], but_none(NOT_WHOLE)),
        }.items()
    },
}
URL_FIELDS: dict[str, tuple[list[Any], list[Any]]] = {
    "target.url": (["http://127.0.0.1:9000/{item}"], [*NOT_TEXT, None]),
    "target.allow_remote": ([None, "example.invalid"], NOT_TEXT),
}
PARTS: dict[str, type[Part]] = {
    "workload": Workload,
    "target": HttpTarget,
    "transport": AiohttpTransport,
    "wire": WireTransport,
    "streams": StreamsTransport,
    "echo": EchoTransport,
    "echo-target": EchoTarget,
    "postgres-target": PostgresTarget,
    "asyncpg": AsyncpgTransport,
    "psycopg": PsycopgTransport,
    "trial": Switches,
    "serve": HttpServer,
    "serve-echo": EchoServer,
    "serve-postgres": PostgresServer,
    "redis": RedisTransport,
    "valkey": ValkeyTarget,
}


def is_one_sentence(message: str) -> bool:
    return "\n" not in message and ". " not in message and not message.endswith(".")


# Fields


def test_every_field_of_every_part_is_stated_here() -> None:
    listed = {
        f"{role}.{name}" for role, kind in PARTS.items() for name in validation.types_of(kind)
    }
    of_urls = {f"target.{name}" for name in validation.types_of(UrlTarget)}

    assert set(FIELDS) == listed
    assert set(URL_FIELDS) == of_urls
    assert {type(part) for part in known_kinds()} <= {*PARTS.values(), UrlTarget}


def known_kinds() -> Iterator[Part]:
    yield from (kind() for kind in TRANSPORTS.values())
    yield HttpTarget()
    yield EchoTarget()
    yield PostgresTarget()
    yield ValkeyTarget()
    yield UrlTarget(url="http://127.0.0.1/")
    assert set(TARGETS) == {"http", "echo", "url", "postgres", "valkey"}


@pytest.mark.parametrize("name", FIELDS)
def test_a_part_takes_what_its_field_admits(name: str) -> None:
    role, _, leaf = name.partition(".")
    for value in FIELDS[name][0]:
        assert getattr(PARTS[role](**{leaf: value}), leaf) == value


@pytest.mark.parametrize("name", FIELDS)
def test_a_part_refuses_what_its_field_does_not_admit(name: str) -> None:
    role, _, leaf = name.partition(".")
    for value in FIELDS[name][1]:
        with pytest.raises(BadInput) as caught:
            PARTS[role](**{leaf: value})

        said = f"{PARTS[role].role}.{leaf} is {value!r}: it must be "
        assert str(caught.value).startswith(said)
        assert is_one_sentence(str(caught.value))


@pytest.mark.parametrize("name", [name for name in FIELDS if not name.startswith("serve")])
def test_a_trial_refuses_it_in_the_same_words(name: str) -> None:
    kind, _, leaf = name.partition(".")
    role = PARTS[kind].role
    chosen = {"transport": kind} if kind in TRANSPORTS else {}
    chosen = {"target": "echo"} if kind.startswith("echo") else chosen
    chosen |= {"target": "postgres"} if kind in ("asyncpg", "psycopg", "postgres-target") else {}
    chosen = {"target": "valkey"} if kind in ("redis", "valkey") else chosen
    for value in FIELDS[name][1]:
        with pytest.raises(BadInput) as caught:
            Trial(**chosen, **{f"{role}.{leaf}".replace("trial.", "switches."): value})

        assert str(caught.value).startswith(f"{role}.{leaf} is {value!r}: it must be ")


@pytest.mark.parametrize("name", URL_FIELDS)
def test_the_fields_of_a_url_target(name: str) -> None:
    leaf = name.partition(".")[2]
    for value in URL_FIELDS[name][0]:
        settings = {"url": "http://127.0.0.1/", leaf: value}
        assert getattr(UrlTarget(**settings), leaf) == value
    for value in URL_FIELDS[name][1]:
        with pytest.raises(BadInput, match=f"{name} is "):
            UrlTarget(**{"url": "http://127.0.0.1/", leaf: value})


@pytest.mark.parametrize(
    "path", ["", "x", "x/y", "/a b", "/\n", "/é", "/\x00", "http://x/", "/x\n"]
)
def test_a_path_starts_with_a_slash_and_is_printable_ascii(path: str) -> None:
    with pytest.raises(BadInput) as caught:
        Trial(path=path)

    assert str(caught.value).startswith(f"workload.path is {path!r}: it must start with '/'")


@pytest.mark.parametrize("part", [HttpTarget, HttpServer])
def test_a_delay_that_does_not_parse_is_refused(part: type[Part]) -> None:
    with pytest.raises(BadInput, match=r"write one of 0\.05, randint"):
        part(delay="randint(3)")


def test_a_connection_that_is_closed_is_not_kept_alive() -> None:
    for kept in (0, 30.0):
        with pytest.raises(BadInput, match="set one of the two"):
            Trial(force_close=True, keepalive_timeout=kept)
    assert Trial(force_close=True).transport == AiohttpTransport(force_close=True)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_a_server_listens_on_loopback(host: str) -> None:
    check_listening(host, None)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "10.0.0.1", "example.invalid"])  # noqa: S104
def test_a_server_listens_elsewhere_only_where_that_was_named(host: str) -> None:
    check_listening(host, host)
    with pytest.raises(BadInput, match="--allow-remote"):
        check_listening(host, None)
    with pytest.raises(BadInput, match="--allow-remote"):
        check_listening(host, "other.invalid")


def test_parts_and_trials_are_frozen() -> None:
    trial = Trial()
    for thing, name in ((trial, "strategy"), (trial.workload, "requests"), (trial.target, "delay")):
        with pytest.raises(AttributeError):
            setattr(thing, name, 1)


def test_errors_carry_what_a_front_needs() -> None:
    assert issubclass(BadInput, (LabError, ValueError))
    assert (LabError.exit_code, BadInput.exit_code, TrialFailed.exit_code) == (1, 2, 1)
    assert TrialFailed("it died").record is None
    assert TrialFailed("it died", "a record").record == "a record"


# Checking one value, and text that stands for one


@pytest.mark.parametrize(
    ("type_", "sentence"),
    [
        (Count, "a whole number from 1 to 100,000,000"),
        (Seconds, "a number above 0 and at most 86,400"),
        (Seconds | None, "a number above 0 and at most 86,400 or none"),
        (validation.AtLeastOne, "a whole number of at least 1"),
        (validation.Annotated[float, validation.Meta(gt=0)], "a number above 0"),
        (float, "a number"),
        (Loop, "one of asyncio, uvloop"),
        (bool, "true or false"),
        (str | None, "text or none"),
        (dict, "dict"),
    ],
)
def test_a_refusal_says_what_is_allowed(type_: Any, sentence: str) -> None:
    with pytest.raises(BadInput) as caught:
        validation.check("x", object(), type_)

    assert str(caught.value).endswith(f": it must be {sentence}")


def test_a_refusal_names_the_nearest_choice() -> None:
    with pytest.raises(BadInput, match="did you mean 'uvloop'"):
        validation.check("trial.loop", "uvlop", Loop)


@pytest.mark.parametrize(
    ("text", "type_", "value"),
    [
        ("20000", Count, 20_000),
        ("20_000", Count, 20_000),
        (" 5 ", Count, 5),
        ("0.5", Seconds, 0.5),
        ("5", Seconds, 5.0),
        ("1e3", Seconds, 1_000.0),
        ("none", Seconds | None, None),
        ("None", Seconds | None, None),
        ("null", Seconds | None, None),
        ("true", bool, True),
        ("False", bool, False),
        ("uvloop", Loop, "uvloop"),
        ("/a_b/{item}", str | None, "/a_b/{item}"),
        pytest.param(
            "none",
            str | None,
            None,
        ),
        ("none", str, "none"),
        ("randint(0,3)*0.1", str, "randint(0,3)*0.1"),
        ("_", str, "_"),
        ("", str, ""),
    ],
)
def test_text_of_a_command_line_becomes_the_value_that_it_writes(
    text: str, type_: Any, value: Any
) -> None:
    converted = validation.from_text("x", text, type_)

    assert converted == value
    assert type(converted) is type(value)


@pytest.mark.parametrize(
    ("text", "type_"),
    [
        ("", Count), ("_", Count), ("0", Count), ("-1", Count),
        ("1.5", Count), ("1e400", Seconds), ("nan", Seconds),
        ("inf", Seconds), ("-inf", Seconds), ("none", Seconds),
        ("None", Count), ("yes", bool), ("2", bool),
        ("5 s", Seconds), ("0x10", Count), ("true", Count),
    ],
)  # fmt: skip
def test_text_that_writes_no_such_value_is_refused(text: str, type_: Any) -> None:
    with pytest.raises(BadInput) as caught:
        validation.from_text("the.field", text, type_)

    assert str(caught.value).startswith("the.field is ")
    assert "it must be" in str(caught.value)


def test_a_choice_is_not_found_by_dropping_underscores() -> None:
    with pytest.raises(BadInput):
        validation.from_text("trial.loop", "uv_loop", Loop)


@given(st.lists(st.sampled_from(["0.1", "randint(0,3)", "uniform(1,2)*3", "a", ""]), min_size=1))
def test_a_list_is_split_at_the_commas_outside_brackets(values: list[str]) -> None:
    assert validation.split_list(",".join(values)) == values


# Strategies


def test_the_names_of_strategies_and_their_options_are_those_of_the_code() -> None:
    options = {name: keyword_only(strategies.load(name)) for name in strategies.NAMES}

    assert tuple(STRATEGIES) == strategies.NAMES
    assert {name: dict(found) for name, found in STRATEGIES.items()} == options
    assert set(OPTION_TYPES) == {leaf for found in options.values() for leaf in found}


def keyword_only(strategy: strategies.Strategy) -> dict[str, Any]:
    listed = inspect.signature(strategy.__wrapped__).parameters.values()
    return {one.name: one.default for one in listed if one.kind is one.KEYWORD_ONLY}


@pytest.mark.parametrize("name", strategies.NAMES)
def test_the_strategy_itself_and_its_name_mean_the_same(name: str) -> None:
    trial = Trial(strategy=strategies.load(name))

    assert trial == Trial(strategy=name)
    assert (trial.function, trial.own_strategy, trial.get("strategy")) == (None, False, name)


@pytest.mark.parametrize("value", [0, -1, 1.5, True, "5", None, math.nan, 10**9])
@pytest.mark.parametrize("name", ["maxsize", "chunk_size", "classes"])
def test_options_of_a_strategy_are_checked(name: str, value: Any) -> None:
    owner = next(owner for owner, options in STRATEGIES.items() if name in options)
    if (name, value) == ("maxsize", 0):
        assert Trial(strategy=owner, maxsize=value).options == {"maxsize": 0}
        return
    with pytest.raises(BadInput) as caught:
        Trial(strategy=owner, **{name: value})

    assert str(caught.value).startswith(f"strategy.{name} is {value!r}: it must be a whole number ")


def test_options_are_kept_until_the_strategy_changes() -> None:
    trial = Trial(strategy="chunked", chunk_size=50)

    assert trial.replace(limit=3).options == {"chunk_size": 50}
    assert trial.get("strategy.chunk_size") == trial.get("chunk_size") == 50
    assert trial.type_of("chunk_size") == OPTION_TYPES["chunk_size"]
    assert trial.replace(strategy="chunked").options == {"chunk_size": 1_000}
    assert trial.replace(strategy="wait").options == {}
    with pytest.raises(BadInput, match="'chunk_size' is not a setting"):
        trial.replace(strategy="wait", chunk_size=5)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("task-pool", "task_pool"),
        ("semaphor", "semaphore"),
        ("Gather", "gather"),
        ("pypln", "pypeln"),
    ],
)
def test_an_unknown_strategy_is_refused_with_the_nearest(name: str, nearest: str) -> None:
    with pytest.raises(BadInput) as caught:
        Trial(strategy=name)

    message = str(caught.value)
    assert message.startswith(f"strategy is {name!r}: it must be one of sequential, gather, ")
    assert message.endswith(f"; did you mean '{nearest}'?")


@pytest.mark.parametrize("value", [None, 5, 1.5, "", "x y", b"gather"])
def test_what_is_no_strategy_is_refused(value: Any) -> None:
    with pytest.raises(BadInput, match="it must be one of sequential"):
        Trial(strategy=value)


def test_a_list_of_strategies_is_no_strategy() -> None:
    with pytest.raises(BadInput):
        Trial(strategy=["gather", "wait"])


@pytest.mark.parametrize("function", [print, dict, lambda fetch, items, limit: None])
def test_a_function_that_is_no_coroutine_function_is_refused(function: Any) -> None:
    with pytest.raises(BadInput, match="async def"):
        Trial(strategy=function)


def test_a_function_of_no_module_is_a_strategy() -> None:
    made: dict[str, Any] = {}
    exec("async def mine(fetch, items, limit): ...", made)  # noqa: S102 - as some tools do

    assert Trial(strategy=made["mine"]).strategy == "mine"


async def mine(fetch: Any, items: Any, limit: int) -> None:
    """A strategy of one's own."""


def test_a_function_of_ones_own_is_a_strategy() -> None:
    trial = Trial(strategy=mine, limit=3)

    assert (trial.strategy, trial.own_strategy, trial.function) == ("mine", True, mine)
    assert trial.get("strategy") is mine
    assert trial.options == {}
    assert trial.replace(limit=4).function is mine
    assert trial.replace(strategy="wait").function is None


def test_a_registered_function_is_found_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(spec.OWN, "mine", mine)

    assert Trial(strategy="mine") == Trial(strategy=mine)
    with pytest.raises(BadInput, match="did you mean 'mine'"):
        Trial(strategy="minne")


def test_of_a_strategy_of_ones_own_a_record_keeps_the_name_alone() -> None:
    trial = Trial.from_dict(Trial(strategy=mine, limit=3).to_dict())

    assert (trial.strategy, trial.own_strategy, trial.function, trial.limit) == (
        "mine",
        True,
        None,
        3,
    )


def test_a_record_of_the_labs_strategy_means_the_labs(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = Trial(strategy="semaphore").to_dict()
    monkeypatch.setitem(spec.OWN, "semaphore", mine)

    assert Trial.from_dict(measured).function is None


def test_a_function_of_ones_own_called_gather_is_bounded_by_the_limit() -> None:
    async def gather(fetch: Any, items: Any, limit: int) -> None: ...

    assert Trial(strategy=gather, requests=10, limit=2, delay="1").floor_s == 5


# Names of settings


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("limt", "limit"),
        ("request", "requests"),
        ("transport.limti", "transport.limit"),
        ("eager_task", "eager_tasks"),
        ("worklod.limit", "workload.limit"),
    ],
)
@pytest.mark.parametrize("ask", ["set", "replace", "get", "type_of"])
def test_an_unknown_setting_is_refused_with_the_nearest(ask: str, name: str, nearest: str) -> None:
    asks: dict[str, Any] = {
        "set": lambda: Trial(**{name: 1}),
        "replace": lambda: Trial().replace(**{name: 1}),
        "get": lambda: Trial().get(name),
        "type_of": lambda: Trial().type_of(name),
    }
    with pytest.raises(BadInput) as caught:
        asks[ask]()

    message = str(caught.value)
    assert message.startswith(f"{name!r} is not a setting of a trial with these parts")
    assert f"did you mean '{nearest}'?" in message


@pytest.mark.parametrize("name", ["zzzzzz", "", ".", "transport.", ".limit", "target.url", "kind"])
def test_a_name_like_no_other_is_refused_with_all_that_there_are(name: str) -> None:
    with pytest.raises(BadInput) as caught:
        Trial().get(name)

    assert "is not a setting" in str(caught.value)
    assert is_one_sentence(str(caught.value).replace("'.'", ""))


@pytest.mark.parametrize(
    ("short", "dotted"),
    [
        ("limit", "workload.limit"),
        ("requests", "workload.requests"),
        ("loop", "switches.loop"),
        ("delay", "target.delay"),
        ("body_bytes", "target.body_bytes"),
        ("force_close", "transport.force_close"),
        ("deadline_s", "switches.deadline_s"),
    ],
)
def test_a_short_name_means_the_dotted_one(short: str, dotted: str) -> None:
    trial = Trial()

    assert trial.get(short) == trial.get(dotted)
    assert trial.type_of(short) == trial.type_of(dotted)


def test_dotted_names_tell_apart_what_short_ones_do_not() -> None:
    trial = Trial(**{"limit": 5, "transport.limit": 6, "loop": "asyncio", "target.loop": "uvloop"})

    assert (trial.workload.limit, trial.transport.limit) == (5, 6)
    assert (trial.switches.loop, trial.target.loop) == ("asyncio", "uvloop")


def test_one_setting_by_two_names_is_refused() -> None:
    with pytest.raises(BadInput):
        Trial(**{"limit": 5, "workload.limit": 6})


# Parts


def test_a_part_is_given_as_itself_as_its_kind_or_as_plain_data() -> None:
    part = AiohttpTransport(limit=9)

    assert Trial(transport=part).transport == part
    assert Trial(transport={"kind": "aiohttp", "limit": 9}).transport == part
    assert Trial(transport="aiohttp").transport == AiohttpTransport()
    assert Trial(workload={"limit": 9}).workload == Workload(limit=9)
    assert Trial(transport=part, **{"transport.limit": 10}).transport.limit == 10


def test_a_url_is_a_target() -> None:
    trial = Trial(target="http://127.0.0.1:9000/{item}", strategy="sequential")

    assert trial.target == UrlTarget(url="http://127.0.0.1:9000/{item}")
    assert (trial.url, trial.path, trial.floor_s) == ("http://127.0.0.1:9000/{item}", "", None)
    assert trial.replace(path="/x").path == "/x"
    assert trial.replace(target="http").target == HttpTarget()
    assert trial.get("target") == trial.target
    with pytest.raises(BadInput, match="'delay' is not a setting"):
        trial.replace(delay="1")


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (
            {"target": "htp"},
            "target is 'htp': it must be one of http, echo, url, postgres, valkey, a URL",
        ),
        (
            {"target": 5},
            "target is '5': it must be one of http, echo, url, postgres, valkey, a URL",
        ),
        (
            {"target": Workload()},
            "it must be one of http, echo, url, postgres, valkey, a URL",
        ),
        ({"target": {"kind": 5}}, "target is '5': it must be one of"),
        ({"target": {"kind": "url"}}, "target is incomplete: "),
        ({"transport": "aiohtp"}, "did you mean 'aiohttp'?"),
        ({"transport": AiohttpTransport}, "it must be one of aiohttp"),
        ({"transport": {"kind": "aiohttp", "limits": 1}}, "did you mean 'limit'?"),
        ({"transport": {"kind": "aiohttp", "limit": -1}}, "transport.limit is -1: it must be"),
        ({"workload": "open"}, "workload is 'open': it must be one of closed"),
    ],
)
def test_what_is_no_part_is_refused(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadInput) as caught:
        Trial(**settings)

    assert sentence in str(caught.value)
    assert is_one_sentence(str(caught.value))


def test_plain_data_without_a_kind_varies_the_part_or_asks_for_the_kind() -> None:
    try:
        assert Trial(target={"delay": "1"}).target == HttpTarget(delay="1")
    except BadInput as error:
        assert "closed" not in str(error)  # noqa: PT017 - either is right


def test_naming_the_kind_that_a_part_has_keeps_its_settings() -> None:
    trial = Trial(**{"transport.limit": 5})

    assert trial.replace(transport="aiohttp") == trial


def test_types_of_parts_and_settings() -> None:
    trial = Trial()

    assert trial.type_of("strategy") is trial.type_of("target") is str
    assert get_args(trial.type_of("loop")) == ("asyncio", "uvloop")
    assert trial.type_of("requests") == Count


# What depends on several settings


def test_the_target_echo_brings_its_transport_along() -> None:
    trial = Trial(target="echo", api="streams", message_bytes=2_048, **{"target.loop": "asyncio"})

    assert trial.target == EchoTarget(api="streams", loop="asyncio")
    assert trial.transport == EchoTransport(message_bytes=2_048)
    assert (trial.floor_s, trial.url) == (None, None)
    assert trial.deadline_s >= 60
    assert Trial().replace(target="echo").transport == EchoTransport()
    assert trial.replace(target=EchoTarget()).transport == trial.transport
    assert trial.replace(target="http").transport == AiohttpTransport()
    assert trial.replace(target="http://127.0.0.1/").transport == AiohttpTransport()
    assert Trial(transport="wire").replace(target="http").transport == WireTransport()


@pytest.mark.parametrize(
    "settings",
    [
        {"transport": "echo"},
        {"target": "http", "transport": "echo"},
        {"target": "http://127.0.0.1/", "transport": "echo"},
        {"target": "echo", "transport": "aiohttp"},
        {"target": "echo", "transport": WireTransport()},
        {"target": "echo", "path": "/x"},
        {"target": "echo", "probes": "bare"},
    ],
)
def test_an_echo_goes_with_an_echo_only(settings: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match=r"echo|bare") as caught:
        Trial(**settings)

    assert is_one_sentence(str(caught.value))


def test_an_echo_has_a_connection_for_each_message() -> None:
    part = EchoTransport(connections=3)

    assert [part.connections_at(n) for n in (1, 3, 10)] == [1, 3, 3]
    assert EchoTransport().connections_at(10) == EchoTransport().sent_at(10) == 10


def test_the_target_valkey_brings_its_transport_along() -> None:
    trial = Trial(target="valkey", keys=7, mode="pipeline", depth=3)

    assert trial.target == ValkeyTarget(keys=7)
    assert trial.transport == RedisTransport(mode="pipeline", depth=3)
    assert (trial.floor_s, trial.url, trial.saturates) == (None, None, True)
    assert Trial.from_dict(json.loads(json.dumps(trial.to_dict()))) == trial


@pytest.mark.parametrize(
    "settings",
    [
        {"transport": "redis"},
        {"target": "http", "transport": "redis"},
        {"target": "valkey", "transport": "aiohttp"},
        {"target": "valkey", "path": "/x"},
        {"target": "valkey", "probes": "bare"},
        {"target": "valkey", "depth": 2},
        {"target": "valkey", "mode": "blocking", "depth": 2},
        {"target": "valkey", "pool_timeout_s": 1.0},
        {"target": "valkey", "mode": "client", "pool_timeout_s": None},
        {"target": "valkey", "keys": 1_000_000, "value_bytes": 1_000},
    ],
)
def test_what_a_trial_on_valkey_has_not(settings: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match=r"redis|valkey|bare|heed|value_bytes") as caught:
        Trial(**settings)

    assert is_one_sentence(str(caught.value))


@pytest.mark.parametrize(
    ("settings", "connections", "sent"),
    [
        ({"mode": "client"}, 50, 50),
        ({"mode": "client", "max_connections": 3}, 50, 50),
        ({"mode": "pool"}, 50, 50),
        ({"mode": "pool", "max_connections": 3}, 3, 50),  # the others fail, and wait for nothing
        ({"mode": "blocking", "max_connections": 3}, 3, 3),
        ({"mode": "blocking"}, 50, 50),
        ({"mode": "pipeline", "max_connections": 3, "depth": 4}, 3, 12),
        ({"mode": "pipeline", "max_connections": 3, "depth": 100}, 3, 50),
    ],
)
def test_connections_to_a_redis(settings: dict[str, Any], connections: int, sent: int) -> None:
    part = RedisTransport(**settings)

    assert part.connections_at(50) == connections
    assert part.sent_at(50) == sent
    assert part.queues == (settings["mode"] in ("blocking", "pipeline"))


def test_a_remote_trial_is_capped() -> None:
    allowed = {"target": "http://example.invalid/", "allow_remote": "example.invalid"}

    trial = Trial(**allowed, requests=10_000, limit=50)

    assert trial.deadline_s == 300
    assert Trial(**allowed, requests=40, limit=1_000).slots == 1_000
    for more in ({"requests": 10_001}, {"limit": 51}, {"strategy": "gather"}):
        with pytest.raises(BadInput, match="on a remote host"):
            trial.replace(**more)


def test_a_remote_trial_is_capped_in_time_too() -> None:
    settings = {"target": "http://example.invalid/", "allow_remote": "example.invalid", "limit": 5}
    try:
        assert Trial(**settings, deadline_s=86_400).deadline_s <= 300
    except BadInput as error:
        assert "deadline_s" in str(error)  # noqa: PT017 - either is right


def test_the_hand_written_loop_calls_no_remote_host() -> None:
    settings = {"target": "http://example.invalid/", "allow_remote": "example.invalid", "limit": 5}
    with pytest.raises(BadInput):
        Trial(**settings, probes="bare")


def test_gather_holds_a_task_for_each_so_there_is_a_ceiling() -> None:
    assert Trial(strategy="gather", requests=1_000_000).slots == 1_000_000
    with pytest.raises(BadInput, match="at most 1,000,000 are allowed"):
        Trial(strategy="gather", requests=1_000_001)


def test_the_hand_written_loop_is_no_other_strategy() -> None:
    assert Trial(probes="bare").probes == "bare"
    for strategy in ("wait", mine):
        with pytest.raises(BadInput, match="leave strategy at 'worker_pool'"):
            Trial(probes="bare", strategy=strategy)


@pytest.mark.parametrize("name", ["path", "transport.read", "transport.limit"])
def test_the_hand_written_loop_takes_no_settings_that_it_does_not_heed(name: str) -> None:
    values = {"path": "/bytes/100", "transport.read": "release", "transport.limit": 5}
    with pytest.raises(BadInput):
        Trial(probes="bare", **{name: values[name]})


@pytest.mark.parametrize(
    ("settings", "floor_s"),
    [
        ({"delay": "0"}, 0),
        ({"delay": "2", "requests": 10, "limit": 4}, 6),
        ({"delay": "2", "requests": 10, "limit": 4, "path": "/{item}"}, 6),
        ({"delay": "2", "requests": 10, "limit": 4, "strategy": "gather"}, 2),
        ({"delay": "2", "requests": 10, "limit": 4, "path": "/bytes/{item}"}, None),
        ({"target": "http://127.0.0.1/"}, None),
        ({"delay": "2", "requests": 10, "limit": 4, "rate": 5}, None),
    ],
)
def test_the_floor_is_known_where_the_delays_are(settings: Any, floor_s: float | None) -> None:
    assert Trial(**settings).floor_s == floor_s


@pytest.mark.parametrize(
    ("settings", "least_s"),
    [
        ({}, 60),
        ({"delay": "1", "requests": 100, "limit": 10}, 60 + 3 * 10),
        ({"delay": "1", "requests": 100, "limit": 10, "strategy": "sequential"}, 60 + 3 * 100),
        ({"target": "http://127.0.0.1/", "requests": 10_000}, 60),
        ({"rate": 2, "requests": 100}, 60 + 50),
    ],
)
def test_a_deadline_is_several_times_what_a_trial_should_need(
    settings: Any, least_s: float
) -> None:
    assert Trial(**settings).deadline_s >= least_s
    assert Trial(**settings, deadline_s=5).deadline_s == 5


@pytest.mark.parametrize(
    "settings",
    [
        {"transport.limit": 2},
        {"transport.limit_per_host": 2},
        {"strategy": "chunked", "chunk_size": 2},
    ],
)
def test_a_deadline_heeds_what_holds_requests_back(settings: dict[str, Any]) -> None:
    trial = Trial(requests=1_000, limit=100, delay="1", **settings)

    assert trial.deadline_s > 500


# Open workloads


@pytest.mark.parametrize("rate", [0.5, 500, 1_000_000])
@pytest.mark.parametrize("arrival", ["constant", "poisson"])
@pytest.mark.parametrize("overflow", ["wait", "drop"])
def test_an_open_workload_is_the_same_after_json(rate: float, arrival: str, overflow: str) -> None:
    trial = Trial(rate=rate, arrival=arrival, overflow=overflow, transport="wire")
    assert Trial.from_dict(json.loads(json.dumps(trial.to_dict()))) == trial


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"arrival": "poisson"}, "workload.arrival is 'poisson' without a workload.rate"),
        ({"overflow": "drop"}, "workload.overflow is 'drop' without a workload.rate"),
        ({"rate": 5, "strategy": "gather"}, "strategy is 'gather' with workload.rate 5"),
        ({"rate": 5, "strategy": "pypeln"}, "strategy is 'pypeln' with workload.rate 5"),
        ({"rate": 5, "probes": "counts"}, "probes is 'counts' with workload.rate 5"),
        (
            {
                "rate": 101,
                "target": "http://example.invalid/",
                "target.allow_remote": "example.invalid",
                "limit": 10,
            },
            "workload.rate is 101 on a remote host: at most 100",
        ),
    ],
)
def test_what_an_open_workload_has_not(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadInput) as caught:
        Trial(**settings)
    assert str(caught.value).startswith(sentence)
    assert is_one_sentence(str(caught.value))


# Round trips


def settings_of_a_trial() -> st.SearchStrategy[dict[str, Any]]:
    """Valid settings by dotted name, each there or not."""
    named = {
        name.replace("trial.", "switches."): st.sampled_from(admitted)
        for name, (admitted, _) in FIELDS.items()
        if name.partition(".")[0] in ("workload", "target", "transport", "trial")
    }
    return st.fixed_dictionaries({}, optional=named).map(consistent)


def consistent(settings: dict[str, Any]) -> dict[str, Any]:
    """Without what other settings forbid."""
    if settings.get("transport.force_close"):
        settings.pop("transport.keepalive_timeout", None)
    if settings.get("switches.probes") == "counts":
        settings.pop("transport.trace", None)
    if settings.get("switches.probes") == "bare":
        heeded = (n for n in settings if n != "workload.path" and not n.startswith("transport."))
        return {name: settings[name] for name in list(heeded)}
    return settings


ANY_STRATEGY = st.sampled_from([*STRATEGIES, mine])


def trial_of(settings: dict[str, Any], strategy: Any) -> Trial:
    if settings.get("switches.probes") == "bare":
        strategy = "worker_pool"
    if strategy == "gather":
        settings = {**settings, "workload.requests": 1_000}
    return Trial(strategy=strategy, **settings)


@settings(max_examples=40)
@given(settings_of_a_trial(), ANY_STRATEGY)
def test_what_is_set_is_got(settings: dict[str, Any], strategy: Any) -> None:
    trial = trial_of(settings, strategy)

    for name in settings.keys() - {"workload.requests"}:
        assert trial.get(name) == settings[name]
        validation.check(name, trial.get(name), trial.type_of(name))


@settings(max_examples=40)
@given(settings_of_a_trial(), ANY_STRATEGY)
def test_a_trial_is_the_same_after_json(settings: dict[str, Any], strategy: Any) -> None:
    trial = trial_of(settings, strategy)

    again = Trial.from_dict(json.loads(json.dumps(trial.to_dict())))

    assert again.to_dict() == trial.to_dict()
    if strategy is not mine:
        assert again == trial
        assert hash(again) == hash(trial)


@settings(max_examples=40)
@given(settings_of_a_trial(), settings_of_a_trial())
def test_replacing_is_constructing_with_the_later_settings(
    first: dict[str, Any], then: dict[str, Any]
) -> None:
    merged = first | then
    if merged != consistent(dict(merged)) or merged.get("switches.probes") == "bare":
        return

    assert Trial(**first).replace(**then) == Trial(**merged)
    assert Trial(**first).replace() == Trial(**first)


def test_an_echo_trial_is_the_same_after_json() -> None:
    trial = Trial(target="echo", api="sockets", message_bytes=100, connections=2)

    assert Trial.from_dict(json.loads(json.dumps(trial.to_dict()))) == trial


def test_a_url_trial_is_the_same_after_json() -> None:
    trial = Trial(
        target="http://example.invalid/{item}", allow_remote="example.invalid", limit=5, requests=9
    )

    assert Trial.from_dict(json.loads(json.dumps(trial.to_dict()))) == trial


@pytest.mark.parametrize(
    "edit",
    [
        {"strategy": "semaphor"}, {"loop": "trio"}, {"surprise": 1}, {"workload": {"limit": 0}},
        {"target": {"kind": "ftp"}}, {"target": {"kind": "http", "delay": "x"}},
        {"target": None, "workload": 5},
        {"options": {"maxsize": 1}}, {"transport": {"kind": "aiohttp", "surprise": 1}},
    ],
)  # fmt: skip
def test_an_edited_description_is_refused(edit: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        Trial.from_dict({**Trial().to_dict(), **edit})
