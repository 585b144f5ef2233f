"""The package keeps its limits, and `make size` counts as it says."""

import subprocess
import sys
from pathlib import Path

import pytest
from machines import checks
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
    total,
)

ONE = "def _one(): ...\n_one()"


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def test_the_package_keeps_its_limits() -> None:
    rows = limits(ROOT, total(by_folder(ROOT / "labkit").values()))
    over = [row for row in rows if row.is_over]

    assert not over, f"see 'make size':\n{limit_table(over)}"


@pytest.mark.parametrize(("source", "lines"), checks("size.toml", "lines"))
def test_lines_with_a_token_are_code_and_docstrings_are_not(source: str, lines: int) -> None:
    assert code_lines(source) == lines


@pytest.mark.parametrize(("source", "found"), checks("size.toml", "private"))
def test_private_functions_with_one_reference_are_found(source: str, found: list[str]) -> None:
    assert called_once(source) == found


def test_folders_are_counted_with_all_below_them_and_the_package_against_its_limits(
    tmp_path: Path,
) -> None:
    write(tmp_path / "labkit", {"a.py": ONE, "b.py": "from a import _one\n_one()", "typed": ""})
    write(tmp_path / "labkit/c", {"d.py": "x = 1\n\ny = 2\n", "e/f.py": ONE, "page.html": "<p>"})
    write(tmp_path / "labkit", {"__pycache__/a.pyc": "", "gone/__pycache__/b.pyc": ""})
    write(tmp_path / "tests", {"a.py": "x = 1\n"})
    sizes = by_folder(tmp_path / "labkit")
    rows = limits(tmp_path, total(sizes.values()))

    assert sizes == {"top files": Size(2, 4, 1), "c/": Size(2, 4, 1)}
    assert next(iter(sizes)) == "top files"
    assert entries(tmp_path / "labkit") == {"a.py", "b.py", "c", "typed"}
    assert [row.value for row in rows] == [4, 4, 2, 8, 1]
    assert [row.limit for row in rows] == [*LIMITS.values(), 8]


def test_both_tables_are_aligned_and_say_what_is_over() -> None:
    assert limit_table([Limit("reached", 1_000, 1_000), Limit("missed", 1_001, 1_000)]) == (
        "limit      now  at most\nreached  1,000    1,000    ok\nmissed   1,001    1,000  over"
    )
    assert folder_table({"top files": Size(1, 900, 0), "a/": Size(2, 200, 3)}) == (
        "labkit/    modules  lines of code  private, called once\n"
        "top files        1            900                     0\n"
        "a/               2            200                     3\n"
        "total            3          1,100                     3"
    )


@pytest.mark.parametrize(("tests", "status"), [("", 0), ("x = 1\n" * 200, 1)])
def test_the_script_needs_the_standard_library_alone(
    tests: str, status: int, tmp_path: Path
) -> None:
    size = (ROOT / "tests/size.py").read_text()
    write(tmp_path / "tests", {"a.py": tests, "size.py": size})
    write(tmp_path / "labkit", {"a.py": "x = 1\n" * 200})
    script = str(tmp_path / "tests/size.py")
    shown = subprocess.run(
        [sys.executable, "-I", "-S", script], capture_output=True, text=True, check=False
    )

    assert shown.stdout.startswith("labkit/ ")
    assert ("over" in shown.stdout) == bool(status)
    assert (shown.returncode, shown.stderr) == (status, "")
