"""Variables of the environment that change what a measured process does, or what it costs.

Every process that the lab starts for a trial is without them, whatever the person's own shell has
set; a trial asks for one by its setting `variables`, for its client. What was in force is in the
record. What a process needs to run at all (paths, locale, a database's address) stays.
"""

from collections.abc import Mapping
from functools import cache

from labkit.spec import validation

# Variables of proxies, in small letters or in capitals; a trial cannot ask for one.
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@cache
def switches() -> tuple[str, ...]:
    """Return those that a trial may ask for: none runs code, names a file or sends anything."""
    from labkit import paths  # here: a measured process asks only where its trial does

    return tuple(name for group in paths.table("variables.toml").values() for name in group)


def left_out(environment: Mapping[str, str]) -> list[str]:
    """Return the names of the variables that no measured process is given, sorted."""
    return sorted({*switches(), *PROXIES, *map(str.upper, PROXIES)} & environment.keys())


def clean(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment without them."""
    unwanted = left_out(environment)
    return {name: value for name, value in environment.items() if name not in unwanted}


def parse(text: str) -> dict[str, str]:
    """Return by name the values that 'NAME=VALUE NAME=VALUE' asks for. Raises `BadInput`."""
    asked: dict[str, str] = {}
    for word in text.split():
        name, equals, value = word.partition("=")
        if name not in switches() or name in asked or not equals or not value.isprintable():
            near = validation.did_you_mean(name, {*switches()} - {name})
            raise validation.refusal("variables", text=text, names=", ".join(switches()), near=near)
        asked[name] = value
    return asked
