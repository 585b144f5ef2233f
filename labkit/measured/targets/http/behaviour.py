"""What the synthetic server answers: a pure function of the request and of the server's settings.

No clock, no sockets, no event loop: `protocol` asks here and sends what it gets. Nothing but the
targets that `refuse_once` refused is remembered from request to request. A route that depends on
the request alone is a function, one that depends on the settings a method. Each takes the last
segment of the path and the request; a value that is not allowed raises `BadInput`, which becomes a
400. What the server counts is in `engine`.
"""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal
from urllib.parse import parse_qsl

import msgspec
from msgspec import Meta

from labkit.errors import BadInput
from labkit.measured.targets.http import documents, messages
from labkit.measured.targets.http.messages import BROKEN, Answer, Chunks
from labkit.measured.targets.http.requests import Request
from labkit.spec import delays, validation
from labkit.spec.targets import HttpServer
from labkit.spec.validation import Bytes, ShortSeconds

STATS, LOG = "/-/stats", "/-/log"
# Statuses that never have a body (RFC 9110, sections 15.3.5, 15.3.6 and 15.4.5).
EMPTY = frozenset({204, 205, 304})
DEFAULT_CHUNK = 8_192
FAULTS = (*sorted(BROKEN), "stall", "drip", "error_rate", "refuse_once")
# Targets that were refused and not yet asked for again; beyond these all are forgotten.
MAX_REFUSED = 100_000

ChunkBytes = Annotated[int, Meta(ge=1, le=1 << 20)]
Probability = Annotated[float, Meta(ge=0, le=1)]
Rate = Annotated[int, Meta(ge=1, le=1 << 40)]
Records = Annotated[int, Meta(ge=0, le=documents.MAX_RECORDS)]
Seconds = Annotated[float, Meta(ge=0, le=int(delays.MAX_DELAY_S))]
Redirects = Annotated[int, Meta(ge=0, le=100)]
Status = Annotated[int, Meta(ge=200, le=599)]
Times = Annotated[int, Meta(ge=0, le=documents.MAX_TIMES)]
Route = Callable[[str, Request], Answer]

_GET = ("GET", "HEAD")
_DOCUMENTS = ("posts", "users", "comments", "todos")


