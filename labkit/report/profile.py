"""`Profile`: where the time of a profiled run went, as a table, a flame chart, a page, a file.

It runs nothing. Profiles are no records: none is stored, and none is compared.
"""

from __future__ import annotations

import marshal
import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from labkit import charts
from labkit.errors import BadInput
from labkit.profiler.callgraph import CallGraph, Function, ProfileResult
from labkit.profiler.slow_callbacks import SlowCallback, format_slow_callbacks
from labkit.report import html
from labkit.report.study import Result
from labkit.report.tables import Table
from labkit.spec import validation

if TYPE_CHECKING:
    import pandas as pd

    from labkit.charts import Chart
    from labkit.record.record import Record

SORT_KEYS: Mapping[str, Callable[[Function], float]] = {
    "self": lambda one: one.self_s,
    "total": lambda one: one.total_s,
    "calls": lambda one: one.calls,
    "mean": lambda one: one.total_s / max(one.calls, 1),
}
"""What rows may be sorted by."""
ROWS = 15
Rows = Annotated[int, msgspec.Meta(ge=1, le=10_000)]
SUFFIXES = (".pstat", ".callgrind")


class Profile(Result):
    """What the profiler saw of one run, which is no measurement: its record is never stored.

    `record` says what was run and how it ended; its times are those of a run that a profiler
    slowed down. None for what ran in this process.
    """

    def __init__(self, found: ProfileResult, record: Record | None = None, title: str = "") -> None:
        self.found, self.record, self.title = found, record, title
        self.graph, self.clock, self.wall_s = found.graph, found.graph.clock, found.wall_s

    @property
    def slow(self) -> Sequence[SlowCallback]:
        """The callbacks that blocked the event loop for long."""
        return self.found.slow

    @property
    def requests_s(self) -> float | None:
        """The sum of the requests' times, from call to end, by the lab's own clock."""
        return self.found.requests_s

    @property
    def attributed(self) -> float | None:
        """The share of the requests' time that the profiler finds inside coroutines, by name.

        It is the own time of the coroutines below the request, waiting or computing, over
        `requests_s`. The rest is the own time of plain functions, and what was lost. None where no
        request was made.
        """
        for place, one in enumerate(self.graph.functions):
            if one.coroutine and one.name == self.found.request_name and self.requests_s:
                return self.graph.in_coroutines_s(place) / self.requests_s
        return None

    def frame(self) -> pd.DataFrame:
        """Return one row a function, the longest own time first; times in seconds.

        `share` is of the own time of all of them, `kind` is coroutine or function. By the
        clock `wall` what the event loop itself takes is not to be read from this: the steps of its
        tasks are in it (`Context.run`), and in the tasks' own coroutines again.
        """
        import pandas as pd

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
            for one in self._sorted("self")
        ]
        return pd.DataFrame(rows)

    def coroutines(self) -> pd.DataFrame:
        """Return the rows of `frame()` that are coroutines: where tasks wait, and for how long."""
        frame = self.frame()
        return frame[frame["kind"] == "coroutine"].reset_index(drop=True)

    def text_table(self, sort: str = "self", rows: int = ROWS) -> Table:
        """Return the first rows as text. Raises `BadInput` for a column that cannot sort."""
        check_view(sort, rows)
        shown = self._sorted(sort)[:rows]
        left_out = len(self.graph.functions) - len(shown)
        more = f" {left_out:,} more functions are not shown." if left_out else ""
        says = (
            f"Profiled for {self.wall_s:.2f} s by the clock '{self.clock}'; this is no measurement."
        )
        share = self.attributed
        if share is not None and self.requests_s is not None:
            says += (
                f" The requests took {self.requests_s:,.2f} s together, of which {share:.1%} are "
                "some coroutine's own."
            )
        return Table(
            headers=("function", "place", "kind", "calls", "self (ms)", "total (ms)", "mean (ms)"),
            rows=[
                [
                    one.name,
                    one.place,
                    "coroutine" if one.coroutine else "function",
                    f"{one.calls:,}",
                    *(f"{SORT_KEYS[key](one) * 1e3:,.3f}" for key in ("self", "total", "mean")),
                ]
                for one in shown
            ],
            says=f"{says}{more}",
            left=3,
        )

    def table(self, sort: str = "self", rows: int = ROWS) -> Any:
        """Return the same as a styled DataFrame, for notebooks."""
        return self.text_table(sort, rows).styled()

    def text(self, sort: str = "self", rows: int = ROWS) -> str:
        """Return the whole profile as a terminal shows it: the table, then the slow callbacks."""
        texts = [self.text_table(sort, rows).text(), self.slow_text()]
        return "\n\n".join(filter(None, texts))

    def slow_text(self) -> str:
        """Return a line for each callback that blocked the loop; empty where nobody watched it."""
        if self.found.slow_s is None:
            return ""
        return format_slow_callbacks(self.slow, self.found.slow_s, self.found.unattributed_stalls_s)

    def plot(self) -> Chart:
        """Draw the flame chart: what each task's time consists of."""
        return charts.flame(self.graph, self.title or "where the time went")

    def save(self, path: str | Path) -> Path:
        """Write a file for another viewer: `.pstat` or `.callgrind`. Raises `BadInput`."""
        path = Path(path)
        if path.suffix not in SUFFIXES or not path.absolute().parent.is_dir():
            raise BadInput(
                f"path is {str(path)!r}: a profile is saved as .pstat (for snakeviz and pstats) or "
                ".callgrind (for KCachegrind), in a folder that exists"
            )
        if path.suffix == ".pstat":
            path.write_bytes(pstat(self.graph))
        else:
            path.write_text(callgrind(self.graph), encoding="utf-8")
        return path

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON: the trial, the shares, a row for each function."""
        counts = None if self.record is None else msgspec.to_builtins(self.record.counts)
        return {
            "profiled": True,
            "clock": self.clock,
            "wall_s": self.wall_s,
            "requests_s": self.requests_s,
            "attributed": self.attributed,
            "trial": None if self.record is None else self.record.trial,
            "counts": counts,
            "functions": self.frame().to_dict("records"),
            "slow_callbacks": msgspec.to_builtins(self.slow),
        }

    def _sorted(self, by: str) -> list[Function]:
        return sorted(self.graph.functions, key=SORT_KEYS[by], reverse=True)

    def html_parts(self) -> Iterator[str]:
        """Yield the first rows, the slow callbacks, and the flame chart."""
        yield html.table(self.text_table())
        yield html.sentences(self.slow_text().splitlines())
        yield html.picture(self.plot)


def check_view(sort: str, rows: int) -> None:
    """Raise `BadInput` for a column that rows are not sorted by, or for no rows."""
    if sort not in SORT_KEYS:
        raise validation.unknown("sort", sort, SORT_KEYS)
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
            times = (call.calls, call.calls, call.self_s, call.total_s)
            callers[keys[call.callee]][key] = times
    return marshal.dumps(
        {
            key: (one.calls, one.calls, one.self_s, one.total_s, callers[key])
            for key, one in zip(keys, graph.functions, strict=True)
        }
    )


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


_LINE_PX, _ROW_PX, _MARGIN_PX = 16, 21, 8
_LETTERS = 100
"""In a line of the sentence, where the notebook is narrow."""
# A frame does not know the notebook's theme: it is transparent, and its grey suits both themes.
_STYLE = f"""
body {{ font: 12px/{_LINE_PX}px system-ui, sans-serif; color: #797979; }}
body {{ margin: {_MARGIN_PX}px; background: transparent; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; }}
th, td {{ padding: 2px 6px; white-space: nowrap; border-bottom: 1px solid #8884; }}
p, pre {{ margin: {_MARGIN_PX}px 0 0; }}
pre {{ font-size: 12px; white-space: pre-wrap; }}
"""


def iframe(profile: Profile, sort: str = "self", rows: int = ROWS) -> str:
    """Return a page with the first rows and the slow callbacks, in a frame; all text is escaped.

    The page loads nothing and runs nothing. Its style does not reach the notebook, nor the
    notebook's the page. The frame is as high as the page: no script may run that could measure it.
    """
    table, slow = profile.text_table(sort, rows), profile.slow_text()
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Profile</title>'
        f"<style>{_STYLE}</style></head><body>{html.table(table)}<pre>{escape(slow)}</pre>"
        "</body></html>"
    )
    lines = sum(math.ceil(len(one) / _LETTERS) for one in (table.says, *slow.splitlines()))
    # One line more than there is, for the bar by which a wide table is moved.
    text_px = _LINE_PX * (lines + 1) + 4 * _MARGIN_PX
    # An empty `sandbox` allows nothing: no script runs in it, whatever a name may contain.
    return (
        f'<iframe srcdoc="{escape(page, quote=True)}" sandbox="" width="100%" '
        f'height="{_ROW_PX * (1 + len(table.rows)) + text_px}" '
        # A frame of another scheme than its page would get a background of its own.
        'style="border: 0; resize: vertical; color-scheme: light"></iframe>'
    )
