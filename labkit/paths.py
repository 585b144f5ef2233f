"""Where labkit's own files lie: beside the package in a checkout, inside it when installed.

Also its temporary folders. The plan: whatever is killed, a folder without an owner is removed when
a lab of the same user starts next. The owner has a lock on the folder, which the kernel takes away
when the last process that has it ends; a number of a process would say less, as each container has
its own. Only folders are removed whose names begin with `TEMPORARY` and whose mode is `OURS`, which
no other folder has by chance. Two labs may sweep at once: who finds its new folder swept before it
was locked makes another.
"""

import fcntl
import json
import os
import pwd
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

_PACKAGE = Path(__file__).resolve().parent
CHECKOUT = _PACKAGE.parent
# Lies in a workspace of a learner, and says what was copied there.
MANIFEST = ".labkit.json"
TEMPORARY, OURS = "labkit-", 0o1700
USUAL = "/tmp"  # noqa: S108  # where paths have to be short


def data(name: str) -> Path:
    """Return the folder or file `data/name`."""
    packed = _PACKAGE / "_data" / name
    return packed if packed.exists() else CHECKOUT / "data" / name


@cache
def table(name: str) -> dict[str, Any]:
    """Return the file `data/name`, JSON or TOML, as plain data, which nobody changes."""
    text = data(name).read_text(encoding="utf-8")
    if name.endswith(".json"):
        return dict(json.loads(text))
    import tomllib  # here: a measured client and the HTTP server read none

    return tomllib.loads(text)


def sentence(which: str, /, **values: Any) -> str:
    """Return a sentence of `data/sentences.toml` with these values."""
    return str(table("sentences.toml")[which]).format(**values)


def notebooks() -> Path:
    """Return the folder of the notebooks."""
    packed = _PACKAGE / "_notebooks"
    return packed if packed.is_dir() else CHECKOUT / "notebooks"


def in_checkout() -> bool:
    """Return whether this is a checkout, and not an installed package."""
    return (CHECKOUT / "data" / "studies").is_dir()


def workspace() -> Path | None:
    """Return the learner's workspace that the current folder is in, or None."""
    with suppress(OSError):  # a current folder that is gone, or a parent that may not be read
        here = Path.cwd()
        for folder in (here, *here.parents):
            if folder == CHECKOUT:
                break  # a workspace that holds a whole checkout is not what its developer means
            if (folder / MANIFEST).is_file():
                return folder
    return None


def runs() -> Path:
    """Return `data/runs` of the workspace, else of the checkout, else of the current folder."""
    root = workspace() or (CHECKOUT if in_checkout() else Path.cwd())
    return root / "data" / "runs"


def environments() -> Path:
    """Return `LABKIT_ENVIRONMENTS`, else `labkit/environments` in this user's cache."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    named = os.environ.get("LABKIT_ENVIRONMENTS") or f"{cache}/labkit/environments"
    return Path(os.path.expanduser(named)).absolute()  # noqa: PTH111  # which never fails


@contextmanager
def temporary_folder(kind: str, within: str | None = None) -> Iterator[tuple[Path, int]]:
    """Make a folder for the time of the block; yield it and the descriptor that has its lock.

    A process that gets the descriptor too has the folder until its own end.
    """
    while True:
        folder = Path(tempfile.mkdtemp(prefix=f"{TEMPORARY}{kind}-", dir=within))
        with suppress(FileNotFoundError):
            folder.chmod(OURS)
            lock = os.open(folder, os.O_RDONLY)
            with suppress(OSError):  # a file system without locks: then nobody sweeps it
                fcntl.flock(lock, fcntl.LOCK_EX)
            if folder.exists():
                break
            os.close(lock)
    try:
        yield folder, lock
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


# What the synthetic server is called, wherever it runs.
NAMES = ("127.0.0.1", "::1", "localhost", "lab.test")


@contextmanager
def new_file(folder: Path, data: bytes) -> Iterator[Path]:
    """Yield a new file that holds these bytes, on the disk; it is gone at the end, unless renamed.

    Its name is a random one: writers in containers and on other machines share process ids, and a
    link that somebody put in its place is not followed.
    """
    path = folder / f".{os.urandom(8).hex()}.tmp"
    try:
        with path.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        yield path
    finally:
        with suppress(OSError):
            path.unlink()


def write_whole(path: Path, data: bytes) -> None:
    """Write a file that is there whole, on the disk, or as it was before."""
    with new_file(path.parent, data) as part:
        part.replace(path)


def certificates() -> Path:
    """Return this user's folder of the lab's own certificate, made where it is first asked for.

    `server.pem` and `server.key` are the server's, `client.pem` is what a client trusts. What has
    signed them is written nowhere: nobody can sign another.
    """
    folder = Path(tempfile.gettempdir()) / f"labkit_tls_{os.getuid()}"
    needed = [folder / name for name in ("client.pem", "server.key", "server.pem")]
    if not all(path.is_file() for path in needed):
        new = tempfile.mkdtemp(prefix=f"{folder.name}_")
        words = [sys.executable, "-P", "-m", "trustme", "-q", "-d", new, "-i", *NAMES]
        subprocess.run(words, check=True)  # noqa: S603  # our own interpreter
        with suppress(OSError):  # of several at once the first is taken; one that is damaged goes
            shutil.rmtree(folder, ignore_errors=True)
            Path(new).rename(folder)
    found = folder.lstat()
    if found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise PermissionError(f"{folder} is another user's: remove it")
    return folder


def sweep() -> None:
    """Remove the temporary folders of this user whose owners were killed."""
    users = {os.geteuid()}
    if os.geteuid() == 0:  # then PostgreSQL runs as nobody
        users |= {user.pw_uid for user in pwd.getpwall() if user.pw_name == "nobody"}
    for root in {tempfile.gettempdir(), USUAL, str(environments())}:
        for folder in Path(root).glob(f"{TEMPORARY}*"):
            with suppress(OSError):  # no folder, in use, or swept by another
                lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
                try:
                    found = os.fstat(lock)
                    if found.st_uid in users and stat.S_IMODE(found.st_mode) == OURS:
                        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                        remove = ["/bin/sh", "-c", table("postgres.toml")["remove"], "sh", folder]
                        subprocess.run(remove, stderr=subprocess.DEVNULL, check=False)  # noqa: S603
                finally:
                    os.close(lock)
