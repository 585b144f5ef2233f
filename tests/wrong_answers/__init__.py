"""Plausible wrong answers: the exercise, the answer, words of what is said.

`values.toml` has those that are values. The others are functions, trials or records: `WRONG` in a
module for each notebook, and in `runs` those of runs and trials.
"""

from __future__ import annotations

import tomllib
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any


def every() -> list[tuple[str, Any, str]]:
    values = tomllib.loads((Path(__file__).parent / "values.toml").read_text(encoding="utf-8"))
    listed = [(exercise, *wrong) for exercise, found in values.items() for wrong in found]
    names = sorted(module.name for module in iter_modules(__path__))
    return listed + [one for name in names for one in import_module(f"{__name__}.{name}").WRONG]
