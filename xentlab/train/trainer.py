"""How trials are trained: the part of the protocol that is equal for every loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from xentlab.schema import Range


@dataclass(frozen=True, kw_only=True)
class Trainer:
    """How a trial is trained, whatever its loss. Each field is a knob of `trainer` in the config.

    Attributes:
        epochs: passes over the training set, in [1, 1000000].
        batch_size: examples of a step; None: the task's own, 64, or 8 where every pixel is an element.
        accumulate: batches whose gradients make one step, at most those of an epoch: what is trained is what one batch
            of so many times the size trains, but for batch norms and losses that couple a batch.
        sampling: examples of an epoch: each once in a drawn order (`shuffle`), or as many drawn with replacement, every
            class as often as the others (`balanced`).
        device: `auto` (a GPU where there is one), `cpu`, `cuda` or `cuda:N`.
        precision: of the step; `bfloat16` is autocast of the forward pass, weights stay float32.
        lift: trials of a stack one after another (`looped`), as one tensor program (`vectorised`), or by `choose_lift`.
        compile: whether `torch.compile` takes the forward pass.
        deterministic: only algorithms that give the same bits every time; one that cannot is refused.
        clip_norm: bound on the norm of each trial's gradient, > 0; None for none.
        decay: what `optimizer.weight_decay` shrinks: `all`, or `weights` alone, neither biases nor scales of norms.
        ema: part of the running mean of the weights that a step keeps, in (0, 1), less in the first steps: the mean is
            what is evaluated, kept and tested, with the model's own statistics of norms. None: the weights themselves.
        class_weights: of each example's loss by its class, from the training labels.
        monitor: metric that chooses the best epoch on validation; None: the task's primary one.
        patience: epochs without a better value of it after which a trial stops; its final weights, which are kept and
            tested, are then those of its best epoch, whether it stopped or not. None: it trains all its epochs.
        target: value of it that counts as reached; None for none.
        train_sample: training examples on which metrics are taken each epoch; None: as many as there are for
            validation, but no more than the task says, 2000 or 100.
        eval_batch_size: examples of a forward pass that only measures.
        window: side in pixels, >= 8, of the squares, overlapping by half, whose outputs are averaged wherever maps are
            measured; None: whole images at once.
        checkpoint_every: epochs between checkpoints; 0 for none.
        max_stack: trials of a stack at most.
        memory: MB that a stack may take, > 0; None: half of what is free.
    """

    epochs: Annotated[int, Range(1, 1_000_000)] = 20
    batch_size: Annotated[int, Range(1, None)] | None = None
    accumulate: Annotated[int, Range(1, None)] = 1
    sampling: Literal["shuffle", "balanced"] = "shuffle"
    device: str = "auto"
    precision: Literal["float32", "bfloat16", "float64"] = "float32"
    lift: Literal["auto", "looped", "vectorised"] = "auto"
    compile: bool = False
    deterministic: bool = False
    clip_norm: Annotated[float, Range(0, None, open_low=True)] | None = None
    decay: Literal["all", "weights"] = "all"
    ema: Annotated[float, Range(0, 1, open_low=True, open_high=True)] | None = None
    class_weights: Literal["none", "inverse", "median_frequency"] = "none"
    monitor: str | None = None
    patience: Annotated[int, Range(1, None)] | None = None
    target: float | None = None
    train_sample: Annotated[int, Range(1, None)] | None = None
    eval_batch_size: Annotated[int, Range(1, None)] = 1000
    window: Annotated[int, Range(8, None)] | None = None
    checkpoint_every: Annotated[int, Range(0, None)] = 5
    max_stack: Annotated[int, Range(1, None)] = 64
    memory: Annotated[float, Range(0, None, open_low=True)] | None = None
