"""Exercises of `34_the_time_machine`."""

from __future__ import annotations

import re

from . import grading
from .register import Wrong, exercise

PUBLISHED_US, THEN_US, TODAY_US = 550.0, 220.0, 110.0
START_S, REQUEST_US, START_SHARE = 0.4, 200.0, 0.01
FIELDS = ("{url}", "{requests}", "{limit}")
OLD_PYTHONS = ("3.6", "3.7")


@exercise("ex-34-1")
def factors_of_hardware_and_software(answer: object) -> str:
    """Check by what factor hardware, and by what factor software, lowered the CPU of a request."""
    factors = [grading.number(one, "times") for one in grading.listed(answer, 2, "factors")]
    right = (PUBLISHED_US / THEN_US, THEN_US / TODAY_US)
    for which, factor, truth in zip(("hardware", "software"), factors, right, strict=True):
        mistakes = {
            1 / truth: f"{which}: which of the two is the larger? Divide that by the other",
            PUBLISHED_US / TODAY_US: f"{which}: that is both factors together",
        }
        try:
            grading.near(factor, truth, unit="times", mistakes=mistakes)
        except Wrong as wrong:
            says = str(wrong)
            raise Wrong(says if says.startswith(which) else f"{which}: {says}") from None
    return (
        "the middle figure shares its software with the first and its machine with the last, so it "
        "separates the two. Without it only their product is known"
    )


@exercise("ex-34-2")
def requests_that_hide_the_start(answer: object) -> str:
    """Check from how many requests on the start is at most one percent of a program's CPU."""
    requests = grading.number(answer, "requests")
    per_request = 1e6 * START_S / REQUEST_US
    mistakes = {
        per_request: "that many requests take as much as the start: it is half of all then",
        per_request / START_SHARE: "the whole is the start and the requests: what share is the "
        "start of both together",
    }
    right = per_request * (1 / START_SHARE - 1)
    grading.near(requests, right, unit="requests", tolerance=0.001, mistakes=mistakes)
    return (
        "a run as large as the published one hardly notices its start, and a short one is made of "
        "it. So compare CPU per request only where the start is left out, or is small in both"
    )


@exercise("ex-34-3")
def trial_in_the_software_of_then(answer: object) -> str:
    """Check a trial of a program on the Python and with a version of aiohttp of 2018."""
    trial = grading.trial(answer)
    asked = trial.switches
    if asked.program is None:
        raise Wrong("the lab's own client does not run on so old a Python: give it a `program`")
    missing = [field for field in FIELDS if field not in asked.program]
    if missing:
        raise Wrong(f"the program does not get {missing[0]}: put it among its arguments")
    if asked.python is None:
        raise Wrong("the program would run on the lab's own Python: which setting names another?")
    if not re.match(rf"({'|'.join(map(re.escape, OLD_PYTHONS))})(\.|$)", asked.python):
        raise Wrong(f"Python {asked.python} is not one that was usual in 2018")
    found = re.search(r"(?:^|\s)aiohttp==(\d+)\.(\d+)", asked.packages)
    if found is None:
        raise Wrong("any aiohttp would do: name a version in `packages`, with two equals signs")
    if not (3, 0) <= tuple(map(int, found.groups())) <= (3, 5):
        raise Wrong("that version of aiohttp is not of 2018")
    return (
        "three settings make a time machine: a program, a Python, and packages with their "
        "versions. The record names what was really in force"
    )
