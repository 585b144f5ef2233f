"""The panel: its form, its buttons, the task that runs what the fields ask for, and its pictures.

Plan. A press of a button comes as a message of its own, and a front end may send it to a subshell:
a thread with an event loop of its own, which can end while a trial runs. So all that a panel does,
it does in the kernel's main loop (`MainLoop`), and nothing of it needs a lock. The trials run as a
task of that loop, in which other cells go on; the task belongs to no cell and no thread.

Classes to find things by, beside those of the fields (see `form`): `labkit-panel`, `labkit-run`,
`labkit-stop`, `labkit-clear`, `labkit-live`, `labkit-table`, `labkit-code`.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import re
import sys
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from functools import partial, wraps
from pathlib import Path
from typing import Any, TypeVar

import ipywidgets as widgets
import msgspec

from labkit import paths, stats
from labkit.errors import BadInput, LabError, TrialFailed
from labkit.escaping import escape
from labkit.lab import progress
from labkit.lab.live import LiveOutput, Notebook
from labkit.notebook.panel.form import Form, PanelRun, Strategy, named, read, settings_of, styled
from labkit.record import codes
from labkit.record.record import Record
from labkit.record.store import Store
from labkit.report import html
from labkit.report.study import Study
from labkit.spec.plan import Step
from labkit.spec.trial import Trial

T = TypeVar("T")
NOTHING = "Nothing was measured yet: press Run."
UNKNOWN = "# A field is wrong: the reason stands below it.\n"
STYLE = f"<style>{Path(__file__).with_name('style.css').read_text(encoding='utf-8')}</style>"
# A page that came by plain HTTP from another host has no other way to the clipboard.
COPY = paths.table("options.toml")["panel"]["copy"]
# What names an arm of a panel: every setting, of which those that differ are shown.
Arm = Mapping[str, Any]


class MainLoop:
    """The kernel's loop and the context of the cell that made the panel.

    What is printed or shown there belongs to that cell. The answer to a message of a subshell is
    sent to that subshell, which may be gone by then. Outside of a kernel any loop will do.
    """

    def __init__(self) -> None:
        ipython = sys.modules.get("IPython")
        shell = ipython.get_ipython() if ipython is not None else None
        io_loop = getattr(getattr(shell, "kernel", None), "io_loop", None)
        self._loop: asyncio.AbstractEventLoop | None = getattr(io_loop, "asyncio_loop", None)
        self._context = contextvars.copy_context()

    def elsewhere(self) -> asyncio.AbstractEventLoop | None:
        """Return the loop where another thread runs it than this one, else None."""
        is_here = threading.current_thread() is threading.main_thread()
        return None if is_here or self._loop is None or self._loop.is_closed() else self._loop

    def call(self, work: Callable[[], None]) -> None:
        """Call it in the loop: at once where this thread runs it, else as soon as it turns."""
        context, loop = self._context.copy(), self.elsewhere()
        if loop is None:
            context.run(work)
        else:
            loop.call_soon_threadsafe(work, context=context)

    async def result(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Await it in the loop and return its result; cancelled here, it is cancelled there."""
        loop = self.elsewhere()
        if loop is None:
            return await work()
        run = asyncio.run_coroutine_threadsafe
        return await asyncio.wrap_future(self._context.copy().run(run, work(), loop))


class Area(LiveOutput):
    """The panel's live picture, in the place of an output of a cell; at the end it stays."""

    def __init__(self, shown: Any, picture: Callable[[], str]) -> None:
        self._shown, self._picture = shown, picture

    def show(self, bundle: Mapping[str, str]) -> None:
        """Show this in its place."""
        self._shown.value = bundle["text/html"]

    def close(self, bundle: Mapping[str, str] | None) -> None:
        """Show how it ended above the picture."""
        self._shown.value = (bundle["text/html"] if bundle else "") + self._picture()


