"""Exercises of `04_loop_lag`."""

from __future__ import annotations

from . import grading
from .register import Wrong, exercise

LINES = range(1, 10)
HOLD_UP = {4, 6, 8}
CALLBACKS_MS, DUE_MS = (5.0, 30.0, 10.0), 20.0


@exercise("ex-04-1")
def lines_that_hold_up(answer: object) -> str:
    """Check the numbers of the lines that hold up the event loop."""
    if not isinstance(answer, set | frozenset | list | tuple):
        raise Wrong(
            f"the answer is {grading.kind(answer)}: give a set of line numbers, as in {{1}}"
        )
    lines = {grading.whole(one, "lines") for one in answer}
    if beyond := lines - set(LINES):
        raise Wrong(f"there is no line {min(beyond)}")
    if lines & {3, 5}:
        raise Wrong("one of yours gives way: while it waits, the loop does other things")
    if 7 in lines:
        raise Wrong("one of yours computes elsewhere: who does the work, and who waits for it?")
    if lines - HOLD_UP:
        raise Wrong("one of yours takes next to no time, whatever the size of the body")
    if missing := HOLD_UP - lines:
        more = "one more line" if len(missing) == 1 else f"{len(missing)} more lines"
        raise Wrong(f"right so far, and {more}: which calls take long and have no await?")
    return (
        "computing, sleeping and writing a file without an await all hold up everybody else. "
        "uvloop does not help: the loop is not even running meanwhile"
    )


@exercise("ex-04-2")
def lateness_of_a_timer(answer: object) -> str:
    """Check by how many milliseconds a timer is late that falls due within a turn."""
    first, second, _ = CALLBACKS_MS
    mistakes = {
        sum(CALLBACKS_MS): "that is when it is called: how long after it was due?",
        first + second - DUE_MS: "that is after the second callback: is the turn over by then?",
        second: "that is the longest callback: when in it is the timer due, and what comes after?",
    }
    late_ms = sum(CALLBACKS_MS) - DUE_MS
    given = grading.number(answer, "milliseconds")
    grading.near(given, late_ms, unit="milliseconds", mistakes=mistakes)
    return (
        "timers are looked at once in a turn, so that every callback of the turn adds to the lag: "
        "many short ones hold up the loop as a long one does"
    )
