"""The reader of requests: what each is, wherever the bytes are split, and what it refuses."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from labkit.measured.http_framing import BadMessage
from labkit.measured.targets.http.requests import (
    MAX_BLOCKS_KNOWN,
    MAX_HEAD_BYTES,
    RequestHead,
    RequestReader,
    plain_name,
    plain_names,
)

PLAIN = b"GET /x HTTP/1.1\r\nHost: h\r\n\r\n"
BLOCK = PLAIN[6:]
CHUNKED = b"POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
KEPT = 8

Request = tuple[str, str, bytes]


class Told:
    """A listener that keeps what it is told; of bodies it wants the first `KEPT` bytes."""

    def __init__(self, known: set[bytes] | None = None) -> None:
        self.requests: list[Request] = []
        self.heads: list[RequestHead] = []
        self.plain_ones = 0
        self.reader = RequestReader(self, set() if known is None else known)

    def plain_received(self, name: bytes) -> None:
        self.plain_ones += 1
        self.requests.append(("GET", "/" + name.decode("ascii"), b""))

    def head_received(self, head: RequestHead) -> int:
        self.heads.append(head)
        return KEPT

    def request_received(self, head: RequestHead, body: bytes) -> None:
        assert head == self.heads[-1]
        self.requests.append((head.method, head.target, body))

    def receive(self, pieces: Iterable[bytes]) -> None:
        for piece in pieces:
            self.reader.receive(piece)


def parsed(raw: bytes) -> RequestHead:
    """The head of a request, which is given whole."""
    told = Told()
    told.receive([raw])
    return told.heads[0]


def read(pieces: Iterable[bytes], known: set[bytes] | None = None) -> list[Request]:
    """The requests in these pieces, after which the reader is between two."""
    told = Told(known)
    told.receive(pieces)
    assert told.reader.between
    return told.requests


def single(data: bytes) -> Iterator[bytes]:
    """Its bytes, one at a time."""
    return (data[at : at + 1] for at in range(len(data)))


def halves(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Every way to split it in two, one of them empty at the ends."""
    return ((data[:at], data[at:]) for at in range(len(data) + 1))


# One request


