"""What the tests of archives and reproductions share: one small comparison, and ways to tamper with it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from xentlab.journal import Records, TrialRecord
from xentlab.journal.lines import seal, unseal
from xentlab.reproduce.archive import contents

Run = Callable[..., tuple[int, str, str]]


SMALL = (
    "compare", "tracking=off", "trainer.epochs=2", "dataset.train_fraction=0.3", "model.hidden=[8]",
    "comparison.losses=[ce,{smooth:{loss:custom_ce,smoothing:0.1}}]",
    "comparison.replicate=point", "comparison.tuning_seeds=2",
    "comparison.final_seeds=3", "comparison.extensions=0", "comparison.tune.optimizer.lr=[0.03,0.1,0.3]",
)  # fmt: skip


def read(root: Path) -> Records:
    records = Records(root)
    records.update()
    return records


def folder_of(root: Path) -> Path:
    return min((root / "comparisons").iterdir())


def trials(root: Path, phase: str) -> list[TrialRecord]:
    return [t for t in read(root).trials.values() if t.tags.get("phase") == phase]


def rewrite(root: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Tamper with every event of a journal."""
    for path in (root / "journal").glob("*.jsonl"):
        events = [unseal(line) for line in path.read_bytes().splitlines()]
        for event in events:
            change(event)
        path.write_bytes(b"".join(map(seal, events)))


def forge(made: Path, out: Path, change: Callable[[dict[str, bytes]], None]) -> Path:
    """An archive whose manifest is right about contents that were changed."""
    facts, members = contents.read_members(made / "comparison.zip")
    change(members)
    contents.write_archive(out, {key: value for key, value in facts.items() if key != "format"}, members)
    return out


def first(kind: str, **fields: Any) -> Callable[[dict[str, bytes]], None]:
    """Change the fields of the journal's first event of this kind."""

    def apply(members: dict[str, bytes]) -> None:
        events = [json.loads(line) for line in members["journal.jsonl"].splitlines()]
        next(event for event in events if event["event"] == kind).update(fields)
        members["journal.jsonl"] = "".join(json.dumps(event) + "\n" for event in events).encode()

    return apply
