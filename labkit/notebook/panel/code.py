"""Settings -> the Python that repeats them, and in it only what differs from the usual. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from labkit.notebook.panel.settings import Settings
from labkit.spec.parts import ROLES, resolved
from labkit.spec.registry import STRATEGIES
from labkit.spec.targets import UrlTarget
from labkit.spec.transports import SPEAK
from labkit.spec.trial import Trial
from labkit.spec.validation import Part

_WIDTH = 88
_LONG = 10_000


def of(settings: Settings) -> str:
    """A cell that runs what the settings say; functions of the user's own go by their name."""
    arguments = [_call("lab.Trial", named(settings.trial))]
    if not settings.axes:
        return f"import labkit as lab\n\nrun = await {_laid_out('lab.run', arguments)}\nrun\n"
    arguments += [f"{name}={_value(values)}" for name, values in settings.axes.items()]
    arguments += [f"repeats={settings.repeats}"] if settings.repeats != 5 else []
    return f"import labkit as lab\n\nstudy = await {_laid_out('lab.compare', arguments)}\nstudy\n"


def named(trial: Trial) -> dict[str, Any]:
    """The settings to call `Trial` with to get this one again: those that are not the usual."""
    usual, found = Trial(), _kinds(trial)
    if trial.get("strategy") != usual.strategy:
        found["strategy"] = trial.get("strategy")
    options = STRATEGIES.get(trial.strategy, {}) if not trial.own_strategy else {}
    changed = {"strategy": _changed(trial.options, options)}
    for role in ("workload", "switches", "target", "transport"):
        part = getattr(trial, role)
        changed[role] = _changed(msgspec.structs.asdict(part), _usual(part))
    for role, leaves in changed.items():
        found |= {_name(trial, role, leaf): value for leaf, value in leaves.items()}
    return found


def _kinds(trial: Trial) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if trial.target.kind != "http":
        found["target"] = trial.url or trial.target.kind
    if trial.transport.kind != SPEAK[trial.target.kind][0]:
        found["transport"] = trial.transport.kind
    return found


def _usual(part: Part) -> Mapping[str, Any]:
    """The defaults of a part's settings; a URL has none, and stands as the target itself."""
    if isinstance(part, UrlTarget):
        return {"url": part.url, "allow_remote": None}
    return msgspec.structs.asdict(type(part)())


def _changed(now: Mapping[str, Any], usual: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in now.items() if value != usual[name]}


def _name(trial: Trial, role: str, leaf: str) -> str:
    """The short name of a setting, where that means it; the trial's own switches have no other."""
    kinds = {role: type(getattr(trial, role)) for role in ROLES}
    short = resolved(leaf, kinds, trial.options)
    return leaf if short == (role, leaf) else f"{role}.{leaf}"


def _call(name: str, settings: Mapping[str, Any]) -> str:
    short = [f"{key}={_value(value)}" for key, value in settings.items() if "." not in key]
    dotted = [f'"{key}": {_value(value)}' for key, value in settings.items() if "." in key]
    return _laid_out(name, [*short, *([f"**{{{', '.join(dotted)}}}"] if dotted else [])])


def _value(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, str):
        plain = repr(value)
        return plain if '"' in value or plain[0] == '"' else f'"{plain[1:-1]}"'
    if isinstance(value, int) and abs(value) >= _LONG:
        return f"{value:_}"
    return getattr(value, "__name__", type(value).__name__) if callable(value) else repr(value)


def _laid_out(name: str, arguments: Iterable[str]) -> str:
    """The call on one line where it fits, else with an argument a line."""
    listed = list(arguments)
    line = f"{name}({', '.join(listed)})"
    if len(line) + len("study = await ") <= _WIDTH and "\n" not in line:
        return line
    inner = "".join(f"    {one},\n".replace("\n", "\n    ").removesuffix("    ") for one in listed)
    return f"{name}(\n{inner})"