REQUESTS: dict[str, tuple[bytes, Request]] = {
    "plain": (PLAIN, ("GET", "/x", b"")),
    "without headers": (b"GET /x HTTP/1.1\r\n\r\n", ("GET", "/x", b"")),
    "after an empty line": (b"\r\n" + PLAIN, ("GET", "/x", b"")),
    "after several": (b"\r\n\r\n" + PLAIN, ("GET", "/x", b"")),
    "1.0": (b"GET /x HTTP/1.0\r\n\r\n", ("GET", "/x", b"")),
    "the last": (b"GET /x HTTP/1.1\r\nConnection: close\r\n\r\n", ("GET", "/x", b"")),
    "HEAD": (b"HEAD /x HTTP/1.1\r\n\r\n", ("HEAD", "/x", b"")),
    "a target with all there is": (
        b"GET /a%20b/c;d=1?e=f&g HTTP/1.1\r\n\r\n",
        ("GET", "/a%20b/c;d=1?e=f&g", b""),
    ),
    "a whole URL": (b"GET http://h:1/x HTTP/1.1\r\n\r\n", ("GET", "http://h:1/x", b"")),
    "of the server": (b"OPTIONS * HTTP/1.1\r\n\r\n", ("OPTIONS", "*", b"")),
    "an offer of another protocol": (
        b"GET /x HTTP/1.1\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n",
        ("GET", "/x", b""),
    ),
    "for a tunnel": (b"CONNECT h:1 HTTP/1.1\r\n\r\n", ("CONNECT", "h:1", b"")),
    "a length": (
        b"POST /echo HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc",
        ("POST", "/echo", b"abc"),
    ),
    "spaces around a length": (
        b"POST /echo HTTP/1.1\r\nContent-Length: \t3 \t\r\n\r\nabc",
        ("POST", "/echo", b"abc"),
    ),
    "a length of nothing": (
        b"POST /echo HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
        ("POST", "/echo", b""),
    ),
    "a GET with a body": (
        b"GET /x HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc",
        ("GET", "/x", b"abc"),
    ),
    "as much as is kept": (
        b"POST /echo HTTP/1.1\r\nContent-Length: 8\r\n\r\n01234567",
        ("POST", "/echo", b"01234567"),
    ),
    "more than is kept": (
        b"POST /echo HTTP/1.1\r\nContent-Length: 20\r\n\r\n" + b"0123456789" * 2,
        ("POST", "/echo", b"012345678"),
    ),
    "chunks": (CHUNKED + b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", ("POST", "/echo", b"abcde")),
    "chunks with all there is": (
        CHUNKED + b'3;a\r\nabc\r\n1;b="c"\r\nd\r\n0;last\r\nX: y\r\n\r\n',
        ("POST", "/echo", b"abcd"),
    ),
    "more chunks than are kept": (
        CHUNKED + b"5\r\n01234\r\n" * 5 + b"0\r\n\r\n",
        ("POST", "/echo", b"012340123"),
    ),
    "a body that is a request": (
        b"POST /echo HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(PLAIN) + PLAIN,
        ("POST", "/echo", PLAIN[: KEPT + 1]),
    ),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_a_request_is_what_it_says_wherever_it_is_split(name: str) -> None:
    raw, expected = REQUESTS[name]

    known: set[bytes] = set()
    for _ in range(2):  # the second time with the headers known, where they can be
        assert read([raw], known) == [expected]
        assert read(single(raw), known) == [expected]
        for pair in halves(raw):
            assert read(pair) == read(pair, known) == [expected]


def test_requests_are_told_in_the_order_in_which_they_came() -> None:
    stay = [REQUESTS[name] for name in REQUESTS if name not in ("1.0", "the last")]
    raw = b"".join(raw for raw, _ in stay) + PLAIN * 3
    expected = [request for _, request in stay] + [("GET", "/x", b"")] * 3

    for known in (set(), {BLOCK}):
        assert read([raw], known) == read(single(raw), known) == expected


@pytest.mark.parametrize("name", REQUESTS)
def test_a_request_that_is_cut_anywhere_is_not_told(name: str) -> None:
    raw, _ = REQUESTS[name]

    for at in range(1, len(raw)):
        told = Told({BLOCK})
        told.receive([raw[:at]])
        assert told.requests == []
        assert told.reader.between == (raw[:at].strip() == b"")


@pytest.mark.parametrize(
    ("lines", "stays"),
    [
        (b"GET /x HTTP/1.1\r\n", True),
        (b"GET /x HTTP/1.1\r\nConnection: keep-alive\r\n", True),
        (b"GET /x HTTP/1.1\r\nConnection: x, Close\r\n", False),
        (b"GET /x HTTP/1.0\r\n", False),
        (b"GET /x HTTP/1.0\r\nConnection: Keep-Alive\r\n", True),
    ],
)
def test_whether_the_client_stays(lines: bytes, stays: bool) -> None:
    assert parsed(lines + b"\r\n").keep_alive == stays


@pytest.mark.parametrize(
    ("lines", "expects"),
    [
        (b"POST /echo HTTP/1.1\r\nExpect: 100-Continue\r\nContent-Length: 1\r\n", True),
        (b"POST /echo HTTP/1.1\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n", True),
        (b"POST /echo HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 0\r\n", False),
        (b"POST /echo HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n", False),
        (b"POST /echo HTTP/1.1\r\nExpect: a miracle\r\nContent-Length: 1\r\n", False),
        (b"POST /echo HTTP/1.1\r\nContent-Length: 1\r\n", False),
    ],
)
def test_whether_the_client_waits_to_be_told(lines: bytes, expects: bool) -> None:
    assert parsed(lines + b"\r\n").expects == expects


def test_headers_are_found_by_lower_case_name_and_joined() -> None:
    head = parsed(b"GET / HTTP/1.1\r\nAcCePt: a\r\nX: \xc3\xa9\xff\r\nACCEPT: b;q=1\r\n\r\n")

    assert head.headers == {"accept": "a, b;q=1", "x": "é\udcff"}


# What is refused


REFUSED = {
    "nothing of HTTP": b"nonsense\r\n\r\n",
    "an answer": b"HTTP/1.1 200 OK\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "no version": b"GET /x\r\n\r\n",
    "an old version": b"GET /x HTTP/0.9\r\n\r\n",
    "a later version": b"GET /x HTTP/2.0\r\n\r\n",
    "the preface of a later version": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a version of another protocol": b"GET /x HTTQ/1.1\r\n\r\n",
    "a method that nobody knows": b"FETCH /x HTTP/1.1\r\n\r\n",
    "no method": b"/x HTTP/1.1\r\n\r\n",
    "no target": b"GET HTTP/1.1\r\n\r\n",
    "a space in the target": b"GET /a b HTTP/1.1\r\n\r\n",
    "a space after the version": b"GET /a HTTP/1.1 \r\n\r\n",
    "a target above ASCII": b"GET /\xff HTTP/1.1\r\n\r\n",
    "a NUL in the target": b"GET /\x00 HTTP/1.1\r\n\r\n",
    "lines that end in LF": b"GET /x HTTP/1.1\nHost: h\n\r\n\r\n",
    "a head that ends in LF": b"GET /x HTTP/1.1\r\n\nGET /y HTTP/1.1\r\n\r\n",
    "a header without a colon": b"GET /x HTTP/1.1\r\nHost\r\n\r\n",
    "a header without a name": b"GET /x HTTP/1.1\r\n: h\r\n\r\n",
    "a space before the colon": b"GET /x HTTP/1.1\r\nHost : h\r\n\r\n",
    "a folded line": b"GET /x HTTP/1.1\r\nX: a\r\n b\r\n\r\n",
    "a NUL in a header": b"GET /x HTTP/1.1\r\nX: \x00\r\n\r\n",
    "a lone CR in a header": b"GET /x HTTP/1.1\r\nX: a\rb\r\n\r\n",
    "two lengths": b"POST /x HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "a length that is no number": b"POST /x HTTP/1.1\r\nContent-Length: 1x\r\n\r\na",
    "a length below nothing": b"POST /x HTTP/1.1\r\nContent-Length: -1\r\n\r\na",
    "a length with a sign": b"POST /x HTTP/1.1\r\nContent-Length: +1\r\n\r\na",
    "a length without end": b"POST /x HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
    "a length and chunks": b"POST /x HTTP/1.1\r\nContent-Length: 1\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks and a length": b"POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n"
    b"Content-Length: 1\r\n\r\n0\r\n\r\n",
    "a coding that is not chunked": b"POST /x HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n",
    "a coding after chunked": b"POST /x HTTP/1.1\r\nTransfer-Encoding: chunked, gzip\r\n\r\n",
    "no size of a chunk": CHUNKED + b"\r\n\r\n",
    "a size of a chunk that is none": CHUNKED + b"g\r\n",
    "a size of a chunk without end": CHUNKED + b"f" * 17 + b"\r\n",
    "a chunk longer than it says": CHUNKED + b"1\r\nab\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_request_is_refused_wherever_it_is_split(name: str) -> None:
    raw = REFUSED[name]

    for known in (set(), {BLOCK, b" HTTP/1.1\r\n\r\n"}):
        for pieces in ([PLAIN + raw], single(PLAIN + raw)):
            told = Told(known)
            with pytest.raises(BadMessage):
                told.receive(pieces)
            assert told.requests == [("GET", "/x", b"")]


def test_what_follows_the_last_request_is_refused() -> None:
    told = Told()
    with pytest.raises(BadMessage):
        told.receive([PLAIN.replace(b"h\r\n", b"h\r\nConnection: close\r\n") + PLAIN])
    assert told.requests == [("GET", "/x", b"")]


@pytest.mark.parametrize("raw", [b"GET /%b HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\nX: %b\r\n\r\n"])
def test_target_names_and_values_have_a_limit_that_can_be_reached(raw: bytes) -> None:
    within = raw % (b"x" * (MAX_HEAD_BYTES - 1 - raw.count(b"X")))

    for split in (lambda data: [data], halves_of, single):
        assert len(read(split(within))) == 1
        with pytest.raises(BadMessage, match="longer than 16,384 bytes"):
            read(split(within.replace(b"xx", b"xxx", 1)))


def halves_of(data: bytes) -> list[bytes]:
    return [data[: len(data) // 2], data[len(data) // 2 :]]


@pytest.mark.parametrize("begin", [b"GET /", b"GET /x HTTP/1.1\r\n", CHUNKED + b"0\r\n"])
def test_what_has_no_end_is_refused_before_it_fills_memory(begin: bytes) -> None:
    told = Told()
    told.receive([begin])

    with pytest.raises(BadMessage, match="longer than"):
        told.receive([b"x:y\r\n" if begin.endswith(b"\n") else b"xxxxx"] * 2 * MAX_HEAD_BYTES)
    assert told.requests == []


# Plain requests, of which the headers are known


def test_headers_are_parsed_once() -> None:
    known: set[bytes] = set()
    told = Told(known)
    told.receive([PLAIN, PLAIN, PLAIN.replace(b"/x", b"/yz9") * 2])

    assert known == {BLOCK}
    assert told.plain_ones == 3
    assert [target for _, target, _ in told.requests] == ["/x", "/x", "/yz9", "/yz9"]


@pytest.mark.parametrize(
    "raw",
    [
        b"GET /x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
        b"GET /x HTTP/1.1\r\nConnection: close\r\n\r\n",
        b"GET /x HTTP/1.1\r\nContent-Length: 1\r\n\r\na",
        b"GET /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HEAD /x HTTP/1.1\r\nHost: h\r\n\r\n",
        b"\r\n" + PLAIN,
    ],
)
def test_only_the_headers_of_a_plain_request_are_known(raw: bytes) -> None:
    known: set[bytes] = set()
    for _ in range(2):
        told = Told(known)
        told.receive([raw])
        assert (len(told.requests), told.plain_ones, known) == (1, 0, set())


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"GET /x",
        PLAIN[:-1],
        PLAIN + b"G",
        PLAIN * 2,
        b"\r\n" + PLAIN,
        b"HEAD /x" + BLOCK,
        b"GET /" + BLOCK,
        b"GET x" + BLOCK,
        b"GET //x" + BLOCK,
        b"GET /x/y" + BLOCK,
        b"GET /x?y" + BLOCK,
        b"GET /%41" + BLOCK,
        b"GET /\xe9" + BLOCK,
        b"GET /x  HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET /x HTTP/1.1\r\nHost: i\r\n\r\n",
        b"GET /x HTTP/1.1\r\nX: GET /x" + BLOCK,
        BLOCK,
    ],
)
def test_what_is_not_one_plain_request_has_no_name(data: bytes) -> None:
    assert plain_name(data, {BLOCK}) == b""
    names, used = plain_names(data, {BLOCK})
    assert used == len(PLAIN) * len(names)


def test_only_so_many_blocks_are_known() -> None:
    known: set[bytes] = set()
    for number in range(3 * MAX_BLOCKS_KNOWN):
        assert read([b"GET /x HTTP/1.1\r\nX: %d\r\n\r\n" % number], known) == [("GET", "/x", b"")]
        assert len(known) <= MAX_BLOCKS_KNOWN


# Any sequence of requests


words = st.text("azAZ09", min_size=1, max_size=4).map(str.encode)
targets = st.one_of(
    words.map(lambda word: b"/" + word),
    st.sampled_from([b"/", b"/a%20b", b"/x?y=z", b"/posts/1", b"*", b"http://h/x"]),
)
blocks = st.sampled_from(
    [b"", b"Host: h\r\n", b"Host: h\r\nX: GET /x HTTP/1.1\r\n", b"X: \xff\r\n", b"X-Length: 9\r\n"]
)
bodies = st.one_of(st.binary(max_size=12), st.sampled_from([PLAIN, BLOCK, b"\r\n\r\n", b"0\r\n"]))


@st.composite
def requests(draw: st.DrawFn) -> tuple[bytes, Request]:
    """A request, as it is sent and as it is told."""
    before = draw(st.sampled_from([b"", b"", b"", b"\r\n"]))
    target, block = draw(targets), draw(blocks)
    told, body = target.decode("ascii"), draw(bodies)
    kind = draw(st.sampled_from(["plain", "plain", "length", "chunks"]))
    if kind == "plain":
        method = draw(st.sampled_from(["GET", "GET", "HEAD", "DELETE"]))
        raw = b"%b %b HTTP/1.1\r\n%b\r\n" % (method.encode(), target, block)
        return before + raw, (method, told, b"")
    head = b"POST %b HTTP/1.1\r\n%b" % (target, block)
    asked = ("POST", told, body[: KEPT + 1])
    if kind == "length":
        return before + head + b"Content-Length: %d\r\n\r\n" % len(body) + body, asked
    cuts = sorted({0, len(body), *draw(st.lists(st.integers(0, len(body)), max_size=3))})
    pieces = [body[start:end] for start, end in pairwise(cuts)]
    chunks = b"".join(b"%x;e\r\n%b\r\n" % (len(one), one) for one in pieces)
    return before + head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n", asked


sequences = st.lists(requests(), max_size=6).map(
    lambda many: (b"".join(raw for raw, _ in many), [request for _, request in many])
)


def known_from(raw: bytes) -> set[bytes]:
    """Every header block in these requests that can be known."""
    known: set[bytes] = set()
    for _ in range(raw.count(b"HTTP/1.1") + 1):  # each time the first that is not known yet
        read([raw], known)
    return known


@given(sequences, st.booleans())
def test_any_sequence_is_read_one_byte_at_a_time(
    sequence: tuple[bytes, list[Request]], knows: bool
) -> None:
    raw, expected = sequence
    known = known_from(raw) if knows else set()

    assert read([raw], known) == expected
    assert read(single(raw), known) == expected


@given(sequences, st.data(), st.booleans())
def test_any_sequence_is_read_wherever_it_is_split(
    sequence: tuple[bytes, list[Request]], data: st.DataObject, knows: bool
) -> None:
    raw, expected = sequence
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=8)))
    pieces = [raw[start:end] for start, end in pairwise([0, *cuts, len(raw)])]

    assert read(pieces, known_from(raw) if knows else set()) == expected


