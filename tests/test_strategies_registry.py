"""How a strategy is found by name, and what its decorator adds."""

import ast
import asyncio
import inspect
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

import cloudpickle
import pytest
from machines import checks

import labkit
from labkit.errors import BadInput
from labkit.measured import strategies
from labkit.measured.strategies import NAMES, load, strategy

FILES = Path(inspect.getfile(strategies)).parent
HOME = "labkit.measured.strategies"
ROOT = Path(inspect.getfile(labkit)).parent.parent
for_every_strategy = pytest.mark.parametrize("name", NAMES)


def python(code: str) -> str:
    """Return what a fresh interpreter prints when it runs `code`."""
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


# Finding


def test_names_are_the_files() -> None:
    assert sorted(NAMES) == sorted(
        path.stem[1:] for path in FILES.glob("_*.py") if path.stem not in ("__init__", "_guard")
    )


def test_all_is_exact() -> None:
    handed_on = {"Fetch", "NAMES", "Strategy", "Tally", "load", "strategy"}
    assert set(strategies.__all__) == handed_on
    assert handed_on | set(NAMES) <= set(dir(strategies))


@for_every_strategy
def test_a_file_defines_one_strategy_of_its_name_with_one_sentence(name: str) -> None:
    tree = ast.parse((FILES / f"_{name}.py").read_text())
    decorated = [
        node for node in tree.body if isinstance(node, ast.AsyncFunctionDef) and node.decorator_list
    ]
    assert [node.name for node in decorated] == [name]
    text = ast.get_docstring(decorated[0])
    assert text is not None
    assert "\n" not in text
    assert text.endswith(".")


@for_every_strategy
def test_a_name_gives_the_function_which_is_pickled_by_name(name: str) -> None:
    found = load(name)
    assert found.__name__ == name
    assert inspect.iscoroutinefunction(found.__wrapped__)
    assert getattr(strategies, name) is cloudpickle.loads(cloudpickle.dumps(found)) is found
    assert list(inspect.signature(found).parameters)[:3] == ["fetch", "items", "limit"]
    assert inspect.signature(found).return_annotation == "Tally"


@pytest.mark.parametrize("imports", checks("strategies.toml", "imports"))
def test_a_name_gives_the_function_in_every_order_of_imports(imports: str) -> None:
    check = "from labkit import strategies; print(queue.__name__, queue is strategies.queue)"
    assert python(f"{imports.format(HOME=HOME)}; {check}") == "queue True\n"


def test_a_strategy_imports_no_other() -> None:
    code = checks("strategies.toml", "loaded")
    loaded = [f"{HOME}.{name}" for name in ("_guard", "_worker_pool")]
    assert python(code) == f"{loaded}\n[]\n"


def test_an_unknown_name_suggests_the_nearest_and_is_no_attribute() -> None:
    with pytest.raises(BadInput, match=r"strategy is 'workerpool'.*did you mean 'worker_pool'"):
        load("workerpool")
    assert not hasattr(strategies, "workerpool")


@pytest.mark.parametrize(("name", "install"), checks("strategies.toml", "missing"))
def test_a_missing_package_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, name: str, install: str
) -> None:
    monkeypatch.delitem(sys.modules, f"labkit.measured.strategies._{name}", raising=False)
    for module in [loaded for loaded in sys.modules if loaded.partition(".")[0] == name]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(BadInput) as raised:
        load(name)
    assert f"strategy is '{name}'" in str(raised.value)
    assert str(raised.value).endswith(f"pip install {install}")


@pytest.mark.parametrize("missing", ["", "sys.modules['pkg_resources'] = None"])
def test_pypeln_runs_with_and_without_pkg_resources(missing: str) -> None:
    assert python(checks("strategies.toml", "pypeln").replace("MISSING", missing)) == "9\n"


# Decorating


async def two_by_two(
    fetch: Callable[[int], Awaitable[object]], items: Iterable[int], limit: int
) -> None:
    """Call two items at a time."""
    for item in items:
        await asyncio.gather(fetch(item), fetch(-item))


async def halve(item: int) -> float:
    return 1 / item


async def test_a_function_of_a_learner_becomes_a_strategy() -> None:
    own = strategy(two_by_two)
    tally = await own(halve, range(3), 2)
    assert (tally.ok, tally.failed, tally.kinds) == (4, 2, {"ZeroDivisionError": 2})
    assert isinstance(tally.first_error, ZeroDivisionError)
    assert own.__wrapped__ is two_by_two
    assert (own.__name__, own.__doc__) == ("two_by_two", "Call two items at a time.")


async def test_an_error_of_the_strategy_itself_comes_out() -> None:
    @strategy
    async def broken(fetch: object, items: object, limit: int) -> None:
        raise RuntimeError("no such slot")

    with pytest.raises(RuntimeError, match="no such slot"):
        await broken(halve, range(3), 2)


@pytest.mark.parametrize("function", [len, lambda fetch, items, limit: None, 3])
def test_only_a_coroutine_function_is_a_strategy(function: object) -> None:
    with pytest.raises(BadInput, match=r"write 'async def name\(fetch, items, limit\)'"):
        strategy(function)


def test_a_strategy_of_a_notebook_reaches_another_process() -> None:
    own = cloudpickle.loads(bytes.fromhex(python(checks("strategies.toml", "notebook"))))
    tally = asyncio.run(own(halve, range(6), 1))
    assert (tally.ok, tally.kinds) == (4, {"ZeroDivisionError": 1})
    assert asyncio.run(own(halve, range(1, 6), 1, skip=10)).ok == 5
    assert inspect.iscoroutinefunction(own.__wrapped__)
