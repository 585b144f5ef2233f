from __future__ import annotations

import json
import math
import zlib
from urllib.parse import quote

import brotli
import msgspec
import pytest
from backports import zstd
from hypothesis import given
from hypothesis import strategies as st

from labkit.measured.targets.http import behaviour, compression, documents, messages
from labkit.measured.targets.http.behaviour import Behaviour
from labkit.measured.targets.http.engine import Stats
from labkit.measured.targets.http.messages import Answer, Chunks, Request
from labkit.spec import delays
from labkit.spec.targets import HttpServer

RANDOM = "randint(0,3)*0.1"
DECODERS = {
    "gzip": lambda body: zlib.decompress(body, wbits=31),
    "deflate": zlib.decompress,
    "br": brotli.decompress,
    "zstd": zstd.decompress,
    "identity": bytes,
}
ROUTES = [
    "/x", "/posts", "/posts/1", "/users", "/users/1", "/delay/0.5", "/bytes/10", "/stream/10",
    "/json/3", "/status/200",
]  # fmt: skip


def ask(
    target: str, method: str = "GET", server: HttpServer | None = None, **rest: object
) -> Answer:
    request = Request(method=method, target=target, **rest)  # type: ignore[arg-type]
    return Behaviour(server or HttpServer()).answer(request)


def whole(answer: Answer) -> bytes:
    body = answer.body
    return b"".join(body.pieces()) if isinstance(body, Chunks) else body


# The greeting


def test_a_name_is_greeted_as_the_published_servers_do() -> None:
    answer = ask("/anything")
    assert (answer.status, answer.body, answer.delay_s) == (200, b"Hello, World!", 0)
    assert answer.headers == (("Content-Type", "text/plain; charset=utf-8"),)


@given(name=st.text(min_size=1), seed=st.integers(0, 2**63 - 1))
def test_the_delay_is_drawn_from_seed_and_decoded_name(name: str, seed: int) -> None:
    server = HttpServer(delay=RANDOM, seed=seed)
    answer = ask("/" + quote(name, safe="", errors="replace"), server=server)
    shown = name.encode("utf-8", "replace").decode()
    if shown not in ("posts", "users", "echo"):
        assert answer.delay_s == delays.parse(RANDOM).draw(seed, shown)


@given(target=st.one_of(st.text(), st.from_regex(r"/[!-~]{0,9}", fullmatch=True)))
def test_the_short_way_agrees_with_the_long_one(target: str) -> None:
    here = Behaviour(HttpServer(delay=RANDOM, body_bytes=7))
    delay_s = here.hello_delay_s(target)
    answer = here.answer(Request(method="GET", target=target))
    if delay_s is not None:
        assert answer == messages.Answer(body=here.hello.body, delay_s=delay_s)


def test_the_short_way_is_taken_for_plain_names_only() -> None:
    here = Behaviour(HttpServer())
    assert here.hello_delay_s("/17") == 0
    others = ("/", "/posts", "/users", "/echo", "/a/b", "/a%20b", "/a?b", "/é", "a", "", "*")
    assert [here.hello_delay_s(target) for target in others] == [None] * len(others)


@given(target=st.one_of(st.text(), st.sampled_from(ROUTES)), method=st.sampled_from(["GET", "PUT"]))
def test_the_same_request_gets_the_same_answer(target: str, method: str) -> None:
    server = HttpServer(delay=RANDOM, seed=5)
    assert ask(target, method, server) == ask(target, method, server)


@pytest.mark.parametrize("size", [0, 1, 64, 100_000, messages.MAX_WHOLE_BYTES + 1])
def test_body_bytes_replaces_the_text_by_that_many_bytes(size: int) -> None:
    assert len(whole(ask("/x", server=HttpServer(body_bytes=size)))) == size


def test_other_routes_do_not_wait() -> None:
    server = HttpServer(delay="1")
    assert [ask(route, server=server).delay_s for route in ROUTES if route.count("/") > 1] == [
        0.5 if "delay" in route else 0 for route in ROUTES if route.count("/") > 1
    ]


# Paths and methods


@pytest.mark.parametrize("route", ROUTES)
def test_head_is_answered_as_get(route: str) -> None:
    assert ask(route, "HEAD") == ask(route)


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "get"])
def test_another_method_is_refused_with_those_allowed(route: str, method: str) -> None:
    answer = ask(route, method)
    assert answer.status == 405
    assert ("Allow", "GET, HEAD") in answer.headers


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT"])
def test_echo_takes_posts_only(method: str) -> None:
    answer = ask("/echo", method)
    assert (answer.status, answer.headers[1]) == (405, ("Allow", "POST"))


