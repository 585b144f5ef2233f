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
import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from html import escape
from typing import Any, TypeVar

import ipywidgets as widgets

from labkit import stats
from labkit.errors import BadInput, LabError
from labkit.lab import progress
from labkit.lab.progress.live import Arm as Drawn
from labkit.lab.progress.live import strips
from labkit.lab.progress.notebook import Notebook, Spot
from labkit.launch import preflight
from labkit.notebook.panel import settings
from labkit.notebook.panel.form import Form
from labkit.notebook.panel.settings import Arm, Request, Strategy
from labkit.record import codes
from labkit.record.record import Record
from labkit.record.store import Store
from labkit.report import html
from labkit.report.study import Study
from labkit.spec.plan import Step
from labkit.spec.trial import Trial

T = TypeVar("T")
NOTHING = "Nothing was measured yet: press Run."


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

    def call(self, work: Callable[[], None]) -> None:
        """Call it in the loop: at once where this thread runs it, else as soon as it turns."""
        context, loop = self._context.copy(), self._other()
        if loop is None:
            context.run(work)
        else:
            loop.call_soon_threadsafe(work, context=context)

    async def result(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Await it in the loop and return its result; cancelled here, it is cancelled there."""
        loop = self._other()
        if loop is None:
            return await work()
        run = asyncio.run_coroutine_threadsafe
        return await asyncio.wrap_future(self._context.copy().run(run, work(), loop))

    def _other(self) -> asyncio.AbstractEventLoop | None:
        """Return the loop where this thread does not run it, else None."""
        try:
            here = asyncio.get_running_loop()
        except RuntimeError:
            here = None
        is_other = self._loop is not None and not self._loop.is_closed() and self._loop is not here
        return self._loop if is_other else None


class Area(Spot):
    """The panel's live picture, in the place of an output of a cell."""

    def __init__(self, shown: Any) -> None:
        self.shown = shown

    def show(self, bundle: Mapping[str, str]) -> None:
        """Show this in its place."""
        self.shown.value = bundle["text/html"]

    def close(self, bundle: Mapping[str, str] | None) -> None:
        """Show the last words."""
        self.show(bundle or {"text/html": ""})


class Watching(Notebook):
    """The live picture of a cell that waits, which stays; and the arms and records behind it."""

    def __init__(self, shown: Any, joined: Callable[[], None]) -> None:
        super().__init__(Area(shown))
        self._shown = shown
        self.measured: list[tuple[Arm, Record]] = []
        self._joined = joined
        self._seen: list[Arm] = []
        self._codes: dict[str, list[Any]] = {}

    def clear(self) -> None:
        """Forget all arms and records."""
        self.measured.clear()
        self._seen.clear()
        self._arms.clear()
        self._spot.close(None)

    def begin(self, trials: int) -> None:
        """Start to count anew."""
        self._lines.clear()
        self._verdicts.clear()
        self._first = self._clock()
        super().begin(trials)

    def started(self, step: Step) -> None:
        """Name the arm by what tells it from the first one, whichever press ran that."""
        version = 1
        if step.trial.function is not None:
            versions = self._codes.setdefault(step.trial.strategy, [])
            code = settings.code_of(step.trial.function)
            if code not in versions:
                versions.append(code)
            version = versions.index(code) + 1
        arm = settings.arm_of(step.trial, version)
        names = settings.differing([*self._seen[:1], arm])
        self._seen.append(arm)
        super().started(replace(step, axes={name: arm[name] for name in names}))

    def finished(self, record: Record) -> None:
        """Add the record, unless its trial was stopped half-way."""
        super().finished(record)
        if not codes.interrupted(record):
            self.measured.append((self._seen[-1], record))
            self._joined()

    def interrupted(self, says: str) -> None:
        """Show what is kept."""
        self._lines[:] = [says]

    def end(self) -> None:
        """Show how it went above the picture, which stays."""
        super().end()
        self._shown.value += self.picture()

    def picture(self) -> str:
        """Return all arms on the same axes, as SVG."""
        arms = [Drawn(label=k, points=v, done=True) for k, v in self._arms.items() if len(v)]
        return strips(arms) if arms else ""

    def _show(self, status: str, share: float = 0.0) -> None:
        try:
            super()._show(status, share)
        except Exception as error:  # noqa: BLE001  # whatever it is, the trial is worth more
            fault = f"the picture cannot be drawn ({type(error).__name__}: {error})"
            self._spot.show({"text/html": escape(fault)})


class Bench:
    """A panel; see `lab.panel`. It shows itself where it is a cell's last line."""

    def __init__(
        self, trial: Trial, strategies: Sequence[Strategy], repeats: int, store: Store | None
    ) -> None:
        self._base, self._store, self._main = trial, store, MainLoop()
        self._task: asyncio.Task[None] | None = None
        self._stopped = False
        self._error: LabError | None = None
        self._request: Request | None = None
        self._checked: Trial | None = None
        self.form = Form(trial, strategies, repeats, self._read, self._main.call)
        self.run_button = self._button("run", "play", "primary", self._clicked)
        self.stop_button = self._button("stop", "stop", "danger", self._stop)
        self.clear_button = self._button("clear", "trash", "", self._clear)
        self.live, self.table, self.code_shown = (widgets.HTML() for _ in range(3))
        self._watching = Watching(self.live, self._tabulate)
        for name, one in (("live", self.live), ("table", self.table), ("code", self.code_shown)):
            one.add_class(f"labkit-{name}")
        buttons = widgets.HBox([self.run_button, self.stop_button, self.clear_button])
        below = [buttons, self.live, self.table, self.code_shown]
        self.widget = widgets.VBox([widgets.HTML(STYLE), self.form.box, *below])
        self.widget.add_class("labkit-panel")
        self._read()
        self._tabulate()

    @property
    def records(self) -> list[Record]:
        """What was measured since the panel was last cleared, in the order in which it ended."""
        return [record for _, record in self._watching.measured]

    @property
    def study(self) -> Study:
        """The same as a study, whose arms are named by whatever differs among them."""
        return settings.study_of(self._watching.measured)

    @property
    def code(self) -> str:
        """The Python that does what Run would do; a comment where a field is wrong."""
        if self._request is None:
            return "# A field is wrong: the reason stands below it.\n"
        return self._request.code

    @property
    def is_running(self) -> bool:
        """Whether trials run. A task whose loop was closed never ends, and runs no more."""
        return self._task is not None and not self._task.get_loop().is_closed()

    async def run(self) -> Study:
        """Do what Run does and wait; return the study of all that the panel has measured by then.

        A trial that fails is kept as invalid. Raises `BadInput` where a field is wrong, or where
        trials already run.
        """
        return await self._main.result(self._run)

    async def _run(self) -> Study:
        task = self._start()
        try:
            await task
        except asyncio.CancelledError:
            if not self._stopped:
                raise
        if isinstance(self._error, BadInput):
            raise self._error
        return self.study

    def stop(self) -> None:
        """Do what Stop does: end what runs. Both its processes are gone within a second or so."""
        self._main.call(self._stop)

    def clear(self) -> None:
        """Do what Clear does: forget what was measured. The records stay in the store."""
        self._main.call(self._clear)

    def _stop(self) -> None:
        if self._task is not None and self.is_running and not self._stopped:
            self._stopped = True
            # Outside of a kernel another thread's loop may run it.
            self._task.get_loop().call_soon_threadsafe(self._task.cancel)
            self._enable()

    def _clear(self) -> None:
        if not self.is_running:
            self._watching.clear()
            self._tabulate()

    def _start(self) -> asyncio.Task[None]:
        if self.is_running:
            raise BadInput("the panel already runs: press Stop, or wait until it has ended")
        self._read()
        if self._request is None:
            raise BadInput(next(iter(self.form.wrong.values())))
        self._stopped, self._error = False, None
        self._task = asyncio.get_running_loop().create_task(self._measure(self._request))
        # Not at the end of the task itself, which one that is stopped at once never reaches.
        self._task.add_done_callback(self._ended)
        self._enable()
        return self._task

    async def _measure(self, request: Request) -> None:
        from labkit.lab import facade  # half of all that a panel imports, and not to be shown

        more: dict[str, Any] = {"store": self._store, "reporter": self._watching}
        try:
            if request.axes:
                more["repeats"] = request.repeats
                await facade.compare(request.trial, request.axes, **more)
            else:
                await facade.run(request.trial, **more)
        except LabError as error:
            self._error = error
            self._refuse(str(error))
        except Exception as error:
            self._refuse(f"this is a fault of the lab's: {type(error).__name__}: {error}")
            raise

    def _ended(self, task: asyncio.Task[None]) -> None:
        if task is self._task:
            self._task = None
            self._enable()

    def _clicked(self) -> None:
        try:
            self._start()
        except LabError as error:
            self._refuse(str(error))

    def _read(self) -> None:
        """Read the fields: show what is wrong at each, or allow to run."""
        self._request, wrong = settings.read(self._base, self.form.chosen())
        trial = self._request.trial if self._request else None
        if trial is not None and trial != self._checked:
            # Of this machine one trial is asked, and once; the run itself asks for each arm.
            try:
                preflight.check(trial)
                self._checked = trial
            except BadInput as error:
                wrong = {settings.field_of(str(error), trial): str(error)}
                self._request = None
        self.form.show(wrong)
        self.code_shown.value = code_html(self.code)
        self._enable()

    def _refuse(self, sentence: str) -> None:
        """Show an error of a run at the field that it names, or below the form."""
        trial = self._request.trial if self._request else self._base
        self.form.show({settings.field_of(sentence, trial): sentence})

    def _enable(self) -> None:
        self.run_button.disabled = self.is_running or self._request is None
        self.stop_button.disabled = not self.is_running or self._stopped
        self.clear_button.disabled = self.is_running

    def _tabulate(self) -> None:
        self.table.value = table_html(self.study)

    def _button(self, name: str, icon: str, style: str, clicked: Callable[[], None]) -> Any:
        button = widgets.Button(description=name.title(), icon=icon, button_style=style)
        button.add_class(f"labkit-{name}")
        button.on_click(lambda button: self._main.call(clicked))
        return button

    def __repr__(self) -> str:
        measured = self.study.table().text() if self.records else NOTHING
        return f"lab.panel()\n\n{measured}\n\n{self.code}"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        """The widget where a kernel lives, and what it shows now as a still page and as text."""
        page = (
            f'{STYLE}<div class="labkit-panel"><p><b>lab.panel()</b></p>{self._watching.picture()}'
            f"{table_html(self.study)}<pre>{escape(self.code)}</pre></div>"
        )
        bundle = {"text/plain": repr(self), "text/html": page}
        return (self.widget._repr_mimebundle_() if progress.is_live() else {}) | bundle


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


# A page that came by plain HTTP from another host has no other way to the clipboard.
COPY = (
    "getSelection().selectAllChildren(this.nextElementSibling); this.innerText = "
    "document.execCommand('copy') ? 'copied' : 'selected: press Ctrl+C or Cmd+C'"
)


def code_html(text: str) -> str:
    """Return the code, with a button that copies it, or selects it where it may not copy."""
    button = f'<button type="button" class="labkit-copy" onclick="{escape(COPY)}">copy</button>'
    return f'<div class="labkit-code-block">{button}<pre>{escape(text)}</pre></div>'


STYLE = """<style>
.labkit-panel { color: var(--jp-ui-font-color1, inherit); }
.labkit-panel .labkit-row, .labkit-panel .labkit-ticks { flex-flow: row wrap; gap: 2px 14px; }
.labkit-panel .labkit-legend { display: inline-block; width: 70px; font-weight: 600; }
.labkit-panel .labkit-field { min-width: 150px; max-width: 250px; }
.labkit-panel .labkit-ticks { max-width: 850px; }
.labkit-panel .labkit-ticks .widget-checkbox { width: auto; margin: 0; }
.labkit-panel .labkit-entry { flex-direction: column; height: auto; width: auto; margin: 0; }
.labkit-panel .labkit-entry > .widget-label { text-align: left; width: auto; height: 20px; }
.labkit-panel .labkit-entry > input, .labkit-panel .labkit-entry > select { width: 100%;
  flex: 0 0 28px; }
.labkit-panel .labkit-wrong { color: var(--jp-error-color1, #d32f2f); font-size: 12px;
  display: block; overflow-wrap: anywhere; }
.labkit-panel .labkit-live { contain: layout paint; }
.labkit-panel .widget-html, .labkit-panel .widget-html-content { width: auto; height: auto;
  margin: 0; min-width: 0; line-height: 1.4; }
.labkit-panel .labkit-table { overflow-x: auto; }
.labkit-panel pre { padding: 10px; overflow-x: auto; color: inherit;
  background: var(--jp-layout-color2, transparent); }
</style>"""
"""What ipywidgets has no setting for: labels over fields, and colours of the theme."""
