"""The reader of requests: what each is, wherever the bytes are split, and what it refuses."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from machines import raws
from scripted import single, split

from labkit.measured.http_framing import BadMessage, TooLarge
from labkit.measured.targets.http import requests
from labkit.measured.targets.http.requests import Request, plain_name, plain_names

PLAIN = b"GET /x HTTP/1.1\r\nHost: h\r\n\r\n"
LINE_END, BLOCK, OTHER_BLOCK = PLAIN[6:17], PLAIN[17:], b"Host: i\r\n\r\n"
CHUNKED = b"POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
KEPT = 8

Seen = tuple[str, str, bytes]


class Listener:
    """A listener that collects requests; of bodies it wants the first `KEPT` bytes."""

    def __init__(self, known: set[bytes] | None = None) -> None:
        self.requests: list[Seen] = []
        self.heads: list[Request] = []
        self.plain_ones = 0
        self.reader = requests.RequestReader(self, set() if known is None else known)

    def plain_received(self, name: bytes) -> None:
        self.plain_ones += 1
        self.requests.append(("GET", "/" + name.decode("ascii"), b""))

    def head_received(self, head: Request) -> int:
        self.heads.append(head)
        return KEPT

    def request_received(self, head: Request, body: bytes) -> None:
        assert head == self.heads[-1]
        self.requests.append((head.method, head.target, body))

    def receive(self, pieces: Iterable[bytes]) -> Listener:
        for piece in pieces:
            self.reader.receive(piece)
        return self


def read(pieces: Iterable[bytes], known: set[bytes] | None = None) -> list[Seen]:
    """The requests in these pieces, after which the reader is between two."""
    listener = Listener(known).receive(pieces)
    assert listener.reader.between
    return listener.requests


def parsed(raw: bytes) -> Request:
    """The head of a request, which is given whole."""
    return Listener().receive([raw]).heads[0]


# One request


@pytest.mark.parametrize(("raw", "body"), raws("requests.toml", "read"))
def test_a_request_is_what_it_says_wherever_it_is_split(raw: bytes, body: bytes) -> None:
    method, target = raw.decode().split()[:2]

    known: set[bytes] = set()
    for _ in range(2):  # the second time with the headers known, where they can be
        for pieces in [[raw], single(raw), *([raw[:at], raw[at:]] for at in range(len(raw) + 1))]:
            assert read(pieces, known) == [(method, target, body)]
    for at in range(1, len(raw)):  # cut there, it is no request yet
        listener = Listener({BLOCK}).receive([raw[:at]])
        assert listener.requests == []
        assert listener.reader.between == (raw[:at].strip() == b"")


HEADS = raws("requests.toml", "heads")


@pytest.mark.parametrize(("lines", "stays", "expects"), HEADS)
def test_whether_the_client_stays_and_waits_for_a_100(
    lines: bytes, stays: bool, expects: bool
) -> None:
    head = parsed(lines + b"\r\n")
    assert (head.keep_alive, head.expects) == (stays, expects)


def test_headers_are_found_by_lower_case_name_and_joined() -> None:
    head = parsed(b"GET / HTTP/1.0\r\nAcCePt: a\r\nX: \xc3\xa9\xff\r\nACCEPT: b;q=1\r\n\r\n")

    assert head.headers == {"accept": "a, b;q=1", "x": "é\udcff"}


# What is refused


REFUSED: list[bytes] = raws("requests.toml", "refused")
AFTER_THE_LAST = b"GET /x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n" + PLAIN


@pytest.mark.parametrize("raw", [*REFUSED, AFTER_THE_LAST])
def test_what_is_no_request_is_refused_wherever_it_is_split(raw: bytes) -> None:
    for known in (set(), {BLOCK, OTHER_BLOCK}):
        for pieces in ([PLAIN + raw], single(PLAIN + raw)):
            listener = Listener(known)
            with pytest.raises(BadMessage):
                listener.receive(pieces)
            assert listener.requests == [("GET", "/x", b"")] * (1 + raw.endswith(PLAIN))


@pytest.mark.parametrize(
    "raw", [b"GET /%b HTTP/1.1\r\nHost: h\r\n\r\n", b"GET / HTTP/1.1\r\nHost: h\r\nX: %b\r\n\r\n"]
)
def test_target_names_and_values_have_a_limit_that_can_be_reached(raw: bytes) -> None:
    within = raw % (b"x" * (requests.MAX_HEAD_BYTES - len("/Hosth") - raw.count(b"X")))
    beyond = within.replace(b"xx", b"xxx", 1)

    # The same wherever it is split, and whatever is known.
    for size in (len(beyond), len(beyond) // 2, 1):
        for known in (set(), {BLOCK}):
            pieces = (within[at : at + size] for at in range(0, len(within), size))
            assert len(read(pieces, known)) == 1
            with pytest.raises(TooLarge, match="longer than 16,384 bytes"):
                read((beyond[at : at + size] for at in range(0, len(beyond), size)), known)


@pytest.mark.parametrize("begin", [b"GET /", b"GET /x HTTP/1.1\r\nHost: h\r\n", CHUNKED + b"0\r\n"])
def test_what_has_no_end_is_refused_before_it_fills_memory(begin: bytes) -> None:
    listener = Listener().receive([begin])

    more = b"x:y\r\n" if begin.endswith(b"\n") else b"xxxxx"
    with pytest.raises(BadMessage, match="longer than"):
        listener.receive([more] * 2 * requests.MAX_HEAD_BYTES)
    assert listener.requests == []


# Plain requests, of which the headers are known


def test_headers_are_parsed_once() -> None:
    known: set[bytes] = set()
    listener = Listener(known)
    listener.receive([PLAIN, PLAIN, PLAIN.replace(b"/x", b"/yz9") * 2])

    assert known == {BLOCK}
    assert listener.plain_ones == 3
    assert [target for _, target, _ in listener.requests] == ["/x", "/x", "/yz9", "/yz9"]


@pytest.mark.parametrize("raw", raws("requests.toml", "unlike_plain"))
def test_only_the_headers_of_a_plain_request_are_known(raw: bytes) -> None:
    known: set[bytes] = set()
    for _ in range(2):
        listener = Listener(known).receive([raw])
        assert (len(listener.requests), listener.plain_ones, known) == (1, 0, set())


NOT_ONE = raws("requests.toml", "not_one")


@pytest.mark.parametrize(
    "data", [*NOT_ONE, b"GET /" + b"x" * requests.MAX_PLAIN_LINE + LINE_END + BLOCK]
)
def test_what_is_not_one_plain_request_has_no_name(data: bytes) -> None:
    assert plain_name(data, {BLOCK}) is None
    names, used = plain_names(data, {BLOCK})
    assert used == len(PLAIN) * len(names)


def test_only_so_many_blocks_are_known() -> None:
    known: set[bytes] = set()
    for number in range(3 * requests.MAX_BLOCKS_KNOWN):
        assert read([b"GET /x HTTP/1.1\r\nHost: h\r\nX: %d\r\n\r\n" % number], known) == [
            ("GET", "/x", b"")
        ]
        assert len(known) <= requests.MAX_BLOCKS_KNOWN


# Any sequence of requests


words = st.text("azAZ09", min_size=1, max_size=4).map(str.encode)
targets = st.one_of(
    words.map(lambda word: b"/" + word),
    st.sampled_from([b"/", b"/a%20b", b"/x?y=z", b"/posts/1", b"*", b"http://h/x"]),
)
blocks = st.sampled_from(
    [b"", b"A: h\r\n", b"A: h\r\nX: GET /x HTTP/1.1\r\n", b"X: \xff\r\n", b"X-Length: 9\r\n"]
)
bodies = st.one_of(st.binary(max_size=12), st.sampled_from([PLAIN, BLOCK, b"\r\n\r\n", b"0\r\n"]))


@st.composite
def any_request(draw: st.DrawFn) -> tuple[bytes, Seen]:
    """A request, as it is sent and as it is read."""
    before = draw(st.sampled_from([b"", b"", b"", b"\r\n"]))
    target, block = draw(targets), draw(blocks)
    shown, body = target.decode("ascii"), draw(bodies)
    kind = draw(st.sampled_from(["plain", "plain", "length", "chunks"]))
    if kind == "plain":
        method = draw(st.sampled_from(["GET", "GET", "HEAD", "DELETE"]))
        block += draw(st.sampled_from([b"", b"Upgrade: a\r\nConnection: upgrade\r\n"]))
        raw = b"%b %b HTTP/1.1\r\nHost: h\r\n%b\r\n" % (method.encode(), target, block)
        return before + raw, (method, shown, b"")
    head = b"POST %b HTTP/1.1\r\nHost: h\r\n%b" % (target, block)
    asked = ("POST", shown, body[: KEPT + 1])
    if kind == "length":
        return before + head + b"Content-Length: %d\r\n\r\n" % len(body) + body, asked
    cuts = sorted({0, len(body), *draw(st.lists(st.integers(0, len(body)), max_size=3))})
    pieces = [body[start:end] for start, end in pairwise(cuts)]
    chunks = b"".join(b"%x;e\r\n%b\r\n" % (len(one), one) for one in pieces)
    return before + head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n", asked


sequences = st.lists(any_request(), max_size=6).map(
    lambda many: (b"".join(raw for raw, _ in many), [request for _, request in many])
)


@given(sequences, st.data(), st.booleans())
def test_any_sequence_is_read_wherever_it_is_split(
    sequence: tuple[bytes, list[Seen]], data: st.DataObject, knows: bool
) -> None:
    raw, expected = sequence
    known: set[bytes] = set()
    for _ in range((raw.count(b"HTTP/1.1") + 1) * knows):  # each time one more block is known
        read([raw], known)
    for pieces in ([raw], single(raw), split(raw, data)):
        assert read(pieces, known) == expected


# Bytes that are nearly plain requests.
PARTS = [b"GET /", b"GET ", b"/", b"x", b"Ab9", b" HTTP/1.1\r\n", b"Host: h\r\n", b"\r\n"]
parts = st.one_of(st.sampled_from(PARTS), st.just(PLAIN), st.binary(max_size=3))
nearly = st.lists(parts, max_size=12).map(b"".join)


@given(nearly, st.sets(st.sampled_from([BLOCK, OTHER_BLOCK])))
@example(PLAIN, {BLOCK})
def test_the_short_way_takes_only_what_the_long_way_takes_alike(
    data: bytes, known: set[bytes]
) -> None:
    name = plain_name(data, known)
    names, used = plain_names(data, known)
    assert names[:1] == (names[:1] if name is None else [name])
    at = 0
    for name in names:
        end = data.index(b"\r\n\r\n", at) + 4
        head = parsed(data[at:end])
        assert (head.length, head.keep_alive, head.version) == (0, True, "1.1")
        assert (head.method, head.target) == ("GET", "/" + name.decode("ascii"))
        at = end
    assert used == at


def outcome(pieces: Iterable[bytes], known: set[bytes]) -> tuple[list[Seen], object]:
    """What is read of any bytes, and how the reader stands."""
    listener = Listener(known)
    try:
        listener.receive(pieces)
    except BadMessage:
        return listener.requests, "refused"
    return listener.requests, listener.reader.between


@given(nearly, nearly | st.binary(max_size=300), st.data())
def test_what_was_learnt_and_where_it_is_split_change_nothing_of_garbage(
    before: bytes, garbage: bytes, data: st.DataObject
) -> None:
    known = {BLOCK}
    outcome([before], known)
    whole = outcome([PLAIN + garbage], set())
    assert whole[0][0] == ("GET", "/x", b"")
    for blocks in (set(), {BLOCK}, known):
        assert outcome(split(PLAIN + garbage, data), set(blocks)) == whole
