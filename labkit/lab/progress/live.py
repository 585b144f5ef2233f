"""Arms while they run -> one small picture: a panel for each figure, all arms on the same axes.

It is drawn about five times a second in the kernel beside the measurement, so it is text put
together with the standard library alone. The colours of a theme are taken from the page
(`currentColor`); arms differ in dash and mark too, never in colour alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from labkit.lab.progress.points import COLUMNS, MOST, Arm, Points, latest
from labkit.lab.progress.ticks import label, ticks

__all__ = ["ARMS", "COLUMNS", "MOST", "Arm", "Points", "strips"]

ARMS = 8
"""So many arms can be told apart; of more the last ones are drawn."""
COLOURS = (
    *("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"),
    *("currentColor", "#888888"),
)
"""Those of the charts (Okabe and Ito 2008); its black is the colour of the page's text here."""
_DASHES = ("", "7 3", "2 2.5", "9 3 2 3")
_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 264, 124, 50, 18, 22, 20
_LEGEND, _LETTER, _FONT = 18, 6.3, 11
_PLOT_W, _PLOT_H = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
_FINE = 4
"""Steps a pixel that a value is rounded to."""
_YS = [f"{_TOP + _PLOT_H - step / _FINE:g}" for step in range(_PLOT_H * _FINE + 1)]
_TEXT = 'stroke="none" fill="currentColor"'


@dataclass(frozen=True, kw_only=True)
class _Panel:
    """What one panel shows: the column `of` times `scale`, its axis up to `least` or more."""

    title: str
    unit: str
    of: str
    least: float = 1.0
    scale: float = 1.0


_PANELS = (
    _Panel(title="throughput", unit="requests/s", of="rate_rps"),
    _Panel(title="in flight", unit="requests", of="in_flight"),
    _Panel(title="loop lag", unit="ms", of="loop_lag_s", scale=1e3),
    _Panel(title="client memory", unit="MB", of="client_rss_bytes", scale=1e-6),
    _Panel(title="client CPU", unit="% of a core", of="client_cpu_percent", least=100),
    _Panel(title="server CPU", unit="% of a core", of="server_cpu_percent", least=100),
)


@dataclass(frozen=True, kw_only=True)
class _Drawn:
    """An arm with its look, and what is the same in every panel."""

    arm: Arm
    place: int
    x: Sequence[str]

    @property
    def look(self) -> str:
        """How its lines are drawn: an arm under way is drawn stronger."""
        dash = _DASHES[self.place % len(_DASHES)]
        dashes = f' stroke-dasharray="{dash}"' if dash else ""
        weight = f'stroke-width="{1.5 if self.arm.done else 2.2}"'
        return f'fill="none" stroke="{self.colour}" {weight}{dashes}'

    @property
    def colour(self) -> str:
        """Of this place, with a dash and a mark that no other place has with it."""
        return COLOURS[self.place]

    def mark(self, x: str | float, y: str | float) -> str:
        """Its mark: a dot, or a square for the second half of the places."""
        if self.place < len(_DASHES):
            return f'<circle cx="{x}" cy="{y}" r="3" fill="{self.colour}"/>'
        return (
            f'<rect x="{float(x) - 3:g}" y="{float(y) - 3:g}" width="6" height="6" '
            f'fill="{self.colour}"/>'
        )


def strips(arms: Sequence[Arm], *, columns: int = 3) -> str:
    """One inline SVG: `columns` panels side by side, a legend above them.

    Of more than `ARMS` arms the last ones are drawn. Labels are escaped.
    """
    shown = list(arms)[-ARMS:]
    across = max(1, min(columns, len(_PANELS)))
    times = ticks(max((t for arm in shown for t in arm.points.t_s[-1:]), default=1.0), 5)
    drawn = [
        _Drawn(arm=arm, place=(len(arms) - len(shown) + at) % ARMS, x=_xs(arm, times[-1]))
        for at, arm in enumerate(shown)
    ]
    width = across * _WIDTH
    legend, top = _legend(drawn, width)
    panels = [
        f'<g transform="translate({at % across * _WIDTH} {top + at // across * _HEIGHT})">'
        f"{''.join(_panel(panel, drawn, times))}</g>"
        for at, panel in enumerate(_PANELS)
    ]
    height = top + -(-len(_PANELS) // across) * _HEIGHT
    said = escape(_says(shown))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{said}" '
        f'viewBox="0 0 {width} {height}" width="100%" '
        f'style="max-width:{width * 1.3:.0f}px;height:auto;display:block;'
        'color:var(--jp-content-font-color1,inherit)" '
        f'font-family="var(--jp-ui-font-family,system-ui,sans-serif)" font-size="{_FONT}">'
        f"<title>{said}</title>{legend}{''.join(panels)}</svg>"
    )


