"""Notebooks are documents that are checked: here that the check would notice, not what they say.

nbval runs them (`make notebooks`). A tagged cell whose output and count were stripped passes there
silently, so these tests require both, and one of them spoils a text and requires nbval to fail.
"""

import ast
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from copy import deepcopy
from itertools import dropwhile, pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import breaks
import nbformat
import nbval_kernels
import pytest
from factories import make_record
from nbstripout import strip_output

import labkit
import lesson_charts
from labkit import stats
from labkit.record.codes import CODES
from labkit.record.record import Note
from labkit.report import glossary
from labkit.report.study import Run, Study

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
TAGS = {"keep_output", "nbval-check-output"}
SOLUTION = "solution"
# Folded away in JupyterLab, so that who reads the task is not shown what solves it.
FOLDED = {"outputs_hidden": True, "source_hidden": True}
OPENING = ("What you will do", "What you will learn", "What you will need")
CLOSING = ("Key points", "On your own", "Further reading")
SCALES = {"smoke", "workshop", "paper"}

Notebook = Any
Cell = Any


def read(path: Path) -> Notebook:
    return nbformat.read(path, as_version=4)


def code(notebook: Notebook) -> list[Cell]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def joined(path: Path) -> str:
    """Return the texts of all cells."""
    return "\n".join(cell.source for cell in read(path).cells)


def tags(cell: Cell) -> set[str]:
    return set(cell.metadata.get("tags", []))


def golden(notebook: Notebook) -> list[Cell]:
    """Return the verdicts: tests/test_exercises.py looks at the solutions of exercises."""
    return [cell for cell in code(notebook) if tags(cell) and SOLUTION not in tags(cell)]


def headings(source: str, level: int) -> list[str]:
    return re.findall(rf"^{'#' * level} (.+)$", source, re.MULTILINE)


def sections(notebook: Notebook) -> dict[str, list[Cell]]:
    """Return the cells of each section; a cell that holds several headings belongs to the last."""
    found: dict[str, list[Cell]] = {}
    here = ""
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and headings(cell.source, 2):
            here = headings(cell.source, 2)[-1]
        found.setdefault(here, []).append(cell)
    return found


every = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def test_there_are_notebooks_and_make_runs_each_of_them() -> None:
    listed = made("$(NOTEBOOKS_STRICT) $(NOTEBOOKS_LAX)").split()

    assert len(NOTEBOOKS) >= 3
    assert listed == [str(path.relative_to(ROOT)) for path in NOTEBOOKS]


@every
def test_notebook_is_valid_and_of_a_readable_length(path: Path) -> None:
    notebook = read(path)

    # The exercises are not read in one go: each is done, or passed over.
    exercises = sections(notebook).get("Exercises", [])
    read_through = [cell for cell in notebook.cells if cell not in exercises]

    nbformat.validate(notebook)
    assert 14 <= len(read_through) <= 37
    assert all(cell.source.strip() for cell in notebook.cells)


@every
def test_a_lesson_is_short(path: Path) -> None:
    texts = [cell.source.split() for cell in read(path).cells if cell.cell_type == "markdown"]

    assert max(map(len, texts)) <= 120
    assert sum(map(len, texts)) <= 1_500


@every
def test_notebook_is_stored_stripped(path: Path) -> None:
    notebook = read(path)
    kernel = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}

    # As `nbstripout --keep-count --keep-id` leaves it.
    kept = {"keep_output": False, "keep_count": True, "keep_id": True}
    assert strip_output(deepcopy(notebook), **kept) == notebook
    info = notebook.metadata.get("labkit")
    assert info
    shared = {"kernelspec": kernel, "language_info": {"name": "python"}}
    assert notebook.metadata == {**shared, "labkit": info}
    solved = {"jupyter": FOLDED, "tags": sorted({*TAGS, SOLUTION})}
    verdict = {"tags": sorted(TAGS)}
    kinds = [{}, verdict, {**verdict, "jupyter": {"source_hidden": True}}]
    kinds += [solved, {**solved, "tags": [SOLUTION]}]
    assert all(cell.metadata in kinds for cell in notebook.cells)
    assert all(not cell.outputs for cell in code(notebook) if not tags(cell) >= TAGS)
    # nbval takes a cell with an output but without a count for one that was never run.
    counts = [cell.execution_count for cell in code(notebook)]
    assert counts == list(range(1, len(counts) + 1))


