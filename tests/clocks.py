"""A clock for tests that is moved by hand."""

from __future__ import annotations

from collections.abc import Callable


class ByHand:
    """A clock that stands until it is moved, and rings when it is told to."""

    def __init__(self) -> None:
        self.now_ns = 0
        self.due_ns: int | None = None
        self.ring: Callable[[], None]

    def __call__(self, ring: Callable[[], None]) -> ByHand:
        self.ring = ring
        return self

    def set(self, due_ns: int | None) -> None:
        self.due_ns = due_ns
