"""Tables on disk as datasets: CSV, ARFF (dense or sparse, Mulan's label lists included) and NumPy's .npz.

A reader hands back `_Table`: names, the words that a column may hold, and the columns as spelled. `tabular` turns
them into features and targets in one place. To add a format: its reader, and its suffix in `_read`.
"""

from __future__ import annotations

import csv
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch

from xentlab.data.arff import mulan_labels, read_arff
from xentlab.data.dataset import Dataset
from xentlab.errors import UserError, unknown
from xentlab.schema import Range
from xentlab.tasks import Task, find

_MOST_WORDS = 100  # a text column with more distinct words is a name or an identifier, not a feature


@dataclass(frozen=True)
class _Table:
    """One file: D columns of N values, numbers or words; `levels[j]` are the declared words of column j, if any."""

    file: Path
    names: list[str]
    levels: list[list[str] | None]
    columns: Sequence[Sequence[str] | np.ndarray]


def tabular(
    *,
    path: str,
    test_path: str | None = None,
    name: str = "tabular",
    task: Literal["multiclass", "multilabel"] = "multiclass",
    targets: tuple[str, ...] = (),
    num_targets: Annotated[int, Range(0, None)] = 0,
    targets_at: Literal["end", "start"] = "end",
    header: bool = True,
    delimiter: str = ",",
    standardize: bool = True,
) -> Dataset:
    """The rows of a table: inputs float32 [N, F], targets int64 [N] (multiclass) or n-hot uint8 [N, C] (multilabel).

    Columns of words become one column per word (one-hot). A missing value (empty, ?, nan) is refused: fill it in or
    leave the row out, since how is a decision about the data.

    Args:
        path: a .csv, .tsv, .arff or .npz file. A .npz holds `inputs` [N, F], `targets` [N] or [N, C], and
            `class_names` if the classes have names.
        test_path: a second file of the same columns, whose rows are the source's test set; None carves one by seed.
        name: what the dataset is called.
        task: `multiclass` has one target column; `multilabel` one column of zeros and ones per label.
        targets: the names of the target columns; empty counts them with `num_targets`.
        num_targets: how many columns are targets, used where `targets` is empty; 0 is the labels listed in
            `<stem>.xml` for a multilabel ARFF file, else the one column at the end (or start) for multiclass.
        targets_at: at which side of the table `num_targets` counts.
        header: whether a CSV file's first row holds the columns' names.
        delimiter: what separates the values of a CSV file; a .tsv file has tabs.
        standardize: bring every feature to mean 0 and standard deviation 1 over all rows of the source, before any
            split. No label enters, and every loss and seed sees the same inputs, but test rows take part in the two
            statistics; give false and scale the file yourself where that matters.

    Returns:
        A dataset of the named task.

    Raises:
        UserError: the file is missing or malformed, a value is missing, or the targets are not what the task needs.
    """
    files = [_existing(path, "path")] + ([] if test_path is None else [_existing(test_path, "test_path")])
    tables = [_read(file, header=header, delimiter=delimiter) for file in files]
    for other in tables[1:]:
        if other.names != tables[0].names:
            raise UserError(f"{other.file} must have the columns of {tables[0].file}, found {_few(other.names)}.")
    first = tables[0]
    on = find(task)
    chosen = _target_columns(first, on, targets, num_targets, targets_at)
    values = [np.concatenate([np.asarray(t.columns[j]) for t in tables]) for j in range(len(first.names))]
    features = [column for j in range(len(first.names)) if j not in chosen for column in _feature(first, j, values[j])]
    if not features:
        raise UserError(f"{first.file} must have a column that is no target, found {_few(first.names)} only.")
    x = np.stack(features, 1)
    if standardize:
        spread = x.std(0)
        x = (x - x.mean(0)) / np.where(spread > 0, spread, 1.0)
    if on.columns == "class":
        y, class_names = _classes(first, chosen[0], values[chosen[0]])
    else:
        y, class_names = _labels(first, chosen, values), tuple(first.names[j] for j in chosen)
    known = len(tables[0].columns[0])
    splits = {"train": torch.arange(known), "test": torch.arange(known, len(x))} if test_path is not None else {}
    return Dataset(
        name=name,
        task=task,
        inputs=torch.from_numpy(x.astype(np.float32)),
        targets=torch.from_numpy(y),
        class_names=class_names,
        source_splits=splits,
    )


