"""Exercises of `14_bytes_on_the_wire`."""

from __future__ import annotations

from . import grading
from .register import Wrong, exercise

PLAIN_BYTES, PACKED_BYTES, CPU_S = 100_000, 20_000, 0.002
BODY_BYTES = 13_015


@exercise("ex-14-1")
def rate_that_breaks_even(answer: object) -> str:
    """Check the rate of a link below which a coding pays, in megabytes per second."""
    saved = PLAIN_BYTES - PACKED_BYTES
    mistakes = {
        PLAIN_BYTES / CPU_S / 1e6: "that is with all bytes: only those that are saved count",
        PACKED_BYTES / CPU_S / 1e6: "that is with the bytes that are still sent: which are saved?",
        8 * saved / CPU_S / 1e6: "that is in megabits: megabytes are asked for",
        CPU_S / saved * 1e6: "that is seconds per byte: turn it round",
    }
    rate = grading.number(answer, "megabytes per second")
    grading.near(rate, saved / CPU_S / 1e6, unit="megabytes per second", mistakes=mistakes)
    return (
        "over a slower link the bytes saved take longer than the CPU added, and over a faster one "
        "the answer comes later for being packed. 100 Mbit/s are 12.5 MB/s"
    )


@exercise("ex-14-2")
def small_on_the_wire(answer: object) -> str:
    """Check a run whose bodies had at most a tenth of their bytes on the wire."""
    record = grading.record(answer)
    received = record.received
    if not record.counts.ok or received is None or not received.bodies:
        raise Wrong("nothing was answered, or no bodies were counted: take the transport 'aiohttp'")
    if received.decoded_bytes != received.bodies * BODY_BYTES:
        raise Wrong(
            f"its bodies were not those of {BODY_BYTES:,} bytes: set path to the one of the task"
        )
    if received.wire_bytes == received.decoded_bytes:
        raise Wrong("its bodies came as they are: does the client say that it can unpack a coding?")
    if 10 * received.wire_bytes > received.decoded_bytes:
        raise Wrong("its bodies are packed, but to more than a tenth: try another coding")
    return (
        "the client offers codings, the server chooses one, and both count the same bytes. This "
        "body repeats itself: do not expect as much from yours"
    )
