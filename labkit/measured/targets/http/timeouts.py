"""Ends connections that keep the server waiting: for a request, for a reader, for nothing at all.

Plan. A timer for each request would cost more than the request. So one timer looks four times in a
timeout at all connections, in slices so that nobody waits for it, and each says what it waits for:
a value that changes wherever there was progress. One that says the same for the whole timeout is
given up: at most a quarter of it late. The short way of a request sets one attribute for this.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from labkit.measured.targets.http.protocol import ServerConnection

LOOKS = 4
MAX_EVERY_S = 15.0
SLICE = 256
"""Connections that are looked at in one turn of the loop: a tenth of a millisecond."""


class Wait(NamedTuple):
    """What a connection waits for: its next request (`idle`), or something that it may not delay.

    `mark` changes with each progress.
    """

    idle: bool
    mark: Hashable


class Timeouts:
    """The connections of a server, and since when each waits for the same."""

    def __init__(self, request_s: float, idle_s: float) -> None:
        self.connections: set[ServerConnection] = set()
        self._request_s, self._idle_s = request_s, idle_s
        self._since: dict[ServerConnection, tuple[Wait, float]] = {}
        self._every_s = min(request_s / LOOKS, idle_s / LOOKS, MAX_EVERY_S)

    def start(self) -> None:
        """Begin to look, and go on for as long as the loop runs."""
        self._turn([])

    def _turn(self, left: list[ServerConnection]) -> None:
        self.look(left[-SLICE:], monotonic())
        del left[-SLICE:]
        later = asyncio.get_running_loop().call_later
        if left:
            later(0, self._turn, left)
        else:
            later(self._every_s, lambda: self._turn(list(self.connections)))

    def look(self, connections: list[ServerConnection], now_s: float) -> None:
        """Give up those that have waited too long for the same."""
        for one in connections:
            wait = one.waits_for()
            before, since_s = self._since.get(one, (None, now_s))
            if wait is None or one not in self.connections:
                self._since.pop(one, None)
            elif wait != before:
                self._since[one] = wait, now_s
            elif now_s - since_s >= (self._idle_s if wait.idle else self._request_s):
                one.give_up(wait)

    def forget(self, connection: ServerConnection) -> None:
        """Forget a connection that is gone."""
        self.connections.discard(connection)
        self._since.pop(connection, None)
