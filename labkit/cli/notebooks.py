"""What the lab's notebooks take and need, from their metadata, and the index page made of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from labkit.errors import LabError


class NotebookInfo(msgspec.Struct, frozen=True, kw_only=True):
    """The entry `labkit` of a notebook's metadata, and where the notebook and its exercises lie.

    `does` is a sentence. `minutes` are the reader's, `exercise_minutes` come on top;
    `workshop_minutes` are the machine's at scale workshop, None where nobody says. `peak_mb` and
    `workshop_mb` are megabytes at scale smoke and workshop, kernel included. `after` names the
    notebooks to read first; `databases` is True if it needs the extra of that name.
    """

    title: str
    does: str
    minutes: int
    peak_mb: int
    workshop_mb: int
    workshop_minutes: float | None = None
    exercise_minutes: int | None = None
    after: tuple[str, ...] = ()
    databases: bool = False
    name: str = ""
    exercises: str | None = None


def read_all(folder: Path) -> list[NotebookInfo]:
    """Return the infos of all notebooks of a folder, sorted by number."""
    return [read(path) for path in sorted(folder.glob("[0-9]*.ipynb"))]


def read(path: Path) -> NotebookInfo:
    """Return the info of one notebook. Raises `LabError` where its metadata has none."""
    try:
        metadata = msgspec.json.decode(path.read_bytes())["metadata"]["labkit"]
        info = msgspec.convert(metadata, NotebookInfo)
    except (msgspec.MsgspecError, LookupError, TypeError) as error:
        raise LabError(
            f"{path.name}: its metadata has no valid entry 'labkit' ({error}); "
            "write one as in 00_start_here.ipynb"
        ) from None
    own = path.parent / "exercises" / path.name
    exercises = f"exercises/{path.name}" if own.is_file() else None
    return msgspec.structs.replace(info, name=path.stem, exercises=exercises)


def needs(infos: Sequence[NotebookInfo]) -> tuple[int, int, float, list[str], list[str]]:
    """Return what all of them need: (MB at smoke, MB at workshop, minutes, databases, unknown).

    The minutes are the machine's at scale workshop; `unknown` names the notebooks that give none.
    `databases` are the numbers of the notebooks that need one.
    """
    return (
        max((info.peak_mb for info in infos), default=0),
        max((info.workshop_mb for info in infos), default=0),
        sum(info.workshop_minutes or 0 for info in infos),
        [_number(info.name) for info in infos if info.databases],
        [info.name for info in infos if info.workshop_minutes is None],
    )


def index_page(infos: Sequence[NotebookInfo]) -> str:
    """Return the Markdown page that JupyterLab opens on."""
    rows = "\n".join(_ROW.format(**_cells(info)) for info in infos)
    page = Path(__file__).with_name("index.md").read_text(encoding="utf-8")
    return page.format(first=infos[0].minutes if infos else 0, rows=rows)


def _number(name: str) -> str:
    return name.partition("_")[0]


def _cells(info: NotebookInfo) -> dict[str, Any]:
    own = f"{info.exercise_minutes} min" if info.exercise_minutes else "exercises"
    return msgspec.structs.asdict(info) | {
        "number": _number(info.name),
        "does": info.does.replace("|", "\\|"),
        "extra": " *Needs the extra `databases`.*" if info.databases else "",
        "after": ", ".join(map(_number, info.after)),
        "own": f"[{own}]({info.exercises})" if info.exercises else "",
    }


_ROW = (
    "| {number} | **[{title}]({name}.ipynb)**<br>{does}{extra} | {minutes} | {after} "
    "| {peak_mb} MB | {own} |"
)
