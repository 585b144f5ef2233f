"""Environments: another Python and other packages for a client, built once and offline then."""

import asyncio
import json
import platform
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from machines import checks
from programs import here

import labkit as lab
from labkit import paths
from labkit.errors import BadInput, NotInstalled
from labkit.launch import environment, launcher, preflight, process, pythons
from labkit.measured import lifeline
from labkit.record.record import Record
from labkit.report.gate import Baseline
from labkit.spec.trial import Trial

TRIAL = Trial(python=platform.python_version(), packages=["lab_asked"], requests=20, limit=5)
OWN, REFUSED = checks("pythons.toml", "cases").values()


def wheel(folder: Path, name: str, text: str) -> None:
    info = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as file:
        file.writestr(f"{name}.pth", text)
        file.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        file.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        file.writestr(f"{info}/RECORD", f"{name}.pth,,\n")


def saying(python: str, implementation: str = "CPython") -> dict[str, Any]:
    return {"python": python, "implementation": implementation, "build": {}, "executable": "none"}


@pytest.fixture(scope="module", autouse=True)
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Record]:
    """The record of a run; its environment finds what the client needs where this Python does."""
    folder, told = tmp_path_factory.mktemp("environments"), list[str]()
    wheel(folder, "lab_asked", "")
    wheel(folder, "lab_needs", "\n".join(filter(None, sys.path)))
    needs = paths.table("environments.toml") | {"client": ["lab-needs"], "of": []}
    table, given = paths.table, {"UV_NO_INDEX": "1", "UV_OFFLINE": "1", "UV_FIND_LINKS": folder}
    given |= {"LABKIT_ENVIRONMENTS": folder / "cache", "UV_CACHE_DIR": folder / "uv"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            paths, "table", lambda name: needs if name == "environments.toml" else table(name)
        )
        for name, value in given.items():
            patch.setenv(name, str(value))
        ready = preflight.prepare(TRIAL)
        assert ready.environment is not None
        asyncio.run(ready.environment.build(told.append))
        assert told == [
            f"building an environment: Python {platform.python_version()} with lab_asked ..."
        ]
        yield asyncio.run(launcher.run(TRIAL, keep=lambda record: None))


def test_a_record_has_the_versions_the_extensions_and_the_build(built: Record) -> None:
    there, own = built.environment, environment.machine()

    assert built.counts.ok == 20
    versions = {"labkit": "0.1.0", "lab_asked": "1.0", "lab_needs": "1.0"}
    assert versions.items() <= there["versions"].items()
    assert there["versions"]["aiohttp"] == built.effective["versions"]["aiohttp"]
    assert "pypeln" not in there["versions"]
    assert there["extensions"] == []  # of wheels that have none
    assert (there["python"], there["build"]) == (own["python"], own["build"])
    assert {"made", "compiler", "flags", "free_threaded"} == there["build"].keys()
    assert {"aiohttp._http_parser", "msgspec._core"} <= {*built.effective["extensions"]}


async def test_what_is_built_needs_no_uv_and_nothing_else_is(monkeypatch: Any) -> None:
    monkeypatch.setattr(process, "find", lambda name: None)
    told: list[str] = []
    known = await pythons.machine(TRIAL, told.append)

    assert (known["versions"]["lab_asked"], told) == ("1.0", [])
    with pytest.raises(NotInstalled, match=r"pip install 'labkit\[environments\]'"):
        await pythons.machine(TRIAL.replace(packages="lab_asked lab_needs"), told.append)


async def test_one_that_is_damaged_is_listed_nowhere_and_made_anew(built: Record) -> None:
    [about] = paths.environments().glob("*/environment.json")
    whole = about.read_bytes()
    for damaged in (b"", b"{}", whole.replace(b"1.0", b"1.1")):
        about.write_bytes(damaged)
        assert pythons.listed() == []
    await pythons.machine(TRIAL, str)
    assert about.read_bytes() == whole


def test_environments_are_listed_run_programs_and_are_removed(built: Record, store: Path) -> None:
    shown = here("env", "list").stdout
    key = shown.splitlines()[1].split()[0]

    assert f"CPython {platform.python_version()}  lab_asked  the lab's client" in shown
    said = here("env", "remove", "x").stderr
    assert f"there is no environment 'x' in {paths.environments()}" in said
    spare = here("env", "build", "lab_needs", "--json", "-")
    assert json.loads(spare.stdout)["versions"] == {"lab_needs": "1.0", "labkit": "0.1.0"}
    assert "building an environment: Python" in spare.stderr
    other = json.loads(spare.stdout)["key"]
    code = 'import sys, importlib.metadata as m; print(sys.prefix, m.version("lab_needs"))'
    trial = Trial(program=f"python -c '{code}'", packages="lab_needs", target="none")
    record = asyncio.run(lab.run(trial)).record
    assert record.effective["program"]["output"] == f"{paths.environments() / other} 1.0\n"
    assert record.environment["versions"] == {"lab_needs": "1.0", "labkit": "0.1.0"}
    assert here("env", "remove", other).stdout == f"removed {other}\n"
    assert [one.name for one in paths.environments().iterdir()] == [key]


