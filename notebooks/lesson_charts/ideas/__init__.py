"""Pictures of ideas: a module each, drawn from the numbers that a lesson gives it."""

from __future__ import annotations

from lesson_charts.ideas.lines import pipeline
from lesson_charts.ideas.places import little
from lesson_charts.ideas.rounds import barrier
from lesson_charts.ideas.semaphore import semaphores
from lesson_charts.ideas.slots import floor
from lesson_charts.ideas.stalls import omission
from lesson_charts.ideas.tolerance import gate
from lesson_charts.ideas.turn import turn
from lesson_charts.ideas.workers import workers

__all__ = [
    "barrier",
    "floor",
    "gate",
    "little",
    "omission",
    "pipeline",
    "semaphores",
    "turn",
    "workers",
]
