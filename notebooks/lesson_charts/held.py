"""What a strategy holds while it runs: the tasks that exist, and the items that it has read."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pandas as pd
from IPython.display import Markdown

from labkit.charts import Chart, axes, style

_TITLES = {"tasks": "tasks that exist", "read": "items read, not finished"}


def source(function: Callable[..., Any]) -> Markdown:
    """Return the code of a function, as a cell shows it."""
    code = f"```python\n{inspect.getsource(function)}\n```"
    return Markdown(code)  # type: ignore[no-untyped-call]  # IPython has no types for it


async def held(
    strategy: Callable[..., Any], requests: int = 1_000, limit: int = 50, **options: Any
) -> pd.DataFrame:
    """Run a strategy whose calls only sleep; return what it holds when each call starts.

    A row a call: `item`, `tasks` that exist, and items that were `read` and are not finished.
    """
    before, read, done = asyncio.all_tasks(), 0, 0
    rows: list[tuple[int, int, int]] = []

    def items() -> Iterator[int]:
        nonlocal read
        for item in range(requests):
            read += 1
            yield item

    async def fetch(item: int) -> None:
        nonlocal done
        rows.append((item, len(asyncio.all_tasks() - before), read - done))
        await asyncio.sleep(0.02)
        done += 1

    await strategy(fetch, items(), limit, **options)
    return pd.DataFrame(rows, columns=["item", *_TITLES])


@style.applied()
def holding(frames: Mapping[str, pd.DataFrame], limit: int) -> Chart:
    """Draw a panel for the tasks and one for the items, with a line for each strategy."""
    chart = Chart(
        title="What each strategy holds, call by call",
        parts=(
            f"{name} at most {of['tasks'].max():,} tasks and {of['read'].max():,} items"
            for name, of in frames.items()
        ),
        height_in=5.4,
    )
    panels = chart.body.subplots(2, 1, sharex=True)
    for ax, (column, title) in zip(panels, _TITLES.items(), strict=True):
        for index, (name, of) in enumerate(frames.items()):
            look = style.line(index) | {"marker": "", "linestyle": style.DASHES[index % 3]}
            ax.plot(of.index, of[column], label=name, linewidth=2.6, **look)
        ax.axhline(limit, color=style.INK, linestyle=":", label=f"limit, {limit}")
        ax.set_ylabel(title)
        axes.from_zero(ax)
        axes.linear(ax.yaxis, most=5)
        axes.legend_outside(ax)
    axes.linear(panels[-1].xaxis, most=8)
    panels[-1].set_xlabel("calls started")
    return chart
