"""`Points`: what was seen of one arm while it ran, in columns of bounded length.

When they are full, each two neighbours become one, and from then on it takes twice as many
readings to make one. A peak stays: memory, in flight and loop lag keep their highest value.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

MOST = 240
SHORTEST_S = 0.05
"""Over less, as before the last point of a trial, a rate is that of one burst."""
COLUMNS = (
    "rate_rps",
    "client_rss_bytes",
    "client_cpu_percent",
    "server_cpu_percent",
    "in_flight",
    "loop_lag_s",
)
"""What there is of each point beside its time `t_s`."""

Column = list[float | None]


class Reading(Protocol):
    """What a trial tells while it runs; `labkit.launch.launcher.Progress` is one."""

    @property
    def t_s(self) -> float:
        """Seconds since the strategy was started."""

    @property
    def done(self) -> int:
        """Requests that came to an end."""

    @property
    def in_flight(self) -> int:
        """Requests under way."""

    @property
    def client_rss_bytes(self) -> int | None:
        """Memory of the client; None is not known, here and below."""

    @property
    def client_cpu_percent(self) -> float | None:
        """CPU of the client since the reading before, in percent of one core."""

    @property
    def server_cpu_percent(self) -> float | None:
        """The same of the target."""

    @property
    def loop_lag_s(self) -> float | None:
        """How late the client's event loop was at most."""


class _Point(NamedTuple):
    """One reading, or `n` of them together."""

    n: int
    t_s: float
    done: float
    client_rss_bytes: float | None
    client_cpu_percent: float | None
    server_cpu_percent: float | None
    in_flight: float | None
    loop_lag_s: float | None


class Points:
    """The columns of one arm, fed reading by reading; never more than `most` points."""

    def __init__(self, most: int = MOST) -> None:
        self._most, self._each = max(most, 2), 1
        self._points: list[_Point] = []

    def __len__(self) -> int:
        return len(self._points)

    def add(self, reading: Reading) -> None:
        """Take a reading. One whose time does not advance is left out."""
        points, point = self._points, _point(reading)
        if points and point.t_s <= points[-1].t_s:
            return
        if points and points[-1].n < self._each:
            points[-1] = _together(points[-1], point)
            return
        points.append(point)
        if len(points) > self._most:
            self._each *= 2
            pairs = zip(points[::2], points[1::2], strict=False)
            self._points = [_together(*pair) for pair in pairs] + points[len(points) & ~1 :]

    @property
    def t_s(self) -> list[float]:
        """The times of the points, in seconds since the strategy was started; they rise."""
        return [point.t_s for point in self._points]

    def column(self, name: str) -> Column:
        """One of `COLUMNS`, a value for each point; None where it is not known."""
        if name == "rate_rps":
            return self._rates()
        place = _Point._fields.index(name)
        return [point[place] for point in self._points]

    def _rates(self) -> Column:
        """Requests a second since the point before, or since the start; None over a moment."""
        before_s, before, rates = 0.0, 0.0, Column()
        for point in self._points:
            took_s = point.t_s - before_s
            if took_s < SHORTEST_S:
                rates.append(None)
                continue
            rates.append((point.done - before) / took_s)
            before_s, before = point.t_s, point.done
        return rates


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One arm to be drawn: `done` says that it has ended."""

    label: str
    points: Points
    done: bool = False


def _point(one: Reading) -> _Point:
    return _Point(
        n=1,
        t_s=one.t_s,
        done=one.done,
        client_rss_bytes=one.client_rss_bytes,
        client_cpu_percent=one.client_cpu_percent,
        server_cpu_percent=one.server_cpu_percent,
        in_flight=one.in_flight,
        loop_lag_s=one.loop_lag_s,
    )


def _together(a: _Point, b: _Point) -> _Point:
    """Two neighbours as one point at the time of the later."""
    n = a.n + b.n
    return _Point(
        n=n,
        t_s=b.t_s,
        done=b.done,
        client_rss_bytes=_highest(a.client_rss_bytes, b.client_rss_bytes),
        client_cpu_percent=_mean(a.client_cpu_percent, b.client_cpu_percent, a.n / n),
        server_cpu_percent=_mean(a.server_cpu_percent, b.server_cpu_percent, a.n / n),
        in_flight=_highest(a.in_flight, b.in_flight),
        loop_lag_s=_highest(a.loop_lag_s, b.loop_lag_s),
    )


def _highest(*values: float | None) -> float | None:
    return max((value for value in values if value is not None), default=None)


def _mean(a: float | None, b: float | None, share: float) -> float | None:
    if a is None or b is None:
        return b if a is None else a
    return a * share + b * (1 - share)


def latest(column: Sequence[float | None]) -> float | None:
    """The last value that is known."""
    return next((value for value in reversed(column) if value is not None), None)
