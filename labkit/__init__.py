"""A performance lab for asyncio and aiohttp that lives in Jupyter.

The public names are in `__init__.pyi`, once: type checkers read them there, and so does
`attach_stub`.
"""

import _signal
import os
import sys

# A command that still imports has nothing to clean up, and an exception in an import is not always
# passed on: until its work starts (`cli.terminal.wait`) Ctrl-C ends it here, without a traceback.
# This is the first module that it imports, and `signal` would take as long as all the others. Other
# programs that import labkit are left alone. The second name is what `labkit serve` becomes.
_COMMANDS = {"labkit", "labkit.measured.targets.http"}
if (
    (sys.argv[:1] == ["-m"] and _COMMANDS & {*sys.orig_argv})
    or "".join(sys.argv[:1]).endswith("/labkit")
) and _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
    _signal.signal(_signal.SIGINT, lambda *_: os._exit(130))

from collections.abc import Callable  # noqa: E402
from functools import cache  # noqa: E402
from importlib import import_module  # noqa: E402
from typing import Any  # noqa: E402


def attach_stub(package: str, file: str) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return `__getattr__` and `__dir__` of a package whose stub lists its names, and is `__all__`.

    `file` is the package's `__init__.py`. The stub beside it imports each name under the same name
    (`from home import name as name`); the name is imported from there when it is first used. So is
    the stub read: a measured process, which uses modules only, never does.
    """

    @cache
    def home_of() -> dict[str, str]:
        import ast
        from pathlib import Path

        stub = ast.parse(Path(file).with_suffix(".pyi").read_text(encoding="utf-8"))
        return {
            name.asname: line.module
            for line in stub.body
            if isinstance(line, ast.ImportFrom)
            for name in line.names
            if name.asname and line.module
        }

    def load(name: str) -> Any:
        if name == "__all__":
            return sorted(home_of())
        if name not in home_of():
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        home = import_module(home_of()[name])
        if not hasattr(home, name):  # a module of that package, and not yet imported
            import_module(f"{home.__name__}.{name}")
        value = vars(sys.modules[package])[name] = getattr(home, name)
        return value

    return load, lambda: sorted(home_of())


__version__ = "0.1.0"
__getattr__, __dir__ = attach_stub(__name__, __file__)


def load_ipython_extension(shell: Any) -> None:
    """Give the shell the magic `%%labprof`; `%load_ext labkit` calls this."""
    import_module("labkit.notebook.magics").load(shell)
