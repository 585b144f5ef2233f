"""The settings of a trial as a panel shows them: read from texts, named, and written as Python.

Pure. All is made from the fields of the trial's parts: a new field of a part is a field of the
panel, a setting that can be varied and a name in the code, without a line here.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import CodeType
from typing import Any, NamedTuple, get_args

import msgspec

from labkit.errors import BadInput
from labkit.record.record import Record
from labkit.report.study import Study
from labkit.spec import delays, plan, validation
from labkit.spec.parts import ROLES, resolved
from labkit.spec.registry import OPTION_TYPES, STRATEGIES
from labkit.spec.targets import UrlTarget
from labkit.spec.transports import SPEAK
from labkit.spec.trial import Function, Trial

Strategy = str | Function
KINDS = ("strategy", "target", "transport")
GENERAL = ""
"""The field of an error that names no field."""
MAX_CODE_WIDTH = 88


class Setting(NamedTuple):
    """One setting of a trial, and the name by which `Trial` takes it."""

    role: str
    leaf: str
    name: str
    type: Any
    value: Any
    default: Any

    @property
    def key(self) -> str:
        """The name that is the same whichever kinds are chosen: `workload.limit`."""
        return f"{self.role}.{self.leaf}"

    @property
    def takes_list(self) -> bool:
        """Whether a comma parts several values: not in a path or a URL."""
        return self.leaf == "delay" or str not in {self.type, *get_args(self.type)}


def settings_of(trial: Trial) -> Iterator[Setting]:
    """Yield every setting of the trial but its kinds, part by part."""
    kinds = {role: type(getattr(trial, role)) for role in ROLES}
    found = [
        (role, field.name, field.type, getattr(getattr(trial, role), field.name), field.default)
        for role in ("target", "transport", "workload", "switches")
        for field in msgspec.structs.fields(kinds[role])
    ]
    for leaf, value in trial.options.items():
        default = STRATEGIES[trial.strategy][leaf]
        found.append(("strategy", leaf, OPTION_TYPES[leaf], value, default))
    for role, leaf, type_, value, default in found:
        is_short = resolved(leaf, kinds, trial.options) == (role, leaf)
        yield Setting(role, leaf, leaf if is_short else f"{role}.{leaf}", type_, value, default)


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """The fields of a panel as they stand. `texts` are by the keys of settings."""

    target: str
    transport: str
    strategies: Sequence[Strategy]
    texts: Mapping[str, str]
    repeats: str = "1"


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a panel is about to run: a trial, what varies, how often. Valid once it exists."""

    trial: Trial
    axes: Mapping[str, Sequence[Any]]
    repeats: int = 1

    def __post_init__(self) -> None:
        plan.interleave(plan.arms(self.trial, self.axes), repeats=self.repeats)

    @property
    def code(self) -> str:
        """The cell that runs it; functions of the user's own go by their names."""
        arguments = [_call("lab.Trial", _arguments(self._changed()))]
        variable, verb = "run", "run"
        if self.axes:
            variable, verb = "study", "compare"
            arguments += _arguments(self.axes)
            arguments += [f"repeats={self.repeats}"] if self.repeats != 5 else []
        call = _call(f"{variable} = await lab.{verb}", arguments)
        return f"import labkit as lab\n\n{call}\n{variable}\n"

    def _changed(self) -> dict[str, Any]:
        """Return the settings that are neither varied nor the default."""
        trial, found = self.trial, {}
        if trial.get("strategy") != "worker_pool":
            found["strategy"] = trial.get("strategy")
        if trial.target.kind != "http":
            found["target"] = trial.url or trial.target.kind
        if trial.transport.kind != SPEAK[trial.target.kind][0]:
            found["transport"] = trial.transport.kind
        for one in settings_of(trial):
            if one.leaf != "url" and one.value != one.default:
                found[one.name] = one.value
        return {name: value for name, value in found.items() if name not in self.axes}


def read(base: Trial, chosen: Chosen) -> tuple[Request | None, dict[str, str]]:
    """Return what the fields ask for, or None and a sentence for each field that is wrong.

    What has no text stays as `base` has it, as far as the chosen kinds allow.
    """
    wrong: dict[str, str] = {}
    axes: dict[str, Sequence[Any]] = {}
    changes: dict[str, Any] = {}
    try:
        kinds = _of_kinds(base, chosen)
    except BadInput as error:
        return None, {field_of(str(error)) or "target": str(error)}
    settings = [one for one in settings_of(kinds) if one.key in chosen.texts and one.leaf != "url"]
    for one in settings:
        text = chosen.texts[one.key]
        try:
            words = validation.split_list(text) if one.takes_list else [text]
            values = [validation.from_text(one.name, word, one.type) for word in words]
            for word in words if one.leaf == "delay" else ():
                delays.parse(word)
        except BadInput as error:
            wrong[one.key] = str(error)
            continue
        changes[one.name] = values[0]
        if len(values) > 1:
            axes[one.name] = values
    repeats = 1
    try:
        repeats = validation.from_text("repeats", chosen.repeats, validation.Repeats)
    except BadInput as error:
        wrong["repeats"] = str(error)
    if wrong:
        return None, wrong
    try:
        trial = kinds.replace(**changes)
        if len(chosen.strategies) > 1:
            axes = {"strategy": list(chosen.strategies), **axes}
        elif repeats > 1 and not axes:
            # As the value of an axis a strategy has its default options; the loop keeps them.
            has_options = any(one.role == "strategy" for one in settings)
            axes = {"loop": [trial.loop]} if has_options else {"strategy": list(chosen.strategies)}
        return Request(trial=trial, axes=axes, repeats=repeats), {}
    except BadInput as error:
        return None, {field_of(str(error), kinds): str(error)}


