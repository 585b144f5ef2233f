"""`Run`, `Study` and `FileStudy`: records with their tables and pictures, as `lab` returns them.

They run nothing, and write files only where they are asked to. Each shows itself as HTML in a
notebook and as text anywhere else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from labkit import charts, stats
from labkit.errors import BadInput
from labkit.record.record import Record
from labkit.report import html, page, tables
from labkit.report.page import Section
from labkit.report.shown import Shown
from labkit.report.tables import Table
from labkit.stats import comparisons
from labkit.stats.comparisons import Against
from labkit.studies import judge
from labkit.studies.judge import Verdict
from labkit.studies.study_file import StudyFile

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
        return comparisons.compare_arms(self.records, metric, of, to, self._frame)

    def comparisons(self) -> list[Against]:
        """Every arm against the first, by the metrics that arms are usually compared by."""
        return comparisons.compare_with_first(self.records, self.by, frame=self._frame)

    def text(self) -> str:
        """The table, and where one axis was varied each arm's ratio to the first."""
        compared = self._compared()
        return "\n\n".join([super().text(), *([compared.text()] if compared else [])])

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON: the records, their summary, every arm against the first."""
        compared = [one.to_dict() for one in self.comparisons()]
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


ARM = "arm"
"""The axis of every study that a file states."""


class FileStudy(Study):
    """A study that a file states: its arms, and a verdict for each of its claims.

    `claims` are those that were checked (all, where not given); `absent` says of claims and arms
    what they miss here. A chart of the file's own kind, and a table, are in the subclasses.
    """

    def __init__(
        self,
        file: StudyFile,
        scale: str,
        records: Sequence[Record],
        *,
        claims: Sequence[str] | None = None,
        absent: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__([_with_arm(record) for record in records], [ARM])
        self.file, self.scale = file, scale
        self.claims, self.absent = claims, dict(absent or {})

    @cached_property
    def verdicts(self) -> list[Verdict]:
        """The verdict on each claim, in the order of the file."""
        machine = self.records[0].environment if self.records else {}
        return judge.verdicts(
            self.file,
            self.scale,
            self.records,
            cores=int(machine.get("cores_usable") or 0) or 1,
            claims=self.claims,
            absent=self.absent,
        )

    def __getitem__(self, claim: str) -> Verdict:
        """The verdict on the claim with this id."""
        return {one.id: one for one in self.verdicts}[claim]

    def findings(self) -> pd.DataFrame:
        """Return one row a check: what it found, as a ratio or in base units."""
        import pandas as pd

        rows = [
            {"claim": one.id, "claim_verdict": one.verdict, **msgspec.structs.asdict(found)}
            for one in self.verdicts
            for found in one.findings
        ]
        return pd.DataFrame(rows)

    @property
    def environment(self) -> dict[str, Any]:
        """The machine and the versions of the first record."""
        return self.records[0].environment if self.records else {}

    def title(self) -> str:
        """The study, its source and its scale in a line."""
        source = next(iter(self.file.sources.values()), None)
        known = [getattr(source, name, None) for name in ("author", "year")]
        whose = ", ".join(str(one) for one in known if one)
        return f"{self.file.title}{f' ({whose})' if whose else ''}, scale {self.scale}"

    def tally(self) -> str:
        """How many verdicts there are of each word, in a sentence."""
        return judge.tally(self.verdicts)

    def text(self) -> str:
        """The title, the table, each verdict with its reason, and the tally."""
        reasons = [f"{one.verdict:>12}  {one.says}\n{'':14}{one.reason}." for one in self.verdicts]
        listed = ["\n".join(reasons), self.tally()] if reasons else []
        return "\n\n".join([self.title(), self.text_table().text(), *listed])

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON: records, summary, published figures and verdicts."""
        return {
            "records": [record.to_dict() for record in self.records],
            "summary": stats.summary_rows(self._summary),
            "study": self.file.id,
            "scale": self.scale,
            "published": self.file.published(),
            "verdicts": [one.to_dict() for one in self.verdicts],
        }

    def html_parts(self) -> Iterator[str]:
        """The title, the picture, the table, and each verdict with its reason."""
        yield html.heading(self.title())
        yield html.picture(self.plot)
        yield html.table(self.text_table())
        yield html.sentences([self.tally()] if self.verdicts else [])
        for one in self.verdicts:
            yield html.verdict(judge.MARKS[one.verdict], one.verdict, one.says, one.reason)

    def report(self, picture: Chart | None = None) -> str:
        """One self-contained HTML page: tables, verdicts, pictures, and how to repeat it.

        `picture` takes the place of the study's own.
        """
        file = self.file
        first = [one for one in self.records if one.repeat == 0 and one.timeline.t_s]
        timelines = [page.picture(charts.timeline(r), caption=str(r.axes[ARM])) for r in first]
        return page.page(
            f"{file.title}: run again at scale {self.scale}",
            [
                Section(title="What was published", text=[file.about, file.source_text()]),
                Section(title="Verdicts", verdicts=self.verdicts),
                Section(
                    title="Published beside measured",
                    tables=[self.text_table()],
                    pictures=[page.picture(picture or self.plot())],
                ),
                Section(
                    title="All figures",
                    tables=[tables.of_study(self.records, self.by, self._summary)],
                ),
                *([Section(title="The first run of each", pictures=timelines)] if first else []),
                Section(title="What differs from then", text=file.notes),
            ],
            lead=self.tally(),
            command=f"labkit reproduce {file.id} --scale {self.scale}",
            environment=self.environment,
            warnings=list(dict.fromkeys(note for one in self.records for note in one.warnings)),
            errors=list(dict.fromkeys(text for one in self.records for text in one.first_errors)),
        )

    def write(self, folder: Path, picture: Chart | None = None) -> Path:
        """Write the report, the picture (SVG and PNG) and the JSON; return the report's path.

        Raises `BadInput` where the folder cannot be written.
        """
        chart = picture or self.plot()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            chart.save(folder / f"{self.file.chart}.svg")
            chart.save(folder / f"{self.file.chart}.png")
            (folder / "result.json").write_bytes(msgspec.json.encode(self.to_dict()))
            (folder / "report.html").write_text(self.report(chart), encoding="utf-8")
        except OSError as error:
            raise BadInput(
                f"the report cannot be written to {folder} ({error.strerror}): "
                "name another folder with --out"
            ) from None
        return folder / "report.html"


def _with_arm(record: Record) -> Record:
    """Name the arm of a record that an older version measured as it is named now."""
    old = next((record.axes[name] for name in ("row", "rung") if name in record.axes), None)
    if old is None:
        return record
    return msgspec.structs.replace(record, axes={ARM: old})
