"""Images that stay in their files and are decoded as batches ask for them: a folder of any size, read as it trains.

A dataset with a `Stream` has inputs that only say their shape (on the meta device); whoever wants values asks the
stream. A few threads decode, a few batches ahead of those who take them. Readers who train side by side take turns
(see `turns`), and every batch is decoded and moved once for all of them.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from xentlab.data import turns
from xentlab.data.pixels import Remarks
from xentlab.data.places import cache
from xentlab.disk import written_whole
from xentlab.errors import StoppedError, UserError

# Of batches that are decoded ahead: at most so many, in so many bytes; one at least.
_AHEAD, _AHEAD_BYTES = 8, 2**26
# Of a chunk where the order is not that of training, and readers may cut it differently: examples and bytes at most.
_CHUNK, _CHUNK_BYTES = 64, 2**23


# Of this computer's memory, what decoded images may take at most where `resident` is left to the lab. Not of what is
# free of it: the same command decides alike on a busy day.
_SHARE = 0.25


def is_held(resident: str | bool, count: int, shape: Sequence[int], remarks: Remarks) -> bool:
    """Whether so many images uint8 [C, H, W] are decoded once and held; says so where they are not."""
    needed = count * int(np.prod(shape))
    limit = _SHARE * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if resident is True or (resident == "auto" and needed <= limit):
        return True
    why = f"more than {limit / 2**20:,.0f} MB" if resident == "auto" else "dataset.resident=false"
    remarks.notes.append(f"decoded as training asks for them, not held ({needed / 2**20:,.0f} MB; {why})")
    return False


class Stream:
    """The inputs uint8 [N, C, H, W] of N files, decoded when they are asked for.

    Args:
        root: the folder that all files lie in.
        files: in the order of the examples.
        shape: of one decoded example [C, H, W].
        read: decodes one into [C, H, W], by its index; called from several threads.
        facts: what beside the files decides what is decoded.

    Attributes:
        fingerprint: sha256 over the files' names, sizes and times and `facts`; their content is read in training.
    """

    def __init__(
        self, root: Path, files: Sequence[Path], shape: Sequence[int], read: Callable[[int], Tensor], facts: str
    ) -> None:
        self._files, self._read = [str(file) for file in files], read
        self.shape = (len(files), *shape)
        self._chunk = max(1, min(_CHUNK, _CHUNK_BYTES // int(np.prod(shape))))
        try:
            self._stat = np.array([_stamp(file) for file in self._files], dtype=np.int64)
        except OSError as error:
            raise UserError(f"{error.filename} cannot be read ({error.strerror}).") from error
        digest = hashlib.sha256(repr((facts, self.shape)).encode())
        digest.update("\0".join(os.path.relpath(file, root) for file in self._files).encode())
        digest.update(self._stat.tobytes())
        self.fingerprint = digest.hexdigest()
        self._current: _Reading | None = None
        self._index = cache("index") / f"{self.fingerprint[:32]}.npy"
        self._digests = self._known_digests()
        self._unsaved = False

    @property
    def inputs(self) -> Tensor:
        """What stands for the images [N, C, H, W] in a dataset: their shape and type without a value."""
        return torch.empty(self.shape, dtype=torch.uint8, device="meta")

    def window(self, batch_size: int) -> int:
        """Bytes that decoded images take at most while they are read in batches of this size."""
        chunk = max(batch_size, self._chunk) * int(np.prod(self.shape[1:]))
        return (_ahead(chunk) + 2) * chunk

    def gather(self, index: Tensor) -> Tensor:
        """The images of an index [n], decoded now."""
        return torch.stack([self._one(i) for i in index.tolist()])

    def batches(
        self, order: Tensor, size: int, device: torch.device, *, epoch: int | None = None
    ) -> Iterator[tuple[slice, Tensor]]:
        """Images in an order [n] or [rows, n], `size` of each row at a time: where they stand in it, and they.

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
        self._save()

    def contents(self) -> str:
        """What is known of the files' content by now, in a clause."""
        known = int(self._digests.any(1).sum())
        if known < len(self._files):
            return f"contents of {known} of {len(self._files)} files known"
        return f"contents sha256 {hashlib.sha256(self._digests.tobytes()).hexdigest()}"

    def close(self) -> None:
        """Decode nothing more ahead."""
        if self._current is not None:
            self._current.drop(None)
            self._current = None

    def _reading(self, order: Tensor, size: int, device: torch.device) -> _Reading:
        """The reading of this order that is in progress, or a new one in the place of what is."""
        now = self._current
        if now is None or (now.size, now.device) != (size, device) or not torch.equal(now.order, order):
            self.close()
            self._current = now = _Reading(self._one, order.cpu(), size, self.shape[1:], device)
        return now

    def _one(self, index: int) -> Tensor:
        file = self._files[index]
        try:
            if _stamp(file) != self._stat[index].tolist():
                raise StoppedError(f"{file} has changed since its folder was listed: the same command reads it anew.")
            if not self._digests[index].any():
                self._digests[index] = np.frombuffer(hashlib.sha256(Path(file).read_bytes()).digest(), dtype=np.uint8)
                self._unsaved = True
            return self._read(index)
        except OSError as error:
            reason = f"{file} cannot be read ({error.strerror})"
        except UserError as error:
            reason = str(error).rstrip(".")
        raise StoppedError(f"{reason}: trials go on from their last checkpoint once it is what it was, or begin anew.")

    def _known_digests(self) -> np.ndarray:
        """The sha256 of each file [N, 32] as far as they are known, else zeros."""
        with contextlib.suppress(OSError, ValueError):
            found = np.load(self._index, allow_pickle=False)
            if found.shape == (len(self._files), 32) and found.dtype == np.uint8:
                return np.asarray(found)
        return np.zeros((len(self._files), 32), dtype=np.uint8)

    def _save(self) -> None:
        """Keep what is known of the files' content; what cannot be kept is found again."""
        if self._unsaved:
            self._unsaved = False
            with contextlib.suppress(OSError), written_whole(self._index) as scratch, open(scratch, "wb") as opened:
                np.save(opened, self._digests)


