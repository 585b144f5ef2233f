"""A cell in which `%lab` is awaited. Pure: lines in, lines out.

A line magic cannot await, and the kernel's loop is running already. IPython makes a call of the
line first, wherever the line stands (`run = %lab ...`, indented, continued); that call is replaced
here, before the cell is compiled, by one with `await` before it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

_NAME = "lab"
_MARK = f"run_line_magic('{_NAME}'"
_AWAITED = "(await get_ipython().{name}_line({words!r})){end}"
_NO_AWAIT = (ast.FunctionDef, ast.Lambda, ast.ClassDef)


def awaited(lines: list[str]) -> list[str]:
    """The lines of a cell, as IPython has transformed them, with each call of `%lab` awaited.

    A call in a function that is not `async` stays as it is: the magic says there what to do.
    """
    text = "".join(lines)
    if _MARK not in text:
        return lines
    try:
        tree = ast.parse(text)
    except SyntaxError:  # compiling it says so, and where
        return lines
    data = text.encode()
    starts = _starts(data)
    for call, words in sorted(_calls(tree), key=lambda found: -_at(found[0], starts)[0]):
        first, last = _at(call, starts)
        # IPython shows no value where the cell ends in a semicolon.
        end = ";" if words.rstrip().endswith(";") else ""
        new = _AWAITED.format(name=_NAME, words=words, end=end).encode()
        data = data[:first] + new + data[last:]
    return data.decode().splitlines(keepends=True)


def _calls(node: ast.AST) -> Iterator[tuple[ast.Call, str]]:
    """The calls that may be awaited where they stand, and their words."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, _NO_AWAIT):
            # An async function within it may await again.
            yield from _in_async(child)
        elif (words := _words(child)) is not None:
            assert isinstance(child, ast.Call)
            yield child, words
        else:
            yield from _calls(child)


def _in_async(node: ast.AST) -> Iterator[tuple[ast.Call, str]]:
    for child in ast.iter_child_nodes(node):
        inside = _calls if isinstance(child, ast.AsyncFunctionDef) else _in_async
        yield from inside(child)


def _words(node: ast.AST) -> str | None:
    """The words of a call that IPython made of `%lab`; None for any other node."""
    match node:
        case ast.Call(
            func=ast.Attribute(value=ast.Call(func=ast.Name("get_ipython")), attr="run_line_magic"),
            args=[ast.Constant(value=name), ast.Constant(value=str(words))],
        ) if name == _NAME:
            return words
    return None


def _starts(data: bytes) -> list[int]:
    """Where each line begins, in bytes, as the positions of the tree are."""
    found = [0]
    for line in data.splitlines(keepends=True):
        found.append(found[-1] + len(line))
    return found


def _at(call: ast.Call, starts: list[int]) -> tuple[int, int]:
    assert call.end_lineno is not None
    assert call.end_col_offset is not None
    first = starts[call.lineno - 1] + call.col_offset
    return first, starts[call.end_lineno - 1] + call.end_col_offset
