"""Tables on disk as datasets: text (CSV and its kin), ARFF (Mulan's and MEKA's too), .parquet, .xlsx and NumPy's .npz.

A reader hands back a `FileTable` of cells as spelled; `columns` says what each column holds; `tabular` turns them into
features and targets in one place. To add a format: its reader, and its suffix in `table_files.read_table`.
"""

from __future__ import annotations

import collections
import math
import re
import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from xentlab.data.columns import (
    MISSING,
    Decimal,
    FileTable,
    NumberColumn,
    WordColumn,
    few,
    gathered,
    read_column,
    refuse_missing,
)
from xentlab.data.dataset import Dataset, Feature, consecutive
from xentlab.data.delimited import counts_rows
from xentlab.data.table_files import existing, one_table, read_table
from xentlab.data.targets import read_classes, read_labels, read_numbers, target_columns
from xentlab.errors import UserError, unknown
from xentlab.schema import NonNegativeInt
from xentlab.tasks import Task, find

_MOST_WORDS = 100  # a text column with more distinct words is a name or an identifier, not a feature
_MOST_CODES, _MOST_NAMES = 10, 20  # different words with digits in each, and words of which most stand in one row
_COUNTED = 20  # of a column of so many rows it is no chance that it counts them
_FAR = 1e3  # a column whose values lie this many standard deviations from 0 loses digits in float32
_IDENTIFIER = re.compile(r"(?i:(.*[\W_])?(id|index|idx|key|uuid|guid|row|rowid|nr|no))|.*[a-z]I[dD]")

Impute = Literal["refuse", "median", "mean", "most_frequent", "drop"]


def tabular(
    *,
    path: str,
    test_path: str | None = None,
    name: str = "tabular",
    task: Literal["multiclass", "multilabel", "regression"] = "multiclass",
    targets: tuple[str, ...] = (),
    num_targets: NonNegativeInt = 0,
    targets_at: Literal["end", "start"] = "end",
    header: bool | None = None,
    delimiter: str | None = None,
    decimal: Decimal = "auto",
    drop: tuple[str, ...] = (),
    categorical: tuple[str, ...] = (),
    impute: Impute = "refuse",
    standardize: bool = True,
) -> Dataset:
    """The rows of a table: inputs float32 [N, F]; targets classes int64 [N], labels uint8 [N, C] or numbers float64.

    Columns of words become one column per word (one-hot); dates are days since 1970; pairs such as yes and no are 1
    and 0. What was recognised, and every column that is passed over, stands in the dataset's notes.

    Args:
        path: a .csv, .tsv, .txt, .data (each also .gz), .arff, .parquet, .xlsx or .npz file. A .npz holds `inputs`
            [N, F], `targets` [N] or [N, C], and `class_names` if the classes have names.
        test_path: a second file of the same columns, whose rows are the source's test set; None carves one by seed.
        name: what the dataset is called.
        task: `multiclass` has one target column; `multilabel` one column for each label, of 0 and 1, -1 and 1, or such
            words as no and yes; `regression` one column of numbers or several.
        targets: the names of the target columns; empty counts them with `num_targets`.
        num_targets: how many columns are targets, used where `targets` is empty; 0 is the labels that a multilabel
            ARFF file names (Mulan, MEKA), else the one column at the end (or start).
        targets_at: at which side of the table `num_targets` counts.
        header: whether a text file's first row holds names; None: it does unless one of its cells is a number, or most
            of them come again below.
        delimiter: what separates the cells of a text file; None recognises tabs, semicolons, bars, commas, blanks.
        decimal: what stands before decimals; `auto` recognises decimal commas and commas between thousands.
        drop: columns that are left out.
        categorical: columns whose values are words, whatever they look like; one that tells the target is kept then.
        impute: what stands for a missing number: `median`, `mean` or `most_frequent` of the training rows; `drop`
            leaves such rows out; `refuse` refuses them. Where it fills numbers, a missing word is a word of its own.
        standardize: bring every feature to mean 0 and standard deviation 1 over the training rows.

    Returns:
        A dataset of the named task.

    Raises:
        UserError: the file is missing or malformed, a value is missing, or the targets are not what the task needs.
    """
    files = [existing(path, "path")] + ([] if test_path is None else [existing(test_path, "test_path")])
    tables = [read_table(file, header=header, delimiter=delimiter) for file in files]
    return resident_table(
        tables, name=name, task=task, targets=targets, num_targets=num_targets, targets_at=targets_at, decimal=decimal,
        drop=drop, categorical=categorical, impute=impute, standardize=standardize,
    )  # fmt: skip


