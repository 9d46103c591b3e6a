"""How people spell numbers and dates, and what only looks so: read by a rule that explains every cell, or named."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

_NUMBER = r"[+-]?(?:\d[\d.,]*|\.\d+)(?:[eE][+-]?\d+)?"
# Each rule: the cells that it explains, how they are rewritten, and what is said of it.
_RULES: tuple[tuple[re.Pattern[str], Callable[[str], str], str], ...] = (
    (re.compile(r"−[\d.,]+"), lambda cell: "-" + cell[1:], "a long minus sign"),
    (
        re.compile(r"[+-]?\d{1,3}(?:[ \u00a0\u202f'’]\d{3})+(?:[.,]\d*)?"),
        lambda cell: re.sub(r"[ \u00a0\u202f'’]", "", cell),
        "blanks or apostrophes separate thousands",
    ),
    (re.compile(r"[+-]?[\d.]+[dD][+-]?\d+"), lambda cell: re.sub("[dD]", "e", cell), "D stands before the exponent"),
    (re.compile(r"\([€$£¥]?[\d.,]+\)"), lambda cell: "-" + cell[1:-1], "parentheses stand for a minus sign"),
    (re.compile(r"[\d.,]+-"), lambda cell: "-" + cell[:-1], "minus signs stand behind"),
    (re.compile(r"\d{1,2}(?:,\d{2})+,\d{3}(?:\.\d*)?"), lambda cell: cell.replace(",", ""), "commas separate lakhs"),
    (re.compile(r"(?=.*[^\x00-\x7f])[+-]?[\d.]+"), lambda cell: unicodedata.normalize("NFKC", cell), "digits are wide"),
)
_UNIT = re.compile(rf"([+-]?)([€$£¥]?) ?({_NUMBER}) ?(%|[€$£¥]|[A-Za-zµ°][A-Za-zµ°/²³]*)?")
# What of these explains every date of a column is the form of its dates.
_DATES = (
    "%Y/%m/%d", "%d.%m.%Y", "%d.%m.%y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y", "%d/%m/%y", "%m/%d/%y",
    "%d %B %Y", "%d %b %Y", "%d-%b-%Y", "%d-%b-%y", "%B %d, %Y", "%b %d, %Y", "%Y-%m",
)  # fmt: skip
_TIMES = ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p")
_ISO_DATE = re.compile(r"\d{4}-\d{2}-\d{2}([ T]\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:?\d{2})?)?")
_SENTINEL = re.compile(r"-?9{2,}(\.0*)?")
_WORD_OF_MONTH = r"[A-Za-z]{3,9}\.?"
# What no rule turns into a number: the cells, and what they are.
_ODD_KINDS = (
    (re.compile(r"\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?( ?[AaPp]\.?[Mm]\.?)?"), "times of day"),
    (re.compile(r"\d{1,4}[/.]\d{1,2}[/.]\d{2,4}( \d{1,2}:\d{2}(:\d{2})?)?"), "dates"),
    (re.compile(rf"\d{{1,2}}[ .-]+{_WORD_OF_MONTH}[ ,-]+\d{{2,4}}|{_WORD_OF_MONTH} \d{{1,2}},? \d{{4}}"), "dates"),
    (re.compile(r"\d+:[-+\d.eE]+"), "pairs of an index and a value, as of a sparse libsvm file"),
    (re.compile(r"[\[({].*[\])}]"), "lists"),
    (re.compile(rf"{_NUMBER} ?(±|\+/-) ?{_NUMBER}"), "numbers with an error beside"),
    (re.compile(r"0[xX][0-9a-fA-F]+"), "hexadecimal numbers"),
    (re.compile(r"\d+' ?(\d+(\.\d+)?(\"|'')?)?"), "feet and inches"),
    (re.compile(rf"{_NUMBER} [A-Za-zµ°/²³]+"), "numbers of different units"),
)
# What makes a cell among numbers no number: the first that is found in it.
_CAUSES = (
    (re.compile(r"^(?=.*\d)[+-]?[\d.,]*[OolI][\d.,OolI]*$"), "a letter in a digit's place"),
    (re.compile(r"^#"), "an error value of a spreadsheet"),
    (re.compile(r"%"), "a percent sign"),
    (re.compile(r"[€$£¥]"), "a currency sign"),
    (re.compile(r"^[<>≤≥~]"), "a bound in a number's place"),
    (re.compile(r"^[+-]?[\d.,]+\s*[A-Za-zµ°/²³]+$"), "a number with a unit"),
    (re.compile(r"\..*\."), "two decimal points"),
    (re.compile(r","), "a comma in one number alone"),
    (re.compile(r"\d\s+\d"), "a blank inside the number"),
)


def respelled(cells: Sequence[str]) -> tuple[list[str], str] | None:
    """Cells that are no plain numbers as such, and the rule that explains every one of them; None where none does."""
    for pattern, rewrite, said in _RULES:
        if cells and all(map(pattern.fullmatch, cells)):
            return [rewrite(cell) for cell in cells], f"{said}, as in {cells[0]}"
    return None


def without_unit(cells: Sequence[str]) -> tuple[list[str], str] | None:
    """The numbers of a column in which every cell has the same unit or currency, and what is said of it."""
    found = [_UNIT.fullmatch(cell) for cell in cells]
    units = {match.group(2) + (match.group(4) or "") if match is not None else "" for match in found}
    if len(units) != 1 or units == {""}:
        return None
    numbers = [match[1] + match[3] for match in found if match is not None]
    return numbers, f"{units.pop()} stands by every number, as in {cells[0]}"


def days_of(cells: Sequence[str]) -> tuple[list[float], str] | None:
    """Dates as days since 1970, and in which form they are written; None where they are no dates, or of two forms.

    Raises:
        ValueError: a date that does not exist.
    """
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    if cells and all(map(_ISO_DATE.fullmatch, cells)):
        days = []
        for cell in cells:
            try:
                read = datetime.fromisoformat(cell)
            except ValueError as error:
                raise ValueError(cell) from error
            days.append((read if read.tzinfo else read.replace(tzinfo=UTC)) - epoch)
        return [day / timedelta(days=1) for day in days], "dates, taken as days since 1970"
    if not cells or not re.search(r"\d", cells[0]):
        return None
    forms = [date + time for date in _DATES for time in _TIMES]
    for cell in dict.fromkeys(cells):
        forms = [form for form in forms if _moment(cell, form) is not None]
        if not forms:
            return None
    if len(forms) > 1:
        return None
    days = [(_moment(cell, forms[0]) or epoch) - epoch for cell in cells]
    said = f"dates written {forms[0]}, as in {cells[0]}, taken as days since 1970"
    return [day / timedelta(days=1) for day in days], said


def _moment(cell: str, form: str) -> datetime | None:
    try:
        return datetime.strptime(cell, form).replace(tzinfo=UTC)
    except ValueError:
        return None


def doubts(cells: Sequence[str], values: NDArray[np.float64]) -> Iterator[str]:
    """What a column of numbers may mean instead."""
    present = values[np.isfinite(values)]
    padded = [cell for cell in cells if re.fullmatch(r"0\d+", cell)]
    if padded:
        yield f"zeros stand before numbers, as in {padded[0]}: dataset.categorical keeps them, as words"
    if any(len(cell) > 16 and cell.isdigit() for cell in cells):
        yield "whole numbers of 17 digits or more, of which the last are lost"
    whole = len(np.unique(present)) > 1 and present.min() >= 19000101 and present.max() <= 21001231
    if whole and all(_moment(cell, "%Y%m%d") for cell in cells):
        yield f"numbers that may be dates, such as {cells[0]}: written 2026-04-03 they are read as dates"
    for edge in (present.min(), present.max()) if present.size else ():
        others = present[present != edge]
        spelt = next(cell for cell, value in zip(cells, values, strict=True) if value == edge)
        if others.size and _SENTINEL.fullmatch(spelt) and np.abs(edge - others).min() > np.ptp(others):
            yield f"{spelt} in {int((present == edge).sum())} rows may stand for a missing number"


def odd_kind(cells: Sequence[str]) -> str | None:
    """What a column of words holds that is nearly numbers, such as times of day; None where they are just words."""
    return next((what for pattern, what in _ODD_KINDS if cells and all(map(pattern.fullmatch, cells))), None)


def cause(cell: str) -> str:
    """What makes a cell among numbers no number, most likely."""
    usual = "a word for a missing value, or a slip" if cell.isalpha() else "a slip of the pen"
    return next((why for pattern, why in _CAUSES if pattern.search(cell)), usual)
