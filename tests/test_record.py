"""Records to JSON and back, and what is refused on the way."""

from __future__ import annotations

import json
import types
from hashlib import sha256
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec
import pytest
from factories import make_record
from hypothesis import given, settings
from hypothesis import strategies as st
from machines import checks, raws

from labkit.errors import BadInput, RecordDamaged
from labkit.record.codec import decode, encode
from labkit.record.record import SCHEMA_VERSION, Record, Timeline

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2)
    ),
    max_leaves=4,
)
SIMPLE: dict[Any, st.SearchStrategy[Any]] = {
    Any: PLAIN,
    bool: st.booleans(),
    int: st.integers(-(2**53), 2**53),
    float: st.floats(allow_nan=False, allow_infinity=False),
    str: st.text(max_size=8),
    type(None): st.none(),
}


def values_of(type_: Any) -> st.SearchStrategy[Any]:
    """Any value of an annotated type, so that a field which is added is stated, too."""
    if type_ in SIMPLE:
        return SIMPLE[type_]
    origin, arguments = get_origin(type_), get_args(type_)
    if origin in (Union, types.UnionType):
        return st.one_of(*map(values_of, arguments))
    if origin is Literal:
        return st.sampled_from(arguments)
    if origin in (list, dict):
        collections = st.lists if origin is list else st.dictionaries
        return collections(*map(values_of, arguments), max_size=2)
    hints = {name: values_of(hint) for name, hint in get_type_hints(type_).items()}
    return st.builds(type_, **{name: hints[name] for name in type_.__struct_fields__})


RECORDS = values_of(Record).map(
    lambda one: msgspec.structs.replace(one, schema_version=SCHEMA_VERSION)
)


@settings(max_examples=30)
@given(RECORDS)
def test_a_record_is_the_same_after_json(record: Record) -> None:
    line = encode(record)

    assert decode(line) == decode(line + b"\n") == record
    assert b"\n" not in line
    whole, checksum = json.loads(line), sha256(line[:-77]).hexdigest()
    assert whole == record.to_dict() | {"checksum": "sha256", "sha256": checksum}
    assert decode(msgspec.json.encode(record)) == record  # as older versions wrote it


def test_a_record_that_is_cut_or_has_one_changed_bit_is_damaged() -> None:
    line = encode(make_record(timeline=Timeline(), trial={}, environment={})) + b"\n"
    number = int.from_bytes(line)
    flipped = [(number ^ 1 << bit).to_bytes(len(line)) for bit in range(8 * len(line))]
    for data in [*flipped, *(line[:length] for length in range(len(line) - 1))]:
        with pytest.raises(RecordDamaged, match="record x is damaged"):
            decode(data, "record x")


@pytest.mark.parametrize("version", [SCHEMA_VERSION + 1, 10**6])
def test_a_newer_schema_is_refused_even_where_nothing_else_is_known(version: int) -> None:
    with pytest.raises(BadInput, match="install a newer labkit to read it") as caught:
        decode(json.dumps({"schema_version": version, "news": 1}).encode(), "record x")

    assert isinstance(caught.value, RecordDamaged)
    assert str(caught.value).startswith(f"record x has schema_version {version}: ")


def test_fields_that_are_not_known_are_ignored() -> None:
    record = make_record()
    newer = {**record.to_dict(), "added_later": {"x": 1}}
    newer["client"]["added_later"] = 1

    assert decode(json.dumps(newer).encode()) == record


ENDLESS = [b'{"schema_version":1,"%b":' % name + b'{"a":' * 100_000 for name in (b"x", b"trial")]


@pytest.mark.parametrize(
    "data", [*raws("record.toml", "none"), *ENDLESS], ids=lambda data: data[:40]
)
def test_what_is_no_record_is_damaged(data: bytes) -> None:
    with pytest.raises(RecordDamaged):
        decode(data)


@pytest.mark.parametrize("change", checks("record.toml", "edited"))
def test_an_edited_record_is_damaged(change: dict[str, Any]) -> None:
    with pytest.raises(RecordDamaged, match="restore it from a copy, or move its file elsewhere"):
        decode(json.dumps({**make_record().to_dict(), **change}).encode())
