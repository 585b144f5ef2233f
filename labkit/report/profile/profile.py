"""`Profile`: where the time of a profiled run went, by function and by coroutine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from labkit import charts
from labkit.errors import BadInput
from labkit.profiler.callgraph import Function, ProfileResult
from labkit.profiler.slow_callbacks import SlowCallback, format_slow_callbacks
from labkit.report import html
from labkit.report.profile import formats
from labkit.report.shown import Shown
from labkit.report.tables import Table
from labkit.spec import validation

if TYPE_CHECKING:
    import pandas as pd

    from labkit.charts import Chart
    from labkit.record.record import Record

COLUMNS = ("self", "total", "calls", "mean")
"""What rows may be sorted by."""
ROWS = 15
Rows = Annotated[int, msgspec.Meta(ge=1, le=10_000)]
SUFFIXES = (".pstat", ".callgrind")


class Profile(Shown):
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
        """The sum of what each request took, from call to end, by the lab's own clock."""
        return self.found.requests_s

    @property
    def attributed(self) -> float | None:
        """The share of the requests' time that the profiler finds inside coroutines, by name.

        Counted is what some coroutine below the request took itself, waiting or computing, over
        `requests_s`. The rest is the own time of plain functions, and what was lost. None where no
        request was made.
        """
        place = self._request
        if place is None or not self.requests_s:
            return None
        return self.graph.in_coroutines_s(place) / self.requests_s

    @property
    def _request(self) -> int | None:
        named = [
            place
            for place, one in enumerate(self.graph.functions)
            if one.coroutine and one.name == self.found.request_name
        ]
        return named[0] if named else None

    def frame(self) -> pd.DataFrame:
        """One row a function, the longest own time first; times in seconds.

        `share` is of the own time of all of them, `kind` tells coroutines from functions. By the
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
        """Those rows of `frame()` that are coroutines: where tasks wait, and for how long."""
        frame = self.frame()
        return frame[frame["kind"] == "coroutine"].reset_index(drop=True)

    def text_table(self, sort: str = "self", rows: int = ROWS) -> Table:
        """The first rows as text. Raises `BadInput` for a column that rows are not sorted by."""
        check_view(sort, rows)
        shown = self._sorted(sort)[:rows]
        left_out = len(self.graph.functions) - len(shown)
        more = f" {left_out:,} more functions are not shown." if left_out else ""
        return Table(
            headers=("function", "place", "kind", "calls", "self (ms)", "total (ms)", "mean (ms)"),
            rows=[_row(one) for one in shown],
            says=f"{self._says()}{more}",
            left=3,
        )

    def table(self, sort: str = "self", rows: int = ROWS) -> Any:
        """The same as a styled DataFrame, for notebooks."""
        return self.text_table(sort, rows).styled()

    def text(self, sort: str = "self", rows: int = ROWS) -> str:
        """The whole profile as a terminal shows it: the table, then what blocked the loop."""
        texts = [self.text_table(sort, rows).text(), self.slow_text()]
        return "\n\n".join(filter(None, texts))

    def slow_text(self) -> str:
        """Return the callbacks that blocked the loop, a line each; empty if it was not watched."""
        if self.found.slow_s is None:
            return ""
        return format_slow_callbacks(self.slow, self.found.slow_s, self.found.unattributed_stalls_s)

    def plot(self) -> Chart:
        """The flame chart: what each task's time consists of."""
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
            path.write_bytes(formats.pstat(self.graph))
        else:
            path.write_text(formats.callgrind(self.graph), encoding="utf-8")
        return path

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON: the trial, the shares, a row for each function."""
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
        keys = {
            "self": lambda one: one.self_s,
            "total": lambda one: one.total_s,
            "calls": lambda one: one.calls,
            "mean": lambda one: one.total_s / max(one.calls, 1),
        }
        return sorted(self.graph.functions, key=keys[by], reverse=True)

    def _says(self) -> str:
        ran = f"Profiled for {self.wall_s:.2f} s by the clock '{self.clock}'"
        share = self.attributed
        if share is None or self.requests_s is None:
            return f"{ran}; this is no measurement."
        return (
            f"{ran}; this is no measurement. The requests took {self.requests_s:,.2f} s together, "
            f"of which {share:.1%} are some coroutine's own."
        )

    def html_parts(self) -> Iterator[str]:
        """The first rows, who held the loop, and the flame chart."""
        yield html.table(self.text_table())
        yield html.sentences(self.slow_text().splitlines())
        yield html.picture(self.plot)


def check_view(sort: str, rows: int) -> None:
    """Raise `BadInput` for a column that rows are not sorted by, or for no rows."""
    if sort not in COLUMNS:
        raise validation.unknown("sort", sort, COLUMNS)
    validation.check("rows", rows, Rows)


def _row(one: Function) -> list[str]:
    mean_s = one.total_s / max(one.calls, 1)
    times = [f"{seconds * 1e3:,.3f}" for seconds in (one.self_s, one.total_s, mean_s)]
    kind = "coroutine" if one.coroutine else "function"
    return [one.name, one.place, kind, f"{one.calls:,}", *times]
