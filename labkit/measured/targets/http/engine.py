"""What the connections of one server share: its answers, the timer, counters, log, known headers.

Requests for the counters themselves, and connections that carry nothing else, are never counted.
"""

import asyncio
import os
from collections import Counter, deque
from contextlib import suppress
from itertools import count
from pathlib import Path
from time import gmtime, perf_counter, perf_counter_ns, strftime, time
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import httptools
import msgspec

from labkit.measured.http_framing import HEAD_END
from labkit.measured.targets import process
from labkit.measured.targets.http import behaviour, messages
from labkit.measured.targets.http.requests import Request, plain_name, plain_names
from labkit.measured.timerfd import Alarm, best_clock
from labkit.record import histogram
from labkit.record.stalls import Watch
from labkit.spec.targets import HttpServer

# Seconds between two writings of the counters; characters of a target in the log.
SHARE_EVERY_S, MAX_LOGGED = 0.1, 500
# How often it counts over time, where it is to; at most so many counts are stored, and from there
# on half as often.
HISTORY_S, MAX_HISTORY = 0.02, 1_200
# Statuses from here on are counted as failures. So many answers are remembered for a second.
FAILURES_FROM, MAX_ANSWERS = 400, 64
# What is sent, to how many requests, with how many bytes of bodies, after how many seconds.
Recognised = tuple[bytes, int, int, float]


class Turn(NamedTuple):
    """A request that waits for its answer; `last`: the connection ends after it.

    The answer to a `Request` is made when its turn comes. `counted` False is none of a client's
    work: either it asks for the counters, which are read then (`answer` None), or it was not
    understood.
    """

    answer: messages.Answer | Request | None
    head: Request
    last: bool
    counted: bool = True


class Engine:
    """What the connections of one server share."""

    def __init__(self, settings: HttpServer) -> None:
        self.behaviour = behaviour.Behaviour(settings)
        self.stats = Stats()
        self.log = Log(settings.keep_log) if settings.keep_log else None
        self.known: set[bytes] = set()
        self.loop = asyncio.get_running_loop()
        self.alarm = Alarm(best_clock)
        folder = settings.counters_folder
        self._shared = SharedCounters(folder, self.stats) if folder else None
        shown = ("engine", "workers", "delay", "seed", "tls")
        self._in_force = {name: getattr(settings, name) for name in shown} | process.in_force()
        self._in_force |= {"httptools": httptools.__version__, "pid": os.getpid()}
        hello = self.behaviour.hello
        self.plain = Turn(hello, Request(target=""), last=False)
        # A body that is only described has no short way; nor has a request that is logged.
        self.is_short = isinstance(hello.body, bytes) and self.log is None
        self.is_at_once = self.is_short and self.behaviour.fixed_delay_s == 0
        self.hello_bytes = len(hello.body) if isinstance(hello.body, bytes) else 0
        # What was recognised last; of other routes what was answered in this second.
        self.asked, self.recognised = b"", (b"", 0, 0, 0.0)
        self._answers: dict[bytes, Recognised] = {}
        self._update_date()
        self._watch = Watch()
        self._watch.beat(self.loop.call_later)
        self._history: list[tuple[int, int, int, int]] = []
        if settings.keep_history:
            self._count_over_time(HISTORY_S)

    def _count_over_time(self, every_s: float) -> None:
        stats = self.stats
        done = stats.requests - stats.in_flight
        self._history.append((perf_counter_ns(), done, stats.in_flight, stats.connections_open))
        if len(self._history) > MAX_HISTORY:
            self._history, every_s = self._history[::2], 2 * every_s
        self.loop.call_later(every_s, self._count_over_time, every_s)

    def _update_date(self) -> None:
        """Write the date into what is sent, now and at the beginning of each second."""
        self.date = strftime("%a, %d %b %Y %H:%M:%S GMT", gmtime())
        self.hello = self.encode(self.behaviour.hello, self.plain) if self.is_short else b""
        fixed_s = self.behaviour.fixed_delay_s
        self._plain = None if fixed_s is None else (self.hello, 1, self.hello_bytes, fixed_s)
        self.asked = b""
        self._answers.clear()
        self.loop.call_later(1 - time() % 1, self._update_date)

    def recognise(self, data: bytes) -> Recognised | None:
        """Return the answer where `data` is nothing but requests that are known by their bytes.

        It is in `recognised` from then on, as what is asked once is often asked again and again.
        """
        found, special = None, self.behaviour.special_names
        name = plain_name(data, self.known) if self.is_short else None
        if name is not None and name not in special:
            found = self._plain or (self.hello, 1, self.hello_bytes, self.behaviour.draw_s(name))
        elif data in self._answers:
            found = self._answers[data]
        elif self.is_at_once and data[:5] == b"GET /":
            names, used = plain_names(data, self.known)
            n, are_whole = len(names), used == len(data)
            few = n * len(self.hello) <= messages.PIECE_BYTES
            if few and are_whole and special.isdisjoint(names):
                found = self.hello * n, n, self.hello_bytes * n, 0.0
        if found is not None:
            self.asked, self.recognised = data, found
        return found

    def remember(self, data: bytes, turn: Turn, answer: messages.Answer, sent: bytes) -> None:
        """Remember what was `sent` where that is the answer to `data` each time, and at once."""
        if (
            turn is not self.plain
            and not (turn.last or answer.delay_s or answer.stall_s or self.log)
            and answer.status < FAILURES_FROM
            and len(sent) <= messages.PIECE_BYTES
            and messages.split(turn.head.target)[0][:1] != ["fault"]  # some depend on the last one
        ):
            if len(self._answers) >= MAX_ANSWERS:
                self._answers.clear()
            size = len(sent) - sent.find(HEAD_END) - len(HEAD_END)
            self._answers[data] = (sent, 1, size, 0.0)

    def encode(self, answer: messages.Answer, turn: Turn) -> bytes:
        """Return an answer with a stored body as it is sent."""
        return messages.encode(answer, turn.head, self.date, last=turn.last)

    def counters(self, head: Request) -> messages.Answer:
        """Return the answer to a request that `behaviour.asks_for_counters` is true of."""
        if head.target.partition("?")[0] == behaviour.LOG:
            return behaviour.counters(head.method, (self.log or Log(0)).snapshot())
        counted = self._shared.total() if self._shared else self.stats
        found = {**counted.snapshot(), "standstills": self._watch.found, **self._in_force}
        found |= {"history": self._history} if self._history else {}
        return behaviour.counters(head.method, found)


