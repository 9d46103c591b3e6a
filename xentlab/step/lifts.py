"""The two lifts of the one step: `Looped` (a trial through its module) and `Vectorised` (R trials by `torch.vmap`)."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from xentlab.step.graph import Graph, capture
from xentlab.step.objective import Given, Objective, full_precision
from xentlab.step.state import State, frozen, row_norms, trained
from xentlab.step.tape import Tape, peak_bytes, record

# Of an operation of a stranger's loss that has no rule for stacks: no news to its user, for it still stacks.
torch._C._functorch._set_vmap_fallback_warning_enabled(False)  # type: ignore[attr-defined]


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
        if update.decay == "weights" and self._knobs["weight_decay"] != 0.0:
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
        self._optimizer(self.params, self.grads, self.slots, number + 1, lr=self._rate(number), **self._knobs)
        if self._average is not None:
            # Young means forget faster, or they would hold to the first weights.
            kept = min(self._average, (1 + number) / (10 + number))
            self.slots["average"].lerp_(self.params, 1 - kept)
        return data, penalty, norms


class Looped(Lift):
    """One trial through the module itself: its parameters and buffers are views of the trial's row."""

    def __init__(
        self,
        module: nn.Module,
        state: State,
        row: int,
        objective: Objective,
        given: Given,
        update: Update,
        *,
        compiled: bool = False,
    ) -> None:
        super().__init__(module, state, slice(row, row + 1), objective, update)
        self._forward: Callable[[Tensor], Tensor] = torch.compile(module) if compiled else module
        self._leaves = list(trained(module).values())
        self._frozen = frozen(module)
        self._weights = [p for p in self._leaves if p.ndim >= 2]
        self._given = given.of(row)

    def enter(self) -> None:
        views = self.params[0].split([p.numel() for p in self._leaves])
        for leaf, view in zip(self._leaves, views, strict=True):
            leaf.data = view.view(leaf.shape)
        for name, value in self.buffers.items():
            owner, _, leaf_name = name.rpartition(".")
            if name in self._frozen:
                self._frozen[name].data = value[0]
            else:
                self.module.get_submodule(owner)._buffers[leaf_name] = value[0]

    def gradients(self, inputs: Tensor, target: Tensor) -> tuple[Tensor, Tensor | None]:
        data, penalty = self.objective(self._forward, self._weights, self._given, inputs, target)
        grads = torch.autograd.grad(
            data if penalty is None else data + penalty, self._leaves, allow_unused=True, materialize_grads=True
        )
        torch.cat([g.reshape(-1) for g in grads], out=self.grads[0])
        return data.detach(), None if penalty is None else penalty.detach()

    def masses(self, target: Tensor) -> Tensor:
        return self.objective.mass(target, self._given.facts).reshape(1)

    def predict(self, inputs: Tensor) -> Tensor:
        with torch.no_grad(), _evaluating(self.module), _precision(self.objective, inputs):
            return full_precision(self.module(inputs)).unsqueeze(0)


class Vectorised(Lift):
    """All R trials as one tensor program, written down the second time that it meets a batch's shape, then replayed.

    A batch is [R, B, ...], or [B, ...] where all rows share it (`shared`).
    """

    def __init__(
        self,
        module: nn.Module,
        state: State,
        objective: Objective,
        given: Given,
        update: Update,
        *,
        shared: bool,
        compiled: bool = False,
    ) -> None:
        super().__init__(module, state, slice(0, len(state.params)), objective, update)
        moved = trained(module)
        self._names, shapes = list(moved), [p.shape for p in moved.values()]
        self._frozen = set(frozen(module))
        views = self.params.split([s.numel() for s in shapes], dim=1)
        self._leaves = [
            v.view(len(self.params), *s).detach().requires_grad_() for v, s in zip(views, shapes, strict=True)
        ]
        self._given = Given(self._tensors(given.loss_knobs), self._tensors(given.penalty_knobs), given.facts)
        self.shared = shared
        batch = None if shared else 0
        self._lifted = torch.vmap(self._one, in_dims=(0, 0, 0, batch, batch))
        self._compiled = compiled
        if compiled:
            self._lifted = torch.compile(self._lifted)
        self._programs: dict[Hashable, Tape | Graph | Callable[..., Any] | None] = {}
        self._predict = torch.vmap(self._logits, in_dims=(0, 0, batch))
        if not shared or given.facts:
            self._mass = torch.vmap(objective.mass, in_dims=(batch, 0))
        else:
            self._mass = objective.mass

    def enter(self) -> None:
        self.module.train()

    def _tensors(self, knobs: dict[str, list[float]]) -> dict[str, Tensor]:
        return {k: torch.tensor(v, dtype=self.params.dtype, device=self.params.device) for k, v in knobs.items()}

    def _one(
        self,
        params: list[Tensor],
        buffers: dict[str, Tensor],
        given: Given,
        inputs: Tensor,
        target: Tensor,
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        # BatchNorm writes its buffers in place: it gets copies, and the step returns them.
        named = dict(zip(self._names, params, strict=True)) | buffers
        buffers = {name: value.clone() for name, value in buffers.items() if name not in self._frozen}
        named |= buffers

        def forward(x: Tensor) -> Tensor:
            return functional_call(self.module, named, (x,))

        weights = [p for p in params if p.ndim >= 2]
        data, penalty = self.objective(forward, weights, given, inputs, target)
        return data, torch.zeros_like(data) if penalty is None else penalty, buffers

    def gradients(self, inputs: Tensor, target: Tensor) -> tuple[Tensor, Tensor | None]:
        if self._compiled:
            return self._program(inputs, target)
        key = tuple((g.shape, g.stride(), g.dtype) for g in (inputs, target))
        replay = self._programs.get(key)
        if replay is not None:
            return replay(inputs, target)
        if key not in self._programs:
            self._programs[key] = None
            return self._program(inputs, target)
        result, tape = record(self._program, (inputs, target))
        self._programs[key] = capture(tape, (inputs, target)) if tape else self._program
        return result

    def _program(self, inputs: Tensor, target: Tensor) -> Any:
        data, penalty, buffers = self._lifted(self._leaves, self.buffers, self._given, inputs, target)
        total = (data + penalty).sum()
        grads = torch.autograd.grad(total, self._leaves, allow_unused=True, materialize_grads=True)
        torch.cat([g.flatten(1) for g in grads], dim=1, out=self.grads)
        for name, value in buffers.items():
            self.buffers[name].copy_(value)
        return data.detach(), penalty.detach() if self.objective.penalty else None

    def masses(self, target: Tensor) -> Tensor:
        return self._mass(target, self._given.facts).expand(len(self.params))

    def _logits(self, params: list[Tensor], buffers: dict[str, Tensor], inputs: Tensor) -> Tensor:
        named = dict(zip(self._names, params, strict=True)) | buffers
        return functional_call(self.module, named, (inputs,))

    def predict(self, inputs: Tensor) -> Tensor:
        with torch.no_grad(), _evaluating(self.module), _precision(self.objective, inputs):
            return full_precision(self._predict(self._leaves, self.buffers, inputs))


@contextlib.contextmanager
def _evaluating(module: nn.Module) -> Any:
    module.eval()
    try:
        yield
    finally:
        module.train()


def _precision(objective: Objective, inputs: Tensor) -> Any:
    if objective.autocast:
        return torch.autocast(inputs.device.type, torch.bfloat16)
    return contextlib.nullcontext()
