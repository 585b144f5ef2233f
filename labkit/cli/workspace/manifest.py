"""What was copied into a workspace, by digest: `.labkit.json` in it, which also marks it as one.

Where it is damaged nothing is known to be unchanged: all is taken for the learner's.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec

from labkit import paths
from labkit.launch import environment

Files = dict[str, str]

_NOBODYS = {"id", "metadata", "execution_count"}


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """The version of labkit that copied last, and the digest of each file as it was copied."""

    labkit: str | None
    files: Files


def digest(data: bytes) -> str:
    """Of what is the author's in a notebook: text, code and outputs; of any other file's bytes.

    JupyterLab writes more than that: to open a notebook and look at it is enough for it to save the
    kernel's version in the metadata. That is nobody's work.
    """
    return hashlib.sha256(_work(data)).hexdigest()


def _work(data: bytes) -> bytes:
    try:
        cells = msgspec.json.decode(data)["cells"]
        return msgspec.json.encode(
            [{name: cell[name] for name in sorted(cell.keys() - _NOBODYS)} for cell in cells]
        )
    except (msgspec.MsgspecError, UnicodeDecodeError, TypeError, AttributeError, LookupError):
        return data


def read(workspace: Path) -> Files:
    """What was copied; nothing where the manifest is missing or damaged."""
    try:
        data = (workspace / paths.MANIFEST).read_bytes()
        return msgspec.json.decode(data, type=Manifest).files
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return {}


def encoded(files: Files) -> bytes:
    """The manifest as it is written."""
    manifest = Manifest(labkit=environment.version("labkit"), files=dict(sorted(files.items())))
    return msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"
