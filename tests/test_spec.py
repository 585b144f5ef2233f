"""What a trial admits, refuses and is called: each field of each part, and the names for them."""

import inspect
import json
import math
from collections.abc import Callable
from typing import Annotated, Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from machines import checks
from msgspec import Meta

import labkit as lab
from labkit.errors import BadInput, LabError, TrialFailed
from labkit.measured import strategies
from labkit.spec import targets, transports, validation
from labkit.spec import trial as spec
from labkit.spec.parts import Switches, Workload
from labkit.spec.plan import checked
from labkit.spec.registry import OPTION_TYPES, STRATEGIES
from labkit.spec.targets import EchoTarget, HttpTarget, UrlTarget, ValkeyTarget
from labkit.spec.transports import AiohttpTransport, EchoTransport, RedisTransport, WireTransport
from labkit.spec.trial import Trial
from labkit.spec.validation import Count, Loop, Part, Seconds, Seed

MANY, DAY, HERE = 100_000_000, 86_400, "http://127.0.0.1/"
NOT_NUMBERS = [math.nan, math.inf, -math.inf, True, "5", "", [1], {}]
NOT_WHOLE = [1.5, -0.5, *NOT_NUMBERS]
NOT_BOOL = [0, 1, 1.0, "true", math.nan]
NOT_TEXT = [0, 1.5, True, math.nan, b"x", ["x"]]
Values = tuple[list[Any], list[Any]]


def whole(low: int, high: int, *between: int) -> Values:
    return [low, high, *between], [low - 1, high + 1, None, *NOT_WHOLE]


def number(low: float, high: float, *between: float) -> Values:
    return [low, high, *between], [low - 0.1, high + 0.1, None, *NOT_NUMBERS]


def one_of(*choices: str) -> Values:
    return list(choices), ["", choices[0].title(), "no such choice", 1, True, None]


def or_none(values: Values) -> Values:
    return [None, *values[0]], [value for value in values[1] if value is not None]


FLAG = [True, False], [*NOT_BOOL, None]
SECONDS = [0.001, 5, DAY], [0, 0.0, -1, -0.1, DAY + 0.1, None, *NOT_NUMBERS]
TEXT = ["127.0.0.1", "::1"], [*NOT_TEXT, None]
NO_VARIABLES = ["PYTHONMALLOC", "=1", "LD_PRELOAD=/x.so", "PYTHONMALLOC=a PYTHONMALLOC=b"]
NO_VARIABLES += ["HTTP_PROXY=http://x", "pythonmalloc=a", "PYTHONMALLOC=a\0", *NOT_TEXT]
DELAY = ["0", "randint(0,3)*0.1"], [True, b"x", ["x"], None]
HTTP = ("http-target", "serve")

# The kinds of `[fields]` -> values that a field of it admits (its bounds among them) and refuses.
KINDS: dict[str, Callable[..., Values]] = {
    **{"whole": whole, "number": number, "one of": one_of, "flag": lambda: FLAG},
    **{"seconds": lambda: SECONDS, "text": lambda: TEXT},
    "some": lambda some, *row: (some, values(*row)[1]),
}


def values(kind: str, *given: Any) -> Values:
    kind, optional, _ = kind.partition(" or none")
    return or_none(KINDS[kind](*given)) if optional else KINDS[kind](*given)