def _xs(arm: Arm, end_s: float) -> list[str]:
    wide = _PLOT_W / end_s
    return [f"{_LEFT + t * wide:.1f}" for t in arm.points.t_s]


def _panel(panel: _Panel, arms: Sequence[_Drawn], times: Sequence[float]) -> Iterator[str]:
    columns = [one.arm.points.column(panel.of) for one in arms]
    most = max((v for column in columns for v in column if v is not None), default=0.0)
    levels = ticks(max(most * panel.scale, panel.least), 3)
    yield f'<text x="{_LEFT}" y="{_TOP - 8}" {_TEXT}><tspan font-weight="600">{panel.title}</tspan>'
    yield f", {panel.unit}</text>"
    yield from _axes(levels, times)
    if not any(v is not None for column in columns for v in column):
        middle = _LEFT + _PLOT_W / 2
        yield f'<text x="{middle:g}" y="{_TOP + _PLOT_H / 2:g}" text-anchor="middle" {_TEXT} '
        yield 'opacity="0.7">nothing known yet</text>'
    for one, column in zip(arms, columns, strict=True):
        yield _line(one, column, panel.scale / levels[-1])


def _axes(levels: Sequence[float], times: Sequence[float]) -> Iterator[str]:
    """Lines across at the levels, with their numbers; the times below."""
    bottom, right = _TOP + _PLOT_H, _LEFT + _PLOT_W
    for level in levels:
        y = bottom - level / levels[-1] * _PLOT_H
        faint = "" if level == 0 else ' stroke-opacity="0.2"'
        yield f'<path d="M{_LEFT} {y:.1f}H{right}" stroke="currentColor" fill="none"{faint}/>'
        yield f'<text x="{_LEFT - 5}" y="{y + 4:.1f}" text-anchor="end" {_TEXT}>'
        yield f"{label(level, levels[1])}</text>"
    for at in times:
        x = _LEFT + at / times[-1] * _PLOT_W
        yield f'<text x="{x:.1f}" y="{bottom + 15}" text-anchor="middle" {_TEXT}>'
        yield f"{label(at, times[1])} s</text>"


def _line(one: _Drawn, column: Sequence[float | None], part: float) -> str:
    """The column as a line through what is known, with the arm's mark at its end."""
    high = part * _PLOT_H * _FINE
    points = [
        f"{x},{_YS[_step(value * high)]}"
        for x, value in zip(one.x, column, strict=True)
        if value is not None
    ]
    if not points:
        return ""
    end = one.mark(*points[-1].split(","))
    return f'<polyline points="{" ".join(points)}" {one.look}/>{end}'


def _step(height: float) -> int:
    """The step nearest below; nothing is drawn outside of its panel, whatever was told."""
    return min(max(int(height), 0), len(_YS) - 1)


def _legend(arms: Sequence[_Drawn], width: int) -> tuple[str, int]:
    """A sample and a label for each arm, in as many lines as they need, and their height."""
    parts, x, line = [], 8.0, 0
    for one in arms:
        name = one.arm.label if len(one.arm.label) <= 48 else f"{one.arm.label[:47]}…"
        takes = 50 + _LETTER * len(name)
        if x > 8 and x + takes > width:
            x, line = 8.0, line + 1
        y = 12 + line * _LEGEND
        parts.append(
            f'<path d="M{x:g} {y}h28" {one.look}/>{one.mark(x + 14, y)}'
            f'<text x="{x + 33:g}" y="{y + 4}" {_TEXT}>{escape(name)}</text>'
        )
        x += takes
    return "".join(parts), (line + 1) * _LEGEND + 6 if arms else 0


def _says(arms: Sequence[Arm]) -> str:
    """The picture in words: the latest of what each arm told."""
    told = [f"{arm.label}: {_latest(arm)}" for arm in arms]
    return f"Over time, {'; '.join(told)}." if told else "No arm has begun."


def _latest(arm: Arm) -> str:
    known = [
        f"{panel.title} {value * panel.scale:,.4g} {panel.unit}"
        for panel in _PANELS
        if (value := latest(arm.points.column(panel.of))) is not None
    ]
    return ", ".join(known) or "nothing known yet"
