"""Options that several commands share, and the values that their words stand for."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click

from labkit import paths
from labkit.errors import BadInput
from labkit.spec import validation
from labkit.spec.parts import KINDS
from labkit.spec.registry import InFile
from labkit.spec.targets import HttpServer
from labkit.spec.trial import Trial

# What a command was asked for: the value of each of its options, and what was made of each group.
Asked = SimpleNamespace

TABLES = paths.table("options.toml")
TYPES: dict[str, Any] = {"text": str, "texts": str, "number": float, "whole": int, "flag": bool}
TYPES |= {"path": click.Path(path_type=Path), "time": datetime.fromisoformat}


def options_of(
    rows: Mapping[str, Any], usual: Callable[[str], Any] = str, type_of: Callable[[str], Any] = str
) -> list[click.Parameter]:
    """Return an option or an argument for each row.

    A row without a type is a setting, whose field `usual` and `type_of` know. Its value stays text:
    the field checks it, in one sentence.
    """
    options: list[click.Parameter] = []
    for name, given in rows.items():
        word = name.removesuffix("_s").replace("_", "-")
        row = {"flags": [f"--{word}"], **given}
        flags, default, kind = row.pop("flags"), row.pop("default", None), row.pop("type", None)
        if kind is None:
            row["help"] += f" [{default or usual(name)}]"
            default = None
        row["type"] = TYPES[kind or "text"]
        if (least := row.pop("min", None)) is not None:
            row["type"] = click.IntRange(least)
        if row.pop("argument", False):
            row |= {"nargs": -1} if kind == "texts" else {}
            options.append(click.Argument([name], required=row.pop("needed", False), **row))
            continue
        if kind == "flag":
            row.pop("metavar", None)
            flags = flags or [f"--{word}/--no-{word}"]
        row |= {"is_flag": kind == "flag", "multiple": kind == "texts", "default": default}
        row["show_default"] = default not in (None, [], False)
        options.append(click.Option([*flags, name], **row))
    return options


def trial(given: Mapping[str, Any]) -> Trial:
    """Return the trial of the options: the kinds first, as they decide which settings exist."""
    # A command has parameters of its own called `json` and `set`.
    lists = ("set_", "headers")
    texts = {name.removesuffix("_"): str(v) for name, v in given.items() if name not in lists}
    if "headers" in given:
        texts["headers"] = "\n".join(given["headers"])
    if "target_command" in texts:
        texts["target.command"] = texts.pop("target_command")
    for name, value in (_pair(text, "--set") for text in given.get("set_", ())):
        if name in texts:
            raise BadInput(f"{name} is given twice, as {texts[name]!r} and {value!r}: give it once")
        texts[name] = value
    first = ("target", "target.command", "transport", "strategy", "program", "allow_remote")
    made = Trial(**{name: texts.pop(name) for name in first if name in texts})
    if any(isinstance(one, InFile) for one in (made.client, made.function)):
        from labkit.launch import preflight  # takes a while

        made = preflight.loaded(made)
    return made.replace(**{name: _value(made, name, text) for name, text in texts.items()})


_USUAL = Trial()
_OF_BASELINE = {"baseline", "tolerance", "by", "unlike", "markdown"}


class Wanted:
    """What is made of a result beside showing it, and what it must meet; checked beforehand."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        self.fail_if: Sequence[str] = given.get("fail_if", ())
        self.save, self.markdown = given.get("save"), given.get("markdown")
        self.baseline, self.out = given.get("baseline"), given.get("out")
        self.openmetrics = given.get("openmetrics")
        for option in ("save", "markdown", "openmetrics"):
            check_file(f"--{option}", given.get(option))
        if self.out is not None:
            check_folder("--out", self.out)
        if self.fail_if or self.save or given.keys() & _OF_BASELINE:
            from labkit.report import gate  # takes a while

            list(map(gate.Threshold.parse, self.fail_if))
            how = {name: given[name] for name in ("tolerance", "unlike") if name in given}
            metrics = [one.strip() for one in given.get("by", "").split(",") if one.strip()]
            asked = gate.Baseline(self.baseline, metrics=metrics, **how)
            if self.baseline is None and given.keys() & _OF_BASELINE:
                raise BadInput("--baseline is missing: name what to compare with, a FILE or an ID")
            self.baseline = asked if self.baseline is not None or self.save else None


def server(given: Mapping[str, str]) -> dict[str, Any]:
    """Return the settings of the synthetic server."""
    texts = {"port": "8080", **given}
    types = validation.types_of(HttpServer)
    return {name: validation.from_text(name, text, types[name]) for name, text in texts.items()}


# The rows of each group, how their fields are known, and what is made of those that were given.
_OF_SERVER = partial(getattr, HttpServer()), validation.types_of(HttpServer).__getitem__
GROUPS: Mapping[str, tuple[Mapping[str, Any], Sequence[Any], Callable[[dict[str, Any]], Any]]] = {
    "trial": (TABLES["trial"] | TABLES["any_trial"], (_USUAL.get, _USUAL.type_of), trial),
    "wanted": (TABLES["wanted"], (), Wanted),
    "server": (TABLES["serve"], _OF_SERVER, server),
}


