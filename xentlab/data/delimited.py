"""Tables as text (.csv, .tsv, .txt, .data, also packed with gzip), read by pandas.

What such a file leaves open is recognised by a rule and said, or refused: its encoding, what separates its cells,
and whether its first row holds names. Cells stay as spelled; `columns` says what they mean.
"""

from __future__ import annotations

import codecs
import collections
import csv
import gzip
import io
import itertools
import re
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from xentlab.data.columns import MISSING, FileTable, few, parsed, spelled
from xentlab.errors import UserError

TEXT_SUFFIXES = (".csv", ".tsv", ".txt", ".data", ".dat")
# In this order: where rows fall into equal cells by more than one, the first is what separates them.
_SEPARATORS = {"\t": "tabs", ";": "semicolons", "|": "bars", ",": "commas", " ": "blanks"}
_LOOKED_AT = 100  # rows by which the separator is recognised
_SEVERAL = re.compile(r"[\d.+?-]+( +[\d.+?-]+)+ *")  # numbers with blanks between them


def read_delimited(file: Path, *, header: bool | None, delimiter: str | None) -> FileTable:
    """The cells of a text table, as spelled.

    Args:
        header: whether the first row holds names; None: it does unless one of its cells is a number, or most of them
            come again below.
        delimiter: what separates cells, one character (a blank: any run of blanks and tabs); None recognises it.

    Raises:
        UserError: no text, no rows, or rows of different lengths.
    """
    import pandas

    if delimiter is not None and len(delimiter) != 1:
        raise UserError(f"dataset.delimiter must be one character, got '{delimiter}'.")
    notes: list[str] = []
    text, said = _without_preamble(re.sub("\r\n?", "\n", read_text(file, notes)), notes)
    suffix = Path(file.stem).suffix if file.suffix.lower() == ".gz" else file.suffix
    separator = delimiter or said or ("\t" if suffix.lower() == ".tsv" else _separator(text))
    if delimiter is None and separator != ("\t" if suffix.lower() == ".tsv" else ","):
        notes.append(f"separated by {_SEPARATORS.get(separator, repr(separator))}")
    edge = re.escape(separator)
    single = '"' not in text and re.search(rf"(^|{edge})'[^'\n]*'({edge}|$)", text, re.MULTILINE)
    quote = "'" if single else '"'
    try:
        text = _without_lone_lines(text, separator, quote, notes)
        text = _with_row_names(text, separator, quote, notes)
        with warnings.catch_warnings(action="ignore", category=pandas.errors.ParserWarning):
            frame = pandas.read_csv(
                io.StringIO(text),
                sep=r"\s+" if separator == " " else separator,
                quotechar=quote, header=None, dtype=str, keep_default_na=False, na_values=[], skipinitialspace=True,
                index_col=False,
            )  # fmt: skip
    except pandas.errors.EmptyDataError as error:
        raise UserError(f"{file} must hold rows, found none.") from error
    except (pandas.errors.ParserError, csv.Error, ValueError) as error:
        raise UserError(f"{file} must hold rows of one length, quoted well: {reason(error)}.") from error
    rows = frame.to_numpy(dtype=object)
    if (rows[:, -1] == "").any():  # a row that is too short ends in empty cells
        for number, record in enumerate(_records(text, separator, quote), 1 - (header is not False)):
            if len(record) < rows.shape[1]:
                raise UserError(f"{file}, row {number}, must hold {rows.shape[1]} values, found {len(record)}.")
    return of_cells(file, rows, header, notes, comma_separates=separator == ",")


