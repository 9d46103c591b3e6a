"""What the target columns of a table hold: one column of classes, as spelled, columns of yes and no, or numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xentlab.data.columns import Decimal, FileTable, NumberColumn, WordColumn, few, read_column, refuse_missing, spelled
from xentlab.errors import UserError, unknown
from xentlab.tasks import Task

# Numbers as classes: with more of them than this, and fewer rows than this for each, they are a quantity.
_MOST_NUMBERS, _ROWS_OF_A_NUMBER = 30, 5
_TARGET_NAMES = ("class", "label", "target", "y")
_WITHOUT = "dataset.impute=drop leaves such rows out"
_TRUTH = {"1": 1, "0": 0, "-1": 0, "true": 1, "false": 0, "yes": 1, "no": 0, "y": 1, "n": 0, "t": 1, "f": 0}


def target_columns(table: FileTable, task: Task, targets: tuple[str, ...], count: int, side: str) -> list[int]:
    """The positions of the target columns, from their names, their number, or what the file itself says."""
    if not targets and not count and task.columns == "labels":
        targets = table.labels
    if targets:
        for target in targets:
            if target not in table.names:
                raise unknown(f"target column of {table.file.name}", target, table.names)
        chosen = [table.names.index(target) for target in targets]
    else:
        if not count and task.columns == "labels":
            raise UserError(
                f"dataset.targets must name the label columns of {table.file}, or dataset.num_targets count them, got "
                "neither."
            )
        asked, count = count > 0 or side == "start", count or 1
        if len(table.names) == 1:
            raise UserError(
                f"{table.file} must hold more than one column, found {table.names[0]} alone: dataset.delimiter says "
                "what separates cells."
            )
        if count >= len(table.names):
            raise UserError(f"dataset.num_targets must be < {len(table.names)}, the number of columns, got {count}.")
        chosen = list(range(count) if side == "start" else range(len(table.names) - count, len(table.names)))
        if task.columns == "class" and not asked:
            _refuse_another(table, chosen[0])
    if task.columns == "class" and len(chosen) != 1:
        raise UserError(f"dataset.targets must be one column for task={task.name}, got {len(chosen)}.")
    return chosen


def _refuse_another(table: FileTable, j: int) -> None:
    """Refuse to take a column for the target where another has a target's name, or is declared to hold classes."""
    named = [name for name in table.names if name.lower() in _TARGET_NAMES]
    if named and table.names[j] not in named:
        raise UserError(
            f"dataset.targets must name the target column of {table.file}, where {few(named)} may be it as well as "
            f"{table.names[j]}."
        )
    worded = [name for name, words in zip(table.names, table.levels, strict=True) if words is not None]
    if worded and table.levels[j] is None and table.file.suffix.lower() == ".arff":
        raise UserError(
            f"dataset.targets must name the target column of {table.file}, which declares {table.names[j]} as numeric "
            f"and has classes in {few(worded)}."
        )


def read_classes(table: FileTable, j: int, known: int) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """The target column as class indices, classes as spelled; the first `known` rows may be trained on."""
    name = table.names[j]
    column = read_column(table, j, decimal="auto", spelt=True)
    assert isinstance(column, WordColumn)
    refuse_missing(table, j, column.index < 0, _WITHOUT)
    if table.levels[j] is None:
        _refuse_quantities(table, name, column.vocabulary, len(column.index))
    counts = np.bincount(column.index[:known], minlength=len(column.vocabulary))
    tested = np.bincount(column.index[known:], minlength=len(column.vocabulary))
    if ((counts == 0) & (tested > 0)).any():
        unseen = column.vocabulary[int(((counts == 0) & (tested > 0)).argmax())]
        known_ones = few(_named(column.vocabulary, counts))
        raise UserError(f"Class '{unseen}' of '{name}' must be in {table.file} too, which has {known_ones}.")
    if known < len(column.index) and ((counts > 0) & (tested == 0)).any():
        table.notes.append(f"not in the test file: {few(_named(column.vocabulary, (counts > 0) & (tested == 0)))}")
    if int((counts > 0).sum()) < 2:
        raise UserError(
            f"Column '{name}' of {table.file} must hold at least two classes, found {few(column.vocabulary)} alone: "
            "dataset.targets names the target column."
        )
    said = [f"{word} {count}" for word, count in zip(column.vocabulary, counts, strict=True)]
    table.notes.append(f"{len(column.vocabulary)} classes: {few(said)}")
    if lonely := [word for word, count in zip(column.vocabulary, counts, strict=True) if count == 1]:
        table.notes.append(f"one row only, so never in both training and validation: {few(lonely)}")
    return column.index, tuple(column.vocabulary)


