"""`FileStudy`, `Ledger` and `Audit`: studies that a file states, with a verdict for each claim.

A subclass says what its table shows and which chart is drawn; the rest is the same for all.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import msgspec

from labkit import charts, paths, stats
from labkit.escaping import escape
from labkit.record.record import Record
from labkit.report import html, tables
from labkit.report.html import Table
from labkit.report.study import Outcome, Study
from labkit.stats import metrics
from labkit.studies import judge
from labkit.studies import verdicts as words
from labkit.studies.parts import Claim, Source
from labkit.studies.study_file import StudyFile
from labkit.studies.verdicts import MARKS, Verdict, tally

# The axis of every study that a file states.
ARM = "arm"
# The columns of a table of claims, with their letters in a terminal, and the headings of its parts.
_CLAIMED: Mapping[str, int] = paths.table("tables.toml")["claimed"]
_FIGURES, _WORDS = paths.sentence("claims-figures"), paths.sentence("claims-words")
# Letters of a line of a reason in a terminal.
_WIDE = 100
# The cells of a row, the reason, and the address of the source; of either there may be none.
_Row = tuple[list[str], str, str]


@dataclass(frozen=True, kw_only=True, repr=False)
class Claims(Table):
    """What became of claims: a row each, its reason, and its source's address where it has one.

    HTML unfolds the reason. In a terminal it stands below the table where a claim does not hold.
    """

    why: Sequence[str]
    addresses: Sequence[str]

    def text(self) -> str:
        """Return aligned plain text, the reasons and the sentences below."""
        below = [
            textwrap.fill(f"{row[-1]}: {row[0].partition(': ')[0]}. {why}", _WIDE) + "\n"
            for row, why in zip(self.rows, self.why, strict=True)
            if why and row[-1] != f"{MARKS['holds']} holds"
        ]
        return Table.text(replace(self, says="\n".join([*below, self.says])))

    def _cells(self) -> Iterable[Sequence[str]]:
        for row, why, address in zip(self.rows, self.why, self.addresses, strict=True):
            claim, *cells = map(escape, row)
            if cells:
                cells[-1] = f'<span class="{row[-1].rpartition(" ")[2]}">{cells[-1]}</span>'
            if address:
                cells[0] = html.link(row[1], address)
            yield [html.folded(row[0], html.prose(why)) if why else claim, *cells]


def claims_table(
    studies: Sequence[FileStudy], says: Sequence[str] = (), reference: FileStudy | None = None
) -> Claims:
    """Return one row a regime of a claim: those with a published figure first, then the others.

    `reference` is the same study on another machine, whose verdicts stand beside these.
    """
    parts: dict[str, list[_Row]] = {_FIGURES: [], _WORDS: []}
    there = {one.name: one for one in reference.verdicts} if reference else {}
    for study in studies:
        before, claims = "", {one.id: one for one in study.file.claims}
        for one in study.verdicts:
            claim = claims.get(one.id)
            has_figure = claim and any(check.published for check in claim.checks)
            (name, *cells), why, address = _claimed(one, claim, study.file, there.get(one.name))
            name = name if len(studies) == 1 else f"{study.file.id}, {name}"
            if one.id != before:
                name, why = f"{name}: {one.says}", f"{why} {one.remark or ''}".rstrip()
            parts[_FIGURES if has_figure else _WORDS].append(([name, *cells], why, address))
            before = one.id
    rows = list[_Row]()
    for heading, found in parts.items():
        rows += [([heading], "", ""), *found] if all(parts.values()) else found
    used = [n for n in range(len(_CLAIMED)) if any(row[n] for row, *_ in rows if row[1:])]
    return Claims(
        headers=[[*_CLAIMED][n] for n in used],
        rows=[[row[n] for n in used] if row[1:] else row for row, *_ in rows],
        says="\n".join(filter(None, says)),
        left=len(used),
        widths=[[*_CLAIMED.values()][n] for n in used],
        why=[why for _, why, _ in rows],
        addresses=[address for *_, address in rows],
    )


def _claimed(one: Verdict, claim: Claim | None, file: StudyFile, there: Verdict | None) -> _Row:
    """Return the row of a verdict: what was said, what was found, and why."""
    cited, said = list[Source](), one.said or ""
    if claim:  # the audit has verdicts of its own
        cited = file.cited(file.sources_of(claim))
        check = next(check for check in claim.checks if check.regime == one.regime)
        if check.published and not one.published:
            figure = words.shown(check, check.published)
            said = f"{figure}; judged here by: {said}" if said else figure
        said = said or words.band_text(check)
    then, here, elsewhere = (
        of.effect.partition(" in ")[0] if of else ""
        for of in (one.then, one.deciding, there and there.deciding)
    )
    judged_by = {(of.measure, of.take, of.is_ratio) for of in (one, there) if of and of.deciding}
    by = ", by another measure" if len(judged_by) > 1 else ""
    elsewhere += f"; {there.verdict}{by}" if there else ""
    beside = [each for each in one.findings if each is not one.deciding]
    why = [one.because, *(f"{each.marked.strip()}: {each.reason}" for each in beside)]
    cells = [
        one.name,
        "; ".join(source.short for source in cited),
        said,
        then,
        here or "-",
        elsewhere,
    ]
    address = (cited[0].url or "") if len(cited) == 1 else ""
    return (
        [*cells, f"{MARKS[one.verdict]} {one.verdict}"],
        " ".join(f"{text.rstrip('.')}." for text in why),
        address,
    )


class FileStudy(Study):
    """A study that a file states: its arms, and a verdict for each of its claims.

    `claims` are those that were checked (all, where not given); `absent` says of claims and arms
    what they miss here.
    """

    has_ratios = False
    # The same study as it was measured on a machine of the lab's, where there is one.
    reference: FileStudy | None = None

    def __init__(
        self,
        file: StudyFile,
        scale: str,
        records: Sequence[Record],
        *,
        claims: Sequence[str] | None = None,
        absent: Mapping[str, str] | None = None,
    ) -> None:
        named = []
        for record in records:
            # Older versions called the axis of a record otherwise.
            arm = next((record.axes[n] for n in (ARM, "row", "rung") if n in record.axes), None)
            old = arm is not None and ARM not in record.axes
            named.append(msgspec.structs.replace(record, axes={ARM: arm}) if old else record)
        super().__init__(named, [ARM])
        self.file, self.scale, self.chart = file, scale, file.chart
        self.claims, self.absent = claims, dict(absent or {})
        # Runs that something spoilt and that were made again: no figure is of them.
        self.made_again: list[Record] = []

    @cached_property
    def verdicts(self) -> list[Verdict]:
        """Return the verdict on each regime of each claim, in the order of the file."""
        how: dict[str, Any] = {"claims": self.claims, "absent": self.absent}
        how["cores"] = int(self.environment.get("cores_usable") or 0) or 1
        found = judge.verdicts(self.file, self.scale, self.records, **how)
        return [self._with_notes(one) for one in found]

    def _with_notes(self, one: Verdict) -> Verdict:
        return msgspec.structs.replace(one, reason="; ".join([one.reason, *self.notes]))

    def __getitem__(self, claim: str) -> Verdict:
        """Return the verdict on a claim by its id: on its first regime; 'ID/regime' names any."""
        own = {one.id: one for one in reversed(self.verdicts)}
        return ({one.name: one for one in self.verdicts} | own)[claim]

    def findings(self) -> stats.DataFrame:
        """Return one row a check: what it found, as a ratio or in base units."""
        rows = list[dict[str, Any]]()
        for one in self.verdicts:
            named = {"claim": one.id, "regime": one.regime, "claim_verdict": one.verdict}
            rows += [named | msgspec.structs.asdict(found) for found in one.findings]
        return stats.DataFrame(rows)

    def title(self) -> str:
        """Return the study, its source and its scale in a line."""
        source = next(iter(self.file.sources.values()), None)
        known = [getattr(source, name, None) for name in ("author", "year")]
        whose = ", ".join(str(one) for one in known if one)
        return f"{self.file.title}{f' ({whose})' if whose else ''}, scale {self.scale}"

    def tally(self) -> str:
        """Return how many verdicts there are of each word, in a sentence."""
        return tally(self.verdicts)

    def verdict_table(self, reference: FileStudy | None = None) -> Claims:
        """Return one row a regime of a claim, and below how many there are of each verdict.

        `reference` is the same study on another machine.
        """
        return claims_table([self], [paths.sentence("effects"), self.tally()], reference)

    def text(self) -> str:
        """Return the table, and why requests failed, as a terminal shows it."""
        return "\n\n".join([super().text(), *tables.errors(self.records)])

    def html(self) -> str:
        """Return the same, and the chart."""
        return super().html() + html.sentences(tables.errors(self.records))

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON: records, summary, published figures and verdicts."""
        which = {"study": self.file.id, "scale": self.scale, "published": self.file.published()}
        return Outcome.to_dict(self) | which | {"verdicts": [v.to_dict() for v in self.verdicts]}

    def report(self, picture: charts.Chart | None = None) -> str:
        """Return one self-contained HTML page: tables, verdicts, charts, and how to repeat it.

        `picture` takes the place of the study's own chart.
        """
        file, repeat = self.file, f"`labkit reproduce {self.file.id} --scale {self.scale}`"
        chart, there, own = html.figure(picture or self.plot()), self.reference, self.table()
        claims = own if isinstance(own, Claims) else self.verdict_table(there)
        figures = "" if own is claims else own.html(self._lead())
        cited = file.cited()
        links = [html.link(one.short, one.url or "") for one in cited]
        links += [html.link("its programs", one.code) for one in cited if one.code]
        return self._page(
            f"{file.title}: run again at scale {self.scale}",
            html.section("What was published", html.sentences([file.about]), ", ".join(links)),
            html.section("Verdicts", claims.html(self._lead())),
            html.section("Published beside measured", figures, chart),
            html.section("The reference machine", there.table().html() if there else ""),
            html.section("Beside the baseline", self.changes.html() if self.changes else ""),
            html.section("What differs from then", html.sentences(file.notes)),
            html.section("Repeat it", html.sentences([repeat])),
        )

    def _lead(self) -> list[str]:
        return [self.tally(), *super()._lead()]


