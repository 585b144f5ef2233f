"""The lab's notebooks: what they take and need, by their metadata, and their copy in a workspace.

The plan of the copy. It never writes over a learner's work. Three digests decide what becomes of a
file: of the file that labkit ships, of what was last copied (the manifest, `.labkit.json`), and of
what lies in the workspace now. A file that is not as it was copied is the learner's and stays.

A file is written beside its place and renamed, so that an interrupted copy leaves nothing half. The
manifest is written last, also after a failure: a file that it does not name is taken for the
learner's, never the other way round. A damaged manifest names nothing.
"""

import errno
import hashlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from labkit import paths
from labkit.errors import BadInput, LabError
from labkit.launch import environment
from labkit.spec.validation import refusal


class NotebookInfo(msgspec.Struct, frozen=True, kw_only=True):
    """The entry `labkit` of a notebook's metadata, and where the notebook and its exercises lie.

    `does` is a sentence. `minutes` are the reader's, `exercise_minutes` come on top. `peak_mb` and
    `workshop_mb` are megabytes at scale smoke and workshop, kernel included. `after` names the
    notebooks to read first; `databases` is True if it needs the extra of that name.
    """

    title: str
    does: str
    minutes: int
    peak_mb: int
    workshop_mb: int
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
        raise LabError(paths.sentence("metadata", name=path.name, why=error)) from None
    own = path.parent / "exercises" / path.name
    exercises = f"exercises/{path.name}" if own.is_file() else None
    return msgspec.structs.replace(info, name=path.stem, exercises=exercises)


def index_page(infos: Sequence[NotebookInfo]) -> str:
    """Return the Markdown page that JupyterLab opens on."""
    from jinja2 import Template  # takes a while

    page = Path(__file__).with_name("index.md").read_text(encoding="utf-8")
    return str(Template(page, keep_trailing_newline=True).render(infos=infos))


# The copy.

INDEX = "index.md"
# More files than these are counted, not named: a first copy has some thirty.
MAX_NAMED = 4
# Stands for the digest of a link or a folder that lies where a file would be copied to.
_NO_FILE = "not a file"
_SAVED_BY_JUPYTER = {"id", "metadata", "execution_count"}
# Path in the workspace -> digest.
Digests = Mapping[str, str]
# `copied` and `updated` are written. What was changed is the learner's: it is `kept`, or `newer`
# where labkit has a newer version of it.
Fate = Literal["copied", "updated", "current", "kept", "newer"]


def fates(shipped: Digests, copied: Digests, there: Digests) -> dict[str, Fate]:
    """Decide what becomes of each shipped file. Pure."""
    found = dict[str, Fate]()
    for path, new in shipped.items():
        now, old = there.get(path), copied.get(path)
        if now is None:
            found[path] = "copied"
        elif now == new:
            found[path] = "current"
        elif now == old:
            found[path] = "updated"
        else:
            found[path] = "kept" if old == new else "newer"
    return found


def digest(data: bytes) -> str:
    """Return the digest of a notebook's text, code and outputs; of any other file's bytes.

    JupyterLab saves more than those: to open a notebook and look at it is enough for it to write
    the kernel's version into the metadata. That is nobody's work.
    """
    try:
        cells = msgspec.json.decode(data)["cells"]
        own = [{n: cell[n] for n in sorted(cell.keys() - _SAVED_BY_JUPYTER)} for cell in cells]
        data = msgspec.json.encode(own)
    except (msgspec.MsgspecError, UnicodeDecodeError, TypeError, AttributeError, LookupError):
        pass
    return hashlib.sha256(data).hexdigest()


def copied(workspace: Path) -> dict[str, str]:
    """Read the manifest; nothing where it is missing or damaged."""
    try:
        data = (workspace / paths.MANIFEST).read_bytes()
        return msgspec.convert(msgspec.json.decode(data)["files"], dict[str, str])
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError, LookupError, TypeError):
        return {}


