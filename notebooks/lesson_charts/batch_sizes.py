"""The size of a batch against the round trips that it leaves, and the latency that it gives."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes

import labkit as lab
from labkit.charts import Chart, axes, style

_PANEL_IN = 2.7
_LOG_FROM = 10
_HOW = "Lines join the medians, dots are the repeats."


@dataclass(frozen=True, kw_only=True)
class Batched:
    """One run: `calls` in batches of at most `size`, `at_once` callers at a time; seconds."""

    size: int
    calls: int
    at_once: int
    round_trips: int
    p50_s: float
    p99_s: float


@style.applied()
def batches(runs: Sequence[Batched], delay_s: float) -> Chart:
    """Two panels over the size, a line for each number of callers: round trips, and latency.

    `delay_s` is how long a batch waits to be filled. Raises `BadInput` without any run.
    """
    if not runs:
        raise lab.BadInput("there is nothing to draw: no run was made in batches; run some first")
    title = "Round trips and latency over the size of a batch"
    chart = Chart(
        title=title,
        alt=f"{title}. {_words(runs)}.",
        height_in=2 * _PANEL_IN + 0.6,
        notes=[
            f"{_HOW} A batch is sent when it is full, or {delay_s * 1e3:g} ms after its first key: "
            "fewer callers at a time than a batch holds wait for that delay, and save no more."
        ],
    )
    trips, latency = chart.body.subplots(2, 1, sharex=True)
    for index, at_once in enumerate(sorted({run.at_once for run in runs})):
        shown = [run for run in runs if run.at_once == at_once]
        _draw(trips, shown, lambda run: run.round_trips, f"{at_once:,} at a time", index, "-")
        _draw(latency, shown, lambda run: run.p50_s * 1e3, f"{at_once:,}, p50", index, "-")
        _draw(latency, shown, lambda run: run.p99_s * 1e3, f"{at_once:,}, p99", index, "--")
    _least(trips, runs)
    latency.axhline(delay_s * 1e3, color=style.INK, linestyle=":", label="delay of a batch")
    trips.set_ylabel("round trips,\nlogarithmic")
    trips.set_yscale("log")
    wide = axes.spans([run.round_trips for run in runs], 1_000)
    axes.logarithmic(trips.yaxis, marks=(1,) if wide else (1, 2, 5))
    latency.set_ylabel("latency (ms)")
    _up(latency, [value for run in runs for value in (run.p50_s, run.p99_s)])
    _along(latency, sorted({run.size for run in runs}))
    for ax in (trips, latency):
        axes.legend_outside(ax)
    chart.body.align_ylabels([trips, latency])
    return chart


def _draw(
    ax: Axes,
    runs: Sequence[Batched],
    of: Callable[[Batched], float],
    label: str,
    index: int,
    dashes: str,
) -> None:
    look = {**style.line(index), "linestyle": dashes}
    sizes = sorted({run.size for run in runs})
    values = {size: axes.finite([of(run) for run in runs if run.size == size]) for size in sizes}
    known = [size for size in sizes if values[size]]
    medians = [statistics.median(values[size]) for size in known]
    ax.plot(known, medians, label=label, linewidth=2.2, markersize=7, **look)
    for size in known:
        dots = [size] * len(values[size])
        ax.plot(dots, values[size], "o", color=look["color"], markersize=4.5, alpha=0.4)


def _least(ax: Axes, runs: Sequence[Batched]) -> None:
    """The fewest round trips that there can be."""
    sizes, calls = sorted({run.size for run in runs}), max(run.calls for run in runs)
    least = [-(-calls // size) for size in sizes]
    ax.plot(sizes, least, ":", color=style.INK, linewidth=1.6, label="calls / size")


def _up(ax: Axes, seconds: Sequence[float]) -> None:
    if axes.spans(axes.finite(seconds), _LOG_FROM):
        ax.set_yscale("log")
        axes.logarithmic(ax.yaxis)
        ax.set_ylabel("latency (ms),\nlogarithmic")
    else:
        axes.linear(ax.yaxis, most=6)
        axes.from_zero(ax)


def _along(ax: Axes, sizes: Sequence[int]) -> None:
    ax.set_xlabel("size of a batch (keys at most)")
    if axes.spans(sizes, _LOG_FROM):
        ax.set_xscale("log")
        axes.logarithmic(ax.xaxis)
    ax.set_xticks(sizes, [axes.tick_text(size) for size in sizes])


def _words(runs: Sequence[Batched]) -> str:
    found: dict[tuple[int, int], list[int]] = {}
    for run in runs:
        found.setdefault((run.at_once, run.size), []).append(run.round_trips)
    return "; ".join(
        f"{at_once:,} at a time in batches of {size:,}: {statistics.median(trips):,g} round trips"
        for (at_once, size), trips in sorted(found.items())
    )
