"""Published results run again, laid out: for each claim its source, the published value, ours, and the verdict.

`Reproduction` is one experiment at one size, as plain JSON between the run and the page; `page` and `text` lay out one
or several of them. Nothing is computed here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

from xentlab.report import draw, theme
from xentlab.report.blocks import (
    Block,
    Cell,
    Command,
    Document,
    Items,
    Legend,
    Part,
    Picture,
    Pictures,
    Sentences,
    Table,
    Text,
    cells,
    fold,
)
from xentlab.report.numbers import MISSING, short
from xentlab.report.render import markdown
from xentlab.report.render import page as html
from xentlab.report.tables import facts
from xentlab.typed import load

ClaimVerdict = Literal["agrees", "disagrees", "not decidable"]
# The verdict of a comparison whose colour each one takes.
COLOURS = {"agrees": "better", "disagrees": "worse", "not decidable": "inconclusive"}


@dataclass(frozen=True)
class Finding:
    """One claim's row: everything but the verdict is text in the unit that is shown."""

    about: str
    arm: str
    metric: str
    source: str
    published: str
    ours: str
    difference: str
    verdict: ClaimVerdict
    why: str


@dataclass(frozen=True)
class Tried:
    """What the source leaves open, made another way in one arm: texts in the unit that is shown."""

    label: str
    arm: str
    metric: str
    ours: str
    otherwise: str
    difference: str
    words: str


@dataclass(frozen=True)
class Arm:
    """Every seed of one arm: metric -> seed -> value, None where it diverged."""

    label: str
    values: dict[str, dict[str, float | None]]
    stuck: int | None = None
    diverged: int = 0


@dataclass(frozen=True)
class Lines:
    """Lines over epochs: label -> one value per epoch, the first before the first epoch."""

    title: str
    label: str
    lines: dict[str, list[float]]


@dataclass(frozen=True)
class Reproduction:
    """One published experiment at one size."""

    name: str
    question: str
    source: str
    protocol: str
    size: str
    size_words: str
    command: str
    created: str
    findings: list[Finding]
    choices: list[str] = field(default_factory=list)
    choices_tried: list[Tried] = field(default_factory=list)
    arms: list[Arm] = field(default_factory=list)
    metrics: dict[str, str] = field(default_factory=dict)
    pictures: list[Lines] = field(default_factory=list)
    quantities: dict[str, str] = field(default_factory=dict)
    cost: dict[str, str] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain data, which `from_json` reads."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: Any) -> Reproduction:
        """The inverse of `to_json`.

        Raises:
            UserError: a field is missing, unknown, or of the wrong kind.
        """
        found: Reproduction = load(cls, data, "published")
        return found

    @property
    def counts(self) -> dict[ClaimVerdict, int]:
        """How many claims have each verdict."""
        return {v: sum(f.verdict == v for f in self.findings) for v in ("agrees", "disagrees", "not decidable")}


def tally(found: Reproduction) -> str:
    """The verdicts of one experiment in a few words."""
    words = [f"{count} {verdict}" for verdict, count in found.counts.items() if count]
    return f"{found.name} ({found.size}): {', '.join(words)}"


def page(title: str, found: Sequence[Reproduction], missing: Sequence[tuple[str, str]] = ()) -> str:
    """One HTML page of one or several experiments; `missing` are names and reasons of what was not run."""
    heads = Sentences([(line, "") for line in _heads(found, missing)])
    return html.document(Document(title, _READ, [heads, *(Part(tally(one), list(_blocks(one))) for one in found)]))


def text(title: str, found: Sequence[Reproduction], missing: Sequence[tuple[str, str]] = ()) -> str:
    """The same as Markdown."""
    blocks: list[Block] = [Items(_heads(found, missing))]
    for one in found:
        blocks += [_findings(one), Text(one.question), Text(f"{one.source}. {one.protocol}"), _size(one)]
        blocks.append(Command(one.command))
        if one.choices:
            blocks += [Text(f"{_OPEN}:"), Items(one.choices)]
        blocks += _tables(one)
    return markdown.document(Document(title, _READ, blocks))


