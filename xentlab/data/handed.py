"""What Python hands over as data: arrays, data frames, and mappings of parts such as Hugging Face's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xentlab.data.dataset import Dataset, consecutive
from xentlab.data.frames import frame_table
from xentlab.data.tables import resident_table
from xentlab.errors import UserError

_PARTS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "dev": "val", "test": "test"}


def parts_of(name: str, made: Any) -> dict[str, Any]:
    """The parts of what was made, the training examples first; arrays as examples."""
    parts = {"train": made}
    if isinstance(made, Mapping):
        parts = {_PARTS[word]: made[word] for word in made if word in _PARTS}
        if "train" not in parts:
            raise UserError(f"dataset {name} must have a part 'train', got {', '.join(map(str, made)) or 'none'}.")
    elif isinstance(made, (list, tuple)) and made and all(map(_is_source, made)):
        raise UserError(f"dataset {name} must name its {len(made)} parts, as in {{'train': ..., 'test': ...}}.")
    return {part: _examples_of(name, parts[part]) for part in ("train", "val", "test") if part in parts}


def _is_source(made: Any) -> bool:
    """Whether it is a whole dataset, and no example, array or data frame."""
    return (
        type(made).__module__.partition(".")[0] != "builtins"
        and hasattr(made, "__len__")
        and not hasattr(made, "shape")
    )


def _examples_of(name: str, made: Any) -> Any:
    pair = isinstance(made, tuple) and len(made) == 2 and all(hasattr(part, "shape") for part in made)
    if not pair or framed(made) is not None:
        return made
    inputs, targets = made
    if len(inputs) != len(targets):
        raise UserError(f"dataset {name} must have a target for each input, got {len(inputs)} and {len(targets)}.")
    return list(zip(inputs, targets, strict=True))


def framed(made: Any) -> tuple[Any, list[str]] | None:
    """A data frame and the names of its target columns, by default the last; None where it is none."""
    frame, target = made if isinstance(made, tuple) and len(made) == 2 else (made, None)
    if not hasattr(frame, "iloc") or not hasattr(frame, "columns"):
        return None
    if hasattr(target, "shape"):
        name = str(getattr(target, "name", None) or "target")
        return frame.assign(**{name: np.asarray(target)}), [name]
    names = [target] if isinstance(target, str) else list(target or [str(frame.columns[-1])])
    return frame, names


def of_frames(name: str, frames: Mapping[str, Any], own: Mapping[str, Any]) -> Dataset:
    """Data frames of the same columns, one for each part."""
    frame, targets = frames["train"]
    tables = [frame_table(held[0], Path(name)) for held in frames.values()]
    known = [frame[target] for target in targets if target in frame.columns]
    task = str(own.get("task") or "")
    if not task and all(column.dtype.kind in "biuf" for column in known) and len(known) > 1:
        task = "multilabel" if all(set(column.unique()) <= {0, 1} for column in known) else "regression"
    if not task:
        task = "regression" if known and known[0].dtype.kind == "f" else "multiclass"
    data = resident_table(tables, name=str(own.get("name") or name), task=task, targets=tuple(targets))
    sizes = {part: len(held[0]) for part, held in frames.items()}
    return data if len(sizes) == 1 else replace(data, source_splits=consecutive(sizes))


def class_names_of(source: Any, targets: Tensor, ignored: int | None) -> Sequence[str]:
    """What the source calls its classes, else their numbers."""
    if targets.is_floating_point() or targets.dtype == torch.uint8:
        count = targets.shape[1] if targets.ndim == 2 else 1
    else:
        valid = targets if ignored is None else targets[targets != ignored]
        count = int(valid.max()) + 1
    known = getattr(source, "classes", None) or getattr(source, "class_names", None)
    if isinstance(features := getattr(source, "features", None), Mapping):  # of Hugging Face
        known = next((feature.names for feature in features.values() if hasattr(feature, "names")), known)
    if isinstance(known, (list, tuple)) and len(known) >= count:
        return [str(word) for word in known]
    return [str(i) for i in range(count)]
