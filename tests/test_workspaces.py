"""A learner's workspace: what is copied, what is never touched, and what JupyterLab is told."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit import paths as places
from labkit.cli import notebooks, servers
from labkit.cli.notebooks import NotebookInfo, index_page
from labkit.cli.servers import JUPYTER_CONFIG
from labkit.cli.workspace import DiskFull, beside, copied, digest, prepare, steps
from labkit.errors import BadInput, LabError, NotInstalled
from labkit.record import store

NOTEBOOKS = places.notebooks()
INFO = {
    "title": "A title",
    "does": "Do this with that.",
    "minutes": 20,
    "peak_mb": 300,
    "workshop_mb": 450,
    "workshop_minutes": 7,
}


def notebook(title: str = "A title", **info: Any) -> str:
    code = {"cell_type": "code", "source": ["1 + 1"], "outputs": [], "metadata": {}}
    cells = [{"cell_type": "markdown", "source": [f"# {title}"]}, code]
    metadata = {"language_info": {"name": "python"}, "labkit": INFO | {"title": title} | info}
    return json.dumps({"cells": cells, "metadata": metadata})


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Notebooks as the package ships them: two, and the exercises of the first."""
    folder = tmp_path / "shipped"
    (folder / "exercises").mkdir(parents=True)
    (folder / "00_first.ipynb").write_text(notebook("First"))
    (folder / "01_second.ipynb").write_text(notebook("Second", after=["00_first"]))
    (folder / "exercises" / "00_first.ipynb").write_text("{}")
    for name in ("lesson_charts", "answers"):
        (folder / name).mkdir()
        (folder / name / "first.py").write_text("ANSWER = 42")
    (folder / "TEACHING.md").write_text("for teachers")
    (folder / ".ipynb_checkpoints").mkdir()
    (folder / ".ipynb_checkpoints" / "00_first.ipynb").write_text("{}")
    return folder


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    return tmp_path / "workspace"


# What becomes of a file.


@pytest.mark.parametrize(
    ("copied", "there", "fate", "target"),
    [
        pytest.param({}, {}, "copied", "a.ipynb", id="not there yet"),
        pytest.param({"a.ipynb": "1"}, {"a.ipynb": "1"}, "updated", "a.ipynb", id="untouched"),
        pytest.param({}, {"a.ipynb": "2"}, "current", None, id="there, though nobody noted it"),
        pytest.param({"a.ipynb": "2"}, {"a.ipynb": "mine"}, "kept", None, id="changed"),
        pytest.param({"a.ipynb": "1"}, {}, "left out", None, id="deleted"),
        pytest.param(
            {"a.ipynb": "1"}, {"a.ipynb": "mine"}, "beside", "a.new.ipynb", id="both changed"
        ),
        pytest.param({}, {"a.ipynb": "mine"}, "beside", "a.new.ipynb", id="a name of theirs"),
        pytest.param(
            {"a.ipynb": "1", "a.new.ipynb": "2"},
            {"a.ipynb": "mine", "a.new.ipynb": "2"},
            "newer", None, id="beside it already",
        ),
        pytest.param(
            {"a.ipynb": "0", "a.new.ipynb": "1"},
            {"a.ipynb": "mine", "a.new.ipynb": "1"},
            "beside", "a.new.ipynb", id="an older one beside it, untouched",
        ),
        pytest.param(
            {"a.ipynb": "0", "a.new.ipynb": "1"},
            {"a.ipynb": "mine", "a.new.ipynb": "mine too"},
            "newer", None, id="both names are theirs",
        ),
        pytest.param(
            {"a.ipynb": "1", "a.new.ipynb": "2"}, {"a.ipynb": "mine"}, "kept", None,
            id="looked at the newer one, and deleted it",
        ),
    ],
)  # fmt: skip
def test_fate(copied: dict[str, str], there: dict[str, str], fate: str, target: str | None) -> None:
    [step] = steps({"a.ipynb": "2"}, copied, there)

    assert (step.fate, step.target) == (fate, target)


def test_a_newer_version_keeps_its_folder() -> None:
    assert beside("exercises/03_loops.ipynb") == "exercises/03_loops.new.ipynb"


_NAMES = ["a.ipynb", "exercises/a.ipynb", "a.new.ipynb"]
_ACTIONS = st.one_of(
    st.tuples(st.just("edit"), st.sampled_from(_NAMES)),
    st.tuples(st.just("delete"), st.sampled_from(_NAMES)),
    st.tuples(st.just("release"), st.sampled_from(_NAMES[:2])),
    st.tuples(st.just("copy"), st.booleans()),
    st.tuples(st.just("interrupted"), st.integers(0, 2)),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(_ACTIONS, max_size=14))
