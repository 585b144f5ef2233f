"""Records to JSON and back, and on disk: whole or not at all, never overwritten."""

import contextlib
import errno
import json
import os
import stat
import subprocess
import sys
import time
import types
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints
from unittest.mock import Mock, patch

import msgspec
import pytest
from factories import make_record
from hypothesis import given, settings
from hypothesis import strategies as st
from machines import checks, raws

import labkit as lab
from labkit import paths, stats
from labkit.errors import BadInput, RecordDamaged, RecordNotFound
from labkit.launch.assembly import new_id
from labkit.record import index, store
from labkit.record.codec import decode, encode
from labkit.record.record import SCHEMA_VERSION, Record, Timeline
from labkit.record.store import Damaged, Store

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


def test_a_newer_schema_is_refused_even_where_nothing_else_is_known() -> None:
    newer = json.dumps({"schema_version": SCHEMA_VERSION + 1, "news": 1}).encode()
    with pytest.raises(RecordDamaged, match=r"^record x has schema_version 2: .*a newer"):
        decode(newer, "record x")


def test_fields_that_are_not_known_are_ignored() -> None:
    record = make_record()
    newer = {**record.to_dict(), "added_later": {"x": 1}}
    newer["client"]["added_later"] = 1

    assert decode(json.dumps(newer).encode()) == record


ENDLESS = [b'{"schema_version":1,"%b":' % name + b'{"a":' * 100_000 for name in (b"x", b"trial")]


def test_what_is_no_record_or_an_edited_one_is_damaged() -> None:
    changed = [make_record().to_dict() | one for one in checks("record.toml", "edited")]
    edited = [json.dumps(one).encode() for one in changed]
    for data in (*raws("record.toml", "none"), *ENDLESS, *edited):
        with pytest.raises(RecordDamaged, match=r"move its file elsewhere|a newer labkit"):
            decode(data)


# Records on disk: whole or not at all, never overwritten, and none harmed by another

# How a file is given its name; which of them the store uses is its own affair.
NAMING = ["os.replace", "os.rename", "os.link"]
UNSAFE = ["", ".", "..", "../x", "/dev/null/x", "a/b", "a\\b", "a b", "a.b", "é", "a\n", "a\0", "*"]


def small(record_id: str, **changes: Any) -> Record:
    return make_record(id=record_id, timeline=Timeline(), latency_hdr=None, **changes)


@pytest.fixture
def kept(tmp_path: Path) -> Store:
    return Store(tmp_path / "deep" / "runs")


def files(kept: Store) -> set[str]:
    return {path.name for path in kept.folder.iterdir()}


# Keeping and finding


def test_what_is_added_is_found_by_id_whatever_the_order_of_adding(kept: Store) -> None:
    records = [small(f"2026-{number}") for number in range(5)]

    added = [kept.add(record) for record in reversed(records)]

    assert [path.name for path in reversed(added)] == [f"{record.id}.json" for record in records]
    assert files(kept) == {path.name for path in added}
    assert kept.ids() == [record.id for record in records]
    assert list(kept.records()) == list(kept.scan()) == records
    assert [kept.get(record.id) for record in records] == records
    assert list(Store(str(kept.folder)).records()) == records


@pytest.mark.parametrize("step", [timedelta(milliseconds=10), timedelta(seconds=1)])
def test_ids_sort_by_time_and_are_safe_names(kept: Store, step: timedelta) -> None:
    start = datetime(2026, 11, 20, 12, tzinfo=UTC)

    ids = [new_id(start + number * step) for number in range(50)]

    assert ids == sorted(ids)
    assert kept.add(small(ids[0])).exists()
    assert len({new_id(start) for _ in range(50)}) == 50


