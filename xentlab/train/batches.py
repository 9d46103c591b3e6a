"""Data as the step wants it: tensors on the device, and for each trial of a stack the indices of its split.

Images stay uint8 until the batch, but for so few that they are made floats once. What is larger than half of the
device's free memory stays on the CPU and is gathered there. Batch order comes from each trial's seed, on the CPU, so
losses see the same batches within a seed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from xentlab.data import Dataset, Split, generator
from xentlab.data.augment import unchanged
from xentlab.data.augmentation import declared
from xentlab.data.scaling import fit_scaling
from xentlab.errors import UserError
from xentlab.tasks import find
from xentlab.threads import heed_interruption

# Inputs of no more numbers than this are as the step wants them from the start: 64 MiB in float32.
_SMALL = 2**24


class Batches:
    """A dataset on the device under the splits of R trials.

    Args:
        dataset: all examples.
        splits: one for each trial, equal in sizes.
        seeds: one for each trial; equal seeds mean equal splits, and one seed throughout means shared batches.
        device: where the step runs.
        dtype: of the inputs that the step sees.
        augment: what is done to each batch of training, see `xentlab.data.augment`.
        balanced: whether an epoch draws its examples, every class equally often; else it has each once.

    Attributes:
        shared: rows see the same batches.
        dear: a batch is decoded or augmented; rows should not ask for it again.
    """

    def __init__(
        self,
        dataset: Dataset,
        splits: Sequence[Split],
        seeds: Sequence[int],
        device: torch.device,
        dtype: torch.dtype,
        *,
        balanced: bool = False,
        augment: Callable[..., tuple[Tensor, Tensor]] = unchanged,
    ) -> None:
        self.device, self.dtype = device, dtype
        self.seeds = list(seeds)
        self.shared = len(set(seeds)) == 1
        self._scale, self._offset = dataset.scale, dataset.offset
        self._fitted = self._fit_scaling(dataset, splits)
        self._stream = dataset.stream
        home = _home(dataset, device)
        self._ready = False
        self._inputs = dataset.inputs if self._stream is not None else dataset.inputs.to(home)
        if self._stream is None and self._fitted is None and home == device and self._inputs.numel() <= _SMALL:
            self._inputs, self._ready = self._prepared(self._inputs, slice(0, 1)), True
        self._targets = _resident(dataset.targets).to(home)
        rows = splits[:1] if self.shared else splits
        self._floats = find(dataset.task).floats
        self._index = {
            part: torch.stack([getattr(s, part) for s in rows]).to(home) for part in ("train", "val", "test")
        }
        self._train_targets = torch.stack([_resident(s.train_targets) for s in rows]).to(home)
        function = augment.func if isinstance(augment, partial) else augment
        found = declared(function)
        self._augment = None if function is unchanged else augment
        self.dear = self._augment is not None or self._stream is not None
        self._one_hot = dataset.num_classes if found is not None and found.mixes else None
        self._chances: dict[int, Tensor] = {}
        if balanced:
            self._chances = {s: _chances(part, dataset) for s, part in zip(self.seeds, splits, strict=True)}
        self._soft_targets = None
        if dataset.soft_targets is not None:
            self._soft_targets = dataset.soft_targets.to(home)
            self._check_taught()
        self.size = {part: index.shape[1] for part, index in self._index.items()}

    def _check_taught(self) -> None:
        """Refuse a training set of which some examples have no soft target."""
        assert self._soft_targets is not None
        for seed, index in zip(self.seeds, self._index["train"], strict=False):
            lacking = int(torch.isnan(self._soft_targets[index]).any(1).sum())
            if lacking:
                raise UserError(
                    f"dataset.soft_targets must hold a target for each of the {len(index)} training examples of seed "
                    f"{seed}, found {lacking} without: a student sees its teacher's training set, so its seed and "
                    f"sampling are the teacher's."
                )

    def index_bytes(self) -> int:
        """What the tables of all rows take: which examples are whose, and an epoch's order three times over."""
        tables = sum(index.nbytes for index in self._index.values()) + self._train_targets.nbytes
        return tables + 3 * self._index["train"].nbytes

    def num_steps(self, batch_size: int) -> int:
        """Steps in an epoch."""
        return num_steps(self.size["train"], batch_size)

    def training(self, rows: slice, epoch: int, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches of one epoch for these rows: inputs and targets [rows, B, ...], or [B, ...] where rows share."""
        order = self._orders(epoch, rows)
        chosen = self._for_rows(self._index["train"], rows).gather(-1, order)
        places = order + self._row_starts(rows)
        draws = {s: generator(s, f"augmentation of epoch {epoch}") for s in self._seeds_of(rows)}
        used = self.num_steps(batch_size) * batch_size
        for batch, inputs in self._read(chosen[..., :used], batch_size, epoch):
            if self._soft_targets is None:
                target = _gather(self._train_targets.flatten(0, 1), places[..., batch])
            else:
                target = _gather(self._soft_targets, chosen[..., batch])
            yield self._augmented(self._prepared(inputs, rows), self._target(target), rows, draws)

    def _augmented(
        self, inputs: Tensor, target: Tensor, rows: slice, draws: dict[int, torch.Generator]
    ) -> tuple[Tensor, Tensor]:
        """The batch as the augmentation of each row's seed makes it, once for all rows of a seed."""
        if self._augment is None:
            return inputs, target
        if self._one_hot is not None and not target.is_floating_point():
            target = functional.one_hot(target.long(), self._one_hot).to(self.dtype)
        seeds = self._seeds_of(rows)
        if len(seeds) == 1:
            return self._augment(inputs, target, draws[seeds[0]])
        made = {s: self._augment(inputs[i], target[i], draws[s]) for s, i in {s: seeds.index(s) for s in seeds}.items()}
        return torch.stack([made[s][0] for s in seeds]), torch.stack([made[s][1] for s in seeds])

    def evaluation(
        self, rows: slice, part: str, batch_size: int, limit: int | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """The first `limit` examples of a part in its own order; training examples with the split's training labels."""
        index = self._for_rows(self._index[part][:, :limit], rows)
        if part == "train":
            source, places = self._train_targets.flatten(0, 1), torch.arange(index.shape[-1], device=index.device)
            places = places + self._row_starts(rows)
        else:
            source, places = self._targets, index
        for batch, inputs in self._read(index, batch_size):
            yield self._prepared(inputs, rows), self._target(_gather(source, places[..., batch]))

    def chosen(self, rows: slice, part: str, places: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs and targets of `val` or `test` examples by their places in the part [n]."""
        index = self._for_rows(self._index[part], rows)[..., places.to(self._index[part].device)]
        return self._prepared(self._gathered(index), rows), self._target(_gather(self._targets, index))

    def peek(self, rows: slice, part: str) -> Tensor:
        """Inputs of the first two examples of a part at most; where they are streamed, what is as large."""
        index = self._for_rows(self._index[part][:, :2], rows)
        if self._stream is not None:
            return self._prepared(torch.zeros(*index.shape, *self._inputs.shape[1:], dtype=self._inputs.dtype), rows)
        return self._prepared(_gather(self._inputs, index), rows)

    def _read(self, index: Tensor, batch_size: int, epoch: int | None = None) -> Iterator[tuple[slice, Tensor]]:
        """The inputs of these examples [..., n], some after the others, with their places among them."""
        if self._stream is not None:
            yield from self._stream.batches(index, batch_size, self.device, epoch=epoch)
            return
        for start in range(0, index.shape[-1], batch_size):
            heed_interruption()
            batch = slice(start, start + batch_size)
            yield batch, _gather(self._inputs, index[..., batch])

    def _gathered(self, index: Tensor) -> Tensor:
        """The inputs of these examples, at once."""
        if self._stream is not None:
            return self._stream.gather(index.reshape(-1)).unflatten(0, index.shape)
        return _gather(self._inputs, index)

    def targets(self, row: int, part: str) -> Tensor:
        """The targets of one trial's part, on the data's device: indices [n], masks [n, H, W] ..."""
        row = 0 if self.shared else row
        if part == "train":
            return self._train_targets[row]
        return self._targets[self._index[part][row]]

    def examples(self, rows: slice, part: str) -> Tensor:
        """Where the examples of a part lie in the dataset, in the part's order: [rows, n], or [n] where rows share."""
        return self._for_rows(self._index[part], rows)

    def _orders(self, epoch: int, rows: slice) -> Tensor:
        """Which of its training set each of these rows sees in this epoch, and in which order: [rows, n] or [n]."""
        seeds, size = self._seeds_of(rows), self.size["train"]
        draws = {s: generator(s, f"order of epoch {epoch}") for s in seeds}
        if self._chances:
            orders = {s: self._chances[s].multinomial(size, replacement=True, generator=g) for s, g in draws.items()}
        else:
            orders = {s: torch.randperm(size, generator=g) for s, g in draws.items()}
        found = torch.stack([orders[s] for s in seeds]).to(self._targets.device)
        return found[0] if len(found) == 1 else found

    def _seeds_of(self, rows: slice) -> list[int]:
        """The seed of each of these rows, one where all share it."""
        return self.seeds[:1] if self.shared else self.seeds[rows]

    def _for_rows(self, table: Tensor, rows: slice) -> Tensor:
        """These rows of a table [R or 1, n], without the row axis where one row serves them all."""
        mine = table[slice(0, 1) if self.shared else rows]
        return mine[0] if len(mine) == 1 else mine

    def _row_starts(self, rows: slice) -> Tensor:
        """Where each row begins in the training targets of all rows, one after another."""
        starts = torch.arange(len(self._train_targets), device=self._targets.device) * self.size["train"]
        return self._for_rows(starts.unsqueeze(1), rows)

    def _prepared(self, inputs: Tensor, rows: slice) -> Tensor:
        if self._ready or inputs.dtype == torch.int64:
            return inputs.to(self.device, non_blocking=True)
        values = inputs.to(self.device, self.dtype, non_blocking=True)
        if self._fitted is not None:
            # Each row of a stack has the numbers of its own seed, for all examples of a batch.
            offset, factor, fill = (self._for_rows(table, rows).unsqueeze(-2) for table in self._fitted)
            return (torch.where(values.isnan(), fill, values) - offset) * factor
        if self._offset:
            values = values - self._offset
        return values * self._scale if self._scale != 1.0 else values

    def _fit_scaling(self, dataset: Dataset, splits: Sequence[Split]) -> list[Tensor] | None:
        """Offset, factor and fill of each row [R or 1, F], see `xentlab.data.scaling`; None where none are needed."""
        fitted = {s: fit_scaling(dataset, part.train) for s, part in zip(self.seeds, splits, strict=True)}
        rows = [fitted[s] for s in (self.seeds[:1] if self.shared else self.seeds)]
        known = [row for row in rows if row is not None]
        if not known:
            return None
        table = [
            (row.offset, row.factor, torch.zeros_like(row.offset) if row.fill is None else row.fill) for row in known
        ]
        return [torch.stack(column).to(self.device, self.dtype) for column in zip(*table, strict=True)]

    def scaling(self, row: int) -> tuple[Tensor, Tensor, Tensor | None]:
        """How an input of one trial becomes what its model sees: `(value - offset) * factor`, NaN being `fill`."""
        if self._fitted is None:
            return torch.tensor(self._offset, dtype=self.dtype), torch.tensor(self._scale, dtype=self.dtype), None
        offset, factor, fill = (table[0 if self.shared else row] for table in self._fitted)
        return offset, factor, fill

    def _target(self, target: Tensor) -> Tensor:
        floats = self._floats or target.is_floating_point()
        return target.to(self.device, self.dtype if floats else None, non_blocking=True)


def num_steps(examples: int, batch_size: int) -> int:
    """Steps in an epoch: a last batch of a single example is left out, since BatchNorm cannot train on it."""
    full, rest = divmod(examples, batch_size)
    return max(full + (rest > 1), 1)


def _resident(targets: Tensor) -> Tensor:
    """Class indices of examples are widened once, not in every batch; what is larger stays as small as it is."""
    return targets.long() if targets.ndim == 1 and not targets.is_floating_point() else targets


def _chances(part: Split, dataset: Dataset) -> Tensor:
    """By which a training example is drawn [n], so that all classes that occur are drawn equally often."""
    strata = find(dataset.task).strata
    assert strata is not None
    classes = strata(replace(dataset, targets=part.train_targets))
    return 1 / classes.bincount()[classes].double()


def _gather(source: Tensor, index: Tensor) -> Tensor:
    """`source[index]` along the first axis, for an index of any shape."""
    return source.index_select(0, index.reshape(-1)).unflatten(0, index.shape)


def _home(dataset: Dataset, device: torch.device) -> torch.device:
    """Where the data lives: on the step's device where it takes at most half of the free memory, else on the CPU."""
    if device.type != "cuda" or dataset.stream is not None:
        return torch.device("cpu")
    free, _ = torch.cuda.mem_get_info(device)
    return device if dataset.inputs.nbytes < free // 2 else torch.device("cpu")
