"""The files of a table: found, read by what they end in, and a second one laid below the first as its test set."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from xentlab.data.arff import read_arff
from xentlab.data.columns import FileTable, few
from xentlab.data.delimited import TEXT_SUFFIXES, read_delimited, read_text
from xentlab.data.frames import FRAME_SUFFIXES, read_frame, read_sheet
from xentlab.data.npz import read_npz
from xentlab.errors import UserError


def existing(path: str, knob: str) -> Path:
    """A file by its path, which may begin with ~.

    Raises:
        UserError: there is none.
    """
    file = Path(path)
    if not file.is_file():  # a name may begin with ~ itself
        file = Path(os.path.expanduser(path))
    if not file.is_file():
        raise UserError(f"dataset.{knob} must be a file that exists, got {path}.")
    return file


def read_table(file: Path, *, header: bool | None, delimiter: str | None) -> FileTable:
    """The cells of a file of any of the known formats."""
    suffixes = [suffix.lower() for suffix in file.suffixes[-2:]]
    last = suffixes[-1] if suffixes else ""
    if last == ".npz":
        return read_npz(file)
    if ".arff" in suffixes or (last in TEXT_SUFFIXES and read_text(file, [])[:9].lower() == "@relation"):
        return read_arff(file)
    if last in FRAME_SUFFIXES:
        return read_frame(file) if last == ".parquet" else read_sheet(file, header=header)
    if last in TEXT_SUFFIXES or (last == ".gz" and suffixes[0] in TEXT_SUFFIXES):
        return read_delimited(file, header=header, delimiter=delimiter)
    known = ", ".join((*TEXT_SUFFIXES, ".arff", *FRAME_SUFFIXES, ".npz"))
    raise UserError(f"dataset.path must end in one of {known}, the text ones also in .gz, got {file.name}.")


def one_table(tables: Sequence[FileTable]) -> FileTable:
    """The rows of one or two files as one table."""
    first = tables[0]
    notes = list(dict.fromkeys(note for t in tables for note in t.notes))
    for other in tables[1:]:
        if set(other.names) != set(first.names):
            lacking = [name for name in first.names if name not in other.names]
            found = f"{few(other.names)}{f', without {few(lacking)}' * bool(lacking)}"
            raise UserError(f"{other.file} must have the columns of {first.file}, found {found}.")
        seen = set(zip(*(cells.tolist() for cells in first.columns), strict=True))
        ordered = (other.columns[other.names.index(name)].tolist() for name in first.names)
        if again := sum(row in seen for row in zip(*ordered, strict=True)):
            notes.append(f"{again} rows of {other.file.name} stand in {first.file.name} too")
    columns = [np.concatenate([t.columns[t.names.index(name)] for t in tables]) for name in first.names]
    return FileTable(first.file, first.names, columns, first.levels, first.labels, first.comma_separates, notes)