def test_the_beginning_of_an_id_is_enough_where_it_is_the_only_one(kept: Store) -> None:
    with pytest.raises(RecordNotFound, match="'labkit results list'"):
        kept.get("20261120-a")
    for name in ("20261120-a", "20261120-ab", "20261121-c"):
        kept.add(small(name))

    assert kept.get("20261121").id == "20261121-c"
    assert kept.get("20261120-ab").id == "20261120-ab"
    assert kept.get("20261120-a").id == "20261120-a"
    with pytest.raises(RecordNotFound, match=r"^2 .* starts with '20261120': write more of it$"):
        kept.get("20261120")
    with pytest.raises(RecordNotFound, match="did you mean '20261120-ab'"):
        kept.get("20261120-abc")
    assert list(Store(kept.folder / "nowhere").records()) == []


def test_a_clock_that_is_set_back_loses_no_run_of_a_study(kept: Store) -> None:
    now = datetime(2026, 11, 20, 12, tzinfo=UTC)
    ids = [new_id(now), *(new_id(now + timedelta(hours=hours)) for hours in (1, 0, -1))]
    assert ids == sorted(ids)

    study = [small(f"2026-{9 - n}", study="2026-5-", order=n, axes={"limit": n}) for n in range(9)]
    for record in [*study, small("2026-0")]:
        kept.add(record)

    assert kept.of_study("2026-5-") == study[::-1]
    assert lab.load("2026-5-", store=kept).records == study


@pytest.mark.parametrize("name", UNSAFE)
def test_an_unsafe_id_reaches_no_file(kept: Store, name: str) -> None:
    kept.prepare()
    (kept.folder.parent / "x.json").write_bytes(encode(small("x")))

    for reach in (lambda: kept.get(name), lambda: kept.add(small(name))):
        with pytest.raises(RecordNotFound, match="letters, digits, '-' and '_' only"):
            reach()

    assert files(kept) == set()
    assert {path.name for path in kept.folder.parent.iterdir()} == {"runs", "x.json"}


# Never overwritten, never half


@pytest.mark.parametrize("has_links", [True, False])
def test_adding_never_overwrites(kept: Store, monkeypatch: Any, has_links: bool) -> None:
    if not has_links:
        monkeypatch.setattr(os, "link", Mock(side_effect=OSError("a file system without links")))
    kept.add(small("a", order=1))

    with pytest.raises(BadInput, match=r"record a is in the store already \(a\.json\)"):
        kept.add(small("a", order=2))

    assert kept.get("a").order == 1
    assert files(kept) == {"a.json"}


def test_adding_never_overwrites_what_others_added(kept: Store, monkeypatch: Any) -> None:
    other, fsync = small("a", order=1), os.fsync

    def meanwhile(fd: int) -> None:
        fsync(fd)
        (kept.folder / "a.json").write_bytes(encode(other))

    kept.prepare()
    monkeypatch.setattr(os, "fsync", meanwhile)
    with pytest.raises(BadInput):
        kept.add(small("a", order=2))

    monkeypatch.undo()
    assert kept.get("a") == other


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("names", [["os.fsync"], NAMING, ["pathlib.Path.open"]], ids=lambda n: n[0])
def test_a_crash_leaves_nothing_half(kept: Store, monkeypatch: Any, names: Any, error: Any) -> None:
    kept.add(small("a"))

    for name in names:
        monkeypatch.setattr(name, Mock(side_effect=error))
    with pytest.raises(BadInput if isinstance(error, OSError) else KeyboardInterrupt) as caught:
        kept.add(small("b"))
    monkeypatch.undo()

    if isinstance(error, OSError):
        why = f"the store {kept.folder} cannot be written (No space left on device): "
        assert str(caught.value) == f"{why}set LABKIT_STORE to a folder that can"
    assert files(kept) == {"a.json"}
    kept.add(small("b"))
    assert kept.ids() == ["a", "b"]