class Behaviour:
    """The answers of one server. `hello` is the answer to `GET /{name}`, but for its delay.

    `special_names` are no such name: they have a route, or a stall, of their own.
    `fixed_delay_s` is that of all others, None where it depends on the name.
    """

    def __init__(self, settings: HttpServer) -> None:
        self._delay = delays.parse(settings.delay)
        self._seed = settings.seed
        is_fixed = self._delay.kind == "fixed"
        self.fixed_delay_s = self._delay.draw(self._seed, "") if is_fixed else None
        self._stall_at = None if settings.stall_at is None else str(settings.stall_at)
        self._stall_s = settings.stall_s
        most = self.client_max_size = settings.client_max_size
        size = settings.body_bytes
        self.hello = Answer(body=messages.HELLO if size is None else messages.body_of(size))
        why = f"the body is too large: the server's client_max_size is {most:,} bytes"
        self.too_large = messages.text(413, why)
        self._refused: set[str] = set()
        self._one: dict[str, Route] = dict.fromkeys(_DOCUMENTS, _documents)
        self._one |= {"posts": self.posts, "echo": self.echo, "anything": anything}
        # A route has the name of its function; `bytes` is Python's own.
        two = (anything, redirect, self.delay, stream, json, message, status, self.fault)
        self._two: dict[str, Route] = dict.fromkeys(_DOCUMENTS, _document)
        self._two |= {"bytes": body_bytes, **{route.__name__: route for route in two}}
        special = set(self._one) | ({self._stall_at} if self._stall_at is not None else set())
        self.special_names = frozenset(name.encode() for name in special)

    def draw_s(self, name: bytes) -> float:
        """Return the delay in seconds of `GET /{name}`, of letters and digits."""
        fixed_s = self.fixed_delay_s
        return self._delay.draw(self._seed, name.decode("ascii")) if fixed_s is None else fixed_s

    def takes_body(self, method: str, target: str) -> bool:
        """Return whether the answer depends on the request's body; else it need not be kept."""
        segments, _ = messages.split(target)
        posted = method == "POST" and segments in (["echo"], ["posts"])
        return posted or segments[:1] == ["anything"]

    def answer(self, request: Request) -> Answer:
        """Return the answer to any request but those that `asks_for_counters` is true of."""
        segments, _ = messages.split(request.target)
        route: Route | None = None
        if len(segments) == 1:
            route = self._one.get(segments[0], self.greet)
        elif len(segments) == 2 and all(segments):
            route = self._two.get(segments[0])
        if route is None:
            return messages.text(404, documents.tables()["no_route"])
        posts = route == self.posts
        allowed = ("POST",) if route == self.echo else (*_GET, "POST") if posts else _GET
        if request.method not in allowed and route not in (anything, redirect):
            return _not_allowed(allowed)
        try:
            if len(request.body) > self.client_max_size:
                return self.too_large
            answer = route(segments[-1], request)
            if "?" not in request.target:
                return answer
            return msgspec.structs.replace(answer, rate=option(request, "rate", Rate, None))
        except BadInput as error:
            return messages.text(400, str(error))

    def greet(self, name: str, _: Request) -> Answer:
        """Return the greeting after its delay; at one name the whole server stands still first."""
        delay_s = self._delay.draw(self._seed, name)
        stall_s = self._stall_s if name == self._stall_at else 0.0
        return msgspec.structs.replace(self.hello, delay_s=delay_s, stall_s=stall_s)

    def delay(self, text: str, _: Request) -> Answer:
        """Return the greeting after that many seconds."""
        return msgspec.structs.replace(self.hello, delay_s=number("seconds", text, Seconds))

    def echo(self, _: str, request: Request) -> Answer:
        """Return the body that was sent, with its type."""
        content_type = request.headers.get("content-type") or messages.BINARY
        if not (content_type.isascii() and content_type.isprintable()):
            raise BadInput("the content-type header is not printable ASCII: send one that is")
        headers = (("Content-Type", content_type), ("X-Content-Type-Options", "nosniff"))
        return Answer(headers=headers, body=request.body)

    def posts(self, _: str, request: Request) -> Answer:
        """Return all posts; to a POST the object that came, with the number of a new post."""
        if request.method != "POST":
            return _documents("posts", request)
        try:
            post = msgspec.json.decode(request.body, type=dict[str, Any])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise BadInput("the body is no JSON object: send one, as in {}") from None
        post["id"] = len(documents.tables()["posts"]) + 1
        return messages.json(msgspec.json.encode(post), 201)

    def fault(self, kind: str, request: Request) -> Answer:
        """Return the answer of `/fault/{kind}`: each fault does the same every time.

        `error_rate` draws from the seed and the whole target, so that the same request always has
        the same fate: an item's number belongs into its query. `refuse_once` refuses each target,
        answers it when it comes again, and then begins anew.
        """
        if kind not in FAULTS:
            raise BadInput(f"fault is {kind[:40]!r}: it must be one of {', '.join(FAULTS)}")
        if kind == "error_rate":
            share = number("p", query(request, "p") or "", Probability)
            if delays.uniform(self._seed, request.target) < share:
                return messages.text(500, "an error, as error_rate was asked for")
            return Answer(body=messages.HELLO)
        if kind == "refuse_once" and request.target not in self._refused:
            if len(self._refused) >= MAX_REFUSED:
                self._refused.clear()
            self._refused.add(request.target)
            return messages.text(503, "refused once: send it again", (("Retry-After", "0"),))
        self._refused.discard(request.target)
        seconds = option(request, "seconds", ShortSeconds, 1.0)
        if kind in BROKEN:
            return Answer(body=messages.HELLO, fault=kind, fault_s=seconds)
        stall_s = seconds if kind == "stall" else 0.0
        drip_s = seconds if kind == "drip" else None
        return Answer(body=messages.HELLO, stall_s=stall_s, drip_s=drip_s)


def number(field: str, text: str, type_: Any) -> Any:
    """Return the number that `text` writes; raise `BadInput` out of the bounds of `type_`."""
    try:
        return msgspec.convert(text, type_, strict=False)
    except msgspec.ValidationError:
        allowed = validation.allowed(type_)
        raise BadInput(f"{field} is {text[:40]!r}: it must be {allowed}") from None


def query(request: Request, name: str) -> str | None:
    """Return the first value of that name in the query; None where there is none."""
    pairs = parse_qsl(messages.split(request.target)[1], keep_blank_values=True)
    return next((value for key, value in pairs if key == name), None)


