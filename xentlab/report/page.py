"""The report as one HTML page: verdicts first, then pictures, then every number, then how to run it again.

The page asks nothing of the network, carries no script, follows the reader's light or dark theme, and escapes every
text of the record.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from xentlab.report import charts, exhibits, tables, theme
from xentlab.report.record import Record
from xentlab.report.tables import Table
from xentlab.report.words import SYMBOLS, row_of, sentences

VERDICTS = tuple(SYMBOLS)
_BY_SYMBOL = {symbol: verdict for verdict, symbol in SYMBOLS.items()}


def html(record: Record) -> str:
    """The whole page, from `<!doctype html>` on."""
    head = f'<h1>{escape(record.name)}</h1><p class="question">{escape(record.question)}</p>'
    return document(record.name, [f"<header>{head}</header>", *body(record)])


def body(record: Record, prefix: str = "") -> list[str]:
    """Everything below the headline; `prefix` distinguishes the ids in its pictures from those of other records."""
    return [
        _sentences(record),
        table_html(tables.verdicts(record, record.primary)),
        section("Against the baseline", *_pairing(record, prefix)),
        section("All metrics", table_html(tables.overview(record), heading=False), *_secondary(record)),
        *([section("Convergence on validation", *_curves(record, prefix))] if record.curves else []),
        *([section("Learning rate", *_tuning(record, prefix))] if any(x.tuning for x in record.losses) else []),
        *([section("Time to target", *_targets(record))] if record.time_to_target else []),
        *([section("Reliability", *_reliability(record, prefix))] if record.reliability else []),
        *(
            [section("Cross-loss matrix", table_html(exhibits.cross_table(record), heading=False))]
            if record.cross
            else []
        ),
        *([section("Examples", exhibits.examples_html(record, record.examples))] if record.examples else []),
        *([section("Cost", table_html(tables.cost(record), heading=False))] if record.cost else []),
        section("Chosen hyper-parameters", table_html(tables.chosen(record), heading=False)),
        section("Every seed", *(fold(tables.seeds(record, metric)) for metric in record.metrics)),
        section("Protocol", _facts(record.protocol)) if record.protocol else "",
        section("Environment", _facts(record.environment)) if record.environment else "",
        section("Run it again", f"<pre>{escape(record.command)}</pre>", _facts(tables.identity(record))),
    ]


def document(title: str, parts: Iterable[str]) -> str:
    """A page that holds these parts one below the other."""
    # The page needs nothing from anywhere; a reader's browser is told so.
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        f"<title>{escape(title)}</title><style>{theme.CSS}</style></head><body><main>"
        + "\n".join(filter(None, parts))
        + "</main></body></html>\n"
    )


def _sentences(record: Record) -> str:
    others = [loss.name for loss in record.losses if loss.name != record.baseline]
    lines = sentences(record)
    classes = (
        [row_of(record.primary, loss).verdict for loss in others] if len(lines) == len(others) else [""] * len(lines)
    )
    items = (f'<li class="{c}">{escape(line)}</li>' for line, c in zip(lines, classes, strict=True))
    return f'<ul class="sentences">{"".join(items)}</ul>'


def _pairing(record: Record, prefix: str) -> list[str]:
    charted = [record.primary, *(m for m in record.metrics if not m.primary)]
    parts = [_legend(record)]
    for k, metric in enumerate(charted):
        margin = " The shaded zone is the margin within which a difference does not matter." if metric.margin else ""
        pair = charts_html(
            [
                (
                    charts.differences(record, metric, f"{prefix}d{k}"),
                    f"Paired difference of {metric.label}, 95 % interval.{margin}",
                ),
                (
                    charts.seeds(record, metric, f"{prefix}s{k}"),
                    f"{metric.label}: every seed, joined across the losses; bar: mean and 95 % interval.",
                ),
            ]
        )
        parts.append(pair if metric.primary else details(f"Pictures of {metric.label}", pair))
    return parts


def _secondary(record: Record) -> Iterable[str]:
    return (fold(tables.verdicts(record, metric)) for metric in record.metrics if not metric.primary)


def _curves(record: Record, prefix: str) -> list[str]:
    pictures = [
        (
            charts.curves(record, key, f"{prefix}c{k}"),
            f"{record.curve_labels.get(key, key)}: mean over the seeds, 95 % band.",
        )
        for k, key in enumerate(record.curves)
    ]
    return [_legend(record), charts_html(pictures), *(fold(tables.curve(record, key)) for key in record.curves)]


def _tuning(record: Record, prefix: str) -> list[str]:
    picture = charts.sensitivity(record, f"{prefix}t0")
    caption = "Mean over the tuning seeds; the ring is the chosen learning rate. A gap: no trial finished there."
    if any(t.epochs is not None for x in record.losses for t in x.tuning):
        caption += " Rates that were left after fewer epochs are in the tables alone: their values do not compare."
    folds = (fold(tables.tuning(record, loss)) for loss in record.losses if loss.tuning)
    return [_legend(record), charts_html([(picture, caption)]), *folds]


def _targets(record: Record) -> list[str]:
    return [table_html(tables.target(record, entry)) for entry in record.time_to_target]


def _reliability(record: Record, prefix: str) -> list[str]:
    pictures = [
        (exhibits.reliability_picture(record, entry, f"{prefix}r{k}"), f"{record.labels[entry.loss]}, {entry.n} seeds")
        for k, entry in enumerate(record.reliability)
    ]
    note = (
        "Filled: how often it came true in each bin of stated probability; outlined: the gap to the mean that was "
        "stated; below: the bin's share of all statements."
    )
    table = fold(exhibits.reliability_table(record))
    return [f'<div class="small">{charts_html(pictures)}</div>', f'<p class="note">{note}</p>', table]


def _legend(record: Record) -> str:
    return legend([loss.label for loss in record.losses])


def legend(labels: Sequence[str]) -> str:
    """Lines and colours of losses, in the order of the record."""
    items = (f"<span>{charts.swatch(k)}{escape(label)}</span>" for k, label in enumerate(labels))
    return f'<div class="legend">{"".join(items)}</div>'


def charts_html(pictures: list[tuple[str, str]]) -> str:
    """Pictures with their captions, as many beside each other as fit."""
    figures = (f"<figure>{svg}<figcaption>{escape(caption)}</figcaption></figure>" for svg, caption in pictures)
    return f'<div class="charts">{"".join(figures)}</div>'


def section(title: str, *parts: str) -> str:
    """Parts under a heading."""
    return f"<section><h2>{escape(title)}</h2>{''.join(parts)}</section>"


def fold(table: Table) -> str:
    """A table that opens on a click."""
    return details(table.title, table_html(table, heading=False))


def details(title: str, inner: str) -> str:
    """What opens on a click."""
    return f"<details><summary>{escape(title)}</summary>{inner}</details>"


def table_html(table: Table, *, heading: bool = True) -> str:
    """The table with its title, remarks and note; it scrolls sideways where the page is narrow."""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in table.header)
    rows = []
    for i, row in enumerate(table.rows):
        cells = [f'<th scope="row">{escape(row[0])}</th>']
        cells += [_cell(text, (i, j) in table.best, table.heat.get((i, j))) for j, text in enumerate(row[1:], start=1)]
        rows.append(f"<tr>{''.join(cells)}</tr>")
    title = f"<h3>{escape(table.title)}</h3>" if heading else ""
    remarks = "".join(f'<p class="note">{escape(line)}</p>' for line in table.remarks)
    note = f'<p class="note">{escape(table.note)}</p>' if table.note else ""
    grid = f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    return f'{title}<div class="scroll" tabindex="0">{grid}</div>{remarks}{note}'


def _cell(text: str, best: bool, heat: float | None) -> str:
    classes = ["best"] if best else []
    if text.split(" ")[-1] in VERDICTS:
        classes.append(text.split(" ")[-1])
    elif text[1:2] == " " and text[0] in _BY_SYMBOL:
        classes.append(_BY_SYMBOL[text[0]])
    if len(text) > 40:
        classes.append("wrap")
    style = "" if heat is None else f' style="--heat:{100 * heat:.0f}%"'
    if style:
        classes.append("heat")
    return f'<td class="{" ".join(classes)}"{style}>{escape(text)}</td>' if classes else f"<td>{escape(text)}</td>"


def _facts(values: dict[str, str]) -> str:
    rows = (f'<tr><th scope="row">{escape(k)}</th><td>{escape(v)}</td></tr>' for k, v in values.items())
    return f'<div class="scroll"><table class="facts"><tbody>{"".join(rows)}</tbody></table></div>'