@pytest.mark.parametrize(
    "target",
    ["/", "", "*", "//x", "/x/", "/posts/", "/a/b", "/a/b/c", "/-/x", "/-/statsx", "h:443"],
)
def test_an_unknown_path_is_not_found_whatever_the_method(target: str) -> None:
    assert {ask(target, method).status for method in ("GET", "POST")} == {404}


@pytest.mark.parametrize(
    ("target", "same"),
    [
        ("http://127.0.0.1:80/x", "/x"),
        ("http://h/json/2?encoding=br", "/json/2?encoding=br"),
        ("/%70osts/1", "/posts/1"),
        ("/x?posts/1", "/x"),
    ],
)
def test_two_ways_to_write_a_target(target: str, same: str) -> None:
    server = HttpServer(delay=RANDOM)
    assert ask(target, server=server) == ask(same, server=server)


def test_an_encoded_slash_belongs_to_the_name() -> None:
    server = HttpServer(delay="uniform(0,1)")
    assert ask("/a%2Fb", server=server).delay_s == delays.parse("uniform(0,1)").draw(0, "a/b")


# Numbers


@pytest.mark.parametrize(
    ("target", "field"),
    [
        ("/bytes/-1", "n"),
        ("/bytes/x", "n"),
        ("/bytes/1073741825", "n"),
        ("/bytes/" + "9" * 5000, "n"),
        ("/stream/1.5", "n"),
        ("/stream/1?chunk=0", "chunk"),
        ("/stream/1?chunk=", "chunk"),
        ("/stream/1?chunk=16777217", "chunk"),
        ("/json/125001", "n"),
        ("/json/nan", "n"),
        ("/delay/-1", "seconds"),
        ("/delay/nan", "seconds"),
        ("/delay/inf", "seconds"),
        ("/delay/3600.1", "seconds"),
        ("/delay/<b>", "seconds"),
        ("/status/100", "code"),
        ("/status/600", "code"),
        ("/posts/one", "i"),
        ("/users/%ff", "i"),
        ("/json/1?encoding=rot13", "encoding"),
        ("/json/1?encoding=gzip&level=10", "level of gzip"),
        ("/json/1?encoding=zstd&level=0", "level of zstd"),
        ("/json/1?encoding=identity&level=1", "level of identity"),
        ("/message/800001", "n"),
        ("/bytes/1?rate=0", "rate"),
        ("/bytes/1?rate=-1", "rate"),
        ("/stream/1?rate=1.5", "rate"),
        ("/json/1?rate=fast", "rate"),
        ("/x?rate=", "rate"),
        ("/posts?rate=1099511627777", "rate"),
    ],
)
def test_a_bad_value_gets_a_sentence_that_names_it(target: str, field: str) -> None:
    answer = ask(target)
    sentence = whole(answer).decode()
    assert answer.status == 400
    assert sentence.startswith(f"{field} is '")
    assert "it must be" in sentence
    assert len(sentence) < 160
    assert answer.headers == (("Content-Type", "text/plain; charset=utf-8"),)


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
def test_bytes_are_exact_on_both_sides_of_what_is_held(size: int) -> None:
    body = ask(f"/bytes/{size}").body
    assert isinstance(body, Chunks) == (size > messages.MAX_WHOLE_BYTES)
    assert len(whole(ask(f"/bytes/{size}"))) == size


def test_a_gibibyte_is_described_and_not_held() -> None:
    body = ask(f"/bytes/{1 << 30}").body
    assert body == Chunks(total_bytes=1 << 30)
    assert len(next(body.pieces())) == messages.PIECE_BYTES


def test_a_stream_has_a_default_chunk() -> None:
    assert ask("/stream/9").body == Chunks(total_bytes=9, chunk_bytes=8192, framed=True)


# Documents


def shape(value: object) -> object:
    return {key: shape(item) for key, item in value.items()} if isinstance(value, dict) else None


USER = {
    **dict.fromkeys(("id", "name", "username", "email", "phone", "website")),
    "address": {
        **dict.fromkeys(("street", "suite", "city", "zipcode")),
        "geo": dict.fromkeys(("lat", "lng")),
    },
    "company": dict.fromkeys(("name", "catchPhrase", "bs")),
}


