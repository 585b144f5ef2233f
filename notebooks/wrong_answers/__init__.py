"""Plausible wrong answers: the exercise, the answer, words of what is said.

`values.toml` has those that are values, trials or study files, `WRONG` in each module those that
are functions. `strategies` are those that an exam is tested with.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import labkit as lab
from wrong_answers import coroutines, functions

FOLDER = Path(__file__).parent
CLAIM = (FOLDER / "connector_limit.toml").read_text(encoding="utf-8")


def made(answer: Any) -> Any:
    match answer:
        case {"trial": settings}:
            return lab.Trial(**settings)
        case {"spoilt": [old, new]}:
            assert old in CLAIM
            return CLAIM.replace(old, new)
    return answer


def every() -> list[tuple[str, Any, str]]:
    values = tomllib.loads((FOLDER / "values.toml").read_text(encoding="utf-8"))
    listed = [(name, made(one), words) for name, found in values.items() for one, words in found]
    two = ("ex-33-3", CLAIM + CLAIM.replace("connector-limit", "other"), "2 claims")
    return [*listed, two, *coroutines.WRONG, *functions.WRONG]
