"""The window that is measured: from just before the first send to just after the last answer."""

from __future__ import annotations

import os
import resource
from time import perf_counter_ns

from labkit.measured.probes.memory import Watched, own_peak_bytes, watched
from labkit.record import interference as kernel
from labkit.record.record import Client, Interference, Server


class Window:
    """CPU and memory of client and server, read when the window opens and when it closes."""

    def __init__(self, server_pid: int | None, processes: str = "one") -> None:
        self._server, self._server_pid = watched(server_pid, processes), server_pid
        self._own = Watched(os.getpid())
        self._waited: list[float | None] = [None, None]
        self.started_ns = self.opened_ns = self.closed_ns = 0
        self._cpu = [(0.0, 0.0), (0.0, 0.0)]
        self._server_cpu: list[float | None] = [None, None]
        self._server_ran: list[float | None] = [None, None]
        self._rss_before_bytes = self._peak_bytes = 0
        self._server_peak_bytes: int | None = None
        self._cores = _cores(0) | (_cores(server_pid) if server_pid else set())
        self._kernel: list[kernel.Reading] = []

    def start(self, rss_bytes: int | None) -> None:
        """The strategy is about to be started; this process holds `rss_bytes`."""
        self._rss_before_bytes = rss_bytes or own_peak_bytes()
        # Here and not where the window opens: it takes a good part of a millisecond.
        self._kernel = [kernel.read(self._cores)]
        self.started_ns = perf_counter_ns()

    def open(self) -> None:
        """The first request is about to be sent."""
        self._server_cpu[0] = self._server.cpu_s()
        self._server_ran[0] = self._server.ran_s()
        self._waited[0] = self._own.waited_s()
        self._cpu[0] = own_cpu_s()
        self.opened_ns = perf_counter_ns()

    def close(self) -> None:
        """The last answer is there, or nothing more will come; only the first call counts."""
        if self.closed_ns or not self.opened_ns:
            return
        self.closed_ns = perf_counter_ns()
        self._cpu[1] = own_cpu_s()
        self._waited[1] = self._own.waited_s()
        self._server_cpu[1] = self._server.cpu_s()
        self._server_ran[1] = self._server.ran_s()
        self._peak_bytes = own_peak_bytes()
        self._server_peak_bytes = _most(self._server_peak_bytes, self._server.peak_bytes())
        self._kernel.append(kernel.read(self._cores))
        self._server.close()
        self._own.close()

    def saw_server(self, rss_bytes: int | None) -> None:
        """The target holds so much memory now. Of many processes the kernel keeps no peak."""
        if not self.closed_ns:
            self._server_peak_bytes = _most(self._server_peak_bytes, rss_bytes)

    @property
    def wall_s(self) -> float | None:
        """Seconds from first send to last answer; None where nothing was sent."""
        return (self.closed_ns - self.opened_ns) / 1e9 if self.closed_ns else None

    def client(self, sent: int) -> Client | None:
        """The client's side of the window in which `sent` requests were sent."""
        wall_s = self.wall_s
        if not wall_s:
            return None
        user_s, system_s = (after - before for before, after in zip(*self._cpu, strict=True))
        cpu_s = user_s + system_s
        return Client(
            cpu_user_s=round(user_s, 6),
            cpu_system_s=round(system_s, 6),
            cpu_percent=round(100 * cpu_s / wall_s, 2),
            cpu_us_per_request=round(1e6 * cpu_s / sent, 3) if sent else None,
            peak_rss_bytes=self._peak_bytes,
            rss_before_bytes=self._rss_before_bytes,
            waited_percent=_percent(self._waited, wall_s),
            to_first_send_s=round((self.opened_ns - self.started_ns) / 1e9, 6),
        )

    def server(self) -> Server | None:
        """The target's side, where its process could be watched; its own counts come later."""
        if self._server_pid is None or not self.wall_s:
            return None
        return Server(
            cpu_percent=_percent(self._server_cpu, self.wall_s),
            peak_rss_bytes=self._server_peak_bytes,
            requests=None,
            max_in_flight=None,
            connections_opened=None,
            cpu_s=_grown(self._server_ran),
        )

    def interference(self) -> Interference | None:
        """What disturbed both sides since the start; None where the window did not close."""
        return kernel.between(*self._kernel) if len(self._kernel) == 2 else None


def _cores(pid: int) -> set[int]:
    """The cores that a process (0: this one) may run on; empty where that cannot be known."""
    try:
        return os.sched_getaffinity(pid)
    except (AttributeError, OSError):  # macOS, or a process of someone else or that is gone
        return set()


def _most(*bytes_seen: int | None) -> int | None:
    return max((one for one in bytes_seen if one is not None), default=None)


def _percent(readings: list[float | None], wall_s: float) -> float | None:
    """What a counter of seconds grew by between two readings, as a share of `wall_s`."""
    grown = _grown(readings)
    return None if grown is None else round(100 * grown / wall_s, 2)


def _grown(readings: list[float | None]) -> float | None:
    before, after = readings
    return None if before is None or after is None else after - before


def own_cpu_s() -> tuple[float, float]:
    """CPU seconds of this process so far: (user, system)."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime, usage.ru_stime