def _of_kinds(base: Trial, chosen: Chosen) -> Trial:
    """Return the base with the chosen target, transport and first strategy. Raises `BadInput`."""
    changes: dict[str, Any] = {"target": chosen.target, "transport": chosen.transport}
    if chosen.target == "url":
        url = chosen.texts["target.url"].strip()
        if "://" not in url:
            what = f"is {url!r}, which is no URL" if url else "is left empty"
            raise BadInput(f"target.url {what}: write one such as http://127.0.0.1:9000")
        host = chosen.texts.get("target.allow_remote", "none").strip()
        remote = base.get("allow_remote") if base.url == url else None
        changes["target"] = UrlTarget(url=url, allow_remote=remote or _or_none(host))
    if not chosen.strategies:
        raise BadInput("strategy is left empty: choose at least one")
    if chosen.strategies[0] != base.get("strategy") or len(chosen.strategies) > 1:
        changes["strategy"] = chosen.strategies[0]
    return base.replace(**changes)


def _or_none(text: str) -> str | None:
    return None if text.lower() in ("", "none") else text


def field_of(message: str, trial: Trial | None = None) -> str:
    """Return the key of the setting that an error names first, `GENERAL` where it names none."""
    name = message.split(" ", 1)[0].rstrip(":")
    if name in (*KINDS, "repeats", "target.url"):
        return name
    role, _, leaf = name.rpartition(".")
    role = {"trial": "switches"}.get(role, role)
    found = settings_of(trial or Trial())
    return next(
        (s.key for s in found if s.name == name or (s.role, s.leaf) == (role, leaf)), GENERAL
    )


def _arguments(settings: Mapping[str, Any]) -> list[str]:
    short = [f"{name}={_literal(value)}" for name, value in settings.items() if "." not in name]
    dotted = [f'"{name}": {_literal(value)}' for name, value in settings.items() if "." in name]
    return [*short, *([f"**{{{', '.join(dotted)}}}"] if dotted else [])]


def _literal(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_literal, value))}]"
    if isinstance(value, str):
        plain = repr(value)
        return plain if '"' in value or plain[0] == '"' else f'"{plain[1:-1]}"'
    if isinstance(value, int) and abs(value) >= 10_000:
        return f"{value:_}"
    return getattr(value, "__name__", type(value).__name__) if callable(value) else repr(value)


def _call(name: str, arguments: Sequence[str]) -> str:
    """Return the call on one line where it fits, else with an argument a line."""
    line = f"{name}({', '.join(arguments)})"
    if len(line) <= MAX_CODE_WIDTH and "\n" not in line:
        return line
    inner = "".join("    " + one.replace("\n", "\n    ") + ",\n" for one in arguments)
    return f"{name}(\n{inner})"


Arm = Mapping[str, Any]
"""What names an arm of a panel: every setting, of which those that differ are shown."""


def arm_of(trial: Trial, version: int = 1) -> Arm:
    """Return the settings of `trial`; `version` counts the codes that its own strategy has had."""
    later = f", version {version}" if version > 1 else ""
    return {
        "strategy": label_of(trial) + later,
        "target": trial.url or trial.target.kind,
        "transport": trial.transport.kind,
        **{one.name: one.value for one in settings_of(trial) if one.leaf != "url"},
    }


def label_of(trial: Trial) -> str:
    """Return the strategy's name; one's own is marked where the lab has one of that name."""
    is_twin = trial.own_strategy and trial.strategy in STRATEGIES
    return f"{trial.strategy} (yours)" if is_twin else trial.strategy


def differing(arms: Sequence[Arm]) -> list[str]:
    """Return the settings that tell the arms apart, of those that all have; always the strategy."""
    first, *others = arms or [{}]
    return ["strategy"] + [
        name
        for name, value in first.items()
        if name != "strategy" and any(one.get(name, value) != value for one in others)
    ]


def study_of(measured: Sequence[tuple[Arm, Record]]) -> Study:
    """Return the records as one study, each arm named by what differs among them."""
    by = differing([arm for arm, _ in measured])
    named = [
        msgspec.structs.replace(record, axes={name: arm.get(name) for name in by})
        for arm, record in measured
    ]
    return Study(named, by)


def code_of(function: Function) -> Any:
    """Return what the function's code does: equal for a cell that was run again, wherever."""
    plain = inspect.unwrap(function)
    code = getattr(plain, "__code__", None)
    if code is None:
        return function
    return _instructions(code), repr(plain.__defaults__), repr(plain.__kwdefaults__)


def _instructions(code: CodeType) -> tuple[Any, ...]:
    constants = (_instructions(one) if isinstance(one, CodeType) else one for one in code.co_consts)
    used = (code.co_names, code.co_varnames, code.co_freevars)
    return (code.co_code, *used, *((type(one), one) for one in constants))