def _existing(path: str, knob: str) -> Path:
    file = Path(path).expanduser()
    if not file.is_file():
        raise UserError(f"dataset.{knob} must be a file that exists, got {file}.")
    return file


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (f", ... ({len(names)} in all)" if len(names) > 8 else "")


def _read(file: Path, *, header: bool, delimiter: str) -> _Table:
    suffix = file.suffix.lower()
    try:
        if suffix == ".npz":
            return _read_npz(file)
        if suffix == ".arff":
            return _Table(file, *read_arff(file))
        if suffix in (".csv", ".tsv"):
            return _read_csv(file, header, "\t" if suffix == ".tsv" else delimiter)
    except UnicodeDecodeError as error:
        raise UserError(f"{file} must be UTF-8 text, found a byte that is not ({error.reason}).") from error
    raise UserError(f"dataset.path must end in .csv, .tsv, .arff or .npz, got {file.name}.")


def _read_csv(file: Path, header: bool, delimiter: str) -> _Table:
    if len(delimiter) != 1:
        raise UserError(f"dataset.delimiter must be one character, got '{delimiter}'.")
    with file.open(encoding="utf-8-sig", newline="") as stream:
        reader = csv.reader(stream, delimiter=delimiter, skipinitialspace=True)
        rows = [row for row in reader if row]
    if len(rows) < 1 + header:
        raise UserError(f"{file} must hold rows, found none.")
    names = [word.strip() for word in rows.pop(0)] if header else [f"column_{j}" for j in range(len(rows[0]))]
    for number, row in enumerate(rows, 1):
        if len(row) != len(names):
            raise UserError(f"{file}, row {number}, must hold {len(names)} values, found {len(row)}.")
    return _Table(file, names, [None] * len(names), [list(c) for c in zip(*rows, strict=True)])


def npz_arrays(file: Path, needed: Sequence[str]) -> dict[str, np.ndarray]:
    """The arrays of a .npz file, by name; refuses one that is damaged or lacks an array that is needed."""
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
    except (OSError, ValueError, EOFError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"{file} cannot be read as a .npz of plain arrays ({error}).") from error
    for key in needed:
        if key not in arrays:
            raise UserError(f"{file} must hold an array '{key}', found {_few(sorted(arrays)) or 'none'}.")
    return arrays


def _read_npz(file: Path) -> _Table:
    arrays = npz_arrays(file, ("inputs", "targets"))
    x, y = arrays["inputs"], arrays["targets"]
    if x.ndim != 2 or y.ndim not in (1, 2) or len(x) != len(y):
        raise UserError(f"{file} must hold inputs [N, F] and targets [N] or [N, C], found {x.shape} and {y.shape}.")
    labels = y.reshape(len(y), -1)
    words = [str(word) for word in arrays["class_names"]] if "class_names" in arrays else None
    names = words if y.ndim == 2 and words else [f"label_{j}" for j in range(labels.shape[1])]
    if len(names) != labels.shape[1]:
        raise UserError(f"{file} must name {labels.shape[1]} classes in class_names, found {len(names)}.")
    features: list[list[str] | None] = [None] * x.shape[1]
    if y.ndim == 1 and words and np.issubdtype(y.dtype, np.integer):
        if y.min() < 0 or y.max() >= len(words):
            raise UserError(f"{file} must hold targets 0 to {len(words) - 1}, found {y.min()} to {y.max()}.")
        labels = np.array(words)[labels]
    levels = [*features, *([words] if y.ndim == 1 else [None] * labels.shape[1])]
    return _Table(file, [*(f"feature_{j}" for j in range(x.shape[1])), *names], levels, [*x.T, *labels.T])


