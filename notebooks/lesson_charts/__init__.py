"""What single lessons alone need: charts of labkit's kind, and a correction. Cells import them."""

from __future__ import annotations

from labkit.charts import forest
from lesson_charts import ideas
from lesson_charts.amdahl import by_share
from lesson_charts.batch_sizes import Batched, batches
from lesson_charts.changes import Stage, changes
from lesson_charts.charges import charged_ratio
from lesson_charts.classes import by_class
from lesson_charts.codings import Coded, break_even, break_even_rate, codecs, coded
from lesson_charts.drift import in_order
from lesson_charts.held import held, holding, source
from lesson_charts.judging import decided, decisions, judged
from lesson_charts.omission import corrected
from lesson_charts.schedule import delays_of, makespan
from lesson_charts.server_log import turns
from lesson_charts.sleeps import on_loop, sleep_chart, slept

__all__ = [
    "Batched",
    "Coded",
    "Stage",
    "batches",
    "break_even",
    "break_even_rate",
    "by_class",
    "by_share",
    "changes",
    "charged_ratio",
    "codecs",
    "coded",
    "corrected",
    "decided",
    "decisions",
    "delays_of",
    "forest",
    "held",
    "holding",
    "ideas",
    "in_order",
    "judged",
    "makespan",
    "on_loop",
    "sleep_chart",
    "slept",
    "source",
    "turns",
]
