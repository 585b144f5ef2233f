"""`Arena`: what exams found, and the board, on which those that passed are ranked. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from functools import partial
from typing import Any

import msgspec

from labkit import charts, paths, stats
from labkit.errors import BadInput
from labkit.record.record import Record
from labkit.report import html
from labkit.report.exam_faults import Examined, Fault
from labkit.report.html import Table
from labkit.report.study import Outcome
from labkit.report.tables import EFFICIENCY
from labkit.stats.comparisons import MARGIN, RANKED, BoardRow, rank_all, repeats_text, title

WIDTH = 100


class Arena(Outcome):
    """Who was examined, with their faults, and the board of those who passed.

    It runs nothing. It shows itself as HTML in a notebook and as text anywhere else.
    """

    def __init__(self, examined: Sequence[Examined], records: Sequence[Record] = ()) -> None:
        super().__init__(records, ["strategy"])
        self.examined = list(examined)
        self.board: list[BoardRow] = rank_all(self.records, [each.name for each in self.examined])

    @property
    def passed(self) -> list[str]:
        """Return the names of those without a fault."""
        return [each.name for each in self.examined if each.passed]

    @property
    def faults(self) -> dict[str, list[Fault]]:
        """Return the faults of each who was examined, by name; an empty list is none."""
        return {each.name: list(each.faults) for each in self.examined}

    def plot(self, kind: str = "board") -> charts.Chart:
        """Draw the `board`, the four metrics beside each other; or any kind of a study.

        Raises `BadInput` where nobody is on the board.
        """
        if not self.records:
            raise BadInput("there is no board to draw: nobody has passed the exam")
        if kind != "board":
            return super().plot(kind)
        from labkit.charts.figure import shared_conditions  # here: it brings pandas along

        frame = self.frame()
        arms = stats.by_label(frame, self.by)
        return charts.board(
            self.board,
            trusts=[charts.trust(row.name, arms[row.name]) for row in self.board],
            conditions=shared_conditions(frame),
            notes=self.sentences(),
        )

    def table(self) -> Table:
        """Return the board: a row a strategy, each figure with its rank in brackets."""
        rows = []
        for row in self.board:
            cells = [f"{row.name} *" if row.is_mine else row.name]
            for rank in row.ranks:
                shown = stats.metric(rank.metric).text(rank.value)
                cells.append(shown if rank.value is None else f"{shown} ({rank.text})")
            rows.append(cells)
        says = f"In brackets the rank; * was examined here.\n{EFFICIENCY}"
        return Table(headers=["strategy", *map(title, RANKED)], rows=rows, says=says)

    def sentences(self) -> list[str]:
        """Return what the board means."""
        if not self.board:
            return [paths.sentence("board-empty")] if self.examined else []
        ranks = [(row, rank) for row in self.board for rank in row.ranks]
        made, needed = max(rank.made for _, rank in ranks), stats.MIN_REPEATS
        reasons: dict[str, list[str]] = {}
        for row, rank in ranks:
            # Too few repeats is one reason for all.
            if rank.why and (made >= needed or rank.value is None):
                reasons.setdefault(rank.why, []).append(f"{row.name} by {RANKED[rank.metric]}")
        found = []
        if made < needed:
            found.append(paths.sentence("board-few", made=repeats_text(made), needed=needed))
        elif not all(rank.why for _, rank in ranks):
            for row in self.board:
                if row.is_mine and any(rank.position for rank in row.ranks):
                    places = [f"{rank.text} by {RANKED[rank.metric]}" for rank in row.ranks]
                    found.append(f"{row.name} has rank {', '.join(places)}.")
            pairs = len(RANKED) * len(self.board) * (len(self.board) - 1) // 2
            how = {"margin": MARGIN - 1, "pairs": pairs, "level": 100 * stats.LEVEL}
            found.append(paths.sentence("ranks", **how))
        return [*found, *(f"No rank for {', '.join(of)}: {why}." for why, of in reasons.items())]

    def text(self) -> str:
        """Return what the exams found, the board, and what it means."""
        fill = partial(textwrap.fill, width=WIDTH, initial_indent="  - ", subsequent_indent="    ")
        parts = ["\n".join([one.says, *map(fill, map(str, one.faults))]) for one in self.examined]
        if self.board:
            parts.append(self.table().text())
        return "\n\n".join([*parts, textwrap.fill(" ".join(self.sentences()), WIDTH)])

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON: the exams, the board, the records and their summary."""
        return {
            "examined": [
                msgspec.to_builtins(each) | {"passed": each.passed} for each in self.examined
            ],
            "board": msgspec.to_builtins(self.board),
            "says": self.sentences(),
            **super().to_dict(),
        }

    def html(self) -> str:
        """Return what the exams found, the board and its picture, and what it means."""
        parts = []
        for one in self.examined:
            parts += [html.heading(one.says), html.listed([*map(str, one.faults)])]
        if self.board:
            parts += [self.table().html(), html.picture(self.plot)]
        return "".join([*parts, html.sentences(self.sentences())])
