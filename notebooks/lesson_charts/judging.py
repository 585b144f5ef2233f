"""Claims about ratios that are made up: what the lab decides, and how often."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from labkit.charts import Chart, style
from labkit.studies import judge
from labkit.studies.parts import Check, Judged
from labkit.studies.verdicts import Verdict

_ANSWERS = {"holds": style.BLUE, "inconclusive": style.PALE, "refuted": style.VERMILLION}


def judged(name: str, ratios: Sequence[float], at_least: float) -> Verdict:
    """Return the verdict on the claim that a ratio is at least so much, by one ratio a repeat."""
    check = Check(says="Made up", measure="wall_s", of="a", to="b", at_least=at_least)
    found = judge.decide(Judged(check=check, instead=False, of=("a",), to=("b",)), ratios)
    return Verdict.of([found], id=name, source="nobody", says="Made up", scale="smoke")


def decisions(
    truths: Sequence[float], repeats: int, *, at_least: float, noise: float, experiments: int
) -> pd.DataFrame:
    """Simulate experiments whose true ratio is known; return the answers in percent, a row a truth.

    `noise` is the standard deviation of the logarithm of a single ratio.
    """
    chance, rows = random.Random(repeats), []
    for truth in truths:
        drawn = (
            [truth * math.exp(chance.gauss(0, noise)) for _ in range(repeats)]
            for _ in range(experiments)
        )
        counts = Counter[str](judged("", ratios, at_least).verdict for ratios in drawn)
        rows.append({answer: 100 * counts[answer] / experiments for answer in _ANSWERS})
    return pd.DataFrame(rows, index=list(truths))


@style.applied()
def decided(shares: Mapping[int, pd.DataFrame], edge: float) -> Chart:
    """Draw a panel for each number of repeats: the share of each answer over the true ratio."""
    chart = Chart(
        title=f"How often a claim of at least ×{edge:g} is decided",
        parts=(
            f"{repeats} repeats: {one['holds'].iloc[-1]:.0f} % hold at ×{one.index[-1]:g}"
            for repeats, one in shares.items()
        ),
        height_in=3.6,
        legend=[(Patch(facecolor=colour), answer) for answer, colour in _ANSWERS.items()],
    )
    panels = chart.body.subplots(1, len(shares), sharey=True, squeeze=False)[0]
    for ax, (repeats, one) in zip(panels, shares.items(), strict=True):
        ax.stackplot(one.index, one.T, colors=list(_ANSWERS.values()))
        ax.axvline(edge, color=style.INK, linestyle=":")
        ends = (one.index[0], one.index[-1])
        ax.set(title=f"{repeats} repeats", xlabel="true ratio", xlim=ends, ylim=(0, 100))
        ax.xaxis.set_major_locator(MaxNLocator(5, prune="both"))  # or two panels' ends touch
    panels[0].set_ylabel("experiments (%)")
    return chart
