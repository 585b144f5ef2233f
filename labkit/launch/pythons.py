"""Environments: the Python and the packages that a client runs on, where they are not the lab's.

The plan. An environment is a folder in the user's cache, named by a digest of what makes it: the
interpreter (its path, version and build), the packages that were asked for, and for the lab's own
client what it needs, in the versions that the lab itself runs with. So the same wish is the same
folder, and once that is there neither uv nor a network is asked. It is made in a folder beside and
gets its name when it is whole: of two that build at once the first wins, and what a build leaves
that was killed is swept with the other temporary folders. It is moved once, so its scripts find
their Python beside them. Built before anything is timed; that the client starts there is tried
then, too, which leaves its bytecode behind.

Rejected: `uv run --with`, which resolves again for each run and may ask the network; the lab's own
folder of packages behind the environment's, since compiled packages fit one Python alone.
"""

import contextlib
import hashlib
import json
import operator
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from labkit import paths
from labkit.errors import BadInput, NotInstalled
from labkit.launch import environment, process
from labkit.record import codec
from labkit.record.store import read_whole
from labkit.spec.registry import FILE
from labkit.spec.trial import Trial
from labkit.spec.validation import refusal

# The oldest Python that the lab's own client runs on.
MIN_OWN = (3, 11)
# Seconds that uv may take for one environment, and an interpreter to say what it is.
BUILD_S, SAY_S = 900.0, 60.0
USUAL = ("/usr/bin", "/usr/local/bin")
MAX_WHY = 200
_ABOUT = "environment.json"
# Lines that tell why a program failed; the first and the last two are shown, so much of each.
_WHY = re.compile(r"(?:error|cause|hint|\w+Error): (?!Command )")
# Environments in which this process has tried the client.
_tried: set[str] = set()


