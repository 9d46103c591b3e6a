"""Where a stack that is interrupted goes on: its last checkpoint, and the one before should that be damaged."""

from __future__ import annotations

import hashlib
import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from xentlab.disk import cannot_go_on, written_whole


def check_tensors(path: Path) -> None:
    """Read a file of `torch.save` to its end and compare every checksum in it, which `torch.load` does not.

    Raises:
        zipfile.BadZipFile: it is not as it was written.
    """
    try:
        with zipfile.ZipFile(path) as members:
            bad = members.testzip()
    except (zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError, struct.error) as error:
        raise zipfile.BadZipFile(f"it is no whole archive: {error}") from error
    if bad is not None:
        raise zipfile.BadZipFile(f"the checksum of {bad} differs")


def trials_in(path: Path) -> list[str]:
    """The ids of the trials that a checkpoint is of; none where it is damaged."""
    try:
        check_tensors(path)
        return list(torch.load(path, map_location="cpu", weights_only=True, mmap=True)["trials"])
    except Exception:  # as in `Checkpoint.load`
        return []


class Checkpoint:
    """Two files for all trials of a stack, the newest and the one before, each replaced whole or not at all."""

    def __init__(self, root: Path, signatures: Sequence[str]) -> None:
        key = hashlib.sha256("".join(signatures).encode()).hexdigest()[:32]
        self.path = root / "checkpoints" / f"{key}.pt"
        self.before = root / "checkpoints" / f"{key}.before.pt"

    def load(self, say: Callable[[str], None] = lambda sentence: None) -> tuple[list[str], dict[str, Any] | None]:  # noqa: ARG005
        """The trials' ids and the snapshot, or ([], None) where there is none; one that is damaged is said."""
        for path, instead in ((self.path, "the one before"), (self.before, "the start")):
            if not path.is_file():
                continue
            try:
                check_tensors(path)
                saved = torch.load(path, map_location="cpu", weights_only=True)
                return list(saved["trials"]), dict(saved["snapshot"])
            except Exception as error:  # torch raises a dozen kinds over a file that is not as it was
                reason = f"{type(error).__name__}: {error}".partition("\n")[0].rstrip(".")
                say(f"The checkpoint {path} is damaged and passed over, for {instead}: {reason}.")
        return [], None

    def save(self, ids: Sequence[str], snapshot: dict[str, Any]) -> None:
        """Write the newest; the one that was becomes the one before."""
        try:
            with written_whole(self.path) as scratch:
                torch.save({"trials": list(ids), "snapshot": snapshot}, scratch)
                if self.path.exists():
                    self.path.replace(self.before)
        except OSError as error:
            raise cannot_go_on(self.path.parent.parent, error) from error

    def remove(self) -> None:
        """Remove both, and what a kill has left of a third."""
        for path in self.path.parent.glob(f"{self.path.stem}.*"):
            path.unlink(missing_ok=True)
