"""Where time goes: a timeline, requests as a waterfall or by phase, and a profile as flames."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, zip_longest
from typing import Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from labkit import paths, stats
from labkit.charts import axes, figure, style
from labkit.charts.bar_chart import FLOOR
from labkit.errors import BadInput
from labkit.profiler.callgraph import LEAST, MAX_DEPTH, CallGraph
from labkit.record.record import Record, Timeline
from labkit.record.requests import PHASES
from labkit.spec.delays import parse_stages
from labkit.spec.validation import refusal

_PANEL_IN = 1.4
# How many letters of the names of stages fit beside each other, or of a program in a line.
_STAGE_LETTERS = 80


@dataclass(frozen=True, kw_only=True)
class _Panel:
    """One panel of a timeline: a column of it for each line, by the line's label."""

    label: str
    unit: str
    lines: Mapping[str, str]
    scale: float = 1.0
    optional: bool = False

    def is_known(self, data: Timeline) -> bool:
        """Return True if anything of it was measured."""
        return any(axes.finite(getattr(data, column)) for column in self.lines.values())

    def peaks(self, data: Timeline) -> str:
        """Return the greatest value of each line in words."""
        texts = []
        for label, column in self.lines.items():
            values = axes.finite(getattr(data, column))
            most = stats.number(max(values) * self.scale) if values else stats.NOT_MEASURED
            side = f"{label} " if len(self.lines) > 1 else ""
            texts.append(f"{side}{self.label} at most {most} {self.unit}")
        return ", ".join(texts)


_TABLES = paths.table("charts.toml")
_PANELS = [_Panel(**row) for row in _TABLES["timeline"]]


@style.applied()
def timeline(record: Record) -> figure.Chart:
    """Draw five panels on one time axis, which starts where the strategy or program was started.

    Of a program only those of which something is known.

    Raises `BadInput` for a record without a timeline.
    """
    data = record.timeline
    if not data.t_s:
        raise refusal("no-timeline", id=record.id, probes=record.trial.get("probes"))
    title = figure.shared_conditions(stats.frame([record]), strategy=True)
    program = bool(record.trial.get("program"))
    # Only of a program are there open connections over time, and of one client percentiles.
    listed = [one for one in _PANELS if one.is_known(data) or not (program or one.optional)]
    peaks = ", ".join(panel.peaks(data) for panel in listed)
    messages = [f"{note.code}: {note.message}" for note in record.warnings]
    trusted = figure.verdicts([figure.Trust(label=record.id, verdict=record.verdict)])
    chart = figure.Chart(
        title=title,
        alt=f"Timeline of {title}, {data.t_s[-1]:.3g} s. {peaks}.",
        height_in=_PANEL_IN * len(listed) + 1,
        notes=[*trusted, *dict.fromkeys(messages)],
    )
    panels = list(chart.body.subplots(len(listed), 1, sharex=True, squeeze=False)[:, 0])
    workload = record.trial.get("workload", {})
    staged = workload.get("stages")
    limit = None if workload.get("stages_of") == "limit" else workload.get("limit")
    for ax, panel in zip(panels, listed, strict=True):
        for (label, column), colour in zip(panel.lines.items(), style.PALETTE, strict=False):
            values = getattr(data, column)
            if known := axes.finite(values):
                shown = [math.nan if v is None else v * panel.scale for v in values]
                says = f"{label}, at most {stats.number(max(known) * panel.scale)}"
                ax.plot(data.t_s, shown, color=colour, label=says, linewidth=1.8)
        ax.set_ylabel(f"{panel.label}\n{panel.unit}")
        axes.linear(ax.yaxis, most=4)
        ax.grid(color=style.PALE)
        if not ax.lines:
            axes.not_measured(ax)
            continue
        if panel.label == "in flight" and limit:
            ax.axhline(limit, color=style.INK, linestyle=":", label=f"limit {limit:,}")
        if record.floor_s:
            name = "floor" if panel.label == "so far" else "_floor"
            ax.axvline(record.floor_s, **{**FLOOR, "label": name})
        axes.legend_outside(ax)
        axes.from_zero(ax)
    at_s, above = 0.0, panels[0].get_xaxis_transform()
    stages = zip_longest(parse_stages(staged) if staged else (), record.stages)
    for n, (stage, met) in enumerate(stages, 1):
        for ax in panels:
            ax.axvline(at_s, color=style.INK, linewidth=0.8)
        name, room = stage.name or str(n), int(_STAGE_LETTERS * stage.lasts_s / (data.t_s[-1] or 1))
        whole = f"{name}: {stats.number(met.achieved_rps)}/s" if met else name
        text = whole if len(whole) <= room else fitted(name, room)
        panels[0].text(at_s, 1.02, f" {text}", transform=above, ha="left")
        at_s += stage.lasts_s
    axes.linear(panels[-1].xaxis, most=10)
    panels[-1].set_xlim(0, data.t_s[-1] or 1)
    panels[-1].set_xlabel(f"seconds since the {'program' if program else 'strategy'} was started")
    chart.body.align_ylabels(panels)
    return chart


