"""`lab.panel()`: a trial or a comparison by fields and buttons, drawn live while it runs.

A front: it reads fields, calls `lab` and shows the result. ipywidgets is imported when a panel is
made, and by nothing else of the lab.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING

from labkit.errors import NotInstalled
from labkit.spec.trial import Trial

if TYPE_CHECKING:
    from labkit.notebook.panel.bench import Bench
    from labkit.notebook.panel.form import Strategy
    from labkit.record.store import Store

__all__ = ["panel"]


def panel(
    trial: Trial | None = None,
    *,
    strategies: Sequence[Strategy] = (),
    repeats: int = 1,
    store: Store | None = None,
) -> Bench:
    """Make a panel to choose what runs, run it, watch it, stop it, and copy it as Python.

    Its fields begin as `trial` has them. `strategies` are ticked: names, or functions of your own,
    each run as its name is defined by then. Of the panel, `study` is what was measured so far and
    `code` the Python that repeats the fields; `await run()` and `stop()` do what the buttons do.
    Without a live kernel it is a still page. Raises `BadInput` for a strategy that does not exist,
    and `NotInstalled` without ipywidgets; of other packages the form says what to install.
    """
    if find_spec("ipywidgets") is None:
        raise NotInstalled("lab.panel()", "ipywidgets", "lab")
    from labkit.notebook.panel.bench import Bench

    ticked = [Trial(strategy=one).get("strategy") for one in strategies]
    return Bench(trial or Trial(), ticked, repeats, store)