class Stats:
    """The counters of one server: its attributes without an underscore.

    A connection is any hashable object. The bytes of bodies are counted as they go out.
    """

    def __init__(self) -> None:
        self.requests = self.in_flight = self.max_in_flight = self.given_up = 0
        self.connections_opened = self.connections_open = self.bytes_out = 0
        self.delays_s = 0.0
        # How many answers were no success, by status, and how many delays ended so late, by the
        # bucket of `histogram`.
        self._statuses: Counter[int] = Counter()
        self._late: Counter[int] = Counter()
        # Connections without a request yet, and those that have asked for the counters only.
        self._fresh: set[object] = set()
        self._observers: set[object] = set()

    def connected(self, connection: object) -> None:
        """Count a connection that a client opened."""
        self._count()
        self._fresh.add(connection)

    def disconnected(self, connection: object) -> None:
        """Count a connection out that is gone."""
        self._fresh.discard(connection)
        if connection in self._observers:
            self._observers.discard(connection)
        else:
            self.connections_open -= 1

    def observed(self, connection: object) -> None:
        """Count a connection out whose first request asks for the counters."""
        if connection in self._fresh:
            self._fresh.discard(connection)
            self._observers.add(connection)
            self.connections_opened -= 1
            self.connections_open -= 1

    def began(self, connection: object) -> None:
        """Count a request whose head was read."""
        if self._fresh:
            self._fresh.discard(connection)
        if self._observers and connection in self._observers:
            self._observers.discard(connection)
            self._count()
        self.requests += 1
        self.in_flight += 1
        if self.in_flight > self.max_in_flight:  # noqa: PLR1730 - half the time of max()
            self.max_in_flight = self.in_flight

    def is_counted(self, connection: object) -> bool:
        """Return whether a connection has sent a request that is counted."""
        return connection not in self._fresh and connection not in self._observers

    def ended(self) -> None:
        """Count a request that is over: answered, or given up."""
        self.in_flight -= 1

    def failed(self, status: int) -> None:
        """Count an answer that is no success."""
        self._statuses[status] += 1

    def sent(self, size_bytes: int) -> None:
        """Count bytes of a body."""
        self.bytes_out += size_bytes

    def delay_ended(self, late_ns: int) -> None:
        """Count a delay that ended so late."""
        self._late[histogram.index(late_ns)] += 1

    def _count(self) -> None:
        self.connections_opened += 1
        self.connections_open += 1

    def counters(self) -> dict[str, Any]:
        """Return the counters by name."""
        return {name: value for name, value in vars(self).items() if not name.startswith("_")}

    def raw(self) -> dict[str, Any]:
        """Return all that was counted, as plain data."""
        return {**self.counters(), "late": self._late, "statuses": self._statuses}

    def add(self, raw: dict[str, Any]) -> None:
        """Count what another process counted."""
        for name, value in self.counters().items():
            setattr(self, name, value + raw[name])
        for name, counter in (("late", self._late), ("statuses", self._statuses)):
            counter.update({int(one): count for one, count in raw[name].items()})

    def snapshot(self) -> dict[str, Any]:
        """Return the counters now; `delay_error_s` is by how much delays ended late, in seconds."""
        late_s = histogram.summary(self._late)
        errors_s = {name: getattr(late_s, name, None) for name in ("p50", "p99", "max")}
        return {**self.counters(), "statuses": self._statuses, "delay_error_s": errors_s}


