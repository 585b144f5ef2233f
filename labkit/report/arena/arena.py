"""`Arena`: what an examination found, and the board of those who passed it, as `lab.arena` has it.

It runs nothing. It shows itself as HTML in a notebook and as text anywhere else.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from labkit import charts, stats
from labkit.errors import BadInput
from labkit.record.record import Record
from labkit.report import html
from labkit.report.arena.faults import Examined, Fault
from labkit.report.arena.ranking import MARGIN, METRICS, Place, Standing, ranked
from labkit.report.study import Outcome
from labkit.report.tables import Table

if TYPE_CHECKING:
    from labkit.charts import Chart

_WIDTH = 100
_HEADERS = {
    "efficiency": "efficiency (%)",
    "cpu_us_per_request": "CPU/request (\N{MICRO SIGN}s)",
    "process_peak_rss_bytes": "memory (MB)",
    "to_first_send_s": "first request (ms)",
}
_NOTHING = "Nobody is on the board: a strategy is ranked once its examination finds no fault."


class Arena(Outcome):
    """Who was examined, with their faults, and the standings of those who passed."""

    def __init__(self, examined: Sequence[Examined], records: Sequence[Record] = ()) -> None:
        super().__init__(records, ["strategy"])
        self.examined = list(examined)
        self.standings: list[Standing] = ranked(self.records, [one.name for one in self.examined])

    @property
    def passed(self) -> list[str]:
        """The names of those without a fault."""
        return [one.name for one in self.examined if one.passed]

    @property
    def faults(self) -> dict[str, list[Fault]]:
        """The faults of each who was examined, by name; an empty list where there is none."""
        return {one.name: list(one.faults) for one in self.examined}

    def plot(self, kind: str = "board") -> Chart:
        """`board`: the four metrics beside each other; or any kind of a study.

        Raises `BadInput` where nobody is on the board.
        """
        if not self.records:
            raise BadInput("there is no board to draw: nobody has passed the examination")
        if kind != "board":
            return super().plot(kind)
        return self._board(self.says())

    def _board(self, notes: Sequence[str]) -> Chart:
        from labkit.charts import conditions  # here: it brings pandas along

        frame = self.frame()
        rows = {name: frame[frame["strategy"] == name] for name in self._names()}
        return charts.board(
            [_panel(metric, self.standings) for metric in METRICS],
            title="The board",
            trusts=[charts.trust(name, of) for name, of in rows.items()],
            conditions=conditions.of_frame(frame),
            notes=notes,
        )

    def _names(self) -> list[str]:
        return [one.name for one in self.standings]

    def text_table(self) -> Table:
        """The board: a row a strategy, each figure with its place by it in brackets."""
        rows = [[_named(one), *map(_cell, one.places)] for one in self.standings]
        headers = ["strategy", *_HEADERS.values()]
        return Table(headers=headers, rows=rows, says="In brackets the place; * was examined here.")

    def says(self) -> list[str]:
        """What the board means, in sentences."""
        if not self.standings:
            return [_NOTHING] if self.examined else []
        own = [one for one in self.standings if one.is_mine and any(p.rank for p in one.places)]
        return [*(f"{_stands(one)}." for one in own), *_how_to_read(self.standings)]

    def text(self) -> str:
        """What the examination found, the board, and what it means."""
        board = [self.text_table().text()] if self.standings else []
        said = [textwrap.fill(" ".join(self.says()), _WIDTH)]
        return "\n\n".join([*map(_report, self.examined), *board, *said])

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON: the examinations, the standings, the records and their summary."""
        examined = [
            {
                "name": one.name,
                "passed": one.passed,
                "faults": [{"code": fault.code, "says": fault.says} for fault in one.faults],
                "remarks": list(one.remarks),
            }
            for one in self.examined
        ]
        standings = msgspec.to_builtins(self.standings)
        known = super().to_dict() if self.records else {"records": [], "summary": []}
        return {"examined": examined, "standings": standings, "says": self.says(), **known}

    def html_parts(self) -> Iterator[str]:
        """What the examination found, the board and its picture, and what it means."""
        for one in self.examined:
            yield html.heading(_head(one))
            yield html.listed(_lines(one))
        if self.standings:
            yield html.table(self.text_table())
            yield html.picture(lambda: self._board([]))
        yield html.sentences(self.says())


