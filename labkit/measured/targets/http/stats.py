"""What a running server counts. No clock, no sockets: an engine reports what happened.

Requests for the counters themselves, and connections that carry nothing else, are never counted.
"""

from __future__ import annotations

from typing import Any

# A bucket is at most 1/32 of its value wide; the last one begins above an hour.
_SUB_BITS = 5
_SUB = 1 << _SUB_BITS
_LARGEST_NS = (1 << 42) - 1


def _bucket(value_ns: int) -> int:
    shift = max(value_ns.bit_length() - _SUB_BITS - 1, 0)
    return shift * _SUB + (value_ns >> shift)


def _top_of(bucket: int) -> int:
    shift = max(bucket // _SUB - 1, 0)
    return ((bucket - shift * _SUB + 1) << shift) - 1


class Histogram:
    """Counts of durations in nanoseconds, in logarithmic buckets: constant in size, 3 % exact."""

    def __init__(self) -> None:
        self._counts = [0] * (_bucket(_LARGEST_NS) + 1)
        self._total = 0
        self._max_ns = 0

    def add(self, value_ns: int) -> None:
        """Count one duration of at least 0 ns; above `_LARGEST_NS` it counts as that."""
        value_ns = min(value_ns, _LARGEST_NS)
        self._counts[_bucket(value_ns)] += 1
        self._total += 1
        self._max_ns = max(self._max_ns, value_ns)

    def raw(self) -> dict[str, Any]:
        """The counts of the buckets that hold any, and the largest value, as plain data."""
        counts = {str(bucket): count for bucket, count in enumerate(self._counts) if count}
        return {"counts": counts, "max_ns": self._max_ns}

    def merge(self, raw: dict[str, Any]) -> None:
        """Count what another histogram counted."""
        for bucket, count in raw["counts"].items():
            self._counts[int(bucket)] += count
            self._total += count
        self._max_ns = max(self._max_ns, raw["max_ns"])

    def percentile_s(self, percent: float) -> float | None:
        """The smallest duration in seconds that `percent` of all do not exceed, None if empty.

        The upper edge of its bucket is given, so it is never below the true (nearest-rank) value.
        """
        remaining = max(self._total * percent / 100, 1)
        for bucket, count in enumerate(self._counts):
            remaining -= count
            if count and remaining <= 0:
                return min(_top_of(bucket), self._max_ns) / 1e9
        return None


_COUNTERS = (
    "requests",
    "in_flight",
    "max_in_flight",
    "connections_opened",
    "connections_open",
    "bytes_out",
)


class Stats:
    """The counters of one server. A connection is whatever hashable object an engine has for it.

    An engine adds the bytes of bodies to `bytes_out` and the lateness of delays to `delay_error`
    as they happen.
    """

    def __init__(self) -> None:
        self.requests = 0
        self.in_flight = 0
        self.max_in_flight = 0
        self.connections_opened = 0
        self.connections_open = 0
        self.bytes_out = 0
        self.delay_error = Histogram()
        # Connections without a request yet, and those that have asked for the counters only.
        self._fresh: set[object] = set()
        self._observers: set[object] = set()

    def connected(self, connection: object) -> None:
        """A client opened `connection`."""
        self._count()
        self._fresh.add(connection)

    def disconnected(self, connection: object) -> None:
        """`connection` is gone."""
        self._fresh.discard(connection)
        if connection in self._observers:
            self._observers.discard(connection)
        else:
            self.connections_open -= 1

    def observed(self, connection: object) -> None:
        """A request for the counters came; where it is the first, its connection stops counting."""
        if connection in self._fresh:
            self._fresh.discard(connection)
            self._observers.add(connection)
            self.connections_opened -= 1
            self.connections_open -= 1

    def began(self, connection: object) -> None:
        """The head of a request was read."""
        if self._fresh:
            self._fresh.discard(connection)
        if self._observers and connection in self._observers:
            self._observers.discard(connection)
            self._count()
        self.requests += 1
        self.in_flight += 1
        if self.in_flight > self.max_in_flight:  # noqa: PLR1730 - half the time of max()
            self.max_in_flight = self.in_flight

    def at_once(self, connection: object, requests: int, bytes_out: int) -> None:
        """So many requests were read and answered, one after another, without a wait."""
        if self._fresh or self._observers:
            self.began(connection)
            self.ended()
            requests -= 1
        self.requests += requests
        self.bytes_out += bytes_out
        if self.in_flight >= self.max_in_flight:
            self.max_in_flight = self.in_flight + 1

    def ended(self) -> None:
        """A request is over: answered, or given up."""
        self.in_flight -= 1

    def _count(self) -> None:
        self.connections_opened += 1
        self.connections_open += 1

    def raw(self) -> dict[str, Any]:
        """All that was counted, as plain data."""
        counters = {name: getattr(self, name) for name in _COUNTERS}
        return {**counters, "delay_error": self.delay_error.raw()}

    def add(self, raw: dict[str, Any]) -> None:
        """Count what another process counted."""
        for name in _COUNTERS:
            setattr(self, name, getattr(self, name) + raw[name])
        self.delay_error.merge(raw["delay_error"])

    def snapshot(self) -> dict[str, Any]:
        """The counters now; `delay_error_s` is by how much delays ended late, in seconds."""
        names = ("p50", 50), ("p99", 99), ("max", 100)
        return {
            **{name: getattr(self, name) for name in _COUNTERS},
            "delay_error_s": {
                name: self.delay_error.percentile_s(percent) for name, percent in names
            },
        }
