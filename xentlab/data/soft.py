"""Distributions in the labels' place: what a training is taught where a file holds them, such as a teacher's answers.

The file is a .npz of `targets` [n, C], `examples` [n] (which of the dataset's examples they belong to) and
`fingerprint` (of that dataset). They are trained on and nothing else: splits, validation, test and every metric keep
the labels.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from xentlab.data.dataset import Dataset
from xentlab.data.npz import npz_arrays
from xentlab.disk import written_whole
from xentlab.errors import UserError

# How far a distribution's sum may be from one: float32 rounding of many classes.
_SUM = 1e-4


def soften(dataset: Dataset, *, soft_targets: str | None = None) -> Dataset:
    """The dataset with the soft targets of a file, sharing all its other tensors; itself where there is no file.

    Args:
        dataset: multiclass, of N examples and C classes.
        soft_targets: a .npz file that `write_soft_targets` wrote, or like one; null trains on the labels.

    Raises:
        UserError: the file is missing or malformed, holds no distributions, or belongs to other data.
    """
    if soft_targets is None:
        return dataset
    file = Path(soft_targets).expanduser()
    if not file.is_file():
        raise UserError(f"dataset.soft_targets must be a file that exists, got {file}.")
    arrays = npz_arrays(file, ("targets", "examples", "fingerprint"))
    mine, theirs = _source(dataset), str(arrays["fingerprint"])
    if theirs != mine:
        raise UserError(
            f"{file} must hold targets for dataset '{dataset.name}' with fingerprint {mine[:16]}, found those of other "
            f"data, {theirs[:16]}."
        )
    targets, examples = arrays["targets"], arrays["examples"]
    n, c = len(dataset.inputs), dataset.num_classes
    typed = np.issubdtype(targets.dtype, np.floating) and np.issubdtype(examples.dtype, np.integer)
    if not typed or examples.ndim != 1 or targets.shape != (len(examples), c):
        raise UserError(
            f"{file} must hold targets [n, {c}], floats, and examples [n], integers, found {targets.dtype} "
            f"{targets.shape} and {examples.dtype} {examples.shape}."
        )
    known = np.unique(examples)
    if len(known) < len(examples) or not (len(known) and known[0] >= 0 and known[-1] < n):
        span = f"{len(examples)} between {examples.min()} and {examples.max()}" if len(examples) else "none"
        raise UserError(f"{file} must hold some of the examples 0 to {n - 1}, each once, found {span}.")
    sums = targets.astype(np.float64).sum(1)
    wrong = ~((targets >= 0).all(1) & (abs(sums - 1) <= _SUM))
    if wrong.any():
        raise UserError(
            f"{file} must hold distributions, every row >= 0 and of sum 1, found a smallest value of "
            f"{targets[wrong][0].min():g} and a sum of {sums[wrong][0]:g} for example {examples[wrong][0]}."
        )
    rows = torch.full((n, c), torch.nan)
    rows[torch.from_numpy(examples.astype(np.int64))] = torch.from_numpy(targets.astype(np.float32))
    return dataclasses.replace(dataset, soft_targets=rows)


def write_soft_targets(file: Path, dataset: Dataset, examples: Tensor, targets: Tensor) -> None:
    """Write a file for `soften`, whole or not at all: distributions [n, C] for some of a dataset's examples [n]."""
    arrays = {"targets": targets.float().cpu().numpy(), "examples": examples.cpu().numpy()}
    with written_whole(file) as scratch, open(scratch, "wb") as opened:
        np.savez(opened, allow_pickle=False, fingerprint=np.array(_source(dataset)), **arrays)


def _source(dataset: Dataset) -> str:
    """The fingerprint of the dataset as its builder gave it."""
    plain = dataset if dataset.soft_targets is None else dataclasses.replace(dataset, soft_targets=None)
    return plain.fingerprint
