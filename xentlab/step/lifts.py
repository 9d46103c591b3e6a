"""The two lifts of the one step: `Looped` (a trial through its module) and `Vectorised` (R trials by `torch.vmap`)."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Hashable
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from xentlab.step.graph import Graph, capture
from xentlab.step.lift import Lift, Update, evaluating, forward_precision
from xentlab.step.objective import Given, Objective, full_precision
from xentlab.step.products import Products
from xentlab.step.state import State, frozen, trained
from xentlab.step.tape import Tape, record
from xentlab.step.windows import in_windows

# Until a process's first `pow` of a vector, log1p, expm1, softplus and logsigmoid take six to ten times as long.
torch.full((64,), 2.0).pow(1.5)

# Of an operation of a stranger's loss that has no rule for stacks: no news to its user, for it still stacks.
torch._C._functorch._set_vmap_fallback_warning_enabled(False)  # type: ignore[attr-defined]

# What a forward pass that only measures holds at a time: 50 small MLPs on 1,000 examples took 0.8 of the time so.
_BLOCK_BYTES = 2**23


class Looped(Lift):
    """One trial through the module itself: its parameters and buffers are views of the trial's row.

    With `channels_last` the module is shown images whose channels lie side by side in memory, and hands them on so.
    """

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
        channels_last: bool = False,
    ) -> None:
        super().__init__(module, state, slice(row, row + 1), objective, update)
        self._format = torch.channels_last if channels_last else torch.preserve_format
        self._forward: Callable[[Tensor], Tensor] = torch.compile(module) if compiled else module
        self._leaves = list(trained(module).values())
        self._frozen = frozen(module)
        self._weights = [p for p in self._leaves if p.ndim >= 2]
        self._given = given.of(row)
        make = getattr(update.optimizer, "make", None)
        first_rate = self.rate(0)[0]
        self._own = None if make is None else make(self._leaves, update.decay, lr=first_rate, **self._knobs)

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

    def _move(self, number: int) -> None:
        if self._own is None:
            super()._move(number)
            return
        for leaf, part in zip(self._leaves, self.grads[0].split([p.numel() for p in self._leaves]), strict=True):
            leaf.grad = part.view(leaf.shape)
        for group in self._own.param_groups:
            group["lr"] = self.rate(number)[0]
        self._own.step()
        self._own.zero_grad()

    def memory(self) -> dict[str, Any] | None:
        return None if self._own is None else dict(self._own.state_dict())

    def recall(self, memory: dict[str, Any]) -> None:
        assert self._own is not None
        self._own.load_state_dict(memory)

    def gradients(self, inputs: Tensor, target: Tensor) -> tuple[Tensor, Tensor | None]:
        inputs = inputs.to(memory_format=self._format)
        data, penalty = self.objective(self._forward, self._weights, self._given, inputs, target)
        grads = torch.autograd.grad(
            data if penalty is None else data + penalty, self._leaves, allow_unused=True, materialize_grads=True
        )
        torch.cat([g.reshape(-1) for g in grads], out=self.grads[0])
        return data.detach(), None if penalty is None else penalty.detach()

    def masses(self, target: Tensor) -> Tensor:
        return self.objective.mass(target, self._given.facts).reshape(1)

    def predict(self, inputs: Tensor) -> Tensor:
        with torch.no_grad(), evaluating(self.module), forward_precision(self.objective, inputs):
            side = self.objective.window
            return in_windows(
                lambda x: full_precision(self.module(x.to(memory_format=self._format))), inputs, side
            ).unsqueeze(0)


class Vectorised(Lift):
    """Rows of a stack as one tensor program, written down the second time that it meets a batch's shape, then replayed.

    A batch is [rows, B, ...], or [B, ...] where all rows share it (`shared`).
    """

    def __init__(
        self,
        module: nn.Module,
        state: State,
        rows: slice,
        objective: Objective,
        given: Given,
        update: Update,
        *,
        shared: bool,
        compiled: bool = False,
    ) -> None:
        super().__init__(module, state, rows, objective, update)
        moved = trained(module)
        self._names, shapes = list(moved), [p.shape for p in moved.values()]
        self._frozen = set(frozen(module))

        def views(table: Tensor) -> list[Tensor]:
            parts = table.split([s.numel() for s in shapes], dim=1)
            return [v.view(len(table), *s).detach() for v, s in zip(parts, shapes, strict=True)]

        self._leaves, self._grads = [v.requires_grad_() for v in views(self.params)], views(self.grads)
        facts = {name: values[rows] for name, values in given.facts.items()}
        self._given = Given(self._tensors(given.loss_knobs), self._tensors(given.penalty_knobs), facts)
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
        return {k: self.params.new_tensor(v[self.rows]) for k, v in knobs.items()}

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
        with contextlib.nullcontext() if self._compiled else Products():
            return self._descent(inputs, target)

    def _descent(self, inputs: Tensor, target: Tensor) -> Any:
        data, penalty, buffers = self._lifted(self._leaves, self.buffers, self._given, inputs, target)
        total = (data + penalty).sum()
        grads = torch.autograd.grad(total, self._leaves, allow_unused=True, materialize_grads=True)
        for place, grad in zip(self._grads, grads, strict=True):
            place.copy_(grad)
        for name, value in buffers.items():
            self.buffers[name].copy_(value)
        return data.detach(), penalty.detach() if self.objective.penalty else None

    def masses(self, target: Tensor) -> Tensor:
        return self._mass(target, self._given.facts).expand(len(self.params))

    def _logits(self, params: list[Tensor], buffers: dict[str, Tensor], inputs: Tensor) -> Tensor:
        named = dict(zip(self._names, params, strict=True)) | buffers
        return functional_call(self.module, named, (inputs,))

    def predict(self, inputs: Tensor) -> Tensor:
        with torch.no_grad(), evaluating(self.module), forward_precision(self.objective, inputs):
            rows, side = len(self.params), self.objective.window
            some = self._rows_at_once(inputs)
            parts = [self._outputs(slice(i, i + some), inputs, side) for i in range(0, rows, some)]
            return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _outputs(self, rows: slice, inputs: Tensor, side: int | None) -> Tensor:
        leaves, buffers = [v[rows] for v in self._leaves], {k: v[rows] for k, v in self.buffers.items()}
        inputs = inputs if self.shared else inputs[rows]
        with Products() if len(leaves[0]) == 1 else contextlib.nullcontext():
            return in_windows(lambda x: full_precision(self._predict(leaves, buffers, x)), inputs, side)

    def _rows_at_once(self, inputs: Tensor) -> int:
        """On a CPU as many rows as stay in its caches, each for all examples."""
        rows = len(self.params)
        if self._example_bytes is None or inputs.device.type != "cpu":
            return rows
        return max(rows * _BLOCK_BYTES // (self._example_bytes * inputs.shape[0 if self.shared else 1]), 1)