@pytest.mark.parametrize("moment", ["os.fsync", " = ".join(NAMING)])
def test_a_process_killed_while_writing_leaves_nothing_half(kept: Store, moment: str) -> None:
    kept.add(small("a"))
    script = (
        "import os, sys; from labkit.record import codec, store\n"
        f"{moment} = lambda *_, **__: os._exit(9)\n"
        "store.Store(sys.argv[1]).add(codec.decode(sys.stdin.buffer.read()))\n"
    )

    command = [sys.executable, "-c", script, str(kept.folder)]

    assert subprocess.run(command, input=encode(small("b")), check=False).returncode == 9
    assert list(kept.scan()) == [small("a")]
    kept.add(small("b"))
    assert kept.ids() == ["a", "b"]


def test_a_record_is_on_the_disk_before_it_has_its_name(kept: Store, monkeypatch: Any) -> None:
    kept.prepare()
    done: list[str] = []

    def noted(name: str, call: Any) -> Any:
        def noting(*args: Any, **kwargs: Any) -> Any:
            if name == "os.fsync":
                of = os.fstat(args[0])
                full = "file" if of.st_size else "empty file"
                done.append("folder" if stat.S_ISDIR(of.st_mode) else full)
            else:
                done.append("name")
            return call(*args, **kwargs)

        return noting

    for name in ["os.fsync", *NAMING]:
        monkeypatch.setattr(name, noted(name, getattr(os, name[3:])))
    kept.add(small("a"))

    assert done == ["file", "name", "folder"]


def test_a_network_that_loses_the_answer_to_a_link_loses_no_record(
    kept: Store, monkeypatch: Any
) -> None:
    link = os.link
    monkeypatch.setattr(os, "link", lambda *names: (link(*names), link(*names)))  # asked again
    kept.add(small("a"))

    assert (kept.get("a"), files(kept)) == (small("a"), {"a.json"})


@pytest.mark.parametrize(
    ("number", "left"), [(errno.EACCES, {"a.json"}), (errno.EINVAL, {"a.json"}), (errno.EIO, set())]
)
def test_a_folder_is_not_flushed(kept: Store, monkeypatch: Any, number: int, left: Any) -> None:
    def fsync(fd: int) -> None:
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            raise OSError(number, "cannot")

    monkeypatch.setattr(os, "fsync", fsync)
    opened = Path("/proc/self/fd")
    before = len(list(opened.iterdir()))
    with contextlib.nullcontext() if left else pytest.raises(BadInput, match="cannot"):
        kept.add(small("a"))

    assert (files(kept), len(list(opened.iterdir()))) == (left, before)


# Damage


WHOLE = encode(small("a"))


@settings(max_examples=40)
@given(
    st.binary(max_size=30)
    | st.integers(0, len(WHOLE) - 2).map(lambda end: WHOLE[:end])
    | st.just(WHOLE.replace(b'"a"', b'"\xff"'))
)
def test_any_bytes_or_damage_in_a_file_harm_no_other(tmp_path_factory: Any, data: bytes) -> None:
    kept = Store(tmp_path_factory.mktemp("runs"))
    kept.add(small("b"))
    (kept.folder / "a.json").write_bytes(data)

    damaged, other = kept.scan()

    assert (type(damaged), damaged.id, other) == (Damaged, "a", small("b"))
    assert damaged.why.startswith("record a is ")  # damaged, or JSON but no record
    assert list(kept.records()) == [other]
    with pytest.raises(RecordDamaged):
        kept.get("a")


