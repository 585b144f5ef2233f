"""Variables of the environment that change what a measured process does, or what it costs.

Every process that the lab starts for a trial is without them, whatever the person's own shell has
set; a trial asks for one by its setting `variables`, for its client. What was in force is in the
record. What a process needs to run at all (paths, locale, a database's address) stays.
"""

from __future__ import annotations

from collections.abc import Mapping

from labkit.errors import BadInput
from labkit.spec import validation

# What a trial may ask for: none of it runs code, names a file or sends anything elsewhere.
SWITCHES = (
    # The interpreter: checks, traces, and other ways to run.
    *("PYTHONASYNCIODEBUG", "PYTHONDEVMODE", "PYTHONDEBUG", "PYTHONINSPECT", "PYTHONVERBOSE"),
    *("PYTHONTRACEMALLOC", "PYTHONMALLOC", "PYTHONMALLOCSTATS", "PYTHONPROFILEIMPORTTIME"),
    *("PYTHONOPTIMIZE", "PYTHONPERFSUPPORT", "PYTHON_PERF_JIT_SUPPORT", "PYTHON_GIL", "PYTHON_JIT"),
    # Python in place of C, or one implementation in place of another.
    *("AIOHTTP_NO_EXTENSIONS", "MULTIDICT_NO_EXTENSIONS", "YARL_NO_EXTENSIONS"),
    *("FROZENLIST_NO_EXTENSIONS", "PROPCACHE_NO_EXTENSIONS", "PSYCOPG_IMPL", "UV_USE_IO_URING"),
    # The malloc of glibc.
    *("MALLOC_ARENA_MAX", "MALLOC_ARENA_TEST", "MALLOC_CHECK_", "MALLOC_MMAP_MAX_"),
    *("MALLOC_MMAP_THRESHOLD_", "MALLOC_PERTURB_", "MALLOC_TOP_PAD_", "MALLOC_TRIM_THRESHOLD_"),
    "GLIBC_TUNABLES",
)

# In small letters or in capitals; a trial cannot ask for one.
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")

# What a record shows. What a person preloads, as another malloc, is left to them.
SHOWN = (*SWITCHES, "LD_PRELOAD")


def left_out(environment: Mapping[str, str]) -> list[str]:
    """Return the names of the variables that no measured process is given, sorted."""
    unwanted = {*SWITCHES, *PROXIES, *map(str.upper, PROXIES)}
    return sorted(unwanted & environment.keys())


def clean(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment without them."""
    unwanted = left_out(environment)
    return {name: value for name, value in environment.items() if name not in unwanted}


def parse(text: str) -> dict[str, str]:
    """Return by name the values that 'NAME=VALUE NAME=VALUE' asks for. Raises `BadInput`."""
    asked: dict[str, str] = {}
    for word in text.split():
        name, equals, value = word.partition("=")
        if name not in SWITCHES or name in asked or not equals or not value.isprintable():
            near = validation.did_you_mean(name, {*SWITCHES} - {name})
            raise BadInput(
                f"trial.variables is {text!r}: it must be NAME=VALUE, a space between two, each "
                f"NAME once and one of {', '.join(SWITCHES)}{near}"
            )
        asked[name] = value
    return asked
