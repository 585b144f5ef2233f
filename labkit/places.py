"""Where labkit's own files lie: beside the package in a checkout, inside it when installed."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
CHECKOUT = _PACKAGE.parent


def data(name: str) -> Path:
    """The folder `data/name`."""
    packed = _PACKAGE / "_data" / name
    return packed if packed.is_dir() else CHECKOUT / "data" / name


def file(name: str) -> Path:
    """The file `data/name`."""
    packed = _PACKAGE / "_data" / name
    return packed if packed.is_file() else CHECKOUT / "data" / name


def notebooks() -> Path:
    """The folder of the notebooks."""
    packed = _PACKAGE / "_notebooks"
    return packed if packed.is_dir() else CHECKOUT / "notebooks"


def runs() -> Path:
    """Where records are kept: `data/runs` of the checkout, else of the current folder."""
    root = CHECKOUT if (CHECKOUT / "data" / "published").is_dir() else Path.cwd()
    return root / "data" / "runs"
