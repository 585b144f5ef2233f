"""`Reproduction`: a published benchmark, run again, as `lab.reproduce` hands it out.

It runs nothing, and writes files only where it is told to.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from labkit import charts, stats
from labkit.errors import BadInput
from labkit.record.record import Record
from labkit.report import html, tables
from labkit.report import page as report
from labkit.report.page import Section
from labkit.report.study import Outcome
from labkit.report.tables import Table
from labkit.studies import relations as claims
from labkit.studies.published import Benchmark
from labkit.studies.relations import Verdict

if TYPE_CHECKING:
    import pandas as pd

    from labkit.charts import Chart

ROW = ["row"]


class Reproduction(Outcome):
    """A published benchmark, run again: its figures beside the measured ones, with verdicts."""

    def __init__(self, benchmark: Benchmark, scale: str, records: Sequence[Record]) -> None:
        super().__init__(records, ROW)
        self.benchmark, self.scale = benchmark, scale
        self.verdicts: list[Verdict] = claims.verdicts(
            benchmark.relations_at(scale), self.records, scale
        )

    def published(self) -> list[dict[str, Any]]:
        """One row a published client: its figures then (`published`) and here (`measured`)."""
        measured = {row["row"]: row for row in stats.summary_rows(self.summary())}
        published = {row["row"]: row for row in self.benchmark.published()}
        return [
            {
                "row": row.id,
                "label": row.label,
                "own": row.own,
                "published": published.get(row.id),
                "measured": _measured(measured.get(row.id)),
            }
            for row in self.benchmark.all_rows
        ]

    def text_table(self) -> Table:
        """Published beside measured."""
        of = {"triptych": tables.of_reproduction, "throughput": tables.of_throughput}
        return of[self.benchmark.chart](self.published(), self.scale_says())

    def scale_says(self) -> str:
        """The sentence that says how this run differs from the published one."""
        return self.benchmark.scale(self.scale).about

    def text(self) -> str:
        """The table, and each verdict with its reason; what this scale cannot decide as one."""
        ran = {row.id for row in self.benchmark.rows(self.scale)}
        larger = [one.id for one in self.benchmark.relations if not ran.issuperset(one.rows)]
        reasons = [
            f"{one.verdict:>11}  {one.says}\n{'':13}{one.reason}."
            for one in self.verdicts
            if one.id not in larger
        ]
        if larger:
            reasons.append(f"{'not decided':>11}  {_need_more(larger)}")
        return "\n\n".join(
            [self._title(), self.text_table().text(), "\n".join(reasons), self.tally()]
        )

    def _title(self) -> str:
        source = self.benchmark.source
        return f"{self.benchmark.title} ({source.author}, {source.year}), scale {self.scale}"

    def tally(self) -> str:
        """How many verdicts there are of each kind, in a sentence."""
        answers: list[str] = [verdict.verdict for verdict in self.verdicts]
        counted = [
            f"{answers.count(answer)} {words}"
            for answer, words in (
                ("agrees", "agree with the source"),
                ("disagrees", "disagree"),
                ("not decided", "not decided"),
            )
        ]
        return f"Of {len(answers)} relations: {', '.join(counted)}."

    def plot(self, kind: str | None = None, reference: Reproduction | None = None) -> Chart:
        """The benchmark's own chart beside the published figures, or any kind that a study has.

        Its own is `triptych` (memory, time and CPU) or `throughput`; see `Benchmark.chart`.
        """
        if kind not in (None, self.benchmark.chart):
            return super().plot(str(kind))
        own = {"triptych": self._triptych, "throughput": self._throughput}
        return own[self.benchmark.chart](reference)

    def over(
        self,
        x: str,
        y: str,
        by: Sequence[str] = ("strategy",),
        reference: pd.DataFrame | None = None,
    ) -> Chart:
        """As `Study.over`; the arms are told apart by their strategy unless `by` says otherwise."""
        return charts.over_axis(self.frame(), x, y, by, reference)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON: as a study, with the published figures and the verdicts."""
        return super().to_dict() | {
            "benchmark": self.benchmark.id,
            "scale": self.scale,
            "published": self.published(),
            "verdicts": [verdict.to_dict() for verdict in self.verdicts],
        }

    def report(self, reference: Reproduction | None = None) -> str:
        """One self-contained HTML page: tables, verdicts, pictures, and how to repeat it."""
        return report.page(
            f"{self.benchmark.title}: run again at scale {self.scale}",
            self._sections(reference),
            lead=self.tally(),
            command=f"labkit reproduce {self.benchmark.id} --scale {self.scale}",
            environment=self.records[0].environment if self.records else {},
            warnings=list(dict.fromkeys(note for one in self.records for note in one.warnings)),
            errors=list(dict.fromkeys(text for one in self.records for text in one.first_errors)),
        )

    def write(self, folder: Path, reference: Reproduction | None = None) -> Path:
        """Write the report, the picture (SVG and PNG) and the JSON; the path of the report.

        Raises `BadInput` where the folder cannot be written.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
            chart, name = self.plot(None, reference), self.benchmark.chart
            chart.save(folder / f"{name}.svg")
            chart.save(folder / f"{name}.png")
            (folder / "result.json").write_bytes(msgspec.json.encode(self.to_dict()))
            (folder / "report.html").write_text(self.report(reference), encoding="utf-8")
        except OSError as error:
            raise BadInput(
                f"the report cannot be written to {folder} ({error.strerror}): "
                "name another folder with --out"
            ) from None
        return folder / "report.html"

    def _sections(self, reference: Reproduction | None) -> list[Section]:
        benchmark = self.benchmark
        source = f"{benchmark.source.author}, {benchmark.source.year}: {benchmark.source.url}"
        pictures = [report.picture(self.plot(None, reference))]
        figures = tables.of_study(self.records, self.by, self._summary)
        first = [record for record in self.records if record.repeat == 0 and record.timeline.t_s]
        return [
            Section(title="What was published", text=[benchmark.about, source]),
            Section(title="Verdicts", verdicts=self.verdicts),
            Section(
                title="Published beside measured", tables=[self.text_table()], pictures=pictures
            ),
            Section(title="All figures", tables=[figures]),
            *([_first_runs(first)] if first else []),
            Section(title="What differs from then", text=benchmark.notes),
        ]

    def html_parts(self) -> Iterator[str]:
        """What was run again, then against now, and each verdict with its reason."""
        yield html.heading(self._title())
        yield html.picture(self.plot)
        yield html.table(self.text_table())
        yield html.sentences([self.tally()])
        for one in self.verdicts:
            yield html.verdict(claims.MARKS[one.verdict], one.verdict, one.says, one.reason)

    def _triptych(self, reference: Reproduction | None) -> Chart:
        rows = charts.rows(
            self.frame(),
            ROW,
            published=self._figures(),
            reference=None if reference is None else reference.frame(),
        )
        return charts.triptych(
            rows,
            title=self.benchmark.title,
            conditions=f"Scale {self.scale}: {self.scale_says()}",
            differs="" if self.scale == "paper" else self.benchmark.scale("paper").about,
            published_label=f"published {self.benchmark.source.year}",
        )

    def _throughput(self, reference: Reproduction | None) -> Chart:
        measured = stats.by_label(self.frame(), ROW)
        elsewhere = {} if reference is None else stats.by_label(reference.frame(), ROW)
        nothing = self.frame().head(0)
        rates = [
            charts.Rate(
                panel=row.spot.panel,
                group=row.spot.group,
                bar=row.spot.bar,
                repeats=list(measured.get(row.id, nothing)["throughput_rps"]),
                reference=list(elsewhere.get(row.id, nothing)["throughput_rps"]),
                published=row.published.rps if row.published else None,
                trust=charts.trust(row.id, measured.get(row.id, nothing)),
            )
            for row in self.benchmark.rows(self.scale)
            if row.spot is not None
        ]
        return charts.throughput(
            rates,
            title=self.benchmark.title,
            conditions=f"Scale {self.scale}: {self.scale_says()}",
            published_label=f"published {self.benchmark.source.year}",
        )

    def _figures(self) -> dict[str, dict[str, float | None]]:
        """The published figures by row, under the metrics' names and in base units."""
        return {
            row.id: {
                "process_peak_rss_bytes": _kib(row.published.peak_rss_kb),
                "process_wall_s": row.published.wall_s,
                "process_cpu_percent": row.published.cpu_percent,
            }
            for row in self.benchmark.all_rows
            if row.published is not None
        }


def _first_runs(records: Sequence[Record]) -> Section:
    pictures = [
        report.picture(charts.timeline(record), caption=str(record.axes["row"]))
        for record in records
    ]
    return Section(title="The first run of each client", pictures=pictures)


def _need_more(relations: Sequence[str]) -> str:
    listed = "\n".join(textwrap.wrap(", ".join(relations), 87, break_on_hyphens=False))
    said = "relations need" if len(relations) > 1 else "relation needs"
    return f"{len(relations)} {said} rows that run only at a larger scale:\n{listed}".replace(
        "\n", f"\n{'':13}"
    )


def _kib(value: float | None) -> float | None:
    return None if value is None else value * 1024


def _measured(row: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if row is None:
        return None
    names = ("n", "verdict", "warnings", "wall_s", "floor_s", "efficiency", "cpu_percent")
    rates = ("throughput_rps", "throughput_rps_min", "throughput_rps_max", "server_cpu_percent")
    return {
        **{name: row[name] for name in (*names, *rates)},
        "process_wall_s": row["process_wall_s"],
        "process_cpu_percent": row["process_cpu_percent"],
        "process_peak_rss_bytes": row["process_peak_rss_bytes"],
    }
