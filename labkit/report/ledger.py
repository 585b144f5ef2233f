"""`Ledger`: what checking claims gave: a table with a row a check, sentences, the forest plot."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from labkit import charts
from labkit.report import html
from labkit.report.study import FileStudy
from labkit.report.tables import Table
from labkit.studies.judge import MARKS, Verdict

if TYPE_CHECKING:
    from labkit.charts import Chart, Claimed


class Ledger(FileStudy):
    """Claims that were checked, each with its verdict and what its checks found."""

    def plot(self, kind: str = "forest") -> Chart:
        """`forest`: the effect of every claim with its interval, and the band where it holds."""
        if kind != "forest":
            return super().plot(kind)
        return charts.forest([claimed(one) for one in self.verdicts], notes=self.sentences())

    def text_table(self) -> Table:
        """One row a claim and one a check below it; the sentences at the end."""
        rows: list[list[str]] = []
        for one in self.verdicts:
            reason = "" if one.findings else f" ({one.reason})"
            rows.append([MARKS[one.verdict], one.id, one.verdict, f"{one.says}{reason}"])
            rows += [
                ["", "", f"{MARKS[found.verdict]} {found.verdict}", found.reason]
                for found in one.findings
            ]
            rows += [["", "", "", one.remark]] if one.findings and one.remark else []
        headers = ["", "claim", "verdict", "what was found"]
        return Table(headers=headers, rows=rows, says="\n".join(self.sentences()), left=4)

    def text(self) -> str:
        """The table and its sentences."""
        return self.text_table().text()

    def sentences(self) -> list[str]:
        """How many of each verdict, how to read them, and under what they were found."""
        found = self.environment
        versions = found.get("versions", {})
        named = [f"{name} {versions[name]}" for name in ("aiohttp", "uvloop") if versions.get(name)]
        return [
            self.tally(),
            "Effects are medians over repeats in fresh processes, paired by repeat, with their "
            "95 % interval: it lies wholly in the band (holds), outside (refuted), or neither "
            "(inconclusive). Counts must be in the band in every run.",
            f"Scale {self.scale}; Python {found.get('python')}, {', '.join(named)}; "
            f"{found.get('cpu')}, {found.get('cores_usable')} cores; loopback only.",
        ]

    def html_parts(self) -> Iterator[str]:
        """The table with its sentences."""
        yield html.table(self.text_table())

    def joined(self, *others: Ledger) -> Ledger:
        """Return the claims of several checks as one result, in the order of the file."""
        parts = (self, *others)
        whole = Ledger(self.file, self.scale, [one for part in parts for one in part.records])
        order = [claim.id for claim in self.file.claims]
        found = {one.id: one for part in parts for one in part.verdicts}
        whole.__dict__["verdicts"] = sorted(found.values(), key=lambda one: order.index(one.id))
        return whole


def claimed(one: Verdict) -> Claimed:
    """Return a verdict as the forest plot draws it."""
    found = one.deciding
    return charts.Claimed(
        id=one.id,
        status=one.verdict,
        says=(found.says if found else "") or one.says,
        why=one.reason,
        value=found.measured if found else None,
        interval=found.interval if found else None,
        band=(found.at_least, found.at_most) if found else (None, None),
        is_ratio=bool(found and found.is_ratio),
        inside=found.inside if found else 0,
        n=found.n if found else 0,
        text=found.effect if found else "",
    )
