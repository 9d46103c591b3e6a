"""Streams: images decoded as training asks for them give what held ones give, bit for bit."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from executor_lab import close_all, opened
from executor_lab import numbers as recorded
from PIL import Image
from support import compose_train

from xentlab import data
from xentlab.cli import main
from xentlab.data import folders
from xentlab.errors import StoppedError, UserError
from xentlab.journal import TrialRecord
from xentlab.run.order import Failure, PartsError, TrainingError
from xentlab.train import Epoch, Fit, Trial, prepare, stacks
from xentlab.train.plan import cut
from xentlab.train.together import groups, units

COUNT, SIZE = 120, 8


def photographs(root: Path) -> Path:
    """Three classes of noisy JPEGs of different sizes, some turned by their EXIF, and a PNG."""
    draws = np.random.default_rng(0)
    for i in range(COUNT):
        file = root / "abc"[i % 3] / f"photo_{i:03d}.{'png' if i == 7 else 'jpg'}"
        file.parent.mkdir(parents=True, exist_ok=True)
        height, width = draws.integers(10, 40, 2)
        values = draws.integers(0, 128, (height, width, 3)) + 60 * np.eye(3, dtype=np.int64)[i % 3]
        exif = Image.Exif()
        exif[0x0112] = 6 if i % 5 == 0 else 1
        Image.fromarray(values.astype(np.uint8)).save(file, exif=exif)
    return root


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return photographs(tmp_path_factory.mktemp("photographs"))


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def trial(folder: Path, *overrides: str, model: str | None = None) -> Trial:
    sizes = ("model=mlp", "model.hidden=[8]", "trainer.epochs=2", "trainer.batch_size=16", "dataset=image_folder")
    config = compose_train(*sizes, f"dataset.root={folder}", f"dataset.size={SIZE}", *overrides)
    return prepare({**config, "model": {"_target_": f"test_stream.{model}"}} if model else config)


def numbers(fit: Fit) -> list[dict[str, list[float | None]]]:
    epochs = list(fit.epochs())
    fit.finish()
    return [{k: v for k, v in epoch.metrics.items() if not k.startswith("speed/")} for epoch in epochs]


@pytest.mark.parametrize("lift", ["looped", "vectorised"])
def test_a_streamed_training_is_the_held_one(folder: Path, lift: str) -> None:
    held, streamed = (
        Fit([one, two], one.dataset())
        for one, two in (
            [trial(folder, f"dataset.resident={how}", f"trainer.lift={lift}", f"seed={s}") for s in (0, 1)]
            for how in ("true", "false")
        )
    )
    assert streamed.rig.dataset.stream is not None
    assert streamed.rig.dataset.inputs.is_meta
    assert numbers(streamed) == numbers(held)
    assert torch.equal(streamed.rig.state.params, held.rig.state.params)
    for name, answers in held.answers.items():
        assert torch.equal(streamed.answers[name], answers)


def test_every_image_is_decoded_as_where_it_is_held(folder: Path) -> None:
    for fit in ("crop", "stretch"):
        knobs = {"root": str(folder), "size": SIZE, "fit": fit}
        held = data.image_folder(**knobs, resident=True)
        streamed = data.image_folder(**knobs, resident=False)
        assert streamed.stream is not None
        assert torch.equal(streamed.stream.gather(torch.arange(COUNT)), held.inputs)
        assert torch.equal(streamed.targets, held.targets)
        assert streamed.notes[-1] == "decoded as training asks for them, not held (0 MB; dataset.resident=false)"


def dropping(input_shape: tuple[int, ...], num_outputs: int) -> torch.nn.Module:
    size = math.prod(input_shape)
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Dropout(0.5), torch.nn.Linear(size, num_outputs))


# The members of a group: a stack of two rates, single trials of other losses, one with dropout that draws as it goes.
class Tiring(torch.nn.Linear):
    """Fails at the seventh batch that it is trained on."""

    batches = 0

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        self.batches += self.training
        if self.batches > 6:
            raise RuntimeError("tired")
        return super().forward(inputs.flatten(1))


def tiring(input_shape: tuple[int, ...], num_outputs: int) -> torch.nn.Module:
    return Tiring(math.prod(input_shape), num_outputs)


def members(folder: Path, *overrides: str) -> list[Trial]:
    stacked = [trial(folder, "loss=ce", f"optimizer.lr={lr}", "trainer.lift=vectorised", *overrides) for lr in (0.1, 1)]
    stacked.append(trial(folder, "loss=mse", "trainer.lift=vectorised", *overrides))
    how = ("trainer.lift=vectorised", *overrides)
    return stacked + [trial(folder, f"loss={loss}", *how, model="dropping") for loss in ("ce", "mse")]


@pytest.fixture(scope="module")
def trained(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[TrialRecord]]:
    """The records of a group over a stream, and of the same trials over held data."""
    found = {}
    for how in ("true", "false"):
        session = opened(tmp_path_factory.mktemp("lab"))
        found[how] = session.run(members(folder, f"dataset.resident={how}"))
        close_all()
    return found


def test_trials_of_a_seed_are_one_group_of_stacks_and_single_trials(folder: Path) -> None:
    trials = [t for seed in (0, 1) for t in members(folder, "dataset.resident=false", f"seed={seed}")]
    data_of = {"of": trials[0].dataset()}
    planned = groups(stacks(trials), lambda t: data_of["of"])  # noqa: ARG005
    assert [{t.seed for t in group} for group in planned] == [{0}, {1}]
    assert [units(group, data_of["of"]) for group in planned] == [[[0, 1], [2], [3], [4]]] * 2
    assert cut(planned, lambda t: data_of["of"]) == planned  # noqa: ARG005


def test_trials_that_exceed_memory_take_another_pass_and_it_is_said(folder: Path) -> None:
    trials = members(folder, "dataset.resident=false", "trainer.memory=0.05")
    read, told = trials[0].dataset(), list[str]()
    planned = groups(stacks(trials), lambda t: read, told.append)  # noqa: ARG005
    assert [len(group) for group in planned] == [2, 1, 1, 1]
    (sentence,) = told
    assert sentence.startswith("5 trials of seed 0 train in 4 passes over image_folder: together they would take 0.")
    assert sentence.endswith(" MB, and 0.0 MB are allowed.")


@pytest.mark.slow
def test_a_group_ends_as_its_trials_over_held_data(trained: dict[str, list[TrialRecord]]) -> None:
    for streamed, held in zip(trained["false"], trained["true"], strict=True):
        assert recorded(streamed) == recorded(held)


def test_one_of_a_group_that_fails_costs_itself_alone(folder: Path, tmp_path: Path) -> None:
    how = ("dataset.resident=false", "trainer.lift=looped")
    trials = [trial(folder, *how, model=model) for model in (None, "tiring", "dropping")]
    fine, failed, other = opened(tmp_path).attempt(trials)
    close_all()
    assert isinstance(failed, UserError)
    assert str(failed).startswith("model tiring in training failed: RuntimeError: tired (test_stream.py, line ")
    for record in (fine, other):
        assert isinstance(record, TrialRecord)
        assert record.status == "finished"
    again = Failure(
        **json.loads(json.dumps(asdict(Failure.of(PartsError({"a": failed, "b": RuntimeError("b")})))))
    ).error()
    assert isinstance(again, PartsError)
    assert {key: (type(part), str(part)) for key, part in again.parts.items()} == {
        "a": (UserError, str(failed)),
        "b": (TrainingError, "RuntimeError: b"),
    }


def test_a_group_decodes_every_image_once_for_all(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[Path] = []
    read = folders.read_pixels
    monkeypatch.setattr(folders, "read_pixels", lambda file, *rest: (decoded.append(file), read(file, *rest))[1])
    counts = []
    for number, size in enumerate((1, 5)):
        decoded.clear()
        opened(tmp_path / str(number)).run(members(folder, "dataset.resident=false")[:size])
        close_all()
        counts.append(len(decoded))
    assert counts[0] == counts[1] > 2 * 0.6 * COUNT


def test_a_file_that_is_lost_in_the_middle_of_an_epoch_costs_that_epoch(tmp_path: Path) -> None:
    pictures = photographs(tmp_path / "photographs")
    knobs = ("dataset.resident=false", "trainer.epochs=3", "trainer.checkpoint_every=1")
    (whole,) = opened(tmp_path / "whole").run([trial(pictures, *knobs)])
    file = pictures / "b" / "photo_100.jpg"
    content, times = file.read_bytes(), file.stat()

    digest = re.fullmatch(r"contents sha256 [0-9a-f]{64}", contents_of(tmp_path / "whole", whole))
    assert digest

    def spoil(trials: Sequence[Trial], epoch: Epoch) -> None:  # noqa: ARG001
        if epoch.number == 2:
            file.write_bytes(content[: len(content) // 2])
            os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))

    with pytest.raises(StoppedError) as caught:
        opened(tmp_path / "lab").run([trial(pictures, *knobs)], on_epoch=spoil)
    assert str(caught.value) == f"{file} has changed since its folder was listed: the same command reads it anew."
    file.write_bytes(content)
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    seen: list[int] = []
    (again,) = opened(tmp_path / "lab").run([trial(pictures, *knobs)], on_epoch=lambda _, e: seen.append(e.number))
    close_all()
    assert seen == [3]
    assert recorded(again) == recorded(whole)
    assert contents_of(tmp_path / "lab", again) == digest[0]


def contents_of(root: Path, record: TrialRecord) -> str:
    """What a trial's record says of the files' content."""
    return str(json.loads((root / str(record.artifacts) / "environment.json").read_text())["contents"])


@pytest.mark.parametrize(
    ("overrides", "content", "code", "said"),
    [
        (("dataset.resident=maybe",), None, 2, "dataset.resident must be auto or true or false, got 'maybe'."),
        (("dataset.resident=false",), b"", 1, "cannot be read as an image (cannot identify image file"),
        (("dataset.resident=false",), b"no image", 1, "cannot be read as an image (cannot identify image file"),
        (("dataset.resident=false",), -40, 1, "cannot be read as an image (image file is truncated"),
        (("dataset.resident=true",), -40, 2, "cannot be read as an image (image file is truncated"),
    ],
)
def test_mistakes_are_one_sentence(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    overrides: Sequence[str],
    content: bytes | int | None,
    code: int,
    said: str,
) -> None:
    root = photographs(tmp_path / "photographs")
    file = root / "b" / "photo_100.jpg"
    if content is not None:
        file.write_bytes(content if isinstance(content, bytes) else file.read_bytes()[:content])
    where = ("dataset=image_folder", f"dataset.root={root}", f"dataset.size={SIZE}", f"output.root={tmp_path / 'lab'}")
    assert main(["train", *where, "model.hidden=[8]", "tracking=off", *overrides]) == code
    sentence = capsys.readouterr().err.strip().splitlines()[-1]
    assert said in sentence
    assert content is None or str(file) in sentence
    if code == 1:
        assert sentence.endswith(": trials go on from their last checkpoint once it is what it was, or begin anew.")
    assert not list((tmp_path / "lab").glob("trials/*"))


def test_images_with_masks_are_streamed_and_their_masks_held(tmp_path: Path) -> None:
    draws = np.random.default_rng(0)
    for kind, shape in (("images", (12, 10, 3)), ("masks", (12, 10))):
        (tmp_path / "train" / kind).mkdir(parents=True)
        for i in range(6):
            values = draws.integers(0, 3, shape, dtype=np.uint8) * (80 if kind == "images" else 1)
            Image.fromarray(values).save(tmp_path / "train" / kind / f"{i}.png")
    for size in ({}, {"height": 6, "width": 8}):
        knobs: dict[str, Any] = {"root": str(tmp_path), "class_names": ("a", "b", "c"), **size}
        held = data.segmentation_folder(**knobs, resident=True)
        streamed = data.segmentation_folder(**knobs, resident=False)
        assert streamed.stream is not None
        assert torch.equal(streamed.stream.gather(torch.arange(6)), held.inputs)
        assert torch.equal(streamed.targets, held.targets)