def test_posts_and_users_have_the_shape_that_tutorials_expect() -> None:
    posts, users = json.loads(whole(ask("/posts"))), json.loads(whole(ask("/users")))
    assert [post["id"] for post in posts] == list(range(1, 101))
    assert [post["userId"] for post in posts] == [user for user in range(1, 11) for _ in range(10)]
    assert [user["id"] for user in users] == list(range(1, 11))
    assert all(shape(user) == USER for user in users)
    assert all(post["title"] and post["body"].count("\n") == 3 for post in posts)
    assert len({post["body"] for post in posts}) == len(posts)
    assert len({user["email"] for user in users}) == len(users)


def test_each_document_is_the_one_of_the_list() -> None:
    posts, users = json.loads(whole(ask("/posts"))), json.loads(whole(ask("/users")))
    assert [json.loads(whole(ask(f"/posts/{number}"))) for number in range(1, 101)] == posts
    assert [json.loads(whole(ask(f"/users/{number}"))) for number in range(1, 11)] == users
    assert ask("/posts/1").headers == (("Content-Type", "application/json"),)


@pytest.mark.parametrize("target", ["/posts/0", "/posts/101", "/posts/-1", "/users/11"])
def test_a_document_that_is_not_there_is_an_empty_object(target: str) -> None:
    answer = ask(target)
    assert (answer.status, answer.body) == (404, b"{}")


@given(count=st.integers(0, 300))
def test_json_has_that_many_records(count: int) -> None:
    records = json.loads(documents.records(count))
    assert [record["id"] for record in records] == list(range(count))


# Codings


@pytest.mark.parametrize("coding", sorted(DECODERS))
@pytest.mark.parametrize("how", ["accepted", "forced"])
def test_each_coding_round_trips_and_repeats_itself(coding: str, how: str) -> None:
    query = f"?encoding={coding}" if how == "forced" else ""
    headers = {"accept-encoding": coding if how == "accepted" else "*;q=0"}
    answer = ask(f"/json/500{query}", headers=headers)
    assert dict(answer.headers).get("Content-Encoding", "identity") == coding
    assert dict(answer.headers)["Vary"] == "Accept-Encoding"
    assert DECODERS[coding](whole(answer)) == documents.records(500)
    assert answer == ask(f"/json/500{query}", headers=headers)


def test_the_tutorial_of_gzip_gets_its_94_bytes() -> None:
    body = json.dumps({"message": "Hello, World!" * 1000}).encode()
    # Python's own default is the highest level; the libraries that take zlib's place agree there.
    coded = whole(ask("/message/1000?encoding=gzip&level=9"))
    assert whole(ask("/message/1000")) == body == DECODERS["gzip"](coded)
    assert (len(body), len(coded)) == (13_015, 94)


@pytest.mark.parametrize(
    ("coding", "level"),
    [
        (coding, str(level))
        for coding, coder in compression.CODERS.items()
        for level in {coder.levels[0], coder.levels[-1], coder.level}
    ],
)
def test_each_level_round_trips(coding: str, level: str) -> None:
    answer = ask(f"/json/100?encoding={coding}&level={level}")
    assert DECODERS[coding](whole(answer)) == documents.records(100)


def test_a_rate_belongs_to_the_answer() -> None:
    assert ask("/bytes/9?rate=5") == msgspec.structs.replace(ask("/bytes/9"), rate=5)
    assert ask("/x?rate=5").rate == 5


@pytest.mark.parametrize(
    ("header", "coding"),
    [
        (None, "identity"),
        ("", "identity"),
        ("gzip, deflate, br, zstd", "gzip"),
        ("br", "br"),
        ("BR", "br"),
        ("x-gzip", "gzip"),
        ("compress", "identity"),
        ("gzip;q=0.5, br;q=0.8", "br"),
        ("gzip;q=0.001, zstd;q=0.002", "zstd"),
        ("gzip; q=0.5 , deflate ; q=1.0", "deflate"),
        ("gzip;q=0", "identity"),
        ("gzip;q=0.5, identity", "identity"),
        ("gzip;q=0.5, identity;q=0.5", "gzip"),
        ("*", "gzip"),
        ("gzip;q=0, *", "deflate"),
        ("*;q=0, br;q=0.1", "br"),
        ("gzip;q=2, br;q=0.1", "br"),
        ("gzip;q=x", "identity"),
        ("gzip;level=9", "gzip"),
        ("*;q=0", None),
        ("identity;q=0", None),
        ("identity;q=0, gzip;q=0.1", "gzip"),
    ],
)
def test_q_values_are_honoured(header: str | None, coding: str | None) -> None:
    assert compression.negotiate(header) == coding


