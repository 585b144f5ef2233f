"""The files that say what labkit is and needs agree with each other, and with the code.

So do those for Binder and for dev containers; neither can be built here.
"""

import ast
import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from itertools import chain
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version
from programs import ran

import labkit
from labkit.cli.servers import JUPYTER_CONFIG

ROOT = Path(__file__).parent.parent
PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
EXTRAS = PROJECT["optional-dependencies"]
BUILD = PYPROJECT["dependency-groups"]["build"]
LOCK = (ROOT / "requirements.lock").read_text()
ENVIRONMENT = yaml.safe_load((ROOT / "environment.yml").read_text())
BINDER = yaml.safe_load((ROOT / ".binder" / "environment.yml").read_text())
CONTAINER = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text())
SCRIPTS = [ROOT / ".binder" / "postBuild", ROOT / ".binder" / "start"]


def locked_entries() -> list[str]:
    """Return each entry of the lock as one line: `name==version ; marker --hash=... --hash=...`."""
    lines = [line for line in LOCK.splitlines() if not line.lstrip().startswith("#")]
    return [line for line in "\n".join(lines).replace("\\\n", " ").splitlines() if line.strip()]


def locked_versions(name: str) -> list[Version]:
    """Return the versions of `name` in the lock: one, or one for each range of Python versions."""
    requirements = [Requirement(entry.split("--hash")[0]) for entry in locked_entries()]
    return [
        Version(next(iter(requirement.specifier)).version)
        for requirement in requirements
        if canonicalize_name(requirement.name) == canonicalize_name(name)
    ]


def conda(environment: dict[str, Any], name: str) -> str:
    """Return the one entry of a conda environment about the package `name`."""
    entries = [entry for entry in environment["dependencies"] if isinstance(entry, str)]
    (entry,) = [entry for entry in entries if re.split(r"[ =<>]", entry)[0] == name]
    return entry


