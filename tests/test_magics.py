"""`%%labprof`: its options and its cell as text, and in a real kernel."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest
from kernels import Said, kernel

import labkit as lab
from labkit.errors import BadInput
from labkit.notebook import magics
from labkit.profiler.callgraph import Call, CallGraph, Function

Run = Callable[[str], Said]


def test_first_line_becomes_a_call_and_the_others_stay() -> None:
    lines = ["%%labprof --clock cpu\n", "await f()\n"]
    assert magics.replaced(lines) == [
        "get_ipython().labprof_start('--clock cpu')\n",
        "await f()\n",
    ]


@pytest.mark.parametrize("lines", [[], ["x = 1\n"], ["%%labprofile\n"], ["x\n", "%%labprof\n"]])
def test_other_cells_stay_as_they_are(lines: list[str]) -> None:
    assert magics.replaced(lines) == lines


def test_options_are_quoted_whatever_they_hold() -> None:
    (line,) = magics.replaced(["%%labprof '); import os #\n"])
    assert line == 'get_ipython().labprof_start("\'); import os #")\n'


def test_unknown_option_is_said_and_ends_nothing() -> None:
    with pytest.raises(BadInput, match=r"%%labprof: unrecognized arguments: --bogus; usage"):
        magics.parsed("--bogus")


def test_quote_that_is_not_closed_is_said() -> None:
    with pytest.raises(BadInput, match=r"%%labprof: \"--into 'x\" does not parse \(No closing"):
        magics.parsed("--into 'x")


def test_kernel_s_own_functions_are_left_out() -> None:
    def function(name: str, file: str, *called: Call, coroutine: bool = True) -> Function:
        return Function(
            name=name,
            file=file,
            line=1,
            coroutine=coroutine,
            calls=1,
            total_s=1.0,
            self_s=0.5,
            called=called,
        )

    half = Call(callee=3, calls=1, total_s=0.5, self_s=0.5)
    graph = CallGraph(
        clock="wall",
        functions=(
            function("<module>", "cell.py", half),
            function("task", "mine.py"),
            function("run_code", "/x/IPython/core/interactiveshell.py", half),
            function("shared", "", coroutine=False),
        ),
    )
    found = magics.of_cell(graph, "cell.py")
    assert [one.name for one in found.functions] == ["<module>", "task", "shared"]
    assert found.functions[2].total_s == 0.5


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    """Runs a cell in a kernel; what it said, by the kind of message."""
    with kernel() as found:
        found.run("%load_ext labkit")
        found.run(
            "import asyncio\n"
            "async def leaf():\n"
            "    await asyncio.sleep(0.05)\n"
            "    return 1\n"
            "async def tree():\n"
            "    return sum(await asyncio.gather(leaf(), leaf(), leaf()))\n"
        )
        yield found.run


def shown(said: Said) -> dict[str, str]:
    (display,) = said["display_data"]
    data: dict[str, str] = display["data"]
    return data


@pytest.mark.slow
def test_cell_that_awaits_is_profiled_and_keeps_its_value(run: Run) -> None:
    said = run("%%labprof --rows 30 --into found\nx = await tree()\nx")
    assert "error" not in said
    assert said["execute_result"][0]["data"]["text/plain"] == "3"
    data = shown(said)
    assert set(data) == {"text/html", "text/plain"}
    assert data["text/html"].startswith("<table")
    assert re.search(r"^leaf .* coroutine +3 ", data["text/plain"], re.MULTILINE)
    assert "ipykernel" not in data["text/plain"]
    check = "(found.clock, [r for r in found.frame()['function'] if r in ('leaf', 'tree')].sort())"
    assert run(check)["execute_result"][0]["data"]["text/plain"] == "('wall', None)"


@pytest.mark.slow
def test_cell_that_fails_shows_its_error_and_its_profile(run: Run) -> None:
    said = run("%%labprof\nawait tree()\n1/0")
    assert said["error"][0]["ename"] == "ZeroDivisionError"
    assert "tree" in shown(said)["text/plain"]
    assert "display_data" not in run("1 + 1")


@pytest.mark.slow
def test_bad_options_run_nothing(run: Run) -> None:
    for options, says in [
        ("--clock wal", "did you mean 'wall'"),
        ("--sort time", "self, total, calls, mean"),
        ("--rows 0", "rows is 0"),
        ("--into 1x", "the name of a variable"),
        ("--bogus", "usage"),
    ]:
        said = run(f"%%labprof {options}\nran = True")
        assert said["error"][0]["ename"] == "BadInput"
        assert says in said["error"][0]["evalue"]
        assert "display_data" not in said
    assert run("ran")["error"][0]["ename"] == "NameError"


@pytest.mark.slow
def test_yappi_of_the_user_s_own_is_left_alone(run: Run) -> None:
    run("import yappi; yappi.start()")
    said = run("%%labprof\n1")
    assert "yappi.stop()" in said["error"][0]["evalue"]
    stopped = run("yappi.is_running(), yappi.stop(), yappi.is_running()")
    assert stopped["execute_result"][0]["data"]["text/plain"] == "(True, None, False)"
    assert "error" not in run("yappi.clear_stats()\n")
    assert "error" not in run("%%labprof --clock cpu\nawait tree()")


@pytest.mark.slow
def test_cell_without_awaits_is_profiled_too(run: Run) -> None:
    said = run("%%labprof --sort calls\nlen(sorted(range(5), key=lambda n: -n))")
    assert said["execute_result"][0]["data"]["text/plain"] == "5"
    assert re.search(r"^<lambda> .* function +5 ", shown(said)["text/plain"], re.MULTILINE)


def test_the_extension_is_loaded_twice_like_once() -> None:
    named: list[str] = []
    shell = SimpleNamespace(
        input_transformers_cleanup=[],
        register_magic_function=lambda function, kind, name: named.append(name),
    )
    lab.load_ipython_extension(shell)
    lab.load_ipython_extension(shell)
    assert named == ["labprof"]
    assert shell.input_transformers_cleanup == [magics.replaced]
