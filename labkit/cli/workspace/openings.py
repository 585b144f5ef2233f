"""What a notebook says of itself in its first cell: title, what one does, needs, minutes, memory.

The opening is the only place where this is written; the index, the doctor and the plans for
teachers take it from here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from labkit.errors import LabError

_WORDS: Mapping[str, float] = {
    "a minute and a half": 1.5,
    "two minutes": 2,
    "three minutes": 3,
    "a few minutes": 4,
    "four minutes": 4,
    "five minutes": 5,
    "ten minutes": 10,
    "a quarter of an hour": 15,
}
"""Minutes that openings write in words."""


class About(NamedTuple):
    """One notebook, as its opening has it.

    `minutes` are the reader's; `workshop_minutes` the machine's at scale workshop, None where the
    opening gives no figure. `peak_mb` and `workshop_mb` are megabytes, kernel included. `exercises`
    is where its exercises lie, if it has any, and `exercise_minutes` what they take besides.
    """

    name: str
    title: str
    does: str
    minutes: int
    peak_mb: int
    workshop_minutes: float | None
    workshop_mb: int
    after: tuple[str, ...]
    databases: bool
    exercises: str | None = None
    exercise_minutes: int | None = None


def read_all(folder: Path) -> list[About]:
    """What all notebooks of a folder say of themselves, in their order."""
    return [read(path) for path in sorted(folder.glob("[0-9]*.ipynb"))]


def needs(abouts: Sequence[About]) -> tuple[int, int, float, list[str], list[str]]:
    """Of all of them: megabytes at scale smoke and workshop, minutes at workshop, with databases.

    The minutes are the machine's, of those that give any; the names of the others come last.
    """
    return (
        max((one.peak_mb for one in abouts), default=0),
        max((one.workshop_mb for one in abouts), default=0),
        sum(one.workshop_minutes or 0 for one in abouts),
        [one.name.partition("_")[0] for one in abouts if one.databases],
        [one.name for one in abouts if one.workshop_minutes is None],
    )


def read(path: Path) -> About:
    """What a notebook says of itself; raises `LabError` where its first cell is no opening."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    about = parse(path.stem, "".join(cells[0]["source"]))
    own = path.parent / "exercises" / path.name
    return about._replace(exercises=f"exercises/{path.name}") if own.is_file() else about


def parse(name: str, opening: str) -> About:
    """The same, of the text of the first cell."""
    does, needs = (_section(title, opening) for title in ("What you will do", "What you will need"))
    before, _, after = needs.partition("**Time:**")
    found = re.search(r"`workshop` \((.*?)\)", after)
    workshop = found[1] if found else ""
    peak = int(_one(r"\*\*Peak memory:\*\* (\d+) MB", after, name))
    return About(
        name=name,
        title=_one(r"\A# (.+)", opening, name),
        does=_first_sentence(does),
        minutes=int(_one(r"(\d+) minutes", after, name)),
        peak_mb=peak,
        workshop_minutes=_minutes(workshop),
        workshop_mb=max(peak, *map(int, re.findall(r"(\d+) MB", workshop)), 0),
        after=tuple(re.findall(r"\]\((\w+)\.ipynb\)", before)),
        databases="`databases`" in before,
        exercise_minutes=_exercise_minutes(after),
    )


def _section(title: str, opening: str) -> str:
    """The text below a heading, its lines joined."""
    found = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", opening, re.DOTALL | re.MULTILINE)
    return " ".join(found[1].split()) if found else ""


def _first_sentence(text: str) -> str:
    return re.split(r"(?<=\.) (?=[A-Z])", text, maxsplit=1)[0]


def _minutes(text: str) -> float | None:
    if found := re.search(r"(\d+) minutes", text):
        return float(found[1])
    return next((number for words, number in _WORDS.items() if words in text), None)


def _exercise_minutes(text: str) -> int | None:
    found = re.search(r"\*\*Exercises:\*\* [^.]*?(\d+) minutes", text)
    return int(found[1]) if found else None


def _one(pattern: str, text: str, name: str) -> str:
    found = re.search(pattern, text)
    if found is None:
        raise LabError(
            f"{name}: its first cell is no opening: {pattern!r} is not in it; "
            "see the opening of 00_start_here"
        )
    return found[1]
