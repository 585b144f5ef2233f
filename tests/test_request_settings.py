"""What one request is: the settings, what a server gets of them, files of requests, redirects."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from servers import ran

from labkit.errors import BadInput
from labkit.launch import preflight, request_files
from labkit.measured import experiments
from labkit.measured.transports import calls_of, open_transport
from labkit.measured.transports.client import request_template
from labkit.notebook.panel.form import PanelRun
from labkit.record.codec import encode
from labkit.report.study import Run
from labkit.spec import plan
from labkit.spec.requests import Request, drawn
from labkit.spec.trial import Trial

TRANSPORTS = ["aiohttp", "streams", "wire", "httpx", "httpx2", "requests"]
SECRET = "sesame-4711"  # noqa: S105  # of nobody


class App:
    """A server that is not the lab's; `got` has what came."""

    def __init__(self) -> None:
        self.url, self.got = "", list[tuple[str, str, dict[str, str], bytes]]()
        self.app = web.Application()
        self.app.router.add_route("*", "/{path:.*}", self.answer)

    async def answer(self, request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.got.append((request.method, request.raw_path, headers, await request.read()))
        place = "/round" if request.path == "/round" else request.query.get("to")
        code = int(request.query.get("code", 302 if place else 200))
        headers = {"X-Seen": str(len(self.got))} | ({"Location": place} if place else {})
        return web.Response(status=code, headers=headers, text="answered")


@pytest.fixture
async def app() -> AsyncIterator[App]:
    """Serves while a test runs."""
    one = App()
    async with experiments.module("aiohttp_client").served(one.app) as url:
        one.url = url.rstrip("/")
        yield one


async def call(app: Any, transport: str, items: int = 1, **settings: Any) -> list[Any]:
    """Return the answer to each item, or the kind of its failure."""
    trial = Trial(target=app.url, transport=transport, **settings)
    calls = calls_of(trial.workload, request_files.asked(trial).requests)
    opened = open_transport(trial.transport, app.url, calls=calls)
    found = list[Any]()
    async with opened as fetch:
        for item in range(items):
            try:
                found.append(await fetch(item))
            except Exception as error:  # noqa: BLE001  # whatever it is, it has a kind
                found.append((opened.kind_of(error), str(error)))
    return found


# What a server gets


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_server_gets_what_was_asked_for(app: App, transport: str) -> None:
    (answer,) = await call(
        app,
        transport,
        method="POST",
        path="/items",
        params={"q": "a b", "n": 1},
        headers={"X-Kind": "test", "Authorization": SECRET},
        json={"n": [1, "ü"]},
    )

    ((method, target, headers, body),) = app.got
    assert (method, target) == ("POST", "/items?q=a%20b&n=1")
    assert json.loads(body) == {"n": [1, "ü"]}
    named = ("x-kind", "authorization", "content-type", "content-length")
    assert [headers[name] for name in named] == ["test", SECRET, "application/json", str(len(body))]
    assert (answer.status, answer.body, answer.headers["x-seen"]) == (200, b"answered", "1")


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_the_number_of_the_item_goes_anywhere(app: App, transport: str) -> None:
    settings = {"params": "n={item}", "headers": "X-N: {item}\nX-M: 1", "path": "/{item}/{item}"}
    await call(app, transport, 11, **settings, json='{"n": {item}, "text": "<{item}>"}')
    for item in (0, 10):
        method, target, headers, body = app.got[item]
        assert (method, target) == ("POST", f"/{item}/{item}?n={item}")
        assert (headers["x-n"], headers["x-m"]) == (str(item), "1")
        assert json.loads(body) == {"n": item, "text": f"<{item}>"}


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "OPTIONS", "POST"])
async def test_each_method_with_and_without_a_body(app: App, transport: str, method: str) -> None:
    for body in (None, "", "text"):
        found = await call(app, transport, 2, method=method, body=body)
        assert [one.status for one in found] == [200, 200]
        assert {one[0] for one in app.got} == {method}
        assert app.got[-1][3] == (body or "").encode()
        has_length = body is not None or method not in ("GET", "OPTIONS")
        if transport in TRANSPORTS[:3]:  # other libraries do as they like where there is no body
            assert ("content-length" in app.got[-1][2]) == has_length
        kind = app.got[-1][2].get("content-type")
        assert body is None or kind == "text/plain; charset=utf-8"


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_head_is_answered_with_a_length_and_no_body(
    app: App, transport: str, tmp_path: Path
) -> None:
    asked = ["HEAD", "GET", "HEAD", "HEAD"]
    listed = [json.dumps({"url": "/a", "method": method}) for method in asked]
    (tmp_path / "a.jsonl").write_text("\n".join(listed))
    found = await call(app, transport, 8, requests_from=str(tmp_path / "a.jsonl"))

    assert [method for method, *_ in app.got] == asked * 2
    assert [one.body for one in found] == [b"", b"answered", b"", b""] * 2
    assert {(one.status, one.headers["content-length"]) for one in found} == {(200, "8")}
    assert (await call(app, transport, method="HEAD", path="/?to=/b"))[0].body == b""
    assert app.got[-1][:2] == ("HEAD", "/b")