# Those of which the values depend on other settings, or are no simple kind.
OTHERS: dict[str, Values] = {
    "workload.json": ([None, "[1]", '{"n": "{item}"}'], []),
    "workload.ok_status": (["200", "200-299, 404"], ["", "2xx", "9", "299-200", *NOT_TEXT]),
    "workload.warmup": ([None, "1 requests"], ["x", "1.5", True, b"x", ["x"]]),
    "workload.rate": ([None], [0, -1, 1_000_001, *NOT_NUMBERS]),
    "trial.variables": (
        ["", "PYTHONMALLOC=", "PYTHONMALLOC=debug GLIBC_TUNABLES=a=b:c"],
        NO_VARIABLES,
    ),
    "serve.on": ([None], [1]),
    "trial.python": ([None, "3.13", "3.13t", "pypy3", "~/bin/python"], ["thirteen", "-c", 3.1]),
    "trial.program": ([None, "a {url} {{b}}"], ["", "a | b", "a 'b", "{x}", "{", *NOT_TEXT]),
    "trial.packages": (["", "aiohttp==3.9.5 six"], ["-r x", "six --pre", None, 5]),
    **dict.fromkeys(["workload.think", *(f"{kind}.delay" for kind in HTTP)], DELAY),
    **{f"{kind}.engine": (["wire"], ["aiohttp", "Wire", "", 1, None]) for kind in HTTP},
    "serve.core": ([None, 0, 3], NOT_WHOLE),
}
STATED = [(names.split(), values(*row)) for names, row in checks("spec.toml", "fields").items()]
FIELDS = OTHERS | {name: found for names, found in STATED for name in names}
OPTIONS = {
    "maxsize": ("pypeln", whole(0, MANY)),
    "chunk_size": ("chunked", whole(1, MANY)),
    "classes": ("priority", whole(1, 1_000)),
}
PARTS: dict[str, type[Part]] = {
    **{"workload": Workload, "trial": Switches, **transports.TRANSPORTS},
    **{f"{kind}-target": target for kind, target in targets.TARGETS.items()},
    **{"serve": targets.HttpServer},
}


NEEDED = {"url-target": {"url": HERE}, "command-target": {"command": "a {port}"}}


def make(kind: str, leaf: str, value: Any) -> Part:
    return PARTS[kind](**{**NEEDED.get(kind, {}), leaf: value})


def is_one_sentence(message: str) -> bool:
    return "\n" not in message and ". " not in message and not message.endswith(".")


def refusal(*args: Any, **settings: Any) -> str:
    """Why there is no such trial: one sentence."""
    with pytest.raises(BadInput) as caught:
        Trial(*args, **settings)
    assert is_one_sentence(str(caught.value))
    return str(caught.value)


# Fields


def test_every_field_of_every_part_is_stated_here() -> None:
    listed = {f"{kind}.{name}" for kind in PARTS for name in validation.types_of(PARTS[kind])}

    assert set(FIELDS) == listed
    assert len(FIELDS) == len(OTHERS) + sum(len(names) for names, _ in STATED)


@pytest.mark.parametrize("name", FIELDS)
def test_a_field_admits_and_refuses(name: str) -> None:
    kind, _, leaf = name.partition(".")
    admitted, refused = FIELDS[name]
    role = PARTS[kind].role
    if kind in transports.TRANSPORTS:
        chosen = {"transport": kind}
    else:
        target = {"kind": kind.removesuffix("-target"), **NEEDED.get(kind, {})}
        target.pop(leaf, None)
        chosen = {"target": target} if role == "target" else {}

    for value in admitted:
        assert getattr(make(kind, leaf, value), leaf) == value
    for value in refused:
        with pytest.raises(BadInput) as caught:
            make(kind, leaf, value)

        message = str(caught.value)
        assert message.startswith(f"{role}.{leaf} is {value!r}: it must be ")
        assert is_one_sentence(message)
        if role != "serve":
            dotted = f"{role}.{leaf}".replace("trial.", "switches.")
            assert refusal(**chosen, **{dotted: value}) == message


@pytest.mark.parametrize(
    "path", ["", "x", "x/y", "/a b", "/\n", "/é", "/\x00", "http://x/", "/x\n"]
)
def test_a_path_starts_with_a_slash_and_is_printable_ascii(path: str) -> None:
    assert refusal(path=path).startswith(f"workload.path is {path!r}: it must start with '/'")


def test_a_server_listens_elsewhere_only_where_that_was_named() -> None:
    for host in ("127.0.0.1", "::1", "localhost"):
        targets.check_listening(host, None)
    for host in ("0.0.0.0", "::", "", "10.0.0.1", "example.invalid", "a.localhost"):  # noqa: S104
        targets.check_listening(host, host)
        for named in (None, "other.invalid"):
            with pytest.raises(BadInput, match="--allow-remote"):
                targets.check_listening(host, named)


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