def _head(one: Examined) -> str:
    return f"{one.name}: {'passed the examination' if one.passed else 'not ranked'}."


def _lines(one: Examined) -> list[str]:
    """The faults with their codes, or the remarks of one without any."""
    return [f"{fault.code}. {fault.says}" for fault in one.faults] or list(one.remarks)


def _report(one: Examined) -> str:
    shown = [
        textwrap.fill(line, _WIDTH, initial_indent="  - ", subsequent_indent="    ")
        for line in _lines(one)
    ]
    return "\n".join([_head(one), *shown])


def _named(one: Standing) -> str:
    return f"{one.name} *" if one.is_mine else one.name


def _cell(place: Place) -> str:
    if place.value is None:
        return stats.NOT_MEASURED
    return f"{_figure(place.metric, place.value)} ({place.text})"


def _figure(metric: str, value: float) -> str:
    shown = value * 1e3 if metric == "to_first_send_s" else value * stats.metric(metric).scale
    return stats.number(shown)


def _stands(one: Standing) -> str:
    return f"{one.name} is {', '.join(map(_placed, one.places))}"


_BY = {
    "efficiency": "efficiency",
    "cpu_us_per_request": "CPU",
    "process_peak_rss_bytes": "memory",
    "to_first_send_s": "time to the first request",
}


def _placed(place: Place) -> str:
    by = _BY[place.metric]
    if place.rank is None:
        return f"not placed by {by}"
    number = _ORDINALS.get(place.rank, f"{place.rank}th")
    others = len(place.among)
    shared = f" with {others} other{'s' if others > 1 else ''}" if others else ""
    return f"{number} by {by}{shared}"


_ORDINALS = {1: "first", 2: "second", 3: "third", 4: "fourth", 5: "fifth", 6: "sixth"}


def _how_to_read(standings: Sequence[Standing]) -> list[str]:
    places = [place for one in standings for place in one.places]
    made, needed = max(place.made for place in places), stats.LEAST_REPEATS
    if made < needed:
        few = f"{made} repeat{'' if made == 1 else 's'}"
        said = f"With {few} nothing is decided, and nobody has a place: {needed} are needed."
        return [said, *_unplaced(standings, lambda place: place.value is None)]
    without = _unplaced(standings, lambda place: place.rank is None)
    if all(place.rank is None for place in places):
        return without
    pairs = len(standings) * (len(standings) - 1) // 2
    there = "is 1 pair" if pairs == 1 else f"are {pairs} pairs"
    return [
        "A place is one more than how many are better for sure: the whole interval of the ratio "
        f"lies beyond a difference of {MARGIN - 1:.0%}. A place that several have is marked by =.",
        f"There {there}: of those that are alike at most one in twenty is told apart by chance.",
        *without,
    ]


def _unplaced(standings: Sequence[Standing], concerns: Callable[[Place], bool]) -> list[str]:
    """A sentence for those that have no place by some metrics, for the same reason."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for metric in METRICS:
        found = [(one.name, one.by(metric)) for one in standings]
        found = [(name, place) for name, place in found if concerns(place)]
        for why in dict.fromkeys(place.why for _, place in found):
            names = [name for name, place in found if place.why == why]
            has = f"{', '.join(names)} {'has' if len(names) == 1 else 'have'} no place"
            who = "Nobody has a place" if len(names) == len(standings) else has
            reasons.setdefault((who, why), []).append(_BY[metric])
    return [f"{who} by {', '.join(by)}: {why}." for (who, why), by in reasons.items()]


def _panel(metric: str, standings: Sequence[Standing]) -> charts.Panel:
    scale = 1e3 if metric == "to_first_send_s" else stats.metric(metric).scale
    return charts.Panel(
        title=_HEADERS[metric],
        better=stats.metric(metric).better or "lower",
        dots=[_dot(one, one.by(metric), scale) for one in standings],
    )


def _dot(one: Standing, place: Place, scale: float) -> charts.Dot:
    known = place.interval
    ends = (
        None
        if known is None or known.low is None or known.high is None
        else (known.low * scale, known.high * scale)
    )
    return charts.Dot(
        name=one.name,
        value=None if place.value is None else place.value * scale,
        interval=ends,
        rank=place.text,
        is_mine=one.is_mine,
    )