async def test_a_body_of_a_file_is_sent_as_it_is(app: App, tmp_path: Path) -> None:
    files = {"a.json": b'{"n": "{item}"}', "a.png": b"\x89PNG\xff", "a": b"x"}
    kinds = ["application/json", "image/png", "text/plain; charset=utf-8"]
    for (name, content), kind in zip(files.items(), kinds, strict=True):
        (tmp_path / name).write_bytes(content)
        await call(app, "wire", body=f"@{tmp_path / name}")
        assert app.got[-1][3] == content.replace(b"{item}", b"0")
        assert app.got[-1][2]["content-type"] == kind


@given(item=st.integers(0, 10**9), text=st.text(), other=st.binary(max_size=40))
def test_a_length_is_that_of_the_body(item: int, text: str, other: bytes) -> None:
    for body in (text.encode(), b"{item}" + other, other + b"-{item}-{item}"):
        raw = request_template("http://h/{item}", Request(path="", body=body))(item)
        head, _, sent = raw.partition(b"\r\n\r\n")
        assert head.startswith(b"GET /%d HTTP/1.1\r\nHost: h\r\n" % item)
        assert int(head.rpartition(b": ")[2]) == len(sent)
        assert sent == body.replace(b"{item}", b"%d" % item)


# Redirects, and what is a success


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_redirects_are_followed_as_aiohttp_does_it(app: App, transport: str) -> None:
    for code, method in {301: "GET", 302: "GET", 303: "GET", 307: "POST", 308: "POST"}.items():
        app.got.clear()
        path = f"/a/b?code={code}&to=../c%3Fx={{item}}"
        (answer,) = await call(app, transport, path=path, body="sent {item}")
        assert (answer.status, answer.body) == (200, b"answered")
        assert [one[:2] for one in app.got][1:] == [(method, "/c?x=0")]
        assert app.got[1][3] == (b"sent 0" if method == "POST" else b"")


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_redirect_to_another_host_is_not_followed(app: App, transport: str) -> None:
    for place in ("http://elsewhere.invalid/x", "//elsewhere.invalid/x", "https://127.0.0.1/"):
        ((kind, says),) = await call(app, transport, path=f"/?code=302&to={place}")
        assert kind == "redirect"
        assert "elsewhere.invalid/x" in says or "https://127.0.0.1/" in says
        assert f"only {app.url} is called" in says
    ((kind, says),) = await call(app, transport, path="/round")
    assert (kind, says.partition(",")[0]) == ("redirect", "more than 10 redirects")
    assert len(app.got) == 3 + 11


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_what_counts_as_a_success_is_a_setting(app: App, transport: str) -> None:
    ask = {"path": "/?code=404"}
    assert await call(app, transport, **ask) == [("status", "status 404")]
    assert [one.status for one in await call(app, transport, 2, **ask, ok_status="200, 404")] == [
        404,
        404,
    ]
    assert await call(app, transport, ok_status="201-204") == [("status", "status 200")]
    moved = {"path": "/?code=302&to=/there", "redirects": False}
    assert await call(app, transport, **moved) == [("status", "status 302")]
    assert (await call(app, transport, **moved, ok_status="302"))[0].headers["location"] == "/there"
    # Without a place to go to there is nothing to follow.
    (answer,) = await call(app, transport, path="/?code=302", ok_status="302")
    assert answer.status == 302


