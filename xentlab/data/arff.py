"""ARFF, the table format of Weka and Mulan, dense and sparse, read into columns of numbers and words.

The header declares each column as numeric or as a list of words; a row is comma-separated, or sparse: `{index value,
...}`, where what is not named is zero (for a column of words: its first word). A Mulan file has its labels listed in
an XML file of the same stem.
"""

from __future__ import annotations

import csv
import re
from pathlib import Path
from xml.etree import ElementTree

from xentlab.errors import UserError

_NUMERIC = ("numeric", "real", "integer")
_ATTRIBUTE = re.compile(r"""@attribute\s+('(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|[^\s'"]+)\s+(.+)""", re.IGNORECASE)


def read_arff(file: Path) -> tuple[list[str], list[list[str] | None], list[list[str]]]:
    """The columns' names, the words that each may hold (None: a number), and the columns, as the file spells them.

    Raises:
        UserError: a line is not ARFF, a column's type is not a number or a list of words, or a row has another length.
    """
    names: list[str] = []
    levels: list[list[str] | None] = []
    rows: list[list[str]] = []
    in_data = False
    with file.open(encoding="utf-8", newline="") as stream:
        for number, raw in enumerate(stream, 1):
            line = raw.strip()
            if not line or line.startswith("%"):
                continue
            where = f"{file}, line {number},"
            if in_data:
                rows.append(_sparse(line, levels, where) if line.startswith("{") else _words(line))
                if len(rows[-1]) != len(names):
                    raise UserError(f"{where} must hold {len(names)} values, found {len(rows[-1])}.")
            elif line.lower().startswith("@attribute"):
                name, kind = _attribute(line, where)
                names.append(name)
                levels.append(kind)
            elif line.lower() == "@data":
                in_data = True
            elif not line.lower().startswith("@relation"):
                raise UserError(f"{where} must begin with @relation, @attribute or @data, found '{line[:40]}'.")
    if not rows:
        raise UserError(f"{file} must hold rows after a line @data, found none.")
    return names, levels, [list(column) for column in zip(*rows, strict=True)]


def mulan_labels(file: Path) -> tuple[str, ...]:
    """The label names that `<stem>.xml` beside an ARFF file lists, nested ones included; empty where there is none."""
    listing = file.with_suffix(".xml")
    if not listing.is_file():
        return ()
    try:
        tree = ElementTree.parse(listing)
    except ElementTree.ParseError as error:
        raise UserError(f"{listing} must list the labels as XML, but cannot be read ({error}).") from error
    return tuple(e.attrib["name"] for e in tree.iter() if e.tag.endswith("label") and "name" in e.attrib)


def _attribute(line: str, where: str) -> tuple[str, list[str] | None]:
    match = _ATTRIBUTE.fullmatch(line)
    if match is None:
        raise UserError(f"{where} must read '@attribute name type', found '{line[:40]}'.")
    name, kind = _unquoted(match[1]), match[2].strip()
    if kind.startswith("{") and kind.endswith("}"):
        return name, _words(kind[1:-1])
    if kind.lower().split()[0] not in _NUMERIC:
        raise UserError(f"{where} must declare a number or a list of words in braces, found type '{kind}'.")
    return name, None


def _words(line: str) -> list[str]:
    """The comma-separated values of a line, with either kind of quotes taken off."""
    quote = "'" if "'" in line else '"'
    row = next(csv.reader([line], quotechar=quote, escapechar="\\", skipinitialspace=True))
    return [word.strip() for word in row]


def _unquoted(word: str) -> str:
    return re.sub(r"\\(.)", r"\1", word[1:-1]) if word[0] in "'\"" else word


def _sparse(line: str, levels: list[list[str] | None], where: str) -> list[str]:
    row = ["0" if words is None else words[0] for words in levels]
    if not line.endswith("}"):
        raise UserError(f"{where} must end with a brace, as it begins with one, found '{line[-20:]}'.")
    for entry in _words(line[1:-1]) if line[1:-1].strip() else []:
        index, _, value = entry.partition(" ")
        if not index.isdigit() or int(index) >= len(row) or not value.strip():
            raise UserError(f"{where} must hold entries 'index value' with indices below {len(row)}, found '{entry}'.")
        row[int(index)] = _unquoted(value.strip())
    return row