def read_text(file: Path, notes: list[str]) -> str:
    """The text of a file, unpacked where it is gzip; an encoding other than UTF-8 is recognised and noted.

    Raises:
        UserError: it is no text, or is damaged.
    """
    data = file.read_bytes()
    if data[:2] == b"\x1f\x8b":
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            raise UserError(f"{file} cannot be unpacked ({error}).") from error
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        notes.append("read as UTF-16")
        return data.decode("utf-16")
    if b"\0" in data:
        raise UserError(f"{file} must be text, found a zero byte.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        lenient = data.decode("utf-8", errors="replace")
        bad = lenient.count("\ufffd")
        if len(re.findall(r"[^\x00-\x7f]", lenient)) > 2 * bad:  # by chance a few of Latin-1 are UTF-8 too
            line = data.count(b"\n", 0, error.start) + 1
            raise UserError(
                f"{file} must have one encoding: it is UTF-8, but for a byte 0x{data[error.start]:02x} in line {line}."
            ) from error
        text = data.decode("cp1252", errors="replace")
        word = next(word for word in re.findall(r"\w+|[^\x00-\x7f]+", text) if not word.isascii())
        notes.append(f"read as Latin-1, since it is no UTF-8, with words such as {word}")
        return text


def _without_preamble(text: str, notes: list[str]) -> tuple[str, str | None]:
    """The text without what spreadsheets and tools write above a table, and the separator that it names, if any."""
    if (found := re.match(r"sep=(.)\n", text)) is not None:
        notes.append("its first line says what separates cells")
        return text[found.end() :], found[1]
    if (found := re.match(r"(#.*\n)+", text)) is not None:
        *comments, last = found[0].splitlines()
        below = text[found.end() :]
        if any(0 < last.count(s) == below.partition("\n")[0].count(s) for s in _SEPARATORS if s != " "):
            notes.append("names of the columns in a line of comment")
            below = f"{last.lstrip('# ')}\n{below}"
        else:
            comments.append(last)
        if comments:
            notes.append(f"{len(comments)} lines of comment at the top left out")
        return below, None
    return text, None


def _without_lone_lines(text: str, separator: str, quote: str, notes: list[str]) -> str:
    """The text without the lines above and below the table, such as a title, a source or a note."""
    lengths = collections.Counter(len(record) for record in itertools.islice(_records(text, separator), _LOOKED_AT))
    lines = text.rstrip("\n").split("\n")
    if separator == " " or not lengths or lengths.most_common(1)[0][0] < 3:
        return text
    ends = [next(_records(line, separator, quote), []) if line.count(quote) % 2 == 0 else ["…", "…"] for line in lines]
    first, last = table_within(ends, notes)
    return "\n".join(lines[first:last]) + "\n"


def table_within(rows: list[list[str]], notes: list[str]) -> tuple[int, int]:
    """Where a table begins and ends: above and below it, only the first cell of a row is filled, with words."""
    first, last = 0, len(rows)

    def lone(row: list[str]) -> bool:
        return not any(row[1:]) and bool(np.isnan(parsed(np.array(row[:1] or [""], dtype=str))).all())

    while first < last and max(map(len, rows)) > 2 and lone(rows[first]):
        first += 1
    while first < last and max(map(len, rows)) > 2 and lone(rows[last - 1]):
        last -= 1
    if said := [row[0] for row in (*rows[:first], *rows[last:]) if any(row)]:
        notes.append(f"lines above or below the table left out: {few(said)}")
    return first, last


def _with_row_names(text: str, separator: str, quote: str, notes: list[str]) -> str:
    """The text with a name for its first column where the first row, as R writes it, has one cell fewer than all."""
    lengths = [len(record) for record in itertools.islice(_records(text, separator, quote), _LOOKED_AT)]
    if len(lengths) < 2 or set(lengths[1:]) != {lengths[0] + 1}:
        return text
    if all(not record[-1] for record in list(_records(text, separator, quote))[1:]):
        head, _, body = text.partition("\n")
        return f"{head}{separator}\n{body}"
    notes.append("its first row has one name fewer than there are columns: the first column has none")
    return f"{quote}{quote}{separator}{text}"


def _separator(text: str) -> str:
    """What separates the cells: the first of `_SEPARATORS` by which rows fall into equal numbers of them, above one."""
    agreed: dict[str, tuple[float, int]] = {}
    for candidate in _SEPARATORS:
        try:
            records = list(itertools.islice(_records(text, candidate), _LOOKED_AT))
        except csv.Error:
            continue
        if candidate == "\t" and any(_SEVERAL.fullmatch(cell) for record in records[:1] for cell in record):
            continue  # blanks and tabs together
        if (
            candidate == " "
            and sum(cell[-1:] in (",", ";") for record in records for cell in record) >= len(records) - 1
        ):
            continue  # blanks behind another separator
        lengths = [len(record) for record in records]
        (length, times), *_ = collections.Counter(lengths).most_common(1) or [(0, 0)]
        if length > 1:
            agreed[candidate] = (times / len(lengths), -list(_SEPARATORS).index(candidate))
    return max(agreed, key=lambda s: agreed[s]) if agreed else ","


def _records(text: str, separator: str, quote: str = '"') -> Iterator[list[str]]:
    """The rows of a text as lists of cells, without empty ones."""
    if separator == " ":
        text = "\n".join(line.replace("\t", " ").strip() for line in text.splitlines())
    cells = csv.reader(io.StringIO(text), delimiter=separator, skipinitialspace=True, quotechar=quote)
    return (row for row in cells if row)


def _is_header(rows: Any, notes: list[str]) -> bool:
    """Whether a first row holds names: it does unless a cell of it is a number, or most come again below themselves."""
    first = rows[0]
    again = sum(str(cell) in set(rows[1:1000, j]) for j, cell in enumerate(first) if str(cell).strip())
    if len(rows) > 2 and 2 * again > len(first):
        notes.append(
            f"no header: {again} cells of its first row come again below (dataset.header=true takes it as names)"
        )
        return False
    values = parsed(np.array([str(cell).replace(",", ".") for cell in first]))
    numbers = ~np.isnan(values)
    if numbers.sum() > 1 and not again and (np.diff(values[numbers]) == 1).all() and not numbers[[0, -1]].any():
        notes.append(f"the first row holds names, {values[numbers][0]:g} and on among them (else dataset.header=false)")
        return True
    if numbers.any():
        number = str(first[int(numbers.argmax())]).strip()
        notes.append(f"no header: its first row holds a number, {number} (dataset.header=true takes it as names)")
    return not numbers.any()


def of_cells(file: Path, rows: Any, header: bool | None, notes: list[str], *, comma_separates: bool) -> FileTable:
    """A table of cells as spelled, of which the first row may hold names."""
    empty = ~(rows.astype(str) != "").any(1) if len(rows) else np.zeros(0, dtype=bool)
    if empty.any():
        notes.append(f"{int(empty.sum())} empty rows left out")
        rows = rows[~empty]
    named = len(rows) > 0 and (_is_header(rows, notes) if header is None else header)
    if len(rows) < 1 + named:
        raise UserError(f"{file} must hold rows, found none.")
    names = [str(cell).strip() for cell in rows[0]] if named else [f"column_{j}" for j in range(rows.shape[1])]
    columns = [rows[named:, j].astype(str) for j in range(rows.shape[1])]
    return table_of(file, names, columns, notes, comma_separates=comma_separates)


def table_of(file: Path, names: list[str], columns: list[Any], notes: list[str], *, comma_separates: bool) -> FileTable:
    """A table without empty columns."""
    empty = [j for j, c in enumerate(columns) if not names[j] and c.dtype.kind in "US" and np.isin(c, MISSING).all()]
    kept = [j for j in range(len(names)) if j not in empty]
    if empty:
        notes.append(f"{len(empty)} empty column without a name left out")
    names, columns = [names[j] for j in kept], [columns[j] for j in kept]
    if names and re.fullmatch(r"(Unnamed: 0(\.\d+)?)?", names[0]) and counts_rows(columns[0]):
        notes.append("the first column has no name and counts the rows: left out")
        names, columns = names[1:], columns[1:]
    names = [name or f"column_{j}" for j, name in enumerate(names)]
    return FileTable(file, names, columns, [None] * len(names), (), comma_separates, notes)


def counts_rows(cells: Any) -> bool:
    """Whether a column counts its rows from 0 or 1."""
    numbers = parsed(cells if cells.dtype.kind in "US" else spelled(cells))
    return bool(np.isin(numbers[0], (0, 1)) and (np.diff(numbers) == 1).all())


def reason(error: Exception) -> str:
    """The last line of what a library says."""
    text = " ".join(str(error).split()).removeprefix("Error tokenizing data. C error: ")
    return (text or type(error).__name__).rstrip(".")
