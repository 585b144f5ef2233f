"""The fixture `lab_compare`, as a test of a user's uses it."""

import sys
from itertools import cycle
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from machines import checks
from programs import ran

from labkit.lab.pytest_plugin import compare
from labkit.record.record import Counts, Measurement, Note

# A module of tests as a user writes it.
MODULE = (Path(__file__).parent / "data" / "lab_compare.txt").read_text()


def test_functions_of_a_test_module_are_timed_in_fresh_processes(tmp_path: Path) -> None:
    (tmp_path / "test_mine.py").write_text(MODULE)
    (tmp_path / "helper.py").write_text("WAIT_S = 0.02\n")
    words = ["-m", "pytest", "-q", "-p", "labkit.lab.pytest_plugin", "-p", "no:randomly"]
    done = ran(sys.executable, *words, tmp_path, cwd=tmp_path)
    assert "2 passed" in done.stdout, done.stdout


async def old() -> None:
    """Do nothing."""


async def new() -> None:
    """Do nothing either."""


def measuring(times_s: dict[str, list[float]], *notes: Note) -> Any:
    """Return what measures a function by these times, whatever it does."""
    seen = Measurement(counts=Counts(planned=0, sent=0, ok=0))
    left = {name: cycle(values) for name, values in times_s.items()}

    async def measured(name: str, settings: Any, server: Any) -> Any:
        which = "new" if settings["function"] == "new" else "old"
        return {"call_s": next(left[which])}, seen, list(notes)

    named = mock.patch("labkit.launch.preflight.sendable", lambda one, what: one.__name__)
    return named, mock.patch("labkit.launch.experiment.measured", measured)


LOST = Note(code="core-lost", message="others had its core")


@pytest.mark.parametrize(("times_s", "how", "ends"), checks("pytest_plugin.toml", "compared"))
def test_it_fails_unless_the_interval_shows_what_is_asked_for(
    times_s: list[float], how: Any, ends: str | None
) -> None:
    named, measured = measuring({"new": times_s, "old": [1.0]})
    with named, measured:
        if ends is None:
            assert compare(old, new, **how).ratio
            return
        with pytest.raises(pytest.fail.Exception, match=ends):
            compare(old, new, **how)
        if "not decided" in ends:
            with pytest.raises(pytest.skip.Exception, match=ends):
                compare(old, new, undecided="skip", **how)


def test_what_others_disturbed_decides_nothing() -> None:
    named, measured = measuring({"new": [0.1], "old": [1.0]}, LOST)
    with named, measured, pytest.raises(pytest.fail.Exception, match="not decided"):
        compare(old, new, at_most=1.1)