@every
def test_notebook_opens_and_ends_as_all_do(path: Path) -> None:
    first, last = read(path).cells[0].source, read(path).cells[-1].source

    assert first.startswith("# ")
    assert tuple(headings(first, 2)) == OPENING
    assert all(word in first for word in ("**Time:**", "**Peak memory:**", "**Scale:**"))
    assert all(word in first for word in ("LABKIT_SCALE", *SCALES))
    assert tuple(headings(last, 2)) in (CLOSING, CLOSING[:2])
    # Each title is there once.
    markdown = [cell.source for cell in read(path).cells if cell.cell_type == "markdown"]
    titles = [title for source in markdown for title in headings(source, 2)]

    assert [len(headings(source, 1)) for source in markdown] == [1, *[0] * (len(markdown) - 1)]
    assert len(titles) == len(set(titles))


@every
def test_cells_are_named_and_not_numbered_at_random(path: Path) -> None:
    ids = [cell.id for cell in read(path).cells]

    assert len(ids) == len(set(ids))
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", one) for one in ids)
    assert not [one for one in ids if re.fullmatch(r"[0-9a-f]{8}", one)]


@every
def test_each_section_ends_in_a_verdict(path: Path) -> None:
    found = sections(read(path))
    others = (*OPENING, "Exercises", *CLOSING)
    taught = {title: cells for title, cells in found.items() if title not in others}

    assert len(taught) >= 3
    assert [title for title, cells in taught.items() if not any(map(tags, cells))] == []


@every
def test_golden_cells_hold_a_verdict_without_numbers_and_assert_it(path: Path) -> None:
    cells = golden(read(path))

    assert len(cells) >= 3
    for cell in cells:
        (output,) = cell.outputs
        assert tags(cell) == TAGS
        assert (output.output_type, output.name) == ("stream", "stdout")
        assert re.fullmatch(r"PASS [^\d\n]+: [^\d\n]+\n", output.text), cell.id
        assert f'print("{output.text.rstrip()}")' == cell.source.splitlines()[-1]
        asserted = [node for node in ast.walk(parsed(cell)) if isinstance(node, ast.Assert)]
        assert len(asserted) >= 2, cell.id


def parsed(cell: Cell) -> ast.AST:
    """Parse the code of a cell, which may await where a module may not, without magics."""
    source = re.sub(r"^%.*$", "", cell.source, flags=re.MULTILINE)
    return compile(source, cell.id, "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


@every
def test_one_cell_sets_the_size_for_each_scale(path: Path) -> None:
    mappings = [
        (cell.id, {key.value for key in node.keys if isinstance(key, ast.Constant)})
        for cell in code(read(path))
        for node in ast.walk(parsed(cell))
        if isinstance(node, ast.Dict)
    ]

    assert [(name, keys) for name, keys in mappings if keys & SCALES] == [("sizes", SCALES)]
    assert joined(path).count("lab.default_scale()") == 1


# Of the synthetic server: what looks like a path of a machine and is none.
ROUTES = r"(?:bytes|delay|fault|json|message|posts|status|stream|users)/"

# A page of further reading, as its link has it.
WEB = re.compile(r"https://[\w-]+(\.[\w-]+)+/[^\s)\"]*")


@every
def test_notebook_names_no_address_and_no_path_and_its_links_lead_somewhere(path: Path) -> None:
    stored = path.read_text(encoding="utf-8")
    links = dict(re.findall(r"\[([^\]]+)\]\(([^)]+)\)", joined(path)))
    reading = {title for title, link in links.items() if WEB.fullmatch(link)}

    for title in links.keys() - reading:
        file, _, anchor = links[title].partition("#")
        assert (path.parent / file).is_file(), links[title]
        assert not anchor or links[title] in map(glossary.address, glossary.terms()), links[title]
    # Of what is further reading; no other address is in a notebook.
    assert all(links[title] in read(path).cells[-1].source for title in reading)
    without = re.sub(WEB.pattern, "", stored)
    assert "://" not in without
    assert not re.search(rf"(?<![\w.{{}}*])/(?!{ROUTES})[a-z]\w*/|[A-Z]:\\\\", without)


def test_the_glossary_explains_every_warning_in_the_order_of_the_alphabet() -> None:
    terms = glossary.terms()
    text = (ROOT / "notebooks/GLOSSARY.md").read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)]+)\)", text)

    assert [*terms] == headings(text, 2) == sorted(terms, key=str.lower)
    assert len(terms) >= 40
    assert all(len(re.findall(r"\.\s", f"{one} ")) <= 4 for one in terms.values())
    assert {(ROOT / "notebooks" / link).is_file() for link in links} == {True}
    assert [code for code in CODES if not glossary.term_of(code)] == []