async def test_what_cannot_be_built_is_one_sentence() -> None:
    before = {*paths.environments().iterdir()}
    with pytest.raises(
        BadInput, match=r"with lab_asked==9 cannot be built: .*lab-asked==9"
    ) as caught:
        await lab.run(TRIAL.replace(packages="lab_asked==9"))

    assert "\n" not in str(caught.value)
    assert {*paths.environments().iterdir()} == before


async def test_a_cache_that_cannot_be_written_is_one_sentence(monkeypatch: Any) -> None:
    monkeypatch.setenv("LABKIT_ENVIRONMENTS", f"{__file__}/x")
    with pytest.raises(BadInput, match=r"test_pythons.py/x \(Not a directory\); make room there"):
        await lab.run(TRIAL)


async def test_a_build_that_is_stopped_leaves_nothing(tmp_path: Path, monkeypatch: Any) -> None:
    uv = tmp_path / "uv"
    uv.write_text("#!/bin/sh\nexec sleep 60")
    uv.chmod(0o700)
    monkeypatch.setenv("LABKIT_ENVIRONMENTS", str(tmp_path / "cache"))
    monkeypatch.setattr(process, "find", lambda name: str(uv))
    started, building = asyncio.Event(), pythons.bare(TRIAL)
    task = asyncio.ensure_future(building.build(lambda _: started.set()))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert [*(tmp_path / "cache").iterdir()] == []


async def mine(fetch: Any, items: Any, limit: int) -> None:
    """A strategy of one's own."""


@pytest.mark.parametrize(("python", "implementation", "settings", "sentence"), REFUSED)
def test_what_a_python_cannot_run_is_refused(
    python: str, implementation: str, settings: Any, sentence: str, monkeypatch: Any
) -> None:
    monkeypatch.setattr(pythons, "interpreter", lambda name: saying(python, implementation))
    settings = {name: mine if one == "mine" else one for name, one in settings.items()}
    with pytest.raises(BadInput, match=sentence):
        preflight.prepare(TRIAL.replace(**settings))


def test_a_python_that_is_not_there_says_where_it_was_looked_for(monkeypatch: Any) -> None:
    monkeypatch.setenv("PYENV_ROOT", "/none-such")
    monkeypatch.setattr(process, "find", lambda name: "/bin/false")  # uv, which finds none
    with pytest.raises(BadInput, match=r"'3\.99': none .* on PATH, in /none-such/versions, among"):
        preflight.check(TRIAL.replace(python="3.99"))


def test_another_python_reads_a_strategy_from_its_file(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(pythons, "interpreter", lambda name: saying("3.99.0"))
    monkeypatch.chdir(tmp_path)
    Path("own.py").write_text(OWN)
    ready = preflight.prepare(TRIAL.replace(strategy="own.py:mine", **{"strategy.size": 7}))

    assert ready.function == f"{tmp_path}/own.py:mine"
    assert not [one for one in ready.path if one.startswith(sys.prefix)]
    loaded = lifeline.load(ready.function, options=dict(ready.trial.options))
    assert asyncio.run(loaded("fetch", [], 1)) == ("fetch", 7)


def test_packages_and_paths_are_code_and_the_client_is_what_it_was() -> None:
    named = TRIAL.replace(python="./python").named_code
    assert named == {"packages": "lab_asked", "python": "./python"}
    assert Trial(packages=["a >= 1", "b"]) == Trial(packages="a>=1 b")
    assert Path(pythons.bare(Trial(packages=["./a.whl"])).packages[0]) == Path.cwd() / "a.whl"
    assert pythons.of(Trial()) is None


def test_a_baseline_has_the_python_of_each_arm(built: Record) -> None:
    now = [({}, TRIAL)]
    before = Baseline(lab.Run(built))

    assert before.check(now, [built.environment]) == []
    with pytest.raises(BadInput, match=r"python is 2\.7 and was"):
        before.check(now, [built.environment | {"python": "2.7"}])