def resident_table(
    tables: Sequence[FileTable], *, name: str, task: str, targets: tuple[str, ...], num_targets: int = 0,
    targets_at: Literal["end", "start"] = "end", decimal: Decimal = "auto", drop: tuple[str, ...] = (),
    categorical: tuple[str, ...] = (), impute: Impute = "refuse", standardize: bool = True,
) -> Dataset:  # fmt: skip
    """Tables of the same columns as a dataset: the first may be trained on, the others are its test set; see `tabular`.

    Raises:
        UserError: a value is missing, or the targets are not what the task needs.
    """
    table, known, on = one_table(tables), len(tables[0].columns[0]), find(task)
    for knob, given in (("drop", drop), ("categorical", categorical)):
        for named in given:
            if named not in table.names:
                raise unknown(f"column of {table.file.name} in dataset.{knob}", named, table.names)
    chosen = target_columns(table, on, targets, num_targets, targets_at)
    if impute == "drop":
        known -= _drop_without_target(table, chosen, known)
    passed_over = _passed_over(table, chosen, drop, categorical, on)
    features, worded = dict[Feature, NDArray[np.float64]](), list[str]()
    kinds, incomplete = collections.Counter[str](), np.zeros(len(table.columns[0]), dtype=bool)
    for j, column_name in enumerate(table.names):
        if j in chosen or column_name in passed_over:
            continue
        asked = column_name in categorical
        column = read_column(table, j, decimal=decimal, spelt=asked)
        found, missing = _features(table, j, column, impute, asked=asked)
        features |= found
        incomplete |= missing
        kinds["words" if isinstance(column, WordColumn) else "numbers"] += 1
        if isinstance(column, WordColumn):
            worded.append(f"{column_name} ({len(column.vocabulary)})")
        if len(np.unique(table.columns[j])) == 1:
            table.notes.append(f"column {column_name} is constant")
    if worded:
        table.notes.append(f"columns of words, and how many: {few(worded)}")
    if not features:
        raise UserError(f"{table.file} must have a column that is no target, found {few(table.names)} only.")
    x, said = np.stack(list(features.values()), 1), list(features)
    if standardize:
        shifts = _far_from_zero(table, x)
        x = x - shifts
        said = [replace(one, shift=float(shift)) for one, shift in zip(said, shifts, strict=True)]
    y: NDArray[Any]
    if on.columns == "class":
        y, class_names = read_classes(table, chosen[0], known)
    else:
        y = read_labels(table, chosen) if on.columns == "labels" else read_numbers(table, chosen, decimal)
        class_names = tuple(table.names[j] for j in chosen)
    if on.columns == "numbers":
        _name_lines(table, said, x, y, class_names)
    if incomplete.any():
        table.notes.append(f"{int(incomplete.sum())} rows have a missing value: impute={impute}")
    if impute == "drop":
        x, y, known = x[~incomplete], y[~incomplete], int((~incomplete[:known]).sum())
    kept = ", ".join(f"{count} columns of {kind}" for kind, count in kinds.items())
    return Dataset(
        name=name,
        task=task,
        inputs=torch.from_numpy(x.astype(np.float32)),
        targets=torch.from_numpy(y),
        class_names=class_names,
        source_splits=consecutive({"train": known, "test": len(x) - known}) if len(tables) > 1 else {},
        standardize=standardize,
        impute=impute if np.isnan(x).any() and impute != "refuse" and impute != "drop" else None,
        features=tuple(said),
        notes=(f"{len(x)} rows, {kept}; target {few([table.names[j] for j in chosen])}", *gathered(table.notes)),
    )


def _name_lines(
    table: FileTable, features: Sequence[Feature], x: NDArray[Any], y: NDArray[Any], targets: Sequence[str]
) -> None:
    """Name what may be a target in another unit: in twenty rows or more its correlation with it is 1 to within 1e-6."""
    for column, feature in enumerate(features):
        for target, name in zip(y.reshape(len(y), -1).T, targets, strict=True):
            given = np.isfinite(x[:, column]) & np.isfinite(target)
            apart = [values[given] - values[given].mean() for values in (x[:, column], target) if given.sum() >= 20]
            size = math.prod(np.linalg.norm(values) for values in apart)
            if apart and size > 0 and abs(np.dot(*apart)) > (1 - 1e-6) * size:
                table.notes.append(
                    f"column {feature.column} and the target {name} lie on one line: dataset.drop=[{feature.column}] "
                    f"if it is the target in another unit"
                )


def _drop_without_target(table: FileTable, chosen: list[int], known: int) -> int:
    """Leave rows without a target out of a table; returns how many of its first `known` rows they were."""
    gone = np.any([np.isin(np.char.strip(table.columns[j].astype(str)), MISSING) for j in chosen], axis=0)
    if gone.any():
        table.notes.append(f"{int(gone.sum())} rows without a target left out: impute=drop")
        table.columns[:] = [cells[~gone] for cells in table.columns]
    return int(gone[:known].sum())


