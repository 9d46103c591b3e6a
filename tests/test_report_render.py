"""Names that HTML, Markdown, LaTeX or a terminal would act on: every renderer shows them as they are."""

from __future__ import annotations

import copy
import io
import re

import pytest
from markdown_it import MarkdownIt
from report_lab import Outline, example
from rich.console import Console
from rich.table import Table as Rows

from xentlab import report
from xentlab.cli.console import console
from xentlab.plain import visible
from xentlab.report import Record, record_tables, study
from xentlab.report.blocks import Cell, Document, Table, cells
from xentlab.report.render import latex, markdown, page, terminal
from xentlab.run.progress import progress_bar

NAMES = [
    "mine [v2]", "a|b", "<b>x</b>", "100%_$", "a_b_c *d* `e`", "[link](x)", "![i](y)", "# one", "1. one", "- one",
    "\\frac{a}", "{{ 7 * 7 }}", "[bold]x[/bold]", ":smile:", "&amp;", "~~gone~~", "~50 ^2",
    "+ one", "\x1b[31mred\x07", "\u202eleft",
]  # fmt: skip


def one_row(name: str) -> Table:
    return Table(name, [name, "of"], [cells(name, Cell(name, name, best=True))], note=name, remarks=[name])


def renamed(name: str, label: str = "test error") -> Record:
    data = copy.deepcopy(example(["ce", "mse"]))
    data["losses"][1]["label"] = name
    data["metrics"][0]["label"] = label
    return Record.from_json(data)


def as_html(text: str) -> str:
    """What a reader of the Markdown sees, as HTML."""
    return MarkdownIt("gfm-like", {"html": True, "linkify": False}).render(text)


@pytest.mark.parametrize("name", NAMES)
def test_html_shows_the_name(name: str) -> None:
    outline = Outline(page.document(Document(name, name, [one_row(name)])))
    assert [text for text in outline.text if text.strip() == visible(name)][3:]
    assert not {"b", "script"} & {tag for tag, _ in outline.tags}


@pytest.mark.parametrize("name", NAMES)
def test_markdown_shows_the_name(name: str) -> None:
    outline = Outline(as_html(markdown.table(one_row(name))))
    assert "".join(outline.text).split("\n").count(visible(name)) == 5
    assert [tag for tag, _ in outline.tags if tag not in ("p", "tr", "thead", "tbody")] == [
        "h2", "table", "th", "th", "td", "td", "strong",
    ]  # fmt: skip
    bullet = Outline(as_html(markdown.items([name])))
    assert [tag for tag, _ in bullet.tags] == ["ul", "li"]
    assert "".join(bullet.text).strip() == visible(name)


@pytest.mark.parametrize("name", NAMES)
def test_latex_shows_the_name(name: str) -> None:
    escaped = latex.escape(name)
    back = {said: letter for letter, said in latex._SPELLED.items()}
    pattern = "|".join(re.escape(said) for said in sorted(back, key=len, reverse=True))
    assert re.sub(pattern, lambda found: back[found[0]], escaped) == visible(name)
    assert not re.search(r"[\\~^&%$#_{}<>|`]", re.sub(pattern, "", escaped))


def test_a_row_of_latex_that_begins_with_a_bracket_is_no_option_of_the_row_before() -> None:
    text = latex.table_of_record(renamed("[v2] mine"))
    assert "\n  {}[v2] mine & " in text


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("colours", [None, "standard"])
def test_a_terminal_shows_the_name_and_obeys_none(name: str, colours: str | None) -> None:
    there = Console(file=io.StringIO(), width=160, color_system=colours, force_terminal=colours is not None)
    terminal.print_table(one_row(name), there)
    terminal.print_lines([name], there)
    shown = re.sub(r"\x1b\[[\d;]*m", "", there.file.getvalue()) if colours else there.file.getvalue()
    assert shown.count(visible(name)) == 6
    assert not re.search(r"\x1b\[31m|\x07", there.file.getvalue())


@pytest.mark.parametrize("name", NAMES)
def test_the_commands_console_shows_the_name(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    rows = Rows(title=name)
    rows.add_column(name)
    rows.add_row(name)
    console().print(rows)
    console().print(name)
    shown = capsys.readouterr().out
    assert shown.count(visible(name)) == 4
    assert not set(shown) & set("\x1b\x07\u202e")


@pytest.mark.parametrize("name", NAMES)
def test_the_bar_of_progress_shows_the_name(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "160")
    with progress_bar(name, 3):
        pass
    shown = capsys.readouterr().err
    assert visible(name) in re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", shown)
    assert not re.search(r"\x1b\[31mred|\x07", shown)


@pytest.mark.parametrize(
    "label",
    ["as large as the baseline", *(pytest.param(n, marks=pytest.mark.slow) for n in ("far from equivalent", "▲ gain"))],
)
def test_what_ends_in_a_verdicts_word_is_painted_as_none(label: str) -> None:
    record = renamed(label, label)
    outline = Outline(report.html(record))
    painted = [a["class"] for tag, a in outline.tags if tag == "td" and a.get("class") not in (None, "best", "wrap")]
    assert painted == ["baseline", "worse"] + [row.verdict for metric in record.metrics[1:] for row in metric.rows]
    two = [study.StudyCell(f"{label} {k}", record) for k in range(2)]
    page_of_two = Outline(report.html(report.Study("two", "q", "c", two)))
    in_first = page_of_two.tags[: [tag for tag, _ in page_of_two.tags].index("svg")]
    assert [a["class"] for tag, a in in_first if tag == "td"] == ["best baseline", "worse"] * 2
    there = Console(file=io.StringIO(), width=200, color_system="standard", force_terminal=True)
    terminal.print_table(record_tables.deciding(record), there)
    assert there.file.getvalue().count("\x1b[31m") == 1
    assert "\x1b[34m" not in there.file.getvalue()


def test_a_whole_report_of_a_strange_loss_has_it_in_every_format() -> None:
    for name in ("mine [v2]", "a|b", "<b>x</b>", "100%_$"):
        record = renamed(name, f"error of {name}")
        for block in re.findall(r"(?:^\|.*\n?)+", report.markdown(record), flags=re.MULTILINE):
            assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block.strip().splitlines()}) == 1
        assert name in " ".join(Outline(report.html(record)).text)
        assert latex.escape(name) in report.latex(record)
