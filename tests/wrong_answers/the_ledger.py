from __future__ import annotations

STATUSES = ["holds", "inconclusive", "refuted", "inconclusive", "inconclusive", "holds"]
CLAIM = """
[[claim]]
id = "connector-limit"
source = "own"
says = "No more than seven"

[[claim.check]]
says = "Most in flight at the server"
measure = "server_max_in_flight"
of = { limit = 50, delay = "0.01", requests = 500, "transport.limit" = 7 }
at_most = 7
exact = true
"""


def but(place: int, word: str) -> list[str]:
    return [*STATUSES[: place - 1], word, *STATUSES[place:]]


def spoilt(right: str, wrong: str) -> str:
    assert right in CLAIM
    return CLAIM.replace(right, wrong)


WRONG = [
    ("ex-12-1", but(1, "inconclusive"), "row 1"),
    ("ex-12-1", but(2, "holds"), "row 2"),
    ("ex-12-1", but(3, "inconclusive"), "row 3"),
    ("ex-12-1", but(3, "holds"), "row 3: both ends of the interval are below the band"),
    ("ex-12-1", but(6, "refuted"), "row 6: both ends of the interval are within the band"),
    ("ex-12-1", but(4, "holds"), "without an interval"),
    ("ex-12-1", but(5, "refuted"), "row 5: if it is refuted"),
    ("ex-12-1", but(6, "yes"), "choose one of"),
    ("ex-12-2", 21.46, "none of them misses"),
    ("ex-12-2", 1.5, "on average"),
    ("ex-12-2", 150, "more than the whole"),
    ("ex-12-2", 5, "for one of them"),
    ("ex-12-2", 0.785, "give percent"),
    ("ex-12-3", 7, "as text"),
    ("ex-12-3", "", "the lab refuses it"),
    ("ex-12-3", spoilt("at_most = 7", "at_most = seven"), "the lab refuses it"),
    ("ex-12-3", spoilt("exact = true", "exakt = true"), "did you mean 'exact'"),
    ("ex-12-3", spoilt("exact = true\n", ""), "every run"),
    ("ex-12-3", spoilt("server_max_in_flight", "wall_s"), "it measures 'wall_s'"),
    ("ex-12-3", spoilt("at_most = 7", "at_most = 50"), "ends elsewhere"),
    ("ex-12-3", spoilt("at_most = 7", "at_least = 7"), "ends elsewhere"),
    ("ex-12-3", spoilt('"transport.limit" = 7', '"transport.limit" = 70'), "another limit"),
    ("ex-12-3", spoilt("limit = 50", "limit = 5"), "no more requests at a time"),
    ("ex-12-3", spoilt('delay = "0.01", ', ""), "answers at once"),
    ("ex-12-3", CLAIM + CLAIM.replace("connector-limit", "other"), "2 claims"),
]
