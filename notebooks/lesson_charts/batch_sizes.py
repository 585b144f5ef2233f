"""The size of a batch against the round trips that it leaves, and the latency that it gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

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
    """Draw two panels over the size, a line for each number of callers: round trips, and latency.

    `delay_s` is how long a batch waits to be filled. Raises `BadInput` without any run.
    """
    if not runs:
        raise lab.BadInput("there is nothing to draw: no run was made in batches; run some first")
    frame = pd.DataFrame(runs)
    medians = frame.groupby(["at_once", "size"], as_index=False)["round_trips"].median()
    chart = Chart(
        title="Round trips and latency over the size of a batch",
        parts=(
            f"{at_once:,} at a time in batches of {size:,}: {count:,g} round trips"
            for at_once, size, count in medians.itertuples(index=False)
        ),
        height_in=2 * _PANEL_IN + 0.6,
        notes=[
            f"{_HOW} A batch is sent when it is full, or {delay_s * 1e3:g} ms after its first key: "
            "fewer callers at a time than a batch holds wait for that delay, and save no more."
        ],
    )
    trips, latency = chart.body.subplots(2, 1, sharex=True)
    for index, at_once in enumerate(sorted(set(frame["at_once"]))):
        rows = frame[frame["at_once"] == at_once]
        look = {**style.line(index), "linestyle": "-"}
        dashed = {**look, "linestyle": "--"}
        axes.medians(trips, rows["size"], rows["round_trips"], f"{at_once:,} at a time", look)
        axes.medians(latency, rows["size"], rows["p50_s"] * 1e3, f"{at_once:,}, p50", look)
        axes.medians(latency, rows["size"], rows["p99_s"] * 1e3, f"{at_once:,}, p99", dashed)
    sizes = sorted(set(frame["size"]))
    fewest = [-(-max(frame["calls"]) // size) for size in sizes]
    bound = {"color": style.INK, "linestyle": ":"}
    trips.plot(sizes, fewest, linewidth=1.6, label="calls / size", **bound)
    latency.axhline(delay_s * 1e3, label="delay of a batch", **bound)
    axes.scale(trips, "y", list(frame["round_trips"]), "round trips", log_from=1, most=6)
    in_ms = [1e3 * value for value in axes.finite([*frame["p50_s"], *frame["p99_s"]])]
    axes.scale(latency, "y", in_ms, "latency (ms)", log_from=_LOG_FROM, most=6)
    label = "size of a batch (keys at most)"
    axes.scale(latency, "x", sizes, label, log_from=_LOG_FROM, most=len(sizes))
    latency.set_xticks(sizes, [axes.tick_text(size) for size in sizes])
    for ax in (trips, latency):
        axes.legend_outside(ax)
    chart.body.align_ylabels([trips, latency])
    return chart
