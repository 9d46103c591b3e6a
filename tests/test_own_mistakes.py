"""Mistakes with own code and own data: one sentence each, exit code 2, nothing written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from mistakes_lab import FILES
from own_folder_lab import own_folder

from xentlab.journal import Records

Run = Callable[..., tuple[int, str, str]]

QUICK = ("trainer.epochs=1", "tracking=off", "executor=inline")


@pytest.fixture(autouse=True)
def folder(here: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with own_folder(here, monkeypatch, **FILES):
        yield


REAL_BATCH = ("bad_loss.late", "bad_loss.of_size", "bad_loss.folds")
GROUPS = {"bad_loss": "loss", "bad_model": "model", "bad_data": "dataset"}


@pytest.mark.parametrize(
    ("target", "more", "sentence"),
    [
        ("nowhere.f", (), "loss._target_ must be a dotted path that can be imported, got 'nowhere.f'."),
        ("bad_loss", (), "loss._target_ must be a dotted path that can be imported, got 'bad_loss'."),
        ("bad_loss.bom", (), "Unknown name in bad_loss 'bom'. Did you mean 'boom'? Available: Binary, Needs, boom,"),
        ("bad_loss.NUMBER", (), "loss._target_ must name a function, got bad_loss.NUMBER, which is an int."),
        ("broken_file.f", (), "loss._target_ names broken_file.f, but importing broken_file failed: SyntaxError: inv"),
        ("raising_file.f", (), "loss._target_ names raising_file.f, but importing raising_file failed: ValueError: no"),
        ("leaving_file.f", (), "loss._target_ names leaving_file.f, but importing leaving_file failed: SystemExit: 4 "),
        ("bad_loss.one", (), "one takes z by position: a loss must be a function (logits, target, *, knobs) -> values"),
        ("bad_loss.kwargs", (), "kwargs takes **more: a loss must be a function (logits, target, *, knobs) -> values,"),
        ("bad_loss.outer", (), "loss outer must give values of shape [4] for outputs [4, 3] and a target [4], got [4,"),
        ("bad_loss.column", (), "loss column must give values of shape [4] for outputs [4, 3] and a target [4], got ["),
        ("bad_loss.per_class", (), "loss per_class must give values of shape [4] for outputs [4, 3] and a target [4],"),
        ("bad_loss.number", (), "loss number must return a tensor, got a float."),
        ("bad_loss.named_tuple", (), "loss named_tuple must return a tensor, got an Out."),
        ("bad_loss.constant", (), "loss constant must have a gradient: its values do not hang on the outputs."),
        ("bad_loss.boom", (), "loss boom failed: ValueError: temperature too low (bad_loss.py, line "),
        ("bad_loss.leaves", (), "loss leaves ends the program: a loss returns its values."),
        ("bad_loss.numpy_values", (), "loss numpy_values failed: RuntimeError: Can't call numpy() on Tensor that requ"),
        ("bad_loss.nan", (), "loss nan must be finite at ordinary outputs, got nan."),
        ("bad_loss.in_place", (), "loss in_place failed: RuntimeError: a leaf Variable that requires grad is being us"),
        ("bad_loss.squares", (), "loss squares failed: RuntimeError: The size of tensor a (3) must match the size of"),
        ("bad_loss.Needs", (), "loss.weight has no default and must be given."),
        ("bad_loss.Needs", ("+loss.weight=heavy",), "loss.weight must be a number, got 'heavy'."),
        ("bad_loss.Needs", ("+loss.wieght=1",), "Unknown knob of loss 'wieght'. Did you mean 'weight'? Available: wei"),
        ("bad_loss.fine", ("+loss._input_=words",), "loss._input_ must be one of logits, probabilities, log_probabili"),
        ("bad_loss.fine", ("+loss._link_=odd",), "loss._link_ must be one of softmax, sigmoid, identity, got 'odd'."),
        ("bad_loss.mean", ("trainer.class_weights=inverse",), "loss mean gives no value to single elements, so it can"),
        ("bad_model.narrow", (), "model narrow must return logits of shape (2, 10) for two inputs (1, 8, 8), got (2, "),
        ("bad_model.strings", (), "model strings must return logits of shape (2, 10) for two inputs (1, 8, 8), got st"),
        ("bad_model.tuple_out", (), "model tuple_out must return logits of shape (2, 10) for two inputs (1, 8, 8), go"),
        ("bad_model.fails", (), "model fails on inputs of shape (1, 8, 8) failed: RuntimeError: no forward today (bad"),
        ("bad_model.flat", (), "model flat on inputs of shape (1, 8, 8) failed: RuntimeError: "),
        ("bad_model.number", (), "model number must give a torch.nn.Module, got an int."),
        ("bad_model.Refuses", (), "model Refuses failed: ValueError: not for me (bad_model.py, line "),
        ("bad_model.Needs", (), "model.depth has no default and must be given."),
        ("bad_model.Sized", ("model.widht=3",), "Unknown knob of model 'widht'. Did you mean 'width'? Available: in_"),
        ("bad_model.bn", ("trainer.batch_size=1",), "model bn in training on a batch of 1 failed: ValueError: Expecte"),
        ("bad_model.no_params", (), "model no_params must have parameters to train, got none."),
        ("bad_model.frozen", (), "model frozen must have parameters to train, got frozen ones only."),
        ("bad_loss.late", (), "loss late failed: RuntimeError: batch too large for me (bad_loss.py, line "),
        ("bad_loss.of_size", (), "loss of_size failed: RuntimeError: The size of tensor a (64) must match the size of"),
        ("bad_loss.folds", (), "loss folds gives values of shape [64, 10] for outputs [64, 10] and a target [64]: it"),
        ("bad_model.big", (), "model big in training failed: RuntimeError: too many examples (bad_model.py, line "),
        ("bad_model.nan_out", (), "model nan_out must give finite outputs at its first weights, got nan or inf on the"),
        ("bad_model.half", (), "model half in training on a batch of 2 failed: RuntimeError: "),
        ("bad_data.ragged", (), "dataset ragged must give inputs of one shape, got [3] for example 0 and [4] for exam"),
        ("bad_data.breaks", (), "dataset breaks on example 0 failed: KeyError: 'no such file' (bad_data.py, line "),
        ("bad_data.late_break", (), "dataset late_break on example 40 failed: OSError: disk gone (bad_data.py, line "),
        ("bad_data.triples", (), "dataset triples must give pairs (input, target), got a tuple for example 0."),
        ("bad_data.dicts", (), "dataset dicts must give pairs (input, target), got keys a, b for example 0."),
        ("bad_data.Stream", (), "dataset Stream must give a torch.utils.data.Dataset with __len__ and __getitem__, ar"),
        ("bad_data.number", (), "dataset number must give a torch.utils.data.Dataset with __len__ and __getitem__, ar"),
        ("bad_data.empty", (), "dataset empty must have examples, got none."),
        ("bad_data.one_class", (), "dataset one_class must have two classes at least, got 1."),
        ("bad_data.negative", (), "dataset negative must have two classes at least, got 1."),
        ("bad_data.nan", (), "dataset nan must give finite inputs, got nan or inf in example 3."),
        ("bad_data.inf", (), "dataset inf must give finite inputs, got nan or inf in example 3."),
        ("bad_data.words", (), "dataset words must give inputs that are numbers, arrays or images, got a str."),
        ("bad_data.none", (), "dataset none must give targets that are numbers, arrays or images, got a NoneType."),
        ("bad_data.unequal", (), "dataset unequal must have a target for each input, got 60 and 50."),
        ("bad_data.Rows", ("+dataset.test.count=0",), "dataset Rows must have test examples, got none."),
        ("bad_data.Rows", ("+dataset.test=5",), "dataset.test must be a mapping of knobs, got 5."),
        ("bad_data.Rows", ("+dataset.task=odd",), "dataset.task must be one of multiclass, multilabel, segmentation,"),
        ("bad_data.Rows", ("+dataset.class_names=[a]",), "Targets of dataset 'Rows' must be indices of its"),
        ("bad_data.parts_only_test", (), "dataset parts_only_test must have a part 'train', got test."),
        ("bad_data.far", (), "dataset far must number its classes from 0 on, got 1000, 1001, so that 1000 of 1002 h"),
        ("bad_data.two_sources", (), "dataset two_sources must name its 2 parts, as in {'train': ..., 'test': ...}."),
        ("bad_data.frame_missing", (), "frame_missing must "),
    ],
)  # fmt: skip
def test_a_mistake_is_one_sentence(run: Run, here: Path, target: str, more: tuple[str, ...], sentence: str) -> None:
    group = GROUPS.get(target.partition(".")[0], "loss")
    code, out, err = run("train", f"{group}._target_={target}", *more, *QUICK)
    assert (code, out) == (2, "")
    *found, said = err.splitlines()
    assert said.removeprefix("xentlab: ").startswith(sentence)
    assert all(": one value per " in line for line in found)  # what it is, where only a real batch shows the mistake
    assert len(found) == (target in REAL_BATCH)
    assert not (here / "xentlab-runs").exists()


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (("comparison.losses=[ce,{mine:{_target_:bad_loss.outer}}]",), "loss outer must give values of shape [4] "),
        (("comparison.losses=[ce,{mine:{_target_:nowhere.f}}]",), "loss._target_ must be a dotted path that can be"),
        (
            ("comparison.losses=[{a:{_target_:bad_loss.fine}},{b:{_target_:bad_loss.fine}}]",),
            "Unknown comparison.baseline 'ce'. Available: a, b.",
        ),
        (
            ("comparison.losses=[ce,{mine:{_target_:bad_loss.late}}]",),
            "loss late failed: RuntimeError: batch too large",
        ),
        (("dataset._target_=bad_data.ragged",), "dataset ragged must give inputs of one shape, got [3] for exam"),
        (("model._target_=bad_model.narrow",), "model narrow must return logits of shape (2, 10) for two inputs"),
    ],
)
def test_a_mistake_in_a_comparison_is_one_sentence(
    run: Run, here: Path, overrides: tuple[str, ...], sentence: str
) -> None:
    code, out, err = run("compare", *overrides, *QUICK)
    assert (code, out) == (2, "")
    assert err.removeprefix("xentlab: ").startswith(sentence)
    assert err.count("\n") == 1
    assert not (here / "xentlab-runs").exists()


def test_what_shows_only_in_training_is_a_failed_trial_with_file_and_line(run: Run, here: Path) -> None:
    code, out, err = run("train", "model._target_=bad_model.tires", "trainer.lift=looped", *QUICK)
    sentence = "model tires in training failed: RuntimeError: tired (bad_model.py, line "
    assert (code, out, err.startswith(f"xentlab: {sentence}"), err.count("\n")) == (2, "", True, 1)
    records = Records(here / "xentlab-runs")
    records.update()
    (trial,) = records.trials.values()
    assert (trial.status, trial.reason.startswith(f"UserError: {sentence}")) == ("failed", True)