@style.applied()
def memory_over_time(records: Mapping[str, Record]) -> figure.Chart:
    """Draw the memory of programs over time, a colour for each, by its label.

    Raises `BadInput` where none has a timeline.
    """
    metric, lines, trusts = stats.metric("memory"), dict[str, Line2D](), list[figure.Trust]()
    for (label, record), colour in zip(records.items(), style.PALETTE, strict=False):
        sizes = [math.nan if v is None else v for v in record.timeline.client_rss_bytes]
        if known := axes.finite(sizes):
            trusts.append(figure.Trust(label=label, verdict=record.verdict))
            shown, peak = [metric.scale * one for one in sizes], metric.format(max(known))
            line = Line2D(record.timeline.t_s, shown, color=colour, linewidth=1.8)
            lines[f"{label} at most {peak}"] = line
    if not lines:
        raise refusal("no-timeline", id=[one.id for one in records.values()], probes=None)
    chart = figure.Chart(
        title="Memory over time",
        parts=lines,
        height_in=4.4,
        notes=figure.verdicts(trusts),
        legend=[(line, says[-_STAGE_LETTERS:]) for says, line in lines.items()],
    )
    ax = chart.body.subplots()
    for line in lines.values():
        ax.add_line(line)
    ax.set(xlabel="seconds since the program was started", ylabel=f"memory ({metric.unit})")
    ax.autoscale_view()
    axes.from_zero(ax)
    ax.grid(color=style.PALE)
    return chart


# Where requests spent their time: bars of one phase behind the other.

PHASES_LOOKS = {name: style.Look(**row) for name, row in _TABLES["phases"].items()}
# Requests in each panel of a waterfall.
_MAX_FIRST, _MAX_LATER = 20, 14
_ROW_IN, _BAR_IN = 0.24, 0.55
# Share of the longest bar from which on a part has room for its number.
_MIN_LABELLED = 0.07


def _stack(
    ax: Axes, row: int, start_s: float, spent_s: Sequence[float], labelled_s: float = math.inf
) -> float:
    """Draw the phases of a row one behind the other; return where they end, in milliseconds.

    Those of at least `labelled_s` have their number on them.
    """
    at_ms = start_s * 1e3
    for phase, seconds in zip(PHASES, spent_s, strict=True):
        took_ms = seconds * 1e3
        ax.barh(row, took_ms, 0.74, at_ms, **PHASES_LOOKS[phase].fill)
        if seconds >= labelled_s:
            middle, text = at_ms + took_ms / 2, stats.number(took_ms)
            ax.text(middle, row, text, ha="center", va="center", color=style.ON_FILL)
        at_ms += took_ms
    return at_ms


def _in_words(label: str, spent_s: Sequence[float]) -> str:
    spent = zip(PHASES, spent_s, strict=True)
    return f"{label}: {', '.join(f'{name} {stats.number(s * 1e3)}' for name, s in spent if s)} ms"


def _legend(rows: Iterable[Sequence[float]]) -> list[tuple[Artist, str]]:
    """Return the colours of those phases in which any of the rows spent time."""
    columns = zip(PHASES, zip(*rows, strict=True), strict=True)
    return style.legend(PHASES_LOOKS[phase] for phase, column in columns if any(column))


