"""Functions of the user's own: the one that a name means now, and whether its code has changed.

A cell that is run again makes a new function of the same name. The panel runs what its code tab
says, and that is a name.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping
from types import CodeType
from typing import Any

from labkit.spec import trial
from labkit.spec.trial import Function

Namespace = Mapping[str, Any]


def home_of(function: Function) -> Namespace:
    """Where the function goes by its name: the notebook, its module, the registry; else nowhere."""
    name = getattr(function, "__name__", "")
    modules = [sys.modules.get(one) for one in ("__main__", getattr(function, "__module__", ""))]
    namespaces: list[Namespace] = [vars(module) for module in modules if module is not None]
    found = (one for one in [*namespaces, trial.OWN] if one.get(name) is function)
    return next(found, {})


def now(function: Function, home: Namespace) -> Function:
    """What goes by the function's name there now; itself where that cannot be called."""
    found = home.get(getattr(function, "__name__", ""))
    return found if callable(found) else function


class Versions:
    """Counts the codes that each function's name has had."""

    def __init__(self) -> None:
        self._codes: dict[str, list[Any]] = {}

    def of(self, function: Function | None) -> int:
        """The number of this code among those of its name, from 1; the same code has the same."""
        if function is None:
            return 1
        codes = self._codes.setdefault(getattr(function, "__name__", type(function).__name__), [])
        code = _code_of(function)
        if code not in codes:
            codes.append(code)
        return codes.index(code) + 1


def _code_of(function: Function) -> Any:
    plain = inspect.unwrap(function)
    code = getattr(plain, "__code__", None)
    if code is None:
        return function
    return _plain(code), repr(plain.__defaults__), repr(plain.__kwdefaults__)


def _plain(code: CodeType) -> tuple[Any, ...]:
    """What the code does, without where it stands."""
    constants = (_plain(one) if isinstance(one, CodeType) else one for one in code.co_consts)
    names = (code.co_names, code.co_varnames, code.co_freevars)
    return (code.co_code, *names, *((type(one), one) for one in constants))
