"""Words of a command line -> trials and axes. Pure; shared by every front that takes such words."""

from __future__ import annotations

from typing import Any

from labkit.errors import BadInput
from labkit.spec import validation
from labkit.spec.trial import Trial


def trial(named: dict[str, str | None], sets: list[str] | None) -> Trial:
    """The trial that the options describe: the kinds first, as they decide which settings exist."""
    given = {name: text for name, text in named.items() if text is not None}
    given |= dict(_pair(text, "--set") for text in sets or [])
    kinds: dict[str, str] = {
        name: given.pop(name) for name in ("target", "transport", "strategy") if name in given
    }
    if "allow_remote" in given:
        kinds["allow_remote"] = given.pop("allow_remote")
    trial = Trial(**kinds)
    return trial.replace(**{name: _value(trial, name, text) for name, text in given.items()})


def _pair(text: str, option: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise BadInput(f"{option} is {text!r}: write NAME=VALUE, as in transport.limit=30")
    return name.strip(), value.strip()


def _value(trial: Trial, name: str, text: str) -> Any:
    return validation.from_text(name, text, trial.type_of(name))


def axes(trial: Trial, listed: list[str]) -> dict[str, list[Any]]:
    """Axes in the order they were named; values of a part's own settings are read by its kind."""
    axes: dict[str, list[Any]] = {}
    for text in listed:
        name, values = _pair(text, "--axis")
        words = [word.strip() for word in validation.split_list(values)]
        if not all(words):
            raise BadInput(f"--axis is {text!r}: write NAME=VALUE,VALUE, as in limit=10,100")
        if name in axes:
            raise BadInput(f"--axis names {name!r} twice: list all its values in one")
        axes[name] = [_value(_first(trial, axes), name, word) for word in words]
    return axes


def _first(trial: Trial, axes: dict[str, list[Any]]) -> Trial:
    return trial.replace(**{name: values[0] for name, values in axes.items()})
