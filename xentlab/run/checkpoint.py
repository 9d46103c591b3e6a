"""Where a stack that is interrupted goes on."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch


class Checkpoint:
    """One file for all trials of a stack, replaced whole or not at all."""

    def __init__(self, root: Path, signatures: Sequence[str]) -> None:
        key = hashlib.sha256("".join(signatures).encode()).hexdigest()[:32]
        self.path = root / "checkpoints" / f"{key}.pt"

    def load(self) -> tuple[list[str], dict[str, Any] | None]:
        """The trials' ids and the snapshot, or ([], None) where there is none."""
        if not self.path.is_file():
            return [], None
        saved = torch.load(self.path, map_location="cpu", weights_only=True)
        return list(saved["trials"]), saved["snapshot"]

    def save(self, ids: Sequence[str], snapshot: dict[str, Any]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        scratch = self.path.with_suffix(".part")
        torch.save({"trials": list(ids), "snapshot": snapshot}, scratch)
        scratch.replace(self.path)

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