TYPES: dict[str, Any] = {
    **{"count": Count, "seconds": Seconds, "seconds or none": Seconds | None, "loop": Loop},
    **{"bool": bool, "text": str, "text or none": str | None, "number": float, "dict": dict},
    **{"at least 1": validation.AtLeastOne, "above 0": Annotated[float, Meta(gt=0)]},
}


@pytest.mark.parametrize(("kind", "sentence"), checks("spec.toml", "allows").items())
def test_a_refusal_says_what_is_allowed(kind: str, sentence: str) -> None:
    with pytest.raises(BadInput) as caught:
        validation.check("x", object(), TYPES[kind])

    assert str(caught.value).endswith(f": it must be {sentence}")


@pytest.mark.parametrize(("kind", "rows"), checks("spec.toml", "texts").items())
def test_text_of_a_command_line_becomes_the_value_that_it_writes_or_is_refused(
    kind: str, rows: Any
) -> None:
    (written, refused), type_ = rows, TYPES[kind]
    for text, value in written:
        converted = validation.from_text("x", text, type_)
        assert (converted, type(converted)) == (value, type(value))
    for text in refused:
        with pytest.raises(BadInput, match=r"^the\.field is .*: it must be"):
            validation.from_text("the.field", text, type_)


@given(st.lists(st.sampled_from(["0.1", "randint(0,3)", "uniform(1,2)*3", "a", ""]), min_size=1))
def test_a_list_is_split_at_the_commas_outside_brackets(values: list[str]) -> None:
    assert validation.split_list(",".join(values)) == values


# Strategies


def test_the_names_of_strategies_and_their_options_are_those_of_the_code() -> None:
    options = {}
    for name in strategies.NAMES:
        listed = inspect.signature(strategies.load(name).__wrapped__).parameters.values()
        options[name] = {one.name: one.default for one in listed if one.kind is one.KEYWORD_ONLY}

    assert {name: dict(found) for name, found in STRATEGIES.items()} == options
    assert set(OPTION_TYPES) == {leaf for found in options.values() for leaf in found}


@pytest.mark.parametrize("name", strategies.NAMES)
def test_the_strategy_itself_and_its_name_mean_the_same(name: str) -> None:
    trial = Trial(strategy=strategies.load(name))

    assert trial == Trial(strategy=name)
    assert (trial.function, trial.own_strategy, trial.get("strategy")) == (None, False, name)


@pytest.mark.parametrize("name", OPTION_TYPES)
def test_options_of_a_strategy_are_checked(name: str) -> None:
    owner, (admitted, refused) = OPTIONS[name]
    for value in admitted:
        assert Trial(strategy=owner, **{name: value}).options == {name: value}
    for value in refused:
        message = refusal(strategy=owner, **{name: value})
        assert message.startswith(f"strategy.{name} is {value!r}: it must be a whole number ")


def test_options_are_kept_until_the_strategy_changes() -> None:
    trial = Trial(strategy="chunked", chunk_size=50)

    assert trial.replace(limit=3).options == {"chunk_size": 50}
    assert trial.get("strategy.chunk_size") == trial.get("chunk_size") == 50
    assert trial.type_of("chunk_size") == OPTION_TYPES["chunk_size"]
    assert trial.replace(strategy="chunked").options == {"chunk_size": 1_000}
    assert trial.replace(strategy="wait").options == {}
    with pytest.raises(BadInput, match="'chunk_size' is not a setting"):
        trial.replace(strategy="wait", chunk_size=5)


NEAR = {"task-pool": "task_pool", "semaphor": "semaphore", "Gather": "gather", "pypln": "pypeln"}
NO_STRATEGIES = [None, 5, 1.5, "", "x y", b"gather", ["gather", "wait"]]
NO_COROUTINES = [print, dict, lambda fetch, items, limit: None]


