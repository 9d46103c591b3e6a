"""Training a stack: `Fit` yields one epoch of metrics after another, then tells how each trial ended.

A training that is taken up from a snapshot ends with the numbers of one that was never interrupted. Metrics stay on the
device and come to the host once an epoch.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from xentlab.data import Dataset, generator
from xentlab.data.turns import waited
from xentlab.models import has_dropout
from xentlab.outcome import Outcome
from xentlab.step import Lift, Looped, State
from xentlab.threads import share
from xentlab.train.ends import ends
from xentlab.train.history import History
from xentlab.train.rig import Rig
from xentlab.train.trial import Trial

# The gradient norm of an epoch is the mean over at most this many of its steps, evenly spaced.
_NORM_SAMPLES = 16


@dataclass(frozen=True)
class Epoch:
    """One epoch of R trials: `metrics[name]` holds R values, None where not finite."""

    number: int
    metrics: dict[str, list[float | None]]


class Fit:
    """The training of one stack of R trials on one dataset; arguments as `Rig` takes them.

    Attributes:
        rig: what is trained.
        history: how each trial has fared.
        best: the weights of each trial's best epoch so far.
        final: those of the end, once there is one.
        answers: what each test example came to under these [R, N], once they have met it; see `Task.answers`.
    """

    def __init__(self, trials: Sequence[Trial], dataset: Dataset) -> None:
        self.rig = Rig(trials, dataset)
        self.history = History.of(
            len(trials), trials[0].monitor, self.rig.trainer.target, self.rig.trainer.patience, self.rig.plateau
        )
        self.best = self.final = self.rig.state.weights()
        self.answers: dict[str, Tensor] = {}

    def epochs(self) -> Iterator[Epoch]:
        """Train to the end, one epoch after another; stops early when every trial is over."""
        rig, history = self.rig, self.history
        trials = len(rig.trials)
        while history.done < rig.trainer.epochs and not all(history.over):
            start = time.perf_counter() - waited()
            values = self.train(history.done + 1)
            elapsed = share() * (time.perf_counter() - waited() - start)
            history.seconds += elapsed
            history.done += 1
            with rig.averaged():
                for part, limit in (("train", rig.train_sample), ("val", None)):
                    values |= {f"{part}/{k}": v.tolist() for k, v in rig.evaluate(part, limit).metrics.items()}
                examples = min(rig.batches.size["train"], rig.steps_per_epoch * rig.batch_size)
                values["speed/ms_per_step"] = [1e3 * elapsed / (rig.steps_per_epoch * trials)] * trials
                values["speed/samples_per_s"] = [examples * trials / elapsed] * trials
                self._keep_best(history.judge(values))
            yield Epoch(history.done, {k: [v if math.isfinite(v) else None for v in row] for k, row in values.items()})

    def train(self, epoch: int) -> dict[str, list[float]]:
        """One pass over the training data; per row the objective's terms, the gradient's norm and the learning rate."""
        rig, steps = self.rig, self.rig.steps_per_epoch
        first_step, every = (epoch - 1) * steps, math.ceil(steps / _NORM_SAMPLES)
        columns: list[Tensor] = []
        for lift in rig.lifts:
            lift.enter()
            if self.rig.plateau is not None:
                factors = [t.schedule.keywords["factor"] for t in self.rig.trials]
                lift.scale([f**n for f, n in zip(factors, self.history.lowered, strict=True)])
            self._seed_dropout(lift, epoch)
            data_sum, penalty_sum, norm_sum = lift.params.new_zeros(3, len(lift.params))
            for i, (inputs, target) in enumerate(rig.batches.training(lift.rows, epoch, rig.batch_size)):
                measured = i % every == 0
                data, penalty, norm = lift.step(first_step + i, inputs, target, measure=measured)
                data_sum += data
                if penalty is not None:
                    penalty_sum += penalty
                if measured and norm is not None:
                    norm_sum += norm
            sums = torch.stack([data_sum, penalty_sum, norm_sum]).double()
            sound = torch.isfinite(lift.params).all(1).double().unsqueeze(0)
            counts = sums.new_tensor([steps, steps, -(-steps // every)])
            columns.append(torch.cat([sums / counts.unsqueeze(1), sound]))
        loss, penalty, norm, sound = torch.cat(columns, dim=1).cpu()
        gone = (~torch.isfinite(loss) | (sound == 0)).tolist()
        self.history.diverged = [was or now for was, now in zip(self.history.diverged, gone, strict=True)]
        return {
            "train/objective": (loss + penalty).tolist(),
            "train/loss": loss.tolist(),
            "train/penalty": penalty.tolist(),
            "optim/grad_norm": norm.tolist(),
            "optim/lr": [rate for lift in rig.lifts for rate in lift.rate(first_step + steps - 1)],
        }

    def _seed_dropout(self, lift: Lift, epoch: int) -> None:
        if isinstance(lift, Looped) and has_dropout(self.rig.module):
            seed = self.rig.trials[lift.rows.start].seed
            torch.manual_seed(generator(seed, f"dropout of epoch {epoch}").initial_seed())

    def _keep_best(self, better: Sequence[int]) -> None:
        if better:
            chosen = torch.tensor(better, device=self.rig.device)
            now = self.rig.state.tensors()
            for name, kept in self.best.tensors().items():
                kept.index_copy_(0, chosen, now[name].index_select(0, chosen))

    def snapshot(self) -> dict[str, Any]:
        """All that `restore` needs to go on after the last epoch; safe to load with `weights_only=True`."""
        states = {"state": self.rig.state, "best": self.best}
        copies = {key: {k: v.cpu().clone() for k, v in state.tensors().items()} for key, state in states.items()}
        return {"history": self.history.snapshot(), "optimizers": [lift.memory() for lift in self.rig.lifts], **copies}

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Go back to where `snapshot` was taken."""
        self.history = History.restored(snapshot["history"])
        self.rig.state.load(snapshot["state"])
        self.best.load(snapshot["best"])
        self._recall(snapshot["optimizers"])

    def _recall(self, memories: Sequence[dict[str, Any] | None]) -> None:
        for lift, memory in zip(self.rig.lifts, memories, strict=True):
            if memory is not None:
                lift.recall(copy.deepcopy(memory))

    def take(self, rows: Sequence[int]) -> Fit:
        """The training of these trials alone, from where they are now."""
        part, chosen = Fit([self.rig.trials[r] for r in rows], self.rig.dataset), list(rows)
        part.history = self.history.take(chosen)
        for own, whole in ((part.rig.state, self.rig.state), (part.best, self.best)):
            own.load({name: tensor[chosen] for name, tensor in whole.tensors().items()})
        if self.rig.lift == "looped":
            part._recall([self.rig.lifts[row].memory() for row in chosen])
        return part

    def settle(self) -> None:
        """Give each trial the weights that it is judged by: running means, under `patience` those of its best epoch."""
        if "average" in self.rig.state.slots:
            self.rig.state.params.copy_(self.rig.state.slots["average"])
        if self.rig.trainer.patience is not None:
            self.rig.state.load(self.best.tensors())

    def finish(self) -> list[Outcome]:
        """How each trial ended, see `outcome.ends`; the test set is read here and nowhere else."""
        self.settle()
        self.final = self.rig.state.weights()
        told, self.answers = ends(self.rig, self.history, self.best)
        return told

    def weights(self, row: int, which: str) -> dict[str, Tensor]:
        """The `final` or `best` weights of one trial, as `load_state_dict` takes them."""
        kept: State = self.final if which == "final" else self.best
        return self.rig.weights(row, kept)
