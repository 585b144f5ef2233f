"""Print the size of the package by folder, and its limits; end with 1 where one is exceeded.

A line of code is one that holds a token and is no blank line, comment or part of a docstring.

A private function called once is a function or method whose name has one leading underscore, and
to which its own module refers once, be it by the name or as an attribute.

Needs the standard library alone.
"""

import ast
import io
import sys
import tokenize
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

# That the tests have no more lines than the code is one more.
LIMITS = {
    "entries at the top of labkit/": 18,
    "modules": 180,
    "private functions called once": 250,
    "lines of code": 20_000,
}

ROOT = Path(__file__).parent.parent
TOP = "top files"
FUNCTION = ast.FunctionDef | ast.AsyncFunctionDef
NO_CODE = {tokenize.COMMENT, tokenize.NL, tokenize.DEDENT, tokenize.ENDMARKER}


class Size(NamedTuple):
    """The size of a module, a folder or the package."""

    modules: int = 0
    lines: int = 0
    called_once: int = 0


class Limit(NamedTuple):
    """A limit and the present value of what it limits."""

    what: str
    value: int
    limit: int

    @property
    def is_over(self) -> bool:
        return self.value > self.limit


def code_lines(source: str) -> int:
    """Count the lines of a module that hold code."""
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in NO_CODE:
            lines.update(range(token.start[0], token.end[0] + 1))
    return len(lines.difference(docstring_lines(ast.parse(source))))


def docstring_lines(tree: ast.Module) -> Iterator[int]:
    """Yield the numbers of the lines that docstrings take."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | FUNCTION):
            match node.body:
                case [ast.Expr(ast.Constant(str())) as doc, *_]:
                    yield from range(doc.lineno, (doc.end_lineno or doc.lineno) + 1)


def called_once(source: str) -> list[str]:
    """Return the names of a module's private functions that are called once."""
    nodes = list(ast.walk(ast.parse(source)))
    references: Counter[str] = Counter()
    for node in nodes:
        match node:
            case ast.Attribute(attr=name) | ast.Name(id=name, ctx=ast.Load()):
                references[name] += 1
    functions = [node.name for node in nodes if isinstance(node, FUNCTION)]
    return [name for name in functions if is_private(name) and references[name] == 1]


def is_private(name: str) -> bool:
    """Return whether a name has one leading underscore, and not two."""
    return name.startswith("_") and not name.startswith("__")


def files(folder: Path) -> list[Path]:
    """Return the files below a folder, but no bytecode."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.relative_to(folder).parts
    )


def entries(folder: Path) -> set[str]:
    """Return the names of the files in a folder, and of the folders that hold a file."""
    return {path.relative_to(folder).parts[0] for path in files(folder)}


def modules(folder: Path) -> dict[Path, str]:
    """Return the source of each module below a folder."""
    return {path: path.read_text("utf-8") for path in files(folder) if path.suffix == ".py"}


def by_folder(package: Path) -> dict[str, Size]:
    """Return the size of each folder of a package with all below it, its own files first."""
    sizes: dict[str, list[Size]] = {TOP: []}
    for path, source in modules(package).items():
        first, *below = path.relative_to(package).parts
        one = Size(1, code_lines(source), len(called_once(source)))
        sizes.setdefault(f"{first}/" if below else TOP, []).append(one)
    return {folder: total(found) for folder, found in sizes.items()}


def total(sizes: Iterable[Size]) -> Size:
    """Return the sum of the sizes."""
    return Size(*map(sum, zip(*sizes, strict=True)))


def limits(root: Path, package: Size) -> list[Limit]:
    """Return the limits, and what a package of that size and its tests below `root` come to."""
    values = (len(entries(root / "labkit")), package.modules, package.called_once, package.lines)
    found = [Limit(*one) for one in zip(LIMITS, values, LIMITS.values(), strict=True)]
    tests = sum(map(code_lines, modules(root / "tests").values()))
    return [*found, Limit("lines of tests", tests, package.lines)]


def folder_table(sizes: dict[str, Size]) -> str:
    """Return the table of the folders, with a row for the whole."""
    head = ("labkit/", "modules", "lines of code", "private, called once")
    rows = [(folder, *one) for folder, one in sizes.items()]
    return aligned([head, *rows, ("total", *total(sizes.values()))])


def limit_table(rows: Sequence[Limit]) -> str:
    """Return the table of limits, each with 'ok' or 'over'."""
    marked = ((*row, "over" if row.is_over else "ok") for row in rows)
    return aligned([("limit", "now", "at most", ""), *marked])


def aligned(rows: Sequence[tuple[str | int, ...]]) -> str:
    """Return the rows as lines: the first column to the left, the others to the right."""
    texts = [[f"{cell:,}" if isinstance(cell, int) else cell for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    lines = []
    for first, *others in texts:
        cells = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        lines.append("  ".join([first.ljust(widths[0]), *cells]).rstrip())
    return "\n".join(lines)


def main(root: Path = ROOT) -> int:
    """Print both tables; return the exit status."""
    sizes = by_folder(root / "labkit")
    rows = limits(root, total(sizes.values()))
    print(folder_table(sizes), limit_table(rows), sep="\n\n")
    return int(any(row.is_over for row in rows))


if __name__ == "__main__":
    sys.exit(main())
