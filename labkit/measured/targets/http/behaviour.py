"""What the synthetic server answers: a pure function of the request and of the server's settings.

No clock, no sockets, no event loop, and no engine's types: engines ask here and send what they are
told, so that all of them answer alike. What the server counts is in `stats`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from labkit.errors import BadInput
from labkit.measured.targets.http import faults, messages, routes
from labkit.measured.targets.http.messages import Answer, Request
from labkit.spec import delays, parts, validation

STATS, LOG = "/-/stats", "/-/log"
NO_ROUTE = (
    "no route has this path: there are /{name}, /posts, /posts/{i}, /users, /users/{i}, "
    "/delay/{seconds}, /bytes/{n}, /stream/{n}?chunk=8192, /json/{n}?encoding=gzip&level=6, "
    "/message/{n}, /echo, /status/{code}, /fault/{kind}, /-/stats and /-/log; all but "
    "the last two take ?rate=, in bytes per second"
)
Seconds = Annotated[float, Meta(ge=0, le=int(delays.LONGEST_S))]

_GET = ("GET", "HEAD")
_POST = ("POST",)
_NAMED = frozenset({b"posts", b"users", b"echo"})


class Behaviour:
    """The answers of one server. `hello` is the answer to `GET /{name}`, but for its delay.

    `named` is what is no such name: it has a route, or a stall, of its own.
    """

    def __init__(self, settings: parts.Server) -> None:
        self._delay = delays.parse(settings.delay)
        self._seed = settings.seed
        self._stall = None if settings.stall_at is None else str(settings.stall_at)
        self._stall_s = settings.stall_s
        stalls = set() if self._stall is None else {self._stall.encode()}
        self.named = _NAMED | stalls
        self._named = frozenset({"/", *(f"/{name.decode()}" for name in self.named)})
        self.client_max_size = settings.client_max_size
        size = settings.body_bytes
        self.hello = Answer(body=messages.HELLO if size is None else messages.body_of(size))
        self.too_large = messages.text(
            413,
            "the body is too large: the server's client_max_size is "
            f"{validation.number(self.client_max_size)} bytes",
        )
        self._one: Mapping[str, tuple[routes.Handler, tuple[str, ...]]] = {
            "posts": (routes.all_posts, _GET),
            "users": (routes.all_users, _GET),
            "echo": (self._echo, _POST),
        }
        self._two: Mapping[str, routes.Handler] = {
            **routes.TABLE,
            "delay": self._after,
            "fault": self._fault,
        }

    @property
    def is_at_once(self) -> bool:
        """Whether every `GET /{name}` gets the very same bytes, without any delay."""
        undelayed = self._delay.kind == "fixed" and not self._delay.draw(self._seed, "")
        return undelayed and isinstance(self.hello.body, bytes)

    def hello_delay_s(self, target: str) -> float | None:
        """The delay in seconds where `GET target` surely is `hello`; None: ask `answer`.

        The short way for the route that benchmarks call: it costs about a microsecond.
        """
        if (
            target.rfind("/")
            or target in self._named
            or "%" in target
            or "?" in target
            or not target.isascii()
        ):
            return None
        return self._delay.draw(self._seed, target[1:])

    def takes_body(self, method: str, target: str) -> bool:
        """Whether the answer depends on the request's body; else it is not worth reading."""
        return method == "POST" and messages.split(target)[0] == ["echo"]

    def answer(self, request: Request) -> Answer:
        """The answer to any request but those that `is_inside` is true of."""
        segments, _ = messages.split(request.target)
        handler, allowed = self._find(segments)
        if handler is None:
            return messages.text(404, NO_ROUTE)
        if request.method not in allowed:
            return _not_allowed(allowed)
        try:
            answer = handler(segments[-1], request)
            rate = routes.rate(request)
        except BadInput as error:
            return messages.text(400, str(error))
        return answer if rate is None else msgspec.structs.replace(answer, rate=rate)

    def _find(self, segments: list[str]) -> tuple[routes.Handler | None, tuple[str, ...]]:
        if not all(segments) or len(segments) > 2:
            return None, ()
        if len(segments) == 2:
            return self._two.get(segments[0]), _GET
        return self._one.get(segments[0], (self._hello, _GET))

    def _hello(self, name: str, _: Request) -> Answer:
        answer = self._delayed(self._delay.draw(self._seed, name))
        if name != self._stall:
            return answer
        return msgspec.structs.replace(answer, stall_s=self._stall_s)

    def _fault(self, kind: str, request: Request) -> Answer:
        return faults.answer(kind, request, self._seed)

    def _after(self, text: str, _: Request) -> Answer:
        return self._delayed(routes.number("seconds", text, Seconds))

    def _delayed(self, delay_s: float) -> Answer:
        return msgspec.structs.replace(self.hello, delay_s=delay_s)

    def _echo(self, _: str, request: Request) -> Answer:
        if len(request.body) > self.client_max_size:
            return self.too_large
        content_type = request.headers.get("content-type") or messages.BINARY
        if not (content_type.isascii() and content_type.isprintable()):
            raise BadInput("the content-type header is not printable ASCII: send one that is")
        headers = (("Content-Type", content_type), ("X-Content-Type-Options", "nosniff"))
        return Answer(headers=headers, body=request.body)


def is_inside(target: str) -> bool:
    """Whether a request for `target` asks the server about itself (and is not counted itself)."""
    return target.startswith("/-/") and target.partition("?")[0] in (STATS, LOG)


def is_log(target: str) -> bool:
    """Whether such a request asks for the log, and not for the counters."""
    return target.partition("?")[0] == LOG


def inside(method: str, known: Mapping[str, Any]) -> Answer:
    """The answer to a request that `is_inside` is true of, from a server that knows `known`."""
    if method not in _GET:
        return _not_allowed(_GET)
    return messages.json(msgspec.json.encode(known), extra=(("Cache-Control", "no-store"),))


def _not_allowed(allowed: tuple[str, ...]) -> Answer:
    sentence = f"the method is not allowed here: use {' or '.join(allowed)}"
    return messages.text(405, sentence, (("Allow", ", ".join(allowed)),))