def test_no_other_file_harms_a_record_and_each_is_named(kept: Store, capsys: Any) -> None:
    kept.add(small("a", schema_version=99))
    kept.add(small("b", study="20261120-study"))
    kept.add(small("c")).rename(kept.folder / "d.json")

    for name in ("notes", "._b", "b.b", "\udcff"):
        (kept.folder / f"{name}.json").write_text('{"name": "package"}')
    (kept.folder / "folder.json").mkdir()
    os.mkfifo(kept.folder / "queue.json")
    writer = os.open(kept.folder / "queue.json", os.O_RDWR)
    os.write(writer, b"{}")  # who reads it waits for nothing, and must not have read it
    os.mknod(kept.folder / "socket.json", stat.S_IFSOCK)
    for name, to in {"device": "/dev/zero", "link": "nowhere", "loop": "loop.json"}.items():
        (kept.folder / f"{name}.json").symlink_to(to)
    os.truncate(kept.add(small("huge")), store.MAX_RECORD_BYTES + 1)

    found = {one.id: one.why for one in kept.scan() if isinstance(one, Damaged)}

    says = {
        "a": "schema_version 99",
        "d": "it holds the id 'c'",
        "huge": "67,108,865 bytes: at most 67,108,864 are read; delete its file, or set LABKIT_MAX",
        "link": "No such file or directory",
        "loop": "Too many levels of symbolic links",
        "notes": "JSON, but no record (it has no schema_version): move its file elsewhere",
        **dict.fromkeys(("device", "folder", "queue", "socket"), "no regular file"),
        "b.b": "record 'b.b' is JSON, but no record",
        "\\udcff": r"record '\udcff' is JSON, but no record",
    }
    assert found.keys() == says.keys()
    assert all(part in found[name] for name, part in says.items()), found
    assert kept.get("b").id == "b"
    named = [f"labkit: {why}" for why in found.values()]
    for show in (
        lambda: [one.id for one in kept.records()],
        lambda: [one.id for one in kept.of_study("20261120-study")],
        lambda: list(lab.results(kept)["id"]),
        lambda: [one.id for one in lab.load(store=kept).records],
        lambda: [one.id for one in lab.load("20261120-study", store=kept).records],
    ):
        assert show() == ["b"]
        assert capsys.readouterr().err.splitlines() == named
    assert lab.load(store=kept).left_out == list(found.values())
    assert os.read(writer, 9) == b"{}"
    os.close(writer)


def test_the_ceiling_of_what_is_read_is_a_setting(kept: Store, monkeypatch: Any) -> None:
    size = kept.add(small("a")).stat().st_size
    monkeypatch.setenv(store.CEILING, str(size))
    assert kept.get("a") == small("a")
    for value, says in ((str(size - 1), f"or set {store.CEILING}"), ("64M", "a whole number")):
        monkeypatch.setenv(store.CEILING, value)
        with pytest.raises(BadInput, match=says):
            kept.get("a")


def test_a_record_deleted_while_listing_harms_no_other(kept: Store) -> None:
    for name in "abc":
        kept.add(small(name))
    listing = kept.scan()
    next(listing)
    (kept.folder / "b.json").unlink()

    assert list(listing) == [small("c")]


# The folder


def test_preparing_makes_the_folder_and_leaves_what_is_in_use(kept: Store) -> None:
    kept.prepare()
    assert files(kept) == set()
    # Left by writers that were killed; a link in place of one of them leads out of the store.
    target, day_ago = kept.folder.parent / "mine", time.time() - store.STALE_S - 60
    target.write_text("mine")
    (kept.folder / f".{os.getpid()}.probe").symlink_to(target)
    for name in (".new.tmp", ".old.tmp", ".a.json.77.tmp", ".mine", "old.tmp"):
        (kept.folder / name).write_text("")
        if name != ".new.tmp":
            os.utime(kept.folder / name, (day_ago, day_ago))

    kept.prepare()
    kept.add(small("a"))

    left = {".new.tmp", ".mine", "old.tmp", f".{os.getpid()}.probe"}
    assert (files(kept) - {"a.json"}, target.read_text()) == (left, "mine")
    assert list(kept.scan()) == [small("a")]


