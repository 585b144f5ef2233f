"""`Run` and `Study`: records with their tables and pictures, as `lab` hands them out.

They run nothing, and write files only where they are told to. Each shows itself as HTML in a
notebook and as text anywhere else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from labkit import charts, stats
from labkit.record.record import Record
from labkit.report import html, tables
from labkit.report.shown import Shown
from labkit.report.tables import Table
from labkit.stats import baseline
from labkit.stats.baseline import Against

if TYPE_CHECKING:
    import pandas as pd

    from labkit.charts import Chart


class Outcome(Shown):
    """What every result has: records, a table, text, a page of JSON."""

    def __init__(self, records: Sequence[Record], by: Sequence[str] = ()) -> None:
        self.records, self.by = list(records), list(by)

    def frame(self) -> pd.DataFrame:
        """The tidy DataFrame: one row a record, metrics in base units (seconds, bytes)."""
        return self._frame.copy()

    def summary(self) -> pd.DataFrame:
        """One row an arm: medians and ranges over its repeats, in base units.

        Latency percentiles are those of all its answers together.
        """
        return self._summary.copy()

    # Every table and chart of a result reads these, so each is computed once and never changed.

    @cached_property
    def _frame(self) -> pd.DataFrame:
        return stats.frame(self.records)

    @cached_property
    def _summary(self) -> pd.DataFrame:
        return stats.summary_of(self.records, self.by, self._frame)

    def plot(self, kind: str = "time") -> Chart:
        """A matplotlib figure: `time`, `memory`, `cpu`, `latency`, `phases`, or any metric."""
        return charts.plot(kind, self.records, self.by, self._frame)

    def text_table(self) -> Table:
        """The figures as text, in the units that people read."""
        return tables.of_study(self.records, self.by, self._summary)

    def table(self) -> Any:
        """The same as a styled DataFrame, for notebooks."""
        return self.text_table().styled()

    def text(self) -> str:
        """The whole result as a terminal shows it."""
        return self.text_table().text()

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON: the records and their summary."""
        return {
            "records": [record.to_dict() for record in self.records],
            "summary": stats.summary_rows(self.summary()),
        }

    def html_parts(self) -> Iterator[str]:
        """The table, and the picture that goes with it."""
        yield html.table(self.text_table())
        yield html.picture(self.plot)


class Run(Outcome):
    """One trial. Every field of its record is an attribute: `run.counts.ok`, `run.efficiency`."""

    def __init__(self, record: Record) -> None:
        super().__init__([record])
        self.record = record

    def __getattr__(self, name: str) -> Any:
        # Only what is no attribute of its own comes here; `record` itself must not, or it would
        # look for itself for ever.
        if name == "record" or name.startswith("_"):
            raise AttributeError(name)
        return getattr(self.record, name)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *Record.__struct_fields__})

    def plot(self, kind: str = "timeline") -> Chart:
        """A matplotlib figure: `timeline`, `latency`, `waterfall`, `phases`, or any metric."""
        return charts.plot(kind, self.records)

    def text_table(self) -> Table:
        """Every figure of the record, a line each."""
        return tables.of_run(self.record)

    def html_parts(self) -> Iterator[str]:
        """The main figures and what to know before believing them; the timeline; all the rest."""
        yield html.table(tables.of_one(self.record))
        yield html.listed([f"{note.code}: {note.message}" for note in self.record.warnings])
        yield html.picture(self.plot)
        yield html.folded("Every figure", html.table(self.text_table()))


class Study(Outcome):
    """A comparison: several arms, each with its repeats, interleaved."""

    def over(
        self, x: str, y: str, by: Sequence[str] = (), reference: pd.DataFrame | None = None
    ) -> Chart:
        """One number against another over a numeric axis, as in `over("requests", "memory")`.

        `reference`: rows of another outcome's `frame()`, drawn lighter beside these.
        """
        return charts.over_axis(self.frame(), x, y, by, reference)

    def compare(
        self, metric: str, *, of: Mapping[str, Any], to: Mapping[str, Any]
    ) -> stats.Comparison:
        """Whether one arm's metric is higher, as in `compare("time", of={"loop": "uvloop"}, ...)`.

        Raises `BadInput` for a metric or an arm that does not exist, or that is ambiguous.
        """
        return baseline.compare(self.records, metric, of, to, frame=self._frame)

    def comparisons(self) -> list[Against]:
        """Every arm against the first, by the metrics that arms are usually compared by."""
        return baseline.against_first(self.records, self.by, frame=self._frame)

    def text(self) -> str:
        """The table, and where one axis was varied each arm's ratio to the first."""
        compared = self._compared()
        return "\n\n".join([super().text(), *([compared.text()] if compared else [])])

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON: the records, their summary, every arm against the first."""
        compared = [baseline.to_dict(one) for one in self.comparisons()]
        return super().to_dict() | {"comparisons": compared}

    def _compared(self) -> Table | None:
        found = self.comparisons() if len(self.by) == 1 else []
        return tables.of_comparisons(found) if found else None

    def html_parts(self) -> Iterator[str]:
        """The table, each arm's ratio to the first, and the picture."""
        compared = self._compared()
        yield html.table(self.text_table())
        yield html.table(compared) if compared else ""
        yield html.picture(self.plot)
