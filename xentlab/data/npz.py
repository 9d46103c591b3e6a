"""NumPy's .npz of plain arrays: as a table, and as what it holds."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from xentlab.data.columns import FileTable, few
from xentlab.errors import UserError


def npz_arrays(file: Path, needed: Sequence[str]) -> dict[str, np.ndarray]:
    """The arrays of a .npz file, by name; refuses one that is damaged or lacks an array that is needed."""
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
    except (OSError, ValueError, EOFError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"{file} cannot be read as a .npz of plain arrays ({error}).") from error
    for key in needed:
        if key not in arrays:
            raise UserError(f"{file} must hold an array '{key}', found {few(sorted(arrays)) or 'none'}.")
    return arrays


def read_npz(file: Path) -> FileTable:
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
    named = tuple(names) if y.ndim == 2 else ()
    return FileTable(file, [*(f"feature_{j}" for j in range(x.shape[1])), *names], [*x.T, *labels.T], levels, named)
