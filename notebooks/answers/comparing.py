"""Exercises of `32_comparing`."""

from __future__ import annotations

from . import grading
from .register import exercise

CHANCE = 0.01
REPEATS, WIDE, NARROW = 5, 8.0, 2.0


@exercise("ex-32-1")
def repeats_against_chance(answer: object) -> str:
    """Check how many repeats all lie on one side by chance in fewer than one in a hundred cases."""
    right = next(n for n in range(1, 100) if 2.0 ** (1 - n) < CHANCE)
    mistakes = {
        right - 1: "that many all on *one given* side: there are two sides to fall on",
        right - 2: "it is still more than one in a hundred: count both sides",
        1 / CHANCE: "how many cases there are is not how many repeats: halve and halve again",
    }
    repeats = grading.whole(answer, "repeats")
    grading.near(repeats, right, unit="repeats", tolerance=1e-6, mistakes=mistakes)
    return (
        "two sides, and a half for each repeat: 2 x 0.5^8 is 0.8 %. It costs three repeats more "
        "than five, and no cleverness instead of them comes cheaper"
    )


@exercise("ex-32-2")
def repeats_for_a_width(answer: object) -> str:
    """Check how many repeats make an interval of five repeats four times narrower."""
    times = WIDE / NARROW
    mistakes = {
        REPEATS * times: "four times as many repeats halve the width: and you want a quarter",
        REPEATS * times**0.5: "the width falls more slowly than the repeats grow, not faster",
        times**2: "that is how many times as many: of how many repeats?",
    }
    repeats = grading.number(answer, "repeats")
    grading.near(repeats, REPEATS * times**2, unit="repeats", mistakes=mistakes)
    return (
        "sixteen times as many for a quarter of the width. Longer runs, or a quieter machine, are "
        "often the cheaper way"
    )
