"""Exercises of `01_unlimited_requests`."""

from __future__ import annotations

from labkit.spec import delays

from . import grading, schedules
from .register import Wrong, exercise

REQUESTS, LIMIT, MAX_DELAY_S = 100_000, 1_000, 3
BAND = (3.0, 12.0)
REPEATS = ((4.1, 4.4, 3.6), (2.1, 2.8, 2.6), (2.7, 3.3, 3.4), (5.0, 5.2), (2.0, 13.0, 2.5))
"""What the task gives: of each statement, the ratios that were measured."""
VERDICTS = ("holds", "refuted", "inconclusive")


@exercise("ex-01-1")
def published_time(answer: object) -> str:
    """Check the time of the published workload as the mean delay predicts it, in seconds."""
    rounds = REQUESTS / LIMIT
    mistakes = {
        rounds * MAX_DELAY_S: "that is rounds that wait for their slowest: must the others wait?",
        rounds: "that is a second for each round: randint(0,3) draws both ends, too. On average?",
        REQUESTS * MAX_DELAY_S / 2: "that is one after another",
    }
    seconds = grading.number(answer, "seconds")
    # Who asks the lab for the exact floor of a seed is right as well.
    grading.near(
        seconds, rounds * MAX_DELAY_S / 2, unit="seconds", tolerance=0.02, mistakes=mistakes
    )
    return (
        "four clients, and 153 to 155 s each: what differs between them is in the last three or "
        "four seconds, and the rest is the server's sleep"
    )


@exercise("ex-01-2")
def told_and_not_asking(answer: object) -> str:
    """Check a bounded strategy that neither polls nor holds a task for every item."""
    limit, waits = 5, [3.0, 1.0, 2.0, 1.0, 3.0, 2.0, 2.0, 1.0] * 5
    done = schedules.check_schedule(schedules.run(answer, limit=limit, delays=waits))
    if done.polled_turns:
        raise Wrong("it asks again and again while nothing has happened: let it be notified")
    if done.max_tasks > limit + 2:
        raise Wrong(
            f"{done.max_tasks} tasks existed at once for a limit of {limit}: when is one made?"
        )
    if done.wall_s > 1.02 * delays.floor_s(waits, limit):
        raise Wrong("places stood idle: it need not wait for more than one of them to be free")
    return (
        "the loop sleeps until a call has ended, and only as many tasks exist as are in flight: "
        "lean in memory as in CPU. It is what 2017 should have been"
    )


@exercise("ex-01-3")
def verdicts_of_repeats(answer: object) -> str:
    """Check the verdict that each row of repeats gives: holds, refuted or inconclusive."""
    words = grading.words(answer, len(REPEATS), among=VERDICTS, of="verdicts")
    for number, (word, repeats) in enumerate(zip(words, REPEATS, strict=True), start=1):
        if word != (right := _verdict(repeats)):
            raise Wrong(f"row {number}: {_why(repeats, word, right)}")
    return (
        "every repeat in the band, every repeat on one side of it, or no decision. It costs little "
        "to decide nothing, and much to decide wrongly"
    )


def _verdict(repeats: tuple[float, ...]) -> str:
    low, high = BAND
    if len(repeats) < 3:
        return VERDICTS[2]
    if low <= min(repeats) and max(repeats) <= high:
        return VERDICTS[0]
    return VERDICTS[1] if max(repeats) < low or min(repeats) > high else VERDICTS[2]


def _why(repeats: tuple[float, ...], word: str, right: str) -> str:
    if len(repeats) < 3:
        return "how many repeats are needed before anything is decided?"
    if right == VERDICTS[2]:
        return "do all of its repeats say the same, and from the same side of the band?"
    if word == VERDICTS[2]:
        return "all of its repeats say the same, so why leave it open?"
    return "look again at which side of the band's ends its repeats are"
