"""The files that say what labkit is and needs agree with each other, and with the code."""

from __future__ import annotations

import ast
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

import labkit

ROOT = Path(__file__).parent.parent
PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
EXTRAS = PROJECT["optional-dependencies"]
BUILD = PYPROJECT["dependency-groups"]["build"]
LOCK = (ROOT / "requirements.lock").read_text()
ENVIRONMENT = yaml.safe_load((ROOT / "environment.yml").read_text())


def locked_entries() -> list[str]:
    """Each entry of the lock as one line: `name==version ; marker --hash=... --hash=...`."""
    lines = [line for line in LOCK.splitlines() if not line.lstrip().startswith("#")]
    return [line for line in "\n".join(lines).replace("\\\n", " ").splitlines() if line.strip()]


def locked_versions(name: str) -> list[Version]:
    """The versions of `name` in the lock: one, or one for each range of Python versions."""
    requirements = [Requirement(entry.split("--hash")[0]) for entry in locked_entries()]
    return [
        Version(next(iter(requirement.specifier)).version)
        for requirement in requirements
        if canonicalize_name(requirement.name) == canonicalize_name(name)
    ]


def conda(name: str) -> SpecifierSet:
    """The versions of `name` that environment.yml allows."""
    (entry,) = [
        dependency
        for dependency in ENVIRONMENT["dependencies"]
        if isinstance(dependency, str) and dependency.split()[0] == name
    ]
    return SpecifierSet(entry.removeprefix(name))


def imported_by(path: Path) -> Iterator[str]:
    """The top-level name of each absolute import in the module at `path`."""
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
    distributions = packages_distributions()
    undeclared = {
        name
        for name in libraries
        if declared.isdisjoint(map(canonicalize_name, distributions.get(name, [])))
    }

    assert libraries
    assert undeclared == set()


def test_environment_agrees_with_the_project_on_python_jupyterlab_and_extras() -> None:
    supported = SpecifierSet(PROJECT["requires-python"])
    allowed = [version for minor in range(30) if (version := f"3.{minor}.0") in conda("python")]
    (jupyterlab,) = [one for one in map(Requirement, EXTRAS["lab"]) if one.name == "jupyterlab"]
    ((installed,),) = [one["pip"] for one in ENVIRONMENT["dependencies"] if isinstance(one, dict)]
    match = re.fullmatch(r"-e \.\[(.+)\]", installed)

    assert allowed
    assert all(version in supported for version in allowed)
    assert conda("jupyterlab") == jupyterlab.specifier
    assert match is not None
    assert set(match[1].split(",")) <= EXTRAS.keys()


def test_citation_has_the_version_of_the_project() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())

    assert citation["version"] == PROJECT["version"]


def test_make_help_lists_each_public_target() -> None:
    public = re.search(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    shown = subprocess.run(
        ["make", "--no-print-directory", "help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout

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

    studies = moved("data/studies/*.toml", "data", "labkit/_data")
    reference = moved("data/reference/*.*", "data", "labkit/_data")
    notebooks = moved("notebooks/*.ipynb", "notebooks", "labkit/_notebooks")
    exercises = moved("notebooks/exercises/*.ipynb", "notebooks", "labkit/_notebooks")
    settings = moved("labkit/cli/jupyter_config/labconfig/*.json", "", "")

    assert studies
    assert notebooks
    assert exercises
    assert len(settings) == 2
    helpers = moved("notebooks/**/*.py", "notebooks", "labkit/_notebooks")
    data = settings | studies | reference | notebooks | exercises | helpers
    assert moved("labkit/**/*.py", "", "") | data <= carried
    assert {name.split("/")[0] for name in carried} == {
        "labkit",
        f"labkit-{PROJECT['version']}.dist-info",
    }


def test_each_module_stands_once_in_the_picture_of_the_layers() -> None:
    picture = (ROOT / "CONTRIBUTING.md").read_text().partition("## The layers")[2].split("```")[1]
    words = re.findall(r"[a-z_]+", picture)
    modules = [one.name for one in iter_modules(labkit.__path__) if one.name != "__main__"]

    assert {name: words.count(name) for name in modules} == dict.fromkeys(modules, 1)
