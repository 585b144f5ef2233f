"""A call graph (who called whom, how often, for how long), and all that a profiled run returns.

Times are in seconds of the graph's clock. `total_s` is what a function took with all that it
called, `self_s` without. By the clock `wall`, a coroutine takes from its first step to its end,
waiting included; several of them wait at the same time, so that totals may exceed the run's own
time: they are seconds of tasks. By `cpu` waiting takes no time. Pure: nothing here profiles.

A profiler slows down what it observes, some functions more than others: these times say where time
goes, and never how long something takes.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Annotated, Any, Literal, TypeVar

import msgspec

from labkit.profiler.slow_callbacks import SLOW_S, SlowCallback
from labkit.spec.validation import check_all

Clock = Literal["wall", "cpu"]
MAX_ROUNDS = 50
# Of a flame chart: how deep it is drawn, and the least width of a block as a share of the whole.
MAX_DEPTH, LEAST = 14, 0.003
_INSTALLED = re.compile(r".*/(?:site-packages|python3\.\d+|dist-packages)/")


class Times(msgspec.Struct, frozen=True, kw_only=True):
    """How often something was called, and what it took."""

    calls: int
    total_s: float
    self_s: float


class Call(Times, frozen=True, kw_only=True):
    """A function's calls of one other: the callee's index in the graph, and what it took there."""

    callee: int


class Function(Times, frozen=True, kw_only=True):
    """A function or coroutine, by the qualified name of its code; `file` is empty for one in C."""

    name: str
    file: str
    line: int
    coroutine: bool
    called: tuple[Call, ...] = ()

    @property
    def place(self) -> str:
        """Return file and line for display."""
        return place(self.file, self.line) if self.file else "in C"


def place(file: str, line: int) -> str:
    """Return file and line for display: from the package on, or the file's name alone."""
    short = _INSTALLED.sub("", file)
    if short == file:
        at = file.rfind("/labkit/")
        short = file[at + 1 :] if at >= 0 else file.rpartition("/")[2]
    return f"{short}:{line}"


Timed = TypeVar("Timed", bound=Times)


class Block(msgspec.Struct, frozen=True, kw_only=True):
    """A function within the calls that led to it: a block of a flame chart."""

    function: Function
    start_s: float
    took_s: float
    depth: int


