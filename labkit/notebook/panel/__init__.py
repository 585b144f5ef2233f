"""`lab.panel()`: a trial or a comparison by fields and buttons, drawn live while it runs.

A front: it reads fields, calls `lab` and shows what comes back. ipywidgets is imported when a panel
is made, and by nothing else of the lab.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING

from labkit.errors import NotInstalled
from labkit.spec.trial import Trial

if TYPE_CHECKING:
    from labkit.notebook.panel.bench import Bench
    from labkit.notebook.panel.settings import Strategy
    from labkit.record.store import Store

__all__ = ["panel"]


def panel(
    trial: Trial | None = None,
    *,
    strategies: Sequence[Strategy] = (),
    repeats: int = 1,
    store: Store | None = None,
) -> Bench:
    """A panel to choose what is run, run it, watch it, stop it, and take it along as Python.

    Its fields begin as `trial` says; what has no field stays as it is there. `strategies` are
    ticked: names, or functions of your own, each run as it is written by then. Of what comes back,
    `study` is what was measured so far and `code` the Python that repeats it; `await run()` and
    `stop()` do what the buttons do.
    Without a live kernel it is a page that stands still. Raises `BadInput` for a strategy that does
    not exist, and `NotInstalled` without ipywidgets or what else is asked for.
    """
    if find_spec("ipywidgets") is None:
        raise NotInstalled("lab.panel()", "ipywidgets", "lab")
    from labkit.notebook.panel.bench import Bench
    from labkit.notebook.panel.choices import check_installed

    named = [Trial(strategy=one) for one in strategies]
    for one in [trial or Trial(), *named]:
        check_installed(one)
    return Bench(trial or Trial(), [one.get("strategy") for one in named], repeats, store)
