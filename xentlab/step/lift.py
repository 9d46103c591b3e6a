"""What both lifts share: rows of a state, their gradients, and how these move them."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from xentlab.step.objective import Objective
from xentlab.step.state import State, row_norms, trained
from xentlab.step.tape import peak_bytes


@dataclass(frozen=True)
class Update:
    """How parameters move: the optimizer, its knobs and the gradient's bound, one value for each of the R trials.

    Attributes:
        rates: [steps, R] float64, the learning rates with the schedule's factor already in.
        chunk: examples of a batch whose gradient is taken at a time; None: of all of it.
        decay: whose weight decays: `all`, or `weights` (no parameter of one axis: biases, scales of norms).
        average: part of the running mean of the weights, `slots["average"]`, that a step keeps; None: there is none.
    """

    optimizer: Callable[..., None]
    knobs: dict[str, list[Any]]
    rates: Tensor
    clip: Callable[..., Tensor]
    clip_norm: list[float] | None
    chunk: int | None = None
    decay: str = "all"
    average: float | None = None


class Lift(ABC):
    """Rows of a state and the step over them: what both lifts share is the gradient buffer and the update.

    Attributes:
        shared: batches come without a row axis.
    """

    shared = True

    def __init__(self, module: nn.Module, state: State, rows: slice, objective: Objective, update: Update) -> None:
        self.module, self.rows, self.objective = module, rows, objective
        self.params = state.params[rows]
        self.buffers = {k: v[rows] for k, v in state.buffers.items()}
        self.slots = {k: v[rows] for k, v in state.slots.items()}
        self.grads = torch.empty_like(self.params)
        self._example_bytes: int | None = None
        self._optimizer, self._clip = update.optimizer, update.clip
        self._knobs = {k: self._row_value(v) for k, v in update.knobs.items()}
        self._chunk, self._average = update.chunk, update.average
        if update.decay == "weights" and not hasattr(update.optimizer, "make") and any(update.knobs["weight_decay"]):
            sizes = [p.new_full((p.numel(),), p.ndim >= 2, dtype=torch.float64) for p in trained(module).values()]
            self._knobs["weight_decay"] = self._knobs["weight_decay"] * torch.cat(sizes).to(self.params.device)[None]
        self._clip_norm = self._row_value(update.clip_norm) if update.clip_norm is not None else None
        self._scale: Any = None
        rates = update.rates[:, rows]
        if bool((rates == rates[:, :1]).all()):
            self._rates: list[float] | Tensor = rates[:, 0].tolist()
        else:
            self._rates = rates.to(self.params.device).unsqueeze(
                2
            )  # float64: an optimizer rounds what it computes of it

    def _row_value(self, values: list[Any]) -> Any:
        mine = values[self.rows]
        if all(v == mine[0] for v in mine):
            return mine[0]
        return torch.tensor(mine, dtype=torch.float64, device=self.params.device).unsqueeze(1)

    def _move(self, number: int) -> None:
        """Step `number` of the optimizer, along `grads`."""
        self._optimizer(self.params, self.grads, self.slots, number + 1, lr=self._rate(number), **self._knobs)

    def memory(self) -> dict[str, Any] | None:
        """What an optimizer from outside remembers beside `slots`; None of one of the lab."""
        return None

    def recall(self, memory: dict[str, Any]) -> None:
        """Give it back what it remembered."""
        raise NotImplementedError

    def scale(self, factors: list[float]) -> None:
        """Multiply the learning rates of the steps to come by one factor for each of all R trials."""
        self._scale = self._row_value(factors)

    def _rate(self, number: int) -> Any:
        return self._rates[number] if self._scale is None else self._rates[number] * self._scale

    def rate(self, number: int) -> list[float]:
        """The learning rate of each row at step `number`."""
        rate = self._rate(number)
        return rate.flatten().tolist() if isinstance(rate, Tensor) else [rate] * len(self.params)

    @abstractmethod
    def enter(self) -> None:
        """Make the module ready for these rows; called before they are trained or evaluated."""

    @abstractmethod
    def gradients(self, inputs: Tensor, target: Tensor) -> tuple[Tensor, Tensor | None]:
        """The two terms of the objective, each [rows] or a scalar; leaves the gradients in `grads` [rows, P]."""

    @abstractmethod
    def masses(self, target: Tensor) -> Tensor:
        """What a batch weighs beside others in a mean over all of them [rows]."""

    def accumulated(self, inputs: Tensor, target: Tensor) -> tuple[Tensor, Tensor | None]:
        """As `gradients`, one chunk of the batch after another: what a step needs of memory does not grow with it."""
        axis = 0 if self.shared else 1
        count = 1 if self._chunk is None else -(-inputs.shape[axis] // self._chunk)
        if count == 1:
            return self.gradients(inputs, target)
        chunks = list(zip(inputs.tensor_split(count, axis), target.tensor_split(count, axis), strict=True))
        masses = torch.stack([self.masses(part) for _, part in chunks]).to(self.params.dtype)
        whole = masses.sum(0)
        shares = torch.where(whole > 0, masses / whole, 1 / count)
        mean, sums = self.params.new_zeros(len(self.params)), torch.zeros_like(self.grads)
        penalty = None
        for chunk, share in zip(chunks, shares, strict=True):
            data, penalty = self.gradients(*chunk)
            sums.addcmul_(self.grads, share.unsqueeze(1))
            mean += share * data
        self.grads.copy_(sums)
        return mean, penalty

    @abstractmethod
    def predict(self, inputs: Tensor) -> Tensor:
        """Logits [rows, B, C, ...] in evaluation mode, of inputs shaped as in `gradients`."""

    def example_bytes(self, inputs: Tensor) -> int:
        """What one example more costs `predict` in memory, measured once, on these inputs [..., B, ...]."""
        if self._example_bytes is None:
            batch = inputs.shape[0 if self.shared else 1]
            self._example_bytes = max(1, peak_bytes(self.predict, [inputs]) // batch)
        return self._example_bytes

    def step(
        self, number: int, inputs: Tensor, target: Tensor, *, measure: bool = False
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Step `number` (from 0 over the whole training) on one batch.

        Returns:
            The objective's data term and penalty (None without one), and where asked to `measure` the norm of each
            row's gradient before clipping [rows]; detached, on the device.
        """
        data, penalty = self.accumulated(inputs, target)
        norms = None
        if self._clip_norm is not None:
            norms = self._clip(self.grads, self._clip_norm)
        elif measure:
            norms = row_norms(self.grads)
        self._move(number)
        if self._average is not None:
            # Young means forget faster, or they would hold to the first weights.
            kept = min(self._average, (1 + number) / (10 + number))
            self.slots["average"].lerp_(self.params, 1 - kept)
        return data, penalty, norms


@contextlib.contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Within it the module is in evaluation mode."""
    module.eval()
    try:
        yield
    finally:
        module.train()


def forward_precision(objective: Objective, inputs: Tensor) -> Any:
    """Within it a forward pass has the precision of the training's."""
    if objective.autocast:
        return torch.autocast(inputs.device.type, torch.bfloat16)
    return contextlib.nullcontext()
