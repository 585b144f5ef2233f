"""README and guide are true: its commands run, its routes answer, its Python works."""

import ast
import asyncio
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from factories import recorded
from servers import serving

from labkit import cli
from labkit.launch import launcher
from labkit.measured.targets.http import messages

ROOT = Path(__file__).parent.parent
GUIDE = (ROOT / "docs/guide.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8") + GUIDE
BLOCKS = re.findall(r"```console\n(.*?)```", README, flags=re.DOTALL)
COMMANDS = [line for block in BLOCKS for line in block.splitlines() if line.startswith("labkit ")]
# Tested elsewhere: with rungs and a benchmark that take seconds, and against their own life cycle.
ELSEWHERE = (
    *("labkit reproduce ", "labkit serve ", "labkit ladder "),
    *("labkit claims check ", "labkit doctor --workshop", "labkit compare --axis 'target.command="),
    "labkit run --baseline ",
)
# Requests, to see that a command works: what it measures is not looked at.
ENOUGH = 200
ROUTES = [
    route
    for line in re.findall(r"^\| (`(?:GET|POST) .*?) \|", README, flags=re.MULTILINE)
    for route in re.findall(r"`((?:GET |POST )?/[^`]*)`", line)
]


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LABKIT_STORE", str(tmp_path / "store"))


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving() as server:
        yield server.url


def test_the_readme_leads_to_sections_of_the_guide() -> None:
    titles = re.findall(r"^## (.*)$", GUIDE, flags=re.MULTILINE)
    anchors = {re.sub(r"[^a-z -]", "", one.lower()).replace(" ", "-") for one in titles}

    assert anchors == set(re.findall(r"\]\((?:docs/guide\.md)?#([^)]*)\)", README))


def test_the_readme_holds_commands_and_routes() -> None:
    assert BROKEN
    assert len(COMMANDS) >= 8
    assert len(ROUTES) >= 10


@pytest.mark.parametrize("command", [c for c in COMMANDS if not c.startswith(ELSEWHERE)])
def test_command(
    command: str, url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = shlex.split(command.replace("http://127.0.0.1:9000", url + "/x"))[1:]
    if words[0] in ("compare", "sweep"):  # of trials as `run` makes them, each many times
        monkeypatch.setattr(launcher, "run", recorded)
    elif "--requests" in words:
        at = words.index("--requests") + 1
        words[at] = str(min(int(words[at]), ENOUGH))
    if "--save" in words:
        words += ["--repeats", "1"]
    monkeypatch.setattr(sys, "argv", ["labkit", *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    done = capsys.readouterr()
    assert not ended.value.code, done.err
    assert done.out or "--csv" in words


VALUES = {"seconds": "0", "n": "10", "i": "1", "code": "200", "name": "x", "item": "0"}
STATUSES = {"POST /posts": 201, "GET /fault/refuse_once?item={item}": 503}
BROKEN = [one for one in ROUTES if one.rpartition("/")[2] in messages.BROKEN]


@pytest.mark.parametrize("route", BROKEN)
async def test_route_that_answers_nothing_whole(route: str, url: str) -> None:
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientError):
            await (await session.get(url + route.removeprefix("GET "))).read()


@pytest.mark.parametrize("route", [one for one in ROUTES if one not in BROKEN])
async def test_route(route: str, url: str) -> None:
    method, _, path = route.rpartition(" ")
    path = path.format_map(VALUES)
    async with (
        aiohttp.ClientSession() as session,
        session.request(method or "GET", url + path, json={} if method else None) as answer,
    ):
        assert answer.status == STATUSES.get(route, 200)
        await answer.read()


def test_python() -> None:
    (block,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    cell: dict[str, Any] = {"__name__": "__main__"}
    once = block.replace("repeats=3", "repeats=1")
    code = compile(once, "README.md", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    asyncio.run(eval(code, cell))  # noqa: S307  # as a notebook does
    assert cell["run"].counts.ok == 2000
    assert set(cell["study"].frame()["strategy"]) == {"semaphore", "mine"}
    assert [one.code for one in cell["arena"].faults["mine"]] == ["stops-at-first-failure"]
