"""`Run`, `Study` and `Sweep`: records with their tables and charts, as `lab` returns them.

They run nothing, and write files only where they are asked to. Each shows itself as HTML in a
notebook and as text anywhere else.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec

from labkit import charts, paths, stats
from labkit.errors import BadInput, LabError
from labkit.record import guards
from labkit.record.record import Record
from labkit.report import gate, glossary, html, tables
from labkit.report.html import Shown, Table
from labkit.spec.parts import DEFAULT_REQUESTS
from labkit.spec.trial import Trial
from labkit.spec.validation import refusal
from labkit.stats import comparisons, metrics

# Timelines in a report: to draw one takes as long as a short run.
MAX_TIMELINES = 8


class Outcome(Shown):
    """A result of records: it shows itself as tables, a chart, text and HTML."""

    def __init__(self, records: Sequence[Record], by: Sequence[str] = ()) -> None:
        self.records, self.by = list(records), list(by)
        # How the files of the chart are named in the folder of a report.
        self.chart = "chart"
        # Why files of the store that might be of this result are not in it, a sentence each.
        self.left_out: list[str] = []
        # How many of its runs are there, in a sentence, where some are missing.
        self.unfinished = ""
        # The result beside its baseline, where it was compared with one.
        self.changes: gate.Changes | None = None

    def frame(self) -> stats.DataFrame:
        """Return one row a record, metrics in base units (seconds, bytes)."""
        return self._frame.copy()

    def summary(self) -> stats.DataFrame:
        """Return one row an arm: medians and ranges over its repeats, in base units.

        Latency percentiles are those of all its answers together.
        """
        return self._summary.copy()

    # Every table and chart of a result reads these, so each is computed once and never changed.

    @cached_property
    def _frame(self) -> stats.DataFrame:
        return stats.frame(self.records)

    @cached_property
    def _summary(self) -> stats.DataFrame:
        return stats.summary_of(self.records, self.by, self._frame)

    @cached_property
    def _short(self) -> stats.DataFrame:
        return stats.short(self._frame, self.by)

    @property
    def notes(self) -> list[str]:
        """Return what is to be known of the whole: that runs are missing, or are of elsewhere."""
        noted = [note for one in self.records for note in one.warnings]
        unlike = [note.message for note in noted if note.code == "resumed-unlike"]
        return [*filter(None, dict.fromkeys([self.unfinished, *unlike]))]

    def plot(self, kind: str = "time") -> charts.Chart:
        """Draw `time`, `memory`, `cpu`, `latency`, `phases`, or any metric."""
        return charts.plot(kind, self.records, self.by, self._short)

    def table(self) -> Table:
        """Return one row an arm."""
        return tables.of_study(self.records, self.by, stats.short(self._summary, self.by))

    def missed(self, *thresholds: str) -> list[str]:
        """Return a sentence for each arm that misses a threshold, as in `missed("p99 > 0.2")`.

        Of what is not known, it is missed. Raises `BadInput` for a metric that does not exist.
        """
        parsed = list(map(gate.Threshold.parse, thresholds))
        return [sentence for one in parsed for sentence in one.missed(self.records)]

    def save(self, path: Path | str) -> Path:
        """Write the records with their machine and versions, as a baseline for later results.

        The file is there whole, or as it was before. `lab.load(path)` reads it.
        """
        return gate.save(self.records, Path(path))

    def openmetrics(self) -> str:
        """Return the figures of each arm as OpenMetrics text."""
        return tables.openmetrics(self.records, self.by, self._summary)

    def text(self) -> str:
        """Return the tables as a terminal shows them."""
        return "\n\n".join([*(shown.text() for shown in self._shown()), *self.notes])

    def html(self) -> str:
        """Return the tables and the chart."""
        return self._tables() + glossary.links(self.records) + html.picture(self.plot)

    def _tables(self, without: Collection[str] = ()) -> str:
        """Return what comes before the chart, as HTML; some of the sentences may be left out."""
        tables = "".join([shown.html(without) for shown in self._shown()])
        return tables + html.sentences(note for note in self.notes if note not in without)

    def _shown(self) -> list[Table]:
        return [self.table(), *tables.of_requests(self.records)]

    @property
    def environment(self) -> dict[str, Any]:
        """Return the machine and the versions of the first record."""
        return self.records[0].environment if self.records else {}

    def measured_on(self) -> str:
        """Return when, with what and where it was measured, in a sentence."""
        env, records = self.environment, self.records
        versions = {"labkit": None, **env.get("versions", {}), "Python": env.get("python")}
        parts = [f"{name} {version or 'of unknown version'}" for name, version in versions.items()]
        parts[0] += f" (commit {env['commit']})" if env.get("commit") else ""
        parts += [f"{env.get('system')} {env.get('kernel')}", f"{env.get('cpu')}"]
        parts += [f"{env.get('cores_usable')} of {env.get('cores')} cores"]
        for what, at, name in (("server engine", "target", "engine"), ("seed", "workload", "seed")):
            found = {record.trial.get(at, {}).get(name) for record in records} - {None}
            parts += [f"{what} {', '.join(map(str, sorted(found)))}"] if found else []
        days = sorted({record.started_at[:10] for record in records})
        return f"Measured on {' and '.join(days)}: {', '.join(parts)}."

    def title(self) -> str:
        """Return what was run, and what it called."""
        first = self.records[0]
        return f"{first.experiment or 'run'}: {first.ran}, {first.called}"

    def report(self, picture: charts.Chart | None = None) -> str:
        """Return one self-contained HTML page: tables, chart, settings, warnings, environment.

        `picture` takes the place of the result's own chart.
        """
        drawn = html.figure(picture) if picture else html.picture(self.plot)
        return self._page(self.title(), html.section("Result", self._tables(self._lead()), drawn))

    def _lead(self) -> list[str]:
        """Return the sentences at the head of a report, which its own sections leave out."""
        return [*self.notes, self.measured_on()]

    def _page(self, title: str, *own: str) -> str:
        """Return a page of a result's own sections and of those that every result has."""
        every = self.records
        machine, settings = (
            Table(headers=["", ""], rows=list(html.flat(of)), left=2).html()
            for of in (self.environment, every[0].trial)
        )
        of_several = every if self.by or every[1:] else []  # one run has its timeline above
        first = [record for record in of_several if record.repeat == 0 and record.timeline.t_s]
        timelines = [
            html.figure(charts.timeline(record), stats.arm_label(record.axes))
            for record in first[:MAX_TIMELINES]
        ]
        left = first[MAX_TIMELINES:]
        more = paths.sentence("more-timelines", n=len(left), id=left[0].id) if left else ""
        columns = paths.table("tables.toml")["latency"]
        tails = tables.words(self._summary, self.by, columns, ranged="throughput_rps")
        every_figure = Outcome.table(self) if every[1:] else tables.of_run(every[0])
        noted, found = tables.of_warnings(every), (one for r in every for one in r.first_errors)
        errors = html.listed([f"`{text}`" for text in dict.fromkeys(found)])
        return html.page(
            title,
            " ".join(self._lead()),
            *own,
            html.section("Throughput and latency", tails.html()),
            html.section("The first run of each", *timelines, html.sentences([more])),
            html.section("Warnings and failures", noted.html() if noted.rows else "", errors),
            html.section("Left out", html.listed([f"`{text}`" for text in self.left_out])),
            html.section(
                "All figures and settings",
                html.folded("Every figure", every_figure.html()),
                html.folded("Settings of the first arm", settings),
                html.folded("Machine and versions", machine),
            ),
        )

    def write(self, folder: Path, picture: charts.Chart | None = None) -> Path:
        """Write the report, the chart (SVG and PNG) and the JSON; return the report's path.

        Raises `LabError` where the folder cannot be written.
        """
        with contextlib.suppress(BadInput):  # there may be nothing to draw
            picture = picture or self.plot()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for kind in ("png", "svg"):
                if picture is not None:
                    picture.save(folder / f"{self.chart}.{kind}")
            (folder / "result.json").write_bytes(msgspec.json.encode(self.to_dict()))
            (folder / "report.html").write_text(self.report(picture), encoding="utf-8")
        except OSError as error:
            raise LabError(paths.sentence("report", folder=folder, why=error.strerror)) from None
        return folder / "report.html"

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON: the records and their summary, and what changed since."""
        changed = {"baseline": msgspec.to_builtins(self.changes.changes)} if self.changes else {}
        records = [record.to_dict() for record in self.records]
        return {"records": records, "summary": stats.summary_rows(self._summary), **changed}


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

    def plot(self, kind: str = "timeline") -> charts.Chart:
        """Draw `timeline`, `latency`, `waterfall`, `phases`, or any metric."""
        return charts.plot(kind, self.records)

    def table(self) -> Table:
        """Return every figure of the record, a line each."""
        return tables.of_run(self.record)

    def html(self) -> str:
        """Return the main figures, warnings and the first error, the timeline, and all the rest."""
        return super().html() + html.folded("Every figure", self.table().html())

    def _tables(self, without: Collection[str] = ()) -> str:
        shown = [tables.of_one(self.record), *tables.of_requests(self.records)]
        return "".join([one.html(without) for one in shown]) + html.listed(self.record.reasons)


class Study(Outcome):
    """A comparison: several arms, each with its repeats, interleaved.

    With one axis it shows each arm's ratio to the first too, unless `has_ratios` is false.
    """

    has_ratios = True

    def over(
        self, x: str, y: str, by: Sequence[str] = (), reference: stats.DataFrame | None = None
    ) -> charts.Chart:
        """Draw one number over a numeric axis, as in `over("requests", "memory")`.

        `reference`: rows of another outcome's `frame()`, drawn lighter beside these.
        """
        return charts.over_axis(self.frame(), x, y, by, reference)

    def compare(
        self, metric: str, *, of: Mapping[str, Any], to: Mapping[str, Any]
    ) -> stats.Comparison:
        """Decide if one arm's metric is higher: `compare("time", of={"loop": "uvloop"}, to=...)`.

        It is of this comparison alone, as one that was chosen beforehand: of several that are tried
        some differ by chance, and `comparisons` allows for that. Raises `BadInput` for a metric or
        an arm that does not exist, or that is ambiguous.
        """
        names, arms = [stats.metric(metric).name], [(dict(of), dict(to))]
        (found,) = comparisons.compare_pairs(self.records, names, arms, self._frame)
        return found.comparison

    def comparisons(self) -> list[comparisons.Against]:
        """Compare every arm with the first, by the metrics that arms are usually compared by.

        All their intervals together have the level of 95 %.
        """
        return comparisons.compare_with_first(self.records, self.by, self._frame)

    def plot(self, kind: str = "") -> charts.Chart:
        """Draw `time`, `memory`, `cpu`, `latency`, `phases`, any metric; or latency over rates."""
        if not kind and self.by == ["rate"] and all(one.arrivals for one in self.records):
            return self.over("rate", "latency_due_p50_s")
        return super().plot(kind or "time")

    def _shown(self) -> list[Table]:
        """Return the table, each arm's ratio to the first, and what is beside a baseline."""
        compared = []
        if self.has_ratios and len(self.by) == 1 and self.by != ["rate"]:
            compared = comparisons.compare_with_first(self.records, self.by, self._short)
        ratios = [tables.of_comparisons(compared)] if compared else []
        changed = [self.changes] if self.changes else []
        return [self.table(), *ratios, *changed, *tables.of_requests(self.records)]

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON: the records, their summary, every arm against the first."""
        compared = [one.to_dict() for one in self.comparisons()]
        rates = stats.sustained(self.records if self.by == ["rate"] else [])
        found = {"comparisons": compared, "sustained": [one._asdict() for one in rates]}
        return super().to_dict() | found


class Timed(Study):
    """Programs that were measured from outside, a line each; of two the ratios of the second."""

    has_ratios = False
    measured = ("process_peak_rss_bytes", "process_wall_s", "process_cpu_percent")

    def plot(self, kind: str = "timeline") -> charts.Chart:
        """Draw the `timeline` of the first run, or of two programs their memory; or as a study."""
        first = {one.axes["program"]: one for one in self.records if one.repeat == 0}
        if kind != "timeline":
            return super().plot(kind)
        several = len(first) > 1
        return charts.memory_over_time(first) if several else charts.timeline(self.records[0])

    def table(self) -> Table:
        """Return memory, time and CPU of each program, as `/usr/bin/time` says them."""
        rows = []
        for row in self._summary.to_dict("records"):
            size, took_s, cpu = (row[name] for name in self.measured)
            words = [row["program"], f"{size / 1024:,.0f}", f"{took_s:.2f}", f"{cpu:.1f}"]
            rows.append(words + [stats.METRICS[n].text(row[n]) for n in ("floor_s", "efficiency")])
        notes = {note.code: note.message for record in self.records for note in record.warnings}
        says = "\n".join([*self.sentences(), *(f"{code}: {notes[code]}" for code in notes)])
        return Table(headers=_TIMED, rows=rows, says=says)

    def sentences(self) -> list[str]:
        """Return what the second program takes of the first, if there are two."""
        first, *others = self._summary["program"]
        pairs = [({"program": other}, {"program": first}) for other in others]
        found = comparisons.compare_pairs(self.records, self.measured, pairs, self._frame)
        says = (f"{stats.METRICS[one.metric].label} {one.comparison.says}" for one in found)
        what = ", ".join(says)
        return [paths.sentence("timed", of=other, to=first, what=what) for other in others]


_TIMED = ["program", "memory (KB)", "time (s)", "CPU (%)", "floor (s)", "efficiency (%)"]


class Sweep(Study):
    """One trial at several limits. `knee` and `usl` are None and a reason where there is none."""

    has_ratios = False

    def __init__(self, records: Sequence[Record]) -> None:
        ordered = sorted(records, key=lambda record: (_limit(record), record.repeat))
        super().__init__(ordered, ["limit"])
        blocks = dict.fromkeys((record.study, record.repeat) for record in ordered)
        # Of either side: at a high limit the knee may be the server's, and a sentence says so.
        found = {n: metrics.rates(group) for n, group in itertools.groupby(ordered, _limit)}
        self.rates = {limit: [of.get(block) for block in blocks] for limit, of in found.items()}
        self.knee: stats.Knee | None = None
        with contextlib.suppress(BadInput):
            self.knee = stats.knee(self.rates)
        self.usl = stats.fit_usl(self.rates)

    @staticmethod
    def limits_for(trial: Trial) -> list[int]:
        """Return powers of two from 1 up to the requests, beyond which a limit limits nothing."""
        most = trial.workload.requests or DEFAULT_REQUESTS
        return [2**power for power in range(most.bit_length())]

    @staticmethod
    def check(trial: Trial) -> None:
        """Raise `BadInput` for a strategy that heeds no limit, and for a workload with a rate."""
        heeds = trial.strategy not in ("gather", "sequential") or trial.own_strategy
        if not heeds or (trial.program and not trial.switches.names("limit")):
            which = f"program is {trial.program!r}"
            which = which if trial.program else f"strategy is {trial.strategy!r}"
            raise refusal("no-limit", which=which)
        if trial.workload.rate is not None or trial.workload.stages is not None:
            what = "stages" if trial.workload.rate is None else "rate"
            raise refusal("swept", name=what, value=trial.get(what))

    def table(self) -> Table:
        """Return a line for each limit; below it what they mean, the knee last."""
        columns = paths.table("tables.toml")["sweep"]
        found = tables.words(self._summary, ["limit"], columns, ranged="throughput_rps")
        meaning = tables.meaning(self.records, self.by, self._summary)
        little = "In flight is by Little's law: the rate times the mean latency."
        return replace(found, says="\n".join([meaning, little, *self.sentences()]), left=0)

    def sentences(self) -> list[str]:
        """Return the law that fits, whose knee it is if it may be the server's, and the knee."""
        best = None if self.knee is None else self.knee.best
        at_best = [record for record in self.records if _limit(record) == best]
        server = []
        if any(map(guards.other_side_is_bottleneck, at_best)):
            share = guards.SERVER_BUSY_PERCENT
            server = [paths.sentence("knee-of-server", limit=best, share=share)]
        return [stats.usl_says(self.usl), *server, self.knee_says()]

    def knee_says(self) -> str:
        """Return where the knee is, or that there is none, in a sentence."""
        if self.knee is None:
            return "There is no knee: no limit has a rate above 0 from a valid trial."
        return stats.knee_says(self.knee)

    def plot(self, kind: str = "knee") -> charts.Chart:
        """Draw the `knee`: throughput, latency and efficiency over the limit; or as a study."""
        if kind != "knee":
            return super().plot(kind)
        return charts.knee(self._frame, self._summary, self.knee, self.usl.usl, self.sentences())

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON: a study's, the knee, and the law's fit."""
        found = {"knee": msgspec.to_builtins(self.knee), "usl": msgspec.to_builtins(self.usl)}
        return super().to_dict() | found | {"says": self.table().says.splitlines()}


def _limit(record: Record) -> int:
    return int(record.trial["workload"]["limit"])