@pytest.mark.parametrize("value", [*NEAR, *NO_STRATEGIES, *NO_COROUTINES])
def test_what_is_no_strategy_is_refused(value: Any) -> None:
    message = refusal(strategy=value)

    if callable(value):
        assert "async def" in message
        return
    assert message.startswith(f"strategy is {str(value)!r}: it must be one of sequential, gather, ")
    if isinstance(value, str) and value in NEAR:
        assert message.endswith(f"; did you mean '{NEAR[value]}'?")


async def mine(fetch: Any, items: Any, limit: int) -> None:
    """A strategy of one's own."""


def test_a_function_of_ones_own_is_a_strategy() -> None:
    trial = Trial(strategy=mine, limit=3)
    of_no_module: dict[str, Any] = {}
    # Some tools do so. No strategy of that name but the lab's own goes without the limit.
    exec("async def gather(fetch, items, limit): ...", of_no_module)  # noqa: S102
    gather = of_no_module["gather"]

    assert (trial.strategy, trial.own_strategy, trial.function) == ("mine", True, mine)
    assert trial.get("strategy") is mine
    assert trial.options == {}
    assert trial.replace(limit=4).function is mine
    assert trial.replace(strategy="wait").function is None
    assert Trial(strategy=gather, requests=10, limit=2, delay="1").floor_s == 5


