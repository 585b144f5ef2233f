"""Every result shows itself in one bundle: in a notebook, in a terminal, and where HTML is cut."""

import functools
import html
import io
from collections.abc import Callable, Mapping
from typing import Any

import bleach
import msgspec
import numpy as np
import pytest
from factories import load_study, make_function, make_record, make_study
from machines import checks
from matplotlib.colors import to_hex, to_rgba
from matplotlib.image import imread
from test_report import Page

from labkit import escaping, stats
from labkit.charts import Chart, style
from labkit.cli import terminal
from labkit.errors import BadInput
from labkit.profiler.callgraph import CallGraph, ProfileResult
from labkit.record.record import Record, Timeline
from labkit.report import stored
from labkit.report.file_study import Audit, Ledger
from labkit.report.html import MAX_BYTES, Table, prose
from labkit.report.ladder import Ladder
from labkit.report.profile import MemoryProfile, Profile
from labkit.report.study import Run, Study, Sweep
from labkit.studies import study_file

ALIVE = "\x1b]0;x\x07\x9b31m\u202e\u200b\x7f"
EVIL = f'<img src=x onerror="alert(1)"><script>alert(2)</script>{ALIVE}'
MAX_CHARACTERS = 200_000
# What is left of a page on GitHub; of pictures only those with an address.
GITHUB = frozenset(checks("displays.toml", "github").split())

ARMS = {
    "gather": {"wall_s": 2.0, "throughput_rps": 500.0},
    "queue": {"wall_s": 1.0, "throughput_rps": 1_000.0},
}


load = functools.cache(stored.reference)
NO_TIMELINE = Timeline(**{name: [] for name in Timeline.__struct_fields__})


def sweep() -> Sweep:
    arms = [({"limit": limit, "strategy": "queue"}, {"limit": limit}) for limit in (1, 10, 100)]
    return Sweep(make_record(settings=s, axes=axes, repeat=n) for s, axes in arms for n in range(5))


def ladder() -> Ladder:
    records = [make_record(axes={"arm": arm}, throughput_rps=1e3) for arm in ("semaphore", "wire")]
    return Ladder(study_file.load("ladder"), "short", records)


def audit() -> Audit:
    return Audit(study_file.load("audit"), "full", [make_record(axes={"arm": "paced-wire"})])


def profile() -> Profile:
    graph = CallGraph(clock="wall", functions=(make_function(EVIL, 1.0),))
    return Profile(ProfileResult(graph=graph, wall_s=1.0, slow_s=0.05))


def memory() -> MemoryProfile:
    graph = CallGraph(clock="wall", functions=())
    found = ProfileResult(graph=graph, wall_s=1.0, allocated={f"{EVIL.replace(' ', '_')} x:1": 9})
    return MemoryProfile(found, make_record())


def comparison(n: int = 5) -> stats.Comparison:
    return stats.compare([2.0, 2.1, 1.9, 2.0, 2.05][:n], [1.0, 1.0, 1.1, 0.9, 1.0][:n])


KINDS: Mapping[str, Callable[[], Any]] = {
    "run": lambda: Run(make_record()),
    "run without timeline": lambda: Run(make_record(timeline=NO_TIMELINE)),
    "study": lambda: Study(make_study(ARMS), ["strategy"]),
    "sweep": sweep,
    "reproduction": functools.partial(load, "garcia-2018"),
    "ladder": ladder,
    "ledger": lambda: Ledger(load_study("claims"), "smoke", [make_record()]),
    "audit": audit,
    "profile": profile,
    "memory": memory,
    "comparison": comparison,
    "undecided comparison": functools.partial(comparison, 2),
    "verdict": lambda: load("garcia-2018").verdicts[0],
    "record": make_record,
}
WITH_PICTURE = ("run", "study", "sweep", "reproduction", "ladder", "profile", "memory")


@pytest.fixture(params=KINDS, scope="module")
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def result(kind: str) -> Any:
    return KINDS[kind]()


@pytest.fixture(scope="module")
def bundle(result: Any) -> dict[str, str]:
    return dict(result._repr_mimebundle_())


def test_a_bundle_is_text_and_whole_plain_html(kind: str, result: Any, bundle: Any) -> None:
    page = Page(bundle["text/html"])

    assert set(bundle) == {"text/html", "text/plain"}
    assert bundle["text/plain"].strip()
    assert len(bundle["text/html"]) < MAX_CHARACTERS
    assert not page.open
    assert not {"style", "script", "svg", "iframe"} & set(page.tags)
    assert ("data:image/png" in bundle["text/html"]) == (kind in WITH_PICTURE)
    if kind in WITH_PICTURE:
        assert repr(result) == bundle["text/plain"]


def test_what_github_leaves_of_it_is_all_its_words(bundle: dict[str, str]) -> None:
    source = bundle["text/html"]
    left = bleach.clean(source, tags=GITHUB, attributes=["align", "alt", "src"], strip=True)

    assert "data:" not in left
    assert Page(left).texts == Page(source).texts
    assert Page(left).tags == Page(source).tags


