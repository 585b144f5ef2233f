"""Exercises of `20_your_own_service`."""

from __future__ import annotations

import json

from . import grading
from .register import Wrong, exercise

WORDS = ("regression", "improvement", "no difference shown", "inconclusive")
SHOWN = ("regression", "inconclusive", "no difference shown", "improvement")
THINK_OF = (
    "throughput: is all of the interval on one side of the tolerance, and is less of it better?",
    "p99: which ratios does the interval allow? Are some of them within the tolerance?",
    "memory: is some of the interval outside of the tolerance?",
    "p50: is all of the interval on one side of the tolerance, and is less of it worse?",
)
ITEM, RATE = 7, 50


@exercise("ex-20-1")
def words_of_ratios(answer: object) -> str:
    """Check what four ratios to a baseline show, with a tolerance of 5 %."""
    grading.match_words(answer, SHOWN, THINK_OF, among=WORDS)
    return (
        "only an interval decides that lies wholly on one side. The ratio alone says nothing: the "
        "p99 is 12 % higher here, and may be lower"
    )


@exercise("ex-20-2")
def orders_at_a_rate(answer: object) -> str:
    """Check a trial that posts an order for each item, at a rate."""
    from labkit.launch import request_files

    trial = grading.trial(answer)
    request = request_files.asked(trial).requests[0].at(ITEM)
    if request.method != "POST":
        raise Wrong(f"the method is {request.method}: an order is posted")
    if request.path != "/orders":
        raise Wrong(f"the path is {grading.shown(request.path)}: orders go to another one")
    headers = {name.lower(): value for name, value in request.headers.items()}
    if headers.get("x-team") != "blue":
        raise Wrong("no header names the team: how does curl send one?")
    try:
        sent = json.loads(request.body or b"")
    except ValueError:
        raise Wrong("the body is no JSON: which setting takes some?") from None
    if sent == {"order": str(ITEM)}:
        raise Wrong("the number of the order is a text: write the JSON as text, without its quotes")
    if sent != {"order": ITEM}:
        raise Wrong(f"item {ITEM} sends {grading.shown(sent)}: the order is to have its number")
    if trial.workload.rate != RATE:
        raise Wrong("the requests do not come at the rate that is asked for")
    return (
        "each request is made when it is due, whether or not the one before was answered, as "
        "customers do. The header and the number are part of the trial, and so of its record"
    )