@pytest.mark.parametrize("below", ["", "runs"])
def test_a_folder_that_is_none_is_refused(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to("nowhere")
    none = Store(tmp_path / "file" / below)

    for write in (none.prepare, lambda: none.add(small("a"))):
        with pytest.raises(BadInput, match="set LABKIT_STORE to a folder that can"):
            write()
    for folder in (none, Store(tmp_path / "link")):
        with pytest.raises(BadInput, match=r"cannot be read \(.*\): see to the folder, or set"):
            list(folder.records())


@pytest.mark.parametrize("checkout", [True, False])
def test_the_folder_that_is_used(monkeypatch: Any, tmp_path: Path, checkout: bool) -> None:
    monkeypatch.setenv(store.ENVIRONMENT, str(tmp_path))
    assert Store().folder == tmp_path
    assert Store(tmp_path / "x").folder == tmp_path / "x"
    assert Store("~/runs").folder == Path.home() / "runs"
    with pytest.raises(BadInput, match="the store is '~nobody-of-this-name/runs': there is no"):
        Store("~nobody-of-this-name/runs")
    monkeypatch.delenv(store.ENVIRONMENT)
    root = tmp_path / "there"
    monkeypatch.setattr(paths, "CHECKOUT", root)
    (root / "data" / ("studies" if checkout else "")).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)

    assert store.default_folder() == (root if checkout else tmp_path) / "data" / "runs"


# Loading


def test_records_are_loaded_by_study_or_id_and_else_the_latest(kept: Store) -> None:
    with pytest.raises(RecordNotFound):
        lab.load(store=kept)
    study = [small(f"20261121-{n}", study="20261121-", axes={"limit": n}) for n in range(3)]
    for record in [small("20261120-alone"), *study]:
        kept.add(record)
    damaged = kept.folder / "20261121-9.json"
    damaged.write_text("{")

    assert kept.of_study("20261121-") == study
    assert lab.load("20261121-", store=kept).by == ["limit"]
    assert lab.load("20261120-alone", store=kept).records[0].id == "20261120-alone"
    damaged.unlink()
    assert lab.load(store=kept).records == study
    with pytest.raises(RecordNotFound):
        lab.load("nothing", store=kept)
    assert store.INDEX not in files(kept)  # of a small store


# The index


@pytest.fixture
def read(monkeypatch: Any) -> Mock:
    """Index a store however small and new it is; return what each record is decoded by."""
    monkeypatch.setattr(store, "MAX_UNINDEXED", 0)
    monkeypatch.setattr(index, "SETTLED_NS", -(10**18))
    decode = Mock(wraps=store.decode)
    monkeypatch.setattr(store, "decode", decode)
    return decode


def names(read: Mock) -> list[str]:
    """Return whose records were read since the last call."""
    found = [call.args[1].removeprefix("record ") for call in read.call_args_list]
    read.reset_mock()
    return found


def three(kept: Store) -> Path:
    for number, name in enumerate("abc"):
        kept.add(small(name, order=number, study=f"of-{name}", axes={"limit": number}))
    return kept.folder / "c.json"


def edit(path: Path) -> None:
    """Change a record by hand, with the size and the time that it had."""
    before = path.stat()
    path.write_bytes(encode(small("c", order=7, study="of-c", axes={"limit": 2})) + b"\n")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size


CHANGES: dict[str, tuple[Any, list[str]]] = {
    "nothing": (lambda path: None, []),
    "deleted": (Path.unlink, []),
    "edited": (edit, ["c"]),
    "damaged": (lambda path: path.write_text("{"), ["c"]),
    "added": (lambda path: Store(path.parent).add(small("bb")), ["bb"]),
    "misnamed": (lambda path: path.rename(path.with_name("bb.json")), ["bb"]),
}


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_became_of_a_file_the_next_command_sees_and_reads_no_other(
    kept: Store, read: Mock, change: str, capsys: Any
) -> None:
    path = three(kept)
    assert lab.results(kept)["order"].tolist() == [0, 1, 2]
    assert names(read) == ["a", "b", "c"]
    does, reads = CHANGES[change]
    does(path)
    found = lab.results(kept)
    assert names(read) == reads
    named = capsys.readouterr().err
    assert found.equals(stats.frame(kept.records()))
    assert capsys.readouterr().err == named