# Bytes that are nearly plain requests.
nearly = st.lists(
    st.one_of(
        st.sampled_from(
            [b"GET /", b"GET ", b"/", b"x", b"Ab9", b" HTTP/1.1\r\n", b"Host: h\r\n", b"\r\n"]
        ),
        st.just(PLAIN),
        st.binary(max_size=3),
    ),
    max_size=12,
).map(b"".join)


@given(nearly, st.sets(st.sampled_from([BLOCK, b" HTTP/1.1\r\n\r\n"])))
@example(PLAIN, {BLOCK})
def test_the_short_way_takes_only_what_the_long_way_takes_alike(
    data: bytes, known: set[bytes]
) -> None:
    if name := plain_name(data, known):
        assert_plain(data, name)
    names, at = plain_names(data, known)
    assert names[:1] == ([name] if name else names[:1])
    ends = [0]
    for name in names:
        ends.append(data.index(b"\r\n\r\n", ends[-1]) + 4)
        assert_plain(data[ends[-2] : ends[-1]], name)
    assert ends[-1] == at


def assert_plain(raw: bytes, name: bytes) -> None:
    head = parsed(raw)
    assert head.is_plain
    assert (head.method, head.target) == ("GET", "/" + name.decode("ascii"))


@given(nearly, nearly)
def test_what_was_learnt_changes_nothing_that_is_told(before: bytes, data: bytes) -> None:
    known: set[bytes] = set()
    outcome(before, known)

    assert outcome(data, set(known)) == outcome(data, set())


def outcome(data: bytes, known: set[bytes]) -> tuple[list[Request], str]:
    """What is told of any bytes, and why no more."""
    told = Told(known)
    try:
        told.reader.receive(data)
    except BadMessage as error:
        return told.requests, str(error)
    return told.requests, "between" if told.reader.between else "within"


@given(st.binary(max_size=300), st.booleans())
def test_garbage_is_read_or_refused_and_nothing_else(garbage: bytes, knows: bool) -> None:
    told, _ = outcome(PLAIN + garbage, {BLOCK} if knows else set())

    assert told[0] == ("GET", "/x", b"")
