"""What a dataset is, and how it is split: the contract that every builder in `xentlab.data` obeys."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor

from xentlab.data.stream import Stream
from xentlab.tasks import find


def of_task(task: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Declare the task of a builder, so that what has no meaning on it is refused before any data is read.

    A builder whose task is a choice has a knob `task` instead.
    """

    def declare(builder: Callable[..., Any]) -> Callable[..., Any]:
        builder.task = task  # type: ignore[attr-defined]
        return builder

    return declare


def consecutive(sizes: Mapping[str, int]) -> dict[str, Tensor]:
    """The indices of parts that lie one after another."""
    start, found = 0, {}
    for part, size in sizes.items():
        found[part] = torch.arange(start, start + size)
        start += size
    return found


@dataclass(frozen=True)
class Feature:
    """What one of the inputs [N, F] of a table is: the numbers of a column less `shift`, or 1 where it holds `word`.

    An empty word is a missing one.
    """

    column: str
    word: str | None = None
    shift: float = 0.0


@dataclass(frozen=True, eq=False)
class Encoded:
    """What the frozen part of a model gives for every input, in the inputs' place where only the rest trains.

    Attributes:
        head: the name of the part of the model that trains on it.
        shape: of one, without the axis of examples.
        make: computes it, or finds it: floats [N, *shape].
    """

    head: str
    shape: tuple[int, ...]
    make: Callable[[], Tensor]

    @cached_property
    def inputs(self) -> Tensor:
        return self.make()


@dataclass(frozen=True)
class Dataset:
    """All examples of one source as CPU tensors, in the source's order, before any split.

    Attributes:
        name: what the user calls it.
        task: the name of one, which checks the targets.
        inputs: [N, F] or [N, channels, H, W]; uint8 for images (converted in the batch), else float32; int64 indices
            stay indices, such as tokens [N, T].
        targets: what the task says: class indices [N] (multiclass), [N, T] (tokens) or [N, H, W] (segmentation), n-hot
            [N, C], or numbers [N] or [N, D] (regression).
        class_names: one word for each of the C classes, in the order of their indices, or for each number.
        scale: an input's value is `(stored - offset) * scale`; 1/255 for images makes it lie in [0, 1].
        offset: see `scale`.
        ignore_index: the target value of pixels that count nowhere, or None.
        source_splits: indices of the splits that the source itself defines, by `train`, `val`, `test`; what it does not
            define is carved from `train` by the trial's seed.
        test_sets: K published test sets, of which seed s meets the (s mod K)-th and trains on the rest.
        posterior: what the task's truth metrics know of each example [N, ...], float64, where the dataset is drawn from
            a known model: the true probability of each label, or mean, scale and shape of a number's distribution.
        soft_targets: where the task allows it, distributions [N, C], float32, that are trained on in the labels' place,
            NaN for examples that have none; see `xentlab.data.soft`.
        gap: where examples are neighbouring pieces of one text, how many on either side of one share some of it; None
            where each stands for itself. A drawn validation set is then one run of them, without its neighbours.
        standardize: whether inputs [N, F] are brought to mean 0 and deviation 1 over each seed's training rows.
        impute: what of a seed's training rows stands in the place of inputs that are NaN, or None where none are.
        references: what predictors that are not trained here score on the test set, by their names, in the task's
            primary metric.
        features: of a table: what each of the F inputs is.
        encoded: what a model's frozen part gives for the inputs, where only what follows it trains.
        notes: what the builder read and recognised, and what it passed over, one clause each.
        stream: decodes the inputs where they are not held; `inputs` are then on the meta device.
    """

    name: str
    task: str
    inputs: Tensor
    targets: Tensor
    class_names: tuple[str, ...]
    scale: float = 1.0
    offset: float = 0.0
    ignore_index: int | None = None
    source_splits: Mapping[str, Tensor] = field(default_factory=dict)
    test_sets: tuple[Tensor, ...] = ()
    posterior: Tensor | None = None
    soft_targets: Tensor | None = None
    gap: int | None = None
    standardize: bool = False
    impute: Literal["median", "mean", "most_frequent"] | None = None
    references: Mapping[str, float] = field(default_factory=dict)
    features: tuple[Feature, ...] = ()
    encoded: Encoded | None = field(default=None, compare=False)
    notes: tuple[str, ...] = ()
    stream: Stream | None = None

    def __post_init__(self) -> None:
        find(self.task).check(self)

    @property
    def remarks(self) -> tuple[str, ...]:
        """The notes, and how large the splits are that the source itself defines."""
        sizes = [f"{part} {len(index)}" for part, index in self.source_splits.items()]
        return (*self.notes, f"its own splits: {', '.join(sizes)}") if len(sizes) > 1 and self.notes else self.notes

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one input, without the batch axis."""
        return tuple(self.inputs.shape[1:])

    @property
    def streams(self) -> bool:
        """Whether its inputs are decoded as training asks for them."""
        return self.stream is not None and self.encoded is None

    @cached_property
    def seen(self) -> Dataset:
        """These data as what trains meets them: where they are encoded, with that in the inputs' place."""
        if self.encoded is None:
            return self
        return replace(self, inputs=self.encoded.inputs, stream=None, scale=1.0, offset=0.0, encoded=None)

    def blank(self, count: int) -> Tensor:
        """Inputs of zeros as a model takes them: floats, or indices where the inputs are indices."""
        dtype = torch.int64 if self.inputs.dtype == torch.int64 else torch.float32
        return torch.zeros(count, *self.input_shape, dtype=dtype)

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over every tensor and every fact that decides what a model sees."""
        digest = hashlib.sha256()
        facts: tuple[Any, ...] = (self.task, self.class_names, self.scale, self.offset, self.ignore_index)
        if self.standardize or self.impute is not None:
            facts += (self.standardize, self.impute)
        if self.gap is not None:
            facts += (self.gap,)
        digest.update(repr(facts).encode())
        soft = () if self.soft_targets is None else (self.soft_targets,)
        splits = (self.source_splits[k] for k in sorted(self.source_splits))
        held = (self.inputs,) if self.stream is None else ()
        digest.update(b"" if self.stream is None else self.stream.source.fingerprint.encode())
        for tensor in (*held, self.targets, *splits, *self.test_sets, *soft):
            digest.update(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
            digest.update(tensor.contiguous().view(torch.uint8).numpy().data)
        return digest.hexdigest()


@dataclass(frozen=True)
class Split:
    """Which examples one seed trains on, chooses by, and is tested on: int64 indices into a `Dataset`.

    `train_targets` are the targets of `train` in its order, with the seed's label noise; validation and test labels
    are never touched. `test` is empty where the holder has no business with it (tuning).
    """

    train: Tensor
    val: Tensor
    test: Tensor
    train_targets: Tensor

    def without_test(self) -> Split:
        """The same split, with no way to reach the test examples."""
        return Split(self.train, self.val, self.test[:0], self.train_targets)