def test_nothing_of_the_learners_is_ever_lost(actions: list[tuple[str, Any]]) -> None:
    shipped, copied, there = dict.fromkeys(_NAMES[:2], "1"), {}, {}
    for number, (action, what) in enumerate(actions):
        if action == "edit" and what in there:
            there[what] = f"mine {number}"
        elif action == "delete":
            there.pop(what, None)
        elif action == "release":
            shipped[what] = f"release {number}"
        elif action in ("copy", "interrupted"):
            theirs = {path: text for path, text in there.items() if text.startswith("mine")}
            todo = list(steps(shipped, copied, there, restore=what is True))
            written = [step for step in todo if step.target]
            for step in written[: what if action == "interrupted" else None]:
                there[str(step.target)] = shipped[step.path]
                if action == "copy":  # killed in between: nobody noted it
                    copied[str(step.target)] = shipped[step.path]
            assert theirs.items() <= there.items()
            again = list(steps(shipped, copied, there, restore=what is True))
            assert action == "interrupted" or not any(step.target for step in again)


# Copying.


def read_all(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_first_copy_brings_all_and_a_second_changes_nothing(source: Path, mine: Path) -> None:
    done = prepare(mine, source=source)
    first = read_all(mine)

    assert first.keys() == {
        ".labkit.json", "index.md", "00_first.ipynb", "01_second.ipynb", "exercises/00_first.ipynb",
        "lesson_charts/first.py",
    }  # fmt: skip
    assert (mine / "00_first.ipynb").read_bytes() == (source / "00_first.ipynb").read_bytes()
    assert len(done.paths("copied")) == 5
    assert done.folder == mine

    again = prepare(mine, source=source)

    assert read_all(mine) == first
    assert len(again.paths("current")) == len(again.steps) == 5


def test_what_the_learner_changed_stays_and_the_rest_is_updated(source: Path, mine: Path) -> None:
    prepare(mine, source=source)
    (mine / "00_first.ipynb").write_text("my work")
    (mine / "notes.txt").write_text("my notes")
    (source / "00_first.ipynb").write_text(notebook("Newer first"))
    (source / "01_second.ipynb").write_text(notebook("Newer second"))

    done = prepare(mine, source=source)

    assert (mine / "00_first.ipynb").read_text() == "my work"
    assert (mine / "notes.txt").read_text() == "my notes"
    assert "Newer first" in (mine / "00_first.new.ipynb").read_text()
    assert "Newer second" in (mine / "01_second.ipynb").read_text()
    assert done.text().splitlines() == [
        f"workspace   {mine}",
        "updated       2  index.md, 01_second.ipynb",
        "unchanged     2  exercises/00_first.ipynb, lesson_charts/first.py",
        "kept, yours   1  00_first.ipynb",
        "newer         1  00_first.new.ipynb",
        "                 the newer version of what is yours, beside it",
    ]


RAN = [{"output_type": "stream", "name": "stdout", "text": "2"}]
NOTE = {"cell_type": "markdown", "source": ["mine"]}


@pytest.mark.parametrize(
    ("cell", "change", "fate"),
    [
        # What JupyterLab saves by itself.
        (1, {"execution_count": None, "metadata": {"collapsed": True}}, "updated"),
        (1, {"outputs": RAN}, "beside"),
        (1, {"source": ["1 + 2"]}, "beside"),
        (0, {"attachments": {"image.png": {"image/png": "AA=="}}}, "beside"),
        (2, NOTE, "beside"),
    ],
)
def test_to_open_a_notebook_does_not_make_it_theirs(
    source: Path, mine: Path, cell: int, change: dict[str, Any], fate: Any
) -> None:
    prepare(mine, source=source)
    stored = json.loads((mine / "00_first.ipynb").read_text())
    stored["metadata"]["language_info"]["version"] = "3.11.7"
    stored["cells"] += [{}] if cell == 2 else []
    stored["cells"][cell] |= change
    (mine / "00_first.ipynb").write_text(json.dumps(stored, indent=1))
    (source / "00_first.ipynb").write_text(notebook("Newer"))

    assert "00_first.ipynb" in prepare(mine, source=source).paths(fate)


@pytest.mark.parametrize("text", ["", "{", "[]", "1", '{"cells": 1}', '{"cells": [1]}', "caf\xe9"])
def test_what_is_no_notebook_is_compared_as_it_is(text: str) -> None:
    data = text.encode("latin-1")

    assert digest(data) == hashlib.sha256(data).hexdigest()


def test_what_was_deleted_is_told_and_comes_back_only_when_asked(source: Path, mine: Path) -> None:
    prepare(mine, source=source)
    (mine / "01_second.ipynb").unlink()

    told = prepare(mine, source=source).text()
    gone = not (mine / "01_second.ipynb").exists()
    prepare(mine, source=source, restore=True)

    assert "left out      1  01_second.ipynb" in told
    assert "labkit lab --restore" in told
    assert gone
    assert (mine / "01_second.ipynb").exists()


def test_links_and_folders_in_the_place_of_a_notebook_are_theirs(source: Path, mine: Path) -> None:
    elsewhere = mine.parent / "elsewhere.ipynb"
    elsewhere.write_text("not ours")
    mine.mkdir()
    (mine / "00_first.ipynb").symlink_to(elsewhere)
    (mine / "01_second.ipynb").mkdir()
    (mine / "index.md").symlink_to(mine / "gone")

    done = prepare(mine, source=source)

    assert elsewhere.read_text() == "not ours"
    assert (mine / "00_first.ipynb").is_symlink()
    assert (mine / "index.md").is_symlink()
    assert not (mine / "gone").exists()
    assert done.paths("beside") == ["index.md", "00_first.ipynb", "01_second.ipynb"]


def test_a_workspace_may_be_reached_through_a_link(source: Path, mine: Path) -> None:
    mine.mkdir()
    link = mine.parent / "link"
    link.symlink_to(mine)

    assert prepare(link, source=source).folder == mine
    assert (mine / "index.md").is_file()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"labkit": "0.1.0", "files": {"a": 1}}', "\xff"])
