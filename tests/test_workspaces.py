"""A learner's workspace: what is copied, what is never touched, and what JupyterLab is told."""

import errno
import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from machines import checks
from programs import labkit

from labkit import paths
from labkit.cli import notebooks, servers
from labkit.cli.notebooks import NotebookInfo, copied, digest, fates, index_page, prepare
from labkit.cli.servers import JUPYTER_CONFIG
from labkit.errors import BadInput, LabError
from labkit.record import store

NOTEBOOKS = paths.notebooks()
OWN = [paths.CHECKOUT, NOTEBOOKS, NOTEBOOKS / "mine", Path(paths.__file__).parent / "charts"]
INFO = checks("workspaces.toml", "info")


def notebook(title: str = "A title", **info: Any) -> str:
    code = {"cell_type": "code", "source": ["1 + 1"], "outputs": [], "metadata": {}}
    cells = [{"cell_type": "markdown", "source": [f"# {title}"]}, code]
    metadata = {"language_info": {"name": "python"}, "labkit": INFO | {"title": title} | info}
    return json.dumps({"cells": cells, "metadata": metadata})


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Notebooks as the package ships them: two, and the exercises of the first."""
    folder = tmp_path / "shipped"
    files = {
        "00_first.ipynb": notebook("First", exercise_minutes=15),
        "01_second.ipynb": notebook(
            "Second", after=["00_first"], does="Do | that.", databases=True
        ),
        "exercises/00_first.ipynb": "{}",
        "lesson_charts/first.py": "ANSWER = 42",
        "answers/first.py": "ANSWER = 42",
        "TEACHING.md": "for teachers",
        ".ipynb_checkpoints/00_first.ipynb": "{}",
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    return tmp_path / "workspace"


# What becomes of a file.


@pytest.mark.parametrize(("copied", "there", "fate"), checks("workspaces.toml", "fates"))
def test_fate(copied: str, there: str, fate: str) -> None:
    old, now = ({"a.ipynb": text} if text else {} for text in (copied, there))

    assert fates({"a.ipynb": "2"}, old, now) == {"a.ipynb": fate}


_NAMES = ["a.ipynb", "exercises/a.ipynb"]
_ACTIONS = st.one_of(
    st.tuples(st.sampled_from(["edit", "delete", "release"]), st.sampled_from(_NAMES)),
    st.tuples(st.sampled_from(["copy", "interrupted"]), st.integers(0, 2)),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(_ACTIONS, max_size=14))
def test_nothing_of_the_learners_is_ever_lost(actions: list[tuple[str, Any]]) -> None:
    shipped, copied, there = dict.fromkeys(_NAMES, "1"), {}, {}
    for number, (action, what) in enumerate(actions):
        if action == "edit" and what in there:
            there[what] = f"mine {number}"
        elif action == "delete":
            there.pop(what, None)
        elif action == "release":
            shipped[what] = f"release {number}"
        elif isinstance(what, int):
            theirs = {path: text for path, text in there.items() if text.startswith("mine")}
            todo = fates(shipped, copied, there)
            written = [path for path, fate in todo.items() if fate in ("copied", "updated")]
            for path in written[: what if action == "interrupted" else None]:
                there[path] = shipped[path]
                if action == "copy":  # killed in between: nobody noted it
                    copied[path] = shipped[path]
            assert theirs.items() <= there.items()
            again = {*fates(shipped, copied, there).values()}
            assert action == "interrupted" or not again & {"copied", "updated"}


# Copying.


def read_all(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_first_copy_brings_all_and_a_second_changes_nothing(source: Path, mine: Path) -> None:
    done = prepare(mine, source=source)
    first = read_all(mine)

    theirs = ["00_first.ipynb", "01_second.ipynb", "TEACHING.md", "exercises/00_first.ipynb"]
    assert first.keys() == {".labkit.json", "index.md", *theirs, "lesson_charts/first.py"}
    assert (mine / "00_first.ipynb").read_bytes() == (source / "00_first.ipynb").read_bytes()
    assert len(done.paths("copied")) == 6
    assert done.folder == mine

    again = prepare(mine, source=source)

    assert read_all(mine) == first
    assert len(again.paths("current")) == len(again.fates) == 6


def test_the_learners_changes_stay_and_the_rest_is_updated(source: Path, mine: Path) -> None:
    prepare(mine, source=source)
    (mine / "00_first.ipynb").write_text("my work")
    (mine / "notes.txt").write_text("my notes")
    (mine / "exercises" / "00_first.ipynb").unlink()
    (source / "00_first.ipynb").write_text(notebook("Newer first"))
    opened = json.dumps(json.loads((mine / "01_second.ipynb").read_text()), indent=1)
    (mine / "01_second.ipynb").write_text(opened)
    (source / "01_second.ipynb").write_text(notebook("Newer second"))

    done = prepare(mine, source)
    there = read_all(mine)

    assert (there["00_first.ipynb"], there["notes.txt"]) == (b"my work", b"my notes")
    assert b"Newer second" in there["01_second.ipynb"]
    assert done.text().splitlines() == [
        f"workspace   {mine}",
        "copied        1  exercises/00_first.ipynb",
        "updated       2  index.md, 01_second.ipynb",
        "unchanged     2  TEACHING.md, lesson_charts/first.py",
        "kept, yours   1  00_first.ipynb",
        "newer         1  00_first.ipynb",
        "                 labkit has a newer version: rename yours and run this again to get it",
    ]


@pytest.mark.parametrize(("cell", "change", "same"), checks("notebook_changes.json"))
def test_to_open_a_notebook_does_not_make_it_theirs(
    cell: int, change: dict[str, Any], same: bool
) -> None:
    """The first change is what JupyterLab saves by itself."""
    stored = json.loads(notebook())
    stored["metadata"]["language_info"]["version"] = "3.11.7"
    stored["cells"] += [{}] if cell == 2 else []
    stored["cells"][cell] |= change

    assert (digest(json.dumps(stored, indent=1).encode()) == digest(notebook().encode())) is same


@pytest.mark.parametrize("text", ["", "{", "[]", "1", '{"cells": 1}', '{"cells": [1]}', "caf\xe9"])
def test_what_is_no_notebook_is_compared_as_it_is(text: str) -> None:
    data = text.encode("latin-1")

    assert digest(data) == hashlib.sha256(data).hexdigest()


def test_links_and_folders_in_the_place_of_a_notebook_are_theirs(source: Path, mine: Path) -> None:
    elsewhere = mine.parent / "elsewhere.ipynb"
    elsewhere.write_text("not ours")
    mine.mkdir()
    (mine / "00_first.ipynb").symlink_to(elsewhere)
    (mine / "01_second.ipynb").mkdir()
    (mine / "index.md").symlink_to(mine / "gone")

    done = prepare(mine, source=source)

    assert elsewhere.read_text() == "not ours"
    assert all((mine / name).is_symlink() for name in ("00_first.ipynb", "index.md"))
    assert not (mine / "gone").exists()
    assert done.paths("newer") == ["index.md", "00_first.ipynb", "01_second.ipynb"]


def test_a_workspace_may_have_any_name_and_be_reached_through_a_link(
    source: Path, tmp_path: Path
) -> None:
    folder, link = tmp_path / "mine = 100% #1, 'ü' ?", tmp_path / "link"
    folder.mkdir()
    link.symlink_to(folder)

    assert prepare(link, source=source).folder == folder
    assert (folder / "index.md").is_file()
    start = servers.jupyter_start(folder, {}, page="index.md", browser=True, port=1)
    assert f"--ServerApp.root_dir={folder}" in start[0]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"labkit": "0.1.0", "files": {"a": 1}}', "\xff"])
def test_after_a_damaged_manifest_all_that_differs_is_theirs(
    source: Path, mine: Path, text: str
) -> None:
    prepare(mine, source=source)
    (mine / paths.MANIFEST).write_bytes(text.encode("latin-1"))
    (source / "00_first.ipynb").write_text(notebook("Newer"))
    before = (mine / "00_first.ipynb").read_bytes()

    done = prepare(mine, source=source)

    assert (mine / "00_first.ipynb").read_bytes() == before
    assert "00_first.ipynb" in done.paths("newer")
    assert "01_second.ipynb" in copied(mine)


@pytest.mark.parametrize(
    ("error", "raised", "says"),
    [
        (OSError(errno.ENOSPC, "No space left"), LabError, "the disk is full; what was copied"),
        (OSError(errno.EDQUOT, "Quota exceeded"), LabError, "free some space and run it again"),
        (OSError(errno.EROFS, "Read-only file system"), BadInput, "Read-only.*name another"),
        (KeyboardInterrupt(), KeyboardInterrupt, None),
    ],
)
def test_an_interrupted_copy_leaves_nothing_half_and_goes_on_later(
    source: Path, mine: Path, error: BaseException, raised: type[BaseException], says: str | None
) -> None:
    real = Path.replace

    def replace(part: Path, place: Path) -> Path:
        if place.name == "01_second.ipynb":
            raise error
        return real(part, place)

    with mock.patch.object(Path, "replace", replace), pytest.raises(raised, match=says):
        prepare(mine, source=source)

    there = read_all(mine)
    assert there.keys() == {".labkit.json", "index.md", "00_first.ipynb"}
    assert there["00_first.ipynb"] == (source / "00_first.ipynb").read_bytes()
    rest = ["01_second.ipynb", "TEACHING.md", "exercises/00_first.ipynb", "lesson_charts/first.py"]
    assert prepare(mine, source=source).paths("copied") == rest


@pytest.mark.parametrize(
    ("folder", "says"),
    [
        ("file", "it is a file; name a folder"),
        ("file/workspace", r"cannot be written \(Not a directory"),
        ("with a file", r"it cannot be written \(.* at .*exercises"),
        ("with a link", r"it cannot be written \(.* at .*exercises"),
        *((folder, "labkit itself lies there; name a folder of your own") for folder in OWN),
    ],
)
def test_what_can_be_no_workspace_is_refused(
    source: Path, tmp_path: Path, folder: str | Path, says: str
) -> None:
    for name in ("with a file", "with a link", "elsewhere"):
        (tmp_path / name).mkdir()
    (tmp_path / "file").write_text("")
    (tmp_path / "with a file" / "exercises").write_text("")
    (tmp_path / "with a link" / "exercises").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(BadInput, match=says):
        prepare(tmp_path / folder, source=source)
    assert not list((tmp_path / "elsewhere").iterdir())


# Where records go.


def test_records_stay_in_the_workspace_or_in_the_checkout_within_it(
    source: Path, mine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LABKIT_STORE", raising=False)
    prepare(mine, source=source)
    checkout = mine / "src" / "labkit"
    (checkout / "tests").mkdir(parents=True)

    for folder in (mine, mine / "exercises"):
        monkeypatch.chdir(folder)
        assert store.default_folder() == mine / "data" / "runs"
    monkeypatch.chdir(mine.parent)
    assert store.default_folder() == paths.CHECKOUT / "data" / "runs"
    monkeypatch.setattr(paths, "CHECKOUT", checkout)
    monkeypatch.chdir(checkout / "tests")
    assert paths.workspace() is None


# What the notebooks say of themselves, and the index.


def info(**changes: Any) -> NotebookInfo:
    return NotebookInfo(**INFO | {"name": "07_x"} | changes)  # type: ignore[arg-type]


def test_info_is_read_from_the_metadata(source: Path) -> None:
    exercises = {"exercises": "exercises/00_first.ipynb", "exercise_minutes": 15}
    others = {"after": ("00_first",), "does": "Do | that.", "databases": True}

    assert notebooks.read_all(source) == [
        info(name="00_first", title="First", **exercises),
        info(name="01_second", title="Second", **others),
    ]


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"metadata": {}}', notebook(minutes="twenty"), notebook(title=None)]
)
def test_a_notebook_without_its_entry_is_said(tmp_path: Path, text: str) -> None:
    path = tmp_path / "07_x.ipynb"
    path.write_text(text)

    with pytest.raises(LabError, match=r"07_x.ipynb: its metadata has no valid entry 'labkit'"):
        notebooks.read(path)


@pytest.mark.parametrize("about", notebooks.read_all(NOTEBOOKS), ids=lambda about: about.name)
def test_each_notebook_opens_with_what_its_metadata_says(about: NotebookInfo) -> None:
    cells = json.loads((NOTEBOOKS / f"{about.name}.ipynb").read_text(encoding="utf-8"))["cells"]
    opening = " ".join("".join(cells[0]["source"]).split())

    assert opening.startswith(f"# {about.title} ## What you will do {about.does}")
    assert f"**Time:** {about.minutes} minutes" in opening
    assert f"**Peak memory:** {about.peak_mb} MB" in opening
    assert all(f"]({name}.ipynb)" in opening for name in about.after)
    earlier = {path.stem for path in NOTEBOOKS.glob("*.ipynb") if path.stem < about.name}
    assert earlier.issuperset(about.after)
    assert ("`databases`" in opening) == about.databases
    assert (f"{about.exercise_minutes} minutes" in opening) == (about.exercises is not None)
    assert 5 <= about.minutes <= 60
    assert 100 <= about.peak_mb <= about.workshop_mb <= 1_000


def test_the_index_holds_what_the_notebooks_say_and_links_that_lead_somewhere(
    source: Path, mine: Path
) -> None:
    prepare(mine, source=source)
    text = (mine / "index.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith(("| 00 |", "| 01 |"))]

    assert rows == [
        "| 00 | **[First](00_first.ipynb)**<br>Do this with that. | 20 |  | 300 MB "
        "| [15 min](exercises/00_first.ipynb) |",
        r"| 01 | **[Second](01_second.ipynb)**<br>Do \| that. *Needs the extra `databases`.* "
        "| 20 | 00 | 300 MB |  |",
    ]
    assert "shared container mean little" in text
    untimed = index_page([info(exercises="exercises/07_x.ipynb")])
    assert "| [exercises](exercises/07_x.ipynb) |" in untimed


# What JupyterLab is told.


def test_jupyterlab_opens_on_the_page_and_asks_the_network_nothing() -> None:
    theirs = {"A": "b", "JUPYTER_CONFIG_PATH": f"/theirs{os.pathsep}/more"}
    start = servers.jupyter_start(Path("/mine"), theirs, page="index.md", browser=False, port=8_905)

    assert start[0][:4] == [sys.executable, "-P", "-m", "jupyterlab"]
    assert {
        "--ServerApp.ip=127.0.0.1", "--port=8905", "--no-browser", "--ServerApp.root_dir=/mine",
        "--LabApp.default_url=/lab/tree/index.md", "--LabApp.news_url=None",
        "--LabApp.extension_manager=readonly",
    } <= set(start[0])  # fmt: skip
    config_path = os.pathsep.join([str(JUPYTER_CONFIG), "/theirs", "/more"])
    assert start[1] == {
        "A": "b", "JUPYTER_CONFIG_PATH": config_path, "JUPYTER_PATH": str(JUPYTER_CONFIG),
    }  # fmt: skip


def test_jupyterlab_reads_the_settings_of_this_start(monkeypatch: pytest.MonkeyPatch) -> None:
    from jupyterlab_server.config import get_page_config
    from jupyterlab_server.settings_utils import _get_overrides

    before = get_page_config([])
    start = servers.jupyter_start(Path("/mine"), {}, page="x", browser=True, port=1)
    assert start[1].keys() == {"JUPYTER_CONFIG_PATH", "JUPYTER_PATH"}
    monkeypatch.setenv("JUPYTER_CONFIG_PATH", start[1]["JUPYTER_CONFIG_PATH"])
    overrides, error = _get_overrides("nowhere")

    news = "@jupyterlab/apputils-extension:announcements"
    assert news not in before["disabledExtensions"]
    assert news in get_page_config([])["disabledExtensions"]
    assert not error
    viewers = overrides["@jupyterlab/docmanager-extension:plugin"]["defaultViewers"]
    assert viewers == {"markdown": "Markdown Preview"}


# The command.


def test_command_copies_where_a_learner_expects_it(tmp_path: Path) -> None:
    first = labkit("lab", "--copy-only", cwd=tmp_path)
    made = tmp_path / "labkit-workspace"
    again = labkit("lab", "--copy-only", cwd=made)

    assert (first.returncode, again.returncode) == (0, 0), first.stderr + again.stderr
    assert first.stdout.startswith(f"workspace   {made}\ncopied ")
    assert again.stdout.startswith(f"workspace   {made}\nunchanged ")
    assert read_all(made)["index.md"].decode() == index_page(notebooks.read_all(NOTEBOOKS))
    assert [path.name for path in tmp_path.iterdir()] == ["labkit-workspace"]
