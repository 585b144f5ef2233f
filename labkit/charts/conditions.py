"""Under which conditions: the settings that all records of a chart share, as one line of text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from labkit.errors import BadInput

_FORMS = {"requests": "{:,} requests", "limit": "limit {:,}", "delay": "delay {}"}


def of_frame(frame: pd.DataFrame) -> str:
    """Such as '20,000 requests, limit 1,000, delay randint(0,3), asyncio'; without what varies."""
    shared = [
        name
        for name in ("requests", "limit", "delay", "loop")
        if frame[name].nunique(dropna=False) == 1
    ]
    return in_words({name: frame[name].iloc[0] for name in shared})


def of_trial(trial: Mapping[str, Any]) -> str:
    """The same of a record's trial, led by the strategy."""
    workload, target = trial.get("workload", {}), trial.get("target", {})
    return in_words(
        {
            "strategy": trial.get("strategy"),
            "requests": workload.get("requests"),
            "limit": workload.get("limit"),
            "delay": target.get("delay"),
            "loop": trial.get("loop"),
        }
    )


def in_words(settings: Mapping[str, Any]) -> str:
    """Settings as text, in the order given; without those that are None."""
    known = {name: value for name, value in settings.items() if value is not None}
    return ", ".join(_FORMS.get(name, "{}").format(value) for name, value in known.items())


def sentences(*parts: str) -> list[str]:
    """The parts that say something, as one note."""
    said = [part.rstrip(".") for part in parts if part]
    return [". ".join(said) + "."] if said else []


def refuse_empty(frame: pd.DataFrame) -> None:
    """Raise `BadInput` where there is nothing to draw."""
    if frame.empty:
        raise BadInput("there are no records to draw: run the experiment first, or filter less")
