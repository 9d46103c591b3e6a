"""What the probe of a loss from outside found: what it gives, what it takes, and the words for both."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from xentlab.tasks import Link, probabilities

ValueForm = Literal["element", "class", "image", "mean", "sum", "batch"]
TargetForm = Literal["index", "column", "soft", "either", "real"]
INPUTS = ("logits", "probabilities", "log_probabilities")
STATE = "it keeps a state or draws random numbers: a trial of it cannot be repeated to the digit"
REDUCED = ("image", "mean", "sum", "batch")

_VALUES: dict[str, str] = {
    "element": "one value per example",
    "class": "one value per class (averaged)",
    "image": "one value per image",
    "mean": "one mean per batch",
    "sum": "one sum per batch (divided by its size)",
    "batch": "one value per batch",
}
_TARGETS = {
    "index": "class indices only", "column": "class indices in one channel",
    "soft": "one-hot targets", "either": "class indices or distributions", "real": "numbers",
}  # fmt: skip


@dataclass(frozen=True)
class Probed:
    """What was found."""

    values: ValueForm  # what it gives
    target: TargetForm  # the form of a target that it takes
    input: str  # what it takes of a model's outputs
    swapped: bool  # whether the target comes first
    link: Link  # that it implies
    stacks: bool  # whether it works under `torch.vmap`
    notes: tuple[str, ...]  # what else a user should know of it
    exclusive: bool  # whether one class is true under its link
    places: bool  # whether an element is one of many places of an example

    @property
    def alone(self) -> bool:
        """Whether no two trials may share one object of it."""
        return STATE in self.notes

    @property
    def reduces(self) -> bool:
        """Whether single elements have no value, so that none can be ignored or weighed."""
        return self.values in REDUCED

    def fits(self, values: tuple[int, ...], outputs: tuple[int, ...]) -> bool:
        """Whether values of that shape are what it gives for outputs of that shape."""
        if self.values in REDUCED:
            return values == (outputs[:1] if self.values == "image" else ())
        return values == (outputs[0], *outputs[2:]) or (self.target == "real" and values == outputs)

    @property
    def gives(self) -> str:
        """What it gives, in words."""
        return _VALUES[self.values].replace("example", "pixel") if self.places else _VALUES[self.values]

    def arguments(self, outputs: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """What it is called with."""
        outputs = as_input(outputs, self.input, self.link, exclusive=self.exclusive)
        target = target.unsqueeze(1) if self.target == "column" else target
        return (target, outputs) if self.swapped else (outputs, target)

    def reduced(self, values: Tensor, count: int) -> Tensor:
        """Its values for `count` examples as the lab means them: a mean over classes or an image, no sum."""
        if self.values == "class":
            return values.mean(1)
        if self.values == "image":
            return values.flatten(1).mean(1) if values.ndim > 1 else values
        return values / count if self.values == "sum" else values

    def __str__(self) -> str:
        outputs = "outputs" if self.target == "real" else self.input.replace("_", "-")
        takes = f"of {outputs} and {_TARGETS[self.target]}"
        order = ["the target comes first"] if self.swapped else []
        bounds = ["no ignored pixels, no class weights"] if self.reduces else []
        return ", ".join([f"{self.gives} {takes}", f"link {self.link}", *order, *bounds, *self.notes])


def as_input(outputs: Tensor, kind: str, link: Link, *, exclusive: bool) -> Tensor:
    """A model's outputs as a loss wants them."""
    if kind == "logits":
        return outputs
    if kind == "log_probabilities" and link == "softmax":
        return torch.log_softmax(outputs, 1)
    probs = probabilities(outputs, link, exclusive=exclusive)
    return probs if kind == "probabilities" else probs.clamp_min(torch.finfo(probs.dtype).tiny).log()
