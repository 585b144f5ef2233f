from __future__ import annotations


def since_sent(due: list[float], took: list[float]) -> list[float]:
    return took


def answered(due: list[float], took: list[float]) -> list[float]:
    found, free = [], 0.0
    for at, seconds in zip(due, took, strict=True):
        free = max(free, at) + seconds
        found.append(free)
    return found


def waited(due: list[float], took: list[float]) -> list[float]:
    ended = answered(due, took)
    return [end - at - seconds for end, at, seconds in zip(ended, due, took, strict=True)]


def never_idle(due: list[float], took: list[float]) -> list[float]:
    found, free = [], 0.0
    for at, seconds in zip(due, took, strict=True):
        free += seconds
        found.append(free - at)
    return found


def only_the_one_before(due: list[float], took: list[float]) -> list[float]:
    late = [0.0, *(max(0.0, one - 1) for one in took)]
    return [one + before for one, before in zip(took, late, strict=False)]


def a_sum(due: list[float], took: list[float]) -> float:
    return sum(took)


WRONG = [
    ("ex-11-3", since_sent, "latencies since sent"),
    ("ex-11-3", answered, "moments of the answers"),
    ("ex-11-3", waited, "that is the wait alone"),
    ("ex-11-3", never_idle, "before being due"),
    ("ex-11-3", only_the_one_before, "request by request"),
    ("ex-11-3", a_sum, "a list of as many"),
]
