"""Which URLs a trial may call: loopback, or one host that was named. Pure; resolves nothing."""

from __future__ import annotations

import re
from ipaddress import ip_address
from urllib.parse import parse_qs, unquote, urlsplit

from labkit.errors import BadInput

_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9]([a-z0-9.-]*[a-z0-9])?)(:[0-9]+)?", re.IGNORECASE)
_REDIS = "redis://[:password@]127.0.0.1:6379/0 or unix:///path/to/the.sock"
_IN_A_REDIS_URL = ("db", "password", "username")
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
    if urlsplit(url).scheme in _SCHEMES:
        return not all(map(_is_here, hosts_of(url) or [""]))
    if urlsplit(url).scheme == "unix":
        return False
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


def check_redis_url(name: str, url: str) -> None:
    """Raise `BadInput` unless `url`, the value of the setting `name`, leads to a Redis on loopback.

    The URL may hold a password: it is not repeated.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise BadInput(f"{name} does not parse as a URL ({error}); write {_REDIS}") from None
    if parts.scheme not in ("redis", "unix"):
        raise BadInput(f"{name} has the scheme {parts.scheme!r}: write {_REDIS}")
    strange = [name for name in parse_qs(parts.query) if name not in _IN_A_REDIS_URL]
    if strange:
        raise BadInput(
            f"{name} sets {strange[0]!r}: only {', '.join(_IN_A_REDIS_URL)} may follow the '?'"
        )
    if parts.scheme == "redis" and not is_loopback(host or ""):
        raise BadInput(
            f"{name} names the host {host!r}: only loopback (127.0.0.1, ::1, localhost) is called; "
            f"write {_REDIS}, or leave it out and the lab starts a Valkey of its own"
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


POSTGRES_DSN, REDIS_URL = "LABKIT_POSTGRES_DSN", "LABKIT_REDIS_URL"
"""The variables that name servers of the user's own, for the targets `postgres` and `valkey`."""
POSTGRES_VARIABLES = (
    "PGDATABASE",
    "PGHOST",
    "PGHOSTADDR",
    "PGOPTIONS",
    "PGPORT",
    "PGSERVICE",
    "PGSERVICEFILE",
    "PGUSER",
)
"""Variables by which a driver would connect elsewhere than its DSN says."""
_SCHEMES = ("postgresql", "postgres")
_PORT = re.compile(r"(:[0-9]*)?")
_IN_A_DSN = ("host", "port", "user", "password", "dbname", "database", "sslmode")


def check_dsn(dsn: str) -> None:
    """Raise `BadInput` unless `dsn` leads to a PostgreSQL on this machine. It is not repeated."""
    form = "write postgresql://user:password@127.0.0.1:5432/database"
    try:
        parts = urlsplit(dsn)
        named = parse_qs(parts.query, strict_parsing=bool(parts.query))
        _check_ports(parts.netloc, named.get("port", []))
    except ValueError:
        raise BadInput(f"{POSTGRES_DSN} does not parse; {form}") from None
    if parts.scheme not in _SCHEMES:
        raise BadInput(f"{POSTGRES_DSN} is no URL of a PostgreSQL; {form}")
    # Drivers disagree on where a host begins then: each would have to be asked for its own.
    if dsn.count("@") > ("@" in parts.netloc) or "#" in dsn or not dsn.isprintable():
        raise BadInput(
            f"{POSTGRES_DSN} holds an '@' that is not the one before its host, a '#' or a control "
            f"character: write %40 and %23 in names and passwords; {form}"
        )
    strange = [name for name in named if name not in _IN_A_DSN]
    if strange:
        raise BadInput(
            f"{POSTGRES_DSN} sets {strange[0]!r}: only {', '.join(_IN_A_DSN)} may follow the '?'"
        )
    hosts = hosts_of(dsn)
    if not hosts or not all(map(_is_here, hosts)):
        raise BadInput(
            f"{POSTGRES_DSN} names a host that is not loopback, or none: only 127.0.0.1, ::1, "
            f"localhost or the folder of a Unix socket may be loaded; {form}, or leave it out"
        )


def hosts_of(dsn: str) -> list[str]:
    """Every host that a driver might connect to."""
    parts = urlsplit(dsn)
    listed = [one for value in parse_qs(parts.query).get("host", []) for one in value.split(",")]
    return listed + [unquote(host) for host, _ in _places(parts.netloc)]


def _places(netloc: str) -> list[tuple[str, str]]:
    """Each host, as it is written there, and what follows it: its port, where it has one."""
    places = netloc.rpartition("@")[2].split(",")
    return [_host_and_rest(place) for place in places if place]


def _host_and_rest(place: str) -> tuple[str, str]:
    if place.startswith("["):
        host, _, rest = place[1:].partition("]")
        return host, rest
    host, colon, port = place.partition(":")
    return host, colon + port


def _check_ports(netloc: str, listed: list[str]) -> None:
    """Raise `ValueError` where something follows a host that is no port, or is listed as one."""
    behind = [rest for _, rest in _places(netloc)]
    ports = [f":{port}" for value in listed for port in value.split(",")]
    if not all(map(_PORT.fullmatch, behind + ports)):
        raise ValueError("a port is not a number")


def _is_here(host: str) -> bool:
    return host.startswith("/") or (is_loopback(host) and not host.endswith(".localhost"))
