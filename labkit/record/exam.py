"""The request and the result of an exam of a strategy: plain data for both processes.

`report.arena` decides what is a fault.
"""

from typing import Literal

from msgspec import Struct

# How a scenario ended. The examiner ended the last three: `stuck` while for long no call was made
# or ended, `late` while it made progress and its time was over, `endless` after far more calls than
# items.
End = Literal["returned", "raised", "stuck", "late", "endless"]


class ExamRequest(Struct, frozen=True, kw_only=True):
    """The strategy to examine: a function as cloudpickle bytes in base64, or a name of the lab's.

    `guarded` is whether the function is examined under the lab's decorator, as its user had it.
    """

    name: str
    function: str | None = None
    guarded: bool = False
    path: list[str] = []
    core: int | None = None


class Backlog(Struct, frozen=True, kw_only=True):
    """What was observed while no call was answered.

    `waiting` is how many tasks, or calls already made, waited behind those in flight. `turns` of
    the loop and `cpu_s` were used in `duration_s` seconds in which nothing happened.
    """

    waiting: int
    turns: int
    cpu_s: float
    duration_s: float


class ScenarioResult(Struct, frozen=True, kw_only=True):
    """One run of the strategy: `planned` items at `limit`, of which `failing` failed.

    `missing` and `repeated` are how many items were never fetched to their end, and how many more
    than once; one of the missing is named, and the one that was fetched most often. `not_awaited`
    are the `calls` that were made and never awaited. `tasks_left` were running when the strategy
    returned. `failures_reported` is whether its caller can know of the failures. `blocked_s` is
    for how long the loop stood still without computing, `longest_turn_s` the most CPU of one turn
    of the loop.
    """

    name: str
    planned: int
    limit: int
    end: End
    raised: str = ""
    calls: int = 0
    not_awaited: int = 0
    max_in_flight: int = 0
    missing: int = 0
    missing_item: int | None = None
    repeated: int = 0
    most_fetched_item: int | None = None
    most_fetched_times: int = 0
    tasks_left: int = 0
    failing: int = 0
    failures_reported: bool = True
    blocked_s: float | None = None
    longest_turn_s: float = 0.0
    backlog: Backlog | None = None

    @property
    def ending(self) -> str:
        """Return how the run ended, as the words after 'it': 'returned', or what it raised."""
        if self.end == "raised":
            return f"raised {self.raised}"
        return "returned" if self.end == "returned" else "did not return"

    @property
    def standstill_s(self) -> float:
        """Return how long the strategy blocked the loop, where that is judged."""
        return 0.0 if self.backlog else max(self.blocked_s or 0.0, self.longest_turn_s)


class ExamResult(Struct, frozen=True, kw_only=True):
    """All that was observed of one strategy. `lost` says why the rest is missing, if it is."""

    scenarios: list[ScenarioResult]
    lost: str = ""
