from __future__ import annotations


def best(rates: dict[int, float]) -> int:
    return max(rates, key=lambda limit: rates[limit])


def half(rates: dict[int, float]) -> int:
    return min(limit for limit, rate in rates.items() if rate >= 0.5 * max(rates.values()))


def between(rates: dict[int, float]) -> int:
    return 7


def half_a_request(rates: dict[int, float]) -> float:
    return 4.5


def turns_for_ever(rates: dict[int, float]) -> int:
    raise RecursionError("too deep")


WRONG = [
    ("ex-05-3", best, "a smaller limit does about as well"),
    ("ex-05-3", half, "more than 5 % below the best"),
    ("ex-05-3", between, "none of the limits"),
    ("ex-05-3", half_a_request, "come in whole numbers"),
    ("ex-05-3", turns_for_ever, "raised RecursionError"),
]
