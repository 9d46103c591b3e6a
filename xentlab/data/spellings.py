"""How people spell numbers, and what only looks like one: rewritten by a rule that explains every cell, or named."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

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
)
_UNIT = re.compile(rf"([+-]?)([€$£¥]?) ?({_NUMBER}) ?(%|[€$£¥]|[A-Za-zµ°][A-Za-zµ°/²³]*)?")
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


def odd_kind(cells: Sequence[str]) -> str | None:
    """What a column of words holds that is nearly numbers, such as times of day; None where they are just words."""
    return next((what for pattern, what in _ODD_KINDS if cells and all(map(pattern.fullmatch, cells))), None)


def cause(cell: str) -> str:
    """What makes a cell among numbers no number, most likely."""
    if cell.startswith("#"):
        return "an error value of a spreadsheet"
    if "%" in cell:
        return "a percent sign"
    if any(sign in cell for sign in "€$£¥"):
        return "a currency sign"
    if cell[:1] in "<>≤≥~":
        return "a bound in a number's place"
    if re.fullmatch(r"[+-]?[\d.,]+\s*[A-Za-zµ°/²³]+", cell):
        return "a number with a unit"
    if cell.count(".") > 1:
        return "two decimal points"
    if "," in cell:
        return "a comma in one number alone"
    if re.search(r"\d\s+\d", cell):
        return "a blank inside the number"
    return "a word for a missing value, or a slip" if cell.isalpha() else "a slip of the pen"