def imported_by(path: Path) -> Iterator[str]:
    """Yield the top-level name of each absolute import in the module at `path`."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.split(".")[0]


@pytest.mark.parametrize(
    "declared", [*PROJECT["dependencies"], *chain.from_iterable(EXTRAS.values()), *BUILD]
)
def test_lock_satisfies_what_is_declared(declared: str) -> None:
    requirement = Requirement(declared)
    versions = locked_versions(requirement.name)

    assert versions, f"run 'make lock': {requirement.name} is not locked"
    # Where a marker splits one requirement in two, each has a version of its own.
    fits = any if requirement.marker else all
    assert fits(requirement.specifier.contains(version) for version in versions)


def test_each_locked_entry_is_pinned_and_hashed_and_names_no_place_to_download_from() -> None:
    safe = re.compile(r"[\w.-]+==\S+ .*--hash=sha256:[0-9a-f]{64}")

    assert [entry for entry in locked_entries() if not safe.match(entry)] == []
    for leak in ("://", "--index-url", "--extra-index-url", "--find-links", " @ "):
        assert leak not in LOCK


def test_build_requirements_are_those_that_are_locked() -> None:
    assert set(PYPROJECT["build-system"]["requires"]) <= set(BUILD)


def test_each_imported_library_is_declared() -> None:
    declared = {
        canonicalize_name(Requirement(dependency).name)
        for dependency in chain(PROJECT["dependencies"], *EXTRAS.values())
    }
    names = {name for path in ROOT.glob("labkit/**/*.py") for name in imported_by(path)}
    libraries = names - sys.stdlib_module_names - {"labkit"}
    # The one is there from 3.14 on, the other until then.
    libraries -= {"backports"} if sys.version_info >= (3, 14) else {"compression"}
    distributions = packages_distributions()
    undeclared = {
        name
        for name in libraries
        if declared.isdisjoint(map(canonicalize_name, distributions.get(name, [])))
    }

    assert libraries
    assert undeclared == set()


def test_environments_agree_with_the_project_on_python_jupyterlab_and_extras() -> None:
    supported = SpecifierSet(PROJECT["requires-python"])
    pythons = SpecifierSet(conda(ENVIRONMENT, "python").removeprefix("python"))
    allowed = [version for minor in range(30) if (version := f"3.{minor}.0") in pythons]
    (jupyterlab,) = [one for one in map(Requirement, EXTRAS["lab"]) if one.name == "jupyterlab"]
    ((installed,),) = [one["pip"] for one in ENVIRONMENT["dependencies"] if isinstance(one, dict)]
    match = re.fullmatch(r"-e (\.\[(.+)\])", installed)

    assert allowed
    assert all(version in supported for version in allowed)
    assert Requirement(conda(ENVIRONMENT, "jupyterlab")) == jupyterlab
    assert match is not None
    assert set(match[2].split(",")) <= EXTRAS.keys()
    # Binder takes what conda takes.
    assert conda(BINDER, "jupyterlab") == conda(ENVIRONMENT, "jupyterlab")
    assert BINDER["channels"] == ENVIRONMENT["channels"]
    assert f"--editable '{match[1]}'" in SCRIPTS[0].read_text()


@pytest.mark.parametrize("what", ["sentence", "refusal"])
def test_each_sentence_that_the_code_names_is_there_and_each_that_is_there_is_named(
    what: str,
) -> None:
    text = "\n".join(path.read_text("utf-8") for path in (ROOT / "labkit").rglob("*.py"))
    there = tomllib.loads((ROOT / "data" / f"{what}s.toml").read_text("utf-8"))

    assert {*re.findall(rf'\b{what}\(\s*"([^"]+)"', text)} <= there.keys()
    begun = tuple(re.findall(rf'(?:\b{what}\(\s*f|_refuse_first\(\s*)"([^"{{]+)', text))
    assert [one for one in there if f'"{one}"' not in text and not one.startswith(begun)] == []


def test_citation_has_the_version_of_the_project() -> None:

    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == PROJECT["version"]


def test_make_help_lists_each_public_target() -> None:
    public = re.search(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    shown = ran("make", "--no-print-directory", "help", cwd=ROOT, check=True).stdout

    assert public is not None
    assert re.findall(r"^make ([a-z]+) +\S", shown, re.MULTILINE) == public[1].split()


def test_wheel_carries_the_package_its_data_and_its_notebooks(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, capture_output=True, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    carried = set(zipfile.ZipFile(wheel).namelist())

    def moved(pattern: str, source: str, destination: str) -> set[str]:
        paths = (path.relative_to(ROOT).as_posix() for path in ROOT.glob(pattern))
        return {destination + path.removeprefix(source) for path in paths}

    settings = moved("labkit/cli/jupyter_config/**/*.json", "", "")
    exercises = moved("notebooks/exercises/*.ipynb", "notebooks", "labkit/_notebooks")
    others = [
        moved("labkit/**/*.py", "", ""),
        moved("data/studies/*.toml", "data", "labkit/_data"),
        moved("data/reference/*.*", "data", "labkit/_data"),
        moved("notebooks/*.ipynb", "notebooks", "labkit/_notebooks"),
        moved("notebooks/[!w]*/*.py", "notebooks", "labkit/_notebooks"),
    ]

    assert len(settings) == 3
    assert all([exercises, *others])
    assert settings.union(exercises, *others) <= carried
    assert {name.split("/")[0] for name in carried} == {
        "labkit",
        f"labkit-{PROJECT['version']}.dist-info",
    }


def test_each_module_stands_once_in_the_picture_of_the_layers() -> None:
    picture = (ROOT / "CONTRIBUTING.md").read_text().partition("## The layers")[2].split("```")[1]
    words = re.findall(r"[a-z_]+", picture)
    modules = [one.name for one in iter_modules(labkit.__path__) if one.name != "__main__"]

    assert {name: words.count(name) for name in modules} == dict.fromkeys(modules, 1)


# Binder and dev containers


def test_containers_take_a_python_that_labkit_supports() -> None:
    # repo2docker finds the version by a single `=`; a range it would not see.
    [binder] = re.findall(r"^python=(3\.\d+)$", conda(BINDER, "python"))
    [container] = re.findall(r"^python:(3\.\d+)-", CONTAINER["image"])

    supported = SpecifierSet(PROJECT["requires-python"])
    assert f"{binder}.0" in supported
    assert f"{container}.0" in supported


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_scripts_of_binder_are_executable_and_parse(script: Path) -> None:
    assert os.access(script, os.X_OK)
    assert script.read_text().startswith("#!/usr/bin/env bash\n")
    subprocess.run(["bash", "-n", script], check=True)


def test_binder_starts_what_it_is_told_to_at_scale_smoke() -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    started = subprocess.run(
        [SCRIPTS[1], "printenv", "LABKIT_SCALE", "JUPYTER_CONFIG_PATH"],
        env={**os.environ, "PATH": path, "JUPYTER_CONFIG_PATH": "/theirs", "LABKIT_SCALE": "paper"},
        capture_output=True,
        text=True,
        check=True,
    )

    assert started.stdout.splitlines() == ["smoke", f"{JUPYTER_CONFIG}:/theirs"]


def test_the_dev_container_is_made_by_commands_that_exist() -> None:
    assert re.search(r"^setup:", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert CONTAINER["postCreateCommand"].endswith("/bin/labkit lab --copy-only")
    assert CONTAINER["forwardPorts"] == [8888]


def test_the_dev_container_installs_outside_of_the_checkout() -> None:
    """The checkout may come with a `.venv`, whose programs are for the machine around it."""
    made, remote = CONTAINER["postCreateCommand"], CONTAINER["remoteEnv"]
    settings = CONTAINER["customizations"]["vscode"]["settings"]
    [venv] = set(re.findall(r"VENV=(\S+)", made + " " + remote["MAKEFLAGS"]))

    assert venv.startswith("/opt/")
    assert f"{venv}/bin/labkit lab" in made
    assert remote["PATH"].startswith(f"{venv}/bin:")
    assert settings["python.defaultInterpreterPath"] == f"{venv}/bin/python"


def test_where_make_installs_can_be_chosen(tmp_path: Path) -> None:
    """Also where the checkout has a `.venv` that seems to be ready."""
    (tmp_path / "Makefile").write_text((ROOT / "Makefile").read_text())
    for name in ("pyproject.toml", "requirements.lock", ".venv/bin/uv", ".venv/.ready"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()

    def would_make(flags: str) -> int:
        asked = ["make", "--question", "--directory", str(tmp_path), "setup"]
        return subprocess.run(
            asked, env={**os.environ, "MAKEFLAGS": flags}, check=False, capture_output=True
        ).returncode

    assert would_make("") == 0
    assert would_make(CONTAINER["remoteEnv"]["MAKEFLAGS"]) == 1


def test_containers_are_for_smoke_and_say_so() -> None:
    assert CONTAINER["containerEnv"] == {"LABKIT_SCALE": "smoke"}
    assert "scale smoke" in CONTAINER["name"]
    assert "shared container" in (ROOT / "README.md").read_text()


@pytest.mark.parametrize("file", [*SCRIPTS, ROOT / ".binder/environment.yml"], ids=lambda f: f.name)
def test_containers_name_no_place_to_download_from(file: Path) -> None:
    assert "://" not in file.read_text()
