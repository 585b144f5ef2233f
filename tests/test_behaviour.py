import importlib
import json
import math
import sys
import zlib
from typing import Any
from urllib.parse import quote

import brotli
import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from machines import checks

from labkit.measured.targets.http import behaviour, documents, messages
from labkit.measured.targets.http.behaviour import Behaviour
from labkit.measured.targets.http.engine import Stats
from labkit.measured.targets.http.messages import Answer, Chunks, Request
from labkit.spec import delays
from labkit.spec.targets import HttpServer

zstd = importlib.import_module(
    "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"
)

PLAIN = HttpServer()
RANDOM = "randint(0,3)*0.1"
DECODERS = {
    "gzip": lambda body: zlib.decompress(body, wbits=31),
    "deflate": zlib.decompress,
    "br": brotli.decompress,
    "zstd": zstd.decompress,
    "identity": bytes,
}
ROUTES = ["/x", "/posts", "/posts/1", "/users", "/users/1", "/delay/0.5", "/bytes/10", "/json/3"]
ROUTES += ["/stream/10", "/status/200", "/comments", "/todos/1"]


def ask(target: str, method: str = "GET", server: HttpServer = PLAIN, **rest: Any) -> Answer:
    return Behaviour(server).answer(Request(method=method, target=target, **rest))


def whole(answer: Answer) -> bytes:
    body = answer.body
    return b"".join(body.pieces()) if isinstance(body, Chunks) else body


# The greeting


@example(name="a/b", seed=0)
@example(name="", seed=0)
@given(name=st.text(), seed=st.integers(0, 2**63 - 1))
def test_the_delay_is_drawn_from_seed_and_decoded_name(name: str, seed: int) -> None:
    server = HttpServer(delay=RANDOM, seed=seed)
    answer = ask("/" + quote(name, safe="", errors="replace"), server=server)
    shown = name.encode("utf-8", "replace").decode()
    if shown not in ("posts", "users", "comments", "todos", "anything", "echo"):
        assert answer.delay_s == delays.parse(RANDOM).draw(seed, shown)


@example(name="posts", delay="1")
@given(
    name=st.from_regex(r"[a-zA-Z0-9]{0,9}", fullmatch=True), delay=st.sampled_from([RANDOM, "1"])
)
def test_the_short_way_agrees_with_the_long_one(name: str, delay: str) -> None:
    here = Behaviour(HttpServer(delay=delay, body_bytes=7))
    answer = here.answer(Request(target=f"/{name}"))
    short = messages.Answer(body=here.hello.body, delay_s=here.draw_s(name.encode()))
    assert (answer == short) == (name.encode() not in here.special_names)


def test_whether_the_delay_depends_on_the_name() -> None:
    servers = [HttpServer(delay=delay) for delay in ("0", "1", RANDOM)]
    assert [Behaviour(server).fixed_delay_s for server in servers] == [0, 1, None]


@given(target=st.one_of(st.text(), st.sampled_from(ROUTES)), method=st.sampled_from(["GET", "PUT"]))
def test_the_same_request_gets_the_same_answer(target: str, method: str) -> None:
    server = HttpServer(delay=RANDOM, seed=5)
    assert ask(target, method, server) == ask(target, method, server)


@pytest.mark.parametrize("size", [0, 1, 64, 100_000, messages.MAX_WHOLE_BYTES + 1])
def test_body_bytes_replaces_the_text_by_that_many_bytes(size: int) -> None:
    assert len(whole(ask("/x", server=HttpServer(body_bytes=size)))) == size


# Paths and methods


@pytest.mark.parametrize("route", ROUTES)
def test_a_route_takes_get_and_head_and_has_no_delay_of_the_server(route: str) -> None:
    delayed = ask(route, server=HttpServer(delay="1")).delay_s
    assert delayed == (0.5 if "delay" in route else float(route.count("/") == 1 and route == "/x"))
    assert ask(route, "HEAD") == ask(route)
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "get"):
        if (route, method) == ("/posts", "POST"):  # takes one, below
            continue
        refused = ask(route, method)
        assert refused.status == 405
        allowed = "GET, HEAD, POST" if route == "/posts" else "GET, HEAD"
        assert ("Allow", allowed) in refused.headers


