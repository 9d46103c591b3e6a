"""Soft targets: equal to labels where they are one-hot, refused where they are wrong; and arms that teach arms."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support import compose_train, small_digits
from torch import Tensor

from xentlab import environment
from xentlab.comparison.arms import Progress
from xentlab.config.compose import compose_group, run_composed
from xentlab.config.opening import looking
from xentlab.data import Dataset, digits, generator, soften, split, write_soft_targets
from xentlab.errors import UserError
from xentlab.losses.contract import loss
from xentlab.published import estimate_experiment, read_plan
from xentlab.published.teachers import Teacher, in_rounds
from xentlab.published.trainings import Ran, run_arms
from xentlab.run.session import Session
from xentlab.run.training import EpochCallback
from xentlab.train import Epoch, Fit, Trial, prepare, signature

Run = Callable[..., tuple[int, str, str]]

SMOKE = ("comparison=published/distillation", "size=smoke", "tracking=off")
TRAIN = torch.arange(320)  # of small_digits, for every seed


@loss(family="own", link="softmax", float_targets=False)
def of_indices(logits: Tensor, target: Tensor) -> Tensor:
    """A loss that takes class indices alone."""
    return -torch.log_softmax(logits, 1).gather(1, target.long()[:, None])[:, 0]


def drawn(examples: int, seed: int = 0) -> Tensor:
    return torch.rand(examples, 10, generator=generator(seed, "targets"), dtype=torch.float64).softmax(1)


def softened(file: Path, dataset: Dataset, targets: Tensor) -> Dataset:
    write_soft_targets(file, dataset, TRAIN, targets)
    return soften(dataset, soft_targets=str(file))


def fit_of(dataset: Dataset, file: Path | None, *options: str) -> Fit:
    taught = () if file is None else (f"dataset.soft_targets={file}",)
    common = ("trainer.precision=float64", "trainer.epochs=3", "model.hidden=[16]", *options, *taught)
    return Fit([prepare(compose_train(*common, f"seed={seed}")) for seed in (0, 1)], dataset)


@pytest.mark.parametrize("lift", ["looped", "vectorised"])
@pytest.mark.parametrize(
    "options",
    [
        ("loss=ce",),
        ("loss=custom_ce", "loss.temperature=3", "loss.gamma=1"),
        ("loss=gce", "trainer.class_weights=inverse"),
    ],
    ids=lambda options: options[0],
)
def test_one_hot_soft_targets_are_the_labels(tmp_path: Path, lift: str, options: tuple[str, ...]) -> None:
    hard, file = small_digits(), tmp_path / "one_hot.npz"
    soft = softened(file, hard, torch.nn.functional.one_hot(hard.targets[TRAIN].long(), 10))
    fits = [fit_of(d, f, f"trainer.lift={lift}", *options) for d, f in ((hard, None), (soft, file))]
    told = [[epoch.metrics for epoch in fit.epochs()] for fit in fits]
    assert fits[0].rig.lift == fits[1].rig.lift == lift
    for labels, answers in zip(*told, strict=True):
        for name in labels:
            if not name.startswith("speed/"):
                np.testing.assert_allclose(answers[name], labels[name], rtol=1e-9, err_msg=name)  # type: ignore[arg-type]
    torch.testing.assert_close(fits[1].rig.state.params, fits[0].rig.state.params, rtol=1e-9, atol=1e-12)


def test_a_batch_has_the_targets_of_its_own_examples_and_the_metrics_keep_the_labels(tmp_path: Path) -> None:
    hard, file = small_digits(), tmp_path / "wrong.npz"
    wrong = torch.nn.functional.one_hot((hard.targets[TRAIN].long() + 1) % 10, 10).double()
    targets = 0.9 * wrong + 0.1 * drawn(320)
    fit = fit_of(softened(file, hard, targets), file, "trainer.epochs=20")
    known = {tuple(row.tolist()): place for place, row in enumerate(hard.inputs[TRAIN].flatten(1))}
    inputs, target = next(fit.rig.batches.training(slice(0, 2), 1, 16))
    places = [known[tuple(x.mul(1 / hard.scale).round().int().tolist())] for x in inputs.flatten(0, 1).flatten(1)]
    assert len(set(places)) > 16
    torch.testing.assert_close(target.flatten(0, 1), targets[places].float().double(), rtol=0, atol=0)
    last = list(fit.epochs())[-1].metrics
    # It has learned that every digit is the next one, so by its labels it is always wrong.
    assert min(last["train/error"] + last["val/error"]) > 0.9  # type: ignore[operator,type-var]


def test_what_a_file_holds_is_in_the_signature_and_where_it_lies_is_not(tmp_path: Path) -> None:
    hard = small_digits()
    files = [tmp_path / "a.npz", tmp_path / "b.npz", tmp_path / "c.npz"]
    datasets = [softened(file, hard, drawn(320, seed)) for file, seed in zip(files, (0, 0, 1), strict=True)]
    assert datasets[0].inputs is hard.inputs
    prints = [hard.fingerprint, *(d.fingerprint for d in datasets)]
    assert prints[1] == prints[2]
    assert len(set(prints)) == 3
    trials = [prepare(compose_train(f"dataset.soft_targets={file}")) for file in files]
    signatures = [signature(t, d.fingerprint, "vectorised") for t, d in zip(trials, datasets, strict=True)]
    assert signatures[0] == signatures[1] != signatures[2]
    # What a student teaches belongs to the data as such.
    write_soft_targets(tmp_path / "d.npz", datasets[0], TRAIN, drawn(320))
    assert soften(hard, soft_targets=str(tmp_path / "d.npz")).fingerprint == datasets[0].fingerprint


def arrays_of(dataset: Dataset, **changed: Any) -> dict[str, Any]:
    whole = {"targets": drawn(320).numpy(), "examples": TRAIN.numpy(), "fingerprint": dataset.fingerprint}
    return {name: value for name, value in (whole | changed).items() if value is not None}


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"targets": None}, "must hold an array 'targets', found examples, fingerprint."),
        ({"fingerprint": "f" * 64}, r"must hold targets for dataset 'digits' .* other data, f{16}\."),
        ({"targets": drawn(319).numpy()}, r"must hold targets \[n, 10\].*found float64 \(319, 10\) and int64 \(320,\)"),
        ({"targets": drawn(320).numpy()[:, :9]}, r"must hold targets \[n, 10\].*found float64 \(320, 9\)"),
        ({"targets": 2 * drawn(320).numpy()}, r"of sum 1, found .* a sum of 2 for example 0\."),
        ({"targets": 1.1 * np.eye(10)[[0] * 320] - 0.01}, r">= 0 and of sum 1, found a smallest value of -0\.01"),
        ({"targets": np.full((320, 10), np.nan)}, r"found a smallest value of nan"),
        ({"examples": TRAIN.numpy() * 2}, r"0 to 439, each once, found 320 between 0 and 638\."),
        ({"examples": TRAIN.numpy() // 2}, r"each once, found 320 between 0 and 159\."),
    ],
    ids=["lacking", "foreign", "short", "narrow", "sum", "negative", "nan", "outside", "twice"],
)
def test_a_wrong_file_is_refused_in_one_sentence(tmp_path: Path, changed: dict[str, Any], sentence: str) -> None:
    hard, file = small_digits(), tmp_path / "t.npz"
    np.savez(file, **arrays_of(hard, **changed))
    with pytest.raises(UserError, match=sentence):
        soften(hard, soft_targets=str(file))


def test_a_missing_or_truncated_file_is_refused(tmp_path: Path) -> None:
    hard, file = small_digits(), tmp_path / "t.npz"
    with pytest.raises(UserError, match=r"dataset\.soft_targets must be a file that exists, got .*t\.npz\."):
        soften(hard, soft_targets=str(file))
    write_soft_targets(file, hard, TRAIN, drawn(320))
    whole = file.read_bytes()
    for size in (0, 100, len(whole) // 2, len(whole) - 10):
        file.write_bytes(whole[:size])
        with pytest.raises(UserError, match=r"t\.npz cannot be read as a \.npz of plain arrays"):
            soften(hard, soft_targets=str(file))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("dataset.label_noise=0.2",), r"dataset\.label_noise must be 0 where dataset\.soft_targets .*, got 0\.2\."),
        (("dataset=multilabel_synthetic", "loss=bce"), r"dataset\.soft_targets must be null for a multilabel dataset"),
        (("loss._target_=test_distillation.of_indices",), "loss of_indices has no meaning on dataset.soft_targets"),
    ],
    ids=["noise", "multilabel", "loss"],
)
def test_what_cannot_be_taught_is_refused_before_the_file_is_read(options: tuple[str, ...], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        prepare(compose_train(*options, "dataset.soft_targets=nowhere.npz"))
    prepare(compose_train(*options))


def test_a_student_of_another_seed_is_refused(tmp_path: Path) -> None:
    dataset, file = digits(), tmp_path / "t.npz"
    own = split(dataset, 0).train
    write_soft_targets(file, dataset, own, drawn(len(own)))
    soft = soften(dataset, soft_targets=str(file))
    Fit([prepare(compose_train(f"dataset.soft_targets={file}", "seed=0"))], soft)
    lacking = len(set(split(dataset, 1).train.tolist()) - set(own.tolist()))
    with pytest.raises(UserError, match=rf"training examples of seed 1, found {lacking} without"):
        Fit([prepare(compose_train(f"dataset.soft_targets={file}", "seed=1"))], soft)


def test_arms_train_in_rounds_and_teachers_first() -> None:
    teachers = {"b": Teacher(arm="a"), "d": Teacher(arm="b"), "e": Teacher(arm="c")}
    assert in_rounds("edcba", teachers) == [["c", "a"], ["e", "b"], ["d"]]
    assert in_rounds("ab", {}) == [["a", "b"]]
    with pytest.raises(UserError, match="got a circle: a, b"):
        in_rounds("abc", {"a": Teacher(arm="b"), "b": Teacher(arm="a")})


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("+published.arms.x={teacher: hard}", "Unknown arm of published.arms.x.teacher 'hard'"),
        ("+published.arms.x={teacher: [ce]}", "published.arms.x.teacher must be an arm, or a mapping"),
        (
            "+published.arms.x={teacher: {arm: hard teacher, temperature: 0}}",
            r"teacher\.temperature must be > 0, got 0\.",
        ),
        ("+published.arms={x: {loss: bce}, y: {teacher: x}}", "'x', whose link is sigmoid"),
        ("+published.arms.x={teacher: x}", "got a circle: x"),
    ],
    ids=["unknown", "list", "temperature", "link", "circle"],
)
def test_a_teacher_that_cannot_be_is_refused(run: Run, here: Path, override: str, sentence: str) -> None:
    code, _, err = run("compare", *SMOKE, override)
    assert code == 2
    assert sentence.replace("\\", "") in err
    assert not (here / "xentlab-runs").exists()


def answers(folder: Path, inputs: Tensor, temperature: float) -> Tensor:
    """What a recorded MLP answers, written out."""
    weights, h = torch.load(folder / "final.pt", weights_only=True), inputs
    *hidden, last = sorted({name.partition(".")[0] for name in weights}, key=int)
    for layer in hidden:
        h = (h @ weights[f"{layer}.weight"].T + weights[f"{layer}.bias"]).relu()
    h = h @ weights[f"{last}.weight"].T + weights[f"{last}.bias"]
    return torch.softmax(h.double() / temperature, 1)


@contextlib.contextmanager
def silent(title: str, total: int) -> Iterator[EpochCallback]:  # noqa: ARG001
    yield lambda trials, epoch: None  # noqa: ARG005


@contextlib.contextmanager
def until_a_student(title: str, total: int) -> Iterator[EpochCallback]:  # noqa: ARG001
    """Ctrl-C after the first epoch of a student."""

    def on_epoch(trials: Sequence[Trial], epoch: Epoch) -> None:  # noqa: ARG001
        if trials[0].soft_targets is not None:
            raise KeyboardInterrupt

    yield on_epoch


def perform(root: Path, progress: Progress = silent, lr: float = 0.05) -> tuple[Ran, int, int]:
    """The smoke size with small networks: what it brought, how many trials were estimated, and how many trained."""
    told: list[tuple[Ran, int, int]] = []

    def job(config: dict[str, Any], given: list[str]) -> None:  # noqa: ARG001
        config["output"]["root"] = str(root)
        config["model"]["hidden"], config["optimizer"]["lr"] = [32], lr
        for label, arm in config["published"]["arms"].items():
            arm |= {"model": {"hidden": [16]}} if label.startswith("student") else {}
        expected, _ = estimate_experiment(plan := read_plan(config, compose_group), looking(config))
        session = Session.open(root, environment.describe(), "compare", fresh=False, weights=True)
        try:
            told.append((run_arms(plan, session, progress), expected, session.trained))
        finally:
            session.journal.close()

    run_composed("compare", SMOKE, job)
    return told[0]


def test_students_learn_what_their_own_seeds_teacher_answers(here: Path) -> None:
    ran, expected, trained = perform(here / "runs")
    assert (expected, trained) == (10, 10)
    dataset = digits()
    other = "temperature 1 for the student of the smoothed teacher and its teacher"
    for label, teacher, temperature in (
        ("student of the hard teacher", "hard teacher", 20.0),
        ("student of the smoothed teacher", "smoothed teacher", 20.0),
        (other, "smoothed teacher", 1.0),
    ):
        for seed, (student, taught_by) in enumerate(zip(ran.records[label], ran.records[teacher], strict=True)):
            assert student.config["seed"] == taught_by.config["seed"] == seed
            assert taught_by.end is not None
            assert taught_by.end <= student.start
            file = Path(student.config["dataset"]["soft_targets"])
            assert file.name.startswith(taught_by.signature)
            train = split(dataset, seed).train
            inputs = dataset.inputs[train].flatten(1) * dataset.scale
            with np.load(file) as held:
                np.testing.assert_array_equal(held["examples"], train.numpy())
                told = answers(here / "runs" / str(taught_by.artifacts), inputs, temperature)
                np.testing.assert_allclose(held["targets"], told, rtol=1e-4, atol=1e-7)  # trained in float32
    # Nothing is trained or written twice, and the estimate knows it.
    before = {file: file.stat().st_mtime_ns for file in (here / "runs" / "targets").iterdir()}
    assert len(before) == 6
    _, expected, trained = perform(here / "runs")
    assert (expected, trained) == (0, 0)
    assert {file: file.stat().st_mtime_ns for file in (here / "runs" / "targets").iterdir()} == before
    record = ran.records[other][1]  # its config alone brings back its data
    again = prepare(record.config, name=record.label)
    data = soften(again.dataset(), soft_targets=again.soft_targets)
    assert signature(again, data.fingerprint, "vectorised") == record.signature


@pytest.mark.slow
def test_an_experiment_that_was_interrupted_among_its_students_goes_on(here: Path) -> None:
    whole, _, _ = perform(here / "whole")
    with pytest.raises(KeyboardInterrupt):
        perform(here / "cut", until_a_student)
    cut, expected, trained = perform(here / "cut")
    assert expected == trained == 6
    for label, records in whole.records.items():
        for one, other in zip(records, cut.records[label], strict=True):
            assert one.signature == other.signature
            assert one.outcome.test["nll"] == other.outcome.test["nll"]


def test_a_teacher_that_diverged_teaches_nobody(here: Path) -> None:
    ran, _, _ = perform(here / "runs", lr=1e12)
    assert "diverged, so there is nothing that 'student of the" in ran.failed["student of the hard teacher"]
