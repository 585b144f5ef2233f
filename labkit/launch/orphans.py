"""Orphans: processes that outlive the one that started them. They are found by a mark, and killed.

The plan: nothing that a trial started outlives it by two seconds, whoever is killed or stopped.

| who ends                 | who sees it                      | what is killed               |
|--------------------------|----------------------------------|------------------------------|
| a child, in any way      | its thread here                  | all with its mark            |
| this process, in any way | a child, as its input ends       | that child of the lab's own  |
|                          | the watcher, `GRACE_S` later     | all with a mark of any child |
| a target, in any way     | the kernel (`measured.lifeline`) | the database that it started |
| this process and watcher | the next lab of this user        | all with a mark of any child |

A mark is a number that a process cannot lose by chance, and that all it starts inherits: the soft
limit on real-time CPU. It is over 10,000 years, and so limits nothing. `fork`, `exec`, `setsid` and
a new environment keep it. Whoever may kill a process may ask for it, or read it in a file. In it
stand when the process of the lab began, the end of that one's number, and the number of the child:
so two labs have no mark in common, and where no living process began then, its lab is gone.

The watcher is a process for as long as there are children. It is no child of this one, so who kills
a whole tree leaves it, and its command line has no 'labkit', so who kills by that name does too. It
waits until it hears that all is done, or until this process is gone. Then children get `GRACE_S` to
end by themselves; what is left is killed, until nothing is. SIGKILL ends what is stopped as well.

Measured on two busy cores: a watcher costs 20 ms of CPU and 9 MB, a search among 190 processes 0.4
ms (14 where it read the files of each). So a study has one for all its runs, and what it never
needs is imported where it is used. After
the end of this process all was gone within 0.6 s. Rejected: process groups and sessions (`setsid`
leaves them), a word in the environment (a program may start another without one, and PostgreSQL
writes its titles there), a parent in between (who stops or kills the client would meet that one
instead), control groups (not everyone may make one), and a signal of the kernel's for programs of
others (it takes Python between fork and exec, among threads).

Outside Linux there is neither mark nor watcher: children of the lab's own end as their input does.
This file runs alone, too, and imports the standard library only.
"""

import os
import resource
import select
import signal
import sys
import time
from contextlib import suppress

GRACE_S, WITHIN_S, CHECK_EVERY_S = 0.5, 1.0, 0.01
# The marks of all labs; the bits of one where the child's number stands; where the start begins.
LABS, OF_CHILD, OF_START = range(1 << 60, 1 << 61), (1 << 16) - 1, 28
IS_LINUX = sys.platform == "linux"
ENDED, DONE = (b"Z", b"X"), b"done"


def mark(pid: int, number: int | None = None) -> None:
    """Give a process this mark; without a number take its mark away."""
    if IS_LINUX:
        # It has ended; or it is allowed less than a mark: then it has none.
        with suppress(OSError, ValueError):
            _, hard = resource.prlimit(pid, resource.RLIMIT_RTTIME)
            resource.prlimit(pid, resource.RLIMIT_RTTIME, (number or hard, hard))


def find(marks: range) -> dict[int, int]:
    """Return the processes that have one of these marks, or are in the session of one that has.

    That one may be a zombie: a child forked before it had its mark is in its session.
    """
    sessions, marked = dict[int, int](), dict[int, int]()
    for name in os.listdir("/proc") if IS_LINUX else ():  # noqa: PTH208  # names only
        with suppress(OSError, ValueError):  # no process; it has ended; or it is another user's
            pid = int(name)
            sessions[pid] = os.getsid(pid)
            try:
                soft = resource.prlimit(pid, resource.RLIMIT_RTTIME)[0]
            except PermissionError:
                if os.geteuid():
                    raise
                # Of `nobody`, and this is a root without CAP_SYS_RESOURCE, as in a container.
                limits = _words(f"{pid}/limits")
                soft = int(limits[limits.index(b"timeout") + 1])
            if soft in marks:
                marked[pid] = soft
    whose = {pid: marked.get(pid) or marked.get(one, 0) for pid, one in sessions.items()}
    return {pid: number for pid, number in whose.items() if number and _start(pid)}


