"""`Ledger`: what checking claims gave, with its table, sentences and picture. It runs nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from labkit import charts
from labkit.record.record import Record
from labkit.report.study import Outcome
from labkit.report.tables import Table
from labkit.studies.readings import Reading
from labkit.studies.verdicts import Finding, Result

if TYPE_CHECKING:
    import pandas as pd

    from labkit.charts import Chart, Claimed

STATUSES = ("holds", "refuted", "inconclusive", "not yet measurable")
MARKS: Mapping[str, str] = {
    "holds": "\N{CHECK MARK}",
    "refuted": "\N{BALLOT X}",
    "inconclusive": "?",
    "not yet measurable": "-",
    "told": " ",
}


class Ledger(Outcome):
    """Claims that were checked: `results` has one each, `readings` a row a run of an arm."""

    def __init__(
        self,
        results: Sequence[Result],
        readings: Sequence[Reading],
        records: Sequence[Record],
        scale: str,
        environment: Mapping[str, Any],
        lost: int = 0,
    ) -> None:
        super().__init__(records, ["claim", "check", "side"])
        self.results, self.readings = list(results), list(readings)
        self.scale, self.environment, self.lost = scale, dict(environment), lost

    def __getitem__(self, claim: str) -> Result:
        """The result for the claim with this id."""
        return {one.id: one for one in self.results}[claim]

    def frame(self) -> pd.DataFrame:
        """The tidy DataFrame: one row a check, effects as ratios or in base units."""
        import pandas as pd

        rows = [
            {"claim": one.id, "claim_status": one.status, **msgspec.to_builtins(finding)}
            for one in self.results
            for finding in one.findings
        ]
        return pd.DataFrame(rows, columns=["claim", "claim_status", *Finding.__struct_fields__])

    def summary(self) -> pd.DataFrame:
        """One row a claim: its status, the effect that decided it and its interval."""
        import pandas as pd

        return pd.DataFrame([self._flat(one) for one in self.results])

    def _flat(self, result: Result) -> dict[str, Any]:
        data = result.to_dict({})
        low, high = data.pop("interval") or (None, None)
        least, most = data.pop("band") or (None, None)
        for name in ("findings", "environment"):
            del data[name]
        return {**data, "low": low, "high": high, "at_least": least, "at_most": most}

    def plot(self, kind: str = "forest") -> Chart:
        """`forest`: the effect of every claim with its interval, and the band where it holds."""
        if kind != "forest":
            return charts.plot(kind, self.records, self.by, self._frame)
        return charts.forest([_claimed(one) for one in self.results], notes=self.says())

    def text_table(self) -> Table:
        """One row a claim and one a check below it; the sentences at the end."""
        rows = [row for one in self.results for row in _rows(one)]
        return Table(
            headers=["", "claim", "status", "what was found"],
            rows=rows,
            says="\n".join(self.says()),
            left=4,
        )

    def says(self) -> list[str]:
        """How many of each status, how to read them, and under what they were found."""
        return [
            self._counts(),
            "Effects are medians over repeats in fresh processes, paired by repeat, with "
            "their 95 % interval: it lies wholly where the claim holds, wholly outside (refuted), "
            "or neither. Counts must hold in every run.",
            _conditions(self.scale, self.environment),
            *_again(self.lost),
        ]

    def _counts(self) -> str:
        counted = Counter(one.status for one in self.results)
        told = [f"{counted[status]} {status}" for status in STATUSES if counted[status]]  # type: ignore[index] # the same words
        return (
            f"{len(self.results)} claim{'' if len(self.results) == 1 else 's'}: {', '.join(told)}."
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON: a row a claim, every reading, and the ids of the records."""
        return {
            "claims": [one.to_dict(self.environment) for one in self.results],
            "scale": self.scale,
            "says": self.says(),
            "readings": msgspec.to_builtins(self.readings),
            "records": [record.id for record in self.records],
        }


def _rows(result: Result) -> list[list[str]]:
    head = [MARKS[result.status], result.id, result.status]
    if not result.findings:
        return [[*head, f"{result.says} ({result.reason})"]]
    return [
        [*head, result.says],
        *(["", "", f"{MARKS[one.status]} {one.status}", one.reason] for one in result.findings),
        *([["", "", "", result.remark]] if result.remark else []),
    ]


def _conditions(scale: str, environment: Mapping[str, Any]) -> str:
    versions = environment.get("versions", {})
    told = [f"{name} {versions[name]}" for name in ("aiohttp", "uvloop") if versions.get(name)]
    return (
        f"Scale {scale}; Python {environment.get('python')}, {', '.join(told)}; "
        f"{environment.get('cpu')}, {environment.get('cores_usable')} cores; loopback only."
    )


def _again(lost: int) -> list[str]:
    if not lost:
        return []
    runs = "1 run was" if lost == 1 else f"{lost} runs were"
    return [f"{runs} made again, because other processes had the client's core: end them."]


def _claimed(result: Result) -> Claimed:
    found = result.deciding
    return charts.Claimed(
        id=result.id,
        status=result.status,
        says=found.says if found else result.says,
        why=result.reason,
        value=found.value if found else None,
        interval=found.interval if found else None,
        band=(found.at_least, found.at_most) if found else (None, None),
        is_ratio=bool(found and found.is_ratio),
        inside=found.inside if found else 0,
        n=found.n if found else 0,
        text=found.effect if found else "",
    )
