"""What a report is made of: tables whose cells are values, sentences, pictures, and how they lie in each other.

Nothing here knows a format. `render` turns a `Document` into HTML, Markdown or LaTeX and a `Table` into a terminal's
rows; a renderer escapes every text as the last thing it does, and reads nothing out of one. To add a kind of block: a
class here, its line in `Block`, and what each renderer makes of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from numpy.typing import NDArray


@dataclass(frozen=True)
class Cell:
    """One cell of a table.

    Attributes:
        text: what it says.
        detail: what belongs to it with less weight, such as an interval or a reason; it may stand below the text.
        joint: what stands between the two on one line.
        verdict: the verdict that it shows and is coloured by: better, worse, equivalent, inconclusive, baseline.
        best: whether it is marked as best.
        heat: how strongly it is tinted, in [0, 1].
        link: what its text leads to on a page, relative to the report's folder.
    """

    text: str
    detail: str = ""
    joint: str = " "
    verdict: str | None = None
    best: bool = False
    heat: float | None = None
    link: str = ""

    @property
    def line(self) -> str:
        """All that it says, on one line."""
        return self.text + self.joint + self.detail if self.detail else self.text


def cells(*values: str | Cell) -> list[Cell]:
    """A row of a table; a bare text is a cell that says nothing else."""
    return [value if isinstance(value, Cell) else Cell(value) for value in values]


@dataclass(frozen=True)
class Table:
    """Cells under column names.

    Attributes:
        title: one line above the table.
        header: column names.
        rows: cells, each row as long as the header; the first cell names the row.
        note: one paragraph below.
        remarks: one line each, above the note.
        layout: on a page, `stacked` shows every detail below its text, `claims` does so and wraps all texts, `facts`
            are labels and texts without column names.
    """

    title: str
    header: list[str]
    rows: list[list[Cell]]
    note: str = ""
    remarks: list[str] = field(default_factory=list)
    layout: Literal["", "stacked", "claims", "facts"] = ""


@dataclass(frozen=True)
class Sentences:
    """Verdicts in words: (sentence, the verdict that colours it or an empty text)."""

    lines: list[tuple[str, str]]


@dataclass(frozen=True)
class Text:
    """One paragraph; a `note` is of less weight, the `answer` of most."""

    text: str
    weight: Literal["", "note", "answer"] = ""


@dataclass(frozen=True)
class Items:
    """Texts one below the other."""

    texts: list[str]


@dataclass(frozen=True)
class ShellCommand:
    """What to type into a shell."""

    text: str


@dataclass(frozen=True)
class Legend:
    """Losses with their lines and colours: (label, place among the styles)."""

    entries: list[tuple[str, int]]


@dataclass(frozen=True)
class Picture:
    """A drawing for the page: `draw` takes what tells its ids from those of other pictures, and gives SVG."""

    draw: Callable[[str], str]
    caption: str


@dataclass(frozen=True)
class Pictures:
    """Drawings beside each other, and a note on how to read them."""

    pictures: list[Picture]
    note: str = ""
    small: bool = False


@dataclass(frozen=True)
class PixelGrid:
    """Named columns of pixels [H, W, 3], a row for each example, and what the colours mean: (class, colour)."""

    columns: dict[str, list[NDArray]]
    colours: list[tuple[str, NDArray]]


@dataclass(frozen=True)
class Gallery:
    """Pictures made of pixels; `draw` gives them."""

    draw: Callable[[], PixelGrid]


@dataclass(frozen=True)
class Links:
    """Links to chapters: (anchor, title); `contents` stand beside each other."""

    links: list[tuple[str, str]]
    contents: bool = False


@dataclass(frozen=True)
class Part:
    """Blocks under a heading.

    Attributes:
        folded: whether a reader opens it with a click.
        chapter: whether its own parts lie one level deeper, as those of one cell of a study do.
        anchor: what links lead to.
    """

    title: str
    blocks: Sequence[Block]
    folded: bool = False
    chapter: bool = False
    anchor: str = ""


@dataclass(frozen=True)
class Document:
    """A whole report; `about` tells it from others of its title."""

    title: str
    question: str
    blocks: Sequence[Block]
    about: str = ""


Block = Table | Sentences | Text | Items | ShellCommand | Legend | Pictures | Gallery | Links | Part


def fold(table: Table) -> Part:
    """A table that opens with a click."""
    return Part(table.title, [table], folded=True)