def test_explain_says_what_a_term_and_a_code_mean_and_where_to_read_on() -> None:
    term, code = labkit.explain("makespan"), labkit.explain("core-contended")

    assert "[makespan](GLOSSARY.md#makespan)" in term._repr_markdown_()
    assert "(warn): others had the client's core" in repr(code)
    assert "What to do: end them" in repr(code)
    assert "contention (GLOSSARY.md#contention)" in repr(code)
    with pytest.raises(labkit.BadInput, match="did you mean 'makespan'"):
        labkit.explain("makspan")
    noted = make_record(warnings=[Note(code="core-contended", message="others had it")])
    assert 'href="GLOSSARY.md#contention"' in Run(noted).html()


@every
def test_public_names_are_used_as_they_are_exported(path: Path) -> None:
    nodes = [node for cell in code(read(path)) for node in ast.walk(parsed(cell))]
    accessed = [
        (ast.unparse(one.value), one.attr) for one in nodes if isinstance(one, ast.Attribute)
    ]

    assert {name for owner, name in accessed if owner == "lab"} <= set(labkit.__all__)


def test_notebooks_follow_each_other_and_each_has_a_title_of_its_own() -> None:
    numbers = [int(path.name[:2]) for path in NOTEBOOKS]
    titles = {headings(read(path).cells[0].source, 1)[0] for path in NOTEBOOKS}

    assert len(titles) == len(NOTEBOOKS)
    assert numbers[0] == 0
    # Each has its place from the start: a number may be missing, and none is there twice.
    assert all(after > before for before, after in pairwise(numbers))


def made(expression: str) -> str:
    """Return what the Makefile makes of an expression."""
    rule = f"shown: ; @echo '{expression}'"
    command = ["make", "--silent", "--no-print-directory", f"--eval={rule}", "shown"]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout


def nbval(path: Path) -> subprocess.CompletedProcess[str]:
    """Run a notebook as `make notebooks` does, in this Python and one process."""
    # After the variables that it sets: NAME=value.
    program, *options = dropwhile(lambda word: "=" in word, shlex.split(made("$(NBVAL)")))
    assert Path(program).name == "pytest"
    options += ["-n0", "-rA", "-c", "pyproject.toml", "--nbval-lax"]
    command = [sys.executable, "-m", "pytest", *options, path]
    env = {**os.environ, "LABKIT_LIVE": "0", "LABKIT_SCALE": "smoke", "PYTHONPATH": "tests"}
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_nbval_notices_a_spoilt_verdict(tmp_path: Path) -> None:
    """A time differs and is not compared; of the verdicts one is as it is printed, one spoilt.

    The last was stripped, which only the tests above notice.
    """
    first = read(NOTEBOOKS[0])
    pattern = golden(first)[0].metadata
    cells = [nbformat.v4.new_code_cell("import time\n\ntime.perf_counter()", execution_count=1)]
    for count, stored in ((2, "sums hold"), (3, "sums fail"), (None, None)):
        output = nbformat.v4.new_output("stream", name="stdout", text=f"PASS control: {stored}\n")
        kept = {"metadata": pattern, "outputs": [output] if stored else []}
        source = 'assert 1 + 1 == 2\nprint("PASS control: sums hold")'
        cells.append(nbformat.v4.new_code_cell(source, execution_count=count, **kept))
    path = tmp_path / "control.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=first.metadata), path)

    run = nbval(path)

    found = re.findall(r"^(PASSED|FAILED) .*::Cell (\d)", run.stdout, re.MULTILINE)
    outcomes = {int(cell): outcome for outcome, cell in found}
    assert outcomes == {0: "PASSED", 1: "PASSED", 2: "FAILED", 3: "PASSED"}, run.stdout
    assert run.returncode == 1


# Verdicts that find what they are there for: each cell runs on records that are right, and then on
# the same with one thing wrong. `make breaks` does so with what was measured, in each cell.


@every
def test_each_verdict_is_broken_by_make_breaks_in_as_many_ways_as_it_asserts(path: Path) -> None:
    asserted = {
        cell.id: sum(isinstance(node, ast.Assert) for node in ast.walk(parsed(cell)))
        for cell in golden(read(path))
    }
    listed = {cell: len(ways) for cell, ways in breaks.BREAKS[path.stem].items()}

    assert listed.keys() == asserted.keys()
    assert [cell for cell, ways in listed.items() if ways < asserted[cell]] == []


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_make_breaks_takes_only_an_assertion_of_the_cell_for_red() -> None:
    def found(by: str) -> int | str:
        by, verdict = f"import asyncio\n{by}", "await asyncio.sleep(0)\nassert n == 1"
        return breaks.apart(lambda: breaks.broken(breaks.started(), by, verdict))

    assert [found("n = 1"), found("n = 2")] == [0, 2]
    assert str(found("n + 1")).startswith("the break itself: NameError")
    assert str(found("pass")).startswith("NameError")


