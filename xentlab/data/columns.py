"""What the columns of a table hold: numbers, words, dates or booleans, each by a stated rule, or one clear refusal.

A reader of files hands back a `FileTable` of cells as spelled; `read_column` says what one column of it is. A guess is
either right by a rule and said in the table's notes, or refused with the cell that speaks against it and the way on.
"""

from __future__ import annotations

import collections
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from xentlab.data.spellings import cause, days_of, doubts, odd_kind, respelled, without_unit
from xentlab.errors import UserError

MISSING = ("", "?", "NA", "N/A", "n/a", "#N/A", "NaN", "nan", "NaT", "<NA>", "NULL", "null", "(null)", "\\N")
# Between numbers these stand for a missing one too; among words they may be words.
_MISSING_NUMBERS = (
    "-", "--", ".", "*", "none", "None", "NONE", "nil", "na", "N.A.", "n.a.", "missing", "unknown", "Unknown",
)  # fmt: skip
_BOOLEANS = (("false", "true"), ("no", "yes"), ("f", "t"), ("n", "y"))
_GROUPED = re.compile(r"[+-]?[0-9]{1,3}(,[0-9]{3})+")
_THOUSANDS = re.compile(r"[+-]?[0-9]{1,3}(,[0-9]{3})+(\.[0-9]*)?")
_DECIMAL_COMMA = re.compile(r"[+-]?([0-9]+|[0-9]{1,3}(\.[0-9]{3})+)(,[0-9]*)?([eE][+-]?[0-9]+)?")
_FLOAT32_MAX = float(np.finfo(np.float32).max)

Decimal = Literal["auto", ".", ","]


@dataclass(frozen=True)
class FileTable:
    """One file: D columns of N cells.

    Attributes:
        file: where it lies.
        names: of the columns, all different.
        columns: each [N], text as spelled or numbers.
        levels: for each column the words that the file declares it may hold, or None.
        labels: the label columns that the file itself names, as Mulan's and MEKA's do.
        comma_separates: whether commas stand between cells, so that one inside a number is no decimal comma.
        notes: what was recognised while reading, one clause each.
    """

    file: Path
    names: list[str]
    columns: list[NDArray[Any]]
    levels: list[list[str] | None]
    labels: tuple[str, ...] = ()
    comma_separates: bool = True
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        twice = [name for name, times in collections.Counter(self.names).items() if times > 1]
        if twice:
            raise UserError(f"{self.file} must have columns of different names, found {few(twice)} more than once.")


@dataclass(frozen=True)
class NumberColumn:
    """A column of N finite float64, NaN where a value is missing."""

    values: NDArray[np.float64]


@dataclass(frozen=True)
class WordColumn:
    """A column of N indices into its different words, -1 where one is missing."""

    index: NDArray[np.int64]
    vocabulary: list[str]


def few(names: Sequence[str]) -> str:
    """The first names of a long list, and how many there are."""
    return ", ".join(names[:8]) + (f", ... ({len(names)} in all)" if len(names) > 8 else "")


def gathered(notes: Sequence[str]) -> list[str]:
    """The notes with what is said of more than eight columns alike said once."""
    alike: dict[str, list[str]] = {}
    for note in notes:
        alike.setdefault(re.sub(r"column .*?(: | (?=is |counts ))|, as in .*", "", note), []).append(note)
    return [said for key, ones in alike.items()
            for said in (ones if len(ones) <= 8 else [*ones[:2], f"{len(ones) - 2} more columns: {key}"])]  # fmt: skip


def refuse_missing(table: FileTable, column: int, missing: NDArray[np.bool_], way: str) -> None:
    """Refuse a column with missing values, with the way on.

    Raises:
        UserError: there are some.
    """
    if missing.any():
        row = int(missing.argmax())
        cell = str(table.columns[column][row]).strip()
        raise UserError(
            f"{table.file} must hold a value in every row of column '{table.names[column]}', found "
            f"{int(missing.sum())} missing, the first in row {row + 1}{f' ({cell})' if cell else ''}: {way}."
        )


