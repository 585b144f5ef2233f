"""Where labkit's own files lie: beside the package in a checkout, inside it when installed."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
CHECKOUT = _PACKAGE.parent
MANIFEST = ".labkit.json"
"""Lies in a workspace of a learner, and says what was copied there."""


def data(name: str) -> Path:
    """Return the folder or file `data/name`."""
    packed = _PACKAGE / "_data" / name
    return packed if packed.exists() else CHECKOUT / "data" / name


def notebooks() -> Path:
    """Return the folder of the notebooks."""
    packed = _PACKAGE / "_notebooks"
    return packed if packed.is_dir() else CHECKOUT / "notebooks"


def in_checkout() -> bool:
    """Return whether this is a checkout, and not an installed package."""
    return (CHECKOUT / "data" / "studies").is_dir()


def workspace() -> Path | None:
    """Return the learner's workspace that the current folder is in, or None."""
    with suppress(OSError):  # a current folder that is gone, or a parent that may not be read
        here = Path.cwd()
        for folder in (here, *here.parents):
            if folder == CHECKOUT:
                break  # a workspace that holds a whole checkout is not what its developer means
            if (folder / MANIFEST).is_file():
                return folder
    return None


def runs() -> Path:
    """Return `data/runs` of the workspace, else of the checkout, else of the current folder."""
    root = workspace() or (CHECKOUT if in_checkout() else Path.cwd())
    return root / "data" / "runs"
