"""`Job`: what the words of a command ask for. They were checked; nothing runs before `start`."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import msgspec

from labkit.lab.progress import Reporter
from labkit.record import guards
from labkit.record.record import Record

KEPT = "what was measured is kept ('labkit results list')"


def _nothing(outcome: Any) -> None:
    """No file was asked for."""


def _text(outcome: Any) -> str:
    return str(outcome.text())


def _data(outcome: Any) -> Any:
    return outcome.to_dict()


def all_failed(records: list[Record]) -> bool:
    """Whether there are trials, and none did what it was to do."""
    return bool(records) and all(guards.failed(record) for record in records)


def _all_failed(outcome: Any) -> bool:
    return all_failed(outcome.records)


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One call of `lab`, and what is to be done with its outcome.

    `start` takes the reporter and gives what is awaited. `save` writes the files that were asked
    for, and answers with a line where there is something to say of them.
    """

    start: Callable[[Reporter | None], Coroutine[Any, Any, Any]]
    save: Callable[[Any], str | None] = _nothing
    text: Callable[[Any], str] = _text
    failed: Callable[[Any], bool] = _all_failed
    data: Callable[[Any], Any] = _data
    json: str | None = None
    kept: str = KEPT
