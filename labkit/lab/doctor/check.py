"""One thing that a doctor looked at."""

from __future__ import annotations

from typing import Literal

import msgspec

Status = Literal["ok", "warn", "bad"]


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was looked at.

    Where `status` is not ok, `advice` says what to do and `spoils` what is not to be trusted.
    """

    name: str
    found: str
    status: Status
    advice: str = ""
    spoils: str = ""


def check(
    name: str, found: str, wrong: bool, advice: str, spoils: str, *, bad: bool = False
) -> Check:
    """A check that is ok unless something is `wrong`; advice is of use only then."""
    if not wrong:
        return Check(name=name, found=found, status="ok")
    status: Status = "bad" if bad else "warn"
    return Check(name=name, found=found, status=status, advice=advice, spoils=spoils)
