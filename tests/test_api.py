"""The package as it is imported: names, lightness, and what a measured process holds."""

import asyncio
import json
import re
import sys
from types import ModuleType

import pytest
from programs import ran

import labkit as lab
from labkit import charts
from labkit.lab.awaiting import awaited
from labkit.measured import patterns

HEAVY = (
    *("aiohttp", "pandas", "matplotlib", "msgspec", "IPython", "click", "rich", "uvloop"),
    *("PIL", "html", "ast", "pathlib"),
)
STARTS_WITHOUT = ("email", "pickle", "shutil", "tempfile")
DRAWING = ("matplotlib", "pandas")
PARENT = ("pandas", "matplotlib", "IPython", "click", "rich", "psutil", "numpy")


def loaded_after(code: str) -> set[str]:
    """The top-level modules that a fresh interpreter holds once it has run `code`."""
    told = f"{code}; import json, sys; print(json.dumps(list(sys.modules)))"
    done = ran(sys.executable, "-c", told, check=True)
    return {name.partition(".")[0] for name in json.loads(done.stdout)}


def test_all_is_what_the_stub_names() -> None:
    assert lab.__all__ == sorted(set(lab.__all__))
    assert set(lab.__all__) <= set(dir(lab))
    public = {name for name, value in vars(lab).items() if not isinstance(value, ModuleType)}
    others = {name for name in public if not name.startswith("_")} - set(lab.__all__)
    known = {"Any", "Callable", "Path", "annotations", "attach_stub", "cache", "import_module"}
    assert others <= known | {"load_ipython_extension"}


@pytest.mark.parametrize(
    ("package", "name"),
    [(package, name) for package in (lab, charts, patterns) for name in package.__all__],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_every_public_name_is_there_and_described(package: ModuleType, name: str) -> None:
    assert getattr(package, name).__doc__


CALLS = {"run": [lab.Trial()], "compare": [], "sweep": [], "profile": [], "arena": [print]}


@pytest.mark.parametrize("name", [*CALLS, "ladder", "check_claims", "reproduce"])
async def test_a_call_that_is_used_before_it_is_awaited_says_so(name: str) -> None:
    call = getattr(lab, name)(*CALLS.get(name, ["nothing"]))
    sentence = f"lab.{name}(...) was not awaited: write `await lab.{name}(...)`"

    assert (repr(call), hasattr(call, "table"), hasattr(call, "_repr_html_")) == (
        sentence, False, False,
    )  # fmt: skip
    with pytest.raises(lab.LabError, match=re.escape(sentence)) as caught:
        call.table()
    assert caught.value._render_traceback_() == [f"NotAwaited: {sentence}"]


def test_an_argument_that_a_call_has_not_is_refused_before_anything_runs() -> None:
    for name in ("run", "sweep", "arena", "ladder", "check_claims", "reproduce", "Trial"):
        with pytest.raises(lab.BadInput, match=r"is 'stoer'.*'store'|'one' without a name"):
            getattr(lab, name)("one", stoer=3)


async def test_a_server_that_is_used_before_it_is_entered_says_so() -> None:
    server = lab.serving()

    async def awaiting() -> None:
        await server

    for use in (lambda: server.url, server.stats, server.__enter__, awaiting):
        with pytest.raises(lab.LabError, match=r"write `async with lab\.serving\(\.\.\.\) as s"):
            await asyncio.wait_for(use(), 1)
    assert not hasattr(server, "_repr_html_")


async def test_awaited_it_is_the_call_itself() -> None:
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(awaited(asyncio.sleep)(0, "result"))

    assert task.result() == "result"
    with pytest.raises(lab.BadInput, match=r"write lab\.Trial\(strategy='task_pool'\)"):
        await lab.run("task_pool")


@pytest.mark.parametrize("package", [lab, charts])
def test_an_unknown_name_is_an_attribute_error(package: ModuleType) -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        package.nonsense  # noqa: B018


@pytest.mark.parametrize(
    ("modules", "absent"),
    [
        ("labkit", HEAVY),
        ("labkit.lab.facade, labkit.cli", DRAWING),
        ("labkit.measured.worker, labkit.measured.transports.aiohttp", PARENT),
        ("labkit.measured.worker, labkit.measured.transports.wire", STARTS_WITHOUT),
        ("labkit.measured.targets.http.__main__", (*STARTS_WITHOUT, *PARENT, "aiohttp")),
        ("labkit.lab.live", (*DRAWING, "numpy", "IPython", "jinja2")),
        ("labkit.measured.worker, labkit.profiler.profiler, labkit.profiler.timers", PARENT),
        ("labkit.measured.experiments as e; e.module('aiohttp_client')", PARENT),
    ],
)
def test_importing_a_part_imports_nothing_that_it_does_not_need(
    modules: str, absent: tuple[str, ...]
) -> None:
    assert not loaded_after(f"import {modules}").intersection(absent)


def test_the_patterns_need_the_standard_library_alone() -> None:
    new = loaded_after("import labkit.measured.patterns") - loaded_after("pass")
    assert new - sys.stdlib_module_names == {"labkit"}


def test_the_patterns_hand_on_what_they_say() -> None:
    names = {name for name in dir(patterns) if not name.startswith("_")}
    modules = {name for name in names if isinstance(getattr(patterns, name), ModuleType)}
    assert names - modules - {"annotations"} == set(patterns.__all__)
