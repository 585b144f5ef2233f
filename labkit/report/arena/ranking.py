"""Records of those who passed -> places by each metric, shared where they are alike. Pure.

An arm's place is one more than the number of arms that are better for sure: the 95 % interval of
the paired ratio lies beyond a margin on the better side. An arm that cannot be compared is better
and worse than nobody, which is no place: it has none. There is no sum of places: what they are
worth beside each other depends on what one is short of.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

import msgspec

from labkit import stats
from labkit.record.record import Record
from labkit.stats import Interval, baseline
from labkit.stats.baseline import Against

METRICS = ("efficiency", "cpu_us_per_request", "process_peak_rss_bytes", "to_first_send_s")
"""What is ranked by, the first first."""
MARGIN = 1.02
"""A ratio that may be nearer to 1 than this is a tie: to be 1 % better is no reason to choose."""


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """One strategy by one metric, in base units; None where no repeat can be compared.

    `rank` is 1 for those than which none is better for sure, None where it cannot be compared, and
    `why` it cannot; `among` is who shares it. `made` is how many repeats there were.
    """

    metric: str
    value: float | None
    interval: Interval | None
    rank: int | None
    made: int
    among: Sequence[str] = ()
    why: str = ""

    @property
    def repeats(self) -> int:
        """How many repeats can be compared."""
        return self.interval.n if self.interval else 0

    @property
    def text(self) -> str:
        """The place as a table shows it: '2', or '2=' where it is shared."""
        if self.rank is None:
            return "-"
        return f"{self.rank}{'=' if self.among else ''}"


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """One strategy by every metric; `is_mine` is whether it is one that was examined."""

    name: str
    is_mine: bool
    places: Sequence[Place]

    def by(self, metric: str) -> Place:
        """Its place by a metric."""
        return next(place for place in self.places if place.metric == metric)


def ranked(records: Sequence[Record], mine: Collection[str]) -> list[Standing]:
    """The strategies of these records, the best by the first metric first."""
    if not records:
        return []
    names = list(dict.fromkeys(str(record.axes["strategy"]) for record in records))
    compared = baseline.each_other(records, ["strategy"], METRICS)
    by_metric = {metric: _places(metric, names, records, compared) for metric in METRICS}
    standings = [
        Standing(
            name=name,
            is_mine=name in mine,
            places=[by_metric[metric][name] for metric in METRICS],
        )
        for name in names
    ]
    return sorted(standings, key=_order)


def _order(standing: Standing) -> list[float]:
    ranks = [math.inf if place.rank is None else place.rank for place in standing.places]
    # Those that share every place keep an order that does not change from run to run: by value.
    return [*ranks, -(standing.places[0].value or 0.0)]


def _places(
    metric: str, names: Sequence[str], records: Sequence[Record], compared: Sequence[Against]
) -> dict[str, Place]:
    found = {name: _Arm(metric, name, records) for name in names}
    ranks = {
        name: 1 + sum(_is_worse(one) for one in compared if _is(one, metric, name))
        for name in names
        if not found[name].why
    }
    return {
        name: Place(
            metric=metric,
            value=arm.interval.value if arm.interval else None,
            interval=arm.interval,
            rank=ranks.get(name),
            made=arm.made,
            among=[
                other
                for other, rank in ranks.items()
                if other != name and name in ranks and rank == ranks[name]
            ],
            why=arm.why,
        )
        for name, arm in found.items()
    }


class _Arm:
    """The repeats of one strategy that can be compared by a metric; `why` it has no place by it."""

    def __init__(self, metric: str, name: str, records: Sequence[Record]) -> None:
        of = [one for one in records if one.axes["strategy"] == name]
        doubts = [baseline.doubt(record, metric) for record in of]
        known = zip(of, doubts, strict=True)
        values = [stats.metric(metric).of(record) for record, doubt in known if not doubt]
        blocks = {(record.study, record.repeat) for record in records}
        doubts += ["missing"] * (len(blocks) - len(of))
        self.made = len(of)
        self.interval = stats.of_value(values) if values else None
        self.why = _why(len(values), doubts)


def _why(usable: int, doubts: Sequence[str]) -> str:
    """Why an arm of so many usable repeats cannot be compared; empty where it can.

    One repeat that cannot be used leaves every comparison undecided, as anywhere in the lab.
    """
    made, lost, reasons = len(doubts), len(doubts) - usable, stats.codes_text(doubts)
    if reasons == "not measured" and not usable:
        return reasons
    if lost:
        return f"{lost} of {made} repeats cannot be used ({reasons})"
    few = f"{made} repeat{'' if made == 1 else 's'}; {stats.LEAST_REPEATS} needed"
    return few if made < stats.LEAST_REPEATS else ""


def _is(one: Against, metric: str, name: str) -> bool:
    return one.metric == metric and one.of["strategy"] == name


def _is_worse(one: Against) -> bool:
    """Whether the first is worse than the second, beyond the margin and for sure."""
    ratio = one.comparison.ratio
    if one.comparison.answer == "inconclusive" or ratio is None:
        return False
    assert ratio.low is not None
    assert ratio.high is not None
    if stats.metric(one.metric).better == "higher":
        return ratio.high < 1 / MARGIN
    return ratio.low > MARGIN
