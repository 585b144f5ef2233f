"""Findings in words: figures in the units that people read, a sentence on each check. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median

from labkit import stats
from labkit.studies.parts import Check
from labkit.studies.study_file import Judged

_UNITS: Mapping[str, tuple[str, float]] = {
    "_s": ("ms", 1e3),
    "_us": ("\N{MICRO SIGN}s", 1.0),
    "_bytes": ("bytes", 1.0),
    "_share": ("%", 100.0),
}


def reason(
    judged: Judged,
    why: str,
    effect: str,
    sides: Sequence[Sequence[float]],
    measured: float | None,
) -> str:
    """Return one sentence: what stands in the way, what was found, and beside what."""
    check = judged.check
    subject = check.says or _subject(judged)
    if judged.instead:
        subject = f"judged by what shows at this scale: {subject}"
    medians = ""
    if check.is_ratio and len(sides) == 2 and all(sides):
        told = [show(check.measure, median(side)) for side in sides]
        medians = f" (medians {' and '.join(told)})"
    parts = [why, f"{subject}: {effect}{medians}"]
    if not check.decides:
        parts.append("informational only")
    elif check.at_least is not None and check.at_least == check.at_most:
        parts.append(f"exactly {_shown(check, check.at_least)} holds")
    else:
        ends = (("at least", check.at_least), ("at most", check.at_most))
        band = [f"{word} {_shown(check, end)}" for word, end in ends if end is not None]
        parts.append(f"{' and '.join(band)} holds")
    if check.published is not None:
        share = f", of which this is {measured / check.published:.2g}" if measured else ""
        parts.append(f"the source found {_shown(check, check.published)}{share}")
    sentence = "; ".join(filter(None, parts))
    return sentence[0].upper() + sentence[1:]


def _subject(judged: Judged) -> str:
    """Return in words what a check without a sentence of its own compares."""
    check = judged.check
    label = stats.METRICS[check.measure].label if check.measure in stats.METRICS else check.measure
    of, to = (f"{', '.join(ids[:-1])} and {ids[-1]}" if ids[1:] else "".join(ids)
              for ids in (judged.of, judged.to))  # fmt: skip
    if check.take == "slope":
        less = f", less that of {judged.to[0]}" if judged.to else ""
        return f"{label} for each further request of {judged.of[0]}{less}"
    if check.take == "spread":
        return f"largest over smallest {label} of {of}"
    if check.take is not None:
        return f"{check.take} {label} of {of}"
    return f"{label} of {of}{f' over {to}' if to else ''}"


def effect_text(
    check: Check,
    known: Sequence[float],
    measured: float | None,
    interval: tuple[float, float] | None,
) -> str:
    """Return the typical value with its interval, or the range, and of how many repeats."""
    if measured is None:
        return "no value"
    runs = f"in {len(known)} repeat{'' if len(known) == 1 else 's'}"
    # The unit once is enough.
    low, high = (_shown(check, end) for end in interval or (min(known), max(known)))
    start = low if low.partition(" ")[2] != high.partition(" ")[2] else low.partition(" ")[0]
    if interval is not None:
        return f"{_shown(check, measured)} ({start} to {high.partition(' ')[0]} at 95 %) {runs}"
    return f"{high if low == high else f'{start} to {high}'} {runs}"


def _shown(check: Check, value: float) -> str:
    if check.is_ratio:
        return times(value)
    if check.take == "slope":
        metric = stats.METRICS.get(check.measure)
        unit = {"MB": "bytes"}.get(metric.unit, metric.unit) if metric else ""
        return f"{stats.number(value)} {unit}".rstrip()
    return show(check.measure, value)


def times(ratio: float) -> str:
    """Return such as '×2.9', with more digits near 1, where they matter."""
    if abs(ratio) >= 1_000:
        return f"×{stats.number(ratio)}"
    return f"×{ratio:.3g}" if not 0.8 < ratio < 1.25 else f"×{ratio:.3f}"


def show(measure: str, value: float) -> str:
    """Return a figure in the unit that people read."""
    if measure in stats.METRICS:
        metric = stats.METRICS[measure]
        return metric.format(value) if metric.unit else f"{value:,.6g}"
    for end, (unit, scale) in _UNITS.items():
        if measure.endswith(end):
            return f"{_plain(value * scale)} {unit}"
    return _plain(value)


def _plain(value: float) -> str:
    whole = value == int(value) and abs(value) < 1e15
    return f"{value:,.0f}" if whole else stats.number(value)