class SharedCounters:
    """The counters of several processes that serve one port.

    Each writes its own to a file in `folder` several times a second; who is asked adds up its own
    and what the others wrote last, so that theirs are up to `SHARE_EVERY_S` old.
    """

    def __init__(self, folder: str, stats: Stats) -> None:
        self._folder, self._stats, self._last = Path(folder), stats, b""
        self._own = self._folder / f"{os.getpid()}.json"
        self._write()

    def _write(self) -> None:
        data = msgspec.json.encode(self._stats.raw())
        if data != self._last:
            self._last, new = data, self._own.with_suffix(".new")
            with suppress(OSError):  # the folder is gone: so is the server
                new.write_bytes(data)
                new.replace(self._own)
        asyncio.get_running_loop().call_later(SHARE_EVERY_S, self._write)

    def total(self) -> Stats:
        """Add up all that the server counted: the most in flight is an upper bound."""
        total = Stats()
        total.add(self._stats.raw())
        for path in self._folder.glob("*.json"):
            if path != self._own:
                with suppress(OSError, msgspec.DecodeError):
                    total.add(msgspec.json.decode(path.read_bytes()))
        return total


class Log:
    """The last requests, at most so many. Times are seconds since the log began.

    Off unless asked for, as it costs every request. It shows what a client really does: what shares
    a connection, what overtakes what.
    """

    def __init__(self, max_requests: int) -> None:
        self._max, self._start = max_requests, perf_counter()
        self._requests: deque[dict[str, Any]] = deque(maxlen=max_requests)
        # Numbered from 1, as their first request is logged.
        self._connections: WeakKeyDictionary[object, int] = WeakKeyDictionary()
        self._numbers = count(1)

    def began(self, connection: object, target: str) -> dict[str, Any]:
        """Log a request whose turn came, and return its entry for `ended`."""
        if connection not in self._connections:
            self._connections[connection] = next(self._numbers)
        entry = {"connection": self._connections[connection], "target": target[:MAX_LOGGED]}
        entry |= {"began_s": round(perf_counter() - self._start, 6), "ended_s": None}
        self._requests.append(entry)
        return entry

    def ended(self, entry: dict[str, Any]) -> None:
        """Log that a request was answered, or given up."""
        entry["ended_s"] = round(perf_counter() - self._start, 6)

    def snapshot(self) -> dict[str, Any]:
        """Return the requests in the order in which their turns came."""
        return {"kept_at_most": self._max, "requests": list(self._requests)}
