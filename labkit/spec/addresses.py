"""Check which URLs a trial may call: loopback, or one host that was named. Resolves nothing."""

import re
from ipaddress import ip_address
from urllib.parse import parse_qs, urlsplit

from labkit.errors import BadInput
from labkit.spec.validation import refusal

_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9]([a-z0-9.-]*[a-z0-9])?)(:[0-9]+)?", re.IGNORECASE)
# Where a server listens at all addresses; none to call.
EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104
_REDIS = "redis://[:password@]127.0.0.1:6379/0 or unix:///path/to/the.sock"
_IN_A_REDIS_URL = ("db", "password", "username")
MAX_REMOTE_REQUESTS, MAX_REMOTE_LIMIT = 10_000, 50
MAX_REMOTE_RPS, MAX_REMOTE_S = 100.0, 300.0


def is_loopback(host: str) -> bool:
    """Return True for a loopback address, or a name that RFC 6761 reserves for one."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def is_remote(url: str) -> bool:
    """Return True if the URL of a server, as `check_url` allows it, leads off this loopback."""
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
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise _refused(url, f"it does not parse ({error})") from None
    if parts.scheme not in ("http", "https"):
        raise _refused(url, "its scheme must be http or https; write http://127.0.0.1:9000")
    if not host:
        raise _refused(url, "it has no host; write http://127.0.0.1:9000")
    if not _HOST.fullmatch(parts.netloc) or port == 0:
        raise _refused(url, "its host must be a name or an address, with a port at most")
    if strange := re.search(r"\{(?!item\})[A-Za-z_]\w*\}", url):
        raise _refused(url, f"it holds {strange[0]!r}: {{item}} alone stands for something in it")
    if parts.fragment:
        raise _refused(url, "a fragment is never sent; leave out all from the '#'")
    if not is_loopback(host) and allow_remote != host:
        instead = f"where you may load another host, name it with --allow-remote {host}"
        if host in EVERYWHERE:
            instead = "what listens everywhere answers there, too"
        raise _refused(url, f"only loopback (127.0.0.1, ::1, localhost) is called; {instead}")


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
    _check_parameters(name, parts.query, _IN_A_REDIS_URL)
    if parts.scheme == "redis" and not is_loopback(host or ""):
        raise refusal("redis-host", name=name, host=host, form=_REDIS)


def check_remote(*, requests: int, limit: int, trials: int = 1) -> None:
    """Raise `BadInput` where trials on a remote host would send more, all together, than the caps.

    Whoever runs that host sees one load, however many trials it is made of.
    """
    if requests > MAX_REMOTE_REQUESTS or limit > MAX_REMOTE_LIMIT:
        of = f" in {trials:,} trials" if trials > 1 else ""
        most = (MAX_REMOTE_REQUESTS, MAX_REMOTE_LIMIT, MAX_REMOTE_RPS, MAX_REMOTE_S)
        raise refusal("remote", requests=requests, of=of, limit=limit, most=most)


def _refused(url: str, why: str) -> BadInput:
    return BadInput(f"target.url is {url!r}: {why}")


# The variables that name servers of the user's own, for the targets `postgres` and `valkey`.
POSTGRES_DSN, REDIS_URL = "LABKIT_POSTGRES_DSN", "LABKIT_REDIS_URL"
# Variables by which a driver would connect elsewhere than its DSN says.
POSTGRES_VARIABLES = (
    *("PGDATABASE", "PGHOST", "PGHOSTADDR", "PGOPTIONS", "PGPORT", "PGSERVICE", "PGSERVICEFILE"),
    "PGUSER",
)
_SCHEMES = ("postgresql", "postgres")
_IN_A_DSN = ("host", "port", "user", "password", "dbname", "database", "sslmode")


def check_dsn(dsn: str) -> None:
    """Raise `BadInput` unless `dsn` leads to a PostgreSQL on this machine. It is not repeated."""
    form = "write postgresql://user:password@127.0.0.1:5432/database"
    try:
        parts = urlsplit(dsn)
        ports = parse_qs(parts.query, strict_parsing=bool(parts.query)).get("port", [])
    except ValueError:
        raise BadInput(f"{POSTGRES_DSN} does not parse; {form}") from None
    host = parts.netloc.rpartition("@")[2]
    if (host and not _HOST.fullmatch(host)) or not all(map(str.isdecimal, ports)):
        raise BadInput(f"{POSTGRES_DSN} does not parse; {form}")
    if parts.scheme not in _SCHEMES:
        raise BadInput(f"{POSTGRES_DSN} is no URL of a PostgreSQL; {form}")
    # Drivers disagree on where a host begins then: each would have to be asked for its own.
    if dsn.count("@") > ("@" in parts.netloc) or "#" in dsn or not dsn.isprintable():
        raise refusal("dsn-signs", name=POSTGRES_DSN, form=form)
    _check_parameters(POSTGRES_DSN, parts.query, _IN_A_DSN)
    hosts = hosts_of(dsn)
    if not hosts or not all(map(_is_here, hosts)):
        raise refusal("dsn-host", name=POSTGRES_DSN, form=form)


def _check_parameters(variable: str, query: str, known: tuple[str, ...]) -> None:
    for name in parse_qs(query):
        if name not in known:
            raise BadInput(f"{variable} sets {name!r}: only {', '.join(known)} may follow the '?'")


def hosts_of(dsn: str) -> list[str]:
    """Return every host that a driver might connect to."""
    parts = urlsplit(dsn)
    return [*filter(None, [parts.hostname]), *parse_qs(parts.query).get("host", [])]


def _is_here(host: str) -> bool:
    is_socket = host.startswith("/") and "," not in host
    return is_socket or (is_loopback(host) and not host.endswith(".localhost"))
