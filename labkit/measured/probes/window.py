"""CPU and memory of client and server: read at any time, and over the window that is measured.

The window lasts from just before the first send to just after the last answer. `ProcessReader`
reads a process from /proc; what is not there (another system, a process that ended) is None.

Peak memory is the process's own high-water mark (VmHWM): `ru_maxrss` of a child starts at what its
parent used when it was forked.
"""

import os
import re
import resource
import time
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from time import perf_counter_ns
from typing import Any

from labkit.measured.probes import malloc
from labkit.record import interference
from labkit.record.record import Client, Counts, Interference, Server
from labkit.record.stalls import Watch

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
MAX_READINGS = 5
_PAGES = re.compile(rb"(Anonymous|Pss_Anon):\s+(\d+) kB")


class ProcessReader:
    """Memory and CPU of one process. Its files stay open, so that a read is one system call.

    They are closed with it.
    """

    def __init__(self, pid: int | None, *, parent: bool = False) -> None:
        self.pid, self.is_parent = pid, parent
        names = ("statm", "stat", "schedstat", f"task/{pid}/children" if parent else "")
        self._statm, self._stat, self._schedstat, self._children = map(self._open, names)

    def _open(self, name: str) -> int | None:
        with suppress(OSError):
            if self.pid and name:
                file = os.open(f"/proc/{self.pid}/{name}", os.O_RDONLY)
                weakref.finalize(self, os.close, file)
                return file
        return None

    @property
    def pids(self) -> list[int]:
        """Return the process that is read, if there is one."""
        return [self.pid] if self.pid else []

    def rss_bytes(self) -> int | None:
        """Return resident memory now."""
        pages = self.pages()
        return pages[0] * PAGE_BYTES if pages else None

    def pages(self) -> tuple[int, int] | None:
        """Return resident pages, and how many of them are of files or shared."""
        data = _read(self._statm)
        if not data:
            return None
        _, resident, shared = data.split()[:3]
        return int(resident), int(shared)

    def cpu_s(self) -> float | None:
        """Return the CPU seconds of all its threads so far, to the nanosecond."""
        return interference.cpu_s(self.pid) if self._stat is not None else None

    def ended_children_s(self) -> float | None:
        """Return the CPU seconds of its children that have ended, in steps of a clock tick."""
        data = _read(self._stat)
        if not data:
            return None
        # The command's name may contain spaces: fields are counted from its closing bracket.
        fields = data[data.rindex(b")") + 2 :].split()
        return sum(map(int, fields[13:15])) / TICKS_PER_S

    def children(self) -> list[int]:
        """Return the children that its first thread has now, where it is watched as a parent."""
        data = b""
        while more := _read(self._children, len(data)):  # it may be longer than one read
            data += more
        return [*map(int, data.split())]

    def waited_s(self) -> float | None:
        """Return the seconds in which it was ready to run and no core was free for it."""
        data = _read(self._schedstat)
        return int(data.split()[1]) / 1e9 if data else None

    def peak_bytes(self) -> int | None:
        """Return peak resident memory since it was started."""
        return interference.high_water_bytes(self.pid)


