"""What a stream reads, one example at a time: files, or what a dataset from outside gives. What is not what it was when
it was listed or met is never trained on.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from xentlab.disk import cache, written_whole
from xentlab.errors import StoppedError, UserError


class Files:
    """Images in files, one each.

    Args:
        root: the folder that all files lie in.
        files: in the order of the examples.
        read: decodes one.
        facts: what beside the files decides what is decoded.

    Attributes:
        fingerprint: sha256 over the files' names, sizes and times and `facts`; their content is read in training.
    """

    def __init__(self, root: Path, files: Sequence[Path], read: Callable[[Path], Tensor], facts: str) -> None:
        self._files, self._read = [str(file) for file in files], read
        try:
            self._stat = np.array([_stamp(file) for file in self._files], dtype=np.int64)
        except OSError as error:
            raise UserError(f"{error.filename} cannot be read ({error.strerror}).") from error
        digest = hashlib.sha256(facts.encode())
        digest.update("\0".join(file.removeprefix(f"{root}{os.sep}") for file in self._files).encode())
        digest.update(self._stat.tobytes())
        self.fingerprint = digest.hexdigest()
        self._index = cache("index") / f"{self.fingerprint[:32]}.npy"
        self._digests = np.zeros((len(self._files), 32), dtype=np.uint8)  # sha256, as far as they are known
        with contextlib.suppress(OSError, ValueError):
            found = np.load(self._index, allow_pickle=False)
            if (found.shape, found.dtype) == (self._digests.shape, self._digests.dtype):
                self._digests = found
        self._unsaved = False

    def read(self, index: int) -> Tensor:
        """One image; called from several threads.

        Raises:
            StoppedError: its file has changed, or cannot be read.
        """
        file = self._files[index]
        try:
            if _stamp(file) != self._stat[index].tolist():
                raise StoppedError(f"{file} has changed since its folder was listed: the same command reads it anew.")
            if not self._digests[index].any():
                self._digests[index] = np.frombuffer(hashlib.sha256(Path(file).read_bytes()).digest(), dtype=np.uint8)
                self._unsaved = True
            return self._read(Path(file))
        except OSError as error:
            reason = f"{file} cannot be read ({error.strerror})"
        except UserError as error:
            reason = str(error).rstrip(".")
        raise StoppedError(f"{reason}: trials go on from their last checkpoint once it is what it was, or begin anew.")

    def contents(self) -> str:
        """What is known of the files' content by now, in a clause."""
        known = int(self._digests.any(1).sum())
        if known < len(self._files):
            return f"contents of {known} of {len(self._files)} files known"
        return f"contents sha256 {hashlib.sha256(self._digests.tobytes()).hexdigest()}"

    def save(self) -> None:
        """Keep what an epoch has found of the files' content; what cannot be kept is found again."""
        if self._unsaved:
            self._unsaved = False
            with contextlib.suppress(OSError), written_whole(self._index) as scratch, open(scratch, "wb") as opened:
                np.save(opened, self._digests)


class Remembered:
    """What an object from outside gives for an index, in one thread at a time: it need not be safe for several.

    All examples were met once; their `digests` are the sha256 of each, the `fingerprint` that of them together.
    """

    def __init__(self, name: str, read: Callable[[int], Tensor], digests: Sequence[bytes]) -> None:
        self._name, self._read, self._digests, self._lock = name, read, digests, threading.Lock()
        self.fingerprint = hashlib.sha256(b"".join(digests)).hexdigest()

    def read(self, index: int) -> Tensor:
        """One example; one that is not what it was stops the command."""
        with self._lock:
            value = self._read(index)
        if digest_of(value) != self._digests[index]:
            raise StoppedError(
                f"dataset {self._name} must give the same for an example every time, but example {index} is another "
                f"now: what draws at random belongs into augment."
            )
        return value

    def contents(self) -> str:
        """That every example was met."""
        return f"contents sha256 {self.fingerprint}"

    def save(self) -> None:
        """Nothing is found out anew."""


Source = Files | Remembered


def digest_of(value: Tensor) -> bytes:
    """The sha256 of one example."""
    return hashlib.sha256(value.contiguous().view(-1).view(torch.uint8).numpy().data).digest()


def _stamp(file: str) -> list[int]:
    """A file's size in bytes and when it was last written, in nanoseconds."""
    found = os.stat(file)
    return [found.st_size, found.st_mtime_ns]