TEXT, JSON = ("Content-Type", "text/plain; charset=utf-8"), ("Content-Type", "application/json")
BINARY = ("Content-Type", "application/octet-stream")
UNKNOWN = "* //x /x/ /posts/ /a/b /a/b/c /-/x /-/statsx h:443"


@pytest.mark.parametrize(
    ("method", "targets", "expected"),
    [
        ("GET", "/anyone", Answer(body=b"Hello, World!", headers=(TEXT,))),
        ("GET", "/posts/0 /posts/101 /posts/-1 /users/11", (404, JSON, b"{}")),
        *(("GET", f"/status/{n}", (n, TEXT, b"status %d" % n)) for n in (200, 299, 404, 418, 599)),
        *(("GET", f"/status/{n}", Answer(status=n, headers=())) for n in (204, 205, 304)),
        ("GET", "/bytes/3", Answer(body=b"012", headers=(BINARY,))),
        ("GET", "/stream/9", (200, BINARY, Chunks(total_bytes=9, chunk_bytes=8192, framed=True))),
        ("GET", f"/bytes/{1 << 30}", Answer(body=Chunks(total_bytes=1 << 30), headers=(BINARY,))),
        ("POST", "/echo", Answer(headers=(BINARY, ("X-Content-Type-Options", "nosniff")))),
        *((method, UNKNOWN, (404, TEXT, None)) for method in ("GET", "POST")),
        *((method, "/echo", (405, TEXT, None)) for method in ("GET", "HEAD", "PUT")),
    ],
)
def test_answers(method: str, targets: str, expected: Answer | tuple[object, ...]) -> None:
    for target in targets.split():
        answer = ask(target, method)
        shown = (answer.status, answer.headers[0] if answer.headers else None, answer.body)
        assert expected in (answer, shown, (*shown[:2], None))
        assert (answer.status == 405) == (("Allow", "POST") in answer.headers)


def test_a_server_stands_still_at_one_item_whose_name_is_a_special_one() -> None:
    server = HttpServer(stall_at=7, stall_s=0.5)
    assert [ask(f"/{item}", server=server).stall_s for item in (6, 7)] == [0.0, 0.5]
    assert Behaviour(server).special_names - Behaviour(PLAIN).special_names == {b"7"}
    assert b"posts" in Behaviour(PLAIN).special_names


def test_each_fault_is_the_one_that_is_asked_for() -> None:
    hello = Answer(body=messages.HELLO)
    for target, answer in {
        "reset": Answer(body=messages.HELLO, fault="reset", fault_s=1.0),
        "stall?seconds=2": Answer(body=messages.HELLO, stall_s=2.0),
        "drip?seconds=2": Answer(body=messages.HELLO, drip_s=2.0),
        "error_rate?p=0": hello,
    }.items():
        assert ask(f"/fault/{target}") == answer
    assert ask("/fault/error_rate?p=1").status == 500
    assert ask("/x?rate=1").rate == 1


