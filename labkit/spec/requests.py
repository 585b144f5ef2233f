"""What one request is: its settings, and the requests that they describe. Pure.

A setting is text wherever it comes from: a terminal, a form, a study file, a cell (where a mapping
is written as text). `{item}` in any of them stands for the number of the item, `{name}` for the
column of a CSV file. The parent makes `Request`s of them, and the measured process their bytes.

A record shows what was asked, and never a password: a `Trial` takes the values of credentials out
of its headers (`hidden`), so that no text or file that is made of it can hold one.
"""

from __future__ import annotations

import json
import re
from array import array
from bisect import bisect
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import accumulate
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import quote, urlencode

import msgspec

from labkit.errors import BadInput
from labkit.spec.delays import uniform
from labkit.spec.validation import Part, check, refusal

Method = Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
Weight = Annotated[float, msgspec.Meta(gt=0, le=1e9)]
JSON, TEXT, BINARY = "application/json", "text/plain; charset=utf-8", "application/octet-stream"
ITEM, HIDDEN = "{item}", "***"
# The ceiling of a body; after so many draws of weighted requests they come again.
MAX_BODY_BYTES, MAX_DRAWN = 1 << 24, 1 << 16
# The columns of a file by name; None without one.
Row = Mapping[str, str] | None
# Headers that the transport alone sets.
FRAMING = (
    *("connection", "content-length", "expect", "host", "keep-alive", "proxy-connection", "te"),
    *("trailer", "transfer-encoding", "upgrade"),
)
CREDENTIAL = re.compile(
    "auth|cookie|token|secret|passw|credential|session|signature|(api|access|private)[-_]?key", re.I
)
_NAME = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
_PATH = re.compile(r"([/?][!-~]*)?")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_STATUSES = re.compile(r"[2-5][0-9]{2}(-[2-5][0-9]{2})?(, ?[2-5][0-9]{2}(-[2-5][0-9]{2})?)*")


