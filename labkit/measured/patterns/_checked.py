"""What the patterns' arguments must be. Without msgspec, which `labkit.spec.validation` needs."""

from __future__ import annotations

import math

from labkit.errors import BadInput


def whole(field: str, value: int) -> None:
    """Raise `BadInput` unless `value` is a whole number."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise BadInput(f"{field} is {value!r}: it must be a whole number")


def at_least_one(field: str, value: int) -> None:
    """Raise `BadInput` unless `value` is a whole number of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise BadInput(f"{field} is {value!r}: it must be a whole number of at least 1")


def seconds(field: str, value: float) -> None:
    """Raise `BadInput` unless `value` is a finite number of seconds, of at least 0."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise BadInput(f"{field} is {value!r}: it must be a number of seconds of at least 0")