def read_column(table: FileTable, column: int, *, decimal: Decimal, spelt: bool = False) -> NumberColumn | WordColumn:
    """What a column of the table holds; what was recognised by a rule is added to the table's notes.

    Args:
        decimal: what stands before the decimals; `auto` recognises a decimal comma by its cells.
        spelt: whether the column is to be taken as words whatever it holds.

    Raises:
        UserError: the column is nearly numeric, holds infinite values, or commas or dates that can be read two ways.
    """
    name, cells = table.names[column], table.columns[column]
    if cells.dtype.kind not in "US":
        if spelt:
            cells = spelled(cells)
        else:
            return NumberColumn(_finite(table, name, cells.astype(np.float64), cells))
    cells = np.char.strip(cells.astype(str))
    missing = np.isin(cells, MISSING)
    if not spelt:
        numbers = _numbers(table, name, cells, missing, decimal)
        if numbers is not None:
            return numbers
        if table.levels[column] is None:
            present = cells[~missing].tolist()
            if (known := _booleans(table, name, cells, missing)) is not None:
                return known
            try:
                found = days_of(present)
            except ValueError as error:
                raise UserError(
                    f"Column '{name}' of {table.file} must hold dates that exist, found {error}."
                ) from error
            if found is not None:
                days = np.full(len(cells), np.nan)
                days[~missing] = found[0]
                table.notes.append(f"column {name}: {found[1]}")
                return NumberColumn(days)
            if (what := odd_kind(present)) is not None:
                raise UserError(
                    f"Column '{name}' of {table.file} must hold numbers, words or dates such as 2026-04-03, found "
                    f"{what}, such as {present[0]}: write them so, leave the column out with dataset.drop=[{name}], or "
                    f"take its values as words with dataset.categorical=[{name}]."
                )
    return _word_column(table, column, cells, missing)


def spelled(values: NDArray[Any]) -> NDArray[np.str_]:
    """Numbers as text, whole ones without a point; missing ones as nothing."""
    if values.dtype.kind in "iub":
        return values.astype(str)
    return np.array(["" if np.isnan(v) else f"{v:.0f}" if float(v).is_integer() else repr(float(v)) for v in values])


def parsed(cells: NDArray[np.str_]) -> NDArray[np.float64]:
    """Plain numbers as float64, NaN for whatever is none."""
    import pandas

    return np.asarray(pandas.to_numeric(pandas.Series(cells, dtype=object), errors="coerce"), dtype=np.float64)


def _numbers(
    table: FileTable, name: str, cells: NDArray[np.str_], missing: NDArray[np.bool_], decimal: Decimal
) -> NumberColumn | None:
    """The column as numbers, or None where it holds words."""
    present = cells[~missing]
    if not len(present):
        return NumberColumn(np.full(len(cells), np.nan))
    present = _plainly(table, name, present)
    values = parsed(np.char.replace(present, ",", "~") if decimal == "," else present)
    odd = np.isnan(values)
    if decimal == "," or odd.any():
        rewritten = _with_commas(table, name, present, odd, decimal)
        if rewritten is not None:
            values = parsed(rewritten)
            odd = np.isnan(values)
    gone = odd & np.isin(present, _MISSING_NUMBERS)
    odd &= ~gone
    if odd.all() or (odd.sum() > (~odd & ~gone).sum()):
        return None
    if odd.any():
        places = np.flatnonzero(~missing)
        row = int(places[int(odd.argmax())]) + 1
        cell = str(present[int(odd.argmax())])
        place = {1: "more names, or a unit", len(cells): "a line below the table"} if odd.sum() == 1 else {}
        why = place.get(row, cause(cell)) if cell[0].isalpha() and len(cells) > 9 else cause(cell)
        raise UserError(
            f"Column '{name}' of {table.file} must hold numbers or words: {int((~odd).sum())} of its {len(present)} "
            f"values are numbers, but row {row} holds '{cell}' ({why}). Mend the file, leave the column out "
            f"with dataset.drop=[{name}], or take its values as words with dataset.categorical=[{name}]."
        )
    if gone.any():
        words = sorted(set(present[gone].tolist()))
        table.notes.append(f"column {name}: {few(words)} stands for a missing number in {int(gone.sum())} rows")
    result = np.full(len(cells), np.nan)
    result[~missing] = values
    table.notes.extend(f"column {name}: {said}" for said in doubts(present.tolist(), values))
    return NumberColumn(_finite(table, name, result, cells))