# Files of requests

URL = "http://127.0.0.1:9000"
FILES: dict[str, dict[str, Any]] = json.loads(
    (Path(__file__).parent / "data" / "request_files.json").read_text(encoding="utf-8")
)


def request(*, body: str | None = None, **parts: Any) -> Request:
    return Request(body=None if body is None else body.encode(), **parts)


def asked(file: Path, text: str, **settings: Any) -> request_files.Asked:
    file.write_text(text, encoding="utf-8")
    return request_files.asked(Trial(**{"target": URL, "requests_from": str(file), **settings}))


@pytest.mark.parametrize("name", FILES["read"])
def test_a_file_of_requests_is_read_in_each_form(tmp_path: Path, name: str) -> None:
    text, settings, listed = FILES["read"][name].values()
    requests = [request(**one) for one in listed]
    found = asked(tmp_path / name, text, **settings)
    left_out = int(name in ("page.har", "access.log"))
    assert found.requests == requests
    assert found.of_file == {"requests": len(requests), "left_out": left_out}
    if name != "items.csv":  # known by how it begins
        assert asked(tmp_path / "any", f"\ufeff{text}", **settings) == found


@pytest.mark.parametrize("name", FILES["refused"])
def test_what_does_not_parse_is_named_by_its_line_and_the_reason(tmp_path: Path, name: str) -> None:
    text, settings, says = FILES["refused"][name].values()
    with pytest.raises(BadInput) as caught:
        asked(tmp_path / name, text, **settings)
    assert str(caught.value).startswith(f"workload.requests_from is '{tmp_path / name}'")
    assert says in str(caught.value)


def test_a_file_that_is_not_there_or_too_large_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for setting in ("requests_from", "body", "json"):
        mark = "" if setting == "requests_from" else "@"
        with pytest.raises(BadInput, match=rf"^workload\.{setting} is [^:]*: it cannot be read"):
            preflight.prepare(Trial(**{setting: f"{mark}{tmp_path}/none"}))
    monkeypatch.setattr(request_files, "MAX_REQUESTS", 2)
    assert len(asked(tmp_path / "a", "/\n/\n").requests) == 2
    with pytest.raises(BadInput, match="more than 2 requests"):
        asked(tmp_path / "a", "/\n/\n/\n")
    monkeypatch.setattr(request_files, "MAX_FILE_BYTES", 5)
    with pytest.raises(BadInput, match="it is larger than 5 bytes"):
        asked(tmp_path / "a", "/\n/\n/\n")
    monkeypatch.setattr(request_files, "MAX_BODY_BYTES", 5)
    with pytest.raises(BadInput, match=r"^workload\.body is .*: it is larger than 5 bytes"):
        preflight.prepare(Trial(body=f"@{tmp_path / 'a'}"))


def test_a_host_that_was_allowed_is_the_only_one_of_a_file(tmp_path: Path) -> None:
    url, more = "http://named.invalid", {"limit": 5, "allow_remote": "named.invalid"}
    assert asked(tmp_path / "a", f"{url}/x\n", target=url, **more).requests == [Request(path="/x")]
    with pytest.raises(BadInput, match=r"it leads to 'http://other\.invalid'"):
        asked(tmp_path / "a", f"{url}/x\nhttp://other.invalid/\n", target=url, **more)
    with pytest.raises(BadInput, match="only loopback"):
        asked(tmp_path / "a", f"{url}/x\n", target=url)


