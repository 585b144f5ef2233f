"""yappi around what runs in this thread, and what it found as a call graph.

For a process that is profiled, and is never the one that is timed: yappi looks at every call.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable
from time import perf_counter
from types import CodeType
from typing import Any

import yappi

from labkit.errors import BadInput
from labkit.profiler.callgraph import Call, CallGraph, Clock, Function
from labkit.profiler.result import Ask, Profiled
from labkit.profiler.slow_callbacks import SlowCallbacks

Fetch = Callable[[int], Awaitable[object]]
Strategy = Callable[..., Awaitable[object]]

_COROUTINE = inspect.CO_COROUTINE | inspect.CO_ITERABLE_COROUTINE | inspect.CO_ASYNC_GENERATOR
_AROUND = "around_strategy"
_METHOD = re.compile(r"<method '(?P<name>[^']+)' of '(?P<type>[^']+)' objects>")
_UNSEEN = ("profiler/profiler.py", "profiler/slow_callbacks.py", "yappi.py")


class Profiler:
    """Profiles this thread from `start` to `stop`.

    `tag_of` says whose a call is; then only calls of the tag `only` are seen. It is asked at every
    call and gives a number.
    """

    def __init__(
        self, clock: Clock, *, tag_of: Callable[[], int] | None = None, only: int | None = None
    ) -> None:
        self.clock, self._tag_of, self._only = clock, tag_of, only
        self._before = "cpu"
        self._began_s = self.wall_s = 0.0

    def start(self) -> None:
        """Raises `BadInput` where yappi is at work already: there is one of it in a process."""
        if yappi.is_running():
            raise BadInput(
                "the profiler yappi is running in this process already: there is only one; "
                "end it with yappi.stop()"
            )
        self._before = yappi.get_clock_type()
        yappi.clear_stats()
        yappi.set_clock_type(self.clock)
        if self._tag_of is not None:
            yappi.set_tag_callback(self._tag_of)
        self._began_s = perf_counter()
        # With what is written in C: yappi takes its time from its callers anyway, seen or not.
        yappi.start(builtins=True, profile_threads=False)

    def stop(self) -> None:
        """Until here."""
        yappi.stop()
        self.wall_s = perf_counter() - self._began_s

    def seen(self) -> CallGraph:
        """What was seen, once it has been stopped. Leaves yappi as it was found, and empty."""
        graph = _graph(self.clock, yappi.get_func_stats(tag=self._only, filter_callback=_shown))
        yappi.clear_stats()
        yappi.set_tag_callback(None)
        yappi.set_clock_type(self._before)
        return graph


class ProfiledRun:
    """One strategy's run under the profiler, with the requests' time by a clock of its own."""

    def __init__(self, ask: Ask) -> None:
        self._profiler, self._slow = Profiler(ask.clock), SlowCallbacks(ask.slow_s)
        self._requests_s, self._name = 0.0, ""

    def requests(self, fetch: Fetch) -> Fetch:
        """`fetch`, with its time added up: the coroutine that stands for a request."""

        async def request(item: int) -> None:
            began = perf_counter()
            try:
                await fetch(item)
            finally:
                self._requests_s += perf_counter() - began

        self._name = _name(request.__code__)
        return request

    def around(self, strategy: Strategy, tell: Callable[[Profiled], None]) -> Strategy:
        """`strategy` under the profiler; `tell` gets what was found, however it ended."""

        async def around_strategy(fetch: Fetch, items: range, limit: int) -> None:
            try:
                with self._slow:
                    self._profiler.start()
                    try:
                        await strategy(fetch, items, limit)
                    finally:
                        self._profiler.stop()
            finally:
                tell(self._found(self._profiler.seen()))

        return around_strategy

    def _found(self, graph: CallGraph) -> Profiled:
        return Profiled(
            graph=graph,
            wall_s=self._profiler.wall_s,
            requests_s=self._requests_s,
            request_name=self._name,
            slow_s=self._slow.slow_s,
            slow=tuple(self._slow.found),
            crowds_s=tuple(self._slow.crowds_s),
        )


def _shown(stat: Any) -> bool:
    """Not the profiler's own calls; the two coroutines above are the run's."""
    return not stat.module.endswith(_UNSEEN) or stat.name in ("request", _AROUND)


def _graph(clock: Clock, stats: Any) -> CallGraph:
    """Without the coroutine around the strategy: what called it is shown as the strategy's caller.

    It has not ended when the profiler stops, so that yappi knows no total of it.
    """
    around = {stat.index: list(stat.children) for stat in stats if stat.name == _AROUND}
    seen = [stat for stat in stats if stat.index not in around]
    places = {stat.index: place for place, stat in enumerate(seen)}
    return CallGraph(clock=clock, functions=tuple(_function(one, places, around) for one in seen))


def _function(stat: Any, places: dict[int, int], around: dict[int, list[Any]]) -> Function:
    code = _code(stat)
    children = [one for child in stat.children for one in around.get(child.index, [child])]
    return Function(
        name=_built_in(stat) if code is None else _name(code),
        file="" if code is None else stat.module,
        line=stat.lineno,
        coroutine=code is not None and bool(code.co_flags & _COROUTINE),
        calls=stat.ncall,
        total_s=stat.ttot,
        self_s=stat.tsub,
        called=tuple(
            Call(callee=places[one.index], calls=one.ncall, total_s=one.ttot, self_s=one.tsub)
            for one in children
            if one.index in places
        ),
    )


def _code(stat: Any) -> CodeType | None:
    """The code that was profiled: yappi keeps it, and shows it nowhere else."""
    found = yappi._fn_descriptor_dict.get(stat.full_name)
    return found if isinstance(found, CodeType) else None


def _built_in(stat: Any) -> str:
    """What is written in C, by a name like those of what is not: `socket.send`, `time.sleep`."""
    method = _METHOD.fullmatch(stat.name)
    if method is not None:
        return f"{method['type'].rpartition('.')[2]}.{method['name']}"
    return str(stat.name) if stat.module == "builtins" else f"{stat.module}.{stat.name}"


def _name(code: CodeType) -> str:
    return code.co_qualname.replace(".<locals>", "")
