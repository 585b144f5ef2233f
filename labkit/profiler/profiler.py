"""Run yappi around the code of this thread, and turn its statistics into a call graph.

For a process that is profiled and never measured: yappi intercepts every call.
"""

import inspect
import re
from collections.abc import Awaitable, Callable
from threading import get_ident
from time import perf_counter
from types import CodeType
from typing import Any

import yappi

from labkit.profiler import callgraph
from labkit.profiler.callgraph import CallGraph, Clock, ProfileOptions, ProfileResult
from labkit.profiler.slow_callbacks import SlowCallbacks, name_of
from labkit.spec.validation import refusal

Fetch = Callable[[int], Awaitable[object]]
Strategy = Callable[..., Awaitable[object]]

_COROUTINE = inspect.CO_COROUTINE | inspect.CO_ITERABLE_COROUTINE | inspect.CO_ASYNC_GENERATOR
_AROUND = "around_strategy"
_METHOD = re.compile(r"<method '(?P<name>[^']+)' of '(?P<type>[^']+)' objects>")
_UNSEEN = ("profiler/profiler.py", "profiler/slow_callbacks.py", "yappi.py")


class Profiler:
    """Profiles this thread from `start` to `stop`.

    `tag_of` is called at every call and returns a number; then only calls with the number `only`
    are in the graph.
    """

    def __init__(
        self, clock: Clock, *, tag_of: Callable[[], int] | None = None, only: int | None = None
    ) -> None:
        self.clock, self._tag_of, self._only = clock, tag_of, only
        self._before = "cpu"
        self._began_s = self.wall_s = 0.0

    def start(self) -> None:
        """Start yappi. Raises `BadInput` where it runs already: a process has only one."""
        if yappi.is_running():
            raise refusal("yappi")
        self._before = yappi.get_clock_type()
        yappi.clear_stats()
        yappi.set_clock_type(self.clock)
        if self._tag_of is not None:
            yappi.set_tag_callback(self._tag_of)
        self._began_s = perf_counter()
        # Functions written in C too: yappi takes their time from their callers in any case. All
        # threads: from Python 3.12 on it is called in all, and else prints an error in each call of
        # the others, which a kernel's thread that reads what is printed never ends.
        yappi.start(builtins=True, profile_threads=True)

    def stop(self) -> None:
        """Stop yappi."""
        yappi.stop()
        self.wall_s = perf_counter() - self._began_s

    def graph(self) -> CallGraph:
        """Return the call graph once stopped. Leaves yappi with its former settings, and empty.

        The coroutine around a strategy is left out. It has not ended when the profiler stops, so
        that yappi has no total of it: what called it becomes the caller of the strategy.
        """

        def is_shown(stat: Any) -> bool:
            # Not the profiler's own calls; but its two coroutines belong to the run.
            return not stat.module.endswith(_UNSEEN) or stat.name in ("request", _AROUND)

        [own] = [one.id for one in yappi.get_thread_stats() if one.tid == get_ident()]
        which: Any = {"filter": {"ctx_id": own}, "filter_callback": is_shown}  # 0 is one, too
        stats = yappi.get_func_stats(tag=self._only, **which)
        around = {stat.index: list(stat.children) for stat in stats if stat.name == _AROUND}
        shown = [stat for stat in stats if stat.index not in around]
        index_of = {stat.index: index for index, stat in enumerate(shown)}
        functions = []
        for stat in shown:
            children = [one for child in stat.children for one in around.get(child.index, [child])]
            # yappi keeps the code object, and shows it nowhere else.
            code = yappi._fn_descriptor_dict.get(stat.full_name)
            in_python = isinstance(code, CodeType)
            own = {**_times(stat), "name": name_of(code) if in_python else _name_in_c(stat)}
            own |= {"file": stat.module if in_python else "", "line": stat.lineno}
            own["coroutine"] = in_python and bool(code.co_flags & _COROUTINE)
            pairs = [(index_of.get(one.index), one) for one in children]
            called = [callgraph.Call(callee=n, **_times(one)) for n, one in pairs if n is not None]
            functions.append(callgraph.Function(**own, called=tuple(called)))
        yappi.clear_stats()
        yappi.set_tag_callback(None)
        yappi.set_clock_type(self._before)
        return CallGraph(clock=self.clock, functions=tuple(functions))


class ProfiledRun:
    """One strategy's run under the profiler, with the requests' time by another clock."""

    def __init__(self, options: ProfileOptions) -> None:
        self._profiler, self._slow = Profiler(options.clock), SlowCallbacks(options.slow_s)
        self._requests_s, self._name = 0.0, ""

    def time_requests(self, fetch: Fetch) -> Fetch:
        """Wrap `fetch` in the coroutine that stands for a request, and add up its time."""

        async def request(item: int) -> object:
            began = perf_counter()
            try:
                return await fetch(item)
            finally:
                self._requests_s += perf_counter() - began

        self._name = name_of(request.__code__)
        return request

    def wrap(self, strategy: Strategy, on_result: Callable[[ProfileResult], None]) -> Strategy:
        """Wrap `strategy` in the profiler; `on_result` gets the result, however it ended."""

        async def around_strategy(fetch: Fetch, items: range, limit: int) -> None:
            try:
                with self._slow:
                    self._profiler.start()
                    try:
                        await strategy(fetch, items, limit)
                    finally:
                        self._profiler.stop()
            finally:
                run, slow, stalls_s = self._profiler, self._slow, self._slow.unattributed_stalls_s
                found: dict[str, Any] = {"graph": run.graph(), "wall_s": run.wall_s}
                found |= {"requests_s": self._requests_s, "request_name": self._name}
                found |= {"slow_s": slow.slow_s, "slow": tuple(slow.found)}
                on_result(ProfileResult(**found, unattributed_stalls_s=tuple(stalls_s)))

        return around_strategy


def _times(stat: Any) -> dict[str, Any]:
    return {"calls": stat.ncall, "total_s": stat.ttot, "self_s": stat.tsub}


def _name_in_c(stat: Any) -> str:
    """Return the name of a function written in C in Python's style: `socket.send`, `time.sleep`."""
    method = _METHOD.fullmatch(stat.name)
    if method is not None:
        return f"{method['type'].rpartition('.')[2]}.{method['name']}"
    return str(stat.name) if stat.module == "builtins" else f"{stat.module}.{stat.name}"
