"""`Reproduction`: a published benchmark, run again: published beside measured, with verdicts."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from labkit import charts, stats
from labkit.report.study import ARM, FileStudy
from labkit.report.tables import Table
from labkit.studies.parts import Source

if TYPE_CHECKING:
    import pandas as pd

    from labkit.charts import Chart

_WHOLE_PROCESS = (
    "Memory, time and CPU are the whole process's, its start included; efficiency is the floor "
    "over the time of the requests alone."
)
_COLUMNS: Mapping[str, tuple[tuple[str, str, str], ...]] = {
    "triptych": (
        ("memory then (MB)", "published", "process_peak_rss_bytes"),
        ("memory now (MB)", "measured", "process_peak_rss_bytes"),
        ("time then (s)", "published", "process_wall_s"),
        ("time now (s)", "measured", "process_wall_s"),
        ("floor (s)", "measured", "floor_s"),
        ("efficiency (%)", "measured", "efficiency"),
        ("CPU then (%)", "published", "process_cpu_percent"),
        ("CPU now (%)", "measured", "process_cpu_percent"),
    ),
    "throughput": (
        ("then (requests/s)", "published", "throughput_rps"),
        ("now (requests/s)", "measured", "throughput_rps"),
        ("least", "measured", "throughput_rps_min"),
        ("most", "measured", "throughput_rps_max"),
        ("client CPU (%)", "measured", "cpu_percent"),
        ("server CPU (%)", "measured", "server_cpu_percent"),
    ),
}
"""The columns of the table beside each chart: its header, published or measured, the metric."""


class Reproduction(FileStudy):
    """A published benchmark, run again: its figures beside the measured ones, with verdicts."""

    def published(self) -> list[dict[str, Any]]:
        """Return a row for each arm: its figures then (`published`) and here (`measured`)."""
        measured = {row[ARM]: row for row in stats.summary_rows(self._summary)}
        published = {row[ARM]: row for row in self.file.published()}
        return [
            {
                ARM: arm.id,
                "label": arm.label,
                "own": arm.own,
                "published": published.get(arm.id),
                "measured": measured.get(arm.id),
            }
            for arm in self.file.arms
            if arm.chart
        ]

    def text_table(self) -> Table:
        """Published beside measured."""
        columns, rows = _COLUMNS[self.file.chart], self.published()
        said = [self.scale_text(), self.server_text()]
        if self.file.chart == "throughput":
            ran = [row for row in rows if row["measured"]]
            left_out, rows = len(rows) - len(ran), ran
            whom = f"{left_out} arms run" if left_out > 1 else "1 arm runs"
            said += [f"{whom} only at a larger scale."] if left_out else []
        else:
            said.append(_WHOLE_PROCESS)
        return Table(
            headers=["client", ARM, *(header for header, _, _ in columns), "verdict"],
            rows=[_row(row, columns) for row in rows],
            says=" ".join(filter(None, said)),
            left=2,
        )

    def scale_text(self) -> str:
        """The sentence that says how this run differs from the published one."""
        return self.file.scale(self.scale).about

    def server_text(self) -> str:
        """On which engine of the lab's own server it was measured, in a sentence."""
        targets = [record.trial.get("target", {}) for record in self.records]
        engines = dict.fromkeys(one["engine"] for one in targets if one.get("engine"))
        return f"Server engine: {', '.join(engines)}." if engines else ""

    def text(self) -> str:
        """The table, and each verdict with its reason; what this scale cannot run, as one."""
        ran = {arm.id for arm in self.file.arms_at(self.scale)}
        larger = [
            claim.id
            for claim in self.file.claims
            if not ran.issuperset(arm for check in claim.checks for arm in check.arms)
        ]
        reasons = [
            f"{one.verdict:>12}  {one.says}\n{'':14}{one.reason}."
            for one in self.verdicts
            if one.id not in larger
        ]
        if larger:
            listed = textwrap.wrap(", ".join(larger), 86, break_on_hyphens=False)
            need = "claims need" if len(larger) > 1 else "claim needs"
            said = [f"{len(larger)} {need} arms that run only at a larger scale:", *listed]
            reasons.append(f"{'inconclusive':>12}  " + f"\n{'':14}".join(said))
        table = self.text_table().text()
        return "\n\n".join([self.title(), table, "\n".join(reasons), self.tally()])

    def plot(self, kind: str | None = None, reference: Reproduction | None = None) -> Chart:
        """The benchmark's own chart beside the published figures, or any kind that a study has.

        Its own is `triptych` (memory, time and CPU) or `throughput`; see the file's `chart`.
        """
        if kind not in (None, self.file.chart):
            return super().plot(str(kind))
        source = next(iter(self.file.sources.values()))
        year = f" {source.year}" if isinstance(source, Source) and source.year else ""
        conditions = f"Scale {self.scale}: {self.scale_text()} {self.server_text()}".rstrip()
        if reference is not None:
            conditions += f" The reference machine: {reference.server_text().lower()}"
        draw = self._triptych if self.file.chart == "triptych" else self._throughput
        return draw(reference, conditions, f"published{year}")

    def over(
        self,
        x: str,
        y: str,
        by: Sequence[str] = ("strategy",),
        reference: pd.DataFrame | None = None,
    ) -> Chart:
        """As `Study.over`; the arms are told apart by their strategy unless `by` says otherwise."""
        return charts.over_axis(self._frame, x, y, by, reference)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON: `published` holds each arm's figures then, and here."""
        return super().to_dict() | {"published": self.published()}

    def _drawn(self) -> pd.DataFrame:
        frame = self._frame
        return frame[~frame[ARM].isin([arm.id for arm in self.file.arms if not arm.chart])]

    def _triptych(self, reference: Reproduction | None, conditions: str, label: str) -> Chart:
        rows = charts.rows(
            self._drawn(),
            [ARM],
            published={row[ARM]: _then(row) for row in self.file.published()},
            reference=None if reference is None else reference._frame,
        )
        return charts.triptych(
            rows,
            title=self.file.title,
            conditions=conditions,
            differs="" if self.scale == "paper" else self.file.scale("paper").about,
            published_label=label,
        )

    def _throughput(self, reference: Reproduction | None, conditions: str, label: str) -> Chart:
        measured = stats.by_label(self._frame, [ARM])
        elsewhere = {} if reference is None else stats.by_label(reference._frame, [ARM])
        nothing = self._frame.head(0)
        rates = [
            charts.Rate(
                panel=arm.spot.panel,
                group=arm.spot.group,
                bar=arm.spot.bar,
                repeats=list(measured.get(arm.id, nothing)["throughput_rps"]),
                reference=list(elsewhere.get(arm.id, nothing)["throughput_rps"]),
                published=arm.published.rps if arm.published else None,
                trust=charts.trust(arm.id, measured.get(arm.id, nothing)),
            )
            for arm in self.file.arms_at(self.scale)
            if arm.spot is not None
        ]
        return charts.throughput(
            rates, title=self.file.title, conditions=conditions, published_label=label
        )


def _row(row: Mapping[str, Any], columns: Sequence[tuple[str, str, str]]) -> list[str]:
    """Return an arm's line of the table."""
    now = row["measured"]
    figures = {"published": _then(row["published"] or {}), "measured": now or {}}
    cells = []
    for _, when, name in columns:
        value = figures[when].get(name)
        metric = stats.METRICS[name.removesuffix("_min").removesuffix("_max")]
        nothing = value is None or (name == "floor_s" and not value)
        cells.append("-" if nothing else metric.text(value))
    verdict = "not run"
    if now:
        verdict = ": ".join(filter(None, [now["verdict"], ", ".join(now["warnings"])]))
    return [row["label"], row[ARM], *cells, verdict]


def _then(published: Mapping[str, Any]) -> dict[str, float | None]:
    """Return the published figures of an arm under the metrics' names and in base units."""
    kb = published.get("peak_rss_kb")
    return {
        "process_peak_rss_bytes": None if kb is None else kb * 1024,
        "process_wall_s": published.get("wall_s"),
        "process_cpu_percent": published.get("cpu_percent"),
        "throughput_rps": published.get("rps"),
    }