class ProcessTreeReader:
    """Memory and CPU of processes and all below them, of which some end and others start.

    Memory is the pages of each that it shares with nobody, and once those that are shared: of files
    and shared memory as many as the process that maps most of them, and of what a process has from
    the one that forked it what the kernel's shares of pages (PSS) add up to. To read those takes a
    millisecond a process: so they are read at first and when a peak is asked for, and not in
    between. CPU is that of all. The kernel adds a child that has
    ended to its parent and shows that sum in ticks: it is off by two ticks at most for each parent,
    however many have ended.

    Of the processes that are named the children of their first threads are added as they come; of
    others nobody asks. The first of a server are named all, whatever thread has started them.
    """

    # Whether the children of those that are added are added as well.
    _is_deep = False

    def __init__(self, *pids: int) -> None:
        self._members = {pid: ProcessReader(pid, parent=True) for pid in pids}
        self._again_bytes = sum(map(_had_by_others_bytes, pids))

    @property
    def pids(self) -> list[int]:
        """Return the processes that are read now."""
        return [*self._members]

    def rss_bytes(self) -> int | None:
        """Return resident memory now."""
        found = [pages for one in self._read_members() if (pages := one.pages())]
        if not found:
            return None
        alone = sum(resident - shared for resident, shared in found)
        return (alone + max(shared for _, shared in found)) * PAGE_BYTES - self._again_bytes

    def peak_bytes(self) -> int | None:
        """Return resident memory now: of several processes together the kernel knows no peak."""
        self._again_bytes = sum(_had_by_others_bytes(one.pid) for one in self._read_members())
        return self.rss_bytes()

    def cpu_s(self) -> float | None:
        """Return the CPU seconds of all so far, of the children that have ended too."""
        ended_s: float | None = None
        used_s: list[float | None] = []
        # A child that ends between the two readings is in neither of them: read both again.
        for _ in range(MAX_READINGS):
            members = self._read_members()
            ended = [one.ended_children_s() for one in members if one.is_parent]
            ended_s = sum(one or 0.0 for one in ended) if members else None
            used_s = [one.cpu_s() for one in members]
            if None not in used_s:
                break
        return None if ended_s is None else ended_s + sum(one or 0.0 for one in used_s)

    def waited_s(self) -> float | None:
        """Return the seconds in which those that run now were ready and no core was free."""
        found = [one.waited_s() for one in self._read_members()]
        return sum(one or 0.0 for one in found) if found else None

    def _read_members(self) -> list[ProcessReader]:
        """Return readers of those that there are now; none where they cannot be read."""
        listed = self._listed()
        for new in listed - self._members.keys():
            self._members[new] = ProcessReader(new, parent=self._is_deep)
        # Not all are listed: some are children of other threads, some have lost their parent.
        unlisted = self._members.keys() - listed
        for gone in [pid for pid in unlisted if self._members[pid].pages() is None]:
            del self._members[gone]
        return [*self._members.values()]

    def _listed(self) -> set[int]:
        return {child for one in self._members.values() for child in one.children()}


class ProgramReader(ProcessTreeReader):
    """Memory and CPU of a program: of all below this process, its orphans too.

    Its peak is the most that all had together, or that one had (VmHWM), at any reading. The
    high-water mark begins anew with a program, and is gone with its end: so what it grows by in the
    last 20 ms is missed. Pages that several share are read when one comes or goes.

    What stops one of them (SIGSTOP) stops what is measured: `stopped` notes from when to when.
    """

    _is_deep = True

    def __init__(self, pid: int) -> None:
        self._above = ProcessReader(os.getpid(), parent=True)
        self._known, self._most_bytes = [pid], 0
        self.stopped, self._stopped_ns = Watch(), 0
        super().__init__(pid)

    def rss_bytes(self) -> int | None:
        """Return resident memory now."""
        now_bytes, before, self._known = super().rss_bytes(), self._known, self.pids
        several = len(self._known) > 1
        if before != self._known:
            self._again_bytes = sum(map(_had_by_others_bytes, self._known)) if several else 0
        elif several:  # one that has just begun may have all of its parent's memory for a moment
            self._most_bytes = max(self._most_bytes, now_bytes or 0)
        status, now_ns = b"".join(map(interference.status, self._known)), perf_counter_ns()
        marks = [1024 * int(kb) for kb in interference.HIGH_WATER.findall(status)]
        self._most_bytes = max(self._most_bytes, *marks, 0)
        if b"State:\tT (stopped)" in status:
            self._stopped_ns = self._stopped_ns or now_ns
        elif self._stopped_ns:
            self.stopped.note(self._stopped_ns, now_ns, 0)
            self._stopped_ns = 0
        return now_bytes

    def peak_bytes(self) -> int:
        """Return the most that was seen."""
        return self._most_bytes

    def _listed(self) -> set[int]:
        return {*self._above.children()} | super()._listed()


# The process of a target, or all of a server's; None is not measured.
Pids = int | Sequence[int] | None


def reader_of(pid: Pids, processes: str = "one") -> ProcessReader | ProcessTreeReader:
    """Return the reader of a target: of one process, or ("many", or several) of all below too."""
    if isinstance(pid, Sequence):
        return ProcessTreeReader(*pid)
    return ProcessTreeReader(pid) if pid and processes == "many" else ProcessReader(pid)


