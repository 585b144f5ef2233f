"""The last requests as the server saw them: on which connection, in which order, from when to when.

Off unless asked for, as it costs every request. It shows what a client really does: what shares a
connection, what overtakes what.
"""

from __future__ import annotations

from collections import deque
from time import perf_counter
from typing import Any


class Log:
    """At most `most` requests, the oldest given up first. Times in seconds since the log began."""

    def __init__(self, most: int) -> None:
        self.most, self._start = most, perf_counter()
        self._requests: deque[dict[str, Any]] = deque(maxlen=most)
        self._connections: dict[object, int] = {}
        self._opened = 0

    def opened(self, connection: object) -> None:
        """A client opened `connection`: they are numbered from 1, those that only look too."""
        self._opened += 1
        self._connections[connection] = self._opened

    def closed(self, connection: object) -> None:
        """`connection` is gone."""
        self._connections.pop(connection, None)

    def began(self, connection: object, target: str) -> dict[str, Any]:
        """A request's turn came; what is returned is for `ended`."""
        entry = {
            "connection": self._connections.get(connection),
            "target": target,
            "began_s": round(perf_counter() - self._start, 6),
            "ended_s": None,
        }
        self._requests.append(entry)
        return entry

    def ended(self, entry: dict[str, Any]) -> None:
        """It was answered, or given up."""
        entry["ended_s"] = round(perf_counter() - self._start, 6)

    def snapshot(self) -> dict[str, Any]:
        """The requests kept, in the order in which their turns came."""
        return {"kept_at_most": self.most, "requests": list(self._requests)}
