"""A call graph in the formats that other viewers read: pstat and callgrind. Pure.

yappi writes both too, but only from its own statistics, in the process that was profiled. The graph
comes from a worker as plain data, and only the part below the requests is in it.
"""

from __future__ import annotations

import marshal
from collections import defaultdict

from labkit.profiler.callgraph import CallGraph, Function

_Key = tuple[str, int, str]
_Times = tuple[int, int, float, float]


def pstat(graph: CallGraph) -> bytes:
    """Return what `pstats.Stats` loads, and snakeviz and gprof2dot with it (the format is marshal).

    Each function has its callers, with what it took when each of them called it.
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
    """Return what KCachegrind and QCachegrind read; times in whole microseconds."""
    lines = ["version: 1", "creator: labkit", "positions: line", f"events: {graph.clock}_us"]
    for function in graph.functions:
        lines += ["", f"fl={function.file or '~'}", f"fn={function.name}"]
        lines += [f"{function.line} {round(function.self_s * 1e6)}"]
        for call in function.called:
            callee = graph.functions[call.callee]
            lines += [f"cfl={callee.file or '~'}", f"cfn={callee.name}"]
            lines += [f"calls={call.calls} {callee.line}"]
            lines += [f"{function.line} {round(call.total_s * 1e6)}"]
    return "\n".join(lines) + "\n"