def _of(command: str) -> tuple[dict[str, Any], Sequence[str]]:
    """Return the rows of a command's own options, and the groups that it takes."""
    rows, shared = TABLES["command"][command], TABLES["shared"]
    own = {one: shared.get(one, {}) | rows.get(one, {}) for one in rows["options"]}
    return own, rows.get("takes", ())


def parameters(command: str) -> list[click.Parameter]:
    """Return the options and arguments that a command has in `data/options.toml`, in that order."""
    own, groups = _of(command)
    of_groups = [options_of(GROUPS[group][0], *GROUPS[group][1]) for group in groups]
    return [*(one for options in of_groups for one in options), *options_of(own)]


def asked(command: str, given: Mapping[str, Any]) -> Asked:
    """Return what a command is asked for, with what is made of each group that it takes.

    Raises `BadInput`.
    """
    own, groups = _of(command)
    usual = dict[str, Any].fromkeys(name for group in groups for name in GROUPS[group][0])
    usual |= {name: row.get("default") for name, row in own.items()}
    there = {name: one for name, one in given.items() if one not in (None, ())}
    values: dict[str, Any] = usual | {
        k: [*v] if isinstance(v, tuple) else v for k, v in there.items()
    }
    found, resumes = Asked(**values), values.get("resume") is not None
    beside = [name for name, one in values.items() if one not in (None, usual[name])]
    for name in {*beside} - {*TABLES["beside_resume"]["names"]} if resumes else ():
        raise validation.refusal("resumed-with", name=name)
    if own.get("json", {}).get("type") != "flag":
        check_file("--json", values.get("json"))
    for group in groups:
        rows, _, make = GROUPS[group]
        # The plan of a study has its trials.
        asks = [] if group == "trial" and resumes else rows
        vars(found)[group] = make({k: values[k] for k in asks if values[k] is not None})
    return found


def axes(trial: Trial, listed: Iterable[str]) -> dict[str, list[Any]]:
    """Return the axes in the order they were named.

    Values of a part's own settings are read by the kind that an axis before it names first.
    """
    from labkit.launch import preflight  # takes a while

    axes: dict[str, list[Any]] = {}
    pairs = [(text, *_pair(text, "--axis")) for text in listed]
    validation.check_once("--axis", [name for _, name, _ in pairs])
    for text, name, values in pairs:
        split = validation.split_list(values, commas=name not in ("target.command", "program"))
        words = [word.strip() for word in split]
        if not all(words):
            raise validation.refusal("axis-text", text=text)
        if _is_given(trial, name):
            raise BadInput(f"{name} is {trial.get(name)!r} and an axis, too: give it once")
        chosen = {axis: values[0] for axis, values in axes.items()}
        first = preflight.loaded(trial.replace(**chosen))
        axes[name] = [_value(first, name, word) for word in words]
    return axes


def _is_given(trial: Trial, name: str) -> bool:
    try:
        return name not in KINDS and trial.get(name) != _USUAL.get(name)
    except BadInput:  # no setting, or one of another kind
        return False


def _pair(text: str, option: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise BadInput(f"{option} is {text!r}: write NAME=VALUE, as in transport.limit=30")
    return name.strip(), value.strip()


def _value(trial: Trial, name: str, text: str) -> Any:
    return validation.from_text(name, text, trial.type_of(name))


def check_file(option: str, where: Path | str | None) -> None:
    """Refuse a file that cannot be written before any time is spent on measuring."""
    if where is None or where == "-":
        return
    path = Path(where)
    try:
        if path.is_file() or not path.exists() or path.is_dir():
            is_new = not path.exists()
            path.open("ab").close()
            if is_new:
                path.unlink()
    except OSError as error:
        found = {"option": option, "where": str(where), "why": error.strerror}
        raise validation.refusal("file", **found) from None


def check_folder(option: str, where: Path) -> None:
    """Refuse a folder that cannot be made or written before any time is spent on measuring."""
    there = next(one for one in (where.absolute(), *where.absolute().parents) if one.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise validation.refusal("folder", option=option, where=str(where))


def chart_writer(
    where: Path | None, metric: str | None = None, *, of_one: bool = False, traced: bool = True
) -> Callable[[Any], None]:
    """Return what draws an outcome into the file `where`, if there is one.

    Refuses a chart that cannot be drawn or written before any time is spent on measuring. `of_one`
    says that it is of a single trial, `traced` that requests are traced; an outcome without a
    `metric` has but one chart.
    """
    if metric is not None and (where is not None or metric not in ("time", "timeline")):
        from labkit.charts import kinds  # takes a while

        kinds.check(metric, of_one=of_one)
        if metric in kinds.TRACED and not traced:
            raise validation.refusal("not-traced", metric=metric)
    if where is not None and where.suffix not in (".svg", ".png"):
        raise BadInput(f"--chart is {str(where)!r}: it must be a .svg or .png file")
    check_file("--chart", where)

    def write(outcome: Any) -> None:
        if where is not None:
            outcome.plot(*([] if metric is None else [metric])).save(where)

    return write
