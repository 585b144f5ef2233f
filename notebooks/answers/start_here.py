"""Exercises of `00_start_here`."""

from __future__ import annotations

from labkit.spec import delays

from . import grading, schedules
from .register import Wrong, exercise

WAITS_S, SLOTS = (3.0, 1.0, 2.0, 2.0, 1.0, 3.0), 2
FLOOR_S, MAX_REQUESTS = 2.0, 40


@exercise("ex-00-1")
def floor_by_hand(answer: object) -> str:
    """Check the floor of six items on two slots, in seconds."""
    batches_s = sum(max(pair) for pair in zip(WAITS_S[::2], WAITS_S[1::2], strict=True))
    mistakes = {
        sum(WAITS_S): "that is one after another: two requests may be in flight",
        sum(WAITS_S) / SLOTS: "that is all the waiting, halved: is there work for both to the end?",
        batches_s: "that is in pairs: must a free place wait until its neighbour is free, too?",
        max(WAITS_S): "that is with a place for each item: there are fewer places than items",
    }
    floor_s = delays.floor_s(WAITS_S, SLOTS)
    grading.near(grading.number(answer, "seconds"), floor_s, unit="seconds", mistakes=mistakes)
    return (
        "one place idles while the last item waits, so the floor is above the mean load of a "
        "place. The lab computes it in the same way, item by item"
    )


@exercise("ex-00-2")
def trial_of_a_floor(answer: object) -> str:
    """Check a trial whose floor is two seconds, with few requests and more than one at a time."""
    trial = grading.trial(answer)
    if trial.requests > MAX_REQUESTS:
        raise Wrong(f"it has {trial.requests:,} requests, and {MAX_REQUESTS} are allowed")
    if trial.limit < 2:
        raise Wrong("it makes one request at a time: give it a limit of at least two")
    if trial.limit >= trial.requests:
        raise Wrong("all its requests are in flight at once: give it fewer places than requests")
    if not trial.floor_s:
        raise Wrong("it has no floor, as its server answers at once: give it a delay")
    grading.near(trial.floor_s, FLOOR_S, unit="seconds", tolerance=1e-6)
    return (
        "there are requests / limit rounds, of one delay each. A client that needs 2.1 s for them "
        "has an efficiency of 95 %, whatever the machine"
    )


@exercise("ex-00-3")
def no_idle_place(answer: object) -> str:
    """Check a strategy that gives a free place to the next item at once."""
    limit, waits = 4, [1.0, 3.0, 1.0, 2.0, 3.0, 1.0, 1.0, 2.0, 3.0, 1.0, 2.0, 1.0, 3.0, 2.0]
    done = schedules.check_schedule(schedules.run(answer, limit=limit, delays=waits))
    if done.max_in_flight < limit:
        raise Wrong(f"at most {done.max_in_flight} of {limit} places were used at a time")
    floor_s = delays.floor_s(waits, limit)
    if done.wall_s > 1.02 * floor_s:
        raise Wrong(
            f"every item was fetched once, within the limit, at an efficiency of "
            f"{floor_s / done.wall_s:.0%}: a place stood idle while items were left"
        )
    if schedules.run(answer, limit=9, delays=[1.0, 2.0, 1.0]).wall_s > 2.1:
        raise Wrong("with fewer items than places it is slower than its longest item")
    return (
        "every item once, within the limit, and no place idle: at the floor. Who finishes first "
        "takes the next item, and nobody waits for a batch"
    )
