"""Whether a strategy's caller can know that items failed: by what it raised, or what it returned.

Told is an exception, one or more among the results, or its words, how many failed or came through,
or which: any of these lets a caller act. A line that is printed or logged does not.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Set
from typing import Any

_DEPTH = 4
_FAILED = " failed"
"""What an item's exception says, after which item it was."""
_FEW = 8
"""Numbers count where there are no more beside each other: a list of all items holds any number."""


def told(result: object, failing: Set[int], planned: int) -> bool:
    """Whether `result` tells of the failures of `failing` in any of these ways."""
    numbers = {len(failing), planned - len(failing)}
    came = set(range(planned)) - failing
    counted = [result, *(parts if len(parts := _parts(result)) <= _FEW else [])]
    return any(type(one) is int and one in numbers for one in counted) or any(
        isinstance(one, BaseException)
        or (isinstance(one, str) and _FAILED in one)
        or _names(one, failing)
        or _names(one, came)
        or _marks(one, len(failing), planned)
        for one in _within(result, _DEPTH)
    )


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
