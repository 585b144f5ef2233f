"""How a call can fail, and the name that records give each way."""

from __future__ import annotations

import errno

from labkit.measured.http_framing import BadMessage

_ERRNO = {
    errno.EMFILE: "emfile",
    errno.ENFILE: "emfile",
    errno.EADDRNOTAVAIL: "eaddrnotavail",
    errno.ECONNRESET: "reset",
    errno.ECONNABORTED: "reset",
    errno.EPIPE: "reset",
    errno.ETIMEDOUT: "timeout",
}


class BadStatus(Exception):
    """The server answered, with a status that is not a success."""

    def __init__(self, status: int) -> None:
        super().__init__(f"status {status}")


class Unanswered(Exception):
    """The request was sent, and its connection ended before the whole answer had come."""


def of_errno(error: OSError, otherwise: str) -> str:
    """Return the kind of an error of the system's, by its number."""
    return _ERRNO.get(error.errno or 0, otherwise)


def kind_of(error: BaseException) -> str:
    """Return the kind of a failure of the lab's own clients, one of `record.FAILURES`."""
    for type_, kind in _KINDS:
        if isinstance(error, type_):
            return kind
    # Once connected, whatever the system reports has become `Unanswered`.
    return of_errno(error, "connect") if isinstance(error, OSError) else "other"


_KINDS: tuple[tuple[type[BaseException], str], ...] = (
    (TimeoutError, "timeout"),
    (BadStatus, "status"),
    (Unanswered, "unanswered"),
    (BadMessage, "payload"),
)
