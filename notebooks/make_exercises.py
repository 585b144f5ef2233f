"""Writes `notebooks/exercises` from the solutions in the notebooks: what `make exercises` runs.

In a notebook's section `Exercises` a Markdown cell puts the task, and the code cell after it,
tagged `solution`, solves it and ends in `lab.check("ex-NN-K", ...)`. What stands above its line
`# Solution` is given to the learner; of what is below, only what the check takes is left, as a
stub. The same notebook always gives the same bytes.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeAlias

import labkit as lab

Cell: TypeAlias = dict[str, Any]
Notebook: TypeAlias = dict[str, Any]

TAG = "solution"
SETUP = "sizes"
"""The id of the cell that imports what a notebook needs and sets its sizes."""
HEADING = "## Exercises"
MARK = "# Solution"
DOTS = "...  # your answer"

_HOW = """\
# Exercises of {name}

They belong to [{title}](../{name}.ipynb), where a solution is folded away below each task.

Put your answer in place of the three dots and run the cell. `lab.check` says whether it is right,
and if it is not, what to think of; ask as often as you like. Try before you open a hint, and open
the first before the second. Run the next cell first: it imports what the exercises need."""


def main(folder: Path) -> None:
    """Write the exercises of the notebooks in `folder` that changed, and remove those without."""
    exercises = folder / "exercises"
    exercises.mkdir(exist_ok=True)
    made = generated(folder)
    for path in exercises.glob("*.ipynb"):
        if path.name not in made:
            path.unlink()
            print(f"removed {path.name}")
    for name, text in made.items():
        path = exercises / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            print(f"wrote {name}")


def generated(folder: Path) -> dict[str, str]:
    """Return the text of each notebook of exercises by its name, for the notebooks in `folder`."""
    texts = {path.stem: path.read_text(encoding="utf-8") for path in folder.glob("*.ipynb")}
    return {
        f"{name}.ipynb": exercises_of(text, name)
        for name, text in sorted(texts.items())
        if solutions(loaded(text))
    }


def exercises_of(text: str, name: str) -> str:
    """Return the exercises for the notebook `text`, both as JSON; `name` has no ending."""
    source = loaded(text)
    cells = [_opening(source, name), _setup(source), *_exercises(source)]
    made = {
        "cells": cells,
        # What the notebook takes and needs is not what its exercises do.
        "metadata": {k: v for k, v in source["metadata"].items() if k != "labkit"},
        "nbformat": source["nbformat"],
        "nbformat_minor": source["nbformat_minor"],
    }
    # As nbformat writes it, so that JupyterLab saves what it opens unchanged.
    return json.dumps(made, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def loaded(text: str) -> Notebook:
    """Return the notebook that a file's text holds."""
    notebook: Notebook = json.loads(text)
    return notebook


def solutions(notebook: Notebook) -> list[Cell]:
    """Return the cells that hold a solution."""
    return [cell for cell in notebook["cells"] if TAG in cell["metadata"].get("tags", [])]


def source_of(cell: Cell) -> str:
    """Return the text of a cell, which a file may store as lines."""
    source = cell["source"]
    return source if isinstance(source, str) else "".join(source)


def checked_in(source: str) -> tuple[str, list[str]]:
    """Return the exercise that a solution's last line checks, and the names in its answer.

    Raises `BadInput` for a solution that does not end in `lab.check("ex-NN-K", ...)`.
    """
    last = _parsed(source)[-1]
    match last:
        case ast.Expr(
            value=ast.Call(
                func=ast.Attribute(value=ast.Name(id="lab"), attr="check"),
                args=[ast.Constant(value=str(exercise)), answer],
            )
        ):
            return exercise, [node.id for node in ast.walk(answer) if isinstance(node, ast.Name)]
    raise lab.BadInput(
        f"solution is {source.splitlines()[-1]!r} in its last line: it must end in "
        'lab.check("ex-NN-K", answer)'
    )