@dataclass(frozen=True)
class Environment:
    """A Python and packages for it. `says` is what the interpreter says of itself.

    `packages` are asked for. `needs` are those of the lab's own client, over the `transport`, in no
    other versions than the `locked` ones; a program has none.
    """

    says: dict[str, Any]
    packages: Sequence[str]
    needs: Sequence[str] = ()
    locked: Sequence[str] = ()
    transport: str = ""

    @property
    def version(self) -> tuple[int, ...]:
        """Return the version of its Python, in numbers."""
        return tuple(map(int, re.findall(r"\d+", self.says["python"])[:3]))

    @property
    def key(self) -> str:
        """Return the name of its folder: a digest of what makes it."""
        content = [self.says, sorted(self.packages), sorted(self.needs), self.locked]
        content += [str(paths.CHECKOUT)] if self.needs else []
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]

    @property
    def folder(self) -> Path:
        """Return where it is, or will be."""
        return paths.environments() / self.key

    @property
    def python(self) -> str:
        """Return the path of its interpreter."""
        return str(self.folder / "bin" / "python")

    @property
    def variables(self) -> dict[str, str]:
        """Return the variables that make `python` and other commands those of this one."""
        path = os.pathsep.join([str(self.folder / "bin"), os.environ.get("PATH", os.defpath)])
        return {"PATH": path, "VIRTUAL_ENV": str(self.folder)}

    @property
    def known(self) -> dict[str, Any]:
        """Return what a record says of it once it is built: its Python and its packages."""
        about = _about(self.folder)
        about["versions"]["labkit"] = environment.version("labkit")
        return {name: about[name] for name in (*environment.OF_PYTHON, "versions", "extensions")}

    def __str__(self) -> str:
        name = self.says["implementation"].replace("CPython", "Python")
        listed = f" with {', '.join(self.packages)}" if self.packages else ""
        return f"{name} {self.says['python']}{listed}"

    def in_file(self, field: str, text: str, own: Any) -> str | None:
        """Return 'PATH.py:NAME' for a function of the user's own; None where there is none.

        Code is bytecode, which another Python cannot read: so it loads the file. Raises `BadInput`,
        which names the `field`, where `text` names none.
        """
        if own is not None and not FILE.fullmatch(text):
            raise refusal("other-python", field=field, text=text, there=self)
        return None if own is None else str(Path(text).expanduser().resolve())

    async def build(self, tell: Callable[[str], object] = str) -> None:
        """Build it, unless it is there; `tell` gets what is built. Raises `BadInput`."""
        root = paths.environments()
        try:
            if not (_about(self.folder) and (self.folder / "bin/python").is_file()):
                tell(f"building an environment: {self} ...")
                root.mkdir(parents=True, exist_ok=True)
                with paths.temporary_folder("environment", within=str(root)) as (part, _):
                    with contextlib.suppress(FileNotFoundError):  # one that is no longer whole
                        self.folder.rename(part / "gone")
                    await self._make(part / "whole")
                    with contextlib.suppress(OSError):  # another one was first
                        (part / "whole").rename(self.folder)
            with contextlib.suppress(OSError):  # one that may not be written is as good
                os.utime(self.folder)
        except OSError as error:
            raise refusal("environments", folder=root, why=error.strerror or error) from None
        if self.needs and self.key not in _tried:
            code = "from labkit.measured import transports, worker; transports.transport_class"
            words = [self.python, "-P", "-c", f"{code}({self.transport!r})"]
            await self._ran(words, self.folder, "no-client-there")
            _tried.add(self.key)

    async def _make(self, where: Path) -> None:
        """Make the folder `where`, whole."""
        uv, part, python = _uv(self), where.parent, str(where / "bin" / "python")
        words = [uv, "venv", "--relocatable", "-p", self.says["executable"], str(where)]
        await self._ran(words, part)
        if wanted := [*self.packages, *self.needs]:
            (part / "locked").write_text("\n".join(self.locked))
            words = [uv, "pip", "install", "-p", python, "-c", str(part / "locked"), *wanted]
            await self._ran(words, part)
        # uv's own option fails for Python 3.6; what cannot be compiled is imported by nobody.
        words = [python, "-m", "compileall", "-q", str(where / "lib")]
        await process.run(words, core=None, folder=part, within_s=BUILD_S)
        self._describe(where)

    def _describe(self, where: Path) -> None:
        """Write down what the folder `where` has; link labkit, where it is found anywhere."""
        site = next(where.glob("lib/*/site-packages"))
        if self.needs:
            (site / "labkit").symlink_to(paths.CHECKOUT / "labkit")
        from importlib import metadata  # here: it takes a while

        about: dict[str, Any] = {"packages": [*self.packages], "is_client": bool(self.needs)}
        found = metadata.distributions(path=[str(site)])
        about["versions"] = {one.name: one.version for one in found}
        compiled = (str(one.relative_to(site)).partition(".")[0] for one in site.rglob("*.so"))
        about["extensions"] = sorted(one.replace("/", ".") for one in compiled)
        (where / _ABOUT).write_bytes(codec.sealed(msgspec.json.encode(self.says | about)))

    async def _ran(self, words: Sequence[str], folder: Path, sentence: str = "unbuilt") -> None:
        """Run a program to its end. Raise `BadInput` with its telling lines where it fails."""
        # As the user's own: uv may need a proxy.
        how: dict[str, Any] = {"within_s": BUILD_S, "environment": os.environ | {"NO_COLOR": "1"}}
        child, out, errors = await process.run(words, core=None, folder=folder, **how)
        if child.status:
            lines = [line.strip() for line in (errors or out).splitlines() if line.strip()] or [""]
            told = [*filter(_WHY.match, lines)] or lines[-1:]
            told = [one[:MAX_WHY].rstrip(".") for one in (told[0], *told[-2:])]
            raise refusal(sentence, what=self, why="; ".join(dict.fromkeys(told)))


def _about(folder: Path) -> dict[str, Any]:
    """Return what an environment says of itself; nothing where that is damaged, or not there."""
    found = dict[str, Any]()
    with contextlib.suppress(BadInput):
        found = codec.parse(read_whole(folder / _ABOUT, folder.name), dict[str, Any], folder.name)
    return found if "is_client" in found else {}


def of(trial: Trial) -> Environment | None:
    """Return the environment of a trial's client; None where it is the lab's own.

    Raises `BadInput` where its Python is not there, or cannot run the lab's own client.
    """
    asked = trial.switches
    if asked.python is None and not asked.packages:
        return None
    return bare(trial) if asked.program else with_client(trial)


def bare(trial: Trial) -> Environment:
    """Return an environment of the Python and the packages of a trial, and no more."""
    words = trial.switches.packages.split()  # a path is one of the current folder's
    found = [str(Path(one).expanduser().absolute()) if one[0] in "./~" else one for one in words]
    return Environment(interpreter(trial.switches.python), found)


