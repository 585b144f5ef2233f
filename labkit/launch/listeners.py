"""Find the processes behind a port of this machine, and the cores that they may run on.

The plan. The kernel lists every listening socket of this network with its address and its inode,
those of other users too. A process has such a socket where one of its descriptors is a link to that
inode. Several may have it: a server that forks hands it to its workers, and with SO_REUSEPORT each
worker has one of its own. Measured are those at the top, whose parent is not among them, each with
all below it; and where all of those have one parent, as workers have, that one; of a single one if
its command line is the same, as it has forked. But never who started the lab itself: below a shell,
or below the kernel of a notebook, is more than the server.

What is read is files of /proc: elsewhere nothing is found, and nothing is measured.
"""

import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from labkit.launch import environment
from labkit.spec.addresses import EVERYWHERE

PROC = Path("/proc")
LISTENS = "0A"


@dataclass(frozen=True, kw_only=True)
class Listener:
    """Who listens at an address: where, in which processes, pinned to which cores.

    `hosts` is empty where nobody of this network does, and `roots`, the processes at the top, where
    those may not be read. `pids` are all of the server; none where its root is measured alone.
    `cores` is empty where it may run on any.
    """

    hosts: list[str]
    roots: list[int]
    pids: list[int]
    cores: set[int]


def find(addresses: Iterable[str], port: int) -> Listener:
    """Return who accepts connections to the first of these addresses at which anybody does."""
    open_at, inodes = sockets(port), list[str]()
    for address in addresses:
        # A socket of this very address takes the connection before one of all addresses.
        exact = [inode for inode, host in open_at.items() if host == str(ip_address(address))]
        inodes = exact or [inode for inode, host in open_at.items() if host in EVERYWHERE]
        if inodes:
            break
    roots, pids = _whole(holders_of(inodes))
    usable, cores = set(environment.usable_cores()), set[int]()
    for pid in {*roots, *pids}:
        with suppress(OSError):  # it is gone
            pinned = os.sched_getaffinity(pid)
            cores |= pinned if not usable <= pinned else set()
    return Listener(hosts=[open_at[one] for one in inodes], roots=roots, pids=pids, cores=cores)


def sockets(port: int) -> dict[str, str]:
    """Return the address of each socket that listens at the port, by its inode."""
    found = {}
    for name in ("tcp", "tcp6"):
        with suppress(OSError):
            lines = (PROC / "net" / name).read_text(encoding="ascii").splitlines()
            for line in (one for one in lines if f":{port:04X} " in one):  # of thousands
                _, local, _, state, *_, inode = line.split(maxsplit=10)[:10]
                address, _, at = local.partition(":")
                if state == LISTENS and int(at, 16) == port:
                    words = [int(address[i : i + 8], 16) for i in range(0, len(address), 8)]
                    packed = b"".join(word.to_bytes(4, sys.byteorder) for word in words)
                    found[inode] = str(ip_address(packed))
    return found


def of_process(pid: int) -> list[str]:
    """Return where a process and those below it accept connections."""
    import psutil  # here: most targets are the lab's own

    found = set[str]()
    for one in map(psutil.Process, with_all_below([pid])):
        with suppress(psutil.Error):  # it is gone
            listens = [at.laddr for at in one.net_connections("tcp") if at.status == "LISTEN"]
            found |= {f"{at.ip} port {at.port}" for at in listens}
    return sorted(found)


def holders_of(inodes: Iterable[str]) -> set[int]:
    """Return the processes that have one of these sockets, as far as they may be read."""
    links, found = {f"socket:[{inode}]" for inode in inodes}, set[int]()
    for process in PROC.glob("[0-9]*") if links else ():
        with suppress(OSError):  # it is another user's, or gone
            for descriptor in os.scandir(process / "fd"):
                with suppress(OSError):  # closed meanwhile
                    if os.readlink(descriptor) in links:  # noqa: PTH115  # of thousands
                        found.add(int(process.name))
    return found


def _whole(holders: set[int]) -> tuple[list[int], list[int]]:
    """Return the processes at the top, and those with all below them."""
    import psutil

    above = {os.getpid(), *(one.pid for one in psutil.Process().parents())}
    # The first process of a system may have it, too: it hands sockets to those that it starts.
    above_of, holders = dict[int, list[int]](), holders - {1} or holders
    for pid in holders:
        with suppress(psutil.Error):
            above_of[pid] = [one.pid for one in psutil.Process(pid).parents()]
    roots = sorted(pid for pid, parents in above_of.items() if not holders & {*parents})
    parents = {above_of[pid][0] for pid in roots if above_of[pid]}
    if len(parents) == 1 and not parents & {1, *above}:
        with suppress(psutil.Error):
            words = [psutil.Process(pid).cmdline() for pid in (*parents, roots[0])]
            roots = [*parents] if len(roots) > 1 or words[0] == words[1] else roots
    if own := above & {*roots}:
        return [*own], []
    return roots, with_all_below(roots)


def with_all_below(roots: Iterable[int]) -> list[int]:
    """Return these processes, each with all that are below it."""
    import psutil

    pids = [*roots]
    for root in roots:
        with suppress(psutil.Error):
            pids += [one.pid for one in psutil.Process(root).children(recursive=True)]
    return pids