def test_refuse_once_answers_what_comes_again_and_then_begins_anew() -> None:
    server = Behaviour(PLAIN)

    def status(item: int) -> int:
        return server.answer(Request(method="GET", target=f"/fault/refuse_once?item={item}")).status

    assert [status(item) for item in (1, 2, 1, 1, 2, 1)] == [503, 503, 200, 503, 200, 200]
    for item in range(behaviour.MAX_REFUSED + 1):  # with the last one all before are forgotten
        status(item)
    assert [status(item) for item in (0, behaviour.MAX_REFUSED)] == [503, 200]


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_anything_shows_the_request(method: str) -> None:
    body = b'{"n": [1, 2]}'
    answer = ask("/anything?a=1&b=%20x", method, headers={"x-n": "\udcff"}, body=body)
    assert answer.status == 200
    assert json.loads(whole(answer)) == {
        "method": method,
        "target": "/anything?a=1&b=%20x",
        "params": {"a": "1", "b": " x"},
        "headers": {"x-n": "\udcff"},
        "body": body.decode(),
        "json": {"n": [1, 2]},
    }
    assert json.loads(whole(ask("/anything", method, body=b"[" * 100_000)))["json"] is None
    shown = json.loads(whole(ask("/anything/7", method, body=b"\xff{")))
    assert (shown["target"], shown["body"], shown["json"]) == ("/anything/7", "\ufffd{", None)
    assert Behaviour(PLAIN).takes_body(method, "/anything/7")
    assert ask("/anything", method, HttpServer(client_max_size=1), body=b"12").status == 413


def test_a_redirect_leads_on_and_at_last_to_anything() -> None:
    for code in (301, 302, 303, 307, 308):
        target, seen = f"/redirect/3?code={code}", []
        while (answer := ask(target, "POST")).status == code:
            target = dict(answer.headers)["Location"]
            seen.append(target)
        assert seen == [f"/redirect/2?code={code}", f"/redirect/1?code={code}", "/anything"]
        assert answer.status == 200
    assert ask("/redirect/0").status == 200
    assert ask("/redirect/1").status == 302


def test_a_post_is_answered_with_its_number() -> None:
    answer = ask("/posts", "POST", body=b'{"title": "t", "id": 7}')
    assert (answer.status, json.loads(whole(answer))) == (201, {"title": "t", "id": 101})
    for body in (b"", b"[]", b"{", b"\xff", b'{"a":' * 100_000):
        refused = ask("/posts", "POST", body=body)
        assert refused.status == 400
        assert whole(refused).startswith(b"the body is no JSON object")
    assert ask("/posts", "POST", HttpServer(client_max_size=1), body=b"{}").status == 413


def test_two_ways_to_write_a_target() -> None:
    server = HttpServer(delay=RANDOM)
    for target, same in {
        "http://127.0.0.1:80/x": "/x",
        "http://h/json/2?encoding=br": "/json/2?encoding=br",
        "/%70osts/1": "/posts/1",
        "/x?posts/1": "/x",
    }.items():
        assert ask(target, server=server) == ask(same, server=server)


# Numbers


@pytest.mark.parametrize(("field", "targets"), checks("behaviour.toml", "refused"))
def test_a_bad_value_gets_a_sentence_that_names_it(field: str, targets: list[str]) -> None:
    for target in targets:
        answer = ask(target)
        sentence = whole(answer).decode()
        assert answer.status == 400
        assert sentence.startswith(f"{field} is '")
        assert "it must be" in sentence
        assert len(sentence) < 170
        assert "9" * 41 not in sentence
        assert answer.headers == (TEXT,)


# Bytes


@given(size=st.integers(0, 5_000), chunk=st.integers(1, 700))
def test_stream_cuts_the_same_bytes_into_chunks(size: int, chunk: int) -> None:
    body = ask(f"/stream/{size}?chunk={chunk}").body
    assert isinstance(body, Chunks)
    assert body.framed
    pieces = list(body.pieces())
    assert b"".join(pieces) == whole(ask(f"/bytes/{size}"))
    assert {len(piece) for piece in pieces[:-1]} <= {chunk}
    assert len(pieces) == math.ceil(size / chunk)


@pytest.mark.parametrize("size", [messages.MAX_WHOLE_BYTES + extra for extra in (-1, 0, 1, 65_537)])
def test_bytes_are_exact_on_both_sides_of_what_is_held_whole(size: int) -> None:
    body = ask(f"/bytes/{size}").body
    assert isinstance(body, Chunks) == (size > messages.MAX_WHOLE_BYTES)
    assert len(whole(ask(f"/bytes/{size}"))) == size
    if isinstance(body, Chunks):
        assert len(next(body.pieces())) == messages.PIECE_BYTES