def _target_columns(table: _Table, task: Task, targets: tuple[str, ...], count: int, side: str) -> list[int]:
    """The positions of the target columns, from their names, their number, or what the file itself says."""
    if not targets and not count and task.columns == "labels" and table.file.suffix.lower() == ".arff":
        targets = mulan_labels(table.file)
    if not targets and not count and task.columns == "labels" and table.file.suffix.lower() == ".npz":
        count = sum(not name.startswith("feature_") for name in table.names)
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
        count = count or 1
        if count >= len(table.names):
            raise UserError(f"dataset.num_targets must be < {len(table.names)}, the number of columns, got {count}.")
        chosen = list(range(count) if side == "start" else range(len(table.names) - count, len(table.names)))
    if task.columns == "class" and len(chosen) != 1:
        raise UserError(f"dataset.targets must be one column for task={task.name}, got {len(chosen)}.")
    return chosen


def _refuse_missing(table: _Table, column: int, missing: np.ndarray) -> None:
    if missing.any():
        raise UserError(
            f"{table.file} must hold a value in every row of column '{table.names[column]}', found "
            f"{int(missing.sum())} missing, the first in row {int(missing.argmax()) + 1}."
        )


def _numbers(table: _Table, column: int, values: np.ndarray) -> np.ndarray | None:
    """The column as finite float64, or None where it holds words."""
    if values.dtype.kind in "US":
        _refuse_missing(table, column, np.isin(np.char.strip(values), ("", "?", "NA")))
    try:
        numbers = values.astype(np.float64)
    except ValueError:
        return None
    _refuse_missing(table, column, ~np.isfinite(numbers))
    return numbers


def _words(table: _Table, column: int, values: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """The column as indices into its words: the declared ones in their order, else those found, sorted."""
    spelled = np.char.strip(values.astype(str))
    declared = table.levels[column]
    found = np.unique(spelled).tolist()
    words = found if declared is None else declared
    strange = [word for word in found if word not in words]
    if strange:
        raise UserError(
            f"{table.file} must hold in column '{table.names[column]}' one of {_few(words)}, found '{strange[0]}'."
        )
    position = {word: index for index, word in enumerate(words)}
    return np.array([position[word] for word in spelled.tolist()]), words


def _feature(table: _Table, column: int, values: np.ndarray) -> list[np.ndarray]:
    numbers = _numbers(table, column, values)
    if numbers is not None:
        return [numbers]
    index, words = _words(table, column, values)
    if len(words) > _MOST_WORDS:
        raise UserError(
            f"Column '{table.names[column]}' of {table.file} must hold numbers or at most {_MOST_WORDS} different "
            f"words, found {len(words)}: leave it out of the file."
        )
    return [(index == level).astype(np.float64) for level in range(len(words))]


def _classes(table: _Table, column: int, values: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    numbers = _numbers(table, column, values)
    if numbers is None or table.levels[column] is not None:
        index, words = _words(table, column, values)
        return index.astype(np.int64), tuple(words)
    distinct, index = np.unique(numbers, return_inverse=True)
    if (distinct != np.round(distinct)).any():
        raise UserError(
            f"Column '{table.names[column]}' of {table.file} must hold classes, found the number "
            f"{distinct[distinct != np.round(distinct)][0]:g}: dataset.targets names the target column."
        )
    return index.astype(np.int64), tuple(f"{value:.0f}" for value in distinct)


def _labels(table: _Table, chosen: list[int], values: list[np.ndarray]) -> np.ndarray:
    labels = np.empty((len(values[0]), len(chosen)), dtype=np.uint8)
    for position, column in enumerate(chosen):
        numbers = _numbers(table, column, values[column])
        wrong = None if numbers is None else ~np.isin(numbers, (0.0, 1.0))
        if numbers is None or wrong is None or wrong.any():
            shown = values[column][0 if wrong is None else int(wrong.argmax())]
            raise UserError(
                f"Label column '{table.names[column]}' of {table.file} must hold 0 and 1 only, found {shown}."
            )
        labels[:, position] = numbers
    return labels
