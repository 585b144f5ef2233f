"""Memory and CPU of a process, read from /proc; None where there is none, or no such process.

Peak memory is the process's own high-water mark (VmHWM): `ru_maxrss` of a child starts at what its
parent held when it was forked.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_HIGH_WATER = re.compile(rb"VmHWM:\s+(\d+) kB")


class Watched:
    """One process whose memory and CPU are read often: its files stay open, a read is one call."""

    def __init__(self, pid: int | None) -> None:
        self.pid = pid
        self._statm = _open(pid, "statm")
        self._stat = _open(pid, "stat")
        self._schedstat = _open(pid, "schedstat")

    def rss_bytes(self) -> int | None:
        """Resident memory now."""
        pages = self.pages()
        return pages[0] * PAGE_BYTES if pages else None

    def pages(self) -> tuple[int, int] | None:
        """Resident pages, and how many of them are of files or shared."""
        data = _pread(self._statm)
        if not data:
            return None
        _, resident, shared = data.split()[:3]
        return int(resident), int(shared)

    def cpu_s(self) -> float | None:
        """CPU seconds so far, user and system, in steps of a clock tick."""
        return self._ticks_s(11, 13)

    def ended_s(self) -> float | None:
        """The same of its children that have ended."""
        return self._ticks_s(13, 15)

    def ran_s(self) -> float | None:
        """Seconds that its first thread has run, to the nanosecond."""
        data = _pread(self._schedstat)
        return int(data.split()[0]) / 1e9 if data else None

    def _ticks_s(self, first: int, end: int) -> float | None:
        data = _pread(self._stat)
        if not data:
            return None
        # The command's name may hold spaces: fields are counted from its closing bracket.
        fields = data[data.rindex(b")") + 2 :].split()
        return sum(map(int, fields[first:end])) / TICKS_PER_S

    def peak_bytes(self) -> int | None:
        """Peak resident memory since it was started."""
        return high_water_bytes(self.pid)

    def waited_s(self) -> float | None:
        """Seconds that the process was ready to run and no core was free for it."""
        data = _pread(self._schedstat)
        return int(data.split()[1]) / 1e9 if data else None

    def close(self) -> None:
        """Give the file descriptors back."""
        for fd in (self._statm, self._stat, self._schedstat):
            if fd is not None:
                os.close(fd)
        self._statm = self._stat = self._schedstat = None


class Family:
    """A process and its children, of which some end and others are started; read as `Watched` is.

    Memory is the pages of each that it shares with nobody, and once those that are shared: what the
    largest maps of them. CPU is that of all, each with one thread; the kernel adds a child that has
    ended to its parent.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._children = _open(pid, f"task/{pid}/children")
        self._members: dict[int, Watched] = {}

    def rss_bytes(self) -> int | None:
        """Resident memory now."""
        found = [pages for one in self._now() if (pages := one.pages())]
        if not found:
            return None
        alone = sum(resident - shared for resident, shared in found)
        return (alone + max(shared for _, shared in found)) * PAGE_BYTES

    def peak_bytes(self) -> int | None:
        """The most that is known: what there is now."""
        return self.rss_bytes()

    def cpu_s(self) -> float | None:
        """CPU seconds so far. Not in ticks, of which each process might have less than one."""
        members = self._now()
        ended = members[0].ended_s() if members else None
        # One that ends just now is missed, or counted by its parent already.
        return None if ended is None else ended + sum(one.ran_s() or 0.0 for one in members)

    def ran_s(self) -> float | None:
        """The same: it is as exact."""
        return self.cpu_s()

    def close(self) -> None:
        """Give the file descriptors back."""
        for one in self._members.values():
            one.close()
        self._members.clear()
        if self._children is not None:
            os.close(self._children)
        self._children = None

    def _now(self) -> list[Watched]:
        """The process itself, and its children at the moment; nothing where they are not told."""
        if self._children is None:
            return []
        pids = [self.pid, *map(int, _read(self._children).split())]
        for gone in self._members.keys() - set(pids):
            self._members.pop(gone).close()
        for new in pids:
            if new not in self._members:
                self._members[new] = Watched(new)
        return [self._members[pid] for pid in pids]


def watched(pid: int | None, processes: str = "one") -> Watched | Family:
    """What to read of a target: one process, or that and all its children."""
    return Family(pid) if pid and processes == "many" else Watched(pid)


def high_water_bytes(pid: int | str | None = "self") -> int | None:
    """Peak resident memory of a process since it was started."""
    try:
        status = Path(f"/proc/{pid}/status").read_bytes()
    except OSError:
        return None
    match = _HIGH_WATER.search(status)
    return int(match[1]) * 1024 if match else None


def own_peak_bytes() -> int:
    """Peak resident memory of this process; from `getrusage` where there is no /proc (macOS)."""
    import resource

    peak = high_water_bytes()
    return peak if peak is not None else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _open(pid: int | None, name: str) -> int | None:
    try:
        return os.open(f"/proc/{pid}/{name}", os.O_RDONLY) if pid else None
    except OSError:
        return None


def _read(fd: int | None) -> bytes:
    """All of a file that may be longer than one call gives."""
    data = b""
    try:
        while fd is not None and (more := os.pread(fd, 65_536, len(data))):
            data += more
    except OSError:  # the process is gone
        return b""
    return data


def _pread(fd: int | None) -> bytes:
    try:
        return os.pread(fd, 1024, 0) if fd is not None else b""
    except OSError:  # the process is gone
        return b""
