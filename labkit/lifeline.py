"""What a process that measures owes the one that started it: one line in, and an end with it."""

from __future__ import annotations

import os
import threading


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
