"""Training a stack: `Fit` yields one epoch of metrics after another, then tells how each trial ended.

Everything random comes from each trial's own seed: its split, first weights, batch order and dropout. So a trial in a
stack equals the same trial alone, and a training that is taken up from a snapshot ends with the numbers of one that
was never interrupted. Metrics stay on the device and come to the host once an epoch.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from xentlab import metrics
from xentlab.data import Dataset, generator, split
from xentlab.models import has_dropout, initial
from xentlab.outcome import Outcome
from xentlab.step import Lift, Looped, State, row_norms, state_dict
from xentlab.train.batches import Batches
from xentlab.train.evaluate import evaluate
from xentlab.train.outcome import ends
from xentlab.train.setup import class_facts_of, lifts_of
from xentlab.train.trial import Trial

# The gradient norm of an epoch is the mean over at most this many of its steps, evenly spaced.
_NORM_SAMPLES = 16


@dataclass(frozen=True)
class Epoch:
    """One epoch of R trials: `metrics[name]` holds R values, None where not finite."""

    number: int
    metrics: dict[str, list[float | None]]


class Fit:
    """The training of one stack of R trials on one dataset.

    Args:
        trials: of one structure (see `plan.stacks`).
        dataset: what `trials[0].dataset()` returns, with the trials' soft targets where they have some.
    """

    def __init__(self, trials: Sequence[Trial], dataset: Dataset) -> None:
        first = trials[0]
        assert (first.soft_targets is None) == (dataset.soft_targets is None)
        self.trials, self.dataset, self.trainer = list(trials), dataset, first.trainer
        self.device = first.device
        self.dtype = torch.float64 if self.trainer.precision == "float64" else torch.float32
        self.batch_size = first.batch_size
        seeds = [t.seed for t in trials]
        splits = {s: split(dataset, s, **first.sampling) for s in dict.fromkeys(seeds)}
        if not first.test:
            splits = {s: part.without_test() for s, part in splits.items()}
        self.batches = Batches(dataset, [splits[s] for s in seeds], seeds, self.device, self.dtype)
        self.modules = {s: self._initial(s) for s in splits}
        self.module: nn.Module = self._initial(seeds[0]).to(self.device, self.dtype)
        self.steps_per_epoch = self.batches.num_steps(self.batch_size)
        self.state = State.of([self.modules[s] for s in seeds], self.device, self.dtype)
        self.facts = class_facts_of(trials, dataset, self.batches)
        self.lift, self.lifts = lifts_of(trials, dataset, self.module, self.state, self.batches)
        self.done = 0
        self.diverged = torch.zeros(len(trials), dtype=torch.bool)
        self.best = {"params": self.state.params.clone()} | {k: v.clone() for k, v in self.state.buffers.items()}
        self.final = self.best
        self.best_value: list[float | None] = [None] * len(trials)
        self.best_epoch = [0] * len(trials)
        self.reached: list[int | None] = [None] * len(trials)
        self.seconds = 0.0
        self.last_value: list[float | None] = [None] * len(trials)

    def _initial(self, seed: int) -> nn.Module:
        weights_seed = generator(seed, "weights").initial_seed()
        return initial(self.trials[0].model, self.dataset.input_shape, self.dataset.num_classes, weights_seed)

    def epochs(self) -> Iterator[Epoch]:
        """Train to the end, one epoch after another; stops early when every trial has diverged."""
        while self.done < self.trainer.epochs and not bool(self.diverged.all()):
            start = time.perf_counter()
            values = self._train(self.done + 1)
            elapsed = time.perf_counter() - start
            self.seconds += elapsed
            self.done += 1
            for part, limit in (("train", self.trials[0].train_sample), ("val", None)):
                values |= {f"{part}/{name}": value.tolist() for name, value in self.evaluate(part, limit)[0].items()}
            count = self.steps_per_epoch * len(self.trials)
            examples = min(self.batches.size["train"], self.steps_per_epoch * self.batch_size)
            values["speed/ms_per_step"] = [1e3 * elapsed / count] * len(self.trials)
            values["speed/samples_per_s"] = [examples * len(self.trials) / elapsed] * len(self.trials)
            self._judge(values)
            yield Epoch(self.done, {k: [v if math.isfinite(v) else None for v in row] for k, row in values.items()})

    def _train(self, epoch: int) -> dict[str, list[float]]:
        """One pass over the training data; per row the objective's terms, the gradient's norm and the learning rate."""
        first_step = (epoch - 1) * self.steps_per_epoch
        every = math.ceil(self.steps_per_epoch / _NORM_SAMPLES)
        columns: list[Tensor] = []
        for lift in self.lifts:
            lift.enter()
            self._seed_dropout(lift, epoch)
            facts = {k: v[_rows_of(lift)] for k, v in self.facts.items()}
            data_sum, penalty_sum, norm_sum = lift.params.new_zeros(3, len(lift.params))
            for i, (inputs, target) in enumerate(self.batches.training(lift.rows, epoch, self.batch_size)):
                measured = i % every == 0
                data, penalty, norm = lift.step(first_step + i, inputs, target, facts, measure=measured)
                data_sum += data
                if penalty is not None:
                    penalty_sum += penalty
                if measured and norm is not None:
                    norm_sum += norm
            sums = torch.stack([data_sum, penalty_sum, norm_sum]).double()
            sound = torch.isfinite(lift.params).all(1).double().unsqueeze(0)
            counts = sums.new_tensor([self.steps_per_epoch, self.steps_per_epoch, -(-self.steps_per_epoch // every)])
            columns.append(torch.cat([sums / counts.unsqueeze(1), sound]))
        loss, penalty, norm, sound = torch.cat(columns, dim=1).cpu()
        self.diverged |= ~torch.isfinite(loss) | (sound == 0)
        last_step = first_step + self.steps_per_epoch - 1
        return {
            "train/objective": (loss + penalty).tolist(),
            "train/loss": loss.tolist(),
            "train/penalty": penalty.tolist(),
            "optim/grad_norm": norm.tolist(),
            "optim/lr": [rate for lift in self.lifts for rate in lift.rate(last_step)],
        }

    def _seed_dropout(self, lift: Lift, epoch: int) -> None:
        if isinstance(lift, Looped) and has_dropout(self.module):
            seed = self.trials[lift.rows.start].seed
            torch.manual_seed(generator(seed, f"dropout of epoch {epoch}").initial_seed())

    def evaluate(self, part: str, limit: int | None = None) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Every metric of the task on one part of the data, float64 [R], and its reliability [R, 16]; on the host."""
        size = self.trainer.eval_batch_size
        return evaluate(self.lifts, self.batches, self.dataset, self.trials[0].loss.link, part, size, limit)

    def _judge(self, values: dict[str, list[float]]) -> None:
        """Mark diverged rows, and keep the weights of those that are at their best on validation."""
        monitor, direction = self.trials[0].monitor, metrics.DIRECTIONS[self.trials[0].monitor]
        better: list[int] = []
        for row in range(len(self.trials)):
            if self.diverged[row]:
                for name in values:
                    if not name.startswith(("optim/lr", "speed/")):
                        values[name][row] = math.nan
                continue
            value, best = values[f"val/{monitor}"][row], self.best_value[row]
            self.last_value[row] = value if math.isfinite(value) else None
            if math.isfinite(value) and (best is None or (value < best if direction == "min" else value > best)):
                self.best_value[row], self.best_epoch[row] = value, self.done
                better.append(row)
            target = self.trainer.target
            if target is not None and self.reached[row] is None:
                hit = value <= target if direction == "min" else value >= target
                self.reached[row] = self.done if hit else None
        if better:
            chosen = torch.tensor(better, device=self.device)
            self.best["params"].index_copy_(0, chosen, self.state.params.index_select(0, chosen))
            for name, buffer in self.state.buffers.items():
                self.best[name].index_copy_(0, chosen, buffer.index_select(0, chosen))

    def snapshot(self) -> dict[str, Any]:
        """All that `restore` needs to go on after the last epoch; safe to load with `weights_only=True`."""
        facts = {
            "done": self.done,
            "diverged": self.diverged.tolist(),
            "best_value": list(self.best_value),
            "last_value": list(self.last_value),
            "best_epoch": list(self.best_epoch),
            "reached": list(self.reached),
            "seconds": self.seconds,
        }
        tensors = {k: v.cpu().clone() for k, v in self.state.tensors().items()}
        return {"facts": facts, "state": tensors, "best": {k: v.cpu().clone() for k, v in self.best.items()}}

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Go back to where `snapshot` was taken."""
        facts = snapshot["facts"]
        self.done, self.seconds = facts["done"], facts["seconds"]
        self.diverged = torch.tensor(facts["diverged"])
        self.best_value, self.best_epoch = list(facts["best_value"]), list(facts["best_epoch"])
        self.last_value = list(facts["last_value"])
        self.reached = list(facts["reached"])
        self.state.load(snapshot["state"])
        for name, tensor in self.best.items():
            tensor.copy_(snapshot["best"][name])

    def finish(self) -> list[Outcome]:
        """How each trial ended, see `outcome.ends`; the test set is read here and nowhere else."""
        return ends(self)

    def take(self, rows: Sequence[int]) -> Fit:
        """The training of these trials alone, from where they are now."""
        part, snapshot, chosen = Fit([self.trials[r] for r in rows], self.dataset), self.snapshot(), list(rows)
        for group in ("state", "best"):
            snapshot[group] = {name: tensor[chosen] for name, tensor in snapshot[group].items()}
        for name, value in snapshot["facts"].items():
            if isinstance(value, list):
                snapshot["facts"][name] = [value[r] for r in rows]
        snapshot["facts"]["seconds"] *= len(chosen) / len(self.trials)
        part.restore(snapshot)
        return part

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Give all trials the weights [R, P] and buffers that `best` or `final` holds."""
        self.state.params.copy_(weights["params"])
        for name, buffer in self.state.buffers.items():
            buffer.copy_(weights[name])

    def weights(self, row: int, which: str) -> dict[str, Tensor]:
        """The `final` or `best` weights of one trial, as `load_state_dict` takes them."""
        kept = self.final if which == "final" else self.best
        return state_dict(self.module, kept["params"][row], {k: kept[k][row] for k in self.state.buffers})

    def put_weights(self, row: int, weights: Mapping[str, Tensor]) -> None:
        """Give one trial the weights that `weights` told."""
        names = [name for name, _ in self.module.named_parameters()]
        self.state.params[row].copy_(torch.cat([weights[name].reshape(-1) for name in names]))
        for name, buffer in self.state.buffers.items():
            buffer[row].copy_(weights[name])


def _rows_of(lift: Lift) -> slice | int:
    """The rows of a lift as its facts want them: one trial has [C], a stack [R, C]."""
    return lift.rows.start if isinstance(lift, Looped) else lift.rows


def first_gradient_norm(trial: Trial, dataset: Dataset) -> float:
    """The norm of the objective's gradient on a trial's first batch at its first weights; nothing is trained."""
    fit = Fit([trial], dataset)
    (lift,) = fit.lifts
    lift.enter()
    inputs, target = next(fit.batches.training(lift.rows, 1, fit.batch_size))
    lift.gradients(inputs, target, {k: v[_rows_of(lift)] for k, v in fit.facts.items()})
    return float(row_norms(lift.grads))
