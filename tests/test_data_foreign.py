"""Data from outside: torch datasets of every task made resident, what was inferred said, mistakes in one sentence."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from xentlab.data.foreign import build_dataset

Run = Callable[..., tuple[int, str, str]]

OWN = """
import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset, IterableDataset, TensorDataset

G = torch.Generator().manual_seed(0)
X = torch.randn(120, 5, generator=G)
Y = (X[:, 0] > 0).long() + (X[:, 1] > 1).long()


class Rows(Dataset):
    classes = ["low", "middle", "high"]

    def __init__(self, part="train", count=120):
        self.part, self.count = part, count

    def __len__(self):
        return self.count

    def __getitem__(self, i):
        if i >= self.count:
            raise IndexError(i)
        return X[i], int(Y[i])


class Labels(Rows):
    def __getitem__(self, i):
        return X[i], (X[i, :3] > 0).float()


class Numbers(Rows):
    def __getitem__(self, i):
        return X[i].numpy(), float(X[i, 0] * 2)


class Images(Rows):
    def __getitem__(self, i):
        value = 200 if Y[i] else 20
        return {"image": Image.fromarray(np.full((8, 8, 3), value, np.uint8)), "label": "bright" if Y[i] else "dark"}


class Masks(Rows):
    def __getitem__(self, i):
        image = (X[i, 0] * torch.ones(1, 8, 8)).clone()
        return image, (image[0] > 0).long()


class Ragged(Rows):
    def __getitem__(self, i):
        return X[i, : 3 + i % 2], int(Y[i])


class Breaks(Rows):
    def __getitem__(self, i):
        raise KeyError("no such file")


class Triples(Rows):
    def __getitem__(self, i):
        return X[i], int(Y[i]), i


class Stream(IterableDataset):
    def __iter__(self):
        yield X[0], 0


class Words(Rows):
    def __getitem__(self, i):
        return "a sentence", int(Y[i])


def tensors():
    return TensorDataset(X, Y)


def arrays(count=120):
    return X.numpy()[:count], Y.numpy()


def parts():
    return {"train": (X[:80], Y[:80]), "validation": (X[80:100], Y[80:100]), "test": (X[100:], Y[100:])}


def frame(target="grade"):
    import pandas
    words = ["low", "middle", "high"]
    colours = ["red" if value > 0 else "blue" for value in X[:, 1]]
    columns = {"size": X[:, 0].numpy(), "colour": colours, "weight": X[:, 2].numpy()}
    table = pandas.DataFrame({**columns, "grade": [words[y] for y in Y]})
    return table if target == "grade" else (table, target)


def frames():
    return {"train": frame()[:90], "test": frame()[90:]}
