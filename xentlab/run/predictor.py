"""Trained models that answer: from inputs as a dataset stores them to the prediction that a loss implies.

A trial keeps its weights; all else that an answer needs (scale, standardisation, class names, what a task fits on
validation data) is read off its data again, whose fingerprint must be that of the training.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from xentlab.data import Dataset
from xentlab.data.features import read_features
from xentlab.data.pixels import Remarks, centred, images_in, read_pixels, resized, suffixes
from xentlab.errors import UserError
from xentlab.journal import TrialRecord
from xentlab.run.artifacts import read_weights
from xentlab.run.datasets import Datasets
from xentlab.step import in_windows
from xentlab.train import Rig, prepare

Which = Literal["best", "final"]


class Served(nn.Module):
    """One trained network with what is before and behind it: scaling, and the link of its loss.

    `forward(x)` takes inputs [B, ...] as the dataset stores them (images 0 to 255, say; floats or integers) and returns
    probabilities [B, C, ...], or numbers [B, D].

    Attributes:
        task: of its data.
        link: of its loss.
    """

    offset: Tensor
    factor: Tensor
    fill: Tensor | None

    def __init__(self, rig: Rig) -> None:
        super().__init__()
        self.network = rig.module.eval()
        self.network.load_state_dict(rig.weights(0))
        offset, factor, fill = rig.batches.scaling(0)
        self.register_buffer("offset", offset)
        self.register_buffer("factor", factor)
        self.register_buffer("fill", fill)
        self.task, self.link, self._known = rig.trials[0].task, rig.trials[0].loss.link, rig.known()
        self._window = rig.trainer.window
        self._indices = rig.dataset.inputs.dtype == torch.int64

    def forward(self, x: Tensor) -> Tensor:
        if not self._indices:
            x = x.to(self.factor.dtype)
            if self.fill is not None:
                x = torch.where(x.isnan(), self.fill, x)
            x = (x - self.offset) * self.factor
        prediction = self.task.predict(in_windows(self.network, x, self._window).unsqueeze(0), self.link, self._known)
        answer: Tensor = getattr(prediction, "point", prediction)[0]
        return answer


@dataclass(frozen=True)
class Predictor:
    """One trained model, or several of one kind whose answers are averaged.

    Attributes:
        models: at least one.
        dataset: what the first was trained on.
        node: that dataset's config.
    """

    models: Sequence[Served]
    dataset: Dataset
    node: dict[str, Any]

    def predict(self, x: Tensor | np.ndarray[Any, Any]) -> Tensor:
        """Probabilities [N, C, ...] or numbers [N, D] for inputs [N, ...] as the dataset stores them.

        Raises:
            UserError: the inputs have another shape than the model's.
        """
        inputs = torch.as_tensor(x)
        if tuple(inputs.shape[1:]) != self.dataset.input_shape:
            expected = ", ".join(map(str, self.dataset.input_shape))
            raise UserError(f"Inputs must have the shape [N, {expected}], got {list(inputs.shape)}.")
        with torch.no_grad():
            parts = [torch.stack([model(chunk) for model in self.models]).mean(0) for chunk in inputs.split(500)]
        return torch.cat(parts)

    def read(self, place: Path) -> tuple[list[str], Tensor]:
        """A name for each example that a file or a folder of images holds, and the inputs [N, ...].

        Images are brought to the model's size and channels; a brightness is taken as its share of white. Rows of a
        table are taken by the names of its columns.

        Raises:
            UserError: there is no such file, or it is not of a kind that this model takes.
        """
        remarks = Remarks()
        if not place.exists():
            raise UserError(f"{place} must be a file or a folder of images, found no such file.")
        if place.is_dir() or place.suffix.lower() in suffixes():
            files = images_in(place, remarks, deep=True) if place.is_dir() else [place]
            if not files:
                raise UserError(f"{place} must hold images, found none.")
            return [str(file) for file in files], torch.stack([self._image(file, remarks) for file in files])
        if place.suffix.lower() == ".npy":
            rows = np.load(place, allow_pickle=False)
            return [f"{place}:{i + 1}" for i in range(len(rows))], torch.from_numpy(rows)
        if not self.dataset.features:
            kind = "images or a .npy file" if len(self.dataset.input_shape) == 3 else "a .npy file of inputs"
            raise UserError(f"A model of dataset '{self.dataset.name}' takes {kind}, got {place}.")
        missing = self.dataset.impute is not None
        table = read_features(place, self.dataset.features, self.node, missing=missing)
        return [f"{place}:{i + 1}" for i in range(len(table))], torch.from_numpy(table)

    def _image(self, file: Path, remarks: Remarks) -> Tensor:
        shape = self.dataset.input_shape
        if len(shape) != 3 or shape[0] not in (1, 3) or self.dataset.inputs.dtype != torch.uint8:
            raise UserError(f"A model of dataset '{self.dataset.name}' takes no images, got {file}.")
        pixels = read_pixels(file, "L" if shape[0] == 1 else "RGB", remarks)
        if self.node.get("fit") == "crop":
            pixels = centred(pixels)
        pixels = resized(pixels, (shape[1], shape[2]), "bilinear").reshape(shape[1], shape[2], -1)
        return torch.from_numpy(pixels).permute(2, 0, 1).double() / 255 / self.dataset.scale

    def example(self) -> Tensor:
        """Two inputs [2, ...]."""
        return self.dataset.inputs[:2] if self.dataset.inputs.dtype == torch.int64 else self.dataset.blank(2)

    def save(self, file: Path) -> None:
        """Write the model as one file of `torch.export`, with names and shapes beside it as JSON.

        Raises:
            UserError: it stands for several models, or torch cannot export the network.
        """
        if len(self.models) > 1:
            raise UserError(f"One file holds one model, got {len(self.models)}: name one trial.")
        try:
            shapes = {"x": {0: torch.export.Dim("batch")}}
            program = torch.export.export(self.models[0], (self.example(),), dynamic_shapes=shapes, strict=False)
        except Exception as error:  # whatever a stranger's network meets in there
            raise UserError(f"torch.export cannot take this network: {str(error).splitlines()[0]}") from error
        names = {"class_names": self.dataset.class_names, "input_shape": self.dataset.input_shape}
        columns = [{"column": one.column, "word": one.word, "shift": one.shift} for one in self.dataset.features]
        facts = {"dataset": self.dataset.name, "task": self.dataset.task, **names, "features": columns}
        torch.export.save(program, file, extra_files={"xentlab.json": json.dumps(facts)})


def predictor(root: Path, trials: Sequence[TrialRecord], which: Which = "best") -> Predictor:
    """The models of recorded trials that differ in their seeds, with the weights of their `best` or `final` epoch.

    Raises:
        UserError: a trial has not ended, its weights were not kept, or its data are not what they were.
    """
    datasets, models, first = Datasets(), [], None
    for record in trials:
        kept = read_weights(root / record.artifacts) if record.artifacts is not None else None
        if kept is None:
            raise UserError(
                f"Trial {record.id} must have weights: it is {record.status}, and output.weights keeps them."
            )
        config = {**record.config, "trainer": {**record.config["trainer"], "device": "cpu"}}
        trial = prepare(config)
        dataset = dataclasses.replace(datasets.of(trial), encoded=None)
        if dataset.fingerprint != record.tags.get("fingerprint"):
            raise UserError(
                f"The data of trial {record.id} must be what it was trained on: '{dataset.name}' has changed."
            )
        rig = Rig([trial], dataset)
        rig.put_weights([kept[which]])
        models.append(Served(rig))
        first = first or (dataset, dict(record.config["dataset"]))
    assert first is not None
    return Predictor(models, *first)
