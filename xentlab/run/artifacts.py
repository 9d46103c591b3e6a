"""What belongs to one finished trial beside its numbers: config, environment, weights, answers, examples."""

from __future__ import annotations

import contextlib
import os
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
import yaml
from torch import Tensor

from xentlab.disk import cannot_go_on
from xentlab.journal.lines import DamagedError, unseal, whole_lines
from xentlab.run.checkpoint import check_tensors
from xentlab.secrets import redacted
from xentlab.train import Fit, Rig, augmented, examples

# The same text as the emitter in Python, twenty times as fast.
_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
_WEIGHTS = ("final", "best")
_ANSWERS = "answers.npz"
_OPENING = "opening.jsonl"


def write_artifacts(
    folder: Path, fit: Fit, row: int, environment: str, opening: bytes, scratch: Callable[[Path], Path] | None
) -> None:
    """Write them into a folder of the trial's own, environment and journal lines as they are; examples where it met its
    test set; weights by way of `scratch`, see `written_together`, where there is one.
    """
    trial = fit.rig.trials[row]
    folder.mkdir(parents=True, exist_ok=True)
    config = yaml.dump(redacted(trial.config), Dumper=_DUMPER, sort_keys=False, allow_unicode=True)
    (folder / "config.yaml").write_text(config)
    (folder / "environment.json").write_text(environment)
    (folder / _OPENING).write_bytes(opening)
    if scratch is not None:
        final, best = (fit.weights(row, which) for which in _WEIGHTS)
        places = [scratch(folder / f"{which}.pt") for which in _WEIGHTS]
        torch.save(final, places[0])
        same = all(torch.equal(value, best[name]) for name, value in final.items())
        if not (same and _linked(*places)):
            torch.save(best, places[1])
    if trial.test:
        write_examples(folder, fit.rig, row, {} if fit.history.diverged[row] else fit.answers)


def _linked(file: Path, name: Path) -> bool:
    """Give a file a second name, where its disk can: equal weights take no second place."""
    try:
        os.link(file, name)
    except OSError:
        return False
    return True


def write_examples(folder: Path, rig: Rig, row: int, answers: Mapping[str, Tensor]) -> None:
    """Write what pictures test examples of one trial, and what each came to, where its task has such."""
    pictured = examples(rig, row)
    if pictured:
        np.savez_compressed(folder / "examples.npz", allow_pickle=False, **pictured)
    sheet = augmented(rig, row)
    if sheet is not None:
        (folder / "augmented.png").write_bytes(sheet)
    if answers:
        _write_answers(folder, rig, row, answers)


def _write_answers(folder: Path, rig: Rig, row: int, answers: Mapping[str, Tensor]) -> None:
    """Right and wrong as bits, and in `test` which of the data the examples were; archives leave the file out."""
    member = np.zeros(len(rig.dataset.targets), dtype=bool)
    member[rig.batches.examples(slice(row, row + 1), "test").cpu().numpy()] = True
    columns = {"test": member} | {name: values[row].numpy() for name, values in answers.items()}
    packed = {name: np.packbits(values) if values.dtype == bool else values for name, values in columns.items()}
    np.savez_compressed(folder / _ANSWERS, allow_pickle=False, **packed)


def read_answers(folder: Path) -> dict[str, np.ndarray]:
    """What was kept: `test` [N of the data], all else [n of the test set]; nothing where nothing was."""
    if not (folder / _ANSWERS).is_file():
        return {}
    with np.load(folder / _ANSWERS, allow_pickle=False) as kept:
        bits = {name: np.unpackbits(kept[name]) for name in kept if kept[name].dtype == np.uint8}
        size = int(bits["test"].sum())
        return {name: bits[name][: None if name == "test" else size] if name in bits else kept[name] for name in kept}


def read_opening(folder: Path) -> bytes | None:
    """The lines of the journal that opened a trial, from its folder; None where they are not whole."""
    try:
        lines = (folder / _OPENING).read_bytes()
        for line in lines.splitlines():
            unseal(line)
    except (OSError, DamagedError):
        return None
    return lines


def keep_openings(root: Path, lines: bytes) -> None:
    """Keep the journal's lines that opened groups a second time, at its root: a group has no folder of its own."""
    try:
        with open(root / _OPENING, "ab") as file:
            file.write(lines)
    except OSError as error:
        raise cannot_go_on(root, error) from error


def read_openings(root: Path) -> dict[str, bytes]:
    """Group -> the line that opened it last, of those that are whole."""
    found: dict[str, bytes] = {}
    if (root / _OPENING).is_file():
        for line in whole_lines(root / _OPENING):
            with contextlib.suppress(DamagedError):
                found[unseal(line)["group"]] = line
    return found


def read_weights(folder: Path) -> dict[str, dict[str, Tensor]] | None:
    """A trial's final and best weights; None where they were not kept, or are damaged."""
    files = {which: folder / f"{which}.pt" for which in _WEIGHTS}
    try:
        for file in files.values():
            check_tensors(file)
    except (OSError, zipfile.BadZipFile):
        return None
    return {which: torch.load(file, map_location="cpu", weights_only=True) for which, file in files.items()}


def drop_weights(folder: Path) -> None:
    """Remove a trial's weights, where they were kept."""
    for which in _WEIGHTS:
        (folder / f"{which}.pt").unlink(missing_ok=True)
