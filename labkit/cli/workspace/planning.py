"""What is to become of each file of a workspace: decided from digests alone, nothing is touched.

Three digests decide: of the file that labkit ships, of what was last copied (the manifest), and of
what lies in the workspace now. A file that is not as it was copied is the learner's, and stays.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Literal, NamedTuple

Fate = Literal["copied", "updated", "current", "kept", "beside", "newer", "left out"]
"""`copied` and `updated` are written in their place, `beside` under another name. `kept` is the
learner's, of the shipped version; `newer` likewise, with the newer version beside it already.
`left out` was deleted by the learner."""

Digests = Mapping[str, str]


class Step(NamedTuple):
    """One file: what becomes of it. `path` is its place, `target` where something is written."""

    path: str
    fate: Fate
    target: str | None = None


def steps(
    shipped: Digests, copied: Digests, there: Digests, *, restore: bool = False
) -> Iterator[Step]:
    """What becomes of each file that is shipped; `restore` brings back what was deleted."""
    for path in shipped:
        yield _step(path, shipped[path], copied, there, restore)


def _step(path: str, new: str, copied: Digests, there: Digests, restore: bool) -> Step:
    now, old = there.get(path), copied.get(path)
    if now is None:
        gone = old is not None and not restore
        return Step(path, "left out") if gone else Step(path, "copied", path)
    if now == new:
        return Step(path, "current")
    if now == old:
        return Step(path, "updated", path)
    if old == new:
        return Step(path, "kept")
    return _beside(path, new, copied, there)


def _beside(path: str, new: str, copied: Digests, there: Digests) -> Step:
    """The learner's file stays; a newer version goes beside it, unless that name is theirs too."""
    other = beside(path)
    now, old = there.get(other), copied.get(other)
    deleted = now is None and old == new
    if now == new or deleted or (now is not None and now != old):
        return Step(path, "kept" if deleted else "newer")
    return Step(path, "beside", other)


def beside(path: str) -> str:
    """The name under which a newer version is put: `03_event_loops.new.ipynb`."""
    place = PurePosixPath(path)
    return str(place.with_name(f"{place.stem}.new{place.suffix}"))
