"""Inputs that stay where they are and are decoded as batches ask for them: a folder of any size, read as it trains.

A dataset with a `Stream` has inputs that only say their shape (on the meta device); whoever wants values asks the
stream. A few threads decode, a few batches ahead of those who take them. Readers who train side by side take turns
(see `turns`), and every batch is decoded and moved once for all of them.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from xentlab.data import turns
from xentlab.data.pixels import Remarks, read_all
from xentlab.data.sources import Files, Source

# Of batches that are decoded ahead: at most so many, in so many bytes; one at least.
_AHEAD, _AHEAD_BYTES = 8, 2**26
# Of a chunk where the order is not that of training, and readers may cut it differently: examples and bytes at most.
_CHUNK, _CHUNK_BYTES = 64, 2**23


# Of this computer's memory, what decoded images may take at most where `resident` is left to the lab. Not of what is
# free of it: the same command decides alike on a busy day.
_SHARE = 0.25


def is_held(resident: str | bool, count: int, shape: Sequence[int], remarks: Remarks, itemsize: int = 1) -> bool:
    """Whether so many inputs, of `itemsize` bytes a number, are decoded once and held; says so where they are not."""
    needed = count * int(np.prod(shape)) * itemsize
    limit = _SHARE * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if resident is True or (resident == "auto" and needed <= limit):
        return True
    why = f"more than {limit / 2**20:,.0f} MB" if resident == "auto" else "dataset.resident=false"
    remarks.notes.append(f"decoded as training asks for them, not held ({needed / 2**20:,.0f} MB; {why})")
    return False


def images_of(
    folder: Path, files: Sequence[Path], shape: tuple[int, ...], read: Callable[[Path], Tensor], facts: str,
    resident: str | bool, remarks: Remarks,
) -> tuple[Tensor, Stream | None]:  # fmt: skip
    """Images uint8 [N, *shape] in files, decoded now and held, or what stands for them and their stream."""
    if is_held(resident, len(files), shape, remarks):
        held = torch.empty(len(files), *shape, dtype=torch.uint8)
        read_all(lambda index: held[index].copy_(read(files[index])), len(files))
        return held, None
    stream = Stream(Files(folder, files, read, facts), (len(files), *shape))
    return stream.inputs, stream


class Stream:
    """The inputs [N, ...] of a source, decoded when they are asked for.

    Attributes:
        row_bytes: of one.
    """

    def __init__(self, source: Source, shape: Sequence[int], dtype: torch.dtype = torch.uint8) -> None:
        self.source, self.shape, self.dtype = source, tuple(shape), dtype
        self.row_bytes = int(np.prod(self.shape[1:])) * dtype.itemsize
        self._chunk = max(1, min(_CHUNK, _CHUNK_BYTES // self.row_bytes))
        self._current: _Reading | None = None

    @property
    def inputs(self) -> Tensor:
        """What stands for the inputs in a dataset: their shape and type without a value."""
        return torch.empty(self.shape, dtype=self.dtype, device="meta")

    def window(self, batch_size: int) -> int:
        """Bytes that decoded inputs take at most while they are read in batches of this size."""
        chunk = max(batch_size, self._chunk) * self.row_bytes
        return (_ahead(chunk) + 2) * chunk

    def gather(self, index: Tensor) -> Tensor:
        """The inputs of an index [n], decoded now."""
        return torch.stack([self.source.read(i) for i in index.tolist()])

    def batches(
        self, order: Tensor, size: int, device: torch.device, *, epoch: int | None = None
    ) -> Iterator[tuple[slice, Tensor]]:
        """Inputs in an order [n] or [rows, n], `size` of each row at a time: where they stand in it, and they.

        Args:
            order: indices of examples.
            epoch: of which this order is the training; None for one that measures.
        """
        stage = turns.stage(epoch)
        chunk = size if epoch is not None else self._chunk
        for start in range(0, order.shape[-1], size):
            batch = slice(start, min(start + size, order.shape[-1]))
            turns.wait((*stage, start))
            yield batch, self._reading(order, chunk, device).take(batch)
        self.source.save()

    def close(self) -> None:
        """Decode nothing more ahead."""
        if self._current is not None:
            self._current.drop(len(self._current.columns))
            self._current = None

    def _reading(self, order: Tensor, size: int, device: torch.device) -> _Reading:
        """The reading of this order that is in progress, or a new one in the place of what is."""
        now = self._current
        if now is None or (now.size, now.device) != (size, device) or not torch.equal(now.order, order):
            self.close()
            self._current = now = _Reading(self, order.cpu(), size, device)
        return now


class _Reading:
    """Inputs in one order, decoded in chunks of `size`, some chunks ahead of who takes them."""

    def __init__(self, stream: Stream, order: Tensor, size: int, device: torch.device) -> None:
        self.order, self.size, self.device, self._stream = order, size, device, stream
        self.columns = order.split(size, dim=-1)
        self._ahead = _ahead(self.columns[0].numel() * stream.row_bytes)
        self._chunks: dict[int, tuple[Tensor, list[Future[None]]]] = {}  # what is decoded waits for nothing more

    def take(self, batch: slice) -> Tensor:
        """Columns of the order; what comes before them is not asked for any more."""
        first, last = batch.start // self.size, (batch.stop - 1) // self.size
        self.drop(first)
        for number in range(first, min(last + self._ahead + 1, len(self.columns))):
            self._begin(number)
        chunks = [self._chunk(number) for number in range(first, last + 1)]
        whole = chunks[0] if first == last else torch.cat(chunks, self.order.ndim - 1)
        inside = slice(batch.start - first * self.size, batch.stop - first * self.size)
        return whole[(slice(None),) * (self.order.ndim - 1) + (inside,)]

    def drop(self, before: int) -> None:
        """Forget chunks before this one."""
        for number in [n for n in self._chunks if n < before]:
            for job in self._chunks.pop(number)[1]:
                job.cancel()

    def _begin(self, number: int) -> None:
        if number in self._chunks:
            return
        index = self.columns[number].reshape(-1).tolist()
        images = torch.empty(len(index), *self._stream.shape[1:], dtype=self._stream.dtype)

        def decode(place: int) -> None:
            images[place] = self._stream.source.read(index[place])

        self._chunks[number] = images, [_pool().submit(decode, place) for place in range(len(index))]

    def _chunk(self, number: int) -> Tensor:
        images, jobs = self._chunks[number]
        if jobs:
            for job in jobs:
                job.result()
            images = images.unflatten(0, self.columns[number].shape).to(self.device)
            self._chunks[number] = images, []
        return images


@functools.cache
def _pool() -> ThreadPoolExecutor:
    """Pillow decodes, resizes and hashing runs outside the interpreter's lock, so threads do: one for each core."""
    return ThreadPoolExecutor(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())


def _ahead(chunk: int) -> int:
    return max(1, min(_AHEAD, _AHEAD_BYTES // chunk))