def sweep() -> None:
    """Kill what a lab has left that was killed together with its watcher."""
    found = find(LABS)
    # Who runs within a trial may not see its lab.
    left = {one >> OF_START for one in found.values()} - {found.get(os.getpid(), 0) >> OF_START}
    left -= {*map(_start, os.listdir("/proc"))} if left else set()  # noqa: PTH208  # names only
    for start in left:
        kill(range(start << OF_START, (start + 1) << OF_START))


def _start(pid: int | str) -> int:
    """Return when a process began, as its marks have it; 0 where it has ended."""
    of = _words(f"{pid}/stat")
    return 0 if not of or of[0] in ENDED else LABS.start >> OF_START | int(of[19]) % (1 << 32)


def _words(name: str) -> list[bytes]:
    """Return the words of a file of /proc, of a process those after its name; none without it."""
    from pathlib import Path  # here: most watchers never look

    with suppress(OSError):
        return Path("/proc", name).read_bytes().rpartition(b")")[2].split()
    return []


def kill(marks: range) -> None:
    """Kill them until there are none; after a while give up those that the kernel does not end.

    A daemon's second process may begin behind a search, whose first one ends before it: a search
    that finds none counts where no process has begun meanwhile, as the kernel's last number says,
    or else the second one in turn.
    """
    until, clean = time.monotonic() + WITHIN_S, 0
    while clean < 2 and time.monotonic() < until:
        newest, found = _words("loadavg")[-1:], find(marks)
        clean = 0 if found else clean + 1 + (newest == _words("loadavg")[-1:])
        for pid in found:
            with suppress(OSError):  # it has ended, or has the rights of another user
                os.kill(pid, signal.SIGKILL)
        time.sleep(CHECK_EVERY_S if found else 0)


class Watch:
    """Counts the children of this process, marks them, and has a watcher while there are any."""

    def __init__(self) -> None:
        import threading

        self._lock = threading.Lock()
        self.children, self._marks, self._living, self._pipe = 0, 0, 0, -1

    def __enter__(self) -> int:
        """Have one watcher for all children of the block; give a mark for what others start."""
        return self.begin() | OF_CHILD

    def begin(self, pid: int | None = None) -> int:
        """Mark a child that was started; return its mark. A first one has a watcher started."""
        with self._lock:
            self._living += 1
            if self._living == 1 and IS_LINUX:
                self._start()
            self.children += pid is not None
            number = self._marks + self.children % OF_CHILD
            if pid is not None:
                mark(pid, number)
            return number

    def _start(self) -> None:
        import subprocess
        import threading

        own, (reading, self._pipe) = os.getpid(), os.pipe()
        self._marks = _start(own) << OF_START | own % (1 << 12) << 16
        run = "import os; exec(open(os.environ['WATCHER'], encoding='utf-8').read())"
        with suppress(OSError):  # without it the trial is as good
            started = subprocess.Popen(  # noqa: S603  # our own
                [sys.executable, "-P", "-I", "-S", "-c", run, str(own), str(self._marks)],
                stdin=reading,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                env=os.environ | {"WATCHER": __file__},
            )
            threading.Thread(target=started.wait, daemon=True).start()
        os.close(reading)

    def end(self, *_: object) -> None:
        """Count a child that has ended. After the last one the watcher ends."""
        with self._lock:
            self._living -= 1
            if self._living == 0 and IS_LINUX:
                with suppress(OSError):  # it was killed
                    os.write(self._pipe, DONE)
                os.close(self._pipe)

    __exit__ = end


def watch(parent: int, marks: int) -> None:
    """Wait until that process is done or gone; where it is gone, kill what it has started."""
    mark(os.getpid())  # of a trial that runs a trial: who ends the outer one leaves this one
    if os.fork():
        os._exit(0)
    with suppress(OSError):  # gone already
        watched = select.poll()
        watched.register(os.pidfd_open(parent), select.POLLIN)
        watched.register(0, select.POLLIN)
        watched.poll()
    os.set_blocking(0, False)  # what was forked from the parent may have the other end too
    with suppress(BlockingIOError):
        if os.read(0, len(DONE)) == DONE:
            return
    time.sleep(GRACE_S)
    kill(range(marks, marks + OF_CHILD + 1))


if __name__ == "__main__":
    watch(int(sys.argv[1]), int(sys.argv[2]))
