"""Copying the lab's notebooks into a workspace: each file whole or not at all.

A file is written beside its place and renamed, so that an interrupted copy leaves nothing half. The
manifest is written last, also after a failure: a file that it does not know is taken for the
learner's, never the other way round.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from labkit import paths as places
from labkit.cli.workspace import index, manifest, openings
from labkit.cli.workspace.planning import Digests, Step, beside, steps
from labkit.cli.workspace.summary import Summary
from labkit.errors import BadInput, LabError

INDEX = "index.md"
_USUAL = "labkit-workspace"
_NO_FILE = "not a file"
"""Stands for the digest of a link or a folder that lies where a file would be copied to."""
_FULL = {errno.ENOSPC, errno.EDQUOT}


class DiskFull(LabError):
    """There was no room for the rest; what was copied stays."""


def prepare(folder: Path, *, restore: bool = False, source: Path | None = None) -> Summary:
    """Copy into `folder` what is missing there or was not changed since it was copied.

    `restore` brings back what the learner deleted. Raises `BadInput` where the folder cannot be a
    workspace, `DiskFull` where there is no room.
    """
    files = shipped(source or places.notebooks())
    try:
        workspace = checked(folder)
        workspace.mkdir(parents=True, exist_ok=True)
        return Summary(folder=workspace, steps=_copied(workspace, files, restore))
    except OSError as error:
        raise _refusal(folder, error) from None


def usual() -> Path:
    """The workspace that the current folder is in, else one to be made below that folder."""
    return places.workspace() or Path(_USUAL)


def sources(named: Path | None) -> Path:
    """The notebooks of a checkout, to be edited where they are; `BadInput` elsewhere."""
    if named is not None:
        raise BadInput(
            f"workspace is {str(named)!r}: --edit opens the notebooks of the checkout; "
            "leave one of the two out"
        )
    if not places.in_checkout():
        raise BadInput("edit is True: labkit is installed and no checkout; leave --edit out")
    return places.notebooks()


def checked(folder: Path) -> Path:
    """The folder itself, links followed; raises `BadInput` where it cannot be a workspace."""
    place = folder.expanduser().resolve()
    said = f"workspace is {str(folder)!r}"
    if place.exists() and not place.is_dir():
        raise BadInput(f"{said}: it is a file; name a folder, or one that is not there yet")
    package, own = Path(places.__file__).resolve().parent, places.notebooks().resolve()
    if place in (places.CHECKOUT, package, own) or {package, own} & set(place.parents):
        raise BadInput(
            f"{said}: labkit itself lies there; name a folder of your own "
            "('labkit lab --edit' opens the notebooks of a checkout)"
        )
    return place


def shipped(source: Path) -> dict[str, bytes]:
    """The notebooks, their exercises and the index, by their place in a workspace."""
    found = {
        path.relative_to(source).as_posix(): path.read_bytes()
        for path in sorted(source.rglob("*.ipynb"))
        if not any(part.startswith(".") for part in path.relative_to(source).parts)
    }
    return {INDEX: index.page(openings.read_all(source)).encode(), **found}


def _copied(workspace: Path, files: Mapping[str, bytes], restore: bool) -> list[Step]:
    old = manifest.read(workspace)
    new = {path: manifest.digest(data) for path, data in files.items()}
    planned = list(steps(new, old, _there(workspace, new), restore=restore))
    known = dict(old)
    try:
        for step in planned:
            if step.target:
                _write(workspace, step.target, files[step.path])
                known[step.target] = new[step.path]
            elif step.fate == "current":
                known[step.path] = new[step.path]
    finally:
        with suppress(OSError):
            _write(workspace, places.MANIFEST, manifest.encoded(known))
    return planned


def _there(workspace: Path, paths: Digests) -> dict[str, str]:
    """The digests of what lies where something might be copied to."""
    return dict(_digests(workspace, [*paths, *map(beside, paths)]))


def _digests(workspace: Path, paths: list[str]) -> Iterator[tuple[str, str]]:
    for path in paths:
        place = workspace / path
        if place.is_symlink() or place.is_dir():
            yield path, _NO_FILE
        elif place.exists():
            yield path, manifest.digest(place.read_bytes())


def _write(workspace: Path, path: str, data: bytes) -> None:
    place = workspace / path
    if place.parent.is_symlink():
        raise NotADirectoryError(errno.ENOTDIR, "a link to elsewhere", str(place.parent))
    place.parent.mkdir(parents=True, exist_ok=True)
    part = place.with_name(f".{place.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(place)
    except BaseException:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise


def _refusal(folder: Path, error: OSError) -> LabError:
    said = f"workspace is {str(folder)!r}"
    if error.errno in _FULL:
        return DiskFull(
            f"{said}: the disk is full; what was copied stays: free some space and run it again"
        )
    where = f" at {error.filename}" if error.filename else ""
    return BadInput(
        f"{said}: it cannot be written ({error.strerror}{where}); name another: labkit lab FOLDER"
    )
