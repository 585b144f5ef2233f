"""Names and values of a trial's settings -> its parts: which kind is chosen, which field is meant.

A setting has a short name (`limit`) and a dotted one (`transport.limit`); a part is given as
itself, as its kind, as plain data, or for the target as a URL. What a trial is, `spec` says.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import msgspec

from labkit.errors import BadInput
from labkit.spec import parts, validation
from labkit.spec.parts import Part, Workload

KINDS: dict[str, Mapping[str, type[Part]]] = {
    "target": cast("Mapping[str, type[Part]]", parts.TARGETS),
    "transport": cast("Mapping[str, type[Part]]", parts.TRANSPORTS),
    "workload": {"closed": Workload},
}
ROLES = (*KINDS, "switches")


def with_suited_transport(chosen: dict[str, Any], state: Mapping[str, Any]) -> dict[str, Any]:
    """What is chosen, and a transport that speaks with the target where none was."""
    if "target" not in chosen or "transport" in chosen:
        return chosen
    target = kind_chosen("target", chosen["target"], state["target"])
    speak = parts.SPEAK[_tag(target)]
    return chosen if state["transport"].kind in speak else chosen | {"transport": speak[0]}


def _tag(kind: type[Part]) -> str:
    return str(kind.__struct_config__.tag)


def kind_chosen(role: str, value: Any, now: Part) -> type[Part]:
    """The class of the part that `value` (a kind, a URL, plain data, a part) chooses."""
    if value is None:
        return type(now)
    if isinstance(value, Mapping):
        value = value.get("kind", "url" if "url" in value else None)
        if value is None:
            return type(now)
    if role == "target" and isinstance(value, str) and ":" in value:
        return parts.UrlTarget
    if isinstance(value, str) and value in KINDS[role]:
        return KINDS[role][value]
    if type(value) in KINDS[role].values():
        return cast("type[Part]", type(value))
    known = [
        *KINDS[role],
        *(["a URL such as http://127.0.0.1:9000"] if role == "target" else []),
    ]
    raise validation.unknown(role, str(value), known)


def part(role: str, value: Any, now: Part, changes: dict[str, Any]) -> Part:
    """The part that `value` chooses, with `changes`; `now` is the one that there was.

    Raises `BadInput`.
    """
    kind = kind_chosen(role, value, now)
    if isinstance(value, Mapping):
        changes = {name: v for name, v in value.items() if name != "kind"} | changes
    elif kind is parts.UrlTarget and isinstance(value, str):
        changes = {"url": value} | changes
    types = validation.types_of(kind)
    for leaf, setting in changes.items():
        if leaf not in types:
            raise validation.unknown(f"a setting of {role}", leaf, types)
        validation.check(f"{kind.role}.{leaf}", setting, types[leaf])
    # A kind that is named again keeps the part as it is.
    again = isinstance(value, str) and value in KINDS[role] and type(now) is kind
    if value is None or again:
        return msgspec.structs.replace(now, **changes)
    if isinstance(value, Part):
        return msgspec.structs.replace(value, **changes)
    return _constructed(kind, changes)


def _constructed(kind: type[Part], settings: dict[str, Any]) -> Part:
    try:
        return kind(**settings)
    except TypeError as error:
        raise BadInput(f"{kind.role} is incomplete: {error}") from None


def resolved(
    name: str, kinds: Mapping[str, type[Part]], options: Mapping[str, int]
) -> tuple[str, str]:
    """The role and the field that a short or dotted `name` means."""
    names = {"strategy": list(options)}
    names |= {role: list(kind.__struct_fields__) for role, kind in kinds.items()}
    role, dot, leaf = name.partition(".")
    if dot and role in names and leaf in names[role]:
        return role, leaf
    for role in ("switches", "workload", "target", "transport", "strategy"):
        if not dot and name in names[role]:
            return role, name
    settings = sorted(field for listed in names.values() for field in listed)
    dotted = [f"{role}.{field}" for role, listed in names.items() for field in listed]
    near = validation.did_you_mean(name, [*settings, *dotted])
    listed_all = f"; there are {', '.join(['strategy', *KINDS, *dict.fromkeys(settings)])}"
    raise BadInput(
        f"{name!r} is not a setting of a trial with these parts{near or listed_all} "
        "(write a dotted name where a short one is ambiguous, as in transport.limit)"
    )