def test_a_registered_function_is_found_by_its_name_but_not_for_a_record(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    measured = Trial(strategy="semaphore").to_dict()
    monkeypatch.setitem(spec.OWN, "semaphore", mine)
    trial = Trial.from_dict(Trial(strategy=mine, limit=3).to_dict())

    assert (trial.strategy, trial.own_strategy, trial.function) == ("mine", True, None)
    assert trial.limit == 3
    assert Trial.from_dict(measured).function is None

    monkeypatch.setitem(spec.OWN, "mine", mine)
    assert Trial(strategy="mine") == Trial(strategy=mine)
    assert "did you mean 'mine'" in refusal(strategy="minne")


# Names of settings


NEAREST = checks("spec.toml", "misspelt")


@pytest.mark.parametrize(
    "name", [*NEAREST, "zzzzzz", "", ".", "transport.", ".limit", "target.url", "kind"]
)
def test_an_unknown_setting_is_refused_with_the_nearest(name: str) -> None:
    message = refusal(**{name: 1})

    assert message.startswith(f"{name!r} is not a setting of a trial with these parts")
    assert name not in NEAREST or f"did you mean '{NEAREST[name]}'?" in message
    for ask in (Trial().get, Trial().type_of, lambda name: Trial().replace(**{name: 1})):
        with pytest.raises(BadInput) as caught:
            ask(name)
        assert str(caught.value) == message


def test_names_are_a_list_in_which_each_is_once() -> None:
    for names, message in (
        ("wire", r"it must be a list, as in \['wire'\]"),
        (["a", "a"], "'a' twice"),
    ):
        with pytest.raises(BadInput, match=f"^arms .*{message}"):
            validation.check_once("arms", names)
    assert "did you mean 'uvloop'?" in refusal(loop="uv")


def test_a_setting_of_another_kind_is_one_of_that_kind() -> None:
    assert "it is one with transport='wire'" in refusal(depth=4)
    assert "it is one with target='postgres'" in refusal(**{"target.rows": 5})


@pytest.mark.parametrize(("number", "text"), [(0.05, "0.05"), (1, "1"), (1e-5, "1e-05")])
def test_a_number_is_the_fixed_delay_that_it_writes(number: Any, text: str) -> None:
    assert Trial(delay=number) == Trial(delay=text) == Trial().replace(delay=number)
    assert "does not parse" in refusal(delay=-number)


@pytest.mark.parametrize(("given", "setting"), [
    ("task_pool", "strategy='task_pool'"), (strategies.load, "strategy=load"),
    (HERE, f"target={HERE!r}"), (5, "requests=1_000"),
])  # fmt: skip
def test_what_is_no_trial_is_refused_with_what_to_write(given: Any, setting: str) -> None:
    with pytest.raises(BadInput) as caught:
        checked(given)

    assert str(caught.value).endswith(f": it must be a Trial; write lab.Trial({setting})")
    assert checked(trial := Trial()) is trial


def test_a_short_name_means_the_dotted_one_where_it_is_not_ambiguous() -> None:
    trial = Trial(**{"limit": 5, "transport.limit": 6, "loop": "asyncio", "target.loop": "uvloop"})
    dotted = ["workload.limit", "workload.requests", "switches.loop", "target.delay"]
    dotted += ["target.body_bytes", "transport.force_close", "switches.deadline_s"]

    assert (trial.workload.limit, trial.transport.limit) == (5, 6)
    assert (trial.switches.loop, trial.target.loop) == ("asyncio", "uvloop")
    for name in dotted:
        short = name.partition(".")[2]
        assert trial.get(short) == trial.get(name)
        assert trial.type_of(short) == trial.type_of(name)
    assert trial.type_of("strategy") is trial.type_of("target") is str
    assert get_args(trial.type_of("loop")) == ("asyncio", "uvloop", "rloop")
    assert trial.type_of("seed") == Seed


SHOWN = checks("spec.toml", "shown")


@pytest.mark.parametrize("shown", SHOWN)
def test_a_trial_shows_what_differs_from_the_defaults_as_it_is_written(shown: str) -> None:
    trial = Trial(**SHOWN[shown])

    assert repr(trial) == shown
    assert eval(shown, {"Trial": Trial}) == trial  # noqa: S307  # our own
    assert repr(Trial(strategy=mine)) == "Trial(strategy=mine)"
    assert len(repr(Trial(target=f"{HERE}{'x' * 500}"))) < 200


def test_help_lists_each_setting_with_its_default_range_and_unit() -> None:
    lines = str(lab.Trial.__doc__).splitlines()
    keywords = inspect.signature(lab.Trial).parameters

    for part in (*transports.TRANSPORTS.values(), *targets.TARGETS.values(), Workload, Switches):
        for name in validation.types_of(part):
            assert name in keywords
            assert any(line.startswith(f"  {name}: ") for line in lines)
    assert keywords["requests"].default == 1_000
    assert "  limit: a whole number from 1 to 1,000,000 [100]" in lines
    assert (
        "  sock_connect_timeout_s: a number above 0 and at most 86,400 or none, in seconds [30.0]"
        in lines
    )
    assert "  stall_at: a whole number from 0 to 100,000,000 or none [None]" in lines
    assert list(inspect.signature(Trial().replace).parameters) == list(keywords)


# Parts


def test_a_part_is_given_as_itself_as_its_kind_or_as_plain_data() -> None:
    part = AiohttpTransport(limit=9)
    trial = Trial(transport=part)

    assert trial.transport == part
    assert Trial(transport={"kind": "aiohttp", "limit": 9}).transport == part
    assert Trial(transport="aiohttp").transport == AiohttpTransport()
    assert Trial(workload={"limit": 9}).workload == Workload(limit=9)
    assert Trial(target={"delay": "1"}).target == HttpTarget(delay="1")
    assert Trial(transport=part, force_close=False).transport == part
    assert trial.replace(transport="aiohttp") == trial  # the kind that it has


def test_a_url_is_a_target() -> None:
    trial = Trial(target="http://127.0.0.1:9000/{item}", strategy="sequential")

    assert trial.target == UrlTarget(url="http://127.0.0.1:9000/{item}")
    assert (trial.url, trial.path, trial.floor_s) == ("http://127.0.0.1:9000/{item}", "", None)
    assert trial == Trial(target="url", url=trial.url, strategy="sequential")
    assert trial.replace(path="/x").path == "/x"
    assert trial.replace(target="http").target == HttpTarget()
    assert trial.get("target") == trial.target
    with pytest.raises(BadInput, match="'delay' is not a setting"):
        trial.replace(delay="1")


def test_a_target_brings_its_transport_along() -> None:
    echo = Trial(target="echo", api="streams", message_bytes=2_048, **{"target.loop": "asyncio"})
    valkey = Trial(target="valkey", keys=7, mode="pipeline", depth=3)

    assert echo.target == EchoTarget(api="streams", loop="asyncio")
    assert echo.transport == EchoTransport(message_bytes=2_048)
    assert (echo.floor_s, echo.url) == (None, None)
    assert echo.deadline_s >= 60
    assert Trial().replace(target="echo").transport == EchoTransport()
    assert echo.replace(target=EchoTarget()).transport == echo.transport
    assert echo.replace(target="http").transport == AiohttpTransport()
    assert echo.replace(target=HERE).transport == AiohttpTransport()
    assert Trial(transport="wire").replace(target="http").transport == WireTransport()
    assert valkey.target == ValkeyTarget(keys=7)
    assert valkey.transport == RedisTransport(mode="pipeline", depth=3)
    assert (valkey.floor_s, valkey.url, valkey.saturates) == (None, None, True)


# What depends on several settings

REMOTE = {"target": "http://example.invalid/", "allow_remote": "example.invalid", "limit": 10}
A_TARGET = "must be one of http, echo, url, command, postgres, valkey, none, a URL"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        *checks("refused_trials.json"),
        ({"target": Workload()}, A_TARGET),
        ({"transport": AiohttpTransport}, "it must be one of aiohttp"),
        (
            {"workload": Workload(limit=5), "limit": 6},
            "workload.limit is set twice, to 5 within workload and to 6",
        ),
        ({"target": "echo", "transport": WireTransport()}, "with transport 'wire'"),
    ],
)
def test_settings_that_do_not_go_together(settings: dict[str, Any], words: str) -> None:
    assert words in refusal(**settings)


