"""The report as one HTML page: verdicts first, then pictures, then every number, then how to run it again.

The page asks nothing of the network, carries no script, follows the reader's light or dark theme, and escapes every
text of the record.
"""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from xentlab.report import charts, tables, theme
from xentlab.report.record import Record
from xentlab.report.tables import Table
from xentlab.report.words import SYMBOLS, row_of, sentences

VERDICTS = tuple(SYMBOLS)


def html(record: Record) -> str:
    """The whole page, from `<!doctype html>` on."""
    parts = [
        "<header>",
        f'<h1>{escape(record.name)}</h1><p class="question">{escape(record.question)}</p>',
        "</header>",
        _sentences(record),
        _table(tables.verdicts(record, record.primary)),
        _section("Against the baseline", *_pairing(record)),
        _section("All metrics", _table(tables.overview(record), heading=False), *_secondary(record)),
        *([_section("Convergence on validation", *_curves(record))] if record.curves else []),
        *([_section("Learning rate", *_tuning(record))] if any(x.tuning for x in record.losses) else []),
        *([_section("Time to target", *_targets(record))] if record.time_to_target else []),
        *([_section("Cost", _table(tables.cost(record), heading=False))] if record.cost else []),
        _section("Chosen hyper-parameters", _table(tables.chosen(record), heading=False)),
        _section("Every seed", *(_fold(tables.seeds(record, metric)) for metric in record.metrics)),
        _section("Protocol", _facts(record.protocol)) if record.protocol else "",
        _section("Environment", _facts(record.environment)) if record.environment else "",
        _section("Run it again", f"<pre>{escape(record.command)}</pre>", _facts(tables.identity(record))),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        # The page needs nothing from anywhere; a reader's browser is told so.
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>{escape(record.name)}</title><style>{theme.CSS}</style></head><body><main>"
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


def _pairing(record: Record) -> list[str]:
    charted = [record.primary, *(m for m in record.metrics if not m.primary)]
    parts = [_legend(record)]
    for k, metric in enumerate(charted):
        margin = " The shaded zone is the margin within which a difference does not matter." if metric.margin else ""
        pair = _charts(
            [
                (
                    charts.differences(record, metric, f"d{k}"),
                    f"Paired difference of {metric.label}, 95 % interval.{margin}",
                ),
                (
                    charts.seeds(record, metric, f"s{k}"),
                    f"{metric.label}: every seed, joined across the losses; bar: mean and 95 % interval.",
                ),
            ]
        )
        parts.append(pair if metric.primary else _details(f"Pictures of {metric.label}", pair))
    return parts


def _secondary(record: Record) -> Iterable[str]:
    return (_fold(tables.verdicts(record, metric)) for metric in record.metrics if not metric.primary)


def _curves(record: Record) -> list[str]:
    pictures = [
        (
            charts.curves(record, key, f"c{k}"),
            f"{record.curve_labels.get(key, key)}: mean over the seeds, 95 % band.",
        )
        for k, key in enumerate(record.curves)
    ]
    return [_legend(record), _charts(pictures), *(_fold(tables.curve(record, key)) for key in record.curves)]


def _tuning(record: Record) -> list[str]:
    picture = charts.sensitivity(record, "t0")
    caption = "Mean over the tuning seeds; the ring is the chosen learning rate. A gap: no trial finished there."
    folds = (_fold(tables.tuning(record, loss)) for loss in record.losses if loss.tuning)
    return [_legend(record), _charts([(picture, caption)]), *folds]


def _targets(record: Record) -> list[str]:
    return [_table(tables.target(record, entry)) for entry in record.time_to_target]


def _legend(record: Record) -> str:
    items = (f"<span>{charts.swatch(k)}{escape(loss.label)}</span>" for k, loss in enumerate(record.losses))
    return f'<div class="legend">{"".join(items)}</div>'


def _charts(pictures: list[tuple[str, str]]) -> str:
    figures = (f"<figure>{svg}<figcaption>{escape(caption)}</figcaption></figure>" for svg, caption in pictures)
    return f'<div class="charts">{"".join(figures)}</div>'


def _section(title: str, *parts: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{''.join(parts)}</section>"


def _fold(table: Table) -> str:
    return _details(table.title, _table(table, heading=False))


def _details(title: str, body: str) -> str:
    return f"<details><summary>{escape(title)}</summary>{body}</details>"


def _table(table: Table, *, heading: bool = True) -> str:
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in table.header)
    body = []
    for i, row in enumerate(table.rows):
        cells = [f'<th scope="row">{escape(row[0])}</th>']
        cells += [_cell(text, (i, j) in table.best) for j, text in enumerate(row[1:], start=1)]
        body.append(f"<tr>{''.join(cells)}</tr>")
    title = f"<h3>{escape(table.title)}</h3>" if heading else ""
    remarks = "".join(f'<p class="note">{escape(line)}</p>' for line in table.remarks)
    note = f'<p class="note">{escape(table.note)}</p>' if table.note else ""
    grid = f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>"
    return f'{title}<div class="scroll" tabindex="0">{grid}</div>{remarks}{note}'


def _cell(text: str, best: bool) -> str:
    classes = ["best"] if best else []
    if text.split(" ")[-1] in VERDICTS:
        classes.append(text.split(" ")[-1])
    if len(text) > 40:
        classes.append("wrap")
    return f'<td class="{" ".join(classes)}">{escape(text)}</td>' if classes else f"<td>{escape(text)}</td>"


def _facts(values: dict[str, str]) -> str:
    rows = (f'<tr><th scope="row">{escape(k)}</th><td>{escape(v)}</td></tr>' for k, v in values.items())
    return f'<div class="scroll"><table class="facts"><tbody>{"".join(rows)}</tbody></table></div>'
