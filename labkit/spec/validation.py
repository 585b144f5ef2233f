"""Types of settings, and the check of a value against its type.

Pure. An error has the field, the value and what is allowed. A `Part` checks its fields when it is
constructed.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal, TypeVar, get_args, get_origin, get_type_hints

import msgspec

from labkit.errors import BadInput, LabError

Bytes = Annotated[int, msgspec.Meta(ge=0, le=1 << 30)]
Connections = Annotated[int, msgspec.Meta(ge=0, le=1_000_000)]
Count = Annotated[int, msgspec.Meta(ge=1, le=100_000_000)]
Loop = Literal["asyncio", "uvloop", "rloop"]
Repeats = Annotated[int, msgspec.Meta(ge=1, le=1_000)]
AtLeastOne = Annotated[int, msgspec.Meta(ge=1)]
NotNegative = Annotated[int, msgspec.Meta(ge=0)]
Seconds = Annotated[float, msgspec.Meta(gt=0, le=86_400)]
Seed = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]
ShortSeconds = Annotated[float, msgspec.Meta(ge=0, le=60)]
# Letters from which on a word may be the beginning of a name.
MIN_BEGUN = 2
Choice = TypeVar("Choice")


def did_you_mean(word: str, words: Iterable[str]) -> str:
    """Return '; did you mean 'task_pool'?' where one of `words` is near, else nothing.

    A dotted word is near to one that differs before the dot alone, and one whose rest was left out
    to the first that it begins.
    """
    from difflib import get_close_matches  # here: few processes need it

    asked = word.lower().replace("-", "_")
    plain = {name.lower().replace("-", "_"): name for name in words}
    _, dot, leaf = asked.rpartition(".")
    moved = [one for one in plain if dot and one.endswith(f".{leaf}")]
    begun = [one for one in plain if len(asked) >= MIN_BEGUN and one.startswith(asked)]
    near = get_close_matches(asked, moved or plain, 1, 0.0 if moved else 0.6) or begun
    return f"; did you mean '{plain[near[0]]}'?" if near else ""


def check_once(what: str, names: Sequence[str]) -> None:
    """Raise `BadInput` for what is no list of names, or has one of them twice."""
    if isinstance(names, str):
        raise BadInput(f"{what} is {names!r}: it must be a list, as in [{names!r}]")
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise BadInput(f"{what} name {twice[0]!r} twice: name it once")


def unknown(what: str, word: str, words: Iterable[str]) -> BadInput:
    """Return the error for a name that is not one of `words`, with the nearest that is."""
    names = list(words)
    known = ", ".join(names) + did_you_mean(word, names)
    return BadInput(f"{what} is {word!r}: it must be one of {known}")


def check_known(what: str, word: str, words: Iterable[str]) -> None:
    """Raise `BadInput`, which names the nearest, for a name that is not one of `words`."""
    names = list(words)
    if word not in names:
        raise unknown(what, word, names)


def choose(what: str, word: str, choices: Mapping[str, Choice]) -> Choice:
    """Return the choice of that name. Raises `BadInput`, which names the nearest."""
    check_known(what, word, choices)
    return choices[word]


def allowed(type_: Any) -> str:
    """Return which values a field of this type may have: the end of 'it must be ...'."""
    # Imported here, because a measured process never needs it and it takes megabytes.
    from msgspec import inspect as kinds

    info = type_ if isinstance(type_, kinds.Type) else kinds.type_info(type_)
    if isinstance(info, kinds.UnionType):
        return " or ".join(map(allowed, info.types))
    if isinstance(info, kinds.LiteralType):
        return f"one of {', '.join(map(str, info.values))}"
    if not isinstance(info, kinds.IntType | kinds.FloatType):
        simple = {kinds.NoneType: "none", kinds.BoolType: "true or false", kinds.StrType: "text"}
        return simple.get(type(info), type(info).__name__.removesuffix("Type").lower())
    number = "a whole number" if isinstance(info, kinds.IntType) else "a number"
    if info.ge is not None and info.le is not None:
        return f"{number} from {info.ge:,} to {info.le:,}"
    bounds = {"of at least": info.ge, "above": info.gt, "and at most": info.le}
    return " ".join([number, *(f"{word} {n:,}" for word, n in bounds.items() if n is not None)])


def check(field: str, value: Any, type_: Any) -> None:
    """Raise `BadInput` unless a field of this type may have the value."""
    try:
        if isinstance(value, float) and not math.isfinite(value):
            raise msgspec.ValidationError
        msgspec.convert(value, type_)
    except msgspec.ValidationError:
        choices = map(str, get_args(type_)) if get_origin(type_) is Literal else ()
        near = did_you_mean(value, choices) if isinstance(value, str) else ""
        raise BadInput(f"{field} is {value!r}: it must be {allowed(type_)}{near}") from None


def refusal(which: str, error: type[LabError] = BadInput, /, **values: Any) -> LabError:
    """Return the error whose sentence `data/refusals.toml` has, with these values."""
    from labkit import paths  # here: a measured process needs it for no other reason

    return error(paths.table("refusals.toml")[which].format(**values))


def refuse_first(faults: Mapping[str, object], **values: Any) -> None:
    """Raise the refusal of the first of these faults that is there, if one is."""
    for which, is_there in faults.items():
        if is_there:
            raise refusal(which, **values)


def split_list(text: str, *, commas: bool = True) -> list[str]:
    """Split at each '|', else at commas outside brackets: 'randint(0,3),0.1' holds two values."""
    return re.split(r",(?![^()]*\))", text) if commas and "|" not in text else text.split("|")


def from_text(field: str, text: str, type_: Any) -> Any:
    """Parse a text of the command line as a value of a field of this type."""
    value: Any = text.strip()
    if value.lower() == "none" and type(None) in get_args(type_):
        return None
    if {float, str} <= {*get_args(type_)}:  # what reads as a number is one
        with suppress(msgspec.ValidationError):
            return msgspec.convert(value, bool | int | float, strict=False)
    for candidate in (value, value.replace("_", "")):
        with suppress(msgspec.ValidationError):
            converted = msgspec.convert(candidate, type_, strict=False)
            # Only a number may be written with underscores.
            if candidate == value or not isinstance(converted, str):
                value = converted
                break
    check(field, value, type_)
    return value


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

    @property
    def kind(self) -> str:
        """Return the name by which a trial chooses it."""
        return str(self.__struct_config__.tag or self.role)


AnyPart = TypeVar("AnyPart", bound=Part)


def by_kind(*parts: type[AnyPart]) -> Mapping[str, type[AnyPart]]:
    """Return classes of parts by the names by which a trial chooses them."""
    return MappingProxyType({str(part.__struct_config__.tag): part for part in parts})
