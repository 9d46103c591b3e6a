"""The numbers of R trials, one row each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn


@dataclass
class State:
    """All numbers of R trials that a step changes.

    Attributes:
        params: [R, P], every trial's trained parameters flattened in the module's order.
        buffers: the module's buffers and frozen parameters by name, each [R, ...].
        slots: the optimizer's own memory by name, each [R, P].
    """

    params: Tensor
    buffers: dict[str, Tensor]
    slots: dict[str, Tensor] = field(default_factory=dict)

    @classmethod
    def of(cls, modules: Sequence[nn.Module], device: torch.device, dtype: torch.dtype) -> State:
        """The state of R modules of one structure, one row each."""
        rows = [torch.cat([p.detach().reshape(-1) for p in trained(m).values()]) for m in modules]
        kept = [dict(m.named_buffers()) | frozen(m) for m in modules]
        buffers = {}
        for name in kept[0]:
            stacked = torch.stack([row[name].detach() for row in kept])
            buffers[name] = stacked.to(device, dtype if stacked.is_floating_point() else None)
        return cls(torch.stack(rows).to(device, dtype), buffers)

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor by a unique name; for checkpoints."""
        named = {"params": self.params}
        named |= {f"buffers/{k}": v for k, v in self.buffers.items()}
        return named | {f"slots/{k}": v for k, v in self.slots.items()}

    def weights(self) -> State:
        """A copy of what the models are made of; the optimizer's memory stays behind."""
        return State(self.params.clone(), {k: v.clone() for k, v in self.buffers.items()})

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Copy `tensors`, some or all of those that `tensors` names, into this state, in place."""
        own = self.tensors()
        for name, tensor in tensors.items():
            own[name].copy_(tensor)


def trained(module: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that training moves: those that ask for a gradient."""
    return {name: p for name, p in module.named_parameters() if p.requires_grad}


def frozen(module: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that stay as they are."""
    return {name: p for name, p in module.named_parameters() if not p.requires_grad}


def state_dict(module: nn.Module, params: Tensor, buffers: dict[str, Tensor]) -> dict[str, Tensor]:
    """One row's parameters [P] and buffers under the module's own names, on the CPU: what `load_state_dict` takes."""
    moved = trained(module)
    parts = params.detach().cpu().split([p.numel() for p in moved.values()])
    named = {name: part.view(p.shape).clone() for (name, p), part in zip(moved.items(), parts, strict=True)}
    return named | {name: value.detach().cpu().clone() for name, value in buffers.items()}


def row_norms(grads: Tensor) -> Tensor:
    """Euclidean norm of each row's gradient [R]."""
    return torch.linalg.vector_norm(grads, dim=1)
