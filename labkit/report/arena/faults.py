"""The faults that an examination knows, each with what to do about it, and those of a strategy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import msgspec

CODES: Mapping[str, str] = MappingProxyType(
    {
        "over-limit": "Take a slot before a call is made, and give it back when the call has "
        "ended: one semaphore for all calls, or `limit` workers.",
        "loses-items": "Look at the end of the loop: a last round that is not full, and a queue "
        "that is left before it is empty, are the usual places.",
        "repeats-items": "Let all workers take from one and the same iterator, `source = "
        "iter(items)`, so that each item is handed out once.",
        "swallows-failures": "Count the failures and return the count, return the exceptions, or "
        "raise them at the end; the decorator @lab.strategy returns a Tally that counts them.",
        "stops-at-first-failure": "Catch the exception around each call, keep it, and go on; or "
        "write @lab.strategy above the function, which does that for every call.",
        "unbounded-tasks": "Wait for a free slot before a task is made, and not inside the task: "
        "then there are never more tasks than slots.",
        "leaves-tasks-behind": "Wait for every task before you return; cancel those that would "
        "never end, and wait for them as well. A TaskGroup does both.",
        "polls-hot": "Wait for what you are waiting for: await the task, a semaphore, or "
        "asyncio.wait(..., return_when=asyncio.FIRST_COMPLETED), instead of looking again and "
        "again.",
        "never-ends": "Look at what it waits for at its end: a queue that nobody fills or "
        "acknowledges any more, or a worker that was never told to stop.",
        "too-slow": "Pace it by asyncio.sleep, the loop's time or time.monotonic: an examination "
        "lets these pass quickly, and for any other clock it can only wait.",
        "blocks-the-loop": "Write `await asyncio.sleep(...)` for time.sleep, and hand what "
        "computes for long to asyncio.to_thread: meanwhile no other call goes on.",
        "raises": "Run it on a few items with a fetch of your own, such as `async def fetch(item): "
        "print(item)`, until it comes through.",
        "not-loaded": "It runs in a process of its own: import what it needs inside of it, and let "
        "it use nothing that exists only in this notebook's process.",
        "ends-its-process": "A strategy returns; it neither exits nor kills the process it is in.",
    }
)
"""Every fault, and what to do about it."""


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """One fault by its code: what was `seen`, in a sentence, and what to do instead."""

    code: str
    seen: str

    @property
    def advice(self) -> str:
        """What to do instead."""
        return CODES[self.code]

    @property
    def says(self) -> str:
        """What was seen and what to do, as one text."""
        return f"{self.seen} {self.advice}"


class Examined(msgspec.Struct, frozen=True, kw_only=True):
    """One strategy after its examination: its faults, and `remarks` on what is no fault."""

    name: str
    faults: Sequence[Fault]
    remarks: Sequence[str] = ()

    @property
    def passed(self) -> bool:
        """Whether it is ranked: it has no fault."""
        return not self.faults

    @property
    def codes(self) -> list[str]:
        """The codes of its faults."""
        return [fault.code for fault in self.faults]
