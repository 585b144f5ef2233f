"""What a profiled run found out, as it crosses from the profiled process. None of it is measured.

A profiler slows down what it looks at, some functions more than others: what is here says where
time goes, and never how long something takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, cast

import msgspec

from labkit.profiler.callgraph import CallGraph, Clock
from labkit.spec.validation import check_all

SLOW_S = 0.05
"""How long a callback may hold the loop, unless told otherwise, before it is named."""


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """How a run is to be profiled: by which clock, and from when on a callback is slow."""

    clock: Clock = "wall"
    slow_s: Annotated[float, msgspec.Meta(ge=0.002, le=60)] = SLOW_S

    def __post_init__(self) -> None:
        check_all(self, "profile")

    @classmethod
    def by(cls, clock: str, slow_s: float = SLOW_S) -> Ask:
        """The clock by its name, of which the type is not known. Raises `BadInput`."""
        return cls(clock=cast("Clock", clock), slow_s=slow_s)


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """A callback that held the event loop: which, where it was, when, and for how long."""

    callback: str
    where: str
    at_s: float
    held_s: float


class Profiled(msgspec.Struct, frozen=True, kw_only=True):
    """Of one run: its call graph, and the same times by a clock that is not the profiler's.

    `requests_s` is the sum over requests of the time from a request's call to its end,
    `request_name` the coroutine that took it, `wall_s` the time that was profiled. `slow` are
    callbacks that held the loop for `slow_s` and more, `crowds_s` the times in which many short
    ones did; `slow_s` is None where nobody watched.
    """

    graph: CallGraph
    wall_s: float
    requests_s: float | None = None
    request_name: str | None = None
    slow_s: float | None = None
    slow: tuple[Held, ...] = ()
    crowds_s: tuple[float, ...] = ()


def held_text(found: Sequence[Held], slow_s: float, crowds_s: Sequence[float] = ()) -> str:
    """Slow callbacks as lines of text, the longest first; then the times without a name."""
    limit = f"{slow_s * 1e3:,.0f} ms"
    lines = [f"No callback held the loop for {limit}."]
    if found:
        lines = [f"{'held (ms)':>10}  {'at (s)':>8}  callback, and where it was"]
        for one in sorted(found, key=lambda held: -held.held_s):
            took = f"{one.held_s * 1e3:>10,.1f}  {one.at_s:>8.3f}"
            lines.append(f"{took}  {one.callback} in {one.where}")
    if crowds_s:
        most_ms = max(crowds_s) * 1e3
        times = "Once" if len(crowds_s) == 1 else f"{len(crowds_s):,} times"
        lines.append(
            f"{times} the loop was late by {limit} and more, at most {most_ms:,.0f} ms, with no "
            "one to name: many short callbacks came in turn, or the machine was busy."
        )
    return "\n".join(lines)