"""


@pytest.fixture(autouse=True)
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A folder that holds `foreign_data.py`."""
    (tmp_path / "foreign_data.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("foreign_data", None)


@pytest.mark.parametrize(
    ("name", "task", "shape", "classes"),
    [
        ("Rows", "multiclass", (5,), ("low", "middle", "high")),
        ("tensors", "multiclass", (5,), ("0", "1", "2")),
        ("Labels", "multilabel", (5,), ("low", "middle", "high")),
        ("Images", "multiclass", (3, 8, 8), ("bright", "dark")),
        ("Masks", "segmentation", (1, 8, 8), ("low", "middle", "high")),
        ("Numbers", "regression", (5,), ("low", "middle", "high")),
    ],
)
def test_any_map_style_dataset_becomes_resident(
    name: str, task: str, shape: tuple[int, ...], classes: tuple[str, ...]
) -> None:
    if name == "Numbers":
        node = {"_target_": f"foreign_data.{name}", "class_names": ["height"]}
        classes = ("height",)
    else:
        node = {"_target_": f"foreign_data.{name}"}
    data = build_dataset("dataset", node)()
    assert (data.task, data.input_shape, data.class_names, len(data.inputs)) == (task, shape, classes, 120)
    assert data.fingerprint == build_dataset("dataset", node)().fingerprint
    assert data.inputs.dtype == (torch.uint8 if name == "Images" else torch.float32)
    (note,) = data.notes
    assert f"120 examples {list(shape)} of {task}" in note


def test_parts_of_a_source_are_its_splits() -> None:
    node = {"_target_": "foreign_data.Rows", "test": {"count": 30}, "val": {"_target_": "foreign_data.tensors"}}
    data = build_dataset("dataset", node)()
    assert {part: len(index) for part, index in data.source_splits.items()} == {"train": 120, "val": 120, "test": 30}
    assert "120 train, 120 val, 30 test examples" in data.notes[0]


@pytest.mark.parametrize(
    ("name", "knobs", "task", "shape", "classes", "splits"),
    [
        ("arrays", {}, "multiclass", (5,), ("0", "1", "2"), {}),
        ("parts", {}, "multiclass", (5,), ("0", "1", "2"), {"train": 80, "val": 20, "test": 20}),
        ("frame", {}, "multiclass", (4,), ("high", "low", "middle"), {}),
        ("frame", {"target": "size"}, "regression", (6,), ("size",), {}),
        ("frames", {}, "multiclass", (4,), ("high", "low", "middle"), {"train": 90, "test": 30}),
    ],
)
def test_arrays_and_data_frames_are_data(
    name: str, knobs: dict[str, str], task: str, shape: tuple[int, ...], classes: tuple[str, ...],
    splits: dict[str, int],
) -> None:  # fmt: skip
    data = build_dataset("dataset", {"_target_": f"foreign_data.{name}", **knobs})()
    assert (data.task, data.input_shape, data.class_names, len(data.inputs)) == (task, shape, classes, 120)
    assert {part: len(index) for part, index in data.source_splits.items()} == splits
    assert data.standardize == name.startswith("frame")


def test_a_data_set_of_hugging_face_on_disk(tmp_path: Path) -> None:
    hub = pytest.importorskip("datasets", reason="datasets is not installed")
    features = hub.Features({"image": hub.Image(), "label": hub.ClassLabel(names=["dark", "bright"])})
    pictures = [np.full((8, 8, 3), 200 * (i % 2), np.uint8) for i in range(20)]
    rows = hub.Dataset.from_dict({"image": pictures, "label": [i % 2 for i in range(20)]}, features=features)
    hub.DatasetDict({"train": rows, "test": rows.select(range(6))}).save_to_disk(tmp_path / "pictures")
    node = {"_target_": "datasets.load_from_disk", "dataset_path": str(tmp_path / "pictures")}
    data = build_dataset("dataset", node)()
    assert (data.task, data.input_shape, data.class_names) == ("multiclass", (3, 8, 8), ("dark", "bright"))
    assert {part: len(index) for part, index in data.source_splits.items()} == {"train": 20, "test": 6}


def test_a_torch_dataset_trains(run: Run, here: Path) -> None:
    one = ("trainer.epochs=1", "tracking=off")
    code, out, err = run("train", "dataset._target_=foreign_data.Rows", "dataset.test.count=40", *one)
    assert code == 0
    classes = "3 classes: low 71, middle 77, high 12; its own splits: train 120, test 40"
    assert err == f"xentlab: Rows: 120 train, 40 test examples [5] of multiclass (task by its examples), {classes}.\n"
    assert "mlp on Rows" in out
    assert run("train", "dataset._target_=foreign_data.Masks", "model=unet", "model.depth=1", *one)[0] == 0
    (first, *_) = sorted((here / "xentlab-runs" / "journal").iterdir())
    assert json.loads(first.read_text().splitlines()[1])["tags"]["dataset"] == "Rows"


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (("Ragged",), "dataset Ragged must give inputs of one shape, got [3] for example 0 and [4] for example 1."),
        (("Breaks",), "dataset Breaks on example 0 failed: KeyError: 'no such file' (foreign_data.py, line "),
        (("Triples",), "dataset Triples must give pairs (input, target), got a tuple for example 0."),
        (("Stream",), "dataset Stream must give a torch.utils.data.Dataset with __len__ and __getitem__, arr"),
        (("Words",), "dataset Words must give inputs that are numbers, arrays or images, got a str."),
        (("arrays", "+dataset.count=7"), "dataset arrays must have a target for each input, got 7 and 120."),
        (("frame", "+dataset.target=colours"), "Unknown target column of frame 'colours'. Did you mean 'colour'?"),
        (("X",), "dataset._target_ must name a function, got foreign_data.X, which is a Tensor."),
        (("Rows", "+dataset.prat=x"), "Unknown knob of dataset 'prat'. Did you mean 'part'? Available: count, part."),
        (("Rows", "+dataset.task=words"), "dataset.task must be one of multiclass, multilabel, "),
        (("Rows", "+dataset.count=0"), "dataset Rows must have examples, got none."),
        (("Rows", "+dataset.class_names=[a]"), "Targets of dataset 'Rows' must be indices of its 1 classes, got 0 to"),
    ],
)
def test_what_is_wrong_with_data_is_one_sentence(
    run: Run, here: Path, overrides: tuple[str, ...], sentence: str
) -> None:
    name, *more = overrides
    code, out, err = run("train", f"dataset._target_=foreign_data.{name}", *more, "tracking=off")
    assert (code, out) == (2, "")
    assert err.startswith(f"xentlab: {sentence}")
    assert err.count("\n") == 1
    assert not (here / "xentlab-runs").exists()
