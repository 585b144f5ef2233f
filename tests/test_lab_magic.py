"""`%lab`: the cells that it is awaited in, its words, its completions; and in a real kernel."""

from __future__ import annotations

import ast
import asyncio
import inspect
import json
import sys
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from IPython.core.inputtransformer2 import TransformerManager
from kernels import Kernel, kernel

import labkit as lab
from labkit import cli
from labkit.cli.commands import options
from labkit.cli.commands.completing import completions
from labkit.errors import BadInput
from labkit.notebook.magics import line
from labkit.notebook.magics.awaiting import awaited
from labkit.spec import parts

SMALL = "--requests 60 --limit 10"


def transformed(cell: str) -> str:
    lines = TransformerManager().transform_cell(cell).splitlines(keepends=True)
    return "".join(awaited(lines))


def awaits(cell: str) -> int:
    """How many calls a cell awaits; it must compile as IPython compiles it."""
    text = transformed(cell)
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    code = compile(text, "cell", "exec", flags=flags)
    found = sum(isinstance(node, ast.Await) for node in ast.walk(ast.parse(text)))
    assert bool(code.co_flags & inspect.CO_COROUTINE) == (bool(found) and "def " not in text)
    return found


@pytest.mark.parametrize(
    "cell",
    [
        "%lab run",
        "run = %lab run --requests 10",
        "runs['ä'] = %lab run",
        "if True:\n    ö = 'ö'; x = 1\n    run = %lab run\n",
        "async def f(n):\n    run = %lab run --requests {n}\n    return run\n",
        "%lab run --requests 10 \\\n  --limit 5",
        "x = '%lab run'; y = 'ß'\nrun = %lab run --set 'workload.path=/ä'",
        "def f():\n    async def g():\n        return 1\n        %lab run\n",
    ],
)
def test_a_line_is_awaited_where_it_stands(cell: str) -> None:
    assert awaits(cell) == 1
    assert transformed(cell).count("\n") == TransformerManager().transform_cell(cell).count("\n")


def test_a_line_in_a_function_in_another_is_awaited_once() -> None:
    within = "def f():\n    async def a():\n        async def b():\n            %lab run\n"
    cell = f"{within}        return 1\n    return 2\n"

    assert awaits(cell) == 1
    assert transformed(cell).endswith("        return 1\n    return 2\n")


def test_several_lines_are_awaited_each() -> None:
    assert awaits("a = %lab run\nb = 'ö'\nc = %lab compare --axis loop=asyncio\n%lab --help\n") == 3


@pytest.mark.parametrize(
    "cell",
    [
        "def f():\n    run = %lab run\n    return run\n",
        "class C:\n    run = %lab run\n",
        "x = 1\n",
        "%labels\n",
        "print('%lab run')",
    ],
)
def test_other_cells_are_left_as_they_are(cell: str) -> None:
    assert transformed(cell) == TransformerManager().transform_cell(cell)


def test_a_cell_that_does_not_parse_is_left_to_python() -> None:
    lines = ["x = = get_ipython().run_line_magic('lab', 'run')\n"]
    assert awaited(lines) == lines


def test_a_last_semicolon_stays_one() -> None:
    assert transformed("%lab run;").rstrip().endswith(");")
    assert line.words("run --requests 5;") == ["run", "--requests", "5"]


@given(st.lists(st.text()))
def test_no_lines_break_the_transformation(lines: list[str]) -> None:
    awaited(["get_ipython().run_line_magic('lab', 'run')", *lines])


@pytest.mark.parametrize(
    ("text", "parted"),
    [
        ("run --limit 5  # it's small", ["run", "--limit", "5"]),
        ("run --delay 'randint(0,3)*0.1'", ["run", "--delay", "randint(0,3)*0.1"]),
        ("run --set 'workload.path=/#x' # y", ["run", "--set", "workload.path=/#x"]),
        ("run --target http://127.0.0.1:1/#x", ["run", "--target", "http://127.0.0.1:1/#x"]),
        ("# nothing", []),
        ("", []),
    ],
)
def test_words_are_parted_as_a_shell_does(text: str, parted: list[str]) -> None:
    assert line.words(text) == parted


