"""ARFF, the table format of Weka, Mulan and MEKA, dense and sparse, read into a `FileTable`.

The header declares each column as numeric, as a list of words, or as text or a date, which are left out and said. A
row's values are separated by commas, else by blanks or tabs; or it is sparse: `{index value, ...}`, where what is not
named is zero (for a column of words: its first word). Mulan lists the labels in an XML file beside, MEKA counts them in
the relation's name (`-C 6`: the first six columns; `-C -6`: the last). No library of the format is well kept any more.
"""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from xentlab.data.columns import FileTable, few
from xentlab.data.delimited import read_text
from xentlab.errors import UserError

_NUMERIC = ("numeric", "real", "integer")
_LEFT_OUT = ("string", "date")
_QUOTED = r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*\""""
_ATTRIBUTE = re.compile(rf"@attribute\s+({_QUOTED}|(?:\\.|[^\s'\"{{])+)\s*(.+)", re.IGNORECASE)
_VALUE = re.compile(rf"\s*({_QUOTED}|(?:\\.|[^,\\]|\\$)*?)\s*(,|$)")
_VALUE_BY_BLANKS = re.compile(rf"({_QUOTED}|\S+)")
_WEIGHT = re.compile(r"[,\s]\s*\{\s*[\d.eE+-]+\s*\}\s*$")
_MEKA = re.compile(r"-C\s+(-?\d+)")


def read_arff(file: Path) -> FileTable:
    """The columns of an ARFF file as it spells them.

    Raises:
        UserError: a line is not ARFF, a column's type is unknown, or a row has another length.
    """
    notes: list[str] = []
    names: list[str] = []
    levels: list[list[str] | None] = []
    skipped: dict[int, str] = {}
    rows: list[list[str]] = []
    relation, in_data, weighted = "", False, 0
    for number, raw in enumerate(read_text(file, notes).splitlines(), 1):
        line = raw.strip()
        if not line or line.startswith("%"):
            continue
        where = f"{file}, line {number},"
        if in_data:
            dense = not line.startswith("{")
            if found := _WEIGHT.search(line) if dense else re.search(r"\}(\s*,\s*\{[^{}]*\})$", line):
                weighted += 1
                line = line[: found.start() if dense else found.start(1)].rstrip()
            row = _dense(line, len(names)) if dense else _sparse(line, levels, where)
            if len(row) != len(names):
                raise UserError(f"{where} must hold {len(names)} values, found {len(row)}.")
            rows.append(row)
        elif line.lower().startswith("@attribute"):
            name, kind, level = _attribute(line, where)
            if kind in _LEFT_OUT:
                skipped[len(names)] = f"{name} ({kind})"
            names.append(name)
            levels.append(level)
        elif line.lower().startswith("@data"):
            in_data = True
        elif line.lower().startswith("@relation"):
            relation = line
        else:
            raise UserError(f"{where} must begin with @relation, @attribute or @data, found '{line[:40]}'.")
    if not rows:
        raise UserError(f"{file} must hold rows after a line @data, found none.")
    if weighted:
        notes.append(f"instance weights of {weighted} rows are not used")
    if skipped:
        notes.append(f"left out, neither number nor list of words: {few(list(skipped.values()))}")
    kept = [j for j in range(len(names)) if j not in skipped]
    columns = [np.array([row[j] for row in rows]) for j in kept]
    labels = _meka_labels(relation, names) or _mulan_labels(file, names, notes)
    return FileTable(
        file, [names[j] for j in kept], columns, [levels[j] for j in kept], labels, comma_separates=True, notes=notes
    )


def _meka_labels(relation: str, names: list[str]) -> tuple[str, ...]:
    """The label columns that MEKA's `-C` in the relation's name counts."""
    found = _MEKA.search(relation)
    count = int(found[1]) if found else 0
    if not 0 < abs(count) < len(names):
        return ()
    return tuple(names[:count] if count > 0 else names[count:])


def _mulan_labels(file: Path, names: list[str], notes: list[str]) -> tuple[str, ...]:
    """The labels that an XML file beside lists, nested ones included; empty where there is none.

    It is called as the table, or as the table without `-train` or `-test` at its end.
    """
    stems = dict.fromkeys((file.stem, re.sub(r"[-_.]?(train|test)$", "", file.stem, flags=re.IGNORECASE)))
    for stem in stems:
        listing = file.with_name(f"{stem}.xml")
        if not listing.is_file():
            continue
        try:
            tree = ElementTree.parse(listing)
        except ElementTree.ParseError as error:
            raise UserError(f"{listing} must list the labels as XML, but cannot be read ({error}).") from error
        found = tuple(e.attrib["name"] for e in tree.iter() if e.tag.endswith("label") and "name" in e.attrib)
        lacking = [name for name in found if name not in names]
        if lacking:
            raise UserError(f"{listing} must list columns of {file.name}, which has no '{lacking[0]}'.")
        notes.append(f"{len(found)} labels listed in {listing.name}")
        return found
    return ()


def _attribute(line: str, where: str) -> tuple[str, str, list[str] | None]:
    """The name that a line declares, its kind, and the words that it may hold."""
    match = _ATTRIBUTE.fullmatch(line)
    if match is None:
        raise UserError(f"{where} must read '@attribute name type', found '{line[:40]}'.")
    name, kind = _unquoted(match[1]), match[2].strip()
    if kind.startswith("{") and kind.endswith("}"):
        return name, "words", _split(kind[1:-1])
    word = kind.lower().split()[0]
    if word not in (*_NUMERIC, *_LEFT_OUT):
        raise UserError(f"{where} must declare a number or a list of words in braces, found type '{kind}'.")
    return name, word, None


def _dense(line: str, length: int) -> list[str]:
    """The values of a row: separated by commas where there are any, else by blanks; one comma too many is let go."""
    if re.sub(_QUOTED, "", line).count(","):
        row = _split(line)
        return row[:-1] if len(row) == length + 1 and not row[-1] else row
    row = [_unquoted(word) for word in _VALUE_BY_BLANKS.findall(line)]
    return row if len(row) == length or length > 1 else [line]


def _split(line: str) -> list[str]:
    """The values between commas, with either kind of quotes taken off."""
    values, place = list[str](), 0
    while (match := _VALUE.match(line, place)) is not None:
        values.append(_unquoted(match[1]))
        place = match.end()
        if not match[2]:
            break
    return values


def _unquoted(word: str) -> str:
    word = word[1:-1] if len(word) > 1 and word[0] == word[-1] and word[0] in "'\"" else word
    return re.sub(r"\\(.)", r"\1", word)


def _sparse(line: str, levels: list[list[str] | None], where: str) -> list[str]:
    row = ["0" if words is None else words[0] for words in levels]
    if not line.endswith("}"):
        raise UserError(f"{where} must end with a brace, as it begins with one, found '{line[-20:]}'.")
    for entry in _split(line[1:-1]) if line[1:-1].strip() else []:
        index, _, value = entry.replace("\t", " ").partition(" ")
        if not index.isdigit() or int(index) >= len(row) or not value.strip():
            raise UserError(f"{where} must hold entries 'index value' with indices below {len(row)}, found '{entry}'.")
        row[int(index)] = _unquoted(value.strip())
    return row