def test_a_trial_that_the_clock_ends_has_as_many_requests_as_there_is_time_for() -> None:
    timed = Trial(seconds=5)
    assert (timed.workload.requests, timed.requests) == (None, 100_000_000)
    assert Trial(workload={"seconds": 5}) == Trial(workload=Workload(seconds=5)) == timed
    assert after_json(timed) == timed.replace(workload="closed") == timed
    # Both: whichever ends first; and what is taken back leaves the default again.
    assert Trial(seconds=5, requests=1_000).requests == 1_000
    assert Trial(requests=50).replace(seconds=5).requests == 50
    assert timed.replace(seconds=None) == Trial()
    assert timed.replace(limit=5).workload.requests is None
    # Nobody knows how many there will be, and so no floor; it has its time, and a minute more.
    assert (timed.floor_s, timed.bound_s, timed.deadline_s) == (None, None, 65)
    assert Trial(stages="2m:5").deadline_s == 180
    assert Trial(**REMOTE, seconds=20).requests == 2_000
    assert "workload is 10,100 requests" in refusal(**REMOTE, seconds=101)


def test_stages_and_think_time_change_what_is_known_before() -> None:
    assert Trial(stages="1s:5, 1s:..40", stages_of="limit").slots == 40
    assert Trial(requests=10, limit=1, think="3").deadline_s == 60 + 3 * 30 + 0.1
    assert Trial(requests=100, warmup="50").deadline_s == 60 + 1.5
    assert Trial(requests=100, warmup="0.5m").deadline_s == 60 + 30 + 1
    assert Trial(seconds=9, warmup="20 requests").deadline_s == 60 + 9 + 2
    thinking = Trial(delay="0.1", requests=10, limit=1, think="3")
    assert (thinking.floor_s, thinking.bound_s) == (None, 1.0)
    assert Trial().saturates
    assert not Trial(think="1").saturates
    assert not Trial(stages="1s:5").saturates


def test_what_is_just_allowed() -> None:
    trial = Trial(**REMOTE, requests=10_000)

    assert trial.deadline_s == 300
    assert Trial(**REMOTE, deadline_s=86_400).deadline_s == 300
    assert trial.replace(limit=50).limit == 50
    assert trial.replace(requests=40, limit=1_000).slots == 1_000
    assert trial.replace(rate=100).workload.rate == 100
    assert Trial(strategy="gather", requests=1_000_000).slots == 1_000_000
    assert Trial(force_close=True).transport == AiohttpTransport(force_close=True)


