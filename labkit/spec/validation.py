"""Types of settings, and the check of one value against one type, with a message that teaches.

Pure: types in, a checked value or `BadInput` out. `Part` checks its fields when it is constructed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from functools import cache
from types import MappingProxyType
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    ClassVar,
    Literal,
    get_args,
    get_origin,
    get_type_hints,
)

import msgspec
from msgspec import Meta

from labkit.errors import BadInput

if TYPE_CHECKING:
    from msgspec import inspect as kinds


Bytes = Annotated[int, Meta(ge=0, le=1 << 30)]
Connections = Annotated[int, Meta(ge=0, le=1_000_000)]
Count = Annotated[int, Meta(ge=1, le=100_000_000)]
EchoApi = Literal["sockets", "streams", "protocol"]
Loop = Literal["asyncio", "uvloop"]
Repeats = Annotated[int, Meta(ge=1, le=1_000)]
AtLeastOne = Annotated[int, Meta(ge=1)]
NotNegative = Annotated[int, Meta(ge=0)]
Seconds = Annotated[float, Meta(gt=0, le=86_400)]
Seed = Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]
ShortSeconds = Annotated[float, Meta(ge=0, le=60)]


def did_you_mean(word: str, words: Iterable[str]) -> str:
    """Return '; did you mean 'task_pool'?' where one of `words` is near, else nothing."""
    import difflib  # here, because a measured process never needs it

    near = difflib.get_close_matches(word, list(words), n=1, cutoff=0.6)
    return f"; did you mean '{near[0]}'?" if near else ""


def unknown(what: str, word: str, words: Iterable[str]) -> BadInput:
    """Return the error for a name that is not one of `words`, with the nearest that is."""
    names = list(words)
    return BadInput(
        f"{what} is {word!r}: it must be one of {', '.join(names)}{did_you_mean(word, names)}"
    )


def _bounds(info: kinds.IntType | kinds.FloatType) -> str:
    low, high = info.ge, info.le
    if low is not None and high is not None:
        return f" from {low:,} to {high:,}"
    if info.gt is not None and high is not None:
        return f" above {info.gt:,} and at most {high:,}"
    if info.gt is not None:
        return f" above {info.gt:,}"
    return f" of at least {low:,}" if low is not None else ""


def allowed(type_: Any) -> str:
    """Return what a field annotated with `type_` admits: the end of 'it must be ...'."""
    # Imported here, because a measured process never needs it and it takes megabytes.
    from msgspec import inspect as kinds

    return _allowed(kinds.type_info(type_))


def _allowed(info: kinds.Type) -> str:
    from msgspec import inspect as kinds

    if isinstance(info, kinds.UnionType):
        return " or ".join(_allowed(member) for member in info.types)
    if isinstance(info, kinds.IntType):
        return "a whole number" + _bounds(info)
    if isinstance(info, kinds.FloatType):
        return "a number" + _bounds(info)
    if isinstance(info, kinds.LiteralType):
        return f"one of {', '.join(str(value) for value in info.values)}"
    simple = {
        kinds.NoneType: "none",
        kinds.BoolType: "true or false",
        kinds.StrType: "text",
    }
    return simple.get(type(info), type(info).__name__.removesuffix("Type").lower())


def check(field: str, value: Any, type_: Any) -> None:
    """Raise `BadInput` unless `value` is one that a field annotated with `type_` admits."""
    try:
        if isinstance(value, float) and not math.isfinite(value):
            raise msgspec.ValidationError
        msgspec.convert(value, type_)
    except msgspec.ValidationError:
        near = did_you_mean(value, _choices(type_)) if isinstance(value, str) else ""
        raise BadInput(f"{field} is {value!r}: it must be {allowed(type_)}{near}") from None


def split_list(text: str) -> list[str]:
    """Split at commas that stand outside brackets: 'randint(0,3),0.1' holds two values."""
    return re.split(r",(?![^()]*\))", text)


def _choices(type_: Any) -> list[str]:
    return [str(choice) for choice in get_args(type_)] if get_origin(type_) is Literal else []


def from_text(field: str, text: str, type_: Any) -> Any:
    """Return the value that `text`, of a command line, stands for in a field of type `type_`."""
    plain = text.strip()
    if plain.lower() == "none" and type(None) in get_args(type_):
        return None
    for candidate in dict.fromkeys([plain, plain.replace("_", "")]):
        try:
            converted = msgspec.convert(candidate, type_, strict=False)
        except msgspec.ValidationError:
            continue
        # Only a number may be written with underscores.
        if candidate == plain or not isinstance(converted, str):
            check(field, converted, type_)
            return converted
    raise BadInput(
        f"{field} is {text!r}: it must be {allowed(type_)}{did_you_mean(plain, _choices(type_))}"
    )


@cache
def types_of(struct: type[msgspec.Struct]) -> Mapping[str, Any]:
    """Return name and annotated type of each field of `struct`, bounds included."""
    hints = get_type_hints(struct, include_extras=True)
    return MappingProxyType({name: hints[name] for name in struct.__struct_fields__})


def check_all(part: msgspec.Struct, prefix: str) -> None:
    """Check every field of `part`; errors name the field as `prefix.field`."""
    for name, type_ in types_of(type(part)).items():
        check(f"{prefix}.{name}", getattr(part, name), type_)


class Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of a trial; `role` is the name that errors and dotted names give it."""

    role: ClassVar[str]

    def __post_init__(self) -> None:
        check_all(self, self.role)