class Request(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One request: `path`, with its query, follows the target's URL. Raises `BadInput`."""

    method: Method = "GET"
    path: str = "/{item}"
    headers: dict[str, str] = {}
    body: bytes | None = None
    weight: Weight = 1.0

    def __post_init__(self) -> None:
        check("method", self.method, Method)
        check("weight", self.weight, Weight)
        if not _PATH.fullmatch(self.path):
            raise refusal("path", role="", path=self.path)
        for name, value in self.headers.items():
            # A value may be a password: it is not repeated.
            if not _TOKEN.fullmatch(name) or not (value.isascii() and value.isprintable()):
                raise refusal("header", name=name)
            if name.lower() in FRAMING:
                raise BadInput(f"headers hold {name!r}: the transport itself sets that one")
        if len(self.body or b"") > MAX_BODY_BYTES:
            raise BadInput(f"body is longer than {MAX_BODY_BYTES:,} bytes: send less")
        if self.method == "HEAD" and self.body is not None:
            raise BadInput("method is 'HEAD' with a body: it has none; leave one of them out")

    @property
    def varies(self) -> bool:
        """Return whether headers or body hold `{item}`."""
        return ITEM.encode() in (self.body or b"") or ITEM in "".join(self.headers.values())

    def at(self, item: int) -> Request:
        """Return the request of one item."""
        number = str(item)
        return msgspec.structs.replace(
            self,
            path=self.path.replace(ITEM, number),
            headers={name: one.replace(ITEM, number) for name, one in self.headers.items()},
            body=self.body and self.body.replace(ITEM.encode(), number.encode()),
        )


class RequestSettings(Part, frozen=True, kw_only=True):
    """What one request is. `method` None is GET, and POST where it has a body.

    `path`, of which None is the target's own, `params`, `headers`, `json` and `body` may hold
    `{item}`; the last two may name a file, as in '@body.json'. `requests_from` is a file: URLs, a
    CSV of columns that the others name as `{column}`, JSON Lines of whole requests, a HAR or an
    access log. `order` says whether its requests come as they are `listed`, or `weighted`, drawn
    from the seed. An answer with another status than `ok_status` is a failure. `redirects` on the
    target's own host are followed, as aiohttp does by default; off, they are answers.
    """

    role: ClassVar[str] = "workload"

    method: Method | None = None
    path: str | None = None
    params: str | None = None
    headers: str | None = None
    json: str | None = None
    body: str | None = None
    requests_from: str | None = None
    order: Literal["listed", "weighted"] = "listed"
    ok_status: str = "200-299"
    redirects: bool = True

    def __post_init__(self) -> None:
        for name, write in _WRITTEN.items():
            value = getattr(self, name)
            if value is not None:
                msgspec.structs.force_setattr(self, name, write(value))
        super().__post_init__()
        if self.json is not None and self.body is not None:
            raise BadInput("workload.json and workload.body are both set: leave one out")
        if self.order != "listed" and self.requests_from is None:
            raise refusal("order", order=self.order)
        if self.path is not None and not self.path.startswith("/"):
            raise refusal("path", role=f"{self.role}.", path=self.path)
        statuses(self.ok_status)
        row = None if self.requests_from is None else defaultdict[str, str](lambda: "0")
        try:
            request_of(self, self.path or "", row=row)
        except BadInput as error:
            raise BadInput(f"workload.{error}") from None

    @property
    def sent_as(self) -> Method:
        """Return the method that is sent."""
        return self.method or ("GET" if self.json is None and self.body is None else "POST")

    @property
    def is_usual(self) -> bool:
        """Return whether it is a GET of a path, and no more than that decides its answer."""
        return self.sent_as == "GET" and self.requests_from is None and self.params is None


def request_of(
    asked: RequestSettings, path: str, *, content: bytes | None = None, row: Row = None
) -> Request:
    """Return the request that settings describe; `content` is of the file that its body names.

    `row` has the columns by name. Without one, braces in a body are its own: other languages have
    them too. Raises `BadInput`.
    """
    columns: Mapping[str, str] = {} if row is None else row

    def filled(name: str, text: str, write: Callable[[str], str] = str) -> str:
        def value(found: re.Match[str]) -> str:
            if found[0] == ITEM or (row is None and name in ("json", "body")):
                return found[0]
            try:
                return write(columns[found[1]])
            except KeyError:
                more = f" or a column ({', '.join(columns)})" if columns else ""
                raise BadInput(f"{name} holds {found[0]!r}: it must be {ITEM}{more}") from None

        return _NAME.sub(value, text)

    def in_body(value: str) -> str:
        return value if asked.json is None else json.dumps(value)[1:-1]

    in_url = partial(quote, safe="")
    headers = {n: filled("headers", one) for n, one in headers_of(asked.headers or "{}").items()}
    name, text = ("json", asked.json) if asked.json is not None else ("body", asked.body)
    if content is None and text is not None and not text.startswith("@"):
        content = text.encode()
    kind = JSON if name == "json" else TEXT
    if content is not None:
        try:
            content = filled(name, content.decode(), in_body).encode()
        except UnicodeDecodeError:  # of a file: no text, so nothing is filled in
            kind = BINARY
        if name == "json":
            try:
                json.loads(content.replace(ITEM.encode(), b"0"))
            except ValueError as error:
                shown = content[:60].decode("utf-8", "replace")
                raise BadInput(f"json is {shown!r}: it does not parse ({error})") from None
    params = filled("params", asked.params or "", in_url)
    path = filled("path", path, in_url)
    if params:
        path += f"{'&' if '?' in path else '?'}{params}"
    if content is not None and "content-type" not in map(str.lower, headers):
        headers["Content-Type"] = kind
    return Request(method=asked.sent_as, path=path, headers=headers, body=content)


def whole_url(url: str, path: str) -> str:
    """Return the URL of a request: that of the target, and the request's path or query."""
    if path.startswith("?"):
        return f"{url}{'&' if '?' in url else '?'}{path[1:]}"
    return url.rstrip("/") + path if path else url


def drawn(weights: Sequence[float], seed: int, requests: int) -> array[int]:
    """Return for each item which of the weighted requests is its own; after the last begin again.

    Each draw is a pure function of the seed and the item.
    """
    upto = [*accumulate(weights)]
    draws = (uniform(seed, f"request/{item}") for item in range(min(requests, MAX_DRAWN)))
    return array("I", (bisect(upto, one * upto[-1], 0, len(upto) - 1) for one in draws))


def statuses(text: str) -> frozenset[int]:
    """Return the statuses that '200-299, 404' names. Raises `BadInput`."""
    words = text.split(",") if _STATUSES.fullmatch(text) else []
    spans = [(int(one[:3]), int(one[-3:])) for one in map(str.strip, words)]
    if not spans or any(low > high for low, high in spans):
        raise refusal("ok_status", text=text)
    return frozenset(code for low, high in spans for code in range(low, high + 1))


def headers_of(text: str) -> dict[str, str]:
    """Return the headers that a text of settings has, by name."""
    return dict(json.loads(text))


def hidden(text: str | None, before: Mapping[str, str]) -> tuple[str | None, dict[str, str]]:
    """Return headers without the values of credentials, and these by name.

    What is hidden already has the value of `before`, and where there is none stays hidden.
    """
    headers = headers_of(text or "{}")
    secrets = {
        name: before.get(name, HIDDEN) if value == HIDDEN else value
        for name, value in headers.items()
        if CREDENTIAL.search(name)
    }
    return text and _as_text(headers | dict.fromkeys(secrets, HIDDEN)), secrets


def with_secrets(asked: RequestSettings, secrets: Mapping[str, str]) -> RequestSettings:
    """Return the settings with the values of credentials; raise `BadInput` where one is missing.

    Whoever stores or shows a trial takes the settings without them.
    """
    headers = {**headers_of(asked.headers or "{}"), **secrets}
    lost = [name for name, value in headers.items() if value == HIDDEN]
    if lost:
        raise refusal("hidden", name=lost[0])
    return msgspec.structs.replace(asked, headers=headers) if secrets else asked


def _headers_as_text(value: Any) -> Any:
    """Return headers as JSON; they come as a mapping, as JSON, or as lines of 'Name: value'."""
    if isinstance(value, str) and not value.startswith("{"):
        pairs = [line.partition(":") for line in filter(str.strip, value.splitlines())]
        if not all(colon for _, colon, _ in pairs):
            raise BadInput("workload.headers has a line without a colon: write 'Name: value'")
        value = [(name.strip(), one.strip()) for name, _, one in pairs]
        names = [name.lower() for name, _ in value]
        if len({*names}) < len(names):
            raise BadInput("workload.headers has a name twice: write it once")
        return _as_text(dict(value))
    if not isinstance(value, str | Mapping):
        return value
    try:
        found = msgspec.json.decode(value) if isinstance(value, str) else value
        return _as_text(msgspec.convert(found, dict[str, str]))
    except (msgspec.DecodeError, msgspec.ValidationError):
        raise refusal("headers") from None


def _params_as_text(value: Any) -> Any:
    """Return the query that a mapping stands for; of a text what a URL may hold."""
    if isinstance(value, Mapping):
        return urlencode(value, doseq=True, quote_via=quote, safe="{}")
    return quote(value, safe="!$&'()*+,;=:@/?%[]{}") if isinstance(value, str) else value


def _as_text(value: Any) -> str:
    """Return what is no text as JSON."""
    try:
        return value if isinstance(value, str) else json.dumps(value, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise BadInput(f"workload.json is no JSON ({error}): give what JSON can hold") from None


# How the value of a setting becomes text.
_WRITTEN = {"headers": _headers_as_text, "params": _params_as_text, "json": _as_text}
