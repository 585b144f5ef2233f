"""`%%labprof`: its options and its cell as text, and in a real kernel."""

import re
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest
from factories import call, make_function
from kernels import Output, kernel
from machines import checks

import labkit as lab
from labkit.notebook import magics
from labkit.profiler.callgraph import CallGraph

Run = Callable[[str], Output]


@pytest.mark.parametrize(("first", "becomes"), checks("magics.toml", "calls"))
def test_the_first_line_becomes_a_call_and_the_others_stay(first: str, becomes: str) -> None:
    others = ["%%labprof\n", "await f()\n"]
    assert magics.replaced([first, *others]) == [becomes, *others]
    assert magics.replaced([]) == []


def test_kernel_s_own_functions_are_left_out() -> None:
    half = call(3, 0.5)
    functions = (
        make_function("<module>", 1.0, half, file="cell.py"),
        make_function("task", 1.0, file="mine.py"),
        make_function("run_code", 1.0, half, file="/x/IPython/core/interactiveshell.py"),
        make_function("shared", 1.0, file="", coroutine=False),
    )
    found = magics.of_cell(CallGraph(clock="wall", functions=functions), "cell.py")
    assert [one.name for one in found.functions] == ["<module>", "task", "shared"]
    assert found.functions[2].total_s == 0.5


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    """Return what runs a cell in a kernel."""
    with kernel() as found:
        found.run("%load_ext labkit\nimport asyncio")
        found.run("async def leaf(): return await asyncio.sleep(0.05, 1)")
        found.run("async def tree(): return sum(await asyncio.gather(leaf(), leaf(), leaf()))")
        yield found.run


def shown(output: Output) -> dict[str, str]:
    (display,) = output["display_data"]
    return dict(display["data"])


@pytest.mark.slow
def test_cell_that_awaits_is_profiled_and_keeps_its_value(run: Run) -> None:
    output = run("%%labprof --rows 30 --into found\nx = await tree()\nx")
    assert "error" not in output
    assert output["execute_result"][0]["data"]["text/plain"] == "3"
    data = shown(output)
    assert set(data) == {"text/html", "text/plain"}
    assert data["text/html"].startswith("<table")
    assert re.search(r"^leaf .* coroutine +3 ", data["text/plain"], re.MULTILINE)
    assert "ipykernel" not in data["text/plain"]
    check = "(found.clock, [r for r in found.frame()['function'] if r in ('leaf', 'tree')].sort())"
    assert run(check)["execute_result"][0]["data"]["text/plain"] == "('wall', None)"


@pytest.mark.slow
def test_cell_that_fails_shows_its_error_and_its_profile(run: Run) -> None:
    output = run("%%labprof\nawait tree()\n1/0")
    assert output["error"][0]["ename"] == "ZeroDivisionError"
    assert "tree" in shown(output)["text/plain"]
    assert "display_data" not in run("1 + 1")


@pytest.mark.slow
def test_bad_options_run_nothing(run: Run) -> None:
    for options, says in checks("magics.toml", "refused"):
        output = run(f"%%labprof {options}\nran = True")
        assert output["error"][0]["ename"] == "BadInput"
        assert says in output["error"][0]["evalue"]
        assert "display_data" not in output
    assert run("ran")["error"][0]["ename"] == "NameError"


@pytest.mark.slow
def test_yappi_of_the_user_s_own_is_left_alone(run: Run) -> None:
    run("import yappi; yappi.start()")
    assert "yappi.stop()" in run("%%labprof\n1")["error"][0]["evalue"]
    stopped = run("yappi.is_running(), yappi.stop(), yappi.is_running()")
    assert stopped["execute_result"][0]["data"]["text/plain"] == "(True, None, False)"
    assert "error" not in run("yappi.clear_stats()\n")
    assert "error" not in run("%%labprof --clock cpu\nawait tree()")


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