def floors(share: float) -> dict[str, Any]:
    """A run with its floor, or a share of it."""
    sizes = {"REQUESTS": 500, "LIMIT": 50, "DELAY": "randint(0,3)*0.05"}
    settings = {name.lower(): value for name, value in sizes.items()}
    trial = labkit.Trial(**settings)
    floor_s, wall_s = trial.floor_s * share, 1.1 * trial.floor_s
    known = {"makespan": lesson_charts.makespan, "delays_of": lesson_charts.delays_of}
    figures = {"wall_s": wall_s, "floor_s": floor_s, "efficiency": floor_s / wall_s}
    record = make_record(settings=settings, bound_s=trial.bound_s, **figures)
    return {**sizes, **known, "trial": trial, "run": Run(record)}


def charged(share: float) -> dict[str, Any]:
    """Runs of two sizes whose requests take 90 us each, of which the client counts a share."""
    records = []
    for n in (1_000, 10_000):
        process = {"process.cpu_user_s": 0.3 + 90e-6 * n, "process.cpu_system_s": 0.0}
        client = {"client.cpu_us_per_request": 90 * share, "client.cpu_percent": 95.0}
        records.append(make_record(settings={"requests": n}, **process, **client))
    names = {"STRATEGIES": ["task_pool"], "charged_ratio": lesson_charts.charged_ratio}
    return {**names, "grow": SimpleNamespace(records=records)}


def compared(share: float) -> dict[str, Any]:
    """A thing and itself, with an interval that is as wide as it should be, or a share of it."""
    records = [
        make_record(
            settings={"requests": 9}, axes={"workload.seed": n}, repeat=repeat, wall_s=wall_s
        )
        for repeat, ratio in enumerate((0.96, 0.99, 1.0, 1.02, 1.04))
        for n, wall_s in ((1, 1.0), (2, ratio))
    ]
    ratio = stats.Interval(value=1.0, low=1 - 0.05 * share, high=1 + 0.05 * share, level=0.95, n=5)
    found = stats.Comparison(ratio=ratio, n=5, reason="")
    sides = {"of": {"workload.seed": 2}, "to": {"workload.seed": 1}}
    one = stats.Against(**sides, metric="wall_s", comparison=found)
    study = Study(records, ["workload.seed"])
    same = SimpleNamespace(records=records, frame=study.frame, comparisons=lambda: [one])
    return {"REQUESTS": 9, "same": same}


CELLS = [
    ("00_start_here", "check-floor", floors),
    ("02_a_million_requests", "check-cpu", charged),
    ("32_comparing", "check-same", compared),
]


@pytest.mark.parametrize(("name", "cell", "made"), CELLS)
def test_a_verdict_fails_where_what_it_checks_is_broken(
    name: str, cell: str, made: Callable[[float], dict[str, Any]]
) -> None:
    cells = read(ROOT / f"notebooks/{name}.ipynb").cells
    (verdict,) = [compile(parsed(one), cell, "exec") for one in cells if one.id == cell]

    exec(verdict, made(1.0))  # noqa: S102  # as a kernel does
    with pytest.raises(AssertionError):
        exec(verdict, made(0.5))  # noqa: S102


@pytest.mark.parametrize(("deaths", "starts"), [(0, 1), (2, 3), (9, 3)])
def test_a_kernel_that_dies_as_it_starts_is_started_again(
    monkeypatch: pytest.MonkeyPatch, deaths: int, starts: int
) -> None:
    asked: list[dict[str, str]] = []

    def start(**settings: str) -> str:
        asked.append(settings)
        if len(asked) <= deaths:
            raise RuntimeError("Kernel died before replying to kernel_info")
        return "a kernel"

    monkeypatch.setattr(nbval_kernels, "_start", start)
    if deaths < nbval_kernels.ATTEMPTS:
        assert nbval_kernels.started(kernel_name="python3") == "a kernel"
    else:
        with pytest.raises(RuntimeError, match="Kernel died"):
            nbval_kernels.started(kernel_name="python3")
    assert asked == [{"kernel_name": "python3"}] * starts