def test_the_magic_has_the_very_options_of_the_command_line() -> None:
    def tree(node: object) -> object:
        params = {p.name: (p.opts, p.help, p.metavar, p.default) for p in node.params}
        return params, {name: tree(each) for name, each in getattr(node, "commands", {}).items()}

    _, ours = tree(line.parser())
    _, theirs = tree(typer.main.get_command(cli.app))
    assert ours == {name: theirs[name] for name in ours}
    assert set(theirs) - set(ours) == {"serve", "doctor", "lab"}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("run --strategy taskpool", "strategy is 'taskpool': .* did you mean 'task_pool'"),
        ("run --requests 0", "requests is '0': it must be a whole number from 1"),
        ("run --bogus", r"^%lab run: No such option: --bogus.* \('%lab run --help' lists"),
        ("run --limit", r"^%lab run: Option '--limit' requires an argument"),
        ("compare", r"^%lab compare: Missing option '--axis'"),
        ("compare --axis loop", "--axis is 'loop': write NAME=VALUE"),
        ("bogus", r"^%lab: No such command 'bogus'.* in a terminal"),
        ("serve", r"^%lab: No such command 'serve'"),
        ("claims bogus", r"^%lab claims: No such command 'bogus'"),
        ("run --json /nowhere/x.json", "--json is '/nowhere/x.json': it must be a file"),
        ("run --chart x.gif", "--chart is 'x.gif'"),
        ("run 'x", r"^%lab: .* does not parse \(No closing quotation\)"),
    ],
)
def test_bad_words_are_refused_in_one_sentence(words: str, says: str) -> None:
    with pytest.raises(BadInput, match=says) as refused:
        line.parsed(words)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("words", "shows"),
    [
        ("", "Usage: %lab [OPTIONS] COMMAND"),
        ("--help", "reproduce"),
        ("claims", "Usage: %lab claims"),
        ("run --help", "Example: %lab run --strategy"),
        ("reproduce list", "garcia-2018"),
        ("claims list", "session-reuse"),
        ("ladder --rungs list", "rung"),
    ],
)
def test_help_and_lists_are_printed(
    words: str, shows: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert line.parsed(words) is None
    assert shows in capsys.readouterr().out


@pytest.mark.parametrize(
    ("typed", "replaces", "offers"),
    [
        (
            "",
            "",
            ["run", "compare", "sweep", "reproduce", "profile", "ladder", "claims", "results"],
        ),
        ("claims ch", "ch", ["check"]),
        ("run --str", "--str", ["--strategy"]),
        ("run --requests 5 --req", "--req", []),
        ("run --set a=1 --se", "--se", ["--seed", "--set"]),
        ("run --strategy ", "", list(parts.STRATEGIES)),
        ("run --strategy task_", "task_", ["task_pool", "task_group"]),
        ("run --strategy=task_", "task_", ["task_pool", "task_group"]),
        ("compare --axis str", "str", ["strategy=", "strategy."]),
        ("compare --axis strategy=gather,se", "se", ["sequential", "semaphore"]),
        ("compare --axis loop=", "", ["asyncio", "uvloop"]),
        ("compare --axis delay=0,randint(0,3)", "randint(0,3)", []),
        ("run --set transport.trace=", "", ["true", "false"]),
        ("run --transport wire --set transport.dep", "transport.dep", ["transport.depth="]),
        ("run --set transport.dep", "transport.dep", []),
        ("run --target valkey --transport ", "", ["redis"]),
        ("run --target p", "p", ["postgres"]),
        ("run --loop u", "u", ["uvloop"]),
        ("sweep --limits ", "", []),
        ("profile --clock ", "", ["wall", "cpu"]),
        ("profile --sort to", "to", ["total"]),
        ("reproduce gar", "gar", ["garcia-2018"]),
        ("reproduce garcia-2018 --scale w", "w", ["workshop"]),
        ("claims check session-reuse dns", "dns", ["dns-cache"]),
        ("ladder --rungs session,", "", None),
        ("run --metric wat", "wat", ["waterfall"]),
        ("run --chart ", "", []),
    ],
)
def test_completions(
    monkeypatch: pytest.MonkeyPatch, typed: str, replaces: str, offers: list[str] | None
) -> None:
    monkeypatch.setattr("labkit.spec.trial.OWN", {})  # other tests have made strategies
    fragment, found = completions(typed, line.parser())
    assert fragment == replaces
    if offers is None:
        assert len(found) > 5
    elif offers == ["strategy=", "strategy."]:
        assert found[0] == "strategy="
    else:
        assert found == offers


def test_a_strategy_of_one_s_own_is_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("labkit.spec.trial.OWN", {"my_strategy": None})
    assert completions("run --strategy my", line.parser()) == ("my", ["my_strategy"])


@given(st.text())
def test_nothing_typed_breaks_the_completions(typed: str) -> None:
    fragment, found = completions(typed, line.parser())
    assert typed.endswith(fragment)
    assert all(word.startswith(fragment) for word in found)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module")
def cells(store: Path) -> Iterator[Kernel]:
    with kernel() as found:
        found.run(
            f"import os\nos.environ |= {{'LABKIT_STORE': {str(store)!r}, 'LABKIT_LIVE': '0'}}"
        )
        found.run("%load_ext labkit\nimport labkit as lab")
        yield found


@pytest.mark.slow
def test_a_line_gives_the_object(cells: Kernel) -> None:
    said = cells.run(f"%lab run {SMALL}")
    assert "60 ok" in said["execute_result"][0]["data"]["text/plain"]
    assert cells.value(f"run = %lab run {SMALL} --strategy task_pool # it's one\ntype(run)") == (
        "labkit.report.study.Run"
    )
    assert cells.value("run.counts.ok, run.record.trial['strategy']") == "(60, 'task_pool')"
    assert "execute_result" not in cells.run(f"%lab run {SMALL};")


@pytest.mark.slow
def test_variables_and_an_async_function(cells: Kernel) -> None:
    cells.run(
        "async def ran(n):\n    found = %lab run --requests {n} --limit $most\n    return found"
    )
    assert cells.value("most = 3\nfound = await ran(7)\nfound.counts.ok") == "7"
    assert cells.value("found.record.trial['workload']['limit']") == "3"


@pytest.mark.slow
def test_a_function_that_cannot_await_says_so(cells: Kernel) -> None:
    said = cells.error("def ran():\n    found = %lab run\n    return found\nran()")
    assert "write 'async def'" in said["evalue"]
    cells.run("%autoawait off")
    assert "%autoawait off" in cells.error("%lab run")["evalue"]
    cells.run("%autoawait on")


@pytest.mark.slow
def test_a_strategy_of_the_learner_s_own_is_compared(cells: Kernel, tmp_path: Path) -> None:
    cells.run(
        "@lab.strategy\n"
        "async def mine(fetch, items, limit):\n"
        "    for item in items:\n"
        "        await fetch(item)\n"
    )
    assert cells.completed("study = %lab compare --axis strategy=queue,mi") == [
        "study = %lab compare --axis strategy=queue,mine"
    ]
    out, chart = tmp_path / "out.json", tmp_path / "chart.png"
    study = f"%lab compare --axis strategy=queue,mine --repeats 1 {SMALL}"
    cells.run(f"study = {study} --json {out} --chart {chart}")
    assert cells.value("sorted(study.frame()['strategy'])") == "['mine', 'queue']"
    assert out.stat().st_size > 1_000
    assert chart.read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_bad_input_is_one_line_and_starts_nothing(cells: Kernel, store: Path) -> None:
    before = len(list(store.iterdir()))
    for words in ("run --strategy taskpool", "run --bogus", "bogus", "results show zz"):
        said = cells.error(f"%lab {words}")
        (shown,) = said["traceback"]
        assert shown == f"{said['ename']}: {said['evalue']}"
        assert "\n" not in shown
    assert len(list(store.iterdir())) == before
    assert cells.value("1 + 1") == "2"


@pytest.mark.slow
def test_an_interrupted_line_says_so_and_leaves_no_process(cells: Kernel) -> None:
    asked = "%lab run --requests 1000 --limit 10 --delay 1"
    (said,) = cells.interrupted(asked, lambda: cells.children() >= 2)["error"]
    (shown,) = said["traceback"]
    assert shown.startswith("interrupted after ")
    assert cells.children() == 0
    assert cells.value("1 + 1") == "2"


@pytest.mark.slow
def test_help_ends_nothing(cells: Kernel) -> None:
    (said,) = cells.run("%lab run --help")["stream"]
    assert said["text"].startswith("Usage: %lab run [OPTIONS]")
    assert "error" not in cells.run("%lab")
    assert "error" not in cells.run("%lab?")


@pytest.mark.slow
def test_tab_offers_names_alone(cells: Kernel) -> None:
    assert cells.completed("%lab ru") == ["%lab run"]
    assert cells.completed("x = 1\nrun = %lab run --strategy task_") == [
        "x = 1\nrun = %lab run --strategy task_pool",
        "x = 1\nrun = %lab run --strategy task_group",
    ]
    assert cells.completed("%lab run --delay 0.") == ["%lab run --delay 0."]
    assert "lab.run" in cells.completed("lab.ru")


def test_the_extension_is_loaded_twice_like_once() -> None:
    shell = _Shell()
    lab.load_ipython_extension(shell)
    lab.load_ipython_extension(shell)
    assert len(shell.input_transformers_post) == len(shell.input_transformers_cleanup) == 1
    assert len(shell.Completer.custom_matchers) == 1
    assert shell.named == {"lab", "labprof"}


async def test_the_job_of_a_line_is_what_lab_is_asked_for(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []

    async def run(trial: lab.Trial, reporter: object) -> None:
        await asyncio.sleep(0)
        asked.extend([trial, reporter])

    monkeypatch.setattr("labkit.lab.facade.run", run)
    await line.parsed("run --strategy queue --requests 70 --set transport.limit=3").start(None)
    assert asked == [lab.Trial(strategy="queue", requests=70, **{"transport.limit": 3}), None]


def test_json_goes_to_an_output_that_takes_text_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    out = StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    options.write_json("-", {"text": "µ"})
    assert json.loads(out.getvalue()) == {"text": "µ"}


class _Shell:
    """What of IPython's shell the extension asks for."""

    def __init__(self) -> None:
        self.input_transformers_post: list[object] = []
        self.input_transformers_cleanup: list[object] = []
        self.Completer = type("Completer", (), {"custom_matchers": []})
        self.named: set[str] = set()

    def register_magic_function(self, function: object, kind: str, name: str) -> None:
        self.named.add(name)
