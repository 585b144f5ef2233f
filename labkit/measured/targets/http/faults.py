"""The faults of `/fault/{kind}`: what the server sends instead of an answer, and how it ends.

Each does the same every time; nothing here sends or waits. Those that are answers, only late or
slow or with another status, end well: stall, drip and error_rate. Of the others (`BROKEN`) the
connection is the victim: what they send is raw bytes, and nothing follows them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from time import perf_counter_ns
from typing import Annotated

from msgspec import Meta

from labkit.errors import BadInput
from labkit.measured.targets.http import messages, pacing, routes
from labkit.measured.targets.http.messages import Answer, Request
from labkit.spec import delays

KINDS = (
    "reset",
    "close",
    "truncate",
    "stall",
    "drip",
    "garbage",
    "slow_headers",
    "error_rate",
)
BROKEN = frozenset({"reset", "close", "truncate", "garbage", "slow_headers"})
GARBAGE = b"\x00\xff this is no HTTP \xfe\r\n\r\n"
HELLO = Answer(body=messages.HELLO)

Probability = Annotated[float, Meta(ge=0, le=1)]


def answer(kind: str, request: Request, seed: int) -> Answer:
    """The answer of `/fault/{kind}`. Raises `BadInput` for a kind that does not exist.

    `error_rate` draws from `seed` and the whole target, so that the same request always has the
    same fate: an item's number belongs into its query.
    """
    if kind not in KINDS:
        raise BadInput(f"fault is {kind[:40]!r}: there are {', '.join(KINDS)}")
    if kind == "error_rate":
        return _error(request, seed)
    seconds = routes.seconds(request)
    if kind == "stall":
        return Answer(body=messages.HELLO, stall_s=seconds)
    if kind == "drip":
        return Answer(body=messages.HELLO, drip_s=seconds)
    return Answer(body=messages.HELLO, fault=kind, fault_s=seconds)


def _error(request: Request, seed: int) -> Answer:
    probability = routes.number("p", routes.query(request, "p") or "", Probability)
    if delays.uniform(seed, request.target) < probability:
        return messages.text(500, "an error, as error_rate was asked for")
    return HELLO


def sent(
    answer: Answer, whole: bytes, clock: Callable[[], int] = perf_counter_ns
) -> Iterator[bytes | int]:
    """What goes out of `whole`, the bytes of the answer; an int is until when to wait (ns)."""
    head, blank, body = whole.partition(b"\r\n\r\n")
    if answer.fault == "truncate":
        yield head + blank + body[: len(body) // 2]
    elif answer.fault == "garbage":
        yield GARBAGE
    elif answer.fault == "slow_headers":
        yield from pacing.dripped(head + blank, answer.fault_s, clock)
        yield body


def body_bytes(answer: Answer) -> int:
    """How much of the body that is, for the server's count."""
    assert isinstance(answer.body, bytes)
    return {"truncate": len(answer.body) // 2, "slow_headers": len(answer.body)}.get(
        answer.fault, 0
    )
