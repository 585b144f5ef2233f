"""Exercises of `33_the_ledger`."""

from __future__ import annotations

import math
import re

import labkit as lab
from labkit.studies import study_file
from labkit.studies.parts import Check
from labkit.studies.study_file import StudyFile

from . import grading
from .register import Wrong, exercise

STATUSES = ("holds", "refuted", "inconclusive")
FOUND: tuple[tuple[tuple[float, float] | None, tuple[float, float]], ...] = (
    ((1.10, 1.60), (1.05, math.inf)),
    ((0.98, 1.30), (1.05, math.inf)),
    ((1.01, 1.04), (1.05, math.inf)),
    (None, (1.05, math.inf)),
    ((1.70, 2.10), (1.80, 2.20)),
    ((0.40, 0.70), (-math.inf, 0.80)),
)
"""Of each row the interval, which four repeats have not, and the band."""
INTERVALS, LEVEL = 30, 0.95
MAX_IN_FLIGHT, MEASURE = 7, "server_max_in_flight"
HEAD = """
id = "mine"
title = "A claim of my own"
about = "A claim of my own."
chart = "forest"
source = { own = "I have heard it said" }
scale = { smoke = { repeats = 5 }, workshop = { repeats = 10 }, paper = { repeats = 20 } }
"""
"""As the notebook gives it: an answer may come with it or without."""
_HAS_HEAD = re.compile(r"^\s*scale\b", re.MULTILINE)


def status(interval: tuple[float, float] | None, band: tuple[float, float]) -> str:
    """Return what an interval decides."""
    if interval is None:
        return "inconclusive"
    if band[0] <= interval[0] and interval[1] <= band[1]:
        return "holds"
    return "refuted" if interval[1] < band[0] or interval[0] > band[1] else "inconclusive"


@exercise("ex-33-1")
def statuses_of_intervals(answer: object) -> str:
    """Check the status that follows from each interval and its band."""
    words = grading.words(answer, len(FOUND), among=STATUSES, of="statuses")
    for number, (word, (interval, band)) in enumerate(zip(words, FOUND, strict=True), start=1):
        if word != status(interval, band):
            raise Wrong(f"row {number}: {_why(interval, band, word)}")
    return (
        "row 3 is a real gain, above 1 in any case, and refutes the claim all the same: what was "
        "claimed is more. And *inconclusive* is not a weak *holds*"
    )


def _why(interval: tuple[float, float] | None, band: tuple[float, float], word: str) -> str:
    if interval is None:
        return "what may be decided without an interval?"
    if word == "inconclusive":
        return "both ends of the interval are on the same side of the band's edges, or within"
    if (right := status(interval, band)) == "inconclusive":
        claimed = "holds" if word == "holds" else "is refuted"
        return f"if it {claimed}, what of the interval's other end?"
    if right == "holds":
        return "both ends of the interval are within the band: what is there that refutes it?"
    side = "below" if interval[1] < band[0] else "above"
    return f"both ends of the interval are {side} the band: is what it shows what was claimed?"


@exercise("ex-33-2")
def at_least_one_misses(answer: object) -> str:
    """Check how often at least one of many intervals misses, in percent."""
    none = LEVEL**INTERVALS
    mistakes = {
        100 * none: "that is how often none of them misses",
        INTERVALS * (1 - LEVEL): "that is how many miss on average",
        100
        * INTERVALS
        * (1 - LEVEL): "shares add up to more than the whole: multiply what is left",
        100 * (1 - LEVEL): "that is for one of them",
        1 - none: "as a share of 1 that is right: give percent",
    }
    percent = grading.number(answer, "percent")
    grading.near(percent, 100 * (1 - none), unit="percent", mistakes=mistakes)
    return (
        "in four ledgers of five there is a miss, though each interval keeps its promise. So check "
        "a surprise again, alone, before you tell anyone: it seldom misses twice"
    )


@exercise("ex-33-3")
def claim_that_counts(answer: object) -> str:
    """Check a claim in TOML: a connector's limit bounds what the server has in flight."""
    if not isinstance(answer, str):
        raise Wrong(f"the answer is {grading.kind(answer)}: give the entry as text, in TOML")
    study = _parsed(answer)
    checks = [check for claim in study.claims for check in claim.checks if check.decides]
    if len(study.claims) != 1 or len(checks) != 1:
        found = f"{len(study.claims)} claims with {len(checks)} checks"
        raise Wrong(f"it holds {found}: write one of each")
    _check_count(checks[0])
    plan = study.plan("smoke", 2)
    [judged] = [one for one in plan.judged[study.claims[0].id] if one.check.decides]
    arm = plan.arms[judged.of[0]]
    if not isinstance(arm, lab.Trial):
        raise Wrong("it asks for an experiment in code: a trial can show it")
    _check_arm(arm)
    return (
        "a count needs no interval: it holds where every run is in the band, and one run outside "
        "is enough against it. Write HEAD + text to mine.toml, run "
        "`await lab.reproduce('mine.toml')`, and then do so with a band that it breaks"
    )


def _parsed(text: str) -> StudyFile:
    try:
        return study_file.parse(text if _HAS_HEAD.search(text) else HEAD + text)
    except lab.BadInput as error:
        raise Wrong(f"the lab refuses it: {' '.join(str(error).split())}") from None


def _check_count(check: Check) -> None:
    if check.measure != MEASURE:
        raise Wrong(f"it measures {check.measure!r}: what is it that the limit bounds, and where?")
    if check.is_ratio or not check.exact:
        raise Wrong(
            "it is judged by an interval: how does an entry say that every run must lie in?"
        )
    if not MAX_IN_FLIGHT <= check.band[1] < MAX_IN_FLIGHT + 1:
        raise Wrong("its band ends elsewhere than the sentence says")
    if check.band[0] > MAX_IN_FLIGHT:
        raise Wrong("its band begins above what the sentence allows")


def _check_arm(trial: lab.Trial) -> None:
    if getattr(trial.transport, "limit", None) != MAX_IN_FLIGHT:
        raise Wrong("the connector of its arm has another limit: which setting is the connector's?")
    if min(trial.limit, trial.requests) <= MAX_IN_FLIGHT:
        raise Wrong("its arm begins no more requests at a time than that: what bounds them then?")
    if not trial.floor_s:
        raise Wrong(
            "its server answers at once: are there ever that many at a time? Let it take time"
        )
