"""What a chart says below its axes: under which conditions, and how far to trust each arm."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from labkit import stats
from labkit.errors import BadInput

MARKS = {"valid": "", "warn": "\N{WARNING SIGN}", "invalid": "\N{BALLOT X}"}
_CONDITIONS = {
    "strategy": "{}",
    "requests": "{:,} requests",
    "limit": "limit {:,}",
    "delay": "delay {}",
    "loop": "{}",
}


def shared_conditions(frame: pd.DataFrame, *, strategy: bool = False) -> str:
    """Return the settings that all records of a frame share, without what varies.

    Such as '20,000 requests, limit 1,000, delay randint(0,3), asyncio', led by the strategy where
    it is wanted. Raises `BadInput` where there is no record, as then there is nothing to draw.
    """
    if frame.empty:
        raise BadInput("there are no records to draw: run the experiment first, or filter less")
    shared = {
        name: frame[name].iloc[0]
        for name in _CONDITIONS
        if frame[name].nunique(dropna=False) == 1 and (strategy or name != "strategy")
    }
    texts = (_CONDITIONS[name].format(one) for name, one in shared.items() if one is not None)
    return ", ".join(texts)


def sentences(*parts: str) -> list[str]:
    """Return the parts that are not empty as one note, or one for each of their lines."""
    known = [part.rstrip(".") for part in parts if part]
    return (". ".join(known) + ".").splitlines() if known else []


@dataclass(frozen=True, kw_only=True)
class Trust:
    """How far to trust an arm: the worst verdict of its records, the codes of their warnings."""

    label: str
    verdict: str = "valid"
    codes: Sequence[str] = ()

    @property
    def marked(self) -> str:
        """Return the label, with a mark where the arm is in doubt."""
        return f"{self.label} {MARKS[self.verdict]}".rstrip()


def trust(label: str, rows: pd.DataFrame) -> Trust:
    """Return the trust in an arm that these rows of a frame are."""
    codes = stats.codes_of(rows["warnings"])
    return Trust(label=label, verdict=stats.worst(rows["verdict"]), codes=codes)


def not_drawn(why: str, labels: Sequence[str]) -> list[str]:
    """Return a line that names the arms that a chart leaves out, where there are any."""
    return [f"Not drawn, {why}: {'; '.join(labels)}."] if labels else []


def verdicts(arms: Iterable[Trust]) -> list[str]:
    """Return a line for each verdict and set of codes: its mark, the codes, the arms that have it.

    The arms are not named where they are all alike.
    """
    alike: dict[tuple[str, str], list[str]] = {}
    for arm in arms:
        alike.setdefault((arm.verdict, stats.codes_text(arm.codes)), []).append(arm.label)
    lines = []
    for (verdict, codes), labels in alike.items():
        word = f"{MARKS[verdict]} {verdict}".strip() + (f" ({codes})" if codes else "")
        lines.append(f"verdict: {word}" if len(alike) == 1 else f"{word}: {'; '.join(labels)}")
    return lines


def doubts(arms: Mapping[str, pd.DataFrame]) -> list[str]:
    """Return a line for each doubt about the arms: too few repeats, or a wide spread."""
    codes = {label: stats.doubts_of(rows) for label, rows in arms.items()}
    return stats.doubt_sentences(codes, max(map(len, arms.values()), default=0))
