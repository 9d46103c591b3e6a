"""Trained models put to use: answers to files are those of the test set, and a file of the model gives the same."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from reproduce_lab import read, trials

from xentlab.data import digits, split
from xentlab.run.predictor import predictor
from xentlab.tracking.settings import default_uri, mlflow_module
from xentlab.train import prepare

Run = Callable[..., tuple[int, str, str]]
pytest_plugins = ("reproduce_fixtures",)


def only_trial(root: Path) -> str:
    (trial,) = read(root).trials
    return trial


def test_a_folder_of_digits_has_the_recorded_test_error(run: Run, here: Path) -> None:
    assert run("train", "trainer.epochs=4", "tracking=off")[0] == 0
    (record,) = read(here / "xentlab-runs").trials.values()
    data = digits()
    for number, index in enumerate(split(data, 0, **prepare(record.config).sampling).test.tolist()):
        folder = here / "images" / data.class_names[int(data.targets[index])]
        folder.mkdir(parents=True, exist_ok=True)
        # As anyone would store them: black to white, not 0 to 16.
        grey = np.round(data.inputs[index, 0].numpy() * (255 / 16)).astype(np.uint8)
        Image.fromarray(grey).save(folder / f"{number}.png")
    for weights, test in (("best", record.outcome.test_at_best), ("final", record.outcome.test)):
        code, out, err = run("predict", record.id, "images", "--weights", weights)
        assert (code, err) == (0, "")
        assert f"error {test['error']:.4f}" in out
    assert run("predict", record.id, "images", "-o", "answers.csv")[0] == 0
    with (here / "answers.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["input", *map(str, range(10))]
    assert len(rows) == 1 + len(list((here / "images").rglob("*.png")))
    assert all(sum(map(float, row[1:])) == pytest.approx(1, abs=1e-5) for row in rows[1:])


def test_seeds_of_a_comparison_answer_together_and_one_is_a_file(run: Run, copy: Path, here: Path) -> None:
    x = digits().inputs[:7]
    np.save(here / "some.npy", x.numpy())
    code, out, err = run("predict", "quickstart", "some.npy")
    assert (code, out) == (2, "")
    assert "--loss ce, --loss smooth" in err
    code, out, err = run("predict", "quickstart", "some.npy", "--loss", "smooth", "-o", "answers.csv")
    assert (code, err) == (0, "")
    final = [t for t in trials(copy, "final") if t.tags["loss"] == "custom_ce"]
    assert len(final) == 3
    each = [predictor(copy, [trial]).predict(x) for trial in final]
    with (here / "answers.csv").open(newline="") as file:
        written = torch.tensor([[float(v) for v in row[1:]] for row in list(csv.reader(file))[1:]])
    torch.testing.assert_close(written, torch.stack(each).mean(0))
    code, out, _ = run("model", final[0].id, "-o", "one.pt2")
    assert code == 0
    assert "torch.export.load" in out
    loaded = torch.export.load(here / "one.pt2").module()
    torch.testing.assert_close(loaded(x.float()), each[0])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning:mlflow", "ignore::DeprecationWarning:sqlalchemy")
def test_the_registry_takes_a_model_that_answers_the_same(
    run: Run, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = here / "xentlab-runs"
    assert run("train", "trainer.epochs=2", "model.hidden=[8]", "tracking.wait=120")[0] == 0
    trial = read(root).trials[only_trial(root)]
    for name, sentence in (("a/b", "got 'a/b'"), ("", "got ''")):
        code, out, err = run("model", trial.id, "--register", name)
        assert (code, out) == (2, "")
        assert sentence in err
    code, out, err = run("model", trial.id, "--register", "digits net")
    assert (code, err) == (0, "")
    assert "models:/digits net/1" in out
    assert not list(here.glob("*.pt2"))
    assert "MLFLOW_TRACKING_URI" not in os.environ
    monkeypatch.setenv("MLFLOW_TRACKING_URI", default_uri(root))
    mlflow, x = mlflow_module(), digits().inputs[:7]
    loaded = mlflow.pyfunc.load_model("models:/digits net/1")
    torch.testing.assert_close(torch.as_tensor(loaded.predict(x.float().numpy())), predictor(root, [trial]).predict(x))
    client = mlflow.MlflowClient()
    (model,) = client.search_logged_models([client.get_experiment_by_name("xentlab").experiment_id])
    known = {m.key: (m.value, m.dataset_name, m.dataset_digest) for m in model.metrics}
    facts = "digits", trial.tags["fingerprint"].removeprefix("sha256:")[:36]
    assert known == {f"test_at_best/{k}": (v, *facts) for k, v in trial.outcome.test_at_best.items()}
    assert client.get_run(model.source_run_id).data.tags["xentlab.trial"] == trial.id
    assert run("model", trial.id, "--register", "digits net", "--weights", "final")[1].startswith(
        "models:/digits net/2"
    )


def test_rows_of_a_table_are_taken_by_their_columns(run: Run, here: Path) -> None:
    draws = np.random.default_rng(0)
    size, colour = draws.normal(1e6, 1, 80), draws.choice(["red", "green", ""], 80)
    kinds = np.where(size + (colour == "red") > 1e6, "yes", "no")
    lines = ["size,colour,kind", *(f"{a!r},{b},{c}" for a, b, c in zip(size.tolist(), colour, kinds, strict=True))]
    (here / "t.csv").write_text("\n".join(lines) + "\n")
    table = ("dataset=tabular", "dataset.path=t.csv", "dataset.impute=median", "model=mlp", "model.hidden=[4]")
    assert run("train", *table, "trainer.epochs=8", "tracking=off")[0] == 0
    trial = only_trial(here / "xentlab-runs")
    # Other columns, another order, no target: the names count.
    other = [f"{b},7,{a!r}" for a, b in zip(size.tolist(), colour, strict=True)]
    (here / "new.csv").write_text("\n".join(["colour,more,size", *other]) + "\n")
    found = predictor(here / "xentlab-runs", [read(here / "xentlab-runs").trials[trial]])
    names, x = found.read(here / "new.csv")
    assert names[:2] == [f"{here / 'new.csv'}:1", f"{here / 'new.csv'}:2"]
    torch.testing.assert_close(x, found.dataset.inputs)
    (here / "odd.csv").write_text("colour,size\nblue,1000000.5\n")
    (here / "short.csv").write_text("colour\nred\n")
    for file, sentence in (
        ("odd.csv", "must hold green, red, as in training, found blue."),
        ("short.csv", "Unknown column of short.csv 'size'."),
        ("none.csv", "found no such file"),
    ):
        code, out, err = run("predict", trial, file)
        assert (code, out) == (2, "")
        assert sentence in err
    (here / "t.csv").write_text("\n".join(lines[:-1]) + "\n")
    code, _, err = run("predict", trial, "new.csv")
    assert code == 2
    assert f"The data of trial {trial} must be what it was trained on: 'tabular' has changed." in err


def test_numbers_come_in_their_own_unit(run: Run, here: Path) -> None:
    assert run("train", "dataset=diabetes", "model=linear", "loss=huber", "trainer.epochs=2", "tracking=off")[0] == 0
    (record,) = read(here / "xentlab-runs").trials.values()
    found = predictor(here / "xentlab-runs", [record], "final")
    test = split(found.dataset, 0, **prepare(record.config).sampling).test
    point = found.predict(found.dataset.inputs[test]).flatten()
    truth = found.dataset.targets[test].flatten()
    assert float((point - truth).square().mean().sqrt()) == pytest.approx(record.outcome.test["rmse"], rel=1e-5)