def stub(source: str) -> str:
    """Return a solution without its code: what is given, a stub for each answer, and the check."""
    _, names = checked_in(source)
    given, _, solved = source.rpartition(f"{MARK}\n")
    stubs = [one for name in dict.fromkeys(names) if (one := _stub_of(name, solved))]
    if not stubs:
        raise lab.BadInput(
            f"solution makes none of {names}, which its check takes: there is no answer"
        )
    blocks = [given.strip("\n"), *stubs, source.splitlines()[-1]]
    return _joined([block for block in blocks if block])


def _stub_of(name: str, solved: str) -> str | None:
    """Return the stub for the value or the function `name`; None if it is given."""
    for statement in _parsed(solved):
        match statement:
            case ast.FunctionDef() | ast.AsyncFunctionDef() if statement.name == name:
                return _signature(statement, solved) + f"    {DOTS}"
            case ast.Assign(targets=[ast.Name(id=assigned)]) if assigned == name:
                return f"{name} = {DOTS}"
    return None


def _signature(function: ast.FunctionDef | ast.AsyncFunctionDef, solved: str) -> str:
    """Return the lines of a function above its body, and its docstring."""
    first = function.body[1 if ast.get_docstring(function) else 0]
    start = min([function.lineno, *(one.lineno for one in function.decorator_list)])
    return "".join(solved.splitlines(keepends=True)[start - 1 : first.lineno - 1])


def _joined(blocks: list[str]) -> str:
    """Join blocks of code with as many blank lines between them as the project's format has."""
    text = blocks[0]
    for before, after in pairwise(blocks):
        apart = _ends_in_function(before) or _begins_with_function(after)
        text += ("\n\n\n" if apart else "\n") + after
    return text


def _begins_with_function(block: str) -> bool:
    return isinstance(_parsed(block)[0], ast.FunctionDef | ast.AsyncFunctionDef)


def _ends_in_function(block: str) -> bool:
    return isinstance(_parsed(block)[-1], ast.FunctionDef | ast.AsyncFunctionDef)


def _parsed(source: str) -> list[ast.stmt]:
    """Parse the statements of a cell, which may await where a module may not."""
    flags = ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    tree = compile(source, "a solution", "exec", flags)
    assert isinstance(tree, ast.Module)
    return tree.body


def _opening(notebook: Notebook, name: str) -> Cell:
    title = source_of(notebook["cells"][0]).partition("\n")[0]
    if not title.startswith("# "):
        raise lab.BadInput(f"notebook {name} begins with {title!r}: it must begin with its title")
    return _markdown("title", _HOW.format(title=title[2:], name=name))


def _setup(notebook: Notebook) -> Cell:
    for cell in notebook["cells"]:
        if cell["id"] == SETUP:
            return _code(SETUP, source_of(cell))
    raise lab.BadInput(f"notebook has no cell with the id {SETUP!r}, which imports what it needs")


def _exercises(notebook: Notebook) -> Iterator[Cell]:
    """Yield the cells of the section, without its heading, each solution as a stub."""
    inside = False
    for cell in notebook["cells"]:
        source = source_of(cell)
        if cell["cell_type"] == "markdown" and source.startswith("## "):
            inside = source.startswith(HEADING)
        elif inside and cell["cell_type"] == "markdown":
            yield _markdown(cell["id"], source)
        elif inside:
            yield _code(cell["id"].replace(TAG, "answer"), stub(source))


def _markdown(name: str, source: str) -> Cell:
    lines = source.splitlines(keepends=True)
    return {"cell_type": "markdown", "id": name, "metadata": {}, "source": lines}


def _code(name: str, source: str) -> Cell:
    cell: Cell = {"cell_type": "code", "execution_count": None, "outputs": []}
    return cell | {"id": name, "metadata": {}, "source": source.splitlines(keepends=True)}


if __name__ == "__main__":
    main(Path(__file__).parent)
