"""A dataset in a few plain facts, for a record, a log or a table; they can be written as JSON as they are."""

from __future__ import annotations

from typing import Any

import torch

from xentlab.data.dataset import Dataset


def describe(dataset: Dataset) -> dict[str, Any]:
    """The facts that tell one dataset from another: sizes, shapes, classes, how often each occurs, and the fingerprint.

    Args:
        dataset: any dataset.

    Returns:
        Plain values only. `class_counts` counts examples (multiclass), set labels (multilabel) or pixels that are not
        ignored (segmentation), in the order of `class_names`; `splits` counts the examples of each split that the
        source itself defines.
    """
    if dataset.task == "multilabel":
        counts = dataset.targets.sum(0, dtype=torch.int64)
    else:
        counts = torch.bincount(dataset.targets.flatten(), minlength=dataset.num_classes)[: dataset.num_classes]
        if dataset.ignore_index is not None and dataset.ignore_index < dataset.num_classes:
            counts[dataset.ignore_index] = 0
    return {
        "name": dataset.name,
        "task": dataset.task,
        "examples": len(dataset.inputs),
        "input_shape": list(dataset.input_shape),
        "input_dtype": str(dataset.inputs.dtype).removeprefix("torch."),
        "class_names": list(dataset.class_names),
        "class_counts": counts.tolist(),
        "ignore_index": dataset.ignore_index,
        "splits": {name: len(indices) for name, indices in dataset.source_splits.items()},
        "fingerprint": dataset.fingerprint,
    }
