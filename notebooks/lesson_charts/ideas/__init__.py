"""Pictures of ideas: a module each, drawn from the numbers that a lesson gives it."""

from __future__ import annotations

from lesson_charts.ideas.semaphore import semaphores
from lesson_charts.ideas.slots import floor
from lesson_charts.ideas.stalls import omission
from lesson_charts.ideas.turn import turn
from lesson_charts.ideas.workers import workers

__all__ = ["floor", "omission", "semaphores", "turn", "workers"]
