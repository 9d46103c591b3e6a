"""`xentlab predict` and `xentlab model`: trained models put to use."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import torch
from torch import Tensor

from xentlab.cli.console import console, titled
from xentlab.comparison.folder import phase
from xentlab.errors import UserError, unknown
from xentlab.journal import Records, TrialRecord
from xentlab.reproduce import find_record
from xentlab.run.predictor import Predictor, Which, predictor
from xentlab.tracking import registry, resolve_destination

_SHOWN = 20


def predict(name: str, inputs: list[str], loss: str | None, weights: Which, out: str | None, root: str) -> int:
    """Say what a trial, or all seeds of a comparison's loss, answer to files."""
    trained = predictor(Path(root), _trials(name, loss, Path(root)), weights)
    names: list[str] = []
    answers: list[Tensor] = []
    for place in inputs:
        found, x = trained.read(Path(place))
        names += found
        answers.append(trained.predict(x))
    answer = torch.cat(answers)
    heads = [*trained.dataset.class_names]
    places = answer.flatten(2).mean(2) if answer.ndim > 2 else answer  # of pixels and tokens: the mean over all
    if out is not None:
        with Path(out).open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            rows.writerow(["input", *heads])
            rows.writerows([name, *map(repr, row)] for name, row in zip(names, places.tolist(), strict=True))
        print(f"{out}: {len(names)} rows")
    else:
        _show(trained, names, places)
    _judge(trained, names, answer)
    return 0


def _show(trained: Predictor, names: list[str], answer: Tensor) -> None:
    """The first answers as a table: the likeliest class and the next ones with their probabilities, or the numbers."""
    heads, numeric = trained.dataset.class_names, trained.models[0].task.numeric
    count = len(trained.models)
    columns = ("input", *(heads if numeric else ("answer", "probability", "next")))
    title = f"{len(names)} inputs, {count} model{'s' if count > 1 else ''}"
    table = titled(title, columns, left=("input", "answer", "next"))
    for name, row in list(zip(names, answer, strict=True))[:_SHOWN]:
        if numeric:
            cells = [f"{value:.4g}" for value in row.tolist()]
        else:
            first, *others = row.argsort(descending=True).tolist()
            cells = [heads[first], f"{row[first]:.3f}", ", ".join(f"{heads[i]} {row[i]:.3f}" for i in others[:2])]
        table.add_row(name, *cells)
    console().print(table)
    if len(names) > _SHOWN:
        print(f"... and {len(names) - _SHOWN} more: -o FILE.csv writes all")


def _judge(trained: Predictor, names: list[str], answer: Tensor) -> None:
    """Where every input lies in a folder called after a class: how many answers are another one."""
    known = {word: i for i, word in enumerate(trained.dataset.class_names)}
    folders = [Path(name).parent.name for name in names]
    if trained.models[0].task.exclusive(trained.models[0].link) and answer.ndim == 2 and set(folders) <= known.keys():
        truth = torch.tensor([known[folder] for folder in folders])
        wrong = int((answer.argmax(1) != truth).sum())
        print(f"{wrong} of {len(names)} answers differ from the folder's name: error {wrong / len(names):.4f}")


def model(
    name: str, out: str | None, weights: Which, root: str, register: str | None, uri: str | None, experiment: str | None
) -> int:
    """Write a trial's model as one file that plain PyTorch loads, or have MLflow's registry take it."""
    trials = _trials(name, None, Path(root))
    trained = predictor(Path(root), trials, weights)
    if register is not None:
        destination = resolve_destination(uri, experiment, Path(root))
        prefix = "test_at_best/" if weights == "best" else "test/"
        place = registry.register_model(destination, trials[0], register, trained.models[0], trained.example(), prefix)
        print(f"{place}, beside the run of trial {trials[0].id}; in Python:")
        print(f"  mlflow.set_tracking_uri({json.dumps(destination.open_uri)})")
        print(f"  answer = mlflow.pyfunc.load_model({json.dumps(place)}).predict(x)  # x {_shape(trained)}, an array")
        if out is None:
            return 0
    out = out or "model.pt2"
    trained.save(Path(out))
    print(f"{out}: {Path(out).stat().st_size / 2**20:.2f} MiB; in plain PyTorch:")
    print("  import torch")
    print(f"  model = torch.export.load({json.dumps(out)}).module()")
    print(f"  answer = model(x)  # x {_shape(trained)}")
    return 0


def _shape(trained: Predictor) -> str:
    return f"[N, {', '.join(map(str, trained.dataset.input_shape))}] as the dataset stores it"


def _trials(name: str, loss: str | None, root: Path) -> list[TrialRecord]:
    """The trial of that id, or the chosen trials of a comparison's loss."""
    records = Records(root.absolute())
    records.update()
    found = find_record(records, name)
    if isinstance(found, TrialRecord):
        return [found]
    rows = json.loads((found / "trials.json").read_text(encoding="utf-8"))
    labels = list(dict.fromkeys(row["label"] for row in rows))
    if loss is None:
        raise UserError(f"Say of which loss of '{name}': --loss {', --loss '.join(labels)}, or name one trial.")
    if loss not in labels:
        raise unknown(f"loss of comparison '{name}'", loss, labels)
    mine = [row for row in rows if row["label"] == loss]
    if (cells := len({row.get("cell") for row in mine})) > 1:
        raise UserError(f"'{name}' has {cells} cells, whose models are not averaged: name one trial.")
    trials = [records.trials[row["trial"]] for row in mine]
    return [trial for trial in trials if phase(trial.tags) == "final" or trial.tags.get("role") == "chosen"]
