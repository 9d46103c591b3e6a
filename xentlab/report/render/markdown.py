"""GitHub-flavoured Markdown: the tables and sentences of a report without its pictures, every text harmless."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from xentlab.plain import one_line, visible
from xentlab.report.blocks import Block, Document, Items, Part, Sentences, ShellCommand, Table, Text


def document(given: Document) -> str:
    """A whole report."""
    about = [escape(given.about)] if given.about else []
    parts = [f"# {escape(given.title)}", *about, escape(given.question), *_parts(given.blocks)]
    return "\n\n".join(parts) + "\n"


def _parts(blocks: Sequence[Block]) -> Iterable[str]:
    for block in blocks:
        if isinstance(block, Table):
            yield table(block)
        elif isinstance(block, Sentences):
            yield items([line for line, _ in block.lines])
        elif isinstance(block, Items):
            yield items(block.texts)
        elif isinstance(block, Text):
            yield f"**{escape(block.text)}**" if block.weight == "answer" else escape(block.text)
        elif isinstance(block, ShellCommand):
            yield command(block.text)
        elif isinstance(block, Part):
            # Tables have headings of their own.
            if block.chapter or isinstance(block.blocks[0], ShellCommand | Items | Sentences):
                yield f"{'#' if block.chapter else '##'} {escape(block.title)}"
            yield from _parts(block.blocks)


def table(given: Table) -> str:
    """A table under a heading, the best in bold."""
    lines = [f"## {escape(given.title)}", "", _row(map(escape, given.header)), "|" + " --- |" * len(given.header)]
    for row in given.rows:
        lines.append(_row(f"**{escape(cell.line)}**" if cell.best else escape(cell.line) for cell in row))
    for paragraph in [*given.remarks, given.note]:
        lines += ["", escape(paragraph)] if paragraph else []
    return "\n".join(lines)


def _row(escaped: Iterable[str]) -> str:
    return "| " + " | ".join(escaped) + " |"


def items(texts: Iterable[str]) -> str:
    """A list."""
    return "\n".join(f"- {escape(text)}" for text in texts)


def command(text: str) -> str:
    """A code block whose fence is longer than any run of backticks in the text."""
    fence = "`" * max(3, 1 + max(map(len, re.findall(r"`+", text)), default=0))
    return f"{fence}sh\n{visible(text)}\n{fence}"


def escape(text: str) -> str:
    """The text with everything that Markdown or HTML would act on made harmless, on one line."""
    escaped = re.sub(r"([\\`*_\[\]|#~])", r"\\\1", one_line(text))
    # What would begin a list where the text begins a line.
    escaped = re.sub(r"^(\d*)([-+.)])(?=\s|$)", r"\1\\\2", escaped)
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