class Watching(Notebook):
    """The live picture of a cell that waits, which stays; and the arms and records behind it."""

    def __init__(self, shown: Any, joined: Callable[[], None], ticked: Callable[..., None]) -> None:
        super().__init__(Area(shown, self.picture))
        self._joined, self._ticked = joined, ticked
        # A tick box for each arm: whether its lines are drawn.
        self.boxes = styled(widgets.HBox(), "ticks", "arms")
        self.measured: list[tuple[Arm, Record]] = []
        self._seen: list[Arm] = []
        self._codes: dict[str, list[Any]] = {}

    def clear(self) -> None:
        """Forget all arms and records."""
        for remembered in (self.measured, self._seen, self._arms):
            remembered.clear()
        self.boxes.children = ()
        self._spot.close(None)

    def begin(self, trials: int) -> None:
        """Start to count anew."""
        self._lines.clear()
        self._verdicts.clear()
        self._first = self._clock()
        super().begin(trials)

    def started(self, step: Step) -> None:
        """Name the arm by the settings that differ from the first one's, of any press."""
        trial = step.trial
        versions = self._codes.setdefault(named(trial), [])
        code = code_of(trial.function)
        if code not in versions:
            versions.append(code)
        version = versions.index(code) + 1
        label = f"{named(trial)}{f', version {version}' if version > 1 else ''}"
        arm = {one.name: one.value for one in settings_of(trial) if one.name != "url"}
        arm |= {"target": trial.url or trial.target.kind, "transport": trial.transport.kind}
        arm["strategy"] = label
        names = differing([*self._seen[:1], arm])
        self._seen.append(arm)
        super().started(replace(step, axes={name: arm[name] for name in names}))
        boxes = {box.description: box for box in self.boxes.children}
        if self._label not in boxes:
            box = widgets.Checkbox(description=self._label, value=True, indent=False)
            box.observe(self._ticked, names="value")
            boxes[self._label] = box
        self.boxes.children = [boxes[label] for label in self._arms]

    def finished(self, record: Record) -> None:
        """Add the record, unless its trial was stopped half-way."""
        super().finished(record)
        if not codes.has(record, "interrupted"):
            self.measured.append((self._seen[-1], record))
            self._joined()

    def interrupted(self, says: str) -> None:
        """Show what is stored."""
        self._lines[:] = [says]

    def picture(self, running: str | None = None) -> str:
        """Return the picture of the arms that are ticked, or why it cannot be drawn."""
        self.hidden = [box.description for box in self.boxes.children if not box.value]
        try:
            return super().picture(running)
        except Exception as error:  # noqa: BLE001  # whatever it is, the trial is worth more
            return escape(f"the picture cannot be drawn ({type(error).__name__}: {error})")


def differing(arms: Sequence[Arm]) -> list[str]:
    """Return the settings by which the arms differ, of those that all have; always the strategy."""
    first, *others = arms or [{}]
    names = [n for n, value in first.items() if any(one.get(n, value) != value for one in others)]
    return ["strategy", *(name for name in names if name != "strategy")]


def code_of(function: Any) -> Any:
    """Return what the function's code does: equal for a cell that was run again, wherever."""
    plain: Any = inspect.unwrap(function)
    if not hasattr(plain, "__code__"):
        return function
    # Not the line at which it begins in its cell.
    code = plain.__code__.replace(co_firstlineno=1)
    return code, repr(plain.__defaults__), repr(plain.__kwdefaults__)


def in_main_loop(method: Callable[[Bench], None]) -> Callable[..., None]:
    """Run a method of a panel in the kernel's main loop, whichever thread calls it."""

    @wraps(method)
    def call(bench: Bench, *_: Any) -> None:
        bench.main.call(partial(method, bench))

    return call