def _plainly(table: FileTable, name: str, present: NDArray[np.str_]) -> NDArray[np.str_]:
    """The cells without what stands by every number, or what some of them are spelled with, where one rule says so."""
    known = np.isin(present, _MISSING_NUMBERS)
    for which, rule in (("(", respelled), ("all", without_unit), ("strange", respelled)):
        strange = np.isnan(parsed(present)) & ~known
        chosen = {"(": strange & np.char.startswith(present, "("), "all": ~known, "strange": strange}[which]
        found = rule(present[chosen].tolist()) if strange.any() else None
        if found is not None:
            present = present.astype(object)
            present[chosen] = found[0]
            table.notes.append(f"column {name}: {found[1]}")
            present = present.astype(str)
    return present


def _with_commas(
    table: FileTable, name: str, present: NDArray[np.str_], odd: NDArray[np.bool_], decimal: Decimal
) -> NDArray[np.str_] | None:
    """The cells with their commas read as decimals or as thousands, None where commas explain none of them."""
    strange = [cell for cell in present[odd].tolist() if cell not in _MISSING_NUMBERS]
    grouped = all(_THOUSANDS.fullmatch(cell) for cell in strange)
    decimals = all(_DECIMAL_COMMA.fullmatch(cell) for cell in present.tolist() if cell not in _MISSING_NUMBERS)
    if decimal == "." or (decimal == "auto" and grouped and table.comma_separates):
        if not strange or not grouped:
            return None
        table.notes.append(f"column {name}: commas separate thousands, as in {strange[0]}")
        return np.char.replace(present, ",", "")
    if not decimals or (decimal == "auto" and not strange):
        return None
    if decimal == "auto" and all(_GROUPED.fullmatch(cell) for cell in strange):
        raise UserError(
            f"Column '{name}' of {table.file} must say whether {strange[0]} has decimals or thousands: "
            'dataset.decimal="," or dataset.decimal=".".'
        )
    if strange:
        table.notes.append(f"column {name}: decimal commas, as in {strange[0]}")
    return np.char.replace(np.char.replace(present, ".", ""), ",", ".")


def _finite(table: FileTable, name: str, values: NDArray[np.float64], cells: NDArray[Any]) -> NDArray[np.float64]:
    """The values, none of which may be infinite or beyond float32."""
    wild = np.abs(values) > _FLOAT32_MAX
    if wild.any():
        row = int(wild.argmax())
        text = str(cells[row])
        what = "is infinite" if re.search(r"inf", text, re.IGNORECASE) else "lies beyond float32 (3.4e38)"
        raise UserError(f"Column '{name}' of {table.file} must hold finite numbers: row {row + 1} {what}, {text}.")
    return values


def _booleans(table: FileTable, name: str, cells: NDArray[np.str_], missing: NDArray[np.bool_]) -> NumberColumn | None:
    """The column as 0 and 1 where it holds both words of a pair such as no and yes, in any case."""
    lower = np.char.lower(cells)
    found = set(lower[~missing].tolist())
    for no, yes in _BOOLEANS:
        if found == {no, yes}:
            table.notes.append(f"column {name}: {no} is 0, {yes} is 1")
            return NumberColumn(np.where(missing, np.nan, (lower == yes).astype(np.float64)))
    return None


def _word_column(table: FileTable, column: int, cells: NDArray[np.str_], missing: NDArray[np.bool_]) -> WordColumn:
    """The column as indices into its words: the declared ones in their order, else those found, sorted."""
    found = np.unique(cells[~missing]).tolist()
    declared = table.levels[column]
    words = sorted(found, key=_in_order) if declared is None else declared
    strange = [word for word in found if word not in words]
    if strange:
        raise UserError(
            f"{table.file} must hold in column '{table.names[column]}' one of {few(words)}, found '{strange[0]}'."
        )
    position = {word: index for index, word in enumerate(words)}
    return WordColumn(np.array([position.get(cell, -1) for cell in cells.tolist()], dtype=np.int64), list(words))


def _in_order(word: str) -> tuple[int, float, str]:
    """Words that are numbers by their value, then the others by their letters."""
    try:
        return 0, float(word), word
    except ValueError:
        return 1, 0.0, word
