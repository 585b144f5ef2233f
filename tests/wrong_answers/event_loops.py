from __future__ import annotations

WRONG = [
    ("ex-03-2", lambda gain, k: 1 - 1 / gain, "share of the time that was saved"),
    ("ex-03-2", lambda gain, k: 100 * (1 - 1 / gain) / (1 - 1 / k), "returns percent"),
    ("ex-03-2", lambda gain, k: gain / k, "Amdahl's law makes a gain of"),
    ("ex-03-2", lambda gain, k: 50.0, "Amdahl's law makes a gain of"),
    ("ex-03-2", lambda gain: gain, "raised TypeError"),
    ("ex-03-2", lambda gain, k: None, "still to be written"),
    ("ex-03-2", lambda gain, k: "0.5", "without quotes"),
    ("ex-03-3", {4, 6}, "one more line"),
    ("ex-03-3", {4}, "2 more lines"),
    ("ex-03-3", set(), "3 more lines"),
    ("ex-03-3", {3, 4, 6, 8}, "gives way"),
    ("ex-03-3", {4, 6, 7, 8}, "computes elsewhere"),
    ("ex-03-3", {2, 4, 6, 8}, "next to no time"),
    ("ex-03-3", {4, 6, 8, 12}, "no line 12"),
]
