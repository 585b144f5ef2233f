"""The child's side of the process protocol: read one job, and end when the parent is gone.

Everything that the lab starts runs below the process that started it, and must end with it, however
that one ends. A process of the lab's own watches its standard input, whose other end the parent
has: it closes when the parent ends, even by SIGKILL. It does so in a thread, as an event loop that
is blocked could not. On a worker of a cluster (`launch.cluster`) the one who started it may stand
still as well, so there is a lease, too: each line renews it. A program of others reads no standard
input: the kernel kills it (Linux only).
"""

import asyncio
import ctypes
import os
import resource
import runpy
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from importlib import import_module
from types import MappingProxyType, ModuleType
from typing import Any, TypeVar

import msgspec

from labkit.spec.validation import refusal

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
# Systems other than Linux have nothing like it, and nothing is asked there.
_prctl: Any = getattr(ctypes.CDLL(None), "prctl", lambda *_: None)
# On a worker of a cluster: in so many seconds a line must come, or the kernel ends this process.
LEASE_S, RENEWAL = float(os.environ.get("LABKIT_LEASE_S", "0")), b"null\n"


Job = TypeVar("Job")


def take_job(kind: type[Job]) -> tuple[Job, int]:
    """Read what to do, and run on the core that it names; return it and a descriptor to the parent.

    What is printed from now on goes to standard error.
    """
    job = msgspec.json.decode(next_line(), type=kind)
    fd = os.dup(1)
    os.dup2(2, 1)
    if (core := getattr(job, "core", None)) is not None:
        os.sched_setaffinity(0, {core})
    return job, fd


# How long this process waited for lines, in seconds.
WAITED_S: list[float] = []


def next_line() -> bytes:
    """Read the next line that is more than a renewal of the lease; nothing at the parent's end."""
    line, waiting_from = RENEWAL, time.perf_counter()
    while line == RENEWAL:
        _renew()
        line = sys.stdin.buffer.readline()
    WAITED_S.append(time.perf_counter() - waiting_from)
    _renew(0.0)  # nobody reads while this process imports what it needs
    return line


def _renew(lease_s: float = LEASE_S) -> None:
    if LEASE_S:
        signal.setitimer(signal.ITIMER_REAL, lease_s)


def send(fd: int, content: Any) -> None:
    """Send one line of JSON to the parent, whole."""
    data = msgspec.json.encode(content) + b"\n"
    while data:
        data = data[os.write(fd, data) :]


# Names in the main module that are a strategy's.
_SHARED: set[str] = set()


def load(
    function: str, path: Sequence[str] = (), options: Mapping[str, Any] = MappingProxyType({})
) -> Any:
    """Load a strategy of the user's own: from cloudpickle bytes in base64, which have its options.

    Or from 'PATH.py:NAME', which another Python than the parent's is given, with these options.
    What it imports is found where the parent would find it: in `path`, behind this process's own.
    A pool that it starts forks its processes from this one, and they look for functions of a cell
    by name in the main module: so what it calls stands there as well, beside what is there. Those
    of a file stand in a module of its name.
    """
    import base64  # here: most trials have a strategy of the lab's
    import pickle

    sys.path.extend(entry for entry in path if entry not in sys.path)
    if ":" in function:
        file, _, name = function.rpartition(":")
        strategy = runpy.run_path(file, run_name=file.replace(".", "_"))[name]
        strategy = strategy.__wrapped__ if hasattr(strategy, "__labkit_guard__") else strategy
        strategy = partial(strategy, **options) if options else strategy
    else:
        strategy = pickle.loads(base64.b64decode(function))  # noqa: S301  # from the parent
    main = vars(sys.modules["__main__"])
    own = getattr(getattr(strategy, "func", strategy), "__globals__", {})
    if (home := own.get("__name__", "")).startswith("/"):
        sys.modules[home] = ModuleType(home)
        vars(sys.modules[home]).update(own)
    for name, value in own.items():
        if getattr(value, "__module__", "") == "__main__" and (name not in main or name in _SHARED):
            main[name] = value
            _SHARED.add(name)
    return strategy


# Who is given what the parent writes while this process goes on, in the thread that reads it.
HEARD: list[Callable[[bytes], object]] = []


def end_with_parent(status: int = 1, *, grace_s: float = 0.0) -> None:
    """From now on end this process when its standard input ends, whatever it is doing.

    With a `grace_s` by SIGTERM, so that it can clean up, and only after so many seconds at once.
    """

    def wait() -> None:
        with suppress(OSError):
            _renew()
            while data := os.read(0, 4096):
                _renew()
                for hear in HEARD if (said := data.replace(RENEWAL, b"")) else ():
                    hear(said)
        if grace_s:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(grace_s)
        os._exit(status)

    threading.Thread(target=wait, name="end-with-parent", daemon=True).start()


def killed_with_parent(number: signal.Signals = signal.SIGKILL) -> Callable[[], None]:
    """Return a `preexec_fn`: the kernel sends a child the signal when the calling thread ends.

    Safe beside the one other thread that there may be, which waits in `read` and holds no lock. The
    kernel forgets this where the user changes: `Popen` sets the user before it calls this.
    """
    parent = os.getpid()

    def ask_kernel() -> None:
        _prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)
        if os.getppid() != parent:  # it ended before it could be asked for
            os._exit(1)

    return ask_kernel


def adopt_orphans() -> None:
    """Become the parent of what is below this process and loses its own (Linux only)."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def raise_descriptor_limit() -> None:
    """Allow as many descriptors as the system allows without privileges."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def loop_factory(loop: str, field: str = "trial.loop") -> Callable[[], asyncio.AbstractEventLoop]:
    """Return what makes an event loop of this kind. Raises `BadInput` where it is missing."""
    if loop == "asyncio":
        return asyncio.new_event_loop
    try:
        factory: Callable[[], asyncio.AbstractEventLoop] = import_module(loop).new_event_loop
    except ImportError:
        raise refusal("loop-here", field=field, loop=loop) from None
    return factory
