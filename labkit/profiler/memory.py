"""Trace with memray what a strategy allocates, and which lines of code had it at the peak.

For a process that is profiled and never measured: memray intercepts every allocation. It counts
within the process and writes the sums alone: all of them would be 6 KB a request on the disk, and
as long to read. That takes some 100 bytes of each block that is in use, which are in the RSS.
"""

import sys
import traceback
from collections import Counter
from collections.abc import Awaitable, Callable, Collection
from itertools import dropwhile
from time import perf_counter
from typing import Any

from labkit import paths
from labkit.errors import NotInstalled
from labkit.profiler.callgraph import CallGraph, ProfileResult, place

try:
    import memray
except ImportError:
    raise NotInstalled("memory is True", "memray", "profile") from None

Strategy = Callable[..., Awaitable[object]]
# What the loop itself allocated, with no Python between.
EVENT_LOOP = "task.step in_C"


def traced(strategy: Strategy, on_result: Callable[[ProfileResult], None]) -> Strategy:
    """Wrap `strategy` in the tracer; `on_result` gets the result, however it ended."""

    async def around_strategy(fetch: Any, items: Any, limit: int) -> None:
        codes = [frame.f_code for frame, _ in traceback.walk_stack(sys._getframe())]
        outside = {(code.co_name, code.co_filename) for code in codes}
        with paths.temporary_folder("memory") as (folder, _):
            file, began = folder / "allocations", perf_counter()
            form = memray.FileFormat.AGGREGATED_ALLOCATIONS
            try:
                with memray.Tracker(file, trace_python_allocators=True, file_format=form):
                    await strategy(fetch, items, limit)
            finally:
                wall_s, graph = perf_counter() - began, CallGraph(clock="wall", functions=())
                found = _allocated(str(file), outside)
                on_result(ProfileResult(graph=graph, wall_s=wall_s, allocated=found))

    return around_strategy


def _allocated(file: str, outside: Collection[tuple[str, str]]) -> dict[str, int]:
    """Return the bytes at the peak by stack, without the calls that led to the strategy."""
    found = Counter[str]()
    with memray.FileReader(file) as reader:
        for one in reader.get_high_watermark_allocation_records(merge_threads=True):
            inside = dropwhile(lambda frame: frame[:2] in outside, reversed(one.stack_trace()))
            stack = [f"{name} {place(path, line)}".replace(";", ",") for name, path, line in inside]
            found[";".join(stack) or EVENT_LOOP] += one.size
    return found
