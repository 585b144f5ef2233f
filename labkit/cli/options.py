"""Options that several commands share, and the values that their words stand for."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial, wraps
from inspect import Parameter, Signature
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any, Literal, get_args, get_origin

import typer

from labkit import paths
from labkit.errors import BadInput
from labkit.spec import validation
from labkit.spec.parts import KINDS
from labkit.spec.registry import STRATEGIES
from labkit.spec.targets import TARGETS, HttpServer
from labkit.spec.transports import TRANSPORTS
from labkit.spec.trial import Trial

Command = Callable[..., Any]
# What a command was asked for: the value of each of its options, and what was made of each group.
Asked = SimpleNamespace

TABLES = paths.table("options.toml")
TYPES = {"text": str, "texts": list[str], "path": Path, "number": float, "whole": int, "flag": bool}
TYPES["time"] = datetime


def options_of(
    rows: Mapping[str, Any], usual: Callable[[str], Any] = str, type_of: Callable[[str], Any] = str
) -> list[Parameter]:
    """Return a parameter for each row, of which typer makes an option or an argument.

    A row without a type is a setting, whose field `usual` and `type_of` know. Its value stays text:
    the field checks it, in one sentence.
    """
    options = []
    kinds = {"strategy": STRATEGIES, "target": TARGETS, "transport": TRANSPORTS}
    for name, given in rows.items():
        row = {"flags": [f"--{name.removesuffix('_s').replace('_', '-')}"], **given}
        flags, default = row.pop("flags"), row.pop("default", None)
        if "type" not in row:
            type_ = str if default else type_of(name)
            words = get_args(type_) if get_origin(type_) is Literal else kinds.get(name, ())
            row["help"] += f" [{default or usual(name)}]"
            row["autocompletion"], default = _completer(list(words)), None
        kind = TYPES[row.pop("type", "text")]
        is_argument, is_needed = row.pop("argument", False), row.pop("needed", False)
        typed: Any = kind if is_needed or default is not None else kind | None
        option = typer.Argument(**row) if is_argument else typer.Option(*flags, **row)
        usually = Parameter.empty if is_needed else default
        how: Any = {"default": usually, "annotation": Annotated[typed, option]}
        options.append(Parameter(name, Parameter.KEYWORD_ONLY, **how))
    return options


def _completer(words: Sequence[str]) -> Callable[[str], list[str]]:
    """Return what a shell asks for the values that complete a word."""

    def complete(incomplete: str) -> list[str]:
        return [word for word in words if word.startswith(incomplete)]

    return complete


def trial(given: Mapping[str, Any]) -> Trial:
    """Return the trial of the options: the kinds first, as they decide which settings exist."""
    from labkit.launch import preflight  # takes a while

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
    made = preflight.loaded(Trial(**{name: texts.pop(name) for name in first if name in texts}))
    return made.replace(**{name: _value(made, name, text) for name, text in texts.items()})


_USUAL = Trial()
_OF_BASELINE = {"baseline", "tolerance", "by", "unlike", "markdown"}


class Wanted:
    """What is made of a result beside showing it, and what it must meet; checked beforehand."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        self.fail_if: Sequence[str] = given.get("fail_if", ())
        self.save, self.markdown = given.get("save"), given.get("markdown")
        self.baseline, self.out = given.get("baseline"), given.get("out")
        for option in ("save", "markdown"):
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


# The options of each group, and what is made of those that were given.
_OF_TRIAL = options_of(TABLES["trial"], _USUAL.get, _USUAL.type_of)
_OF_SERVER = partial(getattr, HttpServer()), validation.types_of(HttpServer).__getitem__
GROUPS: Mapping[str, tuple[Sequence[Parameter], Callable[[dict[str, Any]], Any]]] = {
    "trial": ([*_OF_TRIAL, *options_of(TABLES["any_trial"])], trial),
    "wanted": (options_of(TABLES["wanted"]), Wanted),
    "server": (options_of(TABLES["serve"], *_OF_SERVER), server),
}


def described(command: Command, name: str, resumed: Command) -> Command:
    """Return what typer calls: it takes the options that `name` has in `data/options.toml`.

    The command takes all of them as one `Asked`; with --resume `resumed` does. typer makes an
    option of each parameter in a function's signature, and asks its annotations for the types. Help
    lists them in this order, those that are needed first.
    """
    rows, shared = TABLES["command"][name], TABLES["shared"]
    own = {one: shared.get(one, {}) | rows.get(one, {}) for one in rows["options"]}
    groups = {group: GROUPS[group] for group in rows.get("takes", ())}
    parameters = [*(one for options, _ in groups.values() for one in options), *options_of(own)]
    parameters.sort(key=lambda one: one.default is not Parameter.empty)

    @wraps(command)
    def call(**given: Any) -> Any:
        values = {one.name: one.default for one in parameters} | given
        asked, resumes = Asked(**values), values.get("resume") is not None
        beside = [one.name for one in parameters if values[one.name] not in (None, one.default)]
        for one in {*beside} - {*TABLES["beside_resume"]["names"]} if resumes else ():
            raise validation.refusal("resumed-with", name=one)
        if own.get("json", {}).get("type") != "flag":
            check_file("--json", values.get("json"))
        for group, (options, make) in groups.items():
            # The plan of a study has its trials.
            asks = [] if group == "trial" and resumes else options
            chosen = {one.name: values[one.name] for one in asks}
            vars(asked)[group] = make({k: v for k, v in chosen.items() if v is not None})
        return (resumed if resumes else command)(asked)

    call.__signature__ = Signature(parameters)  # type: ignore[attr-defined] # typer's
    call.__annotations__ = {one.name: one.annotation for one in parameters}
    return call


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
