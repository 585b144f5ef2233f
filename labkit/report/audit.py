"""`Audit`: what the lab's own error is on this machine, each figure beside what is allowed.

A lab that compares a thing with itself must find no difference; its percentiles must be those of
the delays that the server knows it gave; and its probes must cost next to nothing. The last two are
claims of the study's file; the first is counted here.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from functools import cached_property
from statistics import median

from labkit import stats
from labkit.record.record import Record
from labkit.report import html
from labkit.report.study import ARM, FileStudy
from labkit.report.tables import Table
from labkit.studies import judge
from labkit.studies.judge import MARKS, Finding, Verdict
from labkit.studies.parts import Check
from labkit.studies.study_file import Judged

MAX_FALSE_POSITIVE_RATE = 0.05
"""Share of comparisons of a thing with itself that may claim a difference."""
SIMULATED = 100
MAX_SIMULATED = 0.10
"""Share of simulated comparisons that may: 5 % on average, more than 10 % with a chance of 1 %."""
MIN_NOISE = 50
"""Pairs of runs from which noise can be drawn: of fewer the same few come again and again."""

Pairs = Sequence[tuple[Sequence[float], Sequence[float]]]
"""For each comparison the values of two arms, paired by repeat."""


def false_positives(pairs: Pairs) -> Finding:
    """Judge how many real comparisons of a thing with itself claim a difference.

    Those with too few repeats for an interval do not count.
    """
    ratios = [stats.of_ratio(of, to) for of, to in pairs if len(of) >= stats.MIN_REPEATS]
    found = sum(ratio.excludes(1) for ratio in ratios)
    widest = [ratio.high / ratio.low for ratio in ratios if ratio.low and ratio.high]
    wide = f", with ends of an interval {median(widest):.2f} times apart" if widest else ""
    says = f"{found} of {len(ratios)} comparisons claim a difference{wide}"
    return _share(says, [found / len(ratios)] if ratios else [None], MAX_FALSE_POSITIVE_RATE)


def simulated(pairs: Pairs, seed: int = 0) -> Finding:
    """Judge the same of `SIMULATED` comparisons whose noise is drawn from that of the real ones."""
    noise = [a / b for of, to in pairs for a, b in zip(of, to, strict=True)]
    enough = len(noise) >= MIN_NOISE
    # Of a thing with itself either arm may be called the first.
    noise += [1 / ratio for ratio in noise]
    n, chance = stats.MIN_REPEATS, random.Random(seed)
    drawn = [stats.of_ratios(chance.choices(noise, k=n)) for _ in range(SIMULATED)]
    found = sum(ratio.excludes(1) for ratio in drawn)
    says = f"{found} of {SIMULATED} simulated comparisons claim a difference, with noise as here"
    return _share(says, [found / SIMULATED if enough else None], MAX_SIMULATED)


def _share(says: str, values: Sequence[float | None], most: float) -> Finding:
    check = Check(says=says, measure="ok", at_most=most, exact=True)
    return judge.decide(Judged(check=check, instead=False, of=(), to=()), values, min_repeats=1)


def within(
    says: str, measure: str, records: Sequence[Record], at_least: float, at_most: float
) -> Finding:
    """Judge whether a metric of these records lies between two values; one record is enough."""
    check = Check(says=says, measure=measure, of="one", at_least=at_least, at_most=at_most)
    judged = Judged(check=check, instead=False, of=("one",), to=())
    return judge.finding(judged, {"one": records}, min_repeats=1)


def table(findings: Sequence[Finding]) -> Table:
    """Return one row a finding: its verdict and its reason."""
    rows = [[MARKS[one.verdict], one.verdict, one.reason] for one in findings]
    return Table(headers=["", "verdict", "what was found"], rows=rows, left=3)


class Audit(FileStudy):
    """The lab's own error, as `lab.audit` measures it: a verdict for each figure."""

    @cached_property
    def verdicts(self) -> list[Verdict]:
        """The verdict on each figure: on comparisons of a trial with itself, then on the rest."""
        pairs = self._pairs()
        counted = {"same": false_positives(pairs)}
        if any(of for of, _ in pairs):
            counted["same-simulated"] = simulated(pairs)
        says = "A trial that is compared with itself does not differ."
        first = [
            Verdict(
                id=name,
                source="",
                says=says,
                verdict=one.verdict,  # type: ignore[arg-type] # it has a band, so it decides
                reason=one.reason,
                scale=self.scale,
                findings=[one],
                deciding=one,
            )
            for name, one in counted.items()
        ]
        return [*first, *super().verdicts]

    def _pairs(self) -> list[tuple[list[float], list[float]]]:
        """Return throughputs of both arms, comparison by comparison, of repeats that have both."""
        rates: dict[int, dict[str, float]] = {}
        for one in self.records:
            if one.axes[ARM] in ("same", "same-again") and one.verdict != "invalid":
                rates.setdefault(one.repeat, {})[one.axes[ARM]] = one.throughput_rps or 0.0
        found: dict[int, tuple[list[float], list[float]]] = {}
        for repeat, both in sorted(rates.items()):
            of, to = found.setdefault(repeat // stats.MIN_REPEATS, ([], []))
            if len(both) == 2 and all(both.values()):
                of.append(both["same"])
                to.append(both["same-again"])
        return list(found.values())

    def text_table(self) -> Table:
        """One row a figure: its verdict, what was claimed of it, what was found."""
        rows = [[MARKS[o.verdict], o.verdict, o.says, o.reason] for o in self.verdicts]
        headers = ["", "verdict", "figure", "what was found"]
        return Table(headers=headers, rows=rows, left=4, says=self.conclusion())

    def conclusion(self) -> str:
        """What it comes to, in a sentence."""
        beyond = [one.id for one in self.verdicts if one.verdict == "refuted"]
        unknown = [one.id for one in self.verdicts if one.verdict == "inconclusive"]
        if not beyond and not unknown:
            return "The lab's own error is within what is allowed, on this machine and now."
        parts = [f"beyond what is allowed: {'; '.join(beyond)}"] if beyond else []
        parts += [f"not shown either way: {'; '.join(unknown)}"] if unknown else []
        return f"Read figures of this size with that in mind: {', and '.join(parts)}."

    def text(self) -> str:
        """The whole audit as a terminal shows it."""
        return self.text_table().text()

    def html_parts(self) -> Iterator[str]:
        """The table with its sentence."""
        yield html.table(self.text_table())