# Documents


def shape(value: object) -> object:
    return {key: shape(item) for key, item in value.items()} if isinstance(value, dict) else None


USER = checks("behaviour.toml", "user")


def test_posts_and_users_have_the_shape_that_tutorials_expect() -> None:
    posts, users = json.loads(whole(ask("/posts"))), json.loads(whole(ask("/users")))
    assert [post["id"] for post in posts] == list(range(1, 101))
    assert [post["userId"] for post in posts] == [user for user in range(1, 11) for _ in range(10)]
    assert [user["id"] for user in users] == list(range(1, 11))
    assert all(shape(user) == USER for user in users)
    assert all(post["title"] and post["body"].count("\n") == 3 for post in posts)
    assert len({post["body"] for post in posts}) == len(posts)
    assert len({user["email"] for user in users}) == len(users)

    assert [json.loads(whole(ask(f"/posts/{number}"))) for number in range(1, 101)] == posts
    assert [json.loads(whole(ask(f"/users/{number}"))) for number in range(1, 11)] == users

    comments, todos = json.loads(whole(ask("/comments"))), json.loads(whole(ask("/todos")))
    assert [one["id"] for one in comments] == list(range(1, 501))
    assert [one["postId"] for one in comments] == [post for post in range(1, 101) for _ in "12345"]
    assert [one["userId"] for one in todos] == [user for user in range(1, 11) for _ in range(20)]
    assert set(comments[0]) == {"postId", "id", "name", "email", "body"}
    assert set(todos[0]) == {"userId", "id", "title", "completed"}
    assert {one["completed"] for one in todos} == {True, False}
    assert json.loads(whole(ask("/comments/500"))) == comments[-1]
    assert ask("/todos/201").status == 404


@given(count=st.integers(0, 300))
def test_json_has_that_many_records(count: int) -> None:
    records = json.loads(whole(ask(f"/json/{count}")))
    assert [record["id"] for record in records] == list(range(count))


# Codings


@pytest.mark.parametrize("coding", sorted(DECODERS))
def test_each_coding_round_trips_and_repeats_itself(coding: str) -> None:
    coder, forced = documents.CODERS[coding], f"/json/500?encoding={coding}"
    for target, accepted in [
        ("/json/500", coding),
        (forced, "*;q=0"),
        *((f"{forced}&level={n}", "") for n in (coder.levels[0], coder.level, coder.levels[-1])),
    ]:
        answer = ask(target, headers={"accept-encoding": accepted})
        assert dict(answer.headers).get("Content-Encoding", "identity") == coding
        assert dict(answer.headers)["Vary"] == "Accept-Encoding"
        assert DECODERS[coding](whole(answer)) == documents.records(500)
        assert answer == ask(target, headers={"accept-encoding": accepted})
    assert ask(forced) == ask(f"{forced}&level={coder.level}")
    for n, most_kb in zip(coder.levels, coder.most_kb, strict=True):
        assert [coder.may(n, bytes(1_000 * most_kb + more)) for more in (0, 1)] == [True, False]


def test_the_tutorial_of_gzip_gets_its_94_bytes() -> None:
    body = json.dumps({"message": "Hello, World!" * 1000}).encode()
    # Python's own default is the highest level; the libraries that take zlib's place agree there.
    coded = whole(ask("/message/1000?encoding=gzip&level=9"))
    assert whole(ask("/message/1000")) == body == DECODERS["gzip"](coded)
    assert (len(body), len(coded)) == (13_015, 94)
    assert whole(ask("/message/0")) == b'{"message": ""}'


def test_a_rate_belongs_to_the_answer() -> None:
    assert ask("/bytes/9?rate=5") == msgspec.structs.replace(ask("/bytes/9"), rate=5)


@pytest.mark.parametrize(("coding", "headers"), checks("codings.json"))
def test_q_values_are_honoured(coding: str | None, headers: list[str | None]) -> None:
    assert [documents.negotiate(header) for header in headers] == [coding] * len(headers)