def own_peak_bytes() -> int:
    """Return the peak resident memory of this process; from `getrusage` where /proc is missing."""
    return interference.high_water_bytes() or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def forget_own_peak() -> None:
    """Let the peak of this process's memory begin anew, where the system can."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def own_rss_bytes() -> int:
    """Return the resident memory of this process now, or its peak where /proc is missing."""
    return ProcessReader(os.getpid()).rss_bytes() or own_peak_bytes()


def _had_by_others_bytes(pid: int | None) -> int:
    """Return how much of the memory of a process counts for others that it was forked with."""
    with suppress(OSError):
        sizes = _PAGES.findall(Path(f"/proc/{pid}/smaps_rollup").read_bytes())
        found = {name: 1024 * int(size) for name, size in sizes}
        return found.get(b"Anonymous", 0) - found.get(b"Pss_Anon", found.get(b"Anonymous", 0))
    return 0


def _read(fd: int | None, offset: int = 0) -> bytes:
    try:
        return os.pread(fd, 4_096, offset) if fd is not None else b""
    except OSError:  # the process is gone
        return b""


class Window:
    """What client and server used between the first send and the last answer.

    `start` comes before the strategy starts, `open` and `close` are called by the `Meter`. What
    takes long to read (the counters of the kernel) is read outside; within, the clock is read last
    at the start and first at the end, so that the readings themselves are not in the wall time.

    A process that has its core alone waits for others only: there the run queue is exact. But the
    processes of a database on one core wait for each other, and so do a client and a server that
    share cores. There no more of the waiting is called others' than others have used of the cores:
    their time, without their idle time and the CPU of those that are measured.

    `crowded`: other clients of the trial are to run on its core. How long that was idle is read
    then, from which the same follows once the CPU of all of them is known. They take turns to open,
    and what comes first is sent at `together_ns`: see the barrier in `worker`.
    """

    def __init__(self, server_pid: Pids, processes: str = "one", *, crowded: bool = False) -> None:
        self.of_server = reader_of(server_pid, processes)
        self.of_client: ProcessReader | ProcessTreeReader = ProcessReader(os.getpid())
        self._server_pid = server_pid
        self.started_ns = self.opened_ns = self.closed_ns = self.together_ns = 0
        self._kernel: list[interference.KernelCounters] = []
        # Whether a read of asyncio's takes a new block from the system; see `malloc`.
        self.maps_reads: list[bool | None] = []
        self._rss_before_bytes = self._peak_bytes = self._server_peak_bytes = 0
        own, of_server = _cores(0), set[int]().union(*map(_cores, self.of_server.pids))
        self._cores, self._overlap = own | of_server, bool(own & of_server)
        self._watched = self._cores if self._overlap else of_server
        self._alone = isinstance(self.of_server, ProcessReader) and not self._overlap
        # Each is read twice: in this order when the window opens, the other way when it closes.
        self._read: dict[str, Callable[[], float | None]] = {
            "server_cpu_s": self.of_server.cpu_s,
            "server_waited_s": self.of_server.waited_s,
            "idle_s": partial(interference.idle_s, () if self._alone else self._watched),
            "waited_s": self.of_client.waited_s,
        }
        if crowded:
            self._read["core_idle_s"] = partial(interference.idle_s, own)
        self._before, self._after = dict[str, float | None](), dict[str, float | None]()
        self._cpu_s: list[tuple[float, float]] = []

    def start(self) -> None:
        """Read memory and the kernel's counters before the strategy starts."""
        self.maps_reads = [malloc.settle()]
        self._rss_before_bytes = own_rss_bytes()
        # Here and not where the window opens: it takes a good part of a millisecond.
        self._kernel = [interference.read(self._cores)]
        self.started_ns = perf_counter_ns()

    def open(self) -> None:
        """Read the counters just before the first request is sent."""
        self._before = {name: read() for name, read in self._read.items()}
        self._cpu_s.append(_own_cpu_s())
        self.opened_ns = perf_counter_ns()
        if self.together_ns > self.opened_ns:
            time.sleep((self.together_ns - self.opened_ns) / 1e9)

    def close(self) -> None:
        """Read the counters after the last answer, or when nothing more will come; once only."""
        if self.closed_ns or not self.opened_ns:
            return
        self.closed_ns = perf_counter_ns()
        self._cpu_s.append(_own_cpu_s())
        self._after = {name: read() for name, read in reversed(self._read.items())}
        self._peak_bytes = own_peak_bytes()
        self._kernel.append(interference.read(self._cores))
        self._server_peak_bytes = max(self._server_peak_bytes, self.of_server.peak_bytes() or 0)
        self.maps_reads.append(malloc.settle())

    def _for_others(self, waited_percent: float | None) -> float | None:
        """Return how much of this waiting was for others, and not for the measured themselves."""
        idle_s, server_s = self._grown_s("idle_s"), self._grown_s("server_cpu_s")
        if waited_percent is None or self._alone or idle_s is None or not self.wall_s:
            return waited_percent
        client_s = sum(self._cpu_s[1]) - sum(self._cpu_s[0]) if self._overlap else 0.0
        used_s = idle_s + (server_s or 0.0) + client_s + 2 / TICKS_PER_S
        others_percent = 100 * (len(self._watched) - used_s / self.wall_s)
        return max(min(waited_percent, round(others_percent, 2)), 0.0)

    def note_server_memory(self, rss_bytes: int | None) -> None:
        """Raise the target's peak to `rss_bytes`: of many processes the kernel knows no peak."""
        if not self.closed_ns:
            self._server_peak_bytes = max(self._server_peak_bytes, rss_bytes or 0)

    @property
    def spans_ns(self) -> tuple[int, int, int]:
        """Start, first send and last answer, as `perf_counter_ns` has them; 0 for what was none."""
        return self.started_ns, self.opened_ns, self.closed_ns

    @property
    def wall_s(self) -> float | None:
        """Seconds from first send to last answer; None where nothing was sent."""
        return (self.closed_ns - self.opened_ns) / 1e9 if self.closed_ns else None

    def client(self, sent: int) -> Client | None:
        """Return what the client used in the window, in which `sent` requests were sent."""
        wall_s = self.wall_s
        if not wall_s:
            return None
        user_s, system_s = (after - before for before, after in zip(*self._cpu_s, strict=True))
        waited = self._percent("waited_s")
        return Client.of(
            round(user_s, 6),
            round(system_s, 6),
            wall_s,
            cpu_us_per_request=round(1e6 * (user_s + system_s) / sent, 3) if sent else None,
            waited_percent=self._for_others(waited) if self._overlap else waited,
            to_first_send_s=round((self.opened_ns - self.started_ns) / 1e9, 6),
            peak_rss_bytes=self._peak_bytes,
            rss_before_bytes=self._rss_before_bytes,
            core_idle_s=self._grown_s("core_idle_s"),
        )

    def server(self) -> Server | None:
        """Return what the target used, if its process could be read; its own counts come later."""
        if self._server_pid is None or not self.wall_s:
            return None
        return Server(
            waited_percent=self._for_others(self._percent("server_waited_s")),
            cpu_percent=self._percent("server_cpu_s"),
            peak_rss_bytes=self._server_peak_bytes or None,
            cpu_s=self._grown_s("server_cpu_s"),
        )

    def _grown_s(self, name: str) -> float | None:
        """Return the growth of a counter of seconds in the window."""
        before, after = self._before.get(name), self._after.get(name)
        return None if before is None or after is None else after - before

    def _percent(self, name: str) -> float | None:
        """Return the same in percent of the window."""
        read = (self._before.get(name), self._after.get(name))
        return interference.percent(*read, self.wall_s or 0.0, digits=2)

    def of_both(self, counts: Counts) -> dict[str, Any]:
        """Return the fields of a measurement that every run has, whatever it counted."""
        return {
            "counts": counts,
            "wall_s": self.wall_s,
            "client": self.client(counts.sent),
            "server": self.server(),
            "interference": self.interference(),
        }

    def interference(self) -> Interference | None:
        """Return what disturbed both sides since the start; None if the window did not close."""
        if len(self._kernel) != 2:
            return None
        shared = self._overlap and len(self._cores) == 1
        return interference.between(*self._kernel, core_shared=shared)


def _own_cpu_s() -> tuple[float, float]:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime, usage.ru_stime


def _cores(pid: int) -> set[int]:
    """Return the cores that a process (0: this one) may run on; none where that is unknown."""
    with suppress(AttributeError, OSError):  # macOS, or a process of another or that is gone
        return os.sched_getaffinity(pid)
    return set()