def _named(words: Sequence[str], chosen: NDArray[Any]) -> list[str]:
    return [word for word, one in zip(words, chosen, strict=True) if one]


def _refuse_quantities(table: FileTable, name: str, words: list[str], rows: int) -> None:
    """Refuse classes that are numbers with decimals, or very many different ones, or words most of which stand once."""
    try:
        numbers = np.array([float(word) for word in words])
    except ValueError:
        if len(words) > _MOST_NUMBERS and rows < 2 * len(words):
            raise UserError(
                f"Column '{name}' of {table.file} must hold classes, found {len(words)} different words in {rows} "
                "rows: dataset.targets names another target column."
            ) from None
        return
    fractional = numbers != np.round(numbers)
    if fractional.any():
        found = f"the number {words[int(fractional.argmax())]}"
    elif len(words) > _MOST_NUMBERS and rows < _ROWS_OF_A_NUMBER * len(words):
        found = f"{len(words)} different numbers in {rows} rows"
    else:
        return
    raise UserError(
        f"Column '{name}' of {table.file} must hold classes, found {found}: dataset.targets names another target "
        "column; a quantity is a regression target."
    )


def read_labels(table: FileTable, chosen: list[int]) -> NDArray[np.uint8]:
    """The label columns as n-hot [N, C]."""
    labels = np.empty((len(table.columns[0]), len(chosen)), dtype=np.uint8)
    said: set[str] = set()
    for position, j in enumerate(chosen):
        cells: NDArray[Any] = table.columns[j]
        cells = cells if cells.dtype.kind in "US" else spelled(cells)
        words = [word.strip().lower() for word in cells.tolist()]
        words = [word[:-2] if word.endswith(".0") else word for word in words]
        strange = [i for i, word in enumerate(words) if word not in _TRUTH]
        if strange or {"0", "-1"} <= set(words):
            shown = cells[strange[0]] if strange else "both 0 and -1"
            raise UserError(
                f"Label column '{table.names[j]}' of {table.file} must hold 0 and 1, -1 and 1 or such words as no and "
                f"yes, found {shown or 'a missing value'}."
            )
        said |= set(words) - {"0", "1"}
        labels[:, position] = [_TRUTH[word] for word in words]
    if said:
        table.notes.append(f"labels: {', '.join(f'{word} is {_TRUTH[word]}' for word in sorted(said))}")
    counts = [f"{table.names[j]} {int(n)}" for j, n in zip(chosen, labels.sum(0), strict=True)]
    table.notes.append(f"labels: {few(counts)}")
    return labels


def read_numbers(table: FileTable, chosen: list[int], mark: Decimal) -> NDArray[np.float64]:
    """The target columns as numbers: [N] of one, [N, D] of several."""
    columns = []
    for j in chosen:
        column, name = read_column(table, j, decimal=mark), table.names[j]
        if not isinstance(column, NumberColumn):
            raise UserError(
                f"Target column '{name}' of {table.file} must hold numbers, found {few(column.vocabulary)}: "
                "dataset.targets names another target column; words are classes."
            )
        refuse_missing(table, j, np.isnan(column.values), _WITHOUT)
        table.notes.append(f"{name} from {column.values.min():g} to {column.values.max():g}")
        columns.append(column.values)
    return columns[0] if len(columns) == 1 else np.stack(columns, 1)