def test_an_index_that_is_wrong_or_missing_is_made_anew(
    kept: Store, read: Mock, capsys: Any
) -> None:
    three(kept)
    kept.add(small("d", trial={"options": {"size": None}}))
    whole, file = lab.results(kept), kept.folder / store.INDEX
    assert whole.equals(stats.frame(kept.records()))
    good = file.read_bytes()
    flipped = bytearray(good)
    flipped[len(good) // 2] ^= 1
    for spoilt in (b"", good[:100], good[:-1], good[1:], flipped, b"\xff" * len(good)):
        file.write_bytes(spoilt)
        names(read)
        assert lab.results(kept).equals(whole)
        assert names(read) == [*"abcd"]
    assert lab.results(kept).equals(whole)
    assert (names(read), capsys.readouterr().err) == ([], "")


def test_an_index_says_how_many_files_it_has_read_and_forgets_those_that_are_gone(
    kept: Store, read: Mock, monkeypatch: Any, capsys: Any
) -> None:
    monkeypatch.setattr(store, "PROGRESS_EACH", 2)
    path, file = three(kept), kept.folder / store.INDEX
    kept.index()
    assert capsys.readouterr().err == "labkit: 2 of 3 files read for the index of the store\n"
    before = file.read_bytes()
    path.unlink()
    kept.index()
    assert file.read_bytes() != before


def test_an_index_that_cannot_be_read_or_written_is_a_line(
    kept: Store, read: Mock, capsys: Any
) -> None:
    three(kept)
    (kept.folder / store.INDEX).mkdir()
    assert lab.results(kept).equals(stats.frame(kept.records()))
    assert capsys.readouterr().err.count("cannot be written (Is a directory)") == 1
    assert files(kept) == {"a.json", "b.json", "c.json", store.INDEX}


def test_a_change_that_the_clock_of_the_files_may_not_show_is_read_again(
    kept: Store, read: Mock, monkeypatch: Any
) -> None:
    monkeypatch.setattr(index, "SETTLED_NS", 10**18)
    three(kept)
    assert len(lab.results(kept)) == len(lab.results(kept)) == 3
    assert names(read) == [*"abcabc"]


def test_several_write_at_once_and_each_sees_its_own(kept: Store, read: Mock) -> None:
    def write(who: int) -> None:
        for number in range(4):
            mine = kept.add(small(f"{who}-{number}")).stem
            assert mine in kept.index().select("name")

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(write, range(3)))
    assert len(kept.index().select("name")) == 12
    read.reset_mock()
    assert (len(lab.results(kept)), names(read)) == (12, [])


def test_a_study_is_loaded_by_its_own_files_and_a_frame_by_none(kept: Store, read: Mock) -> None:
    three(kept)
    kept.index()
    names(read)
    assert lab.load("of-b", store=kept).records == kept.of_study("of-b") == [kept.get("b")]
    assert lab.load(store=kept).records[0].id == "c"
    assert names(read) == ["b", "b", "b", "c"]
    select = Mock(wraps=kept.index(whole=True).select)
    with patch.object(index.Index, "select", select):
        assert lab.results(kept, columns=["wall_s"], last=2)["wall_s"].tolist() == [153.0] * 2
    assert [call.args[0] for call in select.call_args_list][1:] == ["figures"]
    mine = lab.results(kept, columns=["limit", "id"], study="of-b")
    assert mine.to_dict("records") == [{"limit": 1, "id": "b"}]
    for asked, says in (({"columns": ["wal_s"]}, "did you mean 'wall_s'"), ({"last": 0}, "last")):
        with pytest.raises(BadInput, match=says):
            lab.results(kept, **asked)
    assert names(read) == []
