"""The package keeps its limits, and `make size` counts as it says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest
from size import (
    LIMITS,
    ROOT,
    Limit,
    Size,
    by_folder,
    called_once,
    code_lines,
    entries,
    folder_table,
    limit_table,
    limits,
    main,
    total,
)

ONE = "def _one(): ...\n_one()"


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def private(source: str) -> list[str]:
    return called_once(dedent(source))


def test_the_package_keeps_its_limits() -> None:
    rows = limits(ROOT, total(by_folder(ROOT / "labkit").values()))
    over = [row for row in rows if row.is_over]

    assert not over, f"see 'make size':\n{limit_table(over)}"


def test_blank_lines_and_comments_are_no_code() -> None:
    assert code_lines("# why\n\nx = 1  # why\n    \n# why\n") == 1


def test_docstrings_are_no_code() -> None:
    source = '''\
        """A module,

        in three lines."""

        class Thing:
            """A thing."""

            async def start(self):
                """Start."""

            def end(self):
                """End."""
        '''

    assert code_lines(dedent(source)) == 3


def test_other_strings_are_code_in_each_of_their_lines() -> None:
    assert code_lines('x = 1\n"""no\n\ndocstring"""\n') == 4


def test_each_line_of_a_statement_is_code() -> None:
    assert code_lines("x = [\n    1,\n\n    # why\n    2,\n]\n") == 4


def test_a_private_function_that_is_called_once_is_counted() -> None:
    assert private(ONE) == ["_one"]
    assert private("async def _one(): ...\nx = _one") == ["_one"]


@pytest.mark.parametrize("calls", ["", "_some(), _some()"])
def test_a_private_function_that_is_called_never_or_twice_is_not(calls: str) -> None:
    assert private(f"def _some(): ...\n{calls}") == []


@pytest.mark.parametrize("name", ["public", "__mangled", "__getattr__"])
def test_only_one_leading_underscore_is_private(name: str) -> None:
    assert private(f"def {name}(): ...\n{name}()") == []


def test_a_name_that_is_assigned_or_deleted_is_no_call() -> None:
    assert private("def _one(): ...\n_one()\n_one = None\ndel _one") == ["_one"]


def test_a_method_is_called_as_an_attribute() -> None:
    source = """
        class Thing:
            def go(self):
                self._one()
                self._twice()
                self._twice()

            def _one(self): ...
            def _twice(self): ...
            def _never(self): ...
        """

    assert private(source) == ["_one"]


def test_calls_in_other_modules_are_not_counted(tmp_path: Path) -> None:
    write(tmp_path, {"a.py": f"{ONE}\n", "b.py": "from a import _one\n_one()\n"})

    assert by_folder(tmp_path) == {"top files": Size(modules=2, lines=4, called_once=1)}


def test_a_folder_is_counted_with_all_below_it(tmp_path: Path) -> None:
    write(tmp_path, {"z.py": "x = 1\n", "a/b.py": "x = 1\n\ny = 2\n", "a/c/d.py": ONE})
    write(tmp_path, {"a/page.html": "<p>\n"})

    assert by_folder(tmp_path) == {"top files": Size(1, 1, 0), "a/": Size(2, 4, 1)}
    assert next(iter(by_folder(tmp_path))) == "top files"


def test_files_and_folders_are_entries_but_no_bytecode(tmp_path: Path) -> None:
    write(tmp_path, {"a.py": "", "b/c.py": "", "b/d.py": "", "typed": ""})
    write(tmp_path, {"__pycache__/a.pyc": "", "gone/__pycache__/b.pyc": ""})

    assert entries(tmp_path) == {"a.py", "b", "typed"}


def test_limits_show_what_the_package_and_its_tests_come_to(tmp_path: Path) -> None:
    write(tmp_path, {"labkit/a.py": "", "labkit/b.py": "", "labkit/c/d.py": ""})
    write(tmp_path, {"tests/a.py": "x = 1\n\ny = 2\n"})
    rows = limits(tmp_path, Size(modules=4, lines=6, called_once=5))

    assert [row.value for row in rows] == [3, 4, 5, 6, 2]
    assert [row.limit for row in rows] == list(LIMITS.values())


def test_a_limit_may_be_reached() -> None:
    assert limit_table([Limit("reached", 1_000, 1_000), Limit("missed", 1_001, 1_000)]) == (
        "limit      now  at most\nreached  1,000    1,000    ok\nmissed   1,001    1,000  over"
    )


def test_the_folders_have_a_total() -> None:
    assert folder_table({"top files": Size(1, 900, 0), "a/": Size(2, 200, 3)}) == (
        "labkit/    modules  lines of code  private, called once\n"
        "top files        1            900                     0\n"
        "a/               2            200                     3\n"
        "total            3          1,100                     3"
    )


@pytest.mark.parametrize(("tests", "status"), [("x = 1\n", 0), ("x = 1\ny = 2\n", 1)])
def test_the_exit_status_says_whether_a_limit_is_exceeded(
    tests: str,
    status: int,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(LIMITS, "lines of tests", 1)
    write(tmp_path, {"labkit/a.py": "x = 1\n", "tests/a.py": tests})

    assert main(tmp_path) == status
    assert ("over" in capsys.readouterr().out) == bool(status)


def test_the_script_needs_the_standard_library_alone(tmp_path: Path) -> None:
    script = (ROOT / "tests/size.py").read_text()
    write(tmp_path, {"labkit/a.py": "x = 1\n", "tests/size.py": script})

    shown = subprocess.run(
        [sys.executable, "-I", "-S", str(tmp_path / "tests/size.py")],
        capture_output=True,
        text=True,
        check=False,
    )

    assert shown.stderr == ""
    assert shown.stdout.startswith("labkit/ ")
    assert shown.returncode == 0
