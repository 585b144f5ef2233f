"""The settings of a trial for help and completion: name, default, range, unit. Not for a worker.

Whoever imports `Trial` from here gets it with that as its docstring and its signature. A measured
process imports it from `trial`, and carries none of it.
"""

import re
from collections.abc import Iterator
from inspect import Parameter, Signature
from typing import Any

import msgspec

from labkit import paths
from labkit.spec import delays
from labkit.spec.parts import KINDS, Switches, Workload
from labkit.spec.registry import OPTION_TYPES, STRATEGIES
from labkit.spec.trial import Trial
from labkit.spec.validation import Part, allowed, types_of

__all__ = ["Trial"]


def listed() -> Iterator[tuple[str, str, Any, str]]:
    """Yield each setting: which part has it, its name, its default, what is allowed."""
    names = ", ".join(STRATEGIES)
    yield "choices", "strategy", "worker_pool", f"a function, 'PATH.py:NAME', or one of {names}"
    for role, usual in (("target", "http"), ("transport", "aiohttp")):
        yield "choices", role, usual, f"a part, or one of {', '.join(KINDS[role])}"
    for name, options in STRATEGIES.items():
        for option, default in options.items():
            yield f"strategy={name!r}", option, default, allowed(OPTION_TYPES[option])
    kinds: dict[str, type[Part]] = {"workload": Workload, "the trial": Switches}
    kinds |= {f"target={kind!r}": part for kind, part in KINDS["target"].items()}
    kinds |= {f"transport={kind!r}": part for kind, part in KINDS["transport"].items()}
    for place, part in kinds.items():
        for field in msgspec.structs.fields(part):
            usual = "required" if field.default is msgspec.NODEFAULT else field.default
            what = f"seconds, as in {delays.FORMS}" if field.name in ("delay", "think") else ""
            yield place, field.name, usual, what or allowed(types_of(part)[field.name])


def document() -> str:
    """Return the settings as the lines of a docstring, by the part that has them."""
    lines, before = ["Settings, with their defaults in brackets:"], ""
    units = paths.table("tables.toml")["units_of_settings"]
    for place, name, usual, what in listed():
        unit = next((unit for unit, rule in units.items() if re.fullmatch(rule, name)), "")
        lines += [] if place == before else ["", f"{place}:"]
        lines.append(f"  {name}: {what}{unit and f', in {unit}'} [{usual!r}]")
        before = place
    return "\n".join(lines)


def signature() -> Signature:
    """Return the settings as keywords; of several with one name the first counts."""
    usual = dict[str, Any]()
    for _, name, default, _ in listed():
        usual.setdefault(name, default)
    keywords = [Parameter(one, Parameter.KEYWORD_ONLY, default=usual[one]) for one in usual]
    return Signature([*keywords, Parameter("dotted", Parameter.VAR_KEYWORD)])


_OWN = signature()
Trial.__doc__ = f"{Trial.__doc__}\n{document()}"
Trial.__signature__ = _OWN  # type: ignore[attr-defined]  # inspect and IPython read it
Trial.replace.__signature__ = _OWN.replace(  # type: ignore[attr-defined]
    parameters=[Parameter("self", Parameter.POSITIONAL_ONLY), *_OWN.parameters.values()]
)
