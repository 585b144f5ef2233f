"""The panel itself: its fields, its buttons, its tabs, and the task that runs what they say.

The trials run as a task of the kernel's main loop, in which other cells go on. A press of a button
comes as a message of its own, maybe in a thread of its own (see `home`), so that task belongs to no
cell and no thread, and the end of neither ends it.

Classes to find things by, beside those of the fields (see `form`): `labkit-panel`, `labkit-run`,
`labkit-stop`, `labkit-clear`, `labkit-status`, `labkit-chart`, `labkit-table`, `labkit-code`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

import ipywidgets as widgets

from labkit.errors import BadInput, LabError
from labkit.lab import progress
from labkit.launch import preflight
from labkit.notebook.panel import arms, choices, code, entries, view
from labkit.notebook.panel.entries import Entries
from labkit.notebook.panel.form import Form
from labkit.notebook.panel.home import Home
from labkit.notebook.panel.settings import Settings, Strategy
from labkit.notebook.panel.watching import Watching
from labkit.record.record import Record
from labkit.record.store import Store
from labkit.report.study import Study
from labkit.spec.trial import Trial

_CHART, _TABLE, _CODE = range(3)


class Bench:
    """A panel; see `lab.panel`. It shows itself where it is a cell's last line."""

    def __init__(
        self, trial: Trial, strategies: Sequence[Strategy], repeats: int, store: Store | None
    ) -> None:
        self._base, self._store, self._home = trial, store, Home()
        self._task: asyncio.Task[None] | None = None
        self._stopped = False
        self._error: LabError | None = None
        self._watching = Watching(self._draw, self._tabulate)
        written = Entries.of(trial, strategies, repeats)
        self.form = Form(written, choices.here(written.strategies), self._read, self._home.do)
        self.run_button = self._button("run", "Run", "play", "primary", self._clicked)
        self.stop_button = self._button("stop", "Stop", "stop", "danger", self._stop)
        self.clear_button = self._button("clear", "Clear", "trash", "", self._clear)
        self.status, self._chart, self._table, self._code = map(
            _html, ("status", "chart", "table", "code")
        )
        self.tabs = widgets.Tab(
            [self._chart, self._table, self._code], titles=("Chart", "Table", "Code")
        )
        self.tabs.observe(lambda change: self._home.do(self._draw), names="selected_index")
        self.widget = self._laid_out()
        self._settings: Settings | None = None
        self._read()
        self._tabulate()
        self._draw()

    @property
    def records(self) -> list[Record]:
        """What was measured since the panel was last cleared, in the order in which it ended."""
        return [record for _, record in self._watching.measured]

    @property
    def study(self) -> Study:
        """The same as a study, whose arms are named by whatever differs among them."""
        return arms.study_of(self._watching.measured)

    @property
    def code(self) -> str:
        """The Python that does what Run would do; a comment where the fields hold no trial."""
        if self._settings is None:
            return "# The fields hold something that is wrong: it is said below each.\n"
        return code.of(self._settings)

    async def run(self) -> Study:
        """What Run does, awaited; the study of all that the panel has measured by then.

        A trial that fails is kept as invalid. Raises `BadInput` where the fields hold something
        wrong, or trials already run.
        """
        return await self._home.awaited(self._run)

    async def _run(self) -> Study:
        task = self._started()
        try:
            await task
        except asyncio.CancelledError:
            if not self._stopped:
                raise
        if isinstance(self._error, BadInput):
            raise self._error
        return self.study

    def stop(self) -> None:
        """What Stop does: end what runs; both its processes are gone within a second or so."""
        self._home.do(self._stop)

    def clear(self) -> None:
        """What Clear does: forget what was measured; the records stay in the store.

        Nothing while trials run.
        """
        self._home.do(self._clear)

    def _stop(self) -> None:
        if self._running is None or self._stopped:
            return
        self._stopped = True
        # Outside of a kernel another thread's loop may run it.
        self._running.get_loop().call_soon_threadsafe(self._running.cancel)
        self._enable()
        self._say("stopping")

    def _clear(self) -> None:
        if self._running is not None:
            return
        self._watching.clear()
        self._tabulate()
        self._draw()
        self._say("")

    @property
    def _running(self) -> asyncio.Task[None] | None:
        """The task that runs; one whose loop was closed will never end, and runs no longer."""
        task = self._task
        return None if task is None or task.get_loop().is_closed() else task

    def _started(self) -> asyncio.Task[None]:
        if self._running is not None:
            raise BadInput("the panel already runs: press Stop, or wait until it has ended")
        self._read()
        if self._settings is None:
            raise BadInput(next(iter(self._wrong.values())))
        self._stopped, self._error = False, None
        self._task = asyncio.get_running_loop().create_task(self._measure(self._settings))
        # Not at the end of the task itself, which one that is stopped at once never reaches.
        self._task.add_done_callback(self._ended)
        self._enable()
        return self._task

    async def _measure(self, settings: Settings) -> None:
        began = time.monotonic()
        try:
            await self._through_the_lab(settings)
            took_s = time.monotonic() - began
            self._say(f"{self._watching.done} of {self._watching.trials} trials in {took_s:.1f} s")
        except LabError as error:
            self._error = error
            self._refused(str(error))
        except Exception as error:
            self._refused(f"this is a fault of the lab's: {type(error).__name__}: {error}")
            raise

    def _ended(self, task: asyncio.Task[None]) -> None:
        if task is not self._task:
            return
        self._task = None
        self._enable()
        if task.cancelled():
            self._say(self._kept())

    async def _through_the_lab(self, settings: Settings) -> None:
        from labkit.lab import facade  # half of all that a panel needs, and not to be shown

        more: dict[str, Any] = {"store": self._store, "reporter": self._watching}
        if settings.axes:
            axes, repeats = settings.axes, settings.repeats
            await facade.compare(settings.trial, axes, repeats=repeats, **more)
        else:
            await facade.run(settings.trial, **more)

    def _kept(self) -> str:
        done, trials = self._watching.done, self._watching.trials
        if not done:
            return f"stopped: none of {trials} trials had ended, so nothing joins the table"
        return f"stopped: {done} of {trials} trials had ended and are kept in the table"

    def _read(self) -> None:
        """Read the fields: say what is wrong at each, or allow to run."""
        self._settings, self._wrong = entries.read(self._base, self.form.entries(), preflight.check)
        self.form.show(self._wrong)
        self._code.value = view.code(self.code)
        self._enable()

    def _refused(self, sentence: str) -> None:
        """Say it at the field that it names, or beside the buttons."""
        field = entries.field_of(sentence)
        self.form.show({field: sentence})
        self._say("not run" if field else "")

    def _enable(self) -> None:
        runs = self._running is not None
        self.run_button.disabled = runs or self._settings is None
        self.stop_button.disabled = not runs or self._stopped
        self.clear_button.disabled = runs

    def _clicked(self) -> None:
        try:
            self._started()
        except LabError as error:
            self._refused(str(error))

    def _draw(self) -> None:
        """The chart, unless another tab hides it, and the line beside the buttons."""
        if self.tabs.selected_index == _CHART:
            self._chart.value = view.chart(self._watching.arms())
        if self._running is not None and not self._stopped:
            self._say(self._watching.status)

    def _tabulate(self) -> None:
        self._table.value = view.table(self.study)

    def _say(self, sentence: str) -> None:
        self.status.value = view.message("; ".join(filter(None, [sentence, self._watching.fault])))

    def _button(
        self, name: str, title: str, icon: str, style: str, clicked: Callable[[], None]
    ) -> Any:
        button = widgets.Button(description=title, icon=icon, button_style=style)
        button.add_class(f"labkit-{name}")
        button.on_click(lambda button: self._home.do(clicked))
        return button

    def _laid_out(self) -> Any:
        buttons = widgets.HBox([self.run_button, self.stop_button, self.clear_button])
        buttons.add_class("labkit-buttons")
        style = widgets.HTML(view.STYLE)
        whole = widgets.VBox([style, self.form.box, buttons, self.status, self.tabs])
        whole.add_class("labkit-panel")
        return whole

    def __repr__(self) -> str:
        return view.plain(self.study, self.code)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        """The widget where one can live, and what it shows now as a page and as text."""
        page = view.page(self._watching.arms(), self.study, self.code)
        bundle = {"text/plain": repr(self), "text/html": page}
        return (self.widget._repr_mimebundle_() if progress.is_live() else {}) | bundle


def _html(name: str) -> Any:
    shown = widgets.HTML()
    shown.add_class(f"labkit-{name}")
    return shown
