"""Strategies and clients of the user's own: their labels, parameters, answers and failures."""

import asyncio
import functools
import pickle
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import aiohttp
import httpx
import pytest
import requests
from calls import alone, bodies, nobody
from factories import STUDIES, make_record
from machines import checks
from scripted import Peer, answer, echo, mute, once, reset, scripted
from servers import ran

import labkit as lab
from labkit.cli import options
from labkit.errors import BadInput
from labkit.launch import preflight
from labkit.measured import lifeline
from labkit.measured.transports import open_transport
from labkit.measured.transports.client import BadStatus, Calls
from labkit.notebook.panel import form
from labkit.record import codes
from labkit.report.study import Outcome
from labkit.spec import plan
from labkit.spec.registry import MAX_LABEL, MAX_PARAMETERS, InFile
from labkit.spec.requests import Request
from labkit.spec.transports import TRANSPORTS, ClientTransport
from labkit.spec.trial import Trial

FILE, STRANGER, WRONG, OPTIONS = checks("own_strategies.toml", "cases").values()


@pytest.fixture
def own_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with strategies in the current folder, beside one that no import may find."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "beside.py").write_text("raise SystemExit('imported')")
    path = tmp_path / "own.py"
    path.write_text(FILE)
    return path


def chunks(size: int, pause: float = 0.5, *, token: str | None = None) -> Any:
    half = size // 2

    async def run(fetch: Any, items: Any, limit: int) -> Any:
        return pause, size, half, token

    return run


@dataclass
class Chunks:
    size: int
    queue: Any = None

    async def __call__(self, fetch: Any, items: Any, limit: int) -> None: ...


async def of_options(
    fetch: Any, items: Any, limit: int, fast: bool = False, *, size: int, how: Literal["a"] = "a",
    clock: Any = sys, pause: float | None = None,
) -> None: ...  # fmt: skip


renamed = chunks(1)
renamed.__name__ = "own"


@pytest.mark.parametrize(
    ("function", "label", "name", "value"),
    [
        (chunks(5, token="x"), "chunks(size=5, pause=0.5, token='***')", "token", "***"),  # noqa: S106
        (lab.strategy(chunks(50)), "chunks(size=50, pause=0.5, token=None)", "pause", 0.5),
        (renamed, "own(size=1, pause=0.5, token=None)", "pause", 0.5),
        (Chunks(5, queue=[]), "Chunks(size=5)", "size", 5),
        (Chunks(5).__call__, "__call__(size=5, queue=None)", "queue", None),
        (functools.partial(of_options, size=5), "of_options(size=5)", "size", 5),
        (functools.partial(Chunks(5), limit=6), "Chunks(size=5, queue=None, limit=6)", "limit", 6),
    ],
)
def test_what_a_strategy_was_made_with_tells_it_apart(
    function: Any, label: str, name: str, value: Any
) -> None:
    trial = Trial(strategy=function)
    assert (trial.strategy, trial.function, trial.own_strategy) == (label, function, True)
    assert trial.to_dict()["options"][name] == value
    again = Trial.from_dict(trial.to_dict())  # the code is not needed to read it
    assert (again.strategy, again.options) == (label, trial.to_dict()["options"])
    with pytest.raises(BadInput, match="pass the function itself"):
        preflight.check(again)


def test_parameters_are_bounded_and_plain() -> None:
    async def of_any(fetch: Any, items: Any, limit: int, **more: Any) -> None: ...

    many = functools.partial(of_any, **{f"p{n}": n for n in range(100)}, long="x" * 10_000)
    trial = Trial(strategy=many)
    assert len(trial.strategy) <= MAX_LABEL
    assert len(trial.to_dict()["options"]) == MAX_PARAMETERS
    with pytest.raises(
        BadInput, match=r"^chunks\(.*: the function takes \(fetch.*; set only what is"
    ):
        Trial(strategy=functools.partial(chunks(1), long=1))


def test_keyword_options_are_settings() -> None:
    trial = Trial(strategy=of_options, **{"strategy.size": 7})
    assert trial.options == {"fast": False, "size": 7, "how": "a", "pause": None}
    assert trial.get("strategy.size") == trial.get("size") == 7
    assert trial.written == "Trial(strategy=of_options, size=7)"
    arms = plan.arms(Trial(strategy=of_options), {"strategy.size": [5, 50]})
    assert [each.options["size"] for _, each in arms] == [5, 50]
    arms = plan.arms(Trial(), {"strategy": [Chunks(5), Chunks(50, queue=[]), "wait"]})
    assert [axes["strategy"] for axes, _ in arms][1:] == ["Chunks(size=50)", "wait"]
    for name, value, wrong in OPTIONS:
        with pytest.raises(BadInput, match=rf"^strategy\.{name} is {value!r}: .*{wrong}"):
            trial.replace(**{f"strategy.{name}": value})
    with pytest.raises(BadInput, match=r"did you mean 'strategy.size'\?"):
        trial.replace(**{"strategy.sise": 3})
    with pytest.raises(BadInput, match=r"^strategy\.size is not set, and 'of_options' has no def"):
        preflight.check(Trial(strategy=of_options))
    with pytest.raises(BadInput, match="not a setting"):  # it is set already
        Trial(strategy=functools.partial(of_options, size=5), **{"strategy.size": 7})


