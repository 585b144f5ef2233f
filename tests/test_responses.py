"""The reader of responses: what each is, wherever the bytes are split, and what it refuses."""

import tomllib
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted import CHUNKED, CONTINUE, answer, single, split

from labkit.measured.http_framing import BadMessage
from labkit.measured.transports.responses import (
    MAX_HEADS_KNOWN,
    HeadReader,
    Known,
    ResponseHead,
    ResponseReader,
)
from labkit.measured.transports.responses import Answer as Whole

OK = b"HTTP/1.1 200 OK\r\n"
HELLO = OK + b"Content-Length: 5\r\n\r\nhello"
EMPTY = b"HTTP/1.1 204 No Content\r\n\r\n"
MAX_HEAD, MAX_BODY = 200, 1000

Answer = tuple[int, bytes, bool]


class Read:
    """A reader with the limits of these tests, and the `answers` that it passed on."""

    def __init__(self, known: Known | None = None) -> None:
        self.answers: list[Answer] = []
        self.reader = ResponseReader(
            lambda head, body: self.answers.append((head.status, body, head.keep_alive)),
            max_head_bytes=MAX_HEAD,
            max_body_bytes=MAX_BODY,
            known=known,
        )

    def receive(self, pieces: Iterable[bytes]) -> None:
        for piece in pieces:
            self.reader.receive(piece)


def read(pieces: Iterable[bytes], known: Known | None = None) -> list[Answer]:
    """Return the answers in these pieces, after which the server sends no more."""
    read = Read(known)
    read.receive(pieces)
    read.reader.end()
    return read.answers


def without_status(answers: Iterable[Answer]) -> list[Answer]:
    """Return the answers with 200 in place of the status of each success."""
    return [(200 if status < 300 else status, *rest) for status, *rest in answers]


def read_short(pieces: Iterable[bytes], learnt: bytes) -> list[Answer]:
    """Read as `read` does, each plain answer the short way."""
    read = Read()
    read.receive([learnt])
    read.answers.clear()
    for piece in pieces:
        found = read.reader.plain_answer(piece)
        if found is None:
            read.reader.receive(piece)
        else:
            read.answers.append((found.status, found.body, True))
    read.reader.end()
    return without_status(read.answers)