class Ledger(FileStudy):
    """Claims that were checked, each with its verdict and what its checks found."""

    def plot(self, kind: str = "forest") -> charts.Chart:
        """Draw the `forest`: each claim's effect with its interval and band; or as a study."""
        if kind != "forest":
            return super().plot(kind)
        shown = sorted(self.verdicts, key=lambda one: -((one.is_ratio and one.measured) or 0))
        if self.chart == "ratios":
            shown = self.verdicts
        return charts.forest(shown, notes=self.sentences())

    def table(self) -> Table:
        """Return one row a claim or a regime of it; then the sentences."""
        notes = self.file.notes if self.chart == "ratios" else []
        return claims_table([self], [*self.sentences(), *notes])

    def sentences(self) -> list[str]:
        """Return how many of each verdict, how to read them, and under what they were found."""
        where = f"Scale {self.scale}; loopback only."
        return [self.tally(), paths.sentence("effects"), where, self.measured_on()]

    def html(self) -> str:
        """Return the table with its sentences, and why requests failed."""
        return self.table().html() + html.sentences([*tables.errors(self.records), *self.notes])


class Overview(Outcome):
    """Published benchmarks, run again one after another: a row a claim.

    `not_run` says of studies that could not run here why not.
    """

    def __init__(self, studies: Sequence[FileStudy], not_run: Mapping[str, str]) -> None:
        super().__init__([one for study in studies for one in study.records], ["experiment", ARM])
        self.studies, self.not_run = list(studies), dict(not_run)
        self.verdicts = [one for study in studies for one in study.verdicts]

    def table(self) -> Table:
        """Return one row a claim of each study, and below them which studies could not run."""
        not_run = [f"{name} was not run: {why}" for name, why in self.not_run.items()]
        where = [one.measured_on() for one in self.studies[:1]]
        return claims_table(self.studies, [tally(self.verdicts), *not_run, *where])

    def plot(self, kind: str = "forest") -> charts.Chart:
        """Draw all claims as a `forest`."""
        return charts.forest(self.verdicts) if kind == "forest" else super().plot(kind)

    def title(self) -> str:
        """Return what it is."""
        return "Published benchmarks, run again"

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON: records, summary, verdicts, and what could not run."""
        found = [{"study": s.file.id, **v.to_dict()} for s in self.studies for v in s.verdicts]
        return super().to_dict() | {"verdicts": found, "not_run": self.not_run}


class Audit(Ledger):
    """The lab's own error on this machine, as `lab.audit` measures it: a verdict for each figure.

    A lab that compares a thing with itself must find no difference; its percentiles must be those
    of the delays that the server knows it gave; and its probes must cost next to nothing. The last
    two are claims of the study's file; the first is counted here.
    """

    @cached_property
    def verdicts(self) -> list[Verdict]:
        """Return the verdict on each figure: of a trial against itself, then of the rest."""
        by_arm = stats.by_axis(self.records, ARM)
        same, again = (metrics.rates(by_arm.get(arm, ())) for arm in ("same", "same-again"))
        # Throughputs of both arms, comparison by comparison, of repeats that have both.
        pairs: dict[int, tuple[list[float], list[float]]] = {}
        for block in sorted({*same, *again}, key=lambda block: block[1]):
            of, to = pairs.setdefault(block[1] // stats.MIN_REPEATS, ([], []))
            if same.get(block) and again.get(block):
                of.append(same[block])
                to.append(again[block])
        counted = {"same": judge.false_positives(list(pairs.values()))}
        if any(of for of, _ in pairs.values()):
            counted["same-simulated"] = judge.simulated(list(pairs.values()))
        says = "A trial that is compared with itself does not differ."
        named = {"source": "", "says": says, "scale": self.scale}
        first = [Verdict.of([found], id=name, **named) for name, found in counted.items()]
        return [*map(self._with_notes, first), *super().verdicts]

    def sentences(self) -> list[str]:
        """Return what it comes to, in a sentence."""
        beyond = [one.name for one in self.verdicts if one.verdict == "refuted"]
        unknown = [one.name for one in self.verdicts if one.verdict == "inconclusive"]
        if not beyond and not unknown:
            return [paths.sentence("sound")]
        parts = [f"beyond what is allowed: {'; '.join(beyond)}"] if beyond else []
        parts += [f"not shown either way: {'; '.join(unknown)}"] if unknown else []
        return [f"Read figures of this size with that in mind: {', and '.join(parts)}."]
