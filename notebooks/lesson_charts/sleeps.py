"""How long short sleeps last on an event loop, in a thread that has its own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from labkit.charts import Chart, axes, style


async def on_loop(factory: Callable[[], asyncio.AbstractEventLoop], main: Callable[[], Any]) -> Any:
    """Run `main` on a loop of its own, in a thread, as a notebook's kernel has a loop already."""

    def run() -> Any:
        with asyncio.Runner(loop_factory=factory) as runner:
            return runner.run(main())

    return await asyncio.to_thread(run)


async def slept(
    factory: Callable[[], asyncio.AbstractEventLoop], asked_ms: Sequence[float]
) -> npt.NDArray[Any]:
    """Sleep nine times for each of `asked_ms`; return the milliseconds it took, a row a round."""

    async def sleep_all() -> list[float]:
        measured = []
        for ms in np.tile(asked_ms, 9):
            started = time.perf_counter()
            await asyncio.sleep(ms / 1e3)
            measured.append(1e3 * (time.perf_counter() - started))
        return measured

    return np.reshape(await on_loop(factory, sleep_all), (9, -1))


@style.applied()
def sleep_chart(asked_ms: Sequence[float], measured: Mapping[str, npt.NDArray[Any]]) -> Chart:
    """Draw the median of how long sleeps lasted over how long they were to last, for each loop."""
    found = {name: np.median(rounds, axis=0) for name, rounds in measured.items()}
    chart = Chart(
        title="Short sleeps: as asked, and as measured",
        parts=(f"{name} {of[0]:.2f} ms for {asked_ms[0]:g} ms" for name, of in found.items()),
        height_in=4,
        notes=["Medians of nine sleeps each. Dotted: exactly as asked."],
    )
    ax = chart.body.subplots()
    for index, (name, median) in enumerate(found.items()):
        ax.plot(asked_ms, median, label=name, **style.line(index) | {"linestyle": ""})
    ax.plot(asked_ms, asked_ms, ":", color=style.INK)
    ax.set(xlabel="asked (ms)", ylabel="slept (ms)", xlim=(0, 4.2), ylim=(-0.2, 5.2))
    axes.legend_outside(ax)
    return chart
