"""Whether a strategy's caller can know that items failed: by what it raised, or what it returned.

Told is an exception, one or more among the results, or its words, how many failed or came through,
or which: any of these lets a caller act, at any level of what is returned. A line that is printed
or logged does not.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Set
from typing import Any

_DEPTH = 4
_FAILED = " failed"
"""What an item's exception says, after which item it was."""
_FEW, _FEW_NAMED = 8, 30
"""Numbers count where there are no more of them, without names and with: a list of all items holds
any number."""
_NUMBER = re.compile(r"(?<![\w.,])\d+(?!\w|[.,]\d)")


def told(result: object, failing: Set[int], planned: int) -> bool:
    """Whether `result` tells of the failures of `failing` in any of these ways."""
    came = set(range(planned)) - failing
    return _counts(result, {len(failing), len(came)}) or any(
        isinstance(one, BaseException)
        or (isinstance(one, str) and _FAILED in one)
        or _names(one, failing)
        or _names(one, came)
        or _marks(one, len(failing), planned)
        or _lists_errors(one, len(failing))
        for one in _within(result, _DEPTH)
    )


def _counts(result: object, numbers: Set[int]) -> bool:
    """Whether one of few numbers, or one under a name, is one of these."""
    loose: list[int] = []
    named: list[int] = []
    _gather(result, loose, named, _DEPTH, is_named=False)
    found = [*named, *(loose if len(loose) <= _FEW else [])]
    return any(one in numbers for one in found)


def _gather(one: object, loose: list[int], named: list[int], depth: int, *, is_named: bool) -> None:
    """The numbers in a result, and in its texts: those under a name, and the others."""
    numbers = _numbers(one)
    (named if is_named else loose).extend(numbers)
    if depth == 0 or numbers or isinstance(one, str | BaseException):
        return
    parts, is_named = _values(one)
    if len(parts) <= (_FEW_NAMED if is_named else _FEW):
        for part in parts:
            _gather(part, loose, named, depth - 1, is_named=is_named)


def _numbers(one: object) -> list[int]:
    if type(one) is int:
        return [one]
    if not isinstance(one, str):
        return []
    found = [int(number) for number in _NUMBER.findall(one)]
    return found if len(found) <= _FEW else []


def _values(one: Any) -> tuple[list[Any], bool]:
    """What something is made of, without its keys, and whether each part has a name."""
    if isinstance(one, Mapping):
        return list(one.values()), not any(type(key) is int for key in one)
    is_plain = isinstance(one, list | tuple | Set) and not hasattr(one, "_fields")
    return _parts(one), not is_plain


def _lists_errors(one: Any, failed: int) -> bool:
    """Whether a list holds a text, or a class of exceptions, for each item that failed."""
    if not isinstance(one, list | tuple) or len(one) != failed:
        return False
    return all(isinstance(each, str) or _is_error(each) for each in one)


def _is_error(each: object) -> bool:
    return isinstance(each, type) and issubclass(each, BaseException)


def _names(one: Any, items: Set[int]) -> bool:
    """Whether a collection holds these items and no other."""
    if not isinstance(one, Collection) or isinstance(one, str | bytes) or len(one) != len(items):
        return False
    return all(_is_one_of(each, items) for each in one)


def _marks(one: Any, failed: int, planned: int) -> bool:
    """Whether a list of all items says of each whether it failed, by True and False or by words."""
    parts = list(one.values()) if isinstance(one, Mapping) else one
    if not isinstance(parts, list | tuple) or len(parts) != planned:
        return False
    last = [each[-1] if isinstance(each, tuple) and each else each for each in parts]
    often = Counter(each if isinstance(each, str | bool | None) else type(each) for each in last)
    return failed in often.values() and len(often) > 1


def _is_one_of(each: object, items: Set[int]) -> bool:
    # Of pairs the first is the item, as in (item, error).
    first = each[0] if isinstance(each, tuple) and each else each
    return type(first) is int and first in items


def _within(result: object, depth: int) -> Iterator[object]:
    """The result and what it is made of, some levels deep."""
    yield result
    if depth == 0 or isinstance(result, BaseException):
        return
    for part in _parts(result):
        yield from _within(part, depth - 1)


def _parts(result: Any) -> list[Any]:
    if isinstance(result, Mapping):
        return [*result.keys(), *result.values()]
    if isinstance(result, list | tuple | Set):
        return list(result)
    if isinstance(result, asyncio.Future):
        return [result.exception()] if result.done() and not result.cancelled() else []
    if type(result).__module__ == "builtins":
        return []
    slots = [name for name in getattr(type(result), "__slots__", ()) if isinstance(name, str)]
    return [
        *(getattr(result, name, None) for name in slots),
        *getattr(result, "__dict__", {}).values(),
    ]