def test_after_a_damaged_manifest_all_that_differs_is_theirs(
    source: Path, mine: Path, text: str
) -> None:
    prepare(mine, source=source)
    (mine / places.MANIFEST).write_bytes(text.encode("latin-1"))
    (source / "00_first.ipynb").write_text(notebook("Newer"))
    before = (mine / "00_first.ipynb").read_bytes()

    done = prepare(mine, source=source)

    assert (mine / "00_first.ipynb").read_bytes() == before
    assert "00_first.ipynb" in done.paths("beside")
    assert copied(mine).keys() >= {"01_second.ipynb", "00_first.new.ipynb"}


@pytest.mark.parametrize(
    ("error", "raised", "says"),
    [
        (OSError(errno.ENOSPC, "No space left"), DiskFull, "the disk is full; what was copied"),
        (OSError(errno.EDQUOT, "Quota exceeded"), DiskFull, "free some space and run it again"),
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
    assert prepare(mine, source=source).paths("copied") == [
        "01_second.ipynb", "exercises/00_first.ipynb", "lesson_charts/first.py",
    ]  # fmt: skip


def test_a_full_disk_is_a_failure_and_no_bad_input() -> None:
    assert DiskFull.exit_code == 1
    assert not issubclass(DiskFull, BadInput)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_place_that_may_not_be_written_is_refused(source: Path, mine: Path) -> None:
    mine.mkdir(mode=0o500)

    with pytest.raises(BadInput, match=r"cannot be written.*name another: labkit lab FOLDER"):
        prepare(mine, source=source)


@pytest.mark.parametrize(
    ("folder", "says"),
    [
        ("file", "it is a file; name a folder"),
        ("file/workspace", r"cannot be written \(Not a directory"),
    ],
)
def test_a_file_is_no_workspace(source: Path, tmp_path: Path, folder: str, says: str) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(BadInput, match=says):
        prepare(tmp_path / folder, source=source)


@pytest.mark.parametrize(
    "folder",
    [places.CHECKOUT, NOTEBOOKS, NOTEBOOKS / "mine", Path(places.__file__).parent / "charts"],
)
def test_labkits_own_folders_are_no_workspace(folder: Path) -> None:
    with pytest.raises(BadInput, match="labkit itself lies there; name a folder of your own"):
        prepare(folder)


@pytest.mark.parametrize("kind", ["file", "link"])
def test_no_folder_where_the_exercises_go(source: Path, mine: Path, kind: str) -> None:
    mine.mkdir()
    elsewhere = mine.parent / "elsewhere"
    elsewhere.mkdir()
    place = mine / "exercises"
    place.write_text("") if kind == "file" else place.symlink_to(elsewhere)

    with pytest.raises(BadInput, match=r"it cannot be written \(.* at .*exercises"):
        prepare(mine, source=source)
    assert not list(elsewhere.iterdir())


def test_a_current_folder_that_is_gone_is_said(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    here.rmdir()

    assert places.workspace() is None
    with pytest.raises(BadInput, match=r"workspace is 'labkit-workspace': it cannot be written"):
        prepare(servers.default_workspace(), source=source)
    os.chdir(tmp_path)  # what is restored after the test must be there


def test_names_that_need_care_are_names(source: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mine = 100% #1, 'ü' ?"

    assert prepare(folder, source=source).folder == folder
    start = servers.jupyter_start(folder, {}, page="index.md", browser=True, port=1)
    assert f"--ServerApp.root_dir={folder}" in start.words


# Where records go.


@pytest.fixture
def _no_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LABKIT_STORE", raising=False)


@pytest.mark.usefixtures("_no_store")
def test_records_of_a_workspace_stay_in_it(
    source: Path, mine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(mine, source=source)

    for folder in (mine, mine / "exercises"):
        monkeypatch.chdir(folder)
        assert store.default_folder() == mine / "data" / "runs"
    monkeypatch.chdir(mine.parent)
    assert store.default_folder() == places.CHECKOUT / "data" / "runs"


@pytest.mark.usefixtures("_no_store")
def test_a_checkout_within_a_workspace_keeps_its_own_records(
    source: Path, mine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(mine, source=source)
    checkout = mine / "src" / "labkit"
    (checkout / "tests").mkdir(parents=True)
    monkeypatch.setattr(places, "CHECKOUT", checkout)
    monkeypatch.chdir(checkout / "tests")

    assert places.workspace() is None


# What the notebooks say of themselves, and the index.


def info(**changes: Any) -> NotebookInfo:
    return NotebookInfo(**INFO | {"name": "07_x"} | changes)  # type: ignore[arg-type]


def test_info_is_read_from_the_metadata(source: Path) -> None:
    first, second = notebooks.read_all(source)

    assert first == info(name="00_first", title="First", exercises="exercises/00_first.ipynb")
    assert second == info(name="01_second", title="Second", after=("00_first",))


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"metadata": {}}', notebook(minutes="twenty"), notebook(title=None)]
)
def test_a_notebook_without_its_entry_is_said(tmp_path: Path, text: str) -> None:
    path = tmp_path / "07_x.ipynb"
    path.write_text(text)

    with pytest.raises(LabError, match=r"07_x.ipynb: its metadata has no valid entry 'labkit'"):
        notebooks.read(path)


def test_needs_of_all() -> None:
    infos = [info(), info(name="08_y", databases=True, workshop_minutes=None, peak_mb=310)]

    assert notebooks.needs(infos) == (310, 450, 7, ["08"], ["08_y"])
    assert notebooks.needs([]) == (0, 0, 0, [], [])


@pytest.mark.parametrize("about", notebooks.read_all(NOTEBOOKS), ids=lambda about: about.name)
def test_each_notebook_opens_with_what_its_metadata_says(about: NotebookInfo) -> None:
    cells = json.loads((NOTEBOOKS / f"{about.name}.ipynb").read_text(encoding="utf-8"))["cells"]
    opening = " ".join("".join(cells[0]["source"]).split())

    assert opening.startswith(f"# {about.title} ## What you will do {about.does}")
    assert f"**Time:** {about.minutes} minutes" in opening
    assert f"**Peak memory:** {about.peak_mb} MB" in opening
    assert all(f"]({name}.ipynb)" in opening for name in about.after)
    assert ("`databases`" in opening) == about.databases
    assert (f"{about.exercise_minutes} minutes" in opening) == (about.exercises is not None)
    assert 5 <= about.minutes <= 60
    assert 100 <= about.peak_mb <= about.workshop_mb <= 1_000


def test_what_is_to_be_read_before_comes_before() -> None:
    abouts = notebooks.read_all(NOTEBOOKS)
    names = [about.name for about in abouts]

    assert abouts[0].after == ()
    for place, about in enumerate(abouts):
        assert all(names.index(earlier) < place for earlier in about.after)


def test_the_index_holds_what_the_notebooks_say_and_links_that_lead_somewhere(
    source: Path, mine: Path
) -> None:
    prepare(mine, source=source)
    text = (mine / "index.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith(("| 00 |", "| 01 |"))]

    assert rows == [
        "| 00 | **[First](00_first.ipynb)**<br>Do this with that. | 20 |  | 300 MB "
        "| [exercises](exercises/00_first.ipynb) |",
        "| 01 | **[Second](01_second.ipynb)**<br>Do this with that. | 20 | 00 | 300 MB |  |",
    ]
    assert "shared container mean little" in text


def test_a_row_of_the_index_escapes_bars_and_names_exercises_and_the_extra() -> None:
    page = index_page(
        [info(does="a | b.", exercises="exercises/07_x.ipynb", exercise_minutes=15, databases=True)]
    )

    assert r"a \| b. *Needs the extra `databases`.*" in page
    assert "| [15 min](exercises/07_x.ipynb) |" in page


# What JupyterLab is told.


def test_jupyterlab_opens_on_the_page_and_asks_the_network_nothing() -> None:
    start = servers.jupyter_start(
        Path("/mine"), {"A": "b"}, page="index.md", browser=False, port=8_905
    )

    assert start.words[:3] == [sys.executable, "-m", "jupyterlab"]
    assert {
        "--ServerApp.ip=127.0.0.1", "--port=8905", "--no-browser", "--ServerApp.root_dir=/mine",
        "--LabApp.default_url=/lab/tree/index.md", "--LabApp.news_url=None",
        "--LabApp.extension_manager=readonly",
    } <= set(start.words)  # fmt: skip
    assert start.environment == {"A": "b", "JUPYTER_CONFIG_PATH": str(JUPYTER_CONFIG)}


def started(**environment: str) -> dict[str, str]:
    start = servers.jupyter_start(Path("/mine"), environment, page="x", browser=True, port=1)
    return start.environment


def test_settings_of_the_users_own_come_after() -> None:
    paths = started(JUPYTER_CONFIG_PATH=f"/theirs{os.pathsep}/more")["JUPYTER_CONFIG_PATH"]

    assert paths.split(os.pathsep) == [str(JUPYTER_CONFIG), "/theirs", "/more"]


def test_jupyterlab_reads_the_settings_of_this_start(monkeypatch: pytest.MonkeyPatch) -> None:
    from jupyterlab_server.config import get_page_config
    from jupyterlab_server.settings_utils import _get_overrides

    before = get_page_config([])
    monkeypatch.setenv("JUPYTER_CONFIG_PATH", started()["JUPYTER_CONFIG_PATH"])
    overrides, error = _get_overrides("nowhere")

    assert "@jupyterlab/apputils-extension:announcements" not in before["disabledExtensions"]
    assert (
        "@jupyterlab/apputils-extension:announcements" in get_page_config([])["disabledExtensions"]
    )
    assert not error
    viewers = overrides["@jupyterlab/docmanager-extension:plugin"]["defaultViewers"]
    assert viewers == {"markdown": "Markdown Preview"}


def test_jupyterlab_must_be_installed(monkeypatch: pytest.MonkeyPatch, mine: Path) -> None:
    monkeypatch.setattr(servers, "find_spec", lambda name: None)

    with pytest.raises(NotInstalled, match=r"pip install 'labkit\[lab\]'"):
        servers.open_lab(mine)
    assert not mine.exists()


# The command.


def labkit(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "labkit", "lab", *words],
        capture_output=True, text=True, timeout=60, check=False, cwd=cwd,
    )  # fmt: skip


def test_command_copies_where_a_learner_expects_it(tmp_path: Path) -> None:
    first = labkit("--copy-only", cwd=tmp_path)
    made = tmp_path / "labkit-workspace"
    again = labkit("--copy-only", cwd=made)

    assert (first.returncode, again.returncode) == (0, 0), first.stderr + again.stderr
    assert first.stdout.startswith(f"workspace   {made}\ncopied ")
    assert again.stdout.startswith(f"workspace   {made}\nunchanged ")
    assert read_all(made)["index.md"].decode() == index_page(notebooks.read_all(NOTEBOOKS))
    assert [path.name for path in tmp_path.iterdir()] == ["labkit-workspace"]


@pytest.mark.parametrize(
    ("words", "checkout", "says"),
    [
        (["x"], True, "workspace is 'x': --edit opens the notebooks of the checkout"),
        ([], False, "edit is True: labkit is installed and no checkout"),
    ],
)
def test_edit_is_for_a_checkout_alone(
    words: list[str], checkout: bool, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "in_checkout", lambda: checkout)

    with pytest.raises(BadInput, match=says):
        servers.checkout_notebooks(*map(Path, words) if words else [None])


def test_edit_opens_the_notebooks_where_they_are() -> None:
    assert servers.checkout_notebooks(None) == NOTEBOOKS
