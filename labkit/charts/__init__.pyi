"""The public names of `labkit.charts`: the one list. `__init__.py` reads it; type checkers do."""

from labkit.charts.bar_chart import Rung as Rung
from labkit.charts.bar_chart import bars as bars
from labkit.charts.bar_chart import board as board
from labkit.charts.bar_chart import ladder as ladder
from labkit.charts.figure import Chart as Chart
from labkit.charts.interval_chart import forest as forest
from labkit.charts.kinds import plot as plot
from labkit.charts.line_chart import knee as knee
from labkit.charts.line_chart import latency as latency
from labkit.charts.line_chart import over_axis as over_axis
from labkit.charts.published_chart import Row as Row
from labkit.charts.published_chart import rows as rows
from labkit.charts.published_chart import throughput as throughput
from labkit.charts.published_chart import triptych as triptych
from labkit.charts.trial_chart import allocations as allocations
from labkit.charts.trial_chart import flame as flame
from labkit.charts.trial_chart import memory_over_time as memory_over_time
from labkit.charts.trial_chart import phases as phases
from labkit.charts.trial_chart import timeline as timeline
from labkit.charts.trial_chart import waterfall as waterfall

__all__: list[str]
