"""Clients that others wrote: one of the user's own as transport, and four known libraries."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import httpx
import pytest
import requests
from calls import alone, bodies, nobody
from factories import STUDIES
from scripted import Peer, answer, echo, mute, once, reset, scripted
from servers import ran

import labkit as lab
from labkit.cli import options
from labkit.errors import BadInput
from labkit.launch import preflight
from labkit.measured.transports import open_transport
from labkit.measured.transports.client import BadStatus, Calls
from labkit.spec import plan
from labkit.spec.requests import Request
from labkit.spec.transports import TRANSPORTS, ClientTransport
from labkit.spec.trial import Trial

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
    with pytest.raises(BadInput, match=r"own_clients\.py:mine' in data: it is run only"):
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
