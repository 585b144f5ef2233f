"""Runs in the order in which they were made, on a machine that drifts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from labkit.charts import Chart, style


@style.applied()
def in_order(title: str, orders: Mapping[str, Sequence[tuple[str, float]]], note: str) -> Chart:
    """Draw a panel for each order: the time of each run at its place, with a mark for each arm."""
    chart = Chart(title=title, alt=f"{title}. {note}", height_in=3.8, notes=[note])
    panels = chart.body.subplots(1, len(orders), sharey=True, squeeze=False)[0]
    # Those of all orders, so that an arm has one mark whichever runs first.
    arms = sorted({arm for runs in orders.values() for arm, _ in runs})
    for ax, (name, runs) in zip(panels, orders.items(), strict=True):
        for number, arm in enumerate(arms):
            places = [place for place, (which, _) in enumerate(runs) if which == arm]
            look = {"marker": style.MARKERS[number], "color": style.PALETTE[number]}
            seconds = [runs[place][1] for place in places]
            ax.plot(places, seconds, linestyle="", markersize=8, label=arm, **look)
        ax.set(title=name, xlabel="place in the order")
        ax.grid(color=style.PALE)
    panels[0].set_ylabel("time, simulated (s)")
    panels[-1].legend(loc="lower right")
    return chart