def with_client(trial: Trial) -> Environment:
    """Return the environment with what the lab's own client needs, too. Raises `BadInput`."""
    there, table, kind = bare(trial), paths.table("environments.toml"), trial.transport.kind
    if there.version < MIN_OWN or there.says["implementation"] != "CPython":
        raise refusal("old-python", found=replace(there, packages=()))
    kinds = {kind, trial.loop, *([] if trial.own_strategy else [trial.strategy])}
    needs = [*table["client"], *(one for one in table["of"] if _plain(one) in kinds)]
    named = frozenset(map(_plain, there.packages))
    needs = [one for one in needs if _plain(one) not in named]
    return replace(there, needs=needs, locked=_locked(tuple(needs), named), transport=kind)


@cache  # it reads thirty files
def _locked(needs: Sequence[str], named: frozenset[str]) -> list[str]:
    """Return the versions that the lab runs with, of these packages and what they need."""
    from importlib import metadata

    locked, left = dict[str, str](), [*needs]
    while left:
        name = _plain(left.pop())
        if name not in {*named, *locked} and (version := environment.version(name)):
            locked[name] = version
            left += [one for one in metadata.requires(name) or () if "extra ==" not in one]
    return [f"{name}=={version}" for name, version in sorted(locked.items())]


async def machine(work: Any, tell: Callable[[str], object]) -> dict[str, Any]:
    """Return this machine with the Python and the versions of a client; build its environment."""
    there = of(work) if isinstance(work, Trial) else None
    if there is not None:
        await there.build(tell)
    return environment.machine() | ({} if there is None else there.known)


def _plain(wish: str) -> str:
    """Return the name of the package that is wished for, as indexes compare names."""
    return re.sub(r"[-_.]+", "-", re.split(r"[^\w.-]", wish)[0]).lower()


# Which Python is meant? uv knows versions and names, and asks what it finds on PATH; more is put
# there: this Python, those of pyenv, the newest first, and the usual folders.
@cache
def interpreter(name: str | None) -> dict[str, Any]:
    """Return what the Python called `name` says of itself. Raises `BadInput`."""
    path, places = getattr(sys, "_base_executable", sys.executable), os.environ.get("PATH", "")
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    if name is not None:
        newest = {one: [*map(int, re.findall(r"\d+", one.name))] for one in pyenv.glob("*")}
        found = [str(one / "bin") for one in sorted(newest, key=newest.__getitem__, reverse=True)]
        places = os.pathsep.join([str(Path(path).parent), places, *found, *USUAL])
        words = [_uv(name), "python", "find", "--system", "--no-project", "--no-python-downloads"]
        words += [str(Path(name).expanduser()) if "/" in name else name]
        path = _output(words, os.environ | {"PATH": places, "UV_PYTHON_PREFERENCE": "system"})
    code = f"{paths.table('environments.toml')['about']}\nimport json\nprint(json.dumps(found))"
    if not path or not (said := _output([path, "-I", "-c", code], os.environ)):
        raise refusal("no-python", name=name, pyenv=pyenv)
    return dict(json.loads(said))


def _output(words: Sequence[str], given: Mapping[str, str]) -> str:
    """Return what a program writes; nothing where it fails."""
    how: dict[str, Any] = {"timeout": SAY_S, "text": True, "env": given}
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        return str(subprocess.check_output(words, stderr=subprocess.DEVNULL, **how)).strip()  # noqa: S603
    return ""


def _uv(asked: object) -> str:
    """Return the path of uv. Raises `NotInstalled`."""
    if (uv := process.find("uv")) is None:
        raise NotInstalled(f"an environment of {asked}", "uv", "environments")
    return uv


def listed() -> list[dict[str, Any]]:
    """Return each environment as texts and its bytes; the one that was used last at the end."""
    found = []
    described = ((folder, _about(folder)) for folder in paths.environments().glob("*"))
    for folder, says in (one for one in described if one[1]):
        row = {"key": folder.name, "python": f"{says['implementation']} {says['python']}"}
        row["packages"] = " ".join(says["packages"]) or "-"
        row["for"] = "the lab's client" if says["is_client"] else "programs"
        row["used"] = f"{datetime.fromtimestamp(folder.stat().st_mtime):%Y-%m-%d %H:%M:%S}"
        found.append(row | {"bytes": sum(one.lstat().st_size for one in folder.rglob("*"))})
    return sorted(found, key=operator.itemgetter("used"))


def remove(key: str) -> None:
    """Remove the environment of this key. Raises `BadInput` where there is none."""
    root = paths.environments()
    if key not in [one["key"] for one in listed()]:
        raise refusal("no-environment", key=key, folder=root)
    # Not half of one is ever there: it goes with a folder that is swept.
    with paths.temporary_folder("environment", within=str(root)) as (gone, _):
        (root / key).rename(gone / key)
