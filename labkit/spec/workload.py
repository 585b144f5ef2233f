"""How much work there is, and what belongs to the trial as a whole."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from labkit.errors import BadInput
from labkit.spec.types import Count, Loop, Part, Seconds

_PATH = re.compile(r"/[!-~]*")


class Workload(Part, frozen=True, kw_only=True):
    """How much work, how many at a time. `path` may hold `{item}`; None is the target's own.

    Closed where `rate` is None: an answer makes room for the next request. Open where it is so many
    requests a second, `constant` or `poisson`: each is sent when it is due. `overflow` says what
    happens to one that is due while `limit` are in flight: it waits (and is late), or is dropped.
    """

    role: ClassVar[str] = "workload"

    requests: Count = 1_000
    limit: Annotated[int, Meta(ge=1, le=1_000_000)] = 100
    seed: Annotated[int, Meta(ge=0, le=(1 << 63) - 1)] = 0
    path: str | None = None
    rate: Annotated[float, Meta(gt=0, le=1_000_000)] | None = None
    arrival: Literal["constant", "poisson"] = "constant"
    overflow: Literal["wait", "drop"] = "wait"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, value in (("arrival", self.arrival), ("overflow", self.overflow)):
            if self.rate is None and value not in ("constant", "wait"):
                raise BadInput(
                    f"workload.{name} is {value!r} without a workload.rate: only an open workload "
                    "has it; set the rate in requests per second"
                )
        if self.path is not None and not _PATH.fullmatch(self.path):
            raise BadInput(
                f"workload.path is {self.path!r}: it must start with '/' and hold printable ASCII "
                "without spaces; write the number of the item as {item}"
            )


class Switches(Part, frozen=True, kw_only=True):
    """What belongs to the trial as a whole; `Trial` shows each as an attribute of its own.

    `probes`: full; counts (no latency, no timeline, no loop lag); bare (a loop written by hand,
    without any code of the lab: the yardstick of its overhead). `deadline_s` None: several times
    what the trial should need. `saturate`: whether the client is meant to use its core up, so that
    what it can do is measured, and no latency; None: where nothing makes it wait (no delay, or a
    server that is not the lab's).
    """

    role: ClassVar[str] = "trial"

    loop: Loop = "asyncio"
    eager_tasks: bool = False
    pin: bool = True
    probes: Literal["full", "counts", "bare"] = "full"
    deadline_s: Seconds | None = None
    saturate: bool | None = None