def test_a_run_names_its_workload() -> None:
    for asked, shown in checks("displays.toml", "workloads"):
        assert shown in Run(make_record(settings={"strategy": "worker_pool", **asked})).text()


def evil_record() -> Record:
    trial = {**make_record().trial, "strategy": EVIL}
    return make_record(axes={"strategy": EVIL}, first_errors=[EVIL], trial=trial)


EVIL_ONES: Mapping[str, Callable[[], Any]] = {
    "run": lambda: Run(evil_record()),
    "study": lambda: Study([evil_record()], ["strategy"]),
    "record": evil_record,
    "verdict": lambda: msgspec.structs.replace(load("garcia-2018").verdicts[0], reason=EVIL),
    "comparison": lambda: msgspec.structs.replace(comparison(), reason=EVIL),
}


@pytest.mark.parametrize("shown", EVIL_ONES.values(), ids=EVIL_ONES)
def test_text_of_others_is_escaped(shown: Callable[[], Any]) -> None:
    bundle = shown()._repr_mimebundle_()
    source, text = bundle["text/html"], bundle["text/plain"]

    assert "<script" not in source
    assert "<img src=x" not in source
    assert html.escape(EVIL)[:20] in source
    for one in (source, text):
        assert one.replace("\n", "").isprintable()
        assert r"\x1b]0;x\x07\x9b31m\u202e\u200b\x7f" in one


def test_text_of_others_moves_no_terminal_and_adds_no_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    terminal.say(Table(headers=["a"], rows=[[f"b\n{EVIL}"]], says=EVIL).text())
    terminal.error(f"a\n{EVIL}")
    terminal.note(EVIL)
    lines = terminal.reporter()
    lines.begin(1)
    lines.finished(evil_record())
    said = capsys.readouterr()

    assert (said.out.count("\n"), said.err.count("\n")) == (4, 3)
    assert (said.out + said.err).replace("\n", "").isprintable()
    assert str(BadInput(f"a {ALIVE}")) == r"a \x1b]0;x\x07\x9b31m\u202e\u200b\x7f"
    assert ALIVE not in Chart(title=EVIL, height_in=1).svg()


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", "\uff1d"])
def test_no_cell_of_a_spreadsheet_is_a_formula(start: str) -> None:
    assert escaping.cell(f"{start}cmd|'/c calc'!A1").startswith("'")
    for harmless in ("-1.5e3", "+4", "a=1", "", 3, -2.5, None):
        assert escaping.cell(harmless) == harmless


def test_a_comparison_is_a_sentence_with_its_mark() -> None:
    sure, unsure = comparison().text(), comparison(2).text()

    assert sure.startswith("\N{UPWARDS ARROW} higher: \N{MULTIPLICATION SIGN}2")
    assert "interval" in sure
    assert unsure == "? inconclusive: over 2 repeats; 2 repeats; 5 needed."


# Pictures on any ground


def on_any_page(colour: Any) -> list[float]:
    """Return what a pixel of this colour becomes."""
    return style.on_any_page(np.array([to_rgba(colour)]))[0].tolist()


def test_white_is_no_ground_and_ink_stands_out_from_light_and_dark() -> None:
    assert on_any_page("white")[3] == 0
    assert on_any_page(style.INK) == [style.GREY, style.GREY, style.GREY, 1]
    for ground in (0x11 / 255, 1.0):
        dark, light = sorted(((grey + 0.055) / 1.055) ** 2.4 for grey in (style.GREY, ground))
        assert (light + 0.05) / (dark + 0.05) > 4


@pytest.mark.parametrize("colour", [style.PALE, "#0072B2", "#0072B233", "#DDDDDD"])
def test_a_colour_looks_on_white_as_it_was_drawn(colour: str) -> None:
    def on_white(colour: Any) -> list[float]:
        *parts, alpha = to_rgba(colour)
        return [1 - (1 - part) * alpha for part in parts]

    assert on_white(on_any_page(colour)) == pytest.approx(on_white(colour), abs=0.01)


@pytest.mark.parametrize("name", [*style.PALETTE[:-1], style.ON_FILL])
def test_the_colours_that_tell_arms_apart_and_black_on_them_stay_what_they_are(name: str) -> None:
    assert to_hex(on_any_page(name)) == name.lower()


def test_a_chart_loses_its_ground_for_a_notebook_alone() -> None:
    chart = load("garcia-2018").plot()
    before = chart.png(40)

    transparent = chart.png_transparent(80)
    pixels = imread(io.BytesIO(transparent))

    assert len(transparent) < MAX_BYTES
    assert pixels[0, 0, 3] == 0
    assert (pixels[..., 3] == 1).any()
    assert imread(io.BytesIO(before))[0, 0].tolist() == [1, 1, 1, 1]
    assert imread(io.BytesIO(chart.png(40)))[0, 0].tolist() == [1, 1, 1, 1]


def test_what_stands_between_backticks_is_code_and_nothing_else_is_html() -> None:
    assert prose("write `a < b`, not <b>") == "write <code>a &lt; b</code>, not &lt;b&gt;"
    assert prose("a lone ` stays") == "a lone ` stays"