def _passed_over(
    table: FileTable, chosen: list[int], drop: tuple[str, ...], kept: tuple[str, ...], task: Task
) -> set[str]:
    """The columns that are no features: what the user drops, other labels of the file, and copies of a target."""
    others = [label for label in table.labels if table.names.index(label) not in chosen and label not in drop]
    if others:
        table.notes.append(f"left out, since the file names them as labels: {few(others)}")
    copies = [
        name
        for j, name in enumerate(table.names)
        if j not in chosen and name not in (*drop, *others)
        and name not in kept and any(_same(table.columns[j], table.columns[t]) for t in chosen)
    ]  # fmt: skip
    if copies and task.columns != "labels":
        table.notes.append(f"left out, since they are copies of the target: {few(copies)}")
    if drop:
        table.notes.append(f"left out as asked: {few(drop)}")
    for j, name in enumerate(table.names):
        cells = table.columns[j]
        if j not in chosen and name not in drop and len(cells) > 1:
            if _IDENTIFIER.fullmatch(name) and len(np.unique(cells)) == len(cells):
                table.notes.append(f"column {name} is different in every row: dataset.drop=[{name}] if it is a name")
            elif len(cells) >= _COUNTED and counts_rows(cells):
                table.notes.append(f"column {name} counts the rows: dataset.drop=[{name}] if it means nothing else")
    return {*drop, *others, *(copies if task.columns != "labels" else ())}


def _same(column: NDArray[Any], target: NDArray[Any]) -> bool:
    """Whether a column is a copy of a target, or spells its classes in other words, in twenty rows or more."""
    if np.array_equal(column.astype(str), target.astype(str)):
        return True
    first, second = (np.unique(cells, return_inverse=True) for cells in (column.astype(str), target.astype(str)))
    classes = len(first[0])
    if classes != len(second[0]) or len(target) < max(20, 5 * classes):
        return False
    return len(np.unique(first[1] * classes + second[1])) == classes


def _features(
    table: FileTable, j: int, column: NumberColumn | WordColumn, impute: Impute, *, asked: bool
) -> tuple[dict[Feature, NDArray[np.float64]], NDArray[np.bool_]]:
    """One column as features [N], and where it has no value."""
    name = table.names[j]
    missing = np.isnan(column.values) if isinstance(column, NumberColumn) else column.index < 0
    if missing.all():
        raise UserError(f"Column '{name}' of {table.file} must hold values, found none: dataset.drop=[{name}].")
    if impute == "refuse":
        refuse_missing(table, j, missing, "dataset.impute=median, mean, most_frequent or drop")
    if isinstance(column, NumberColumn):
        return {Feature(name): column.values}, missing
    if len(column.vocabulary) > _MOST_WORDS:
        raise UserError(
            f"Column '{name}' of {table.file} must hold numbers or at most {_MOST_WORDS} different words, found "
            f"{len(column.vocabulary)}: leave it out with dataset.drop=[{name}]."
        )
    if table.levels[j] is None and not asked and (odd := _nearly_unique(column)):
        raise UserError(
            f"Column '{name}' of {table.file} must hold numbers, or words that come again, found {odd}: leave it out "
            f"with dataset.drop=[{name}], or take its values as words with dataset.categorical=[{name}]."
        )
    levels = dict(enumerate(column.vocabulary)) | ({-1: ""} if missing.any() and impute != "drop" else {})
    return {Feature(name, word): (column.index == k).astype(np.float64) for k, word in levels.items()}, missing


def _nearly_unique(column: WordColumn) -> str | None:
    """What tells that a column of words holds names, or numbers that no rule reads; None where it does not."""
    words, rows = column.vocabulary, int((column.index >= 0).sum())
    if len(words) > _MOST_CODES and all(re.search(r"\d", word) for word in words):
        return f"{len(words)} different ones with digits, such as {words[0]} and {words[1]}"
    if len(words) > _MOST_NAMES and rows < 2 * len(words):
        return f"{len(words)} different ones in {rows} rows, such as {words[0]} and {words[1]}"
    return None


def _far_from_zero(table: FileTable, x: NDArray[np.float64]) -> NDArray[np.float64]:
    """What to take from features [N, F] where float32 would lose their differences; standardisation undoes it."""
    with warnings.catch_warnings(action="ignore", category=RuntimeWarning):  # a column without any value
        centre, spread = np.nanmedian(x, 0), np.nanstd(x, 0)
    far = np.abs(centre) > _FAR * spread
    if (far & (spread > 0)).any():
        table.notes.append(f"{int((far & (spread > 0)).sum())} columns lie far from 0 beside their spread: moved there")
    return np.where(far & np.isfinite(centre), centre, 0.0)
