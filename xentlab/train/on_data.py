"""What can be said of a trial only with its data at hand, and before anything of it is written."""

from __future__ import annotations

from xentlab.data import Dataset, generator, split
from xentlab.data.augmentation import declared
from xentlab.errors import UserError, own_error
from xentlab.train.batches import num_steps
from xentlab.train.trial import Trial


def check_on_data(trial: Trial, dataset: Dataset) -> None:
    """Refuse a trial that has no meaning on these data.

    Raises:
        UserError: a step is longer than an epoch, the warm-up than the training, or an augmentation is not for them.
    """
    _check_augment(trial, dataset)
    trainer, warmup = trial.trainer, trial.schedule.keywords.get("warmup")
    if trainer.accumulate == 1 and not isinstance(warmup, str):
        return
    size = len(split(dataset, trial.seed, **trial.sampling).train)
    most = -(-size // trial.batch_size)
    if trainer.accumulate > most:
        raise UserError(
            f"trainer.accumulate must be at most {most}, the batches of an epoch of {size} examples, got "
            f"{trainer.accumulate}."
        )
    steps = num_steps(size, trial.batch_size * trainer.accumulate)
    if warmup_of(trial, steps).get("warmup", 0) >= 1:
        raise UserError(
            f"schedule.warmup must be shorter than the training, {trainer.epochs} epochs of {steps} steps, got "
            f"'{warmup}'."
        )


def _check_augment(trial: Trial, dataset: Dataset) -> None:
    name, found = trial.names["augment"], declared(trial.augment.func)
    if found is not None:
        if found.images and len(dataset.input_shape) != 3:
            raise UserError(
                f"augment={name} is for images, got inputs of shape {list(dataset.input_shape)}: augment=none leaves "
                f"them as they are."
            )
        return
    inputs, target = dataset.blank(2), dataset.targets[:2].long() if dataset.targets.ndim == 1 else dataset.targets[:2]
    try:
        made = trial.augment(inputs, target, generator(0, "probe"))
        shapes = [part.shape for part in made]
    except Exception as error:
        raise own_error(f"augment {name} on two blank examples", error) from error
    if shapes != [inputs.shape, target.shape]:
        raise UserError(
            f"augment {name} must return inputs and targets like those that it is given, {list(inputs.shape)} and "
            f"{list(target.shape)}, got {' and '.join(str(list(s)) for s in shapes)}."
        )


def warmup_of(trial: Trial, steps_per_epoch: int) -> dict[str, float]:
    """The warm-up that is a number of steps or epochs, as a fraction of the training; nothing where there is none."""
    warmup = trial.schedule.keywords.get("warmup")
    if not isinstance(warmup, str):
        return {}
    count, unit = warmup.split()
    whole = trial.trainer.epochs * (1 if unit.startswith("epoch") else steps_per_epoch)
    return {"warmup": int(count) / whole}
