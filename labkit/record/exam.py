"""What an examination asks for, and what was seen of the strategy: plain data for both sides.

One `Sitting` is one run of the strategy. Nothing is judged here: what is a fault, `report.arena`
says.
"""

from __future__ import annotations

from typing import Literal

import msgspec

End = Literal["returned", "raised", "stuck", "slow", "late", "endless"]
"""How a sitting ended: `stuck` while nothing happened any more, `slow` while it was busy, and for
long nothing came of it, `late` while it still came along and its time was up, `endless` with far
more calls than items; these four were ended by the examiner."""

AT_SERVER = "server"
"""The sitting whose calls go to the synthetic server, which counts for itself."""
EXAMPLES = 3
"""How many items of a kind are named."""


class Struct(msgspec.Struct, frozen=True, kw_only=True):
    """Base of what the two sides tell each other."""


class Paper(Struct, frozen=True, kw_only=True):
    """Whom to examine: a function as cloudpickle bytes in base64, or a strategy of the lab's.

    `guarded` is whether the function is examined under the lab's decorator, as its user had it.
    `url` is that of a synthetic server for this examination alone.
    """

    name: str
    function: str | None = None
    guarded: bool = False
    path: list[str] = []
    url: str | None = None
    core: int | None = None


class Held(Struct, frozen=True, kw_only=True):
    """What there was while no call was answered.

    `waiting` is how many tasks, or calls that were made, stood behind those in flight; `read` how
    many items had been taken. `turns` of the loop and `cpu_s` are of `held_s` seconds in which
    nothing happened.
    """

    waiting: int
    read: int
    turns: int
    cpu_s: float
    held_s: float


class Sitting(Struct, frozen=True, kw_only=True):
    """One run: `planned` items at `limit`, of which `failing` failed.

    `missing` and `repeated` are how many items were never fetched to their end, and how many more
    than once; `examples` names some, with how often each was fetched. `left` tasks were running
    when the strategy returned. `told` is whether its caller can know of the failures. `kept` is how
    many tasks, done or not, it still referred to at its last call. `blocked_s` is for how long the
    loop stood still without computing, `longest_s` the most CPU that it took without a pause.
    """

    name: str
    planned: int
    limit: int
    end: End
    raised: str = ""
    most_in_flight: int = 0
    at_server: int | None = None
    missing: int = 0
    repeated: int = 0
    examples: dict[int, int] = {}
    left: int = 0
    failing: int = 0
    told: bool = True
    kept: int = 0
    blocked_s: float | None = None
    longest_s: float = 0.0
    held: Held | None = None

    @property
    def still_s(self) -> float:
        """For how long it held the loop up, sleeping or computing, where that was looked at."""
        return 0.0 if self.held else max(self.blocked_s or 0.0, self.longest_s)


class Evidence(Struct, frozen=True, kw_only=True):
    """All that was seen of one strategy. `lost` says why the rest is missing, where it is."""

    sittings: list[Sitting]
    lost: str = ""
