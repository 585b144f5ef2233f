"""Plausible wrong answers, a module a notebook: the exercise, the answer, words of what is said.

`WRONG` in each is what `tests/test_exercises.py` goes through.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules
from typing import Any


def every() -> list[tuple[str, Any, str]]:
    names = sorted(module.name for module in iter_modules(__path__))
    return [one for name in names for one in import_module(f"{__name__}.{name}").WRONG]