async def test_requests_come_in_turn_or_as_they_are_drawn(app: App, tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text('{"url": "/a"}\n{"url": "/b/{item}", "weight": 3}\n')
    for transport in TRANSPORTS:
        app.got.clear()
        await call(app, transport, 4, requests_from=str(file))
        assert [one[1] for one in app.got] == ["/a", "/b/1", "/a", "/b/3"]
        app.got.clear()
        await call(app, transport, 5, requests_from=str(file), order="weighted", seed=1)
        drawn_for = drawn([1, 3], 1, 1_000)
        expected = [("/a", f"/b/{item}")[drawn_for[item]] for item in range(5)]
        assert [one[1] for one in app.got] == expected


def test_draws_depend_on_the_seed_and_come_as_often_as_they_weigh() -> None:
    found = drawn([1, 0.5, 2.5], 7, 40_000)
    assert list(found) == list(drawn([1, 0.5, 2.5], 7, 40_000))
    assert list(found) != list(drawn([1, 0.5, 2.5], 8, 40_000))
    assert list(found[:100]) == list(drawn([1, 0.5, 2.5], 7, 100))
    assert [round(found.count(n) / 40_000, 1) for n in range(3)] == [0.3, 0.1, 0.6]
    assert len(drawn([1], 0, 10**8)) == 1 << 16


# Credentials, and whole trials


async def again(fetch: Any, items: Any, limit: int) -> None:
    """Sends each item again that was refused; the answers are what the server sends."""
    for item in items:
        try:
            await fetch(item)
        except Exception as error:  # noqa: BLE001  # its class is not known here
            answer = await fetch(item)
            seen = getattr(error, "status", 0), answer.status, answer.headers["content-length"]
            if (*seen, answer.body) != (503, 200, "13", b"Hello, World!"):
                raise ValueError(seen) from None


async def test_a_retry_is_an_attempt_and_no_record_has_a_credential() -> None:
    headers = {
        "X-Api-Key": SECRET,
        "authorization": f"Bearer {SECRET}",
        "Cookie": SECRET,
        "X-A": "1",
    }
    trial = Trial(strategy=again, requests=20, path="/fault/refuse_once?i={item}", headers=headers)
    found = await ran(trial.replace(transport="wire", limit=1))

    counts = found.record.counts
    assert (found.error, counts.conserved) == (None, True)
    assert (counts.planned, counts.done, counts.lost) == (20, 20, 0)
    assert (counts.sent, counts.retried, counts.failed) == (40, 20, {"status": 20})
    shown = [encode(found.record).decode(), repr(trial), str(trial.to_dict())]
    shown += [str(plan.label(trial, "headers")), PanelRun(trial=trial, axes={}).code]
    for text in shown:
        assert SECRET not in text
    assert all(name in shown[0] for name in headers)
    assert trial.replace(limit=2).secrets == trial.secrets
    assert trial.replace(headers=trial.workload.headers).secrets == trial.secrets
    with pytest.raises(BadInput, match="hide the value of 'X-Api-Key'"):
        preflight.prepare(Trial.from_dict(trial.replace(strategy="wait").to_dict()))


@pytest.mark.parametrize("clients", [1, 2])
async def test_which_of_several_requests_is_slow_or_fails_is_said(
    clients: int, tmp_path: Path
) -> None:
    file = tmp_path / "urls.txt"
    file.write_text(f"/quick\n/delay/0.05?key={SECRET}\n/status/503\n/bytes/1000\n")
    # Of two clients each has two of the four.
    trial = Trial(requests_from=str(file), requests=40, limit=8, clients=clients)
    record = (await ran(trial)).record

    rows = {one.request: one for one in record.requests}
    assert [*rows] == ["GET /quick", "GET /delay/0.05", "GET /status/503", "GET /bytes/1000"]
    assert [(one.ok, one.failed) for one in rows.values()] == [(10, 0), (10, 0), (0, 10), (10, 0)]
    slow, quick = (rows[f"GET /{name}"].latency_s for name in ("delay/0.05", "quick"))
    assert slow is not None
    assert quick is not None
    assert 0.049 < slow.p50 <= slow.max
    assert quick.p50 < slow.p50
    assert record.timeline.received_bytes[-1] == (record.received and record.received.wire_bytes)
    text = Run(record).text()
    assert SECRET not in text
    # The slowest first, and the one without an answer last.
    places = [text.rindex(f"\n{name} ") for name in ("GET /delay/0.05", "GET /quick")]
    assert places == sorted(places)
    assert text.rindex("GET /status/503") > places[1]
