"""What the lab's own HTTP/1.1 clients have in common: what they send, where to, for how long."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import NamedTuple
from urllib.parse import urlsplit

Request = Callable[[int], bytes]
_SHORTEST_SWEEP_S = 0.001
_SWEEPS = 8


class Endpoint(NamedTuple):
    """Where to connect; `hosts` are tried one after another."""

    hosts: tuple[str, ...]
    port: int


def endpoint(url: str, addresses: Sequence[str] = ()) -> Endpoint:
    """Where `url` leads; `addresses`, where given, are the only ones that are connected to."""
    split = urlsplit(url)
    assert split.scheme == "http"  # the trial was checked
    return Endpoint(tuple(addresses) or (split.hostname or "",), split.port or 80)


def requests(url: str, path: str, method: str) -> Request:
    """The bytes of the request for an item: `{item}` in URL or path stands for its number."""
    origin = urlsplit(url.replace("{item}", "0"))
    whole = url.rstrip("/") + path if path else url
    target = whole.partition("://")[2].partition("/")[2].partition("#")[0]
    lines = f"{method} /{target} HTTP/1.1\r\nHost: {origin.netloc}\r\n\r\n"
    before, *after = lines.encode("ascii").split(b"{item}")
    if len(after) == 1:
        # As `str` writes it: a template would cut what is no whole number down to one.
        return lambda item: before + str(item).encode("ascii") + after[0]
    return lambda item: str(item).encode("ascii").join([before, *after])


class Sweeper:
    """Calls `expire` for what has been pending for `timeout_s`, at most an eighth of it late.

    A timer for each request would cost more than the request; one that looks around eight times in
    `timeout_s` costs nothing. `pending` gives what is pending now.
    """

    def __init__(
        self,
        timeout_s: float | None,
        pending: Callable[[], Iterable[Hashable]],
        expire: Callable[[Hashable], None],
    ) -> None:
        self._pending, self._expire = pending, expire
        self._timer: asyncio.TimerHandle | None = None
        self._ages: dict[Hashable, int] = {}
        if timeout_s is not None:
            self._every_s = max(timeout_s / _SWEEPS, _SHORTEST_SWEEP_S)
            self._oldest = math.ceil(timeout_s / self._every_s)
            self._arm()

    def stop(self) -> None:
        """Expire nothing from now on."""
        if self._timer is not None:
            self._timer.cancel()

    def _arm(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._every_s, self._sweep)

    def _sweep(self) -> None:
        # What is found for the first time was pending for less than one interval.
        ages = {one: self._ages.get(one, -1) + 1 for one in self._pending()}
        self._ages = {one: age for one, age in ages.items() if age < self._oldest}
        for one, age in ages.items():
            if age >= self._oldest:
                self._expire(one)
        self._arm()