def test_a_function_of_a_file_is_a_strategy(
    own_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trial = Trial(strategy="own.py:mine", **{"strategy.size": 7})
    assert (trial.strategy, trial.function) == ("own.py:mine", InFile("own.py:mine"))
    assert capsys.readouterr().err == ""  # nothing is run before it is to
    ready = preflight.prepare(trial)

    assert ready.trial.options == {"size": 7, "how": "fast"} == ready.asked["options"]
    assert ready.trial.written == "Trial(strategy='own.py:mine', size=7)"
    assert preflight.prepare(trial.replace(limit=5)).trial.function is ready.trial.function
    assert capsys.readouterr() == ("", "loaded\n")
    shown = options.trial(
        {"strategy": "own.py:needy", "set_": ["strategy.size=1", "strategy.pause=2"]}
    )
    assert shown.options == {"size": 1, "pause": 2}
    asked, _ = form.read(trial, [Chunks(5), "own.py:mine"], {"target": "http", "transport": "wire"})
    assert "strategy=[Chunks(size=5, queue=None), 'own.py:mine']" in asked.code
    axes = options.axes(Trial(), ["strategy=own.py:mine,own.py:mine", "strategy.size=1,2"])
    assert axes["strategy.size"] == [1, 2]


async def test_a_baseline_knows_the_options_of_a_strategy_in_a_file(own_file: Path) -> None:
    ready = preflight.prepare(Trial(strategy="own.py:mine", limit=5))
    before = Outcome([make_record(axes={"strategy": "own.py:mine"}, trial=ready.asked)])
    with pytest.raises(BadInput, match=r"has other settings \(workload.limit is 100 and was 5\)"):
        await lab.compare(strategy=["own.py:mine"], repeats=1, baseline=before)


def test_what_a_file_gives_to_a_pool_is_found_where_it_was_sent(
    own_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready = preflight.prepare(Trial(strategy="own.py:pooled"))
    monkeypatch.delitem(sys.modules, ready.trial.function.__module__)
    heavy = lifeline.load(ready.function).__globals__["heavy"]
    assert pickle.loads(pickle.dumps(heavy)) is heavy  # noqa: S301  # its own
    decorated = functools.partial(lab.strategy(of_options), size=5)
    assert preflight.unguarded(decorated).func is of_options


@pytest.mark.parametrize(("name", "text", "says"), WRONG)
def test_what_a_file_cannot_give_is_one_sentence(
    own_file: Path, name: str, text: str, says: str
) -> None:
    own_file.write_text(text or FILE)
    with pytest.raises(BadInput) as caught:
        preflight.check(Trial(strategy=name, **{"strategy.sise": 7}))
    assert says in str(caught.value)


async def test_a_file_of_somebody_else_runs_only_where_it_is_allowed(
    own_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = Trial().to_dict() | {"strategy": "own.py:mine", "options": {"size": 7}}
    with pytest.raises(BadInput, match="run only where you allow it"):
        Trial.from_dict(data)
    assert Trial.from_dict(data, allow_commands=True).options == {"size": 7}
    with pytest.raises(BadInput, match="pass the function itself"):
        preflight.check(Trial.from_dict(data | {"own_strategy": True}))
    study = own_file.with_name("study.toml")
    study.write_text(STRANGER)
    with pytest.raises(BadInput, match=r"'own\.py:mine': a study file runs no com"):
        await lab.reproduce(str(study), scale="smoke")
    assert capsys.readouterr().err == ""
    with pytest.raises(BadInput, match="repeats is 0"):  # what is looked at next
        await lab.reproduce(str(study), scale="smoke", repeats=0, allow_commands=True)


async def returning(fetch: Any, items: Any, limit: int, *, what: str) -> Any:
    """Sends each item again that failed, and returns how often; or what no record can have."""
    again = 0
    for item in items:
        try:
            await fetch(item)
        except Exception:  # noqa: BLE001  # its class is not known here
            again += 1
            answer = await fetch(item)
    deep = functools.reduce(lambda inner, _: [inner], range(150), list[Any]())
    found = {"answer": answer, "long": ["x" * 100] * 1_000, "deep": deep}
    return found.get(what, {"again": again, 1: ("é", None)})


async def test_what_a_strategy_returns_is_in_the_record() -> None:
    path, whats = "/fault/refuse_once?i={item}", ["fine", "answer", "long", "deep"]
    trial = Trial(strategy=returning, requests=4, transport="wire", path=path)
    study = await lab.compare(trial, {"strategy.what": whats}, repeats=1)

    kept = lab.load(study.records[0].study)
    assert [one.returned for one in kept.records] == [{"again": 4, "1": ["é", None]}, *3 * [None]]
    why = ["", "Answer", "104,000 bytes", "lists deep"]
    for record, says in zip(kept.records, why, strict=True):
        (refused,) = [one.message for one in record.warnings if one.code == "not-returned"] or [""]
        assert says in refused
        assert (record.counts.sent, record.counts.retried, record.counts.ok) == (8, 4, 4)
        assert not codes.failed(record)
    assert list(study.frame()["strategy.what"]) == whats
    run = lab.load(study.records[0].id)
    assert '{"again": 4, "1": ["é", null]}' in run.text()
    assert "It returned {&quot;again&quot;: 4" in run.html()


# Clients that others wrote: one of the user's own as transport, and four known libraries

LIBRARIES = [TRANSPORTS[kind] for kind in ("httpx", "httpx2", "requests")]


@pytest.fixture(autouse=True)
def usual_certificates(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let clients read the system's: httpx refuses a file that has none."""
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)


@asynccontextmanager
async def mine(asked: Any) -> AsyncIterator[Any]:
    async with httpx.AsyncClient(verify=asked.tls) as client:

        async def fetch(item: int) -> httpx.Response:
            found = await client.get(asked.url(item))
            return found.raise_for_status()

        yield fetch


async def with_aiohttp(asked: Any, header: str = "X-Any") -> AsyncIterator[Any]:
    async with aiohttp.ClientSession(headers={header: "1"}) as session:

        async def fetch(item: int) -> aiohttp.ClientResponse:
            async with session.request(asked.request(item).method, asked.url(item)) as found:
                await found.read()
                return found

        yield fetch


@dataclass
class InThreads:
    """Makes its calls in threads, and raises what requests raises."""

    asked: Any

    async def __aenter__(self) -> Callable[[int], Any]:
        return self.fetch

    async def __aexit__(self, *error: object) -> None:
        raise ValueError("it is left badly")

    async def fetch(self, item: int) -> requests.Response:
        found = await asyncio.to_thread(requests.get, self.asked.url(item), timeout=9)
        found.raise_for_status()
        return found


OWN = [mine, with_aiohttp, InThreads, functools.partial(with_aiohttp, header="X-Other")]


def over(own: Any, url: str, **more: Any) -> Any:
    return open_transport(ClientTransport(name="own"), url, client=own, **more)


# A client of one's own


@pytest.mark.parametrize("own", OWN)
async def test_what_it_returns_or_raises_is_an_answer(own: Any) -> None:
    async def script(peer: Peer) -> None:
        while target := await peer.asked():
            await peer.send(answer("hello", "X-Kind: test", status=int(target[1:4])))

    async with scripted(script) as server:
        async with over(own, server.url) as fetch:
            found = await fetch(200)
            assert (found.status, found.body, found.headers["x-kind"]) == (200, b"hello", "test")
            with pytest.raises(BadStatus) as caught:
                await fetch(503)
            assert (caught.value.status, caught.value.answer.body) == (503, b"hello")
        async with over(own, server.url, calls=Calls([Request()], ok=(503,))) as fetch:
            assert (await fetch(503)).status == 503
            with pytest.raises(BadStatus, match="200"):
                await fetch(200)


async def test_it_gets_all_that_an_item_asks_for() -> None:
    async def other(asked: Any) -> AsyncIterator[Any]:
        async def fetch(item: int) -> object:
            one = asked.request(item)
            return one.method, asked.url(item), one.headers, one.body

        assert (asked.limit, asked.redirects, asked.tls) == (7, False, True)
        yield fetch
        left.append(True)

    request = Request(method="PUT", path="/a?n={item}", headers={"X-N": "{item}"}, body=b"<{item}>")
    calls, left = Calls([request], follows=False), list[bool]()
    async with over(other, "http://h/b", calls=calls, limit=7) as fetch:
        # What has no status is handed on as it is.
        assert await fetch(5) == ("PUT", "http://h/b/a?n=5", {"X-N": "5"}, b"<5>")
    assert left == [True]


async def test_it_is_measured_from_a_file_as_any_transport() -> None:
    text = f"{__file__}:mine"
    trial = options.trial({"transport": text, "requests": "60", "delay": "0.001"})
    record = (await ran(trial.replace(limit=5, path="/{item}?a={item}"))).record

    assert (record.counts.ok, record.counts.failed, record.counts.conserved) == (60, {}, True)
    assert record.trial["transport"] == {"kind": "own", "name": text}
    for where in (record.effective, record.environment):
        assert {"httpx", "httpcore", "h11"} <= where["versions"].keys()
    assert not {"connector-limit", "pool-queue", "not-in-force"} & {n.code for n in record.warnings}
    again = Trial.from_dict(record.trial)  # which runs no file
    assert (again.to_dict(), again.client) == (record.trial, None)
    with pytest.raises(BadInput, match=r"own_strategies\.py:mine' in data: it is run only"):
        Trial.from_dict(record.trial | {"transport": text})
    with pytest.raises(BadInput, match=r"starts transport 'client.py:mine': a study file runs no"):
        await lab.reproduce(str(STUDIES.parent / "data" / "own_client.toml"), scale="smoke")


def test_it_is_an_axis_under_its_name() -> None:
    trial, partly = Trial(transport=mine), OWN[3]
    arms = plan.arms(trial, {"transport": ["aiohttp", mine, InThreads, partly]})
    labels = [axes["transport"] for axes, _ in arms]
    assert labels == ["aiohttp", "mine", "InThreads", "with_aiohttp(header='X-Other')"]
    assert repr(trial) == "Trial(transport=mine)"
    assert trial.replace(target="http://127.0.0.1:1").client is mine
    assert trial.replace(transport=trial.get("transport"), limit=6).client is mine
    assert trial.replace(transport="own").client is mine
    assert trial.replace(transport="wire").client is None
    assert repr(Trial(transport="a.py:mine")) == "Trial(transport='a.py:mine')"


async def started_badly(asked: Any) -> AsyncIterator[Any]:
    yield 1 / 0


async def no_fetch(asked: Any) -> AsyncIterator[Any]:
    yield 3


@pytest.mark.parametrize(
    ("own", "says"),
    [
        (alone, "transport is 'alone', which gives no async context manager"),
        (mine(None), "transport is 'mine', which gives no async context manager"),
        (dict, "transport is 'dict', which gives no async context manager"),
        ("own", "transport is 'own', a function of your own, of which.*: pass the function itself"),
        (lambda asked, other: asked, r"which takes \(asked, other\): it is called with asked"),
        (started_badly, "it failed before its first call: ZeroDivisionError"),
        (no_fetch, "transport is 'no_fetch': it yields 3; let it yield an 'async def fetch"),
    ],
)
async def test_what_is_no_client_is_refused(own: Any, says: str) -> None:
    async def tried() -> None:
        trial = Trial(transport=own, requests=5)
        preflight.prepare(trial)
        await alone(open_transport(trial.transport, "http://h", client=own))

    with pytest.raises(BadInput, match=says):
        await tried()


# Libraries


FAILURES: list[tuple[str, Any]] = [
    *(("reset", reset), ("timeout", mute), ("disconnected", once(b""))),
    *(("payload", once(answer("hello")[:-2])), ("payload", once(b"what is this\r\n\r\n"))),
    ("too-large", once(answer("x" * 3_000))),
]


@pytest.mark.parametrize("library", LIBRARIES)
async def test_a_failure_of_a_library_has_the_kind_of_its_cause(library: Any) -> None:
    settings = library(timeout_s=0.2, max_body_bytes=2_000)
    for kind, script in FAILURES:
        async with scripted(script) as server:
            assert await alone(open_transport(settings, server.url)) == kind
    assert await alone(open_transport(settings, f"http://{nobody()}")) == "connect"
    own = open_transport(ClientTransport(name="o"), f"http://{nobody()}", client=InThreads)
    assert await alone(own) == "connect"


@pytest.mark.parametrize("library", LIBRARIES)
async def test_a_library_has_as_many_connections_as_it_may(library: Any) -> None:
    async with scripted(echo) as server:
        async with open_transport(library(limit=3), server.url, limit=20) as fetch:
            found = await asyncio.gather(*map(fetch, range(30)))
        assert [one.body for one in found] == bodies(*range(30))
        assert server.connections <= 3


def test_what_cannot_be_had_or_reached_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "find_spec", lambda name: None)
    for name, says in {
        "httpx": r"pip install 'labkit\[clients\]'",
        "niquests": "install it in an environment of its own with: pip install niquests",
    }.items():
        with pytest.raises(BadInput, match=f"transport is '{name}': the package.*{says}"):
            preflight.check(Trial(transport=name))
    host = {"url": "http://h.invalid", "allow_remote": "h.invalid"}
    with pytest.raises(BadInput, match="only aiohttp, streams and wire call no other address"):
        Trial(transport="httpx", target=host, limit=5)
