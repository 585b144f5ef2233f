"""A performance lab for asyncio and aiohttp that lives in Jupyter.

The public names stand in `__init__.pyi`, once: type checkers read them there, and this module reads
from there which module has which name, and imports it when it is first used.
"""

from __future__ import annotations

import ast
from importlib import import_module
from pathlib import Path
from typing import Any

_STUB = ast.parse(Path(__file__).with_suffix(".pyi").read_text(encoding="utf-8"))
_MODULE_OF = {
    name.asname: line.module
    for line in _STUB.body
    if isinstance(line, ast.ImportFrom)
    for name in line.names
    if name.asname and line.module
}

__version__ = "0.1.0"
__all__ = sorted(_MODULE_OF)  # noqa: PLE0605  # a list, from the stub


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'labkit' has no attribute {name!r}")
    home = import_module(_MODULE_OF[name])
    if not hasattr(home, name):  # a module of that package, and not yet imported
        import_module(f"{home.__name__}.{name}")
    value = globals()[name] = getattr(home, name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def load_ipython_extension(shell: Any) -> None:
    """Give the shell the magic `%%labprof`; `%load_ext labkit` calls this."""
    from labkit.notebook import magics

    magics.load(shell)
