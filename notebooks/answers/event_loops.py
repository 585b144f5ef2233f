"""Exercises of `03_event_loops`."""

from __future__ import annotations

import math

from . import grading, sandbox
from .register import Wrong, exercise

SHARE, TIMES = 0.3, 3.0
CASES = ((1.25, 3.0), (1.5, 3.0), (2.0, 4.0), (1.0, 2.0))


def gain(share: float, times: float) -> float:
    """Amdahl's law: how much faster the whole is when a share of it is so many times as fast."""
    return 1 / (1 - share + share / times)


@exercise("ex-03-1")
def gain_of_a_share(answer: object) -> str:
    """Check how many times as fast a client becomes."""
    mistakes = {
        TIMES: "that is the loop's own gain: the rest of the client stays as it is",
        1 / (1 - SHARE): "that is with a loop that costs nothing at all",
        1 / gain(SHARE, TIMES): "that is the new time as a share of the old: turn it round",
        SHARE * TIMES: "the share is not multiplied: what is left of the old time?",
        1 + SHARE * (1 - 1 / TIMES): "that is one plus the time saved: divide the times instead",
    }
    times = grading.number(answer, "times")
    grading.near(times, gain(SHARE, TIMES), unit="times as fast, as in 2.0", mistakes=mistakes)
    return (
        "of 1 s there remain 0.7 s and a third of 0.3 s. No loop could bring more than 1.43 times "
        "to this client, as the 0.7 s are not the loop's"
    )


@exercise("ex-03-2")
def share_of_a_gain(answer: object) -> str:
    """Check a function that solves Amdahl's law for the share."""
    share_of = grading.function(answer, "(gain, k)")
    for gained, times in CASES:
        share = grading.number(sandbox.value(share_of, gained, times), "shares, from 0 to 1")
        right = (1 - 1 / gained) / (1 - 1 / times)
        if grading.close(share, 1 - 1 / gained, 1e-6) and not grading.close(share, right, 1e-6):
            raise Wrong("that is the share of the time that was saved: the loop still takes some")
        if grading.close(share, 100 * right, 1e-6) and right:
            raise Wrong("it returns percent: a share is a number from 0 to 1")
        if not grading.close(gain(min(share, 0.999), times), gained, 1e-3):
            raise Wrong(
                f"for a gain of {gained:g} with a loop {times:g} times as fast it gives "
                f"{share:.3g}, of which Amdahl's law makes a gain of {_gain_text(share, times)}"
            )
    return (
        "from two times of your application, one on each loop, you know what the loop's part in it "
        "is. A gain of 1 means that it has none"
    )


def _gain_text(share: float, times: float) -> str:
    rest = 1 - share + share / times
    return f"{1 / rest:.3g}" if rest > 0 and math.isfinite(rest) else "no size at all"
