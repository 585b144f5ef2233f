"""`Reproduction`: a published benchmark, run again: published beside measured, with verdicts."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec

from labkit import charts, paths, stats
from labkit.errors import BadInput
from labkit.record import codes
from labkit.report import html
from labkit.report.file_study import ARM, FileStudy
from labkit.report.html import Table
from labkit.studies.parts import THEN

# Each metric that a source may have published, its name there, and how many of the base unit it is.
_PUBLISHED: Mapping[str, tuple[str, float]] = paths.table("tables.toml")["published"]


class Reproduction(FileStudy):
    """A published benchmark, run again: its figures beside the measured ones, with verdicts.

    Table and chart are of the runs that are not invalid; of an arm that has no other, of those.
    """

    @cached_property
    def _summary(self) -> stats.DataFrame:
        return stats.summary_of(self.records, self.by, stats.counted(self._frame, self.by))

    def write(self, folder: Path, picture: charts.Chart | None = None) -> Path:
        """Write the report, with the stored reference beside it where there is one."""
        from labkit.report import stored  # here: it makes objects of this class

        with suppress(BadInput):
            there = stored.reference(self.file.id)
            if there.file == self.file:
                self.reference, picture = there, self.plot(reference=there)
        return super().write(folder, picture)

    def omissions(self) -> list[str]:
        """Return which runs no figure is of, and why: left out, made again, not run."""
        found, runs, ran = [], len(self.records), {run.axes[ARM] for run in self.records}
        spoilt = [run for run in self.records if run.verdict == "invalid"]
        others = {run.axes[ARM] for run in self.records if run.verdict != "invalid"}
        kinds = {
            "left out (crosses)": [run for run in spoilt if run.axes[ARM] in others],
            "invalid, as all of their row": [run for run in spoilt if run.axes[ARM] not in others],
            "made again": self.made_again,
        }
        for what, those in kinds.items():
            each = dict.fromkeys(f"{codes.disturbance(run)} ({run.axes[ARM]})" for run in those)
            found += [f"{len(those)} of {runs} runs {what}: {'; '.join(each)}."] if each else []
        found += [self.absent["then"]] if "then" in self.absent else []
        for arm in self.file.arms:
            if arm.chart and arm.spot is None and arm.id not in ran:
                only = arm.scales and f"only at scale {', '.join(arm.scales)}"
                why = self.absent.get(arm.id) or arm.remark or only or "no record"
                found.append(f"{arm.id} was not run: {why}.")
        return found

    def published(self) -> list[dict[str, Any]]:
        """Return a row for each arm: its figures as `published`, and as `measured` here.

        What ran in the software of then, too, has a second row.
        """
        measured = {row[ARM]: row for row in stats.summary_rows(self._summary)}
        published = {row[ARM]: row for row in self.file.published()}
        found = list[dict[str, Any]]()
        for arm in (one for one in self.file.arms if one.chart):
            for name, where in ((arm.id, ""), (arm.id + THEN, ", software of then")):
                if name == arm.id or name in measured:
                    row = {ARM: name, "label": f"{arm.label}{where}", "own": arm.own}
                    then, now = published.get(arm.id), measured.get(name)
                    found.append(row | {"published": then, "measured": now})
        return found

    def table(self) -> Table:
        """Return published beside measured, a row an arm."""
        columns, rows, lines = paths.table("tables.toml")[self.file.chart], self.published(), []
        says = [self.file.scale(self.scale).about, paths.sentence("whole-process")]
        if self.file.chart == "throughput":
            ran = [row for row in rows if row["measured"]]
            left_out, rows = len(rows) - len(ran), ran
            which = f"{left_out} arms run" if left_out > 1 else "1 arm runs"
            says[1] = f"{which} only at a larger scale." if left_out else ""
        for row in rows:
            now = row["measured"]
            figures = {"published": _then(row["published"] or {}), "measured": now or {}}
            cells = []
            for _, when, name in columns:
                value = figures[when].get(name)
                metric = stats.METRICS[name.removesuffix("_min").removesuffix("_max")]
                nothing = value is None or (name == "floor_s" and not value)
                cells.append("-" if nothing else metric.text(value))
            verdict = [now["verdict"], ", ".join(now["warnings"])] if now else ["not run"]
            lines.append([row["label"], row[ARM], *cells, ": ".join(filter(None, verdict))])
        headers = ["client", ARM, *(header for header, _, _ in columns), "verdict"]
        text = "\n".join(filter(None, [*says, *self.omissions(), self.measured_on()]))
        widths = [18, 18, *[11] * len(columns), 28]
        return Table(headers=headers, rows=lines, says=text, left=2, widths=widths)

    def measured_on(self) -> str:
        """Return when, with what and where it was measured, the software of then included."""
        then = [one.environment for one in self.records if one.axes[ARM].endswith(THEN)]
        if not then:
            return super().measured_on()
        packages = ", ".join(self.file.environment["then"].packages)
        python = f"Python {then[0].get('python')}"
        return f"{super().measured_on()} The software of then: {python}, {packages}."

    def conditions(self) -> str:
        """Return what a chart of it says: its scale, what it leaves out, how it was measured."""
        about = f"Scale {self.scale}: {self.file.scale(self.scale).about}"
        return "\n".join([about, *self.omissions(), self.measured_on()])

    def _shown(self) -> list[Table]:
        return [*super()._shown(), self.verdict_table()]

    def text(self) -> str:
        """Return the table of figures, and that of the verdicts."""
        return f"{self.title()}\n\n{super().text()}"

    def html(self) -> str:
        """Return the title, the chart, and the tables of figures and of verdicts."""
        return html.heading(self.title()) + html.picture(self.plot) + self._tables()

    def plot(self, kind: str | None = None, reference: Reproduction | None = None) -> charts.Chart:
        """Draw the benchmark's own chart beside the published figures, or any kind of a study.

        Its own is `triptych` (memory, time and CPU) or `throughput`; see the file's `chart`.
        """
        if kind not in (None, self.file.chart):
            return super().plot(str(kind))
        source = next(iter(self.file.sources.values()), None)
        hidden = [arm.id for arm in self.file.arms if not arm.chart]
        there = f"\nReference machine: {reference.conditions()}" if reference else ""
        named: dict[str, Any] = {"title": self.file.title, "year": getattr(source, "year", None)}
        named["conditions"] = self.conditions() + there
        frame = self._frame
        shown = frame[~frame[ARM].str.removesuffix(THEN).isin(hidden)]
        is_then = shown[ARM].str.endswith(THEN)
        then = shown[is_then].assign(**{ARM: shown[is_then][ARM].str.removesuffix(THEN)})
        rows = charts.rows(
            shown[~is_then],
            [ARM],
            published={row[ARM]: _then(row) for row in self.file.published()},
            reference=None if reference is None else reference._frame,
            then=then if len(then) else None,
        )
        if self.file.chart == "throughput":
            placed = {arm.id: arm.spot for arm in self.file.arms if arm.spot}
            spots = {name: msgspec.structs.astuple(spot) for name, spot in placed.items()}
            return charts.throughput(rows, spots, **named)
        scales = {"repeats": self.scale, "then": self.scale, "published": "paper"}
        scales |= {"reference": reference.scale} if reference else {}
        differs = self.file.scales.get("paper", self.file.scale(self.scale)).about
        return charts.triptych(rows, scales=scales, differs=differs, **named)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON: `published` holds each arm's figures then, and here."""
        return super().to_dict() | {"published": self.published()}


def _then(published: Mapping[str, Any]) -> dict[str, float | None]:
    """Return the published figures of an arm under the metrics' names and in base units."""
    known = {name: (published.get(of), times) for name, (of, times) in _PUBLISHED.items()}
    return {name: None if of is None else of * times for name, (of, times) in known.items()}
