"""What charts say about trust: a mark at each arm that is in doubt, the reasons in the notes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from labkit import stats
from labkit.record.record import Record

MARKS = {"valid": "", "warn": "\N{WARNING SIGN}", "invalid": "\N{BALLOT X}"}


@dataclass(frozen=True, kw_only=True)
class Trust:
    """How far to trust an arm: the worst verdict of its records, the codes of their warnings."""

    label: str
    verdict: str = "valid"
    codes: Sequence[str] = ()

    @property
    def marked(self) -> str:
        """The label, with a mark where the arm is in doubt."""
        return f"{self.label} {MARKS[self.verdict]}".rstrip()


def trust(label: str, rows: pd.DataFrame) -> Trust:
    """The trust in an arm that these rows of a frame are."""
    codes = stats.codes_of(rows["warnings"])
    return Trust(label=label, verdict=stats.worst(rows["verdict"]), codes=codes)


def trust_of_records(label: str, records: Sequence[Record]) -> Trust:
    """Return the trust in an arm that these records are."""
    return Trust(
        label=label,
        verdict=stats.worst(record.verdict for record in records),
        codes=stats.codes_of(note.code for record in records for note in record.warnings),
    )


def notes(arms: Iterable[Trust]) -> list[str]:
    """A line for each verdict and set of codes: the mark, what it means, whom it concerns."""
    listed = list(arms)
    alike: dict[tuple[str, str], list[str]] = {}
    for arm in listed:
        alike.setdefault((arm.verdict, stats.codes_text(arm.codes)), []).append(arm.label)
    return [
        _line(verdict, codes, "" if len(labels) == len(listed) else "; ".join(labels))
        for (verdict, codes), labels in alike.items()
    ]


def doubts(frame: pd.DataFrame, by: Sequence[str]) -> list[str]:
    """A line for each doubt about the arms of a frame: too few repeats, or a wide spread."""
    arms = stats.by_label(frame, by)
    doubts = {label: stats.stability.of_arm(rows) for label, rows in arms.items()}
    return stats.stability.said(doubts, max(map(len, arms.values()), default=0))


def doubts_of_records(arms: Mapping[str, Sequence[Record]]) -> list[str]:
    """Return the same lines for arms that are given as their records."""
    doubts = {
        label: stats.stability.of_times([one.wall_s for one in records if one.verdict != "invalid"])
        for label, records in arms.items()
    }
    return stats.stability.said(doubts, max(map(len, arms.values()), default=0))


def _line(verdict: str, codes: str, whom: str) -> str:
    said = f"{MARKS[verdict]} {verdict}".strip() + (f" ({codes})" if codes else "")
    return f"{said}: {whom}" if whom else f"verdict: {said}"