@given(weights=st.dictionaries(st.sampled_from(sorted(DECODERS)), st.integers(0, 1000), min_size=1))
def test_the_heaviest_of_the_named_codings_wins(weights: dict[str, int]) -> None:
    header = ",".join(f"{name};q={weight / 1000:.3f}" for name, weight in weights.items())
    coding = documents.negotiate(header)
    heaviest = max(weights.values())
    if coding in weights and heaviest:
        assert weights[coding] == heaviest
    else:
        assert heaviest == 0
        assert coding == (None if weights.get("identity") == 0 else "identity")


def test_a_client_that_accepts_nothing_is_told_so() -> None:
    answer = ask("/json/1", headers={"accept-encoding": "*;q=0"})
    assert answer.status == 406
    assert ("Vary", "Accept-Encoding") in answer.headers


# Echo


@pytest.mark.parametrize("content_type", ["a/b; c=d", "a/b\r\nX: y", "a/\x00", "é", "\udcff"])
def test_echo_gives_back_body_and_a_content_type_that_is_a_header(content_type: str) -> None:
    answer = ask("/echo", "POST", headers={"content-type": content_type}, body=b"\x00\xff")
    if content_type == "a/b; c=d":
        assert (answer.body, answer.headers[0]) == (b"\x00\xff", ("Content-Type", content_type))
    assert answer.status == (200 if content_type == "a/b; c=d" else 400)


@pytest.mark.parametrize("size", [0, 1, 1000])
def test_client_max_size_is_exact(size: int) -> None:
    server = HttpServer(client_max_size=size)
    assert ask("/echo", "POST", server, body=b"x" * size).status == 200
    refused = ask("/echo", "POST", server, body=b"x" * (size + 1))
    assert refused == Behaviour(server).too_large
    assert refused.status == 413
    assert b"client_max_size" in whole(refused)


# Counters


def test_which_requests_need_their_body_or_get_the_counters() -> None:
    takes_body, targets = Behaviour(HttpServer()).takes_body, ("/echo", "/echo?x=1", "/users")
    assert [takes_body("POST", target) for target in targets] == [True, True, False]
    assert not takes_body("PUT", "/echo")
    assert all(map(behaviour.asks_for_counters, ("/-/log", "/-/stats", "/-/stats?x=1")))
    assert not any(map(behaviour.asks_for_counters, ("/-/statsx", "/-/stats/")))
    assert json.loads(whole(behaviour.counters("GET", {"requests": 3}))) == {"requests": 3}
    assert behaviour.counters("POST", {}).status == 405


@settings(max_examples=30)  # each looks through a histogram four times
@given(late_ns=st.lists(st.integers(0, 2**41), min_size=1))
def test_how_late_delays_fired_is_exact_to_a_thousandth(late_ns: list[int]) -> None:
    one, total = Stats(), Stats()
    assert one.snapshot()["delay_error_s"] == {"p50": None, "p99": None, "max": None}
    for late in late_ns:
        one.delay_ended(late)
    total.add(json.loads(msgspec.json.encode(one.raw())))
    found, ordered = total.snapshot()["delay_error_s"], sorted(late_ns)
    assert found == one.snapshot()["delay_error_s"]
    for name, percent in (("p50", 50), ("p99", 99), ("max", 100)):
        exact_s = ordered[math.ceil(len(ordered) * percent / 100) - 1] / 1e9
        assert found[name] == pytest.approx(exact_s, rel=0.001)


@pytest.mark.parametrize(("events", "expected"), checks("behaviour.toml", "counted"))
def test_what_is_counted_unless_a_connection_only_asks_for_counters(
    events: str, expected: list[int]
) -> None:
    stats = Stats()
    for event in events.split(", "):
        name, *connection = event.split()
        getattr(stats, name)(*connection)
    shown = stats.snapshot()
    names = ("connections_opened", "connections_open", "requests", "in_flight", "max_in_flight")
    assert [shown[name] for name in names] == expected
