"""Rows of another file as the features of a table that was trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xentlab.data.columns import NumberColumn, WordColumn, few, read_column
from xentlab.data.dataset import Feature
from xentlab.data.table_files import read_table
from xentlab.errors import UserError, unknown


def read_features(
    file: Path, features: Sequence[Feature], node: Mapping[str, Any], *, missing: bool
) -> NDArray[np.float32]:
    """The rows of a file [n, F] as a table's features say, whatever else the file holds.

    Args:
        file: of any kind that `tabular` reads, with every column that a feature is of.
        node: the dataset's knobs, of which it takes how to read a text.
        missing: whether numbers may be missing (NaN), since the model fills them.

    Raises:
        UserError: a column is missing, or holds words that the table did not, or a value is missing.
    """
    table = read_table(file, header=node.get("header"), delimiter=node.get("delimiter"))
    columns: dict[str, NumberColumn | WordColumn] = {}
    for name in dict.fromkeys(feature.column for feature in features):
        if name not in table.names:
            raise unknown(f"column of {file.name}", name, table.names)
        known = {feature.word for feature in features if feature.column == name}
        place, decimal = table.names.index(name), node.get("decimal", "auto")
        column = columns[name] = read_column(table, place, decimal=decimal, spelt=known != {None})
        strange = [word for word in column.vocabulary if word not in known] if isinstance(column, WordColumn) else []
        if strange:
            expected = few(sorted(filter(None, known))) or "numbers"
            raise UserError(f"Column '{name}' of {file} must hold {expected}, as in training, found {few(strange)}.")
        gone = np.isnan(column.values) if isinstance(column, NumberColumn) else column.index < 0
        if gone.any() and not (missing if isinstance(column, NumberColumn) else "" in known):
            raise UserError(
                f"Column '{name}' of {file} must hold a value in every row, as in training, found {int(gone.sum())} "
                f"missing, the first in row {int(gone.argmax()) + 1}."
            )
    rows = [_feature(columns[feature.column], feature) for feature in features]
    return np.stack(rows, 1).astype(np.float32)


def _feature(column: NumberColumn | WordColumn, feature: Feature) -> NDArray[np.float64]:
    if isinstance(column, NumberColumn):
        return column.values - feature.shift
    if feature.word in column.vocabulary:
        return (column.index == column.vocabulary.index(feature.word)).astype(np.float64)
    return ((column.index < 0) & (feature.word == "")).astype(np.float64)
