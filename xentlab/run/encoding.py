"""What the frozen part of a model gives for every example: computed once, kept in the user's cache, trained on since.

A file is what decides it: data, frozen weights, structure, code, precision and kind of device. It is written in pieces
to a file of another name, which is gone on with where it was left, and takes its own name when it is whole and on disk.
It ends with a checksum: a file that has changed since is computed again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import io
import json
import math
import os
import shutil
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from xentlab.data import Dataset
from xentlab.data.augment import unchanged
from xentlab.data.dataset import Encoded
from xentlab.disk import cache, sync_folder, why_refused
from xentlab.errors import UserError
from xentlab.models.start import seen_by, trained_part
from xentlab.run.training import Say
from xentlab.train import Trial
from xentlab.train.modules import first_module
from xentlab.train.signature import code_digest

# Bytes of inputs that go through at once, and seconds between two words about how far it is.
_PIECE, _QUIET_S = 2**24, 10.0
# The CRC-32 of whatever its own CRC-32 follows.
_WHOLE = 0x2144DF1C


def features_folder() -> Path:
    """Where features are kept."""
    return cache("features")


def features_kept(*, free: bool = False) -> tuple[int, int]:
    """How many files of features there are, whole or not, and their bytes; with `free` they are removed."""
    files = [path for path in features_folder().glob("*") if path.suffix in (".npy", ".part")]
    size = sum(path.stat().st_size for path in files)
    if free and files:
        with _alone(features_folder()):
            for path in files:
                path.unlink(missing_ok=True)
    return len(files), size


def encoded(trial: Trial, dataset: Dataset, say: Say) -> Dataset:
    """The data with what the frozen part of the trial's model gives for them, where that is the same for every seed.

    Raises:
        UserError: the model is wrong, or there is no room for what it gives.
    """
    through = "so its trials go through the frozen part in every step"
    if trial.trainer.window is not None:
        say(f"trainer.window={trial.trainer.window}: what is frozen is shown parts of images, {through}.")
        return dataset
    module, _ = first_module(trial, dataset, 0)
    head = trained_part(module, dataset.blank(2))
    if head is None:
        say(f"model.freeze={trial.start.freeze}: what moves is no part that comes last, {through}.")
        return dataset
    if trial.augment.func is not unchanged:
        say(f"augment={trial.names['augment']} comes before what model.freeze={trial.start.freeze} names, {through}.")
        return dataset
    if dataset.standardize or dataset.impute is not None:
        say(f"model.freeze={trial.start.freeze}: each seed scales the inputs of {dataset.name} by itself, {through}.")
        return dataset
    other, _ = first_module(trial, dataset, 1)
    if (frozen := _digest(module, head)) != _digest(other, head):
        say(f"model.freeze={trial.start.freeze}: each seed draws what is frozen, {through}: model.weights fixes it.")
        return dataset
    dtype = torch.float64 if trial.trainer.precision == "float64" else torch.float32
    facts = [dataset.fingerprint, frozen, head, repr(module), code_digest(trial.model), str(dtype), trial.device.type]
    file = features_folder() / f"{hashlib.sha256(json.dumps([*facts, torch.__version__]).encode()).hexdigest()}.npy"
    shape = tuple(seen_by(module.eval(), head, dataset.blank(1))[0][0].shape[1:])
    work = _Work(file, trial.start.freeze, module, head, dataset, shape, dtype, trial.device, say)
    if not file.exists():
        work.check_room()
    return dataclasses.replace(dataset, encoded=Encoded(head, shape, work.features))


def _digest(module: nn.Module, head: str) -> str:
    """sha256 of all of a module but one part."""
    digest = hashlib.sha256()
    for name, value in module.state_dict().items():
        if not name.startswith(f"{head}."):
            digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            digest.update(value.contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


@dataclasses.dataclass(frozen=True)
class _Work:
    """One file of features: what is needed to compute it."""

    file: Path
    freeze: str
    module: nn.Module
    head: str
    dataset: Dataset
    shape: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device
    say: Say

    @property
    def count(self) -> int:
        return len(self.dataset.inputs)

    def check_room(self) -> None:
        """Refuse where the disk has no room for it.

        Raises:
            UserError: so it is.
        """
        existing = next(place for place in self.file.parents if place.exists())
        free, needed = shutil.disk_usage(existing).free, self._row_bytes() * self.count
        if self._part().exists():
            needed -= self._part().stat().st_size
        if free < needed:
            raise self._no_room(f"only {free / 2**20:,.0f} MB are free")

    def features(self) -> Tensor:
        """Features [N, *shape], read as they are needed."""
        try:
            with _alone(self.file.parent):
                for _ in range(2):
                    if (found := self._undamaged()) is not None:
                        return found
                    self._compute()
        except OSError as error:
            self._part().unlink(missing_ok=True)
            raise self._no_room(why_refused(error)) from error
        raise UserError(f"{self.file} must hold what was just written there: the disk does not keep it.")

    def _undamaged(self) -> Tensor | None:
        """What the file holds; None where there is none, or it is damaged, which is said."""
        if not self.file.exists():
            return None
        with contextlib.suppress(ValueError, EOFError):
            found = np.load(self.file, mmap_mode="c")
            if found.shape == (self.count, *self.shape) and _checksum(self.file) == _WHOLE:
                return torch.from_numpy(found)
        self.say(f"{self.file} is damaged: what is frozen goes over the data once more.")
        return None

    def _compute(self) -> None:
        count, piece = self.count, max(1, min(256, _PIECE // (4 * math.prod(self.dataset.input_shape))))
        header = io.BytesIO()
        descr = {"descr": np.dtype(str(self.dtype)[6:]).str, "fortran_order": False, "shape": (count, *self.shape)}
        np.lib.format.write_array_header_1_0(header, descr)
        head, rows = header.getvalue(), self._row_bytes()
        size = rows * count / 2**20
        self.say(
            f"What is frozen goes over the {count:,} examples of {self.dataset.name} once: {size:,.1f} MB, kept in "
            f"{self.file.parent} (xentlab doctor --free removes it)."
        )
        module, began, said = self.module.to(self.device, self.dtype).eval(), time.monotonic(), time.monotonic()
        with self._part().open("ab") as out:
            # Of what was left, the last piece may not have reached the disk.
            first = max(0, (out.tell() - len(head)) // (piece * rows) - 1) * piece
            out.truncate(len(head) + first * rows if first else 0)
            if not first:
                out.write(head)
            for start, inputs in self._inputs_from(first, piece):
                values = inputs.to(self.device)
                if values.dtype != torch.int64:
                    values = (values.to(self.dtype) - self.dataset.offset) * self.dataset.scale
                out.write(seen_by(module, self.head, values)[0][0].cpu().contiguous().numpy().data)
                out.flush()
                os.fsync(out.fileno())
                done = min(start + piece, count)
                if time.monotonic() - said > _QUIET_S and done < count:
                    said = time.monotonic()
                    left = (said - began) / (done - first) * (count - done)
                    self.say(f"{done:,} of {count:,} examples in {said - began:.0f} s, about {left:.0f} s to go.")
            out.write(_checksum(self._part()).to_bytes(4, "little"))
            out.flush()
            os.fsync(out.fileno())
        self._part().replace(self.file)
        sync_folder(self.file.parent)

    def _inputs_from(self, first: int, size: int) -> Iterator[tuple[int, Tensor]]:
        """The inputs from one on, so many at a time, with the number of the first."""
        if self.dataset.stream is None:
            yield from ((start, self.dataset.inputs[start : start + size]) for start in range(first, self.count, size))
            return
        for batch, inputs in self.dataset.stream.batches(torch.arange(first, self.count), size, self.device):
            yield first + batch.start, inputs

    def _part(self) -> Path:
        return self.file.with_suffix(".part")

    def _row_bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    def _no_room(self, why: str) -> UserError:
        size = self._row_bytes() * self.count / 2**20
        return UserError(
            f"What model.freeze={self.freeze} computes once must fit into {self.file.parent}, {size:,.1f} MB: {why}; "
            f"xentlab doctor --free empties it, and XDG_CACHE_HOME names another place."
        )


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """No other process computes features within it."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _checksum(file: Path) -> int:
    """The CRC-32 of a file's bytes."""
    return zlib.crc32(np.memmap(file, np.uint8, "r").data)