class Bench:
    """A panel; see `lab.panel`. It shows itself where it is a cell's last line."""

    def __init__(
        self, trial: Trial, strategies: Sequence[Strategy], repeats: int, store: Store | None
    ) -> None:
        self._base, self._store, self.main = trial, store, MainLoop()
        self._task: asyncio.Task[None] | None = None
        self._stopped = False
        self._request: PanelRun | None = None
        self.form = Form(trial, strategies, repeats, self._read)
        self.run_button = button("run", "play", "primary", self._clicked)
        self.stop_button = button("stop", "stop", "danger", self.stop)
        self.clear_button = button("clear", "trash", "", self.clear)
        areas = [styled(widgets.HTML(), name) for name in ("live", "table", "code")]
        self.live, self.table, self.code_shown = areas
        self._watching = Watching(self.live, self._tabulate, self._redraw)
        self.arms = self._watching.boxes
        buttons = widgets.HBox([self.run_button, self.stop_button, self.clear_button])
        parts = [widgets.HTML(STYLE), self.form.box, buttons, self.arms, *areas]
        self.widget = styled(widgets.VBox(parts), "panel")
        self._read()
        self._tabulate()

    @property
    def records(self) -> list[Record]:
        """Return what was measured since the panel was last cleared, in the order of its ends."""
        return [record for _, record in self._watching.measured]

    @property
    def study(self) -> Study:
        """Return the same as a study, whose arms are named by the settings that differ."""
        measured = self._watching.measured
        by = differing([arm for arm, _ in measured])
        named = [
            msgspec.structs.replace(record, axes={name: arm.get(name) for name in by})
            for arm, record in measured
        ]
        return Study(named, by)

    @property
    def code(self) -> str:
        """Return the Python that does what Run would do; a comment where a field is wrong."""
        return self._request.code if self._request is not None else UNKNOWN

    @property
    def is_running(self) -> bool:
        """Return whether trials run."""
        return self._task is not None and not self._task.done()

    async def run(self) -> Study:
        """Do what Run does and wait; return the study of all that the panel has measured by then.

        The record of a trial that fails is invalid. Raises `BadInput` where a field is wrong, or
        where trials already run.
        """
        return await self.main.result(self._run)

    async def _run(self) -> Study:
        # Where this is cancelled, so is the task, and this ends after it.
        (error,) = await asyncio.gather(self._start(), return_exceptions=True)
        if isinstance(error, Exception) and not isinstance(error, TrialFailed):
            raise error
        return self.study

    @in_main_loop
    def _clicked(self) -> None:
        try:
            self._start()
        except BadInput as error:
            self.form.show([str(error)])

    @in_main_loop
    def stop(self) -> None:
        """Do what Stop does: end what runs. Both its processes are gone within a second or so."""
        if self._task is not None and self.is_running and not self._stopped:
            self._stopped = True
            # Outside of a kernel another thread's loop may run it.
            self._task.get_loop().call_soon_threadsafe(self._task.cancel)
            self._enable()

    @in_main_loop
    def clear(self) -> None:
        """Do what Clear does: forget what was measured. The records stay in the store."""
        if not self.is_running:
            self._watching.clear()
            self._tabulate()

    @in_main_loop
    def _redraw(self) -> None:
        """Draw the picture anew where it is now: an arm was hidden or is shown again."""
        picture = self._watching.picture()
        self.live.value = re.sub("(?s)<figure.*</figure>", lambda _: picture, self.live.value)

    def _start(self) -> asyncio.Task[None]:
        if self.is_running:
            raise BadInput("the panel already runs: press Stop, or wait until it has ended")
        self._read()
        if self._request is None:
            raise BadInput(next(iter(self.form.wrong.values())))
        self._stopped = False
        self._task = asyncio.get_running_loop().create_task(self._measure(self._request))
        # Not at the end of the task itself, which one that is stopped at once never reaches.
        self._task.add_done_callback(self._ended)
        self._enable()
        return self._task

    async def _measure(self, request: PanelRun) -> None:
        from labkit.lab import facade  # half of all that a panel imports, and not to be shown

        where: dict[str, Any] = {"store": self._store, "reporter": self._watching}
        if request.axes:
            await facade.compare(request.trial, request.axes, repeats=request.repeats, **where)
        else:
            await facade.run(request.trial, **where)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._enable()
        error = None if task.cancelled() else task.exception()
        if isinstance(error, LabError):
            self.form.show([str(error)])
        elif error is not None:
            self.form.show([f"this is a fault of the lab's: {type(error).__name__}: {error}"])
            raise error  # the loop shows where it came from

    @in_main_loop
    def _read(self) -> None:
        """Read the fields: show what is wrong at each, or allow to run."""
        self.form.lay_out()
        self._request, wrong = read(self._base, self.form.ticked(), self.form.texts())
        self.form.show(wrong)
        copy = f'<button type="button" class="labkit-copy" onclick="{escape(COPY)}">copy</button>'
        self.code_shown.value = f"<div>{copy}<pre>{escape(self.code)}</pre></div>"
        self._enable()

    def _enable(self) -> None:
        self.run_button.disabled = self.is_running or self._request is None
        self.stop_button.disabled = not self.is_running or self._stopped
        self.clear_button.disabled = self.is_running

    def _tabulate(self) -> None:
        self.table.value = table_html(self.study)

    def __repr__(self) -> str:
        measured = self.study.table().text() if self.records else NOTHING
        return f"lab.panel()\n\n{measured}\n\n{self.code}"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        """Return the widget in a live kernel, and what it shows now as a still page and as text."""
        page = (
            f'{STYLE}<div class="labkit-panel"><p><b>lab.panel()</b></p>{self._watching.picture()}'
            f"{table_html(self.study)}<pre>{escape(self.code)}</pre></div>"
        )
        bundle = {"text/plain": repr(self), "text/html": page}
        return (self.widget._repr_mimebundle_() if progress.is_live() else {}) | bundle


def button(name: str, icon: str, style: str, clicked: Callable[..., None]) -> Any:
    """Return a button that calls `clicked`."""
    made = widgets.Button(description=name.title(), icon=icon, button_style=style)
    made.on_click(clicked)
    return styled(made, name)


def table_html(study: Study) -> str:
    """Return the arms as a table, and each warning once, with the arm that had it first."""
    if not study.records:
        return f"<p>{NOTHING}</p>"
    first: dict[str, str] = {}
    for record in study.records:
        for note in record.warnings:
            arm = stats.arm_label(record.axes)
            first.setdefault(note.code, f"{note.code} ({arm}): {note.message}")
    return study.table().html() + html.listed(list(first.values()))
