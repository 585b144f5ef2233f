"""Files that say what is asked: bodies, and lists of requests in five forms. Read by the parent.

A file is read and checked before anything is started: what does not parse is named by its line and
the reason. A list is a CSV of columns, JSON Lines of whole requests, a HAR, an access log (the
common or the combined form), or URLs and paths, one a line; what is no `.csv` is known by how it
begins. No request leads elsewhere than to the trial's own target.
"""

import csv
import io
import mimetypes
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import msgspec

from labkit.errors import BadInput
from labkit.spec import requests, validation
from labkit.spec.requests import MAX_BODY_BYTES, Request, RequestSettings
from labkit.spec.trial import Trial

MAX_FILE_BYTES, MAX_REQUESTS = 1 << 26, 100_000
_LOGGED = re.compile(
    r'\S+ \S+ .*?\[[^\]]+\] "(?P<asked>(?:[^"\\]|\\.)*)" [0-9]{3} (?:[0-9]+|-)'
    r'(?: "(?P<referer>(?:[^"\\]|\\.)*)" "(?P<agent>(?:[^"\\]|\\.)*)".*)?'
)


class Asked(NamedTuple):
    """The requests of a trial; of a file how many it has, and how many it left out."""

    requests: list[Request]
    of_file: dict[str, int] | None = None


def asked(trial: Trial) -> Asked:
    """Return the requests of a trial, credentials included. Raise `BadInput` for a bad file."""
    settings = requests.with_secrets(trial.workload, trial.secrets)
    name, text = ("json", settings.json) if settings.body is None else ("body", settings.body)
    content = None
    if text is not None and text.startswith("@"):
        content = _read(f"workload.{name}", text[1:], MAX_BODY_BYTES)
        headers = requests.headers_of(settings.headers or "{}")
        kind, _ = mimetypes.guess_type(text[1:])
        if kind and name == "body" and "content-type" not in map(str.lower, headers):
            headers["Content-Type"] = kind
            settings = msgspec.structs.replace(settings, headers=headers)
    if settings.requests_from is not None:
        return _List(trial, settings, content).read(settings.requests_from)
    try:
        return Asked([requests.request_of(settings, trial.path, content=content)])
    except BadInput as error:
        raise BadInput(f"workload.{error}") from None


class _Elsewhere(BadInput):
    """A request that leads to another host than the target's."""


