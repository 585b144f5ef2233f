"""Timers by name: count, total and percentiles; for sync and async code alike.

Each name has a histogram (`labkit.record.histogram`), so a million timings take no more memory
than a few thousand, and percentiles are exact within 0.05 %. Count, total and maximum are exact.
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable
from functools import wraps
from time import perf_counter
from typing import Any, TypeVar

from labkit.errors import BadInput
from labkit.escaping import aligned
from labkit.record import histogram
from labkit.spec.validation import refusal

Function = TypeVar("Function", bound=Callable[..., Any])
_MS = ("mean", "p50", "p99", "max")


class Timing:
    """Times a `with` or `async with` block, or each call of a function that it decorates.

    `seconds` is what the last block took, also where it raised; None until one has ended.
    """

    def __init__(self, name: str, ended: Callable[[str, float], None]) -> None:
        self.name, self._ended = name, ended
        self.seconds: float | None = None
        self._began: list[float] = []

    def __enter__(self) -> Timing:
        self._began.append(perf_counter())
        return self

    def __exit__(self, *error: object) -> None:
        self.seconds = perf_counter() - self._began.pop()
        self._ended(self.name, self.seconds)

    async def __aenter__(self) -> Timing:
        return self.__enter__()

    async def __aexit__(self, *error: object) -> None:
        self.__exit__(*error)

    def __call__(self, function: Function) -> Function:
        """Wrap `function` so that each call is timed; a coroutine function until it has ended.

        Raises `BadInput` for a generator function: calling it takes no time, and the loop over it
        takes time of its own.
        """
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise refusal("generator", timer=self.name, function=function.__name__)
        if inspect.iscoroutinefunction(function):

            @wraps(function)
            async def timed(*args: Any, **named: Any) -> Any:
                # A timing of its own: calls of a coroutine overlap.
                with Timing(self.name, self._ended):
                    return await function(*args, **named)

        else:

            @wraps(function)
            def timed(*args: Any, **named: Any) -> Any:
                with Timing(self.name, self._ended):
                    return function(*args, **named)

        return timed  # type: ignore[return-value] # wraps: it is called as the function is


def timer(name: str, say: Callable[[str], object] | None = print) -> Timing:
    """Time one `with` or `async with` block; its `seconds` are there when it has ended.

    `say` is called with the line `fetch: 0.123 s`, unless it is None.
    """

    def ended(name: str, took_s: float) -> None:
        if say is not None:
            say(f"{name}: {took_s:.3f} s")

    return Timing(name, ended)


class Timers:
    """Named timers and their report: `async with timers("fetch")`, then `timers.report()`."""

    def __init__(self) -> None:
        # By name: how often each bucket of the histogram, the sum and the maximum in seconds.
        self._timed: dict[str, tuple[Counter[int], float, float]] = {}

    def __call__(self, name: str) -> Timing:
        """Return a timer of that name, for one block or as a decorator. Raises `BadInput`."""
        if not isinstance(name, str) or not name:
            raise BadInput(f"name is {name!r}: a timer is named by text; name what it times")
        return Timing(name, self.add)

    def add(self, name: str, seconds: float) -> None:
        """Add one timing that was taken elsewhere."""
        counts, total_s, max_s = self._timed.get(name, (Counter(), 0.0, 0.0))
        counts[histogram.index(max(round(seconds * 1e9), 0))] += 1
        self._timed[name] = counts, total_s + seconds, max(max_s, seconds)

    def rows(self) -> list[dict[str, Any]]:
        """Return count, total, mean, p50, p99 and max of each name in seconds, largest total first.

        `pandas.DataFrame(timers.rows())` is a table of them.
        """
        rows = []
        for name, (counts, total_s, max_s) in self._timed.items():
            of = counts.total()
            found = histogram.phase(counts, sum_s=total_s, longest_s=max_s, of=of)
            times_s = {f"{one}_s": getattr(found, one) for one in _MS}
            rows.append({"name": name, "count": of, "total_s": total_s, **times_s})
        return sorted(rows, key=lambda row: -row["total_s"])

    def report(self) -> str:
        """Return the rows as a table of text."""
        if not self._timed:
            return "Nothing was timed."
        lines = [("name", "count", "total (s)", *(f"{name} (ms)" for name in _MS))]
        for row in self.rows():
            in_ms = [f"{row[f'{name}_s'] * 1e3:,.3f}" for name in _MS]
            lines.append((row["name"], f"{row['count']:,}", f"{row['total_s']:,.3f}", *in_ms))
        return "\n".join(aligned(lines))

    __repr__ = report
