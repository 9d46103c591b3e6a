"""Published results run again, laid out: for each claim its source, the published value, ours, and the verdict.

`Reproduction` is one experiment at one size, as plain JSON between the run and the page; `page` and `text` lay out one
or several of them. Nothing is computed here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any, Literal

from xentlab.report import draw, theme
from xentlab.report.border import load
from xentlab.report.page import charts_html, details, document, legend, section, table_html
from xentlab.report.plain import as_text, fence, markdown_table
from xentlab.report.tables import Table, facts

Verdict = Literal["agrees", "disagrees", "not decidable"]
# How the page paints a verdict.
_CLASSES = {"agrees": "better", "disagrees": "worse", "not decidable": "inconclusive"}


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
    verdict: Verdict
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
class Picture:
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
    pictures: list[Picture] = field(default_factory=list)
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
    def counts(self) -> dict[Verdict, int]:
        """How many claims have each verdict."""
        return {v: sum(f.verdict == v for f in self.findings) for v in ("agrees", "disagrees", "not decidable")}


def tally(found: Reproduction) -> str:
    """The verdicts of one experiment in a few words."""
    words = [f"{count} {verdict}" for verdict, count in found.counts.items() if count]
    return f"{found.name} ({found.size}): {', '.join(words)}"


def page(title: str, found: Sequence[Reproduction], missing: Sequence[tuple[str, str]] = ()) -> str:
    """One HTML page of one or several experiments; `missing` are names and reasons of what was not run."""
    heads = "".join(f"<li>{escape(tally(one))}</li>" for one in found)
    heads += "".join(f"<li>{escape(name)}: not run, {escape(reason)}</li>" for name, reason in missing)
    parts = [f"<header><h1>{escape(title)}</h1><p class='question'>{escape(_READ)}</p></header>"]
    parts.append(f'<ul class="sentences">{heads}</ul>')
    return document(title, [*parts, *(_section(one, f"p{i}") for i, one in enumerate(found))])


def text(title: str, found: Sequence[Reproduction], missing: Sequence[tuple[str, str]] = ()) -> str:
    """The same as Markdown."""
    heads = [f"- {as_text(tally(one))}" for one in found]
    heads += [f"- {as_text(name)}: not run, {as_text(reason)}" for name, reason in missing]
    parts = [f"# {as_text(title)}", as_text(_READ), "\n".join(heads)]
    for one in found:
        parts += [markdown_table(_findings(one)), as_text(one.question), as_text(f"{one.source}. {one.protocol}")]
        parts += [as_text(f"Size {one.size}: {one.size_words}."), fence(one.command)]
        if one.choices:
            open_ones = "\n".join(f"- {as_text(line)}" for line in one.choices)
            parts.append(f"Left open by the source, and chosen here:\n\n{open_ones}")
        parts += [markdown_table(_tried(one))] if one.choices_tried else []
        parts += [markdown_table(table) for table in _seed_tables(one)]
        parts += [markdown_table(_quantities(one))] if one.quantities else []
        for name, values in (("Cost", one.cost), ("Environment", one.environment)):
            parts += [markdown_table(facts(name, values))] if values else []
    return "\n\n".join(parts) + "\n"


_READ = (
    "Ours is a mean ± standard deviation over n seeds. The difference is ours minus published with its 95 % interval; "
    "for an order, the claimed winner minus the other, over paired seeds. "
    "Agrees: the interval holds the published value, or lies on the claimed side. Not decidable: this size, or this "
    "many seeds, cannot tell. Nothing was tuned towards a number; of many true claims about one in twenty is called "
    "wrong by chance."
)


def _section(one: Reproduction, prefix: str) -> str:
    head = [f"<p>{escape(one.question)}</p>", f'<p class="note">{escape(one.source)}. {escape(one.protocol)}</p>']
    head.append(f'<p class="note">Size {escape(one.size)}: {escape(one.size_words)}.</p>')
    choices = "".join(f"<li>{escape(line)}</li>" for line in one.choices)
    folds = [details("Left open by the source, and chosen here", f"<ul>{choices}</ul>")] if choices else []
    folds += [details(_tried(one).title, table_html(_tried(one), heading=False))] if one.choices_tried else []
    folds += [details(table.title, table_html(table, heading=False)) for table in _seed_tables(one)]
    if one.quantities:
        folds.append(details("Every quantity", table_html(_quantities(one), heading=False)))
    for title, values in (("Cost", one.cost), ("Environment", one.environment)):
        rows = "".join(f'<tr><th scope="row">{escape(k)}</th><td>{escape(v)}</td></tr>' for k, v in values.items())
        if rows:
            table = f'<div class="scroll"><table class="facts"><tbody>{rows}</tbody></table></div>'
            folds.append(details(title, table))
    pictures = [(_draw(p, f"{prefix}-{k}"), p.title) for k, p in enumerate(one.pictures)]
    shown = [legend(list(one.pictures[0].lines)), charts_html(pictures)] if pictures else []
    command = f"<pre>{escape(one.command)}</pre>"
    return section(tally(one), *head, _painted(_findings(one), one), *shown, *folds, command)


def _findings(one: Reproduction) -> Table:
    header = ["claim", "verdict", "published", "ours", "difference [95 %]", "metric", "source"]
    rows = []
    for f in one.findings:
        about = f"{f.about}: {f.arm}" if f.arm else f.about
        rows.append([about, f"{f.verdict}: {f.why}", f.published, f.ours, f.difference, f.metric, f.source])
    return Table(f"{one.name}, size {one.size}", header, rows, [""] * len(rows))


def _painted(table: Table, one: Reproduction) -> str:
    """The table of claims: every text wraps, and verdicts have their colours."""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in table.header)
    rows = []
    for row, f in zip(table.rows, one.findings, strict=True):
        arm = f'<br><span class="soft">{escape(f.arm)}</span>' if f.arm else ""
        why = f'<br><span class="soft">{escape(f.why)}</span>'
        cells = [f'<td class="wrap">{escape(f.about)}{arm}</td>']
        cells.append(f'<td class="{_CLASSES[f.verdict]}" style="{_WRAP}">{escape(f.verdict)}{why}</td>')
        cells += [f'<td style="{_WRAP}">{escape(cell)}</td>' for cell in row[2:]]
        rows.append(f"<tr>{''.join(cells)}</tr>")
    body = f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    return f'<div class="scroll" tabindex="0">{body}</div>'


_WRAP = "white-space:normal;min-width:6em"


def _tried(one: Reproduction) -> Table:
    """Whether the open choices matter."""
    header = ["choice", "arm", "metric", "as chosen", "otherwise", "otherwise minus chosen [95 %]", ""]
    rows = [[t.label, t.arm, t.metric, t.ours, t.otherwise, t.difference, t.words] for t in one.choices_tried]
    return Table("Open choices, made another way", header, rows, [""] * len(rows))


def _seed_tables(one: Reproduction) -> list[Table]:
    """One table for each metric: an arm in each row, a seed in each column."""
    tables = []
    for key, label in one.metrics.items():
        seeds = list(dict.fromkeys(seed for arm in one.arms for seed in arm.values.get(key, {})))
        header = ["arm", *(f"seed {seed}" for seed in seeds), "stuck", "diverged"]
        rows = []
        for arm in one.arms:
            known = arm.values.get(key, {})
            cells = ["–" if (v := known.get(seed)) is None else f"{v:.4g}" for seed in seeds]
            rows.append([arm.label, *cells, "–" if arm.stuck is None else str(arm.stuck), str(arm.diverged)])
        tables.append(Table(f"Every seed: {label}", header, rows, [""] * len(rows)))
    return tables


def _quantities(one: Reproduction) -> Table:
    rows = [[name, value] for name, value in one.quantities.items()]
    return Table("Every quantity", ["quantity", "value"], rows, [""] * len(rows))


def _draw(picture: Picture, prefix: str) -> str:
    with draw.settings():
        figure, axes = draw.page_axes(4.4, 2.9, left=0.9)
        for index, values in enumerate(picture.lines.values()):
            style = {"color": theme.series(index), "linestyle": theme.dashes(index), "linewidth": 1.8}
            axes.plot(range(len(values)), values, **style)
        axes.set_xlabel("epoch")
        axes.set_ylabel(picture.label)
        return draw.svg(figure, prefix, escape(picture.title))