@given(weights=st.dictionaries(st.sampled_from(sorted(DECODERS)), st.integers(0, 1000), min_size=1))
def test_the_heaviest_of_the_named_codings_wins(weights: dict[str, int]) -> None:
    header = ",".join(f"{name};q={weight / 1000:.3f}" for name, weight in weights.items())
    coding = compression.negotiate(header)
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


# Echo and status


def test_echo_gives_back_body_and_content_type() -> None:
    answer = ask("/echo", "POST", headers={"content-type": "a/b; c=d"}, body=b"\x00\xff")
    assert (answer.status, answer.body) == (200, b"\x00\xff")
    assert answer.headers[0] == ("Content-Type", "a/b; c=d")
    assert ask("/echo", "POST").headers[0] == ("Content-Type", "application/octet-stream")


@pytest.mark.parametrize("content_type", ["a/b\r\nX: y", "a/\x00", "é", "\udcff"])
def test_echo_refuses_a_content_type_that_is_no_header(content_type: str) -> None:
    assert ask("/echo", "POST", headers={"content-type": content_type}).status == 400


@pytest.mark.parametrize("size", [0, 1, 1000])
def test_client_max_size_is_exact(size: int) -> None:
    server = HttpServer(client_max_size=size)
    assert ask("/echo", "POST", server, body=b"x" * size).status == 200
    refused = ask("/echo", "POST", server, body=b"x" * (size + 1))
    assert refused == Behaviour(server).too_large
    assert refused.status == 413
    assert b"client_max_size" in whole(refused)


def test_only_echo_takes_a_body() -> None:
    here = Behaviour(HttpServer())
    assert here.takes_body("POST", "/echo")
    assert here.takes_body("POST", "/echo?x=1")
    assert not here.takes_body("PUT", "/echo")
    assert not here.takes_body("POST", "/posts")


@pytest.mark.parametrize("code", [200, 201, 299, 404, 418, 500, 599])
def test_a_status_is_given_as_asked(code: int) -> None:
    answer = ask(f"/status/{code}")
    assert (answer.status, answer.body) == (code, f"status {code}".encode())


@pytest.mark.parametrize("code", [204, 205, 304])
def test_some_statuses_have_no_body(code: int) -> None:
    assert ask(f"/status/{code}") == Answer(status=code, headers=(), body=b"")


# Counters


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/-/log", True),
        ("/-/stats", True),
        ("/-/stats?x=1", True),
        ("/-/statsx", False),
        ("/-/stats/", False),
    ],
)
def test_which_requests_ask_for_the_counters(target: str, expected: bool) -> None:
    assert behaviour.asks_for_counters(target) is expected


def test_counters_are_json_and_refuse_posts() -> None:
    assert json.loads(whole(behaviour.counters("GET", {"requests": 3}))) == {"requests": 3}
    assert behaviour.counters("POST", {}).status == 405


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


def test_requests_in_flight_now_and_at_most() -> None:
    stats = Stats()
    stats.connected("a")
    for _ in range(3):
        stats.began("a")
    for _ in range(2):
        stats.ended()
    stats.began("a")
    shown = stats.snapshot()
    assert (shown["requests"], shown["in_flight"], shown["max_in_flight"]) == (4, 2, 3)


def connections(*events: str) -> tuple[int, int]:
    """Opened and open, after events such as 'connected a'."""
    stats = Stats()
    for event in events:
        getattr(stats, event.split()[0])(event.split()[1])
    shown = stats.snapshot()
    return shown["connections_opened"], shown["connections_open"]


@pytest.mark.parametrize(
    ("events", "opened_and_open"),
    [
        (["connected a", "began a", "began a", "connected b", "began b"], (2, 2)),
        (["connected a", "began a", "disconnected a"], (1, 0)),
        (["connected a"], (1, 1)),
        (["connected a", "disconnected a"], (1, 0)),
        (["connected a", "observed a"], (0, 0)),
        (["connected a", "observed a", "observed a", "disconnected a"], (0, 0)),
        (["connected a", "observed a", "began a"], (1, 1)),
        (["connected a", "observed a", "began a", "disconnected a"], (1, 0)),
        (["connected a", "began a", "observed a"], (1, 1)),
        (["connected a", "began a", "observed a", "disconnected a"], (1, 0)),
    ],
)
def test_a_connection_counts_unless_it_only_asks_for_counters(
    events: list[str], opened_and_open: tuple[int, int]
) -> None:
    assert connections(*events) == opened_and_open
