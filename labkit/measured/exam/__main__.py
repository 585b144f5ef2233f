"""`python -m labkit.measured.exam`: a paper in (a line of JSON), the evidence out, line by line.

Each line holds one sitting, as it ends; the last says `lost`: nothing, or why there are no more.
When standard input ends, because the parent is gone, so does the process.
"""

from __future__ import annotations

import base64
import os
import pickle
import sys
import threading
import traceback
from time import monotonic, sleep
from typing import Any

import msgspec

from labkit.errors import LabError
from labkit.measured import lifeline, strategies
from labkit.measured.exam import examine
from labkit.measured.exam.runner import Strategy
from labkit.record.exam import Paper, Sitting

LONGEST_S = 25.0
"""A sitting ends by itself well before, unless the loop never gets to run again."""


class _Parent:
    """Tells the one who asked; and, in a thread, that a sitting does not come to an end."""

    def __init__(self) -> None:
        self._fd = os.dup(1)
        # What the strategy prints goes to standard error.
        os.dup2(2, 1)
        self._told_s = monotonic()

    def saw(self, sitting: Sitting) -> None:
        """A sitting has ended."""
        self._told_s = monotonic()
        self._say(sitting=sitting)

    def end(self, lost: str = "") -> None:
        """There are no more sittings."""
        self._say(lost=lost)

    def watch(self) -> None:
        """From now on end the process where no sitting ends for `LONGEST_S`."""
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while (left_s := self._told_s + LONGEST_S - monotonic()) > 0:
            sleep(left_s)
        self.end("never-ends")
        os._exit(1)

    def _say(self, **content: Any) -> None:
        data = msgspec.json.encode(content) + b"\n"
        while data:
            data = data[os.write(self._fd, data) :]


def main() -> int:
    """Examine one strategy; 2 for one that cannot be loaded here."""
    paper = msgspec.json.decode(lifeline.first_line(), type=Paper)
    parent = _Parent()
    lifeline.end_with_parent()
    sys.path.extend(entry for entry in paper.path if entry not in sys.path)
    if paper.core is not None:
        os.sched_setaffinity(0, {paper.core})
    try:
        strategy = _strategy(paper)
    except Exception as error:  # noqa: BLE001  # loading runs whatever its modules hold
        parent.end(f"not-loaded: {_said(error)}")
        return LabError.exit_code
    parent.watch()
    try:
        examine(
            strategy,
            guarded=paper.guarded,
            url=paper.url,
            anew=lambda: _strategy(paper),
            saw=parent.saw,
        )
    except BaseException as error:  # noqa: BLE001  # a strategy may raise SystemExit
        traceback.print_exc()
        parent.end(f"ended: {_said(error)}")
        os._exit(1)
    parent.end()
    sys.stderr.flush()
    # Threads of the strategy's own would keep the process for ever.
    os._exit(0)


def _strategy(paper: Paper) -> Strategy:
    if paper.function is None:
        return strategies.load(paper.name).__wrapped__
    own: Strategy = pickle.loads(base64.b64decode(paper.function))  # noqa: S301  # the parent's pipe
    return own


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".removesuffix(": ")[:200]


if __name__ == "__main__":
    sys.exit(main())
