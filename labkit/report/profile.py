"""`Profile`: where the time of a profiled run went, or its memory: table, chart, page, file.

It runs nothing. Profiles are no records: none is stored, and none is compared.
"""

from __future__ import annotations

import marshal
import re
from collections import Counter, defaultdict
from pathlib import Path
from typing import Annotated, Any

import msgspec

from labkit import charts, paths, stats
from labkit.profiler.callgraph import CallGraph, ProfileResult
from labkit.profiler.slow_callbacks import format_slow_callbacks
from labkit.record.record import Record
from labkit.report import html
from labkit.report.html import Shown, Table
from labkit.spec import validation

# What rows may be sorted by, and the column of the frame.
COLUMNS = {"self": "self_s", "total": "total_s", "calls": "calls", "mean": "mean_s"}
ROWS = 15
Rows = Annotated[int, msgspec.Meta(ge=1, le=10_000)]


class Profile(Shown):
    """What the profiler saw of one run, which is no measurement: its record is never stored.

    `record` says what was run and how it ended; its times are those of a run that a profiler
    slowed down. None for what ran in this process. `slow` are the callbacks that blocked the event
    loop for long, `requests_s` is the sum of the requests' times, from call to end, by the lab's
    own clock.
    """

    def __init__(self, found: ProfileResult, record: Record | None = None, title: str = "") -> None:
        self.found, self.record, self.title = found, record, title
        self.records = [record] if record else []
        self.graph, self.clock, self.wall_s = found.graph, found.graph.clock, found.wall_s
        self.slow, self.requests_s = found.slow, found.requests_s

    @property
    def attributed(self) -> float | None:
        """Return the share of the requests' time that is in coroutines with a name.

        It is the own time of the coroutines below the request, waiting or computing, over
        `requests_s`. The rest is the own time of plain functions, and what was lost. None where no
        request was made.
        """
        for place, one in enumerate(self.graph.functions):
            if one.coroutine and one.name == self.found.request_name and self.requests_s:
                return self.graph.in_coroutines_s(place) / self.requests_s
        return None

    def frame(self) -> stats.DataFrame:
        """Return one row a function, the longest own time first; times in seconds.

        `share` is of the own time of all of them, `kind` is coroutine or function. By the
        clock `wall` what the event loop itself takes is not to be read from this: the steps of its
        tasks are in it (`Context.run`), and in the tasks' own coroutines again.
        """
        return stats.DataFrame(self._rows("self"))

    def _rows(self, sort: str) -> list[dict[str, Any]]:
        whole_s = sum(one.self_s for one in self.graph.functions) or 1.0
        rows = [
            {
                "function": one.name,
                "place": one.place,
                "kind": "coroutine" if one.coroutine else "function",
                "calls": one.calls,
                "self_s": one.self_s,
                "total_s": one.total_s,
                "mean_s": one.total_s / max(one.calls, 1),
                "share": one.self_s / whole_s,
            }
            for one in self.graph.functions
        ]
        return sorted(rows, key=lambda row: row[COLUMNS[sort]], reverse=True)

    def coroutines(self) -> stats.DataFrame:
        """Return the rows of `frame()` that are coroutines: where tasks wait, and for how long."""
        frame = self.frame()
        return frame[frame["kind"] == "coroutine"].reset_index(drop=True)

    def table(self, sort: str = "self", rows: int = ROWS) -> Table:
        """Return the first rows as text. Raises `BadInput` for a column that cannot sort."""
        check_view(sort, rows)
        shown = self._rows(sort)[:rows]
        left_out = len(self.graph.functions) - len(shown)
        says = paths.sentence("profiled", wall_s=self.wall_s, clock=self.clock)
        share = self.attributed
        if share is not None and self.requests_s is not None:
            says += paths.sentence("profiled-requests", took_s=self.requests_s, share=share)
        if left_out:
            says += f" {left_out:,} more functions are not shown."
        return Table(
            headers=("function", "place", "kind", "calls", "self (ms)", "total (ms)", "mean (ms)"),
            rows=[
                [row["function"], row["place"], row["kind"], f"{row['calls']:,}"]
                + [f"{row[name] * 1e3:,.3f}" for name in ("self_s", "total_s", "mean_s")]
                for row in shown
            ],
            says=says,
            left=3,
        )

    def text(self, sort: str = "self", rows: int = ROWS) -> str:
        """Return the whole profile as a terminal shows it: the table, then the slow callbacks."""
        return "\n\n".join(filter(None, [self.table(sort, rows).text(), self.slow_text()]))

    def slow_text(self) -> str:
        """Return a line for each callback that blocked the loop; empty where nobody watched it."""
        if self.found.slow_s is None:
            return ""
        return format_slow_callbacks(self.slow, self.found.slow_s, self.found.unattributed_stalls_s)

    def plot(self) -> charts.Chart:
        """Draw the flame chart: what each task's time consists of."""
        return charts.flame(self.graph, self.title or "where the time went")

    # What other viewers read, by its ending.
    suffix = ".pstat"

    def save(self, path: str | Path) -> Path:
        """Write the file that other viewers read; its ending is `suffix`. Raises `BadInput`."""
        path = Path(path)
        if path.suffix != self.suffix or not path.absolute().parent.is_dir():
            raise validation.refusal("profile", path=str(path), suffix=self.suffix)
        path.write_bytes(self._content())
        return path

    def _content(self) -> bytes:
        return pstat(self.graph)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON: the trial, the shares, a row for each function."""
        names = ("clock", "wall_s", "requests_s", "attributed")
        return {
            "profiled": True,
            **{name: getattr(self, name) for name in names},
            "trial": self.record and self.record.trial,
            "counts": self.record and msgspec.to_builtins(self.record.counts),
            "functions": self._rows("self"),
            "slow_callbacks": msgspec.to_builtins(self.slow),
        }

    def html(self, sort: str = "self", rows: int = ROWS) -> str:
        """Return the first rows, the slow callbacks, and the flame chart."""
        slow = html.sentences(self.slow_text().splitlines())
        return self.table(sort, rows).html() + slow + html.picture(self.plot)


_HOLDS = [(re.compile(where), what) for what, where in paths.table("memory.toml")["holds"].items()]


class MemoryProfile(Profile):
    """What had the memory of a traced run at its peak, by the line that allocated it.

    It is what the strategy allocated from its start on: without what was imported before, and
    without what malloc keeps for later. Other viewers read it as `.folded`.
    """

    suffix = ".folded"

    def _rows(self, sort: str) -> list[dict[str, Any]]:
        own, whole = Counter[str](), sum(self.found.allocated.values())
        for stack, size in self.found.allocated.items():
            own[stack.rpartition(";")[2]] += size
        rows = []
        for line, size in own.most_common():
            name, _, place = line.partition(" ")
            known = (what for where, what in _HOLDS if where.search(f"{place} {name}"))
            kind = next(known, re.split("[/:]", place)[0])
            row = {"function": name, "place": place, "kind": kind}
            rows.append({**row, "bytes": size, "share": size / whole})
        return rows

    def table(self, sort: str = "self", rows: int = ROWS) -> Table:
        """Return the lines that had most as text, and in a sentence what they had."""
        check_view(sort, rows)
        assert self.record is not None
        found, kinds = self._rows(sort), Counter[str]()
        for row in found:
            kinds[row["kind"]] += row["bytes"]
        whole, items = kinds.total(), max(self.record.counts.planned, 1)
        most = [f"{n / 1e6:.1f} MB ({n / whole:.0%}) by {one}" for one, n in kinds.most_common(4)]
        known = {"whole_mb": whole / 1e6, "each_kb": whole / items / 1e3, "items": items}
        return Table(
            headers=("function", "place", "holds", "MB at the peak", "share"),
            rows=[
                [*words, f"{size / 1e6:.2f}", f"{share:.1%}"]
                for *words, size, share in map(dict.values, found[:rows])
            ],
            says=paths.sentence("memory", most=", ".join(most), **known),
            left=3,
        )

    def plot(self) -> charts.Chart:
        """Draw RSS over time, and the flame graph of the peak."""
        assert self.record is not None
        return charts.allocations(self.found.allocated, self.record.timeline, self.title)

    def _content(self) -> bytes:
        return "".join(f"{one} {size}\n" for one, size in self.found.allocated.items()).encode()

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON: the trial, and a row for each line."""
        kept = ("profiled", "trial", "counts", "functions")
        return {name: value for name, value in super().to_dict().items() if name in kept}


def check_view(sort: str, rows: int) -> None:
    """Raise `BadInput` for a column that rows are not sorted by, or for no rows."""
    validation.check_known("sort", sort, COLUMNS)
    validation.check("rows", rows, Rows)


def pstat(graph: CallGraph) -> bytes:
    """Return what `pstats.Stats` loads, and snakeviz and gprof2dot with it (the format is marshal).

    Each function has its callers, with what it took when each of them called it. yappi writes the
    format too, but only from its own statistics, in the process that was profiled.
    """
    keys = [(one.file or "~", one.line, one.name) for one in graph.functions]
    callers: defaultdict[Any, dict[Any, Any]] = defaultdict(dict)
    for key, function in zip(keys, graph.functions, strict=True):
        for call in function.called:
            callers[keys[call.callee]][key] = (call.calls, call.calls, call.self_s, call.total_s)
    return marshal.dumps(
        {
            key: (one.calls, one.calls, one.self_s, one.total_s, callers[key])
            for key, one in zip(keys, graph.functions, strict=True)
        }
    )
