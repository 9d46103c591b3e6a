"""The report of a study in every format: what all cells say together first, then every cell's own report."""

from __future__ import annotations

from html import escape

from xentlab.report import overview, plain, study
from xentlab.report.page import body, charts_html, details, document, fold, legend, section, table_html
from xentlab.report.plain import as_text, fence, markdown_table
from xentlab.report.study import Study

# With more cells than these, each cell's own report opens on a click.
_OPEN = 3


def html(found: Study) -> str:
    """The whole page of a study, from `<!doctype html>` on."""
    links = "".join(f'<li><a href="#cell-{k}">{escape(cell.label)}</a></li>' for k, cell in enumerate(found.cells))
    parts = [
        f'<header><h1>{escape(found.name)}</h1><p class="question">{escape(found.question)}</p></header>',
        _sentences(found),
        _stacked(table_html(study.overview(found))),
        *_beside(found),
        *(_stacked(fold(study.overview(found, key))) for key in study.secondary_keys(found)),
        _together(found),
        section("Cells", f'<ul class="cells">{links}</ul>'),
        *(_cell(found, k) for k in range(len(found.cells))),
        section("Run all of it again", f"<pre>{escape(found.command)}</pre>"),
    ]
    return document(found.name, parts)


def _sentences(found: Study) -> str:
    items = (f'<li class="{kind}">{escape(line)}</li>' for line, kind in study.sentences(found).values())
    return f'<ul class="sentences">{"".join(items)}</ul>'


def _stacked(table: str) -> str:
    """The table with every interval below its value, so that many losses fit beside each other."""
    return table.replace(" [", "<br>[")


def _beside(found: Study) -> list[str]:
    """The cells' means beside each other, as a picture where they share a metric."""
    if not study.one_metric(found):
        return [_stacked(fold(study.means(found)))]
    caption = f"Mean {found.cells[0].record.primary.label} in every cell, with its 95 % interval over the seeds."
    picture = charts_html([(overview.across_cells(found, "o2"), caption)])
    return [legend(list(found.losses.values())), picture, _stacked(fold(study.means(found)))]


def _together(found: Study) -> str:
    """Ranks and profiles over all cells, where there are any."""
    seen, pictures, tables = found.overview, [], []
    if seen.ranks is not None:
        caption = (
            "Mean rank over the cells, 1 the best. A bar joins losses that the critical difference does not separate."
        )
        pictures.append((overview.critical_difference(found, seen.ranks, "o0"), caption))
        tables.append(study.ranks(found))
    if seen.profiles:
        caption = "Share of problems (every seed of every cell) within a factor of the best loss; higher is better."
        pictures.append((overview.performance_profile(found, "o1"), caption))
        tables.append(study.profiles(found))
    if not pictures:
        return ""
    notes = "".join(f'<p class="note">{escape(note)}.</p>' for note in seen.notes)
    shown = legend(list(found.losses.values())) + charts_html(pictures)
    return section("Over all cells", shown, *(table_html(table) for table in tables), notes)


def _cell(found: Study, place: int) -> str:
    """One cell's own report, its headings a level lower."""
    cell = found.cells[place]
    inner = "\n".join(filter(None, body(cell.record, f"k{place}")))
    # Texts are escaped, so these are tags.
    for level in (3, 2):
        inner = inner.replace(f"<h{level}>", f"<h{level + 1}>").replace(f"</h{level}>", f"</h{level + 1}>")
    if len(found.cells) > _OPEN:
        # A link to what lies inside opens it.
        inner = f'<div id="cell-{place}">{inner}</div>'
        return details(cell.label, inner).replace("<details>", '<details class="cell">', 1)
    return f'<section id="cell-{place}"><h2>{escape(cell.label)}</h2>{inner}</section>'


def markdown(found: Study) -> str:
    """The whole study as GitHub-flavoured Markdown."""
    lines = "\n".join(f"- {as_text(line)}" for line, _ in study.sentences(found).values())
    parts = [f"# {as_text(found.name)}", as_text(found.question), lines]
    parts += [markdown_table(study.overview(found)), markdown_table(study.means(found))]
    parts += [markdown_table(study.overview(found, key)) for key in study.secondary_keys(found)]
    parts += [markdown_table(study.ranks(found))] if found.overview.ranks is not None else []
    parts += [markdown_table(study.profiles(found))] if found.overview.profiles else []
    parts += [as_text(f"{note}.") for note in found.overview.notes]
    for cell in found.cells:
        own = "\n".join(plain.markdown(cell.record).split("\n")[4:])
        parts += [f"# {as_text(cell.label)}", own.strip()]
    parts += ["# Run all of it again", fence(found.command)]
    return "\n\n".join(parts) + "\n"


def latex(found: Study) -> str:
    """The overview as one LaTeX table (booktabs), then every cell's own."""
    table = study.overview(found)
    caption = f"{found.question} {table.note}"
    own = [f"% {plain.as_tex(cell.label)}\n{plain.latex(cell.record)}" for cell in found.cells]
    return "\n".join([plain.latex_table(table, caption), *own])
