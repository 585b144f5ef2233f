"""What was done to a workspace, in a few aligned lines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from labkit.cli.workspace.planning import Fate, Step, beside

_LISTED = 4
"""More names than these are counted: a first copy has some thirty."""

_SAYS: dict[Fate, str] = {
    "copied": "copied",
    "updated": "updated",
    "current": "unchanged",
    "kept": "kept, yours",
    "beside": "kept, yours",
    "newer": "kept, yours",
    "left out": "left out",
}


@dataclass(frozen=True, kw_only=True)
class Summary:
    """A workspace and what became of each of its files."""

    folder: Path
    steps: Sequence[Step]

    def paths(self, *fates: Fate) -> list[str]:
        """The files of these fates."""
        return [step.path for step in self.steps if step.fate in fates]

    def text(self) -> str:
        """A line for each thing that was done, and what the learner may do about it."""
        lines = [f"{'workspace':<12}{self.folder}"]
        for says in dict.fromkeys(_SAYS.values()):
            named = self.paths(*[fate for fate, word in _SAYS.items() if word == says])
            if named:
                lines.append(f"{says:<12}{_counted(named)}")
        return "\n".join([*lines, *self._advice()])

    def _advice(self) -> list[str]:
        advice = []
        if newer := self.paths("beside", "newer"):
            advice.append(f"{'newer':<12}{_counted([beside(path) for path in newer])}")
            advice.append(f"{'':<17}the newer version of what is yours, beside it")
        if self.paths("left out"):
            advice.append(f"{'':<17}you deleted that; 'labkit lab --restore' brings it back")
        return advice


def _counted(paths: Sequence[str]) -> str:
    named = ", ".join(paths[:_LISTED])
    more = len(paths) - _LISTED
    return f"{len(paths):>3}" + ("" if more > _LISTED else f"  {named}{_and(more)}")


def _and(more: int) -> str:
    return f" and {more} more" if more > 0 else ""
