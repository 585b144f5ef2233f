"""What a process that measures owes the one that started it: one line in, and an end with it."""

from __future__ import annotations

import ctypes
import os
import signal
import threading
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1


def first_line() -> bytes:
    """The first line of standard input, which says what to do."""
    # Unbuffered: what follows it belongs to the thread that waits for the end.
    line = bytearray()
    while not line.endswith(b"\n") and (byte := os.read(0, 1 << 16)):
        line += byte
    return bytes(line)


def end_with_parent() -> None:
    """From now on end this process, whatever it does, when its standard input ends."""
    threading.Thread(target=_wait, daemon=True).start()


def _wait() -> None:
    while os.read(0, 4096):
        pass
    os._exit(1)


def bound() -> Callable[[], None]:
    """What to call in a child, between fork and exec, so that it is killed when this process ends.

    By the system, and so also when this process is killed. For programs that read no standard
    input. Only Linux has it: elsewhere nothing is called.
    """
    prctl, parent = getattr(ctypes.CDLL(None), "prctl", None), os.getpid()

    def bind() -> None:
        if prctl is not None:
            prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it ended before it could be asked for
            os._exit(1)

    return bind
