"""A performance lab for asyncio and aiohttp that lives in Jupyter.

The public names are in `__init__.pyi`, once: type checkers read them there, and so does
`attach_stub`.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any


def attach_stub(
    package: str, file: str
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """Return `__getattr__`, `__dir__` and `__all__` of a package whose stub lists its names.

    `file` is the package's `__init__.py`. The stub beside it imports each name under the same name
    (`from home import name as name`); the name is imported from there when it is first used.
    """
    stub = ast.parse(Path(file).with_suffix(".pyi").read_text(encoding="utf-8"))
    home_of = {
        name.asname: line.module
        for line in stub.body
        if isinstance(line, ast.ImportFrom)
        for name in line.names
        if name.asname and line.module
    }
    names = vars(sys.modules[package])

    def load(name: str) -> Any:
        if name not in home_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        home = import_module(home_of[name])
        if not hasattr(home, name):  # a module of that package, and not yet imported
            import_module(f"{home.__name__}.{name}")
        value = names[name] = getattr(home, name)
        return value

    return load, lambda: sorted(home_of), sorted(home_of)


__version__ = "0.1.0"
__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)


def load_ipython_extension(shell: Any) -> None:
    """Give the shell the magic `%%labprof`; `%load_ext labkit` calls this."""
    import_module("labkit.notebook.magics").load(shell)
