"""Words typed so far -> what the last of them may become. Pure, apart from the names of records.

The parser's own tree says which commands and options there are; here is what an option's value may
be. Where anything may be, or a file, nothing is offered.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Literal, get_args, get_origin

from labkit.errors import BadInput
from labkit.profiler.callgraph import Clock
from labkit.spec import names as naming
from labkit.spec import parts, validation
from labkit.spec import trial as spec
from labkit.spec.trial import Trial

Found = tuple[str, list[str]]
"""The end of the last word that is replaced, and what may stand there."""
_ANY: Found = ("", [])


def completions(typed: str, root: Any) -> Found:
    """What the last word of `typed` may become; `root` is the tree of the parser's commands."""
    *before, last = re.split(r"\s+", typed.lstrip())
    node, words = _command(root, before)
    options = {flag: one for one in node.params for flag in (*one.opts, *one.secondary_opts)}
    asked = options.get(before[-1]) if before else None
    flag, equals, text = last.partition("=")
    if equals and flag in options:
        asked, last = options[flag], text
    if asked is not None and _takes_value(asked):
        return _matching(*_values(asked.name, last, _trial(before)))
    if hasattr(node, "commands"):
        return _matching(last, node.commands)
    if last.startswith("-"):
        return _matching(last, _left(options, words))
    arguments = [one for one in node.params if one.param_type_name == "argument"]
    offered = [value for one in arguments for value in _of_argument(node, one.name)]
    return _matching(last, [*offered, *(_left(options, words) if not last else [])])


def _command(root: Any, words: Sequence[str]) -> tuple[Any, Sequence[str]]:
    """The command that the words name, and those after it."""
    for place, word in enumerate(words):
        found = getattr(root, "commands", {}).get(word)
        if found is None:
            return root, words[place:]
        root = found
    return root, []


def _takes_value(param: Any) -> bool:
    return param.param_type_name == "option" and not param.is_flag


def _matching(text: str, words: Iterable[str]) -> Found:
    return text, [word for word in dict.fromkeys(words) if word.startswith(text)]


def _left(options: Mapping[str, Any], used: Sequence[str]) -> list[str]:
    """The options that may still be given, and help."""
    gone = {one.name for flag, one in options.items() if flag in used and not one.multiple}
    listed = [flag for flag, one in options.items() if flag.startswith("-")]
    return [*(flag for flag in listed if options[flag].name not in gone), "--help"]


def _trial(words: Sequence[str]) -> Trial:
    """A trial of the parts that were named, whose settings exist then."""
    flags = {"--target": "target", "--transport": "transport", "--strategy": "strategy"}
    named = {flags[flag]: value for flag, value in pairwise(words) if flag in flags}
    try:
        return Trial(**named)
    except BadInput:
        return Trial()


def _values(option: str, text: str, trial: Trial) -> tuple[str, Iterable[str]]:
    """The end of `text` that is completed, and by what."""
    if option in ("axis", "set_"):
        setting, equals, value = text.partition("=")
        if not equals:
            return text, [f"{name}=" for name in _settings(trial)]
        last = validation.split_list(value)[-1] if option == "axis" else value
        return last, _of_setting(trial, setting)
    if option == "rungs":
        return text.rpartition(",")[2], _rungs()
    if option in _VALUES:
        return text, _VALUES[option]()
    return text, _of_setting(trial, option)


def _settings(trial: Trial) -> list[str]:
    """Every name that a setting of the trial has, the short ones first."""
    names = {role: getattr(trial, role).__struct_fields__ for role in naming.ROLES}
    names |= {"strategy": tuple(trial.options)}
    short = dict.fromkeys(leaf for listed in names.values() for leaf in listed)
    dotted = [f"{role}.{leaf}" for role, listed in names.items() for leaf in listed]
    return ["strategy", "target", "transport", *short, *dotted]


def _of_setting(trial: Trial, name: str) -> Iterable[str]:
    """What a setting of the trial may be, where that can be listed."""
    if name == "strategy":
        return [*parts.STRATEGIES, *spec.OWN]
    if name == "transport":
        return parts.SPEAK[trial.target.kind]
    if name == "target":
        return [kind for kind in parts.TARGETS if kind != "url"]  # that is a URL itself
    try:
        return _choices(trial.type_of(name))
    except BadInput:  # no setting of a trial
        return ()


def _choices(type_: Any) -> list[str]:
    """Of a field: the names that it may be, true and false, none where it may be that."""
    if type_ is bool:
        return ["true", "false"]
    if type_ is type(None):
        return ["none"]
    if get_origin(type_) is Literal:
        return [str(value) for value in get_args(type_)]
    named = [choice for one in get_args(type_) for choice in _choices(one)]
    return [] if named == ["none"] else named


def _scales() -> Iterable[str]:
    from labkit.lab import facade

    return facade.SCALES


def _plots() -> Iterable[str]:
    from labkit.charts import kinds  # takes a while

    return kinds.KINDS


def _columns() -> Iterable[str]:
    from labkit.report import profile

    return profile.COLUMNS


def _rungs() -> Iterable[str]:
    from labkit.studies import ladder

    return [one.id for one in ladder.load().rung]


_VALUES: Mapping[str, Callable[[], Iterable[str]]] = {
    "scale": _scales,
    "metric": _plots,
    "sort": _columns,
    "clock": lambda: _choices(Clock),
}


def _of_argument(command: Any, name: str) -> Iterable[str]:
    """What an argument may be, by its command's name and its own."""
    return _ARGUMENTS.get((command.name, name), tuple)()


def _claims() -> Iterable[str]:
    from labkit.studies import ledger

    return [one["id"] for one in ledger.listed(ledger.load())]


def _benchmarks() -> Iterable[str]:
    from labkit.studies import published

    return ["list", *published.names()]


def _records() -> Iterable[str]:
    from labkit.record.store import Store

    return reversed(Store().ids())


_ARGUMENTS: Mapping[tuple[str, str], Callable[[], Iterable[str]]] = {
    ("check", "ids"): _claims,
    ("reproduce", "name"): _benchmarks,
    ("show", "record_id"): _records,
}
