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
        data = _pread(self._statm)
        return int(data.split()[1]) * PAGE_BYTES if data else None

    def cpu_s(self) -> float | None:
        """CPU seconds so far, user and system, in steps of a clock tick."""
        data = _pread(self._stat)
        if not data:
            return None
        # The command's name may hold spaces: fields are counted from its closing bracket.
        fields = data[data.rindex(b")") + 2 :].split()
        return (int(fields[11]) + int(fields[12])) / TICKS_PER_S

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


def _pread(fd: int | None) -> bytes:
    try:
        return os.pread(fd, 1024, 0) if fd is not None else b""
    except OSError:  # the process is gone
        return b""