class _List:
    """Reads one file of requests; `place` is the line or entry that is being read."""

    def __init__(self, trial: Trial, settings: RequestSettings, content: bytes | None) -> None:
        self.trial, self.settings, self.content = trial, settings, content
        self.headers = requests.headers_of(settings.headers or "{}")
        self.place, self.left_out = "", 0

    def read(self, name: str) -> Asked:
        """Return the requests of the file."""
        found, data = list[Request](), _read("workload.requests_from", name, MAX_FILE_BYTES)
        try:
            text = data.decode("utf-8-sig")
            for one in self._form(name, text)(text):
                found.append(one)
                if len(found) > MAX_REQUESTS:
                    raise BadInput(f"there are more than {MAX_REQUESTS:,} requests: leave some out")
            if not found:
                self.place = ""
                others = f"; {self.left_out:,} are of other hosts" if self.left_out else ""
                raise BadInput(f"there is no request for the target{others}")
        except (ValueError, TypeError, KeyError, csv.Error, msgspec.DecodeError) as error:
            where = f", {self.place}" if self.place else ""
            why = str(error).replace("workload.", "")
            if isinstance(error, KeyError):
                why = f"it has no {why}"
            raise BadInput(f"workload.requests_from is {name!r}{where}: {why}") from None
        return Asked(found, {"requests": len(found), "left_out": self.left_out})

    def _form(self, name: str, text: str) -> Callable[[str], Iterator[Request]]:
        """Return what reads the form that the file has."""
        if name.lower().endswith(".csv"):
            return self._rows
        own = {"workload.path": self.settings.path}
        if self.trial.url and urlsplit(self.trial.url).path not in ("", "/"):
            own["the path of target.url"] = self.trial.url
        for what, value in own.items():
            if value is not None:
                raise validation.refusal("own-paths", what=what, value=value)
        begin = text.lstrip()
        if name.lower().endswith(".har") or re.match(r'\{\s*"log"\s*:', begin):
            return self._entries
        if begin.startswith("{"):
            return self._json_lines
        return self._logged if _LOGGED.fullmatch(begin.partition("\n")[0].strip()) else self._urls

    def _rows(self, text: str) -> Iterator[Request]:
        rows = csv.DictReader(self._numbered(text), strict=True)
        columns = list(rows.fieldnames or [])
        if not all(map(str.isidentifier, columns)) or len({*columns}) < len(columns):
            raise BadInput(f"its columns are {columns}: each must be a word, and there once")
        if "item" in columns:
            raise BadInput("it has a column 'item', and {item} is the item's number: rename it")
        for row in rows:
            if None in row or None in row.values():
                raise BadInput(f"it must have {len(columns)} values, one for each column")
            one = requests.request_of(self.settings, self.trial.path, content=self.content, row=row)
            weight = validation.from_text("weight", row.get("weight", "1"), requests.Weight)
            yield msgspec.structs.replace(one, weight=weight)

    def _numbered(self, text: str) -> Iterator[str]:
        for number, line in enumerate(io.StringIO(text, newline=""), 1):
            self.place = f"line {number}"
            yield line

    def _lines(self, text: str) -> Iterator[str]:
        for line in self._numbered(text):
            if line.strip() and not line.startswith("#"):
                yield line.strip()

    def _urls(self, text: str) -> Iterator[Request]:
        return map(self._one, self._lines(text))

    def _logged(self, text: str) -> Iterator[Request]:
        for line in self._lines(text):
            entry = _LOGGED.fullmatch(line)
            if entry is None:
                raise BadInput(f"it is no line of an access log: {line[:60]!r}")
            if entry["asked"] == "-":  # the client sent none
                self.left_out += 1
                continue
            method, _, rest = entry["asked"].partition(" ")
            given = {"Referer": entry["referer"], "User-Agent": entry["agent"]}
            headers = {name: one for name, one in given.items() if one and one != "-"}
            yield self._one(rest.rpartition(" HTTP/")[0] or rest, method=method, headers=headers)

    def _json_lines(self, text: str) -> Iterator[Request]:
        for line in self._lines(text):
            yield self._one(**msgspec.json.decode(line, type=dict[str, Any]))

    def _entries(self, text: str) -> Iterator[Request]:
        for number, entry in enumerate(msgspec.json.decode(text)["log"]["entries"], 1):
            self.place, asked, headers = f"entry {number}", entry["request"], dict[str, str]()
            for one in asked.get("headers", []):
                name, value = one["name"].lower(), one["value"]
                if name not in requests.FRAMING and not name.startswith(":"):
                    mark = "; " if name == "cookie" else ", "
                    headers[name] = f"{headers[name]}{mark}{value}" if name in headers else value
            posted = asked.get("postData")
            body = {} if posted is None else {"body": posted.get("text", "")}
            if posted is not None:
                headers.setdefault("content-type", posted.get("mimeType", requests.BINARY))
            try:
                yield self._one(asked["url"], method=asked["method"], headers=headers, **body)
            except _Elsewhere:  # a page loads from several hosts
                self.left_out += 1

    def _one(self, url: str, *, weight: float = 1, headers: Any = None, **settings: Any) -> Request:
        """Return a request of the file; what it does not say is as the trial has it."""
        own, content, keys = self.settings, self.content, ("method", "params", "json", "body")
        for name in settings.keys() - {*keys}:
            raise validation.unknown("a key", name, ("url", "headers", "weight", *keys))
        given = {"method": own.method, "params": own.params} | settings
        given["headers"] = self.headers | (headers or {})
        if not settings.keys() & {"json", "body"}:
            given |= {"json": own.json, "body": own.body}
        else:
            text = settings.get("body")  # whatever it begins with
            content = text.encode() if isinstance(text, str) else None
        one = requests.request_of(RequestSettings(**given), self._path(url), content=content)
        return msgspec.structs.replace(one, weight=weight)

    def _path(self, url: str) -> str:
        """Return path and query of a URL, which must be one of the target's. Raises `BadInput`."""
        if url.startswith("/"):
            return url
        asked, target = urlsplit(url), urlsplit(self.trial.url or "")
        if asked.scheme not in ("http", "https"):
            raise BadInput(f"it is no URL and no path: {url[:60]!r}; write one, as in /items/1")
        if (asked.scheme, asked.netloc.lower()) != (target.scheme, target.netloc.lower()):
            called = self.trial.url or "which the lab starts"
            raise validation.refusal("elsewhere", _Elsewhere, asked=asked, target=called)
        return (asked.path or "/") + (f"?{asked.query}" if asked.query else "")


def _read(field: str, name: str, most: int) -> bytes:
    """Return what a file holds. Raise `BadInput` where it cannot be read, or is too large."""
    try:
        with Path(name).expanduser().open("rb") as file:
            data = file.read(most + 1)
    except OSError as error:
        raise BadInput(f"{field} is {name!r}: it cannot be read ({error.strerror})") from None
    if len(data) > most:
        raise BadInput(f"{field} is {name!r}: it is larger than {most:,} bytes")
    return data
