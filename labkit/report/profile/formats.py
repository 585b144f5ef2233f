"""A call graph in the formats that other viewers read: pstat and callgrind. Pure."""

from __future__ import annotations

import marshal
from collections import defaultdict

from labkit.profiler.callgraph import CallGraph, Function

_Key = tuple[str, int, str]
_Times = tuple[int, int, float, float]


def pstat(graph: CallGraph) -> bytes:
    """What `pstats.Stats` loads, and snakeviz and gprof2dot with it: marshal, as the format is.

    A function's callers are kept, with what it took when each of them called it.
    """
    callers: dict[_Key, dict[_Key, _Times]] = defaultdict(dict)
    for function in graph.functions:
        for call in function.called:
            times = (call.calls, call.calls, call.self_s, call.total_s)
            callers[_key(graph.functions[call.callee])][_key(function)] = times
    return marshal.dumps(
        {
            _key(one): (one.calls, one.calls, one.self_s, one.total_s, callers[_key(one)])
            for one in graph.functions
        }
    )


def _key(function: Function) -> _Key:
    return (function.file or "~", function.line, function.name)


def callgrind(graph: CallGraph) -> str:
    """What KCachegrind and QCachegrind read; times in whole microseconds."""
    lines = ["version: 1", "creator: labkit", "positions: line", f"events: {graph.clock}_us"]
    for function in graph.functions:
        lines += ["", *_at(function, ""), f"{function.line} {_us(function.self_s)}"]
        for call in function.called:
            callee = graph.functions[call.callee]
            lines += [*_at(callee, "c"), f"calls={call.calls} {callee.line}"]
            lines += [f"{function.line} {_us(call.total_s)}"]
    return "\n".join(lines) + "\n"


def _at(function: Function, prefix: str) -> list[str]:
    return [f"{prefix}fl={function.file or '~'}", f"{prefix}fn={function.name}"]


def _us(seconds: float) -> int:
    return round(seconds * 1e6)