KNOWN = checks("spec.toml", "known")


@pytest.mark.parametrize(("kind", "settings", "connections", "sent"), KNOWN["connections"])
def test_connections_of_50_requests(kind: str, settings: Any, connections: int, sent: int) -> None:
    part = transports.TRANSPORTS[kind](**settings)

    assert part.connections_at(50) == connections
    assert part.sent_at(50) == sent
    assert part.queues == (getattr(part, "mode", "") in ("blocking", "pipeline"))


@pytest.mark.parametrize(("settings", "floor_s", "bound_s"), KNOWN["floors"])
def test_the_floor_and_the_bound_are_known_where_the_delays_are(
    settings: Any, floor_s: float | None, bound_s: float | None
) -> None:
    trial = Trial(requests=10, limit=4, **settings)
    assert (trial.floor_s, trial.bound_s) == (floor_s, bound_s)


@pytest.mark.parametrize(("settings", "least_s"), KNOWN["deadlines"])
def test_a_deadline_is_several_times_what_a_trial_needs(settings: Any, least_s: float) -> None:
    assert Trial(**settings).deadline_s >= least_s
    assert Trial(**settings, deadline_s=5).deadline_s == 5


# Round trips


# Of the settings of a request, those that forbid others.
NOT_MIXED = ("program", "json", "method")


def settings_of_a_trial() -> st.SearchStrategy[dict[str, Any]]:
    """Valid settings by dotted name, each there or not."""
    named = {}
    for name, (admitted, _) in FIELDS.items():
        kind, _, leaf = name.partition(".")
        if kind in ("workload", "http-target", "aiohttp", "trial") and leaf not in NOT_MIXED:
            role = {"trial": "switches"}.get(kind, PARTS[kind].role)
            named[f"{role}.{leaf}"] = st.sampled_from(admitted)
    return st.fixed_dictionaries({}, optional=named).map(consistent)


def consistent(settings: dict[str, Any]) -> dict[str, Any]:
    """Without what other settings forbid."""
    if settings.get("transport.force_close"):
        settings.pop("transport.keepalive_timeout", None)
    if settings.keys() & {"workload.limit", "workload.requests", "workload.stages"}:
        settings.pop("switches.clients", None)  # each needs an item and a slot
    if settings.get("switches.probes") == "counts":
        settings.pop("transport.trace", None)
    return settings


def trial_of(settings: dict[str, Any], strategy: Any) -> Trial:
    if strategy == "gather":
        settings = {**settings, "workload.requests": 1_000}
    return Trial(strategy=strategy, **settings)


def after_json(trial: Trial) -> Trial:
    data = json.loads(json.dumps(trial.to_dict()))
    return Trial.from_dict(
        data, allow_remote=data["target"].get("allow_remote"), allow_commands=True
    )


@settings(max_examples=60)
@given(settings_of_a_trial(), st.sampled_from([*STRATEGIES, mine]))
def test_what_is_set_is_got_and_is_the_same_after_json(
    settings: dict[str, Any], strategy: Any
) -> None:
    trial = trial_of(settings, strategy)
    again = after_json(trial)

    for name in settings.keys() - {"workload.requests"}:
        assert trial.get(name) == settings[name]
        validation.check(name, trial.get(name), trial.type_of(name))
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
    if merged != consistent(dict(merged)):
        return

    assert Trial(**first).replace(**then) == Trial(**merged)
    assert Trial(**first).replace() == Trial(**first)


@pytest.mark.parametrize("settings", checks("spec.toml", "described")["same"])
def test_other_trials_are_the_same_after_json(settings: dict[str, Any]) -> None:
    assert after_json(Trial(**settings)) == Trial(**settings)


@pytest.mark.parametrize("edit", checks("spec.toml", "described")["edits"])
def test_an_edited_description_is_refused(edit: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        Trial.from_dict({**Trial().to_dict(), **edit})
