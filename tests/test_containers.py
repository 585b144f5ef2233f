"""The files for Binder and for dev containers agree with the project; neither can be built here."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.specifiers import SpecifierSet

from labkit.cli.servers import JUPYTER_CONFIG

ROOT = Path(__file__).parent.parent
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
BINDER = yaml.safe_load((ROOT / ".binder" / "environment.yml").read_text())
CONDA = yaml.safe_load((ROOT / "environment.yml").read_text())
CONTAINER = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text())
SCRIPTS = [ROOT / ".binder" / "postBuild", ROOT / ".binder" / "start"]


def of(environment: dict[str, Any], name: str) -> str:
    """The one entry of a conda environment about the package `name`."""
    [entry] = [
        entry
        for entry in environment["dependencies"]
        if isinstance(entry, str) and re.split(r"[ =<>]", entry)[0] == name
    ]
    return str(entry)


def test_containers_take_a_python_that_labkit_supports() -> None:
    # repo2docker finds the version by a single `=`; a range it would not see.
    [binder] = re.findall(r"^python=(3\.\d+)$", of(BINDER, "python"))
    [container] = re.findall(r"^python:(3\.\d+)-", CONTAINER["image"])

    supported = SpecifierSet(PROJECT["requires-python"])
    assert f"{binder}.0" in supported
    assert f"{container}.0" in supported


def test_binder_takes_what_the_environment_of_conda_takes() -> None:
    assert of(BINDER, "jupyterlab") == of(CONDA, "jupyterlab")
    assert BINDER["channels"] == CONDA["channels"]
    [pip] = [entry["pip"] for entry in CONDA["dependencies"] if isinstance(entry, dict)]
    extras = pip[0].removeprefix("-e ")
    assert f"--editable '{extras}'" in SCRIPTS[0].read_text()


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_scripts_of_binder_are_executable_and_no_nonsense(script: Path) -> None:
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
    readme = (ROOT / "README.md").read_text()
    assert "shared container" in readme


@pytest.mark.parametrize("file", [*SCRIPTS, ROOT / ".binder/environment.yml"], ids=lambda f: f.name)
def test_containers_name_no_place_to_download_from(file: Path) -> None:
    assert "://" not in file.read_text()