class CallGraph(msgspec.Struct, frozen=True, kw_only=True):
    """Functions in any order; `callee` of their calls is an index among them."""

    clock: Clock
    functions: tuple[Function, ...]

    def calls_of(self, function: Function) -> Sequence[Call]:
        """Return the calls of a function that it waited for.

        A plain function cannot await. Where one seems to call a coroutine, it is the event loop
        that runs a task's next step, and by the clock `wall` its time is none of the loop's.
        """
        awaits = self.clock == "cpu" or function.coroutine
        called = [(call, self.functions[call.callee]) for call in function.called]
        return [call for call, to in called if to is not function and (awaits or not to.coroutine)]

    def within(self, roots: Collection[int], hidden: Collection[int] = ()) -> CallGraph:
        """Return the graph of what `roots` did, and others on their behalf.

        Times and calls of a function that others call too are divided as in `shares`. `hidden`
        are left out, with what they called.
        """
        shares = self.shares(roots, hidden)
        inside = [index for index, share in enumerate(shares) if share and index not in hidden]
        new_index = {index: new for new, index in enumerate(inside)}
        functions = []
        for index in inside:
            function, share = self.functions[index], shares[index]
            called = tuple(
                _share_of(call, share, callee=new_index[call.callee])
                for call in function.called
                if call.callee in new_index
            )
            calls = max(round(share * function.calls), 1)
            functions.append(_share_of(function, share, calls=calls, called=called))
        return CallGraph(clock=self.clock, functions=tuple(functions))

    def shares(self, roots: Collection[int], hidden: Collection[int] = ()) -> list[float]:
        """Return for each function the share of its time that it took on behalf of `roots`.

        A function that is called from several places takes as much of its time for each caller as
        was measured between the two; what it calls in turn is divided alike (as by gprof: Graham,
        Kessler and McKusick 1982). What `hidden` call is on nobody's behalf.

        Each round passes the shares one call further down, until they change no more; recursion
        needs several rounds, so their number is bounded.
        """
        shares = [float(index in roots) for index in range(len(self.functions))]
        for _ in range(MAX_ROUNDS):
            taken_s = [0.0] * len(self.functions)
            for index, (function, share) in enumerate(zip(self.functions, shares, strict=True)):
                for call in self.calls_of(function) if share and index not in hidden else ():
                    taken_s[call.callee] += share * call.total_s
            found = [
                1.0 if index in roots else min(taken_s[index] / (function.total_s or 1.0), 1.0)
                for index, function in enumerate(self.functions)
            ]
            if max((abs(a - b) for a, b in zip(shares, found, strict=True)), default=0) < 1e-9:
                break
            shares = found
        return shares

    def in_coroutines_s(self, root: int) -> float:
        """Return the seconds below `root` in which a coroutine itself computed or waited.

        Not counted: the own time of plain functions, and time in which no function was seen.
        """
        shared = zip(self.shares({root}), self.functions, strict=True)
        return sum(share * function.self_s for share, function in shared if function.coroutine)

    def roots(self) -> list[tuple[int, float]]:
        """Return the functions with seconds that no caller accounts for, the longest first.

        By the clock `wall` only the coroutines among them, if there are any: they are the tasks.
        """
        left_s = [function.total_s for function in self.functions]
        for function in self.functions:
            for call in self.calls_of(function):
                left_s[call.callee] -= call.total_s
        # The differences of rounded numbers are not exactly 0.
        roots = [(index, took_s) for index, took_s in enumerate(left_s) if took_s > 1e-7]
        tasks = [root for root in roots if self.functions[root[0]].coroutine]
        chosen = tasks if tasks and self.clock == "wall" else roots
        return sorted(chosen, key=lambda root: -root[1])

    def blocks(self, least: float = LEAST) -> list[Block]:
        """Return the flame chart: each root and what it called, depth by depth, longest first.

        Blocks of less than `least` of the whole are left out, and so are those deeper than
        `MAX_DEPTH`.
        """
        roots = self.roots()
        least_s = least * sum(took_s for _, took_s in roots)
        blocks: list[Block] = []

        def stack(path: tuple[int, ...], start_s: float, took_s: float) -> None:
            function, depth = self.functions[path[-1]], len(path) - 1
            blocks.append(Block(function=function, start_s=start_s, took_s=took_s, depth=depth))
            calls = [call for call in self.calls_of(function) if call.callee not in path]
            called_s = sum(call.total_s for call in calls)
            # The callees get no more than the caller has: it did not wait for all that it started.
            scale = took_s / max(function.total_s, called_s) if called_s else 0.0
            for call in sorted(calls, key=lambda call: -call.total_s):
                within_s = call.total_s * scale
                if within_s < least_s or depth + 1 >= MAX_DEPTH:
                    break
                stack((*path, call.callee), start_s, within_s)
                start_s += within_s

        start_s = 0.0
        for root, took_s in roots:
            if took_s >= least_s:
                stack((root,), start_s, took_s)
            start_s += took_s
        return blocks


def _share_of(times: Timed, share: float, **changes: Any) -> Timed:
    """Return a share of the times of a function or a call, with `changes` of other fields."""
    shared = {"total_s": share * times.total_s, "self_s": share * times.self_s}
    return msgspec.structs.replace(times, **shared, **changes)


class ProfileOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How a run is to be profiled: by which clock, and from how long on a callback is slow.

    With `memory` its allocations are traced, and no clock counts.
    """

    clock: Clock = "wall"
    memory: bool = False
    slow_s: Annotated[float, msgspec.Meta(ge=0.002, le=60)] = SLOW_S

    def __post_init__(self) -> None:
        check_all(self, "profile")


class ProfileResult(msgspec.Struct, frozen=True, kw_only=True):
    """The call graph of one run, and the same times by a clock that is not the profiler's.

    `requests_s` is the sum over requests of the time from a request's call to its end,
    `request_name` the coroutine that took it, `wall_s` the time that was profiled. `slow` are the
    callbacks that blocked the loop for `slow_s` or more, `unattributed_stalls_s` the times for
    which no single one was the cause; `slow_s` is None where the loop was not watched. Where memory
    was traced, there is no graph, and `allocated` are the bytes in use at the peak by the stack
    that allocated them: 'FUNCTION PLACE' from the outside in, with semicolons between.
    """

    graph: CallGraph
    wall_s: float
    requests_s: float | None = None
    request_name: str | None = None
    slow_s: float | None = None
    slow: tuple[SlowCallback, ...] = ()
    unattributed_stalls_s: tuple[float, ...] = ()
    allocated: dict[str, int] = {}
