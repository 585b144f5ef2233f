"""The package as it is imported: names, lightness, and what a measured process holds."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import labkit as lab
from labkit import charts
from labkit.measured import patterns, strategies
from labkit.spec.registry import STRATEGIES

HEAVY = (
    *("aiohttp", "pandas", "matplotlib", "msgspec", "IPython", "typer", "rich", "uvloop"),
    *("PIL", "html"),
)


def loaded_after(code: str) -> set[str]:
    """The top-level modules that a fresh interpreter holds once it has run `code`."""
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; import json, sys; print(json.dumps(list(sys.modules)))"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return {name.partition(".")[0] for name in json.loads(done.stdout)}


def test_all_is_what_the_stub_names() -> None:
    assert lab.__all__ == sorted(set(lab.__all__))
    assert set(lab.__all__) <= set(dir(lab))
    public = {name for name, value in vars(lab).items() if not isinstance(value, type(sys))}
    others = {name for name in public if not name.startswith("_")} - set(lab.__all__)
    assert others <= {
        "Any",
        "Callable",
        "Path",
        "annotations",
        "attach_stub",
        "import_module",
        "load_ipython_extension",
    }


@pytest.mark.parametrize("name", lab.__all__)
def test_every_public_name_is_there_and_described(name: str) -> None:
    assert getattr(lab, name).__doc__


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        lab.nonsense  # noqa: B018


def test_importing_labkit_imports_nothing_heavy() -> None:
    assert not loaded_after("import labkit").intersection(HEAVY)


def test_a_lab_that_draws_nothing_is_light() -> None:
    assert not loaded_after("import labkit.lab.facade, labkit.cli") & {
        "matplotlib",
        "pandas",
    }


@pytest.mark.parametrize("name", charts.__all__)
def test_every_chart_is_there(name: str) -> None:
    assert getattr(charts, name).__doc__


def test_an_unknown_chart_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        charts.nonsense  # noqa: B018


def test_the_worker_imports_nothing_of_the_parent() -> None:
    held = loaded_after("import labkit.measured.worker, labkit.measured.transports.aiohttp")
    assert not held & {"pandas", "matplotlib", "IPython", "typer", "rich", "psutil", "numpy"}


def test_what_profiles_imports_nothing_of_the_parent() -> None:
    held = loaded_after(
        "import labkit.measured.worker, labkit.profiler.profiler, labkit.profiler.timers"
    )
    assert not held & {"pandas", "matplotlib", "IPython", "typer", "rich", "psutil", "numpy"}


def test_an_experiment_imports_nothing_of_the_parent() -> None:
    held = loaded_after(
        "import labkit.measured.experiments.__main__, labkit.measured.experiments.aiohttp"
    )
    assert not held & {"pandas", "matplotlib", "IPython", "typer", "rich", "psutil", "numpy"}


def test_the_patterns_need_the_standard_library_alone() -> None:
    new = loaded_after("import labkit.measured.patterns") - loaded_after("pass")
    assert new - sys.stdlib_module_names == {"labkit"}


def test_the_patterns_hand_on_what_they_say() -> None:
    names = {name for name in dir(patterns) if not name.startswith("_")}
    modules = {name for name in names if isinstance(getattr(patterns, name), type(sys))}
    assert names - modules - {"annotations"} == set(patterns.__all__)
    assert all(getattr(patterns, name).__doc__ for name in patterns.__all__)


def test_the_base_names_the_strategies_that_there_are() -> None:
    assert tuple(STRATEGIES) == strategies.NAMES