def halves(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Return every way to split it in two, one of them empty at the ends."""
    return ((data[:at], data[at:]) for at in range(len(data) + 1))


# One answer


FOUND = tomllib.loads(Path(__file__).with_name("responses.toml").read_text())
ANSWERS: dict[str, tuple[bytes, Answer]] = {
    name: (raw.encode("latin-1"), (status, body.encode("latin-1"), stays))
    for name, (raw, status, body, stays) in FOUND["answers"].items()
}


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_is_what_it_says_wherever_it_is_split(name: str) -> None:
    raw, expected = ANSWERS[name]

    known = Known()
    for _ in range(2):  # the second time with the head known, where it can be
        assert read([raw], known=known) == [expected]
        assert read(single(raw), known=known) == [expected]
        for pair in halves(raw):
            assert read(pair) == read(pair, known=known) == [expected]


def test_an_answer_to_a_head_ends_with_its_head_wherever_it_is_split() -> None:
    large = OK + b"Content-Length: %d\r\n\r\n" % (MAX_BODY + 1)
    chunked = OK + b"Transfer-Encoding: chunked\r\n\r\n"
    raw = b"".join([HELLO, CONTINUE, large, chunked, HELLO, EMPTY, HELLO])
    for those in [*halves(raw), list(single(raw))]:
        answers, sent = list[tuple[int, bytes]](), list[bytes]()
        limits = {"max_head_bytes": MAX_HEAD, "max_body_bytes": MAX_BODY}
        reader = HeadReader(lambda head, body: answers.append((head.status, body)), **limits)  # noqa: B023
        write = reader.noting(sent.append)
        for method in (b"GET", b"HEAD", b"HEAD", b"GET", b"HEAD", b"GET"):
            write(method + b" /")
        for piece in those:
            assert reader.plain_answer(piece) is None
            reader.receive(piece)
        hello, head = (200, b"hello"), (200, b"")
        assert answers == [hello, head, head, hello, (204, b""), hello]
        assert (len(sent), reader.between) == (6, True)


def test_nothing_is_no_answer() -> None:
    assert read([]) == read([b"", b""]) == read([CONTINUE]) == []


def test_the_body_of_an_answer_is_read_as_json() -> None:
    assert Whole(200, b'{"n": [1]}').json() == {"n": [1]}


# What is refused


@pytest.mark.parametrize(
    "name", [name for name, (_, found) in ANSWERS.items() if found[2] and "1xx" not in name]
)
def test_an_answer_that_is_cut_anywhere_is_refused(name: str) -> None:
    raw, _ = ANSWERS[name]

    for at in range(1 + len(raw) - len(raw.lstrip()), len(raw)):
        begun = Read()
        begun.reader.receive(raw[:at])
        with pytest.raises(BadMessage):
            begun.reader.end()
        assert begun.answers == []


@pytest.mark.parametrize("name", FOUND["refused"])
def test_what_is_no_answer_is_refused_wherever_it_is_split(name: str) -> None:
    raw = FOUND["refused"][name].encode("latin-1")

    for before in (b"", HELLO):
        for pieces in ([before + raw], single(before + raw)):
            begun = Read()
            with pytest.raises(BadMessage):
                begun.receive(pieces)
            assert len(begun.answers) == bool(before)


def padded(over: int, before: int = 0) -> bytes:
    """A header that brings names and values up to the limit."""
    return b"X: " + b"x" * (MAX_HEAD - 1 - before + over) + b"\r\n\r\n"


LIMITED = {
    "the head": lambda over: EMPTY[:-2] + padded(over),
    "the head of 1xx": lambda over: CONTINUE[:-2] + padded(over) + EMPTY,
    "a body with a length": lambda over: answer("x" * (MAX_BODY + over)),
    "a body in chunks": lambda over: (
        CHUNKED + b"%x\r\n" % (MAX_BODY - 1) + b"x" * (MAX_BODY - 1) + b"\r\n"
        b"%x\r\n" % (1 + over) + b"x" * (1 + over) + b"\r\n0\r\n\r\n"
    ),
    "a body until the end": lambda over: OK + b"\r\n" + b"x" * (MAX_BODY + over),
    "head and trailer": lambda over: CHUNKED + b"0\r\n" + padded(over, before=24),
    "long lines": lambda over: CHUNKED + b"0\r\n" + b"a:%99b\r\n" % b"" * 9 + padded(over, 33),
}  # fmt: skip


@pytest.mark.parametrize("name", LIMITED)
def test_a_limit_is_kept_and_can_be_reached(name: str) -> None:
    within, above = LIMITED[name](0), LIMITED[name](1)

    for pieces in (lambda data: [data], single):
        assert len(read(pieces(within))) == 1
        with pytest.raises(BadMessage, match=r"longer than [\d,]+ bytes"):
            read(pieces(above))


def test_a_length_above_the_limit_is_refused_before_the_body_unless_there_is_none() -> None:
    length = b"Content-Length: %d\r\n\r\n" % (MAX_BODY + 1)
    with pytest.raises(BadMessage, match="the body is longer than 1,000 bytes"):
        Read().reader.receive(OK + length)
    for status in (b"204", b"304"):
        assert read([OK.replace(b"200", status) + length]) == [(int(status), b"", True)]


@pytest.mark.parametrize("begin", [OK, CHUNKED + b"0\r\n", CHUNKED + b"0;"])
def test_what_has_no_end_is_refused_before_it_fills_memory(begin: bytes) -> None:
    begun = Read()
    begun.reader.receive(begin)

    with pytest.raises(BadMessage, match="longer than"):
        begun.receive([b"xyz" if begin.endswith(b";") else b"x: y\r\n"] * 1000)
    assert begun.answers == []


# Heads that are known


def test_a_head_is_parsed_once() -> None:
    known = Known()
    read([HELLO, EMPTY, HELLO], known=known)

    hello = ResponseHead(200, 5, True, ((b"Content-Length", b"5"),))
    assert known.heads == {HELLO[:-5]: hello, EMPTY: ResponseHead(204, 0, True)}


@pytest.mark.parametrize("raw", [CHUNKED + b"0\r\n\r\n", OK + b"\r\n", CONTINUE])
def test_a_head_that_does_not_say_where_the_next_begins_is_not_kept(raw: bytes) -> None:
    known = Known()
    read([raw], known=known)

    assert known.heads == {}


def test_a_trailer_says_nothing_of_the_framing() -> None:
    known = Known()
    begun = Read(known)
    begun.reader.receive(CHUNKED + b"1\r\na\r\n0\r\nTransfer-Encoding: x\r\n")
    with pytest.raises(BadMessage):
        begun.reader.end()
    begun.reader.receive(b"\r\n")
    assert (begun.answers, known.heads) == ([(200, b"a", True)], {})


def test_a_body_that_is_a_known_answer_is_a_body() -> None:
    known = known_from(HELLO)
    assert read([OK + b"Content-Length: %d\r\n\r\n" % len(HELLO), HELLO], known=known) == [
        (200, HELLO, True)
    ]


def test_so_many_informational_responses_come_before_an_answer() -> None:
    assert read([(CONTINUE * 32 + HELLO) * 2]) == [(200, b"hello", True)] * 2
    with pytest.raises(BadMessage, match="more than 32 informational responses"):
        read([CONTINUE * 33])


def test_only_so_many_heads_are_known() -> None:
    known = Known()
    begun = Read(known)
    for number in range(3 * MAX_HEADS_KNOWN):
        begun.receive([OK + b"X: %d\r\nContent-Length: 1\r\n\r\nx" % number])
        assert len(known.heads) == len(known.plain) <= MAX_HEADS_KNOWN
    assert begun.answers == [(200, b"x", True)] * 3 * MAX_HEADS_KNOWN


def test_readers_share_what_they_know_and_nothing_else() -> None:
    known = Known()
    first, second = Read(known=known), Read(known=known)
    first.reader.receive(HELLO[:-2])
    second.reader.receive(HELLO + HELLO[:20])
    first.reader.receive(b"LO")
    second.reader.receive(HELLO[20:])

    assert first.answers == [(200, b"helLO", True)]
    assert second.answers == [(200, b"hello", True)] * 2


# Any sequence of answers


names = st.sampled_from([b"X", b"Date", b"Server", b"X-Content-Length"])
values = st.sampled_from([b"", b"1", b"200 OK", b"HTTP/1.1 200 OK", b"chunked"])
others = st.lists(st.tuples(names, values), max_size=2).map(
    lambda pairs: b"".join(b"%b: %b\r\n" % pair for pair in pairs)
)
# Bodies that look like heads and chunks themselves.
bodies = st.one_of(
    st.binary(max_size=12),
    st.sampled_from([HELLO, EMPTY, CONTINUE, b"\r\n\r\n", b"0\r\n\r\n", b"\r", b"\n\r\n"]),
)


@st.composite
def responses(draw: st.DrawFn) -> tuple[bytes, Answer]:
    """One answer after which the connection stays, and what it is."""
    before = draw(st.sampled_from([b"", b"", CONTINUE, CONTINUE * 2, b"\r\n"]))
    head, body = OK + draw(others), draw(bodies)
    kind = draw(st.sampled_from(["length", "chunks", "none"]))
    if kind == "length":
        return before + head + b"Content-Length: %d\r\n\r\n" % len(body) + body, (200, body, True)
    if kind == "none":
        status = draw(st.sampled_from([204, 304]))
        head = head.replace(b"200", b"%d" % status, 1)
        return before + head + b"Content-Length: 9\r\n\r\n", (status, b"", True)
    cuts = sorted({0, len(body), *draw(st.lists(st.integers(0, len(body)), max_size=3))})
    pieces = [body[start:end] for start, end in pairwise(cuts)]
    extension = draw(st.sampled_from([b"", b";a", b';b="c"']))
    chunks = b"".join(b"%x%b\r\n%b\r\n" % (len(one), extension, one) for one in pieces)
    end = b"0%b\r\n%b\r\n" % (extension, draw(others))
    return before + head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + end, (200, body, True)


sequences = st.lists(responses(), max_size=6).map(
    lambda many: (b"".join(raw for raw, _ in many), [answer for _, answer in many])
)


def known_from(raw: bytes) -> Known:
    """Every head in these answers that can be known."""
    known = Known()
    for _ in range(raw.count(b"HTTP/1.1") + 1):  # each time the first that is not known yet
        read([raw], known=known)
    return known


@given(sequences, st.none() | st.binary(max_size=30), st.data(), st.booleans())
def test_any_sequence_is_read_wherever_it_is_split(
    sequence: tuple[bytes, list[Answer]], last: bytes | None, data: st.DataObject, knows: bool
) -> None:
    raw, expected = sequence
    if last is not None:  # it lasts until the end
        raw, expected = raw + OK + b"\r\n" + last, [*expected, (200, last, False)]
    for pieces in ([raw], single(raw), split(raw, data)):
        assert read(pieces, known=known_from(raw) if knows else None) == expected


@given(sequences, st.data())
def test_what_was_whole_is_told_before_what_is_not_is_refused(
    sequence: tuple[bytes, list[Answer]], data: st.DataObject
) -> None:
    raw, expected = sequence
    cut = raw[: data.draw(st.integers(0, len(raw)))]
    begun = Read()
    begun.reader.receive(cut)
    told = list(begun.answers)
    assert told == expected[: len(told)]
    try:
        begun.reader.end()
    except BadMessage:
        assert len(told) < len(expected)
    assert begun.answers == told


# Bytes that are nearly answers.
PARTS = [
    OK,
    CHUNKED,
    CONTINUE,
    HELLO,
    EMPTY,
    HELLO[len(OK) : -5],
    b"3;a=b\r\nabc\r\n",
    b"0\r\n",
    b"\r\n",
]
nearly = st.lists(st.sampled_from(PARTS) | st.binary(max_size=3), max_size=12).map(b"".join)


@given(nearly | st.binary(max_size=300), st.data())
def test_garbage_is_read_or_refused_alike_wherever_it_is_split(
    garbage: bytes, data: st.DataObject
) -> None:
    def outcome(pieces: Iterable[bytes], known: Known | None) -> list[object]:
        begun = Read(known)
        try:
            begun.receive(pieces)
            begun.reader.end()
        except BadMessage:
            return [*begun.answers, "refused"]
        return [*begun.answers]

    whole = outcome([HELLO + garbage], None)
    assert whole[0] == (200, b"hello", True)
    for known in (None, known_from(HELLO + EMPTY)):
        assert outcome(split(HELLO + garbage, data), known) == whole


# The short way, for one plain answer


def test_a_plain_answer_with_a_known_head_is_told_at_once() -> None:
    read = Read()
    assert read.reader.plain_answer(HELLO) is None
    assert read.reader.noting(print) is print
    read.receive([HELLO])

    found = read.reader.plain_answer(HELLO[:-1] + b"O")
    assert found == Whole(200, b"hellO", ((b"Content-Length", b"5"),))
    assert found.headers["content-length"] == "5"
    assert read.reader.plain_answer(HELLO[:-1] + b"O") is found
    assert read.reader.plain_answer(HELLO) == Whole(200, b"hello", found.fields)
    for other in (b"", HELLO[:-1], HELLO + b"x", HELLO * 2, HELLO.replace(b"200", b"500"), EMPTY):
        assert read.reader.plain_answer(other) is None
    assert len(read.answers) == 1
    read.receive([HELLO.replace(b"200", b"300")])
    assert read.reader.plain_answer(HELLO.replace(b"200", b"300")) is None


@pytest.mark.parametrize("cut", range(len(HELLO)))
def test_a_part_of_an_answer_is_no_answer(cut: int) -> None:
    assert read_short([HELLO[:cut], HELLO[cut:]], HELLO) == [(200, b"hello", True)]


@given(sequences, sequences, st.data())
def test_what_is_known_of_others_and_the_short_way_change_nothing(
    one: tuple[bytes, list[Answer]], other: tuple[bytes, list[Answer]], data: st.DataObject
) -> None:
    known = Known()
    for raw, expected in (one, other, one):
        assert read([raw], known=known) == expected
        # Twice: what comes again is compared with what came last.
        assert read_short([*split(raw, data)] * 2, raw) == without_status(expected * 2)
