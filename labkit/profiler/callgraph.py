"""A call graph: functions and coroutines, who called whom, how often and for how long. Pure.

Times are in seconds of the graph's clock. `total_s` is what a function took with all that it
called, `self_s` without. By the clock `wall`, a coroutine takes from its first step to its end,
waiting included; several of them wait at the same time, so that totals may exceed the run's own
time: they are seconds of tasks. By `cpu` nothing that waits takes anything.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Literal

import msgspec

Clock = Literal["wall", "cpu"]
MOST_ROUNDS = 50
MOST_DEPTH = 14
_INSTALLED = re.compile(r".*/(?:site-packages|python3\.\d+|dist-packages)/")


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """What one function called: the callee's place in the graph, and what it took from there."""

    callee: int
    calls: int
    total_s: float
    self_s: float


class Function(msgspec.Struct, frozen=True, kw_only=True):
    """One function or coroutine, by the name that its code has; `file` is empty for one in C."""

    name: str
    file: str
    line: int
    coroutine: bool
    calls: int
    total_s: float
    self_s: float
    called: tuple[Call, ...] = ()

    @property
    def place(self) -> str:
        """File and line as people read them: from the package on, or the file's name alone."""
        if not self.file:
            return "in C"
        short = _INSTALLED.sub("", self.file)
        if short == self.file:
            at = self.file.rfind("/labkit/")
            short = self.file[at + 1 :] if at >= 0 else self.file.rpartition("/")[2]
        return f"{short}:{self.line}"


class Block(msgspec.Struct, frozen=True, kw_only=True):
    """A function within the calls that led to it: a block of a flame chart."""

    function: Function
    start_s: float
    took_s: float
    depth: int


class CallGraph(msgspec.Struct, frozen=True, kw_only=True):
    """Functions in any order; `called` refers to places among them."""

    clock: Clock
    functions: tuple[Function, ...]

    def calls_of(self, function: Function) -> Sequence[Call]:
        """What a function called and waited for.

        A plain function cannot await. Where one is seen to call a coroutine, it is the event loop
        that makes a task's next step, and by the clock `wall` its time is none of the loop's.
        """
        return [
            call
            for call in function.called
            if self.functions[call.callee] is not function
            and (
                self.clock == "cpu"
                or function.coroutine
                or not self.functions[call.callee].coroutine
            )
        ]

    def within(self, roots: Collection[int], hidden: Collection[int] = ()) -> CallGraph:
        """What `roots` took themselves and on their behalf, and nothing else.

        Times and calls of a function that others call too are shared out as in `shares`. `hidden`
        are left out, with what they called.
        """
        shares = self.shares(roots, hidden)
        kept = [place for place, share in enumerate(shares) if share and place not in hidden]
        now = {place: index for index, place in enumerate(kept)}
        functions = tuple(_scaled(self.functions[place], shares[place], now) for place in kept)
        return CallGraph(clock=self.clock, functions=functions)

    def shares(self, roots: Collection[int], hidden: Collection[int] = ()) -> list[float]:
        """For each function the share of its time that it took on behalf of those at `roots`.

        A function that is called from several places takes as much of its time for each caller as
        was seen between the two; what it calls in turn is shared out alike (as by gprof: Graham,
        Kessler and McKusick 1982). What `hidden` call is on nobody's behalf.
        """
        shares = [float(place in roots) for place in range(len(self.functions))]
        for _ in range(MOST_ROUNDS):
            found = self._shared_out(shares, roots, hidden)
            if max((abs(a - b) for a, b in zip(shares, found, strict=True)), default=0) < 1e-9:
                break
            shares = found
        return shares

    def _shared_out(
        self, shares: list[float], roots: Collection[int], hidden: Collection[int]
    ) -> list[float]:
        taken_s = [0.0] * len(self.functions)
        for place, (function, share) in enumerate(zip(self.functions, shares, strict=True)):
            for call in self.calls_of(function) if share and place not in hidden else ():
                taken_s[call.callee] += share * call.total_s
        return [
            1.0 if place in roots else min(taken_s[place] / (function.total_s or 1.0), 1.0)
            for place, function in enumerate(self.functions)
        ]

    def in_coroutines_s(self, root: int) -> float:
        """Seconds below `root` that are some coroutine's own: it computed, or it waited.

        What is not counted: the own time of plain functions, and what the profiler saw nobody in.
        """
        return sum(
            share * function.self_s
            for share, function in zip(self.shares({root}), self.functions, strict=True)
            if function.coroutine
        )

    def uncalled(self) -> list[tuple[int, float]]:
        """Functions that nobody is seen to call, with the seconds that no caller accounts for."""
        left_s = [function.total_s for function in self.functions]
        for function in self.functions:
            for call in self.calls_of(function):
                left_s[call.callee] -= call.total_s
        # Sums of rounded numbers: what is left of nothing is nothing.
        return [(place, took_s) for place, took_s in enumerate(left_s) if took_s > 1e-7]

    def roots(self) -> list[tuple[int, float]]:
        """Those that nobody calls, the longest first.

        By the clock `wall` the coroutines among them, where there are any: they are the tasks.
        """
        found = self.uncalled()
        tasks = [one for one in found if self.functions[one[0]].coroutine]
        chosen = tasks if tasks and self.clock == "wall" else found
        return sorted(chosen, key=lambda one: -one[1])

    def blocks(self, least: float = 0.003) -> list[Block]:
        """The flame chart: each root and what it called, depth by depth, longest first.

        Blocks of less than `least` of the whole are left out, and so is what is deeper than
        `MOST_DEPTH`.
        """
        roots = self.roots()
        whole_s = sum(took_s for _, took_s in roots)
        blocks: list[Block] = []
        start_s = 0.0
        for place, took_s in roots:
            if took_s >= least * whole_s:
                self._stack(blocks, (place,), start_s, took_s, least * whole_s)
            start_s += took_s
        return blocks

    def _stack(
        self,
        blocks: list[Block],
        path: tuple[int, ...],
        start_s: float,
        took_s: float,
        least_s: float,
    ) -> None:
        function = self.functions[path[-1]]
        depth = len(path) - 1
        blocks.append(Block(function=function, start_s=start_s, took_s=took_s, depth=depth))
        calls = [call for call in self.calls_of(function) if call.callee not in path]
        called_s = sum(call.total_s for call in calls)
        # No more than the caller has: what it started and did not wait for is not within it.
        scale = took_s / max(function.total_s, called_s) if called_s else 0.0
        for call in sorted(calls, key=lambda one: -one.total_s):
            within_s = call.total_s * scale
            if within_s < least_s or depth + 1 >= MOST_DEPTH:
                break
            self._stack(blocks, (*path, call.callee), start_s, within_s, least_s)
            start_s += within_s


def _scaled(function: Function, share: float, now: Mapping[int, int]) -> Function:
    replace = msgspec.structs.replace
    called = tuple(
        replace(
            call,
            callee=now[call.callee],
            total_s=share * call.total_s,
            self_s=share * call.self_s,
        )
        for call in function.called
        if call.callee in now
    )
    return replace(
        function,
        calls=max(round(share * function.calls), 1),
        total_s=share * function.total_s,
        self_s=share * function.self_s,
        called=called,
    )