@dataclass(frozen=True, kw_only=True)
class CopySummary:
    """A workspace and what became of each of its files."""

    folder: Path
    fates: Mapping[str, Fate]

    def paths(self, *fates: Fate) -> list[str]:
        """Return the files of these fates."""
        return [path for path, fate in self.fates.items() if fate in fates]

    def text(self) -> str:
        """Return a line for each thing that was done, and what the learner may do about it."""
        lines = [f"{'workspace':<12}{self.folder}"]
        for word, row in paths.table("tables.toml")["copied"].items():
            names = self.paths(*row["fates"])
            more = len(names) - MAX_NAMED
            named = ", ".join(names[:MAX_NAMED]) + (f" and {more} more" if more > 0 else "")
            if names:
                line = f"{word:<12}{len(names):>3}"
                lines.append(line if more > MAX_NAMED else f"{line}  {named}")
                lines += [f"{'':<17}{says}" for says in row["says"]]
        return "\n".join(lines)


def prepare(folder: Path, source: Path | None = None) -> CopySummary:
    """Copy into `folder` what is missing there or was not changed since it was copied.

    Raises `BadInput` where the folder cannot be a workspace, `LabError` where there is no room.
    """
    source = source or paths.notebooks()
    # The answers are not copied: `lab.check` reads them from labkit, and a learner should not.
    shipped = [*source.rglob("*.ipynb"), *source.rglob("lesson_charts/**/*.py")]
    shipped += [*source.glob("example_app.py"), *source.glob("*.md")]
    places = {path.relative_to(source): path for path in sorted(shipped)}
    files = {INDEX: index_page(read_all(source)).encode()} | {
        place.as_posix(): path.read_bytes()
        for place, path in places.items()
        if not any(part.startswith(".") for part in place.parts)
    }
    start = f"workspace is {str(folder)!r}"
    try:
        workspace = folder.expanduser().resolve()
        package, own = Path(paths.__file__).resolve().parent, paths.notebooks().resolve()
        if workspace.exists() and not workspace.is_dir():
            raise BadInput(f"{start}: it is a file; name a folder, or one that is not there yet")
        if {package, own} & {workspace, *workspace.parents} or workspace == paths.CHECKOUT:
            raise refusal("own-folder", start=start)
        workspace.mkdir(parents=True, exist_ok=True)
        return CopySummary(folder=workspace, fates=_copy(workspace, files))
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise LabError(paths.sentence("disk-full", start=start)) from None
        why = f"{error.strerror} at {error.filename}" if error.filename else error.strerror
        raise refusal("workspace", start=start, why=why) from None


def _copy(workspace: Path, files: Mapping[str, bytes]) -> dict[str, Fate]:
    new = {path: digest(data) for path, data in files.items()}
    there = {}
    for path in new:
        place = workspace / path
        if place.is_symlink() or place.is_dir():
            there[path] = _NO_FILE
        elif place.exists():
            there[path] = digest(place.read_bytes())
    known = copied(workspace)
    planned = fates(new, known, there)
    try:
        for path, fate in planned.items():
            if fate in ("copied", "updated"):
                _write(workspace / path, files[path])
            if fate in ("copied", "updated", "current"):
                known[path] = new[path]
    finally:
        # The version of labkit that copied last, and the digest of each file as it was copied.
        manifest = {"labkit": environment.version("labkit"), "files": dict(sorted(known.items()))}
        data = msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"
        with suppress(OSError):
            _write(workspace / paths.MANIFEST, data)
    return planned


def _write(place: Path, data: bytes) -> None:
    """Write a file whole or not at all, and into no folder that is a link to elsewhere."""
    if place.parent.is_symlink():
        raise NotADirectoryError(errno.ENOTDIR, "a link to elsewhere", str(place.parent))
    place.parent.mkdir(parents=True, exist_ok=True)
    paths.write_whole(place, data)
