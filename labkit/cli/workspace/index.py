"""The index that JupyterLab opens on: a Markdown page made of the notebooks' own openings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from labkit.cli.workspace.openings import About

_TOP = """# labkit: a performance lab for asyncio and aiohttp

Begin with notebook 00; it takes {first} minutes. Take the others in any order, each after those
that its line names. Every one is complete as it stands: *Run > Run All Cells* works.
"""

_BOTTOM = """## Good to know

- **Scale.** `LABKIT_SCALE` sets all sizes. Without it every notebook runs at scale `smoke`, in a
  minute or two of computing. `workshop` and `paper` take longer and decide more; the opening of
  each notebook says how long.
- **Your work is yours.** `labkit lab` never writes over a notebook that you changed, or ran and
  saved. A newer version is put beside it, as `NAME.new.ipynb`. For a fresh copy, rename or delete
  yours and start with `labkit lab --restore`.
- **What you measure is kept** in `data/runs` of this folder, or where `LABKIT_STORE` says.
- **Binder, a dev container, any machine that you share:** good for reading, and for runs at scale
  `smoke`. Measurements in a shared container mean little: they tell as much about its neighbours as
  about your code.
- `labkit doctor --workshop`, in a terminal, says whether this machine is ready.
"""


def page(abouts: Sequence[About]) -> str:
    """The index of these notebooks."""
    first = abouts[0].minutes if abouts else 0
    lines = [_TOP.format(first=first), *_table(abouts), "", _BOTTOM]
    return "\n".join(lines)


def _table(abouts: Sequence[About]) -> Iterator[str]:
    yield "| | notebook | minutes | after | memory | exercises |"
    yield "|---|:---|--:|:---|--:|:---|"
    for about in abouts:
        number = about.name.partition("_")[0]
        what = f"**[{about.title}]({about.name}.ipynb)**<br>{_escaped(about.does)}{_needs(about)}"
        after = ", ".join(name.partition("_")[0] for name in about.after)
        own = f"[{_exercises(about)}]({about.exercises})" if about.exercises else ""
        yield f"| {number} | {what} | {about.minutes} | {after} | {about.peak_mb} MB | {own} |"


def _exercises(about: About) -> str:
    return f"{about.exercise_minutes} min" if about.exercise_minutes else "exercises"


def _needs(about: About) -> str:
    return " *Needs the extra `databases`.*" if about.databases else ""


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")
