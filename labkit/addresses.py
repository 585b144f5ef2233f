"""Which URLs a trial may call: loopback, or one host that was named. Pure; resolves nothing."""

from __future__ import annotations

import re
from ipaddress import ip_address
from urllib.parse import urlsplit

from labkit.errors import BadInput

_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9]([a-z0-9.-]*[a-z0-9])?)(:[0-9]+)?", re.IGNORECASE)
REMOTE_REQUESTS = 10_000
REMOTE_LIMIT = 50
REMOTE_RPS = 100.0
REMOTE_DEADLINE_S = 300.0


def is_loopback(host: str) -> bool:
    """Whether `host` is a loopback address, or a name that RFC 6761 reserves for one."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def is_remote(url: str) -> bool:
    """Whether `url` leads off this machine's loopback."""
    return not is_loopback(urlsplit(url).hostname or "")


def check_url(url: str, allow_remote: str | None = None) -> None:
    """Raise `BadInput` unless `url` is one that a trial may call."""
    # The value may be a password: it is not repeated.
    if "@" in url:
        raise BadInput("target.url holds an '@': leave out all before it, user and password")
    if not url.isascii() or not url.isprintable() or " " in url:
        raise _refused(url, "it must hold printable ASCII without spaces")
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise _refused(url, f"it does not parse ({error})") from None
    if parts.scheme not in ("http", "https"):
        raise _refused(url, "its scheme must be http or https")
    if not host:
        raise _refused(url, "it has no host; write http://127.0.0.1:9000")
    if not _HOST.fullmatch(parts.netloc):
        raise _refused(url, "its host must be a name or an address, with a port at most")
    if parts.fragment:
        raise _refused(url, "a fragment is never sent; leave out all from the '#'")
    if not is_loopback(host) and allow_remote != host:
        raise _refused(
            url,
            "only loopback (127.0.0.1, ::1, localhost) is called; where you may load another "
            f"host, name it with --allow-remote {host}",
        )


def check_remote(url: str, *, requests: int, limit: int) -> None:
    """Raise `BadInput` where a trial on a remote host would send more than the caps."""
    if is_remote(url) and (requests > REMOTE_REQUESTS or limit > REMOTE_LIMIT):
        raise BadInput(
            f"workload is {requests:,} requests at limit {limit:,} on a remote host: at most "
            f"{REMOTE_REQUESTS:,} requests at limit {REMOTE_LIMIT} are sent there, at "
            f"{REMOTE_RPS:.0f} a second for {REMOTE_DEADLINE_S:.0f} s; ask for less"
        )


def _refused(url: str, why: str) -> BadInput:
    return BadInput(f"target.url is {url!r}: {why}")