@style.applied()
def waterfall(record: Record) -> figure.Chart:
    """Draw the phases of whole requests: the first on one axis of time, later ones each from 0.

    Raises `BadInput` for a record whose requests were not traced.
    """
    if record.phases is None:
        raise refusal("no-phases")
    frame = stats.frame([record])
    first, later = record.phases.sample[:_MAX_FIRST], record.phases.sample[_MAX_FIRST:]
    later = later[:: -(-len(later) // _MAX_LATER) or 1]
    shown = [*first, *later]
    heights = [_ROW_IN * len(rows) + 0.9 for rows in (first, later) if rows]
    said = paths.sentence(f"waterfall{'-crosses' if any(one.failed for one in shown) else ''}")
    chart = figure.Chart(
        title=f"Phases of {figure.shared_conditions(frame, strategy=True)}",
        parts=(_in_words(f"item {one.item:,}", one.spent_s) for one in first),
        height_in=sum(heights) + 0.7,
        notes=[said, *figure.verdicts([figure.trust(record.id, frame)])],
        legend=_legend(one.spent_s for one in shown),
    )
    panels = chart.body.subplots(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
    of_first = (first, "The first requests", "time since the first request began (ms)")
    of_later = (later, "An even sample of those behind them", "time since each began (ms)")
    for ax, (rows, title, label) in zip(panels, (of_first, of_later), strict=False):
        for row, one in enumerate(rows):
            end_ms = _stack(ax, row, one.began_s if rows is first else 0.0, one.spent_s)
            axes.beside(ax, end_ms, row, stats.number(1e3 * sum(one.spent_s)))
            if one.failed:
                ax.plot([end_ms], [row], marker="X", color=style.INK, mec="white", markersize=11)
        axes.rows(ax, [f"{one.item:,}" + ("" if one.reused else " \N{BULLET}") for one in rows])
        axes.linear(ax.xaxis, most=10)
        ax.set(title=title, xlabel=label, ylabel="item")
        ax.set_xlim(0, 1.08 * ax.dataLim.x1)
    return chart


@style.applied()
def phases(records_by_label: Mapping[str, Sequence[Record]]) -> figure.Chart:
    """Draw a stacked bar for each label: its mean latency over all its requests, split by phase.

    Raises `BadInput` where no record was traced.
    """
    arms = {label: stats.frame(records) for label, records in records_by_label.items()}
    means_s, any_traced = dict[str, list[float]](), False
    for label, records in records_by_label.items():
        traced = [record.phases for record in records if record.phases is not None]
        any_traced = any_traced or bool(traced)
        requests = sum(one.n for one in traced)
        if requests:
            sums_s = [[one.n * getattr(one.spent_s, of).mean for one in traced] for of in PHASES]
            means_s[label] = [sum(of_phase) / requests for of_phase in sums_s]
    if not means_s:
        raise refusal("none-traced" if any_traced else "no-phases")
    left_out = [label for label in arms if label not in means_s]
    unseen = figure.not_drawn("as no request was traced and succeeded", left_out)
    chart = figure.Chart(
        title="Mean latency by phase",
        parts=(_in_words(*bar) for bar in means_s.items()),
        height_in=_BAR_IN * len(means_s) + 1.5,
        notes=figure.about(arms, paths.sentence("phases"), more=unseen),
        legend=_legend(means_s.values()),
    )
    ax = chart.body.subplots()
    longest_s = max(map(sum, means_s.values()))
    for row, means in enumerate(means_s.values()):
        end_ms = _stack(ax, row, 0.0, means, _MIN_LABELLED * longest_s)
        axes.beside(ax, end_ms, row, f"{stats.number(end_ms)} ms", 6)
    axes.rows(ax, list(means_s))
    axes.linear(ax.xaxis, most=10)
    ax.set(xlim=(0, longest_s * 1e3 * 1.16 or 1), xlabel="mean latency (ms)")
    return chart


# A flame chart of a call graph: what each task's time consists of, callers above callees.

_BLOCK_IN = 0.34
# How many letters fit into the whole width, at this size.
_LETTERS = 105
_LETTERS_PT = 12
COROUTINE = style.Look(label="coroutine", face=style.SKY)
FUNCTION = style.Look(label="plain function", face="#F2D7A0")


@style.applied()
def flame(graph: CallGraph, title: str) -> figure.Chart:
    """Draw blocks of time, depth by depth, each depth from its largest block to its smallest.

    Raises `BadInput` where nothing took any time.
    """
    blocks = graph.blocks()
    if not blocks:
        raise BadInput("there is nothing to draw: the profiler saw no function that took any time")
    whole_s = sum(took_s for _, took_s in graph.roots())
    depths = 1 + max(block.depth for block in blocks)
    own_s = sum(one.self_s for one in graph.functions) or 1.0
    longest = sorted(graph.functions, key=lambda one: -one.self_s)[:5]
    shares = [f"{one.name} {one.self_s / own_s:.0%}" for one in longest]
    chart = figure.Chart(
        title=title,
        alt=f"{title}, by the clock {graph.clock}. Own time: {'; '.join(shares)}.",
        height_in=_BLOCK_IN * depths + 1.5,
        notes=[paths.sentence(f"flame-{graph.clock}"), paths.sentence("flame")],
        legend=style.legend([COROUTINE, FUNCTION]),
    )
    what = "time of tasks (s)" if graph.clock == "wall" else "time on the CPU (s)"
    looks = (FUNCTION, COROUTINE)
    drawn = [
        (one.function.name, looks[one.function.coroutine], one.depth, one.start_s, one.took_s)
        for one in blocks
    ]
    _draw(chart.body.subplots(), drawn, whole_s, what)
    return chart


@style.applied()
def allocations(stacks: Mapping[str, int], rows: Timeline, title: str) -> figure.Chart:
    """Draw RSS over time, and below it the bytes at the peak by stack, callers above callees.

    A stack names its functions from the outside in, with semicolons between. Raises `BadInput`
    where there is none.
    """
    whole, blocks = sum(stacks.values()), list[tuple[str, style.Look, int, float, float]]()
    split = sorted((stack.split(";"), size) for stack, size in stacks.items())
    for depth in range(MAX_DEPTH):
        at = 0
        for path, group in groupby(split, key=lambda one, end=depth + 1: one[0][:end]):  # type: ignore[misc]
            size = sum(size for _, size in group)
            if len(path) > depth and size >= LEAST * whole:
                name = path[-1].partition(" ")[0]
                blocks.append((name, FUNCTION, depth, at / 1e6, size / 1e6))
            at += size
    if not blocks:
        raise BadInput("there is nothing to draw: the strategy allocated nothing")
    heights = [1.2 * _PANEL_IN, _BLOCK_IN * (blocks[-1][2] + 1)]
    chart = figure.Chart(
        title=title,
        alt=f"{title}: {whole / 1e6:.1f} MB at the peak, RSS over time and a flame graph of it.",
        height_in=sum(heights) + 2,
        notes=[paths.sentence("flame-memory"), paths.sentence("flame")],
    )
    above, ax = chart.body.subplots(2, 1, height_ratios=heights)
    shown = [math.nan if v is None else v / 1e6 for v in rows.client_rss_bytes]
    above.plot(rows.t_s, shown, color=style.PALETTE[0], linewidth=1.8)
    above.set(ylabel="RSS (MB)", xlabel="seconds since the strategy was started", xlim=(0, None))
    axes.from_zero(above)
    _draw(ax, blocks, whole / 1e6, "in use at the peak (MB)")
    return chart


def _draw(
    ax: Axes, blocks: Sequence[tuple[str, style.Look, int, float, float]], whole: float, what: str
) -> None:
    """Draw blocks of a flame chart: name, look, depth, start and width of each."""
    for name, look, depth, start, width in blocks:
        lined = {**look.fill, "edgecolor": "white", "linewidth": 0.8}
        ax.barh(depth, width, 0.92, start, **lined)
        letters = fitted(name, int(_LETTERS * width / whole) - 2)
        on_fill: Mapping[str, Any] = {"color": style.ON_FILL, "path_effects": []}
        axes.beside(ax, start, depth, letters, 4, fontsize=_LETTERS_PT, **on_fill)
    deepest = max(depth for _, _, depth, *_ in blocks)
    ax.set(xlim=(0, whole), ylim=(deepest + 0.5, -0.5), yticks=[], xlabel=what)
    ax.spines["left"].set_visible(False)
    axes.linear(ax.xaxis, most=10)


def fitted(name: str, letters: int) -> str:
    """Return as much of a name as fits: all of it, its last part, the start of that; or nothing."""
    last = name.rpartition(".")[2]
    for one in (name, last):
        if len(one) <= letters:
            return one
    return last[: letters - 1] + "…" if letters >= 4 else ""