def option(request: Request, name: str, type_: Any, default: Any, field: str = "") -> Any:
    """Return the number of that name in the query, `default` where there is none."""
    text = query(request, name)
    return default if text is None else number(field or name, text, type_)


def body_bytes(text: str, _: Request) -> Answer:
    """Return a body of that many bytes, with a Content-Length."""
    body = messages.body_of(number("n", text, Bytes))
    return Answer(headers=(("Content-Type", messages.BINARY),), body=body)


def stream(text: str, request: Request) -> Answer:
    """Return the same bytes, chunked; `?chunk=` is the size of a chunk."""
    size, chunk = number("n", text, Bytes), option(request, "chunk", ChunkBytes, DEFAULT_CHUNK)
    body = Chunks(total_bytes=size, chunk_bytes=chunk, framed=True)
    return Answer(headers=(("Content-Type", messages.BINARY),), body=body)


def json(text: str, request: Request) -> Answer:
    """Return that many records, in the coding that the client prefers or `?encoding=` forces."""
    return _coded(documents.records(number("n", text, Records)), request)


def message(text: str, request: Request) -> Answer:
    """Return one greeting that many times, coded likewise."""
    return _coded(documents.message(number("n", text, Times)), request)


def status(text: str, _: Request) -> Answer:
    """Return that status, with a body that says so where the status may have one."""
    code = number("code", text, Status)
    if code in EMPTY:
        return Answer(status=code, headers=())
    return messages.text(code, f"status {code}")


def anything(_: str, request: Request) -> Answer:
    """Return the request as JSON."""
    return messages.json(messages.shown(request), extra=(("Cache-Control", "no-store"),))


def redirect(text: str, request: Request) -> Answer:
    """Return a redirect, and so on `n` times in all, the last of which leads to `/anything`."""
    left = number("n", text, Redirects)
    code = option(request, "code", Literal[301, 302, 303, 307, 308], 302)
    if not left:
        return anything(text, request)
    to = "/anything" if left == 1 else f"/redirect/{left - 1}?code={code}"
    return messages.text(code, f"see {to}", (("Location", to),))


def asks_for_counters(target: str) -> bool:
    """Return whether a request asks the server about itself (and is not counted itself)."""
    return target.startswith("/-/") and target.partition("?")[0] in (STATS, LOG)


def counters(method: str, counted: Mapping[str, Any]) -> Answer:
    """Return the answer to a request that `asks_for_counters` is true of."""
    if method not in _GET:
        return _not_allowed(_GET)
    return messages.json(msgspec.json.encode(counted), extra=(("Cache-Control", "no-store"),))


def _documents(name: str, _: Request) -> Answer:
    return messages.json(msgspec.json.encode(documents.tables()[name]))


def _document(text: str, request: Request) -> Answer:
    listed = documents.tables()[messages.split(request.target)[0][0]]
    index = number("i", text, int)
    if not 1 <= index <= len(listed):
        return messages.json(b"{}", 404)
    return messages.json(msgspec.json.encode(listed[index - 1]))


def _coded(body: bytes, request: Request) -> Answer:
    vary = (("Vary", "Accept-Encoding"),)
    coding = query(request, "encoding")
    if coding is None:
        coding = documents.negotiate(request.headers.get("accept-encoding"))
    names = ", ".join(documents.CODERS)
    if coding is None:
        sentence = f"the accept-encoding header refuses every coding: accept one of {names}"
        return messages.text(406, sentence, vary)
    coder = documents.CODERS.get(coding)
    if coder is None:
        raise BadInput(f"encoding is {coding[:40]!r}: it must be one of {names}")
    levels = Annotated[int, Meta(ge=coder.levels[0], le=coder.levels[-1])]
    most = max(n for n in coder.levels if coder.may(n, body))
    level = option(request, "level", levels, min(coder.level, most), f"level of {coding}")
    if not coder.may(level, body):
        why = f"{most} at most for {len(body):,} bytes, as the server stands still meanwhile"
        raise BadInput(f"level of {coding} is '{level}': it must be {why}")
    coded = () if coding == documents.IDENTITY else (("Content-Encoding", coding),)
    return messages.json(coder.code(body, level), extra=vary + coded)


def _not_allowed(allowed: tuple[str, ...]) -> Answer:
    sentence = f"the method is not allowed here: use {' or '.join(allowed)}"
    return messages.text(405, sentence, (("Allow", ", ".join(allowed)),))
