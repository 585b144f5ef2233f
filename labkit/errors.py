"""Everything that the lab refuses or fails with, and nothing else.

One base class, caught once in each front. A message is one sentence: the field, its value, what is
allowed, what to do.
"""

import traceback
from pathlib import Path
from typing import Any, ClassVar

from labkit.escaping import visible

_PACKAGE = str(Path(__file__).parent)
MAX_PLACES = 3


def raised(error: BaseException) -> str:
    """Return the class of an exception, what it says, and the user's own lines that raised it.

    As in 'ValueError: no (mine, line 3 > helper, line 9)', in some 300 characters.
    """
    places = [
        f"{frame.f_code.co_name}, line {line}"
        for frame, line in traceback.walk_tb(error.__traceback__)
        if not frame.f_code.co_filename.startswith((_PACKAGE, "<frozen"))
    ]
    where = f" ({' > '.join(places[-MAX_PLACES:])})" if places else ""
    return f"{type(error).__name__}: {error}".removesuffix(": ")[:200] + where


class LabError(Exception):
    """Base of every error that labkit raises on purpose.

    `exit_code` is what a command exits with when this error ends it.
    """

    exit_code: ClassVar[int] = 1

    def __str__(self) -> str:
        return visible(super().__str__())

    def _render_traceback_(self) -> list[str]:
        """Return what a cell shows: the sentence alone. IPython asks for it by this name."""
        return [f"{type(self).__name__}: {self}"]


class BadInput(LabError, ValueError):
    """What was asked for cannot be done; nothing was started and nothing was changed."""

    exit_code: ClassVar[int] = 2


class NotInstalled(BadInput):
    """What was asked for needs `package`, which is not there; the message says how to get it."""

    def __init__(self, asked: str, package: str, extra: str | None) -> None:
        # What replaces packages of others is in no extra.
        where = "" if extra else " in an environment of its own"
        what = f"'labkit[{extra}]'" if extra else package
        super().__init__(
            f"{asked}: the package {package} is not installed; install it{where} with: "
            f"pip install {what}"
        )
        self.package = package


class NotAwaited(BadInput, AttributeError):
    """What a call of the lab gave was used before it was awaited, or entered."""


class TrialFailed(LabError):
    """A trial was started and could not be finished.

    `record` is what was measured until then (verdict `invalid`), or None where nothing was.
    """

    def __init__(self, message: str, record: Any = None) -> None:
        super().__init__(message)
        self.record = record

    def _render_traceback_(self) -> list[str]:
        """Return the sentence and, below it, each reason that the record has."""
        reasons = self.record.reasons if self.record else ()
        return [*super()._render_traceback_(), *map(visible, reasons)]


class Interrupted(LabError):
    """Ctrl-C ended a command."""

    exit_code: ClassVar[int] = 130


class RecordNotFound(BadInput):
    """No record in the store has this id."""


class RecordDamaged(BadInput):
    """A stored record cannot be read: truncated, edited, or of a newer schema."""