def _heads(found: Sequence[Reproduction], missing: Sequence[tuple[str, str]]) -> list[str]:
    return [*map(tally, found), *(f"{name}: not run, {reason}" for name, reason in missing)]


_OPEN = "Left open by the source, and chosen here"
_READ = (
    "Ours is a mean ± standard deviation over n seeds. The difference is ours minus published with its 95 % interval; "
    "for an order, the claimed winner minus the other, over paired seeds. "
    "Agrees: the interval holds the published value, or lies on the claimed side. Not decidable: this size, or this "
    "many seeds, cannot tell. Nothing was tuned towards a number; of many true claims about one in twenty is called "
    "wrong by chance."
)


def _blocks(one: Reproduction) -> Iterable[Block]:
    yield from (Text(one.question), Text(f"{one.source}. {one.protocol}", note=True), _size(one), _findings(one))
    if one.pictures:
        yield Legend(list(one.pictures[0].lines))
        yield Pictures([Picture(partial(_draw, picture), picture.title) for picture in one.pictures])
    if one.choices:
        yield Part(_OPEN, [Items(one.choices)], folded=True)
    yield from map(fold, _tables(one))
    yield Command(one.command)


def _size(one: Reproduction) -> Text:
    return Text(f"Size {one.size}: {one.size_words}.", note=True)


def _findings(one: Reproduction) -> Table:
    header = ["claim", "verdict", "published", "ours", "difference [95 %]", "metric", "source"]
    rows = [
        cells(
            Cell(f.about, f.arm, ": "),
            Cell(f.verdict, f.why, ": ", verdict=COLOURS[f.verdict]),
            f.published, f.ours, f.difference, f.metric, f.source,
        )
        for f in one.findings
    ]  # fmt: skip
    return Table(f"{one.name}, size {one.size}", header, rows, layout="claims")


def _tables(one: Reproduction) -> Iterable[Table]:
    """Every table but that of the claims."""
    if one.choices_tried:
        yield _tried(one)
    yield from _seed_tables(one)
    if one.quantities:
        rows = [cells(name, value) for name, value in one.quantities.items()]
        yield Table("Every quantity", ["quantity", "value"], rows)
    for title, values in (("Cost", one.cost), ("Environment", one.environment)):
        if values:
            yield facts(title, values)


def _tried(one: Reproduction) -> Table:
    """Whether the open choices matter."""
    header = ["choice", "arm", "metric", "as chosen", "otherwise", "otherwise minus chosen [95 %]", ""]
    rows = [cells(t.label, t.arm, t.metric, t.ours, t.otherwise, t.difference, t.words) for t in one.choices_tried]
    return Table("Open choices, made another way", header, rows)


def _seed_tables(one: Reproduction) -> list[Table]:
    """One table for each metric: an arm in each row, a seed in each column."""
    tables = []
    for key, label in one.metrics.items():
        seeds = list(dict.fromkeys(seed for arm in one.arms for seed in arm.values.get(key, {})))
        header = ["arm", *(f"seed {seed}" for seed in seeds), "stuck", "diverged"]
        rows = []
        for arm in one.arms:
            values = [short(arm.values.get(key, {}).get(seed)) for seed in seeds]
            rows.append(cells(arm.label, *values, MISSING if arm.stuck is None else str(arm.stuck), str(arm.diverged)))
        tables.append(Table(f"Every seed: {label}", header, rows))
    return tables


def _draw(picture: Lines, prefix: str) -> str:
    with draw.settings():
        figure, axes = draw.page_axes(4.4, 2.9, left=0.9)
        for index, values in enumerate(picture.lines.values()):
            style = {"color": theme.series(index), "linestyle": theme.dashes(index), "linewidth": 1.8}
            axes.plot(range(len(values)), values, **style)
        axes.set_xlabel("epoch")
        axes.set_ylabel(picture.label)
        return draw.svg(figure, prefix, picture.title)
