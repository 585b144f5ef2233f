"""What codings cost and gain: bytes on the wire against CPU, and time over the rate of a link."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes

import labkit as lab
from labkit.charts import Chart, axes, style

_CURVE_POINTS = 100
_BEYOND = 2.0
"""How far the lines reach beyond the rates that were measured, as a factor."""


@dataclass(frozen=True, kw_only=True)
class Coded:
    """A body in one coding: what it is on the wire, the CPU of both ends, how long it took.

    `label` tells points of a coding apart. `rate` is that of the link in bytes a second, None where
    nothing held the body back.
    """

    coding: str
    wire_bytes: float
    cpu_us: float
    latency_s: float
    label: str = ""
    rate: float | None = None

    def over_s(self, rate: float) -> float:
        """How long it takes over a link of `rate`, if packing, sending and unpacking add up."""
        return self.cpu_us / 1e6 + self.wire_bytes / rate


def break_even_rate(plain: Coded, packed: Coded) -> float | None:
    """The rate of a link, in bytes a second, below which `packed` is sooner there than `plain`.

    None where there is no such rate: it is always sooner, or never.
    """
    saved, more_s = plain.wire_bytes - packed.wire_bytes, (packed.cpu_us - plain.cpu_us) / 1e6
    return saved / more_s if saved > 0 and more_s > 0 else None


@style.applied()
def codecs(points: Sequence[Coded], title: str) -> Chart:
    """CPU of both ends over bytes on the wire, both logarithmic; the points of a coding joined.

    Raises `BadInput` where there is nothing to draw.
    """
    chart = Chart(
        title=title,
        alt=f"{title}. {'; '.join(_words(one) for one in _drawable(points))}.",
        height_in=5.2,
        notes=["Further left is fewer bytes, further down is less CPU (client and server)."],
    )
    ax = chart.body.subplots()
    for index, (coding, mine) in enumerate(_by_coding(points).items()):
        xs, ys = [one.wire_bytes for one in mine], [one.cpu_us for one in mine]
        ax.plot(xs, ys, label=coding, linewidth=1.6, markersize=8, **style.line(index))
        for one in mine:
            _name(ax, one)
    ax.set_xlabel("body on the wire (bytes), logarithmic")
    ax.set_ylabel("CPU of both ends (\N{MICRO SIGN}s), logarithmic")
    _logarithmic(ax)
    return chart


@style.applied()
def break_even(points: Sequence[Coded], title: str) -> Chart:
    """Time over the rate of the link: lines from what unpaced runs cost, points as measured.

    Of each coding the point without a rate makes the line; those with one are drawn as they are.
    Raises `BadInput` where there is no rate at all.
    """
    rates = sorted({one.rate for one in _drawable(points) if one.rate is not None})
    if not rates:
        raise lab.BadInput("there is no rate to draw over: measure some of the points at a rate")
    chart = Chart(
        title=title,
        alt=f"{title}. {'; '.join(_words(one) for one in points)}.",
        height_in=5.2,
        notes=[
            "Lines: CPU of both ends, as measured without a link, and the time of the bytes on it. "
            "Marks: measured over the link, from the request to the body unpacked."
        ],
    )
    ax = chart.body.subplots()
    along = np.geomspace(rates[0] / _BEYOND, rates[-1] * _BEYOND, _CURVE_POINTS).tolist()
    for index, (coding, mine) in enumerate(_by_coding(points).items()):
        _time(ax, coding, mine, along, index)
    ax.set_xlabel("rate of the link (bytes per second), logarithmic")
    ax.set_ylabel("time of a body (ms), logarithmic")
    _logarithmic(ax)
    return chart


def _time(ax: Axes, coding: str, mine: Sequence[Coded], along: Sequence[float], index: int) -> None:
    look = style.line(index)
    free = next((one for one in mine if one.rate is None), None)
    if free is not None:
        times_ms = [1e3 * free.over_s(rate) for rate in along]
        ax.plot(along, times_ms, color=look["color"], linewidth=1.8)
    held = [one for one in mine if one.rate is not None]
    xs, ys = [one.rate or 0.0 for one in held], [1e3 * one.latency_s for one in held]
    ax.plot(xs, ys, look["marker"], color=look["color"], markersize=9, label=coding)


def _name(ax: Axes, one: Coded) -> None:
    place = (one.wire_bytes, one.cpu_us)
    ax.annotate(one.label, place, xytext=(8, -15), textcoords="offset points", color=style.INK)


def _logarithmic(ax: Axes) -> None:
    ax.set_xscale("log")
    ax.set_yscale("log")
    for axis, ends in ((ax.xaxis, ax.get_xlim()), (ax.yaxis, ax.get_ylim())):
        axes.logarithmic(axis, marks=(1,) if axes.spans(ends, 1_000) else (1, 2, 5))
    axes.legend_outside(ax)


def _by_coding(points: Sequence[Coded]) -> Mapping[str, list[Coded]]:
    found: dict[str, list[Coded]] = {}
    for one in points:
        found.setdefault(one.coding, []).append(one)
    return found


def _drawable(points: Sequence[Coded]) -> Sequence[Coded]:
    if not points:
        raise lab.BadInput("there is nothing to draw: measure at least one coding")
    return points


def _words(one: Coded) -> str:
    name = " ".join(filter(None, [one.coding, one.label]))
    at = "" if one.rate is None else f" at {axes.tick_text(one.rate)} bytes/s"
    return (
        f"{name}{at} {one.wire_bytes:,.0f} bytes, {one.cpu_us:,.0f} \N{MICRO SIGN}s of CPU, "
        f"{1e3 * one.latency_s:,.1f} ms"
    )