class _Reading:
    """Images in one order, decoded in chunks of `size`, some chunks ahead of who takes them."""

    def __init__(
        self,
        read: Callable[[int], Tensor],
        order: Tensor,
        size: int,
        shape: Sequence[int],
        device: torch.device,
    ) -> None:
        self.order, self.size, self.device = order, size, device
        self._read, self._shape = read, shape
        self._columns = order.split(size, dim=-1)
        self._ahead = _ahead(self._columns[0].numel() * int(np.prod(shape)))
        self._waiting: dict[int, tuple[Tensor, list[Future[None]]]] = {}
        self._ready: dict[int, Tensor] = {}

    def take(self, batch: slice) -> Tensor:
        """Columns of the order; what comes before them is not asked for any more."""
        first, last = batch.start // self.size, (batch.stop - 1) // self.size
        self.drop(first)
        for number in range(first, min(last + self._ahead + 1, len(self._columns))):
            self._begin(number)
        chunks = [self._chunk(number) for number in range(first, last + 1)]
        whole = chunks[0] if first == last else torch.cat(chunks, self.order.ndim - 1)
        inside = slice(batch.start - first * self.size, batch.stop - first * self.size)
        return whole[(slice(None),) * (self.order.ndim - 1) + (inside,)]

    def drop(self, before: int | None) -> None:
        """Forget chunks before this one, or all."""
        for number in [n for n in (*self._ready, *self._waiting) if before is None or n < before]:
            self._ready.pop(number, None)
            for job in self._waiting.pop(number, (None, ()))[1]:
                job.cancel()

    def _begin(self, number: int) -> None:
        if number in self._ready or number in self._waiting:
            return
        index = self._columns[number].reshape(-1).tolist()
        images = torch.empty(len(index), *self._shape, dtype=torch.uint8)

        def decode(place: int) -> None:
            images[place] = self._read(index[place])

        self._waiting[number] = images, [_pool().submit(decode, place) for place in range(len(index))]

    def _chunk(self, number: int) -> Tensor:
        if number not in self._ready:
            images, jobs = self._waiting[number]
            for job in jobs:
                job.result()
            del self._waiting[number]
            self._ready[number] = images.unflatten(0, self._columns[number].shape).to(self.device)
        return self._ready[number]


@functools.cache
def _pool() -> ThreadPoolExecutor:
    """Pillow decodes, resizes and hashing runs outside the interpreter's lock, so threads do: one for each core."""
    return ThreadPoolExecutor(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())


def _ahead(chunk: int) -> int:
    return max(1, min(_AHEAD, _AHEAD_BYTES // chunk))


def _stamp(file: str) -> list[int]:
    """A file's size in bytes and when it was last written, in nanoseconds."""
    found = os.stat(file)
    return [found.st_size, found.st_mtime_ns]
