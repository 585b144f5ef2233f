"""The notebook's reporter: a live picture under the cell that waits; at the end a line or nothing.

And what IPython cannot complete by itself: the kinds of charts in `plot("`.

IPython is imported only here, and only in a kernel.
"""

from __future__ import annotations

import math
import re
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple

from labkit import paths
from labkit.escaping import brief, escape, visible
from labkit.lab.progress import Reporter, step_label
from labkit.launch.launcher import Progress
from labkit.record.record import Record
from labkit.spec.plan import Step

# Between two pictures: a drawing costs the page some 15 ms of a core that the trial may want.
#
# Progress comes every 0.1 s, so that it makes six or seven a second.
EVERY_S = 0.15
RECENT_LINES = 3
# MIME type to text, the same content in each.
Bundle = dict[str, str]
NOTHING: Bundle = {"text/html": "", "text/plain": ""}
_PLOT = re.compile(r"\.plot\(\s*(?:kind\s*=\s*)?[\"'](?P<begun>\w*)$")
_SMALL = "font-size:0.9em;opacity:0.8"


class Notebook(Reporter):
    """A picture under the running cell, updated in place.

    It is gone at the end: the result that a cell shows is enough. A cell that shows none keeps
    one line.
    """

    # Labels of arms that are not drawn.
    hidden: Collection[str] = ()

    def __init__(
        self, spot: LiveOutput | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock, self._spot = clock, spot or LiveOutput()
        self._first, self._due = clock(), 0.0
        self._arms: dict[str, Points] = {}
        self._lines: list[str] = []
        self._verdicts: Counter[str] = Counter()

    def begin(self, trials: int) -> None:
        """Show that it begins. What began before on the same reporter goes on in the same place."""
        super().begin(trials)
        self._show(f"{trials:,} to run" if trials > 1 else "starting")

    def started(self, step: Step) -> None:
        """Name the arm that runs."""
        label = step_label(step)
        if label not in self._arms and len(self._arms) >= MAX_ARMS:
            del self._arms[next(iter(self._arms))]
        self._arms[label] = Points()
        super().started(step)

    def update(self, progress: Progress) -> None:
        """Add the reading, and redraw if it is time to."""
        arm, now = self._arms[self._label], self._clock()
        arm.add(progress)
        arm.floor_s = progress.trial.floor_s  # it was computed before the trial began
        if now < self._due:
            return
        # Counted from when it was due, not from now: else it waits for the reading after the next.
        self._due = max(self._due, now - EVERY_S / 2) + EVERY_S
        super().update(progress)

    def finished(self, record: Record) -> None:
        """Count it, and keep its floor and its efficiency for the picture."""
        if record.efficiency:  # a coded experiment has none, and no arm here
            arm = self._arms[self._label]
            arm.floor_s, arm.efficiency = record.floor_s, record.efficiency
        self._verdicts[record.verdict] += 1
        self.passed(record.says)

    def passed(self, line: str) -> None:
        """Count it."""
        super().passed(line)
        self._lines.append(line)

    def interrupted(self, says: str) -> None:
        """Leave nothing: the error that ends the cell has the sentence."""
        self._lines.clear()

    def end(self) -> None:
        """Take the picture away, and leave one line where the cell shows no result."""
        line = "".join(self._lines)
        if len(self._lines) > 1:
            line = f"{len(self._lines):,} trials in {self._clock() - self._first:,.1f} s"
            counted = [(self._verdicts[name], name) for name in ("valid", "warn", "invalid")]
            line += "".join(f", {number} {name}" for number, name in counted if number)
        html = f'<div style="{_SMALL}">{escape(line)}</div>'
        self._spot.close({"text/html": html, "text/plain": visible(line)} if line else None)

    def _show(self, status: str, share: float = 0.0) -> None:
        """Show the card: which trial of how many, its arm, how far, and the last that ended."""
        several = self._trials > 1
        place = f"{min(self._done + 1, self._trials):,} of {self._trials:,}"
        words = [*([f"trial {place}"] if several else []), *filter(None, [brief(self._label)])]
        text = f"{', '.join(words)}: {status}" if words else status
        done = min((self._done + share) / max(self._trials, 1), 1.0)
        bar = f'<progress value="{done:.3f}" style="width:100%;max-width:820px"></progress>'
        picture = self.picture(self._label)
        recent = self._lines[-RECENT_LINES:] if several else []
        ended = "".join(f"<div>{escape(line)}</div>" for line in recent)
        html = f'<div>{escape(text)}</div>{bar}{picture}<div style="{_SMALL}">{ended}</div>'
        self._spot.show({"text/html": html, "text/plain": visible(text)})

    def picture(self, running: str | None = None) -> str:
        """Return the picture of all arms, once one of them has a point."""
        return strips(self._arms, running, self.hidden) if any(self._arms.values()) else ""


class LiveOutput:
    """One output of the cell that runs, which can be replaced until the cell has ended."""

    def __init__(self) -> None:
        from IPython import display, get_ipython

        self._display: Any = display
        self._shell: Any = get_ipython()
        register(self._shell)
        self._handle: Any = None
        self._closing = False

    def show(self, bundle: Bundle) -> None:
        """Show this in its place."""
        if self._handle is None:
            self._handle = self._display.display(bundle, raw=True, display_id=True)
        else:
            self._handle.update(bundle, raw=True)

    def close(self, bundle: Bundle | None) -> None:
        """Leave this behind, or nothing; and nothing where the cell turns out to show a result."""
        self.show(NOTHING if bundle is None else bundle)
        if bundle is not None and self._shell is not None and not self._closing:
            self._closing = True
            self._shell.events.register("post_run_cell", self._ended)

    def _ended(self, result: Any) -> None:
        self._closing = False
        self._shell.events.unregister("post_run_cell", self._ended)
        if type(getattr(result, "result", None)).__module__.startswith("labkit."):
            self.show(NOTHING)


def kinds(context: Any) -> dict[str, Any]:
    """Return the kinds of charts that complete what stands before the cursor (a matcher)."""
    match = _PLOT.search(context.text_until_cursor)
    if match is None:
        return {"completions": []}
    from labkit.charts.kinds import KINDS  # takes a while

    found = [kind for kind in dict.fromkeys(KINDS) if kind.startswith(match["begun"])]
    named = [SimpleNamespace(text=kind, type="text") for kind in found]
    return {"completions": named, "suppress": True, "ordered": True}


kinds.matcher_api_version = 2  # type: ignore[attr-defined]  # so IPython knows what it returns
kinds.matcher_identifier = "labkit.kinds"  # type: ignore[attr-defined]


def register(shell: Any) -> None:
    """Let the shell complete the kinds; a second call changes nothing."""
    completer = getattr(shell, "Completer", None)
    if completer is not None and kinds not in completer.custom_matchers:
        completer.custom_matchers.append(kinds)


# The picture: what trials report while they run, as a legend and small inline SVGs. It is drawn
# about five times a second in the kernel beside the measurement, so it is text put together with
# the standard library alone, of a bounded number of points. Text and axes have the colour of the
# page (`currentColor`); arms differ in dash too, never in colour alone. The page puts as many SVGs
# on a line as there is room for: so their text has its size, however narrow the cell is.

# Of an arm: a line of so many has a point for each second pixel or so.
MAX_POINTS = 120
# So many arms can be distinguished; of more the last ones are drawn.
MAX_ARMS = 8
# Over less time, as before the last point of a trial, a rate or a share of a core is that of one
# burst.
MIN_RATE_S = 0.05
# Letters of a label in the legend; a longer one is cut.
MAX_LABEL = 36
_MARGIN, _BOTTOM, _PLOT_WIDTH, _PLOT_HEIGHT = 4, 100, 208, 78
_SVG: Mapping[str, Any] = paths.table("picture.toml")
COLOURS, DASHES = _SVG["colours"], _SVG["dashes"]


class Point(NamedTuple):
    """A reading at one time, or several that were merged; None is not known."""

    t_s: float
    done: int
    in_flight: float | None
    loop_lag_s: float | None
    client_rss_bytes: float | None
    client_cpu_percent: float | None
    server_cpu_percent: float | None


class Points:
    """The readings of one arm, in bounded memory.

    When they are full, each two neighbours become one, and from then on a point spans twice the
    time. Counts are those of the later, all else keeps its highest value: a peak stays visible.
    """

    def __init__(self, max_points: int = MAX_POINTS) -> None:
        self._max = max(max_points, 2)
        self._span_s = 0.0
        self.points: list[Point] = []
        # Of the trial: known once it runs, and once it has ended.
        self.floor_s: float | None = None
        self.efficiency: float | None = None

    def __len__(self) -> int:
        return len(self.points)

    def add(self, progress: Progress) -> None:
        """Add a reading; one whose time does not advance is left out."""
        points = self.points
        point = Point(*(getattr(progress, name) for name in Point._fields))
        if points and point.t_s <= points[-1].t_s:
            return
        before_s = points[-2].t_s if len(points) > 1 else 0.0
        if points and point.t_s - before_s <= self._span_s:
            points[-1] = _merged(points[-1], point)
        else:
            points.append(point)
        if len(points) > self._max:
            pairs = zip(points[::2], points[1::2], strict=False)
            self.points = [_merged(*pair) for pair in pairs] + points[len(points) & ~1 :]
            self._span_s = 2 * point.t_s / self._max

    def column(self, name: str) -> list[float | None]:
        """Return `rate_rps` or a field of `Point` for each point."""
        if name != "rate_rps" and not name.endswith("_percent"):
            return [getattr(point, name) for point in self.points]
        values, before_s, before = list[float | None](), 0.0, 0
        for point in self.points:
            took_s = point.t_s - before_s
            if took_s < MIN_RATE_S:
                values.append(None)
                continue
            rate = (point.done - before) / took_s
            values.append(rate if name == "rate_rps" else getattr(point, name))
            before_s, before = point.t_s, point.done
        return values


def _merged(a: Point, b: Point) -> Point:
    known = ([v for v in pair if v is not None] for pair in zip(a[2:], b[2:], strict=True))
    return Point(b.t_s, b.done, *(max(values, default=None) for values in known))


def strips(
    arms: Mapping[str, Points], running: str | None = None, hidden: Collection[str] = ()
) -> str:
    """Return a legend, and an SVG for each figure with all arms on its axes, as one HTML element.

    The time of each arm is counted from its own start. The floors of the arms are thin lines. Of
    more than `MAX_ARMS` arms the last ones are drawn, without those that are `hidden`. The lines of
    the one that is `running` are stronger. Labels are escaped.
    """
    drawn = {label: arms[label] for label in [*arms][-MAX_ARMS:] if label not in hidden}
    floors_s = sorted({arm.floor_s for arm in drawn.values() if arm.floor_s})
    ends_s = [arm.points[-1].t_s for arm in drawn.values() if arm.points]
    end_s = max([*ends_s, *floors_s, MIN_RATE_S])
    lines, legend = [], []
    for label, arm in drawn.items():
        # An arm keeps its colour and its dash while others join or are hidden.
        style = [*arms].index(label) % MAX_ARMS
        stroke = f'stroke="{COLOURS[style]}" stroke-dasharray="{DASHES[style]}"'
        stroke += f' stroke-width="{2.2 if label == running else 1.5}" fill="none"'
        lines.append((arm, stroke, COLOURS[style]))
        words = brief(label, MAX_LABEL)
        words += f": floor {arm.floor_s:,.2f} s" if arm.floor_s else ""
        words += f", efficiency {100 * arm.efficiency:.1f} %" if arm.efficiency else ""
        legend.append(_SVG["legend"].format(stroke=stroke, label=escape(words)))
    if floors_s:
        legend.append(_SVG["legend"].format(stroke=_SVG["thin"], label=_SVG["floors"]))
    places = [_MARGIN + floor_s / end_s * _PLOT_WIDTH for floor_s in floors_s]
    floors = "".join(f'<path d="M{x:.1f} 22V100" {_SVG["thin"]}/>' for x in places)
    parts = [_panel(panel, lines, end_s, floors) for panel in _SVG["panels"]]
    return str(_SVG["whole"].format(legend="".join(legend), parts="".join(parts)))


def _panel(
    panel: Mapping[str, Any], arms: Sequence[tuple[Points, str, str]], end_s: float, drawn: str
) -> str:
    """Return a title, an axis from 0 to a round number, the time at its end, and the lines."""
    columns, scale = [arm.column(panel["column"]) for arm, _, _ in arms], panel["scale"]
    known = [value for column in columns for value in column if value is not None]
    top = _round_up(max([value * scale for value in known] + [panel["least"]]))
    highest = f"{top:,.10g}" if known else "no data yet"
    for (arm, stroke, colour), column in zip(arms, columns, strict=True):
        line = [
            # Inside its panel, whatever was reported.
            f"{_MARGIN + point.t_s / end_s * _PLOT_WIDTH:.1f},"
            f"{_BOTTOM - min(max(value * scale / top, 0.0), 1.0) * _PLOT_HEIGHT:.1f}"
            for point, value in zip(arm.points, column, strict=True)
            if value is not None
        ]
        if line:
            x, y = line[-1].split(",")
            drawn += f'<polyline points="{" ".join(line)}" {stroke}/>'
            drawn += f'<circle cx="{x}" cy="{y}" r="3" fill="{colour}"/>'
    return str(_SVG["panel"].format(**panel, lines=drawn, highest=highest, end_s=end_s))


def _round_up(value: float) -> float:
    """Return the next of 1, 1.5, 2, 3, 5, 7.5, 10 times a power of ten."""
    if not 0 < value < math.inf:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    least = value * (1 - 1e-9)  # what is round already stays, whatever its last digit
    return next((power * n for n in (1, 1.5, 2, 3, 5, 7.5) if power * n >= least), power * 10)
