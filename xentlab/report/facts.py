"""The facts of a record in words: its protocol and its environment, label by label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from xentlab.report.numbers import short
from xentlab.report.record import Loss, Record
from xentlab.report.setup import Environment, Rung

_FAIRNESS = {
    "tuned": "tuned: every loss at its own best point",
    "shared": "shared: one point for all losses",
    "matched": "matched: learning rates scaled so that first updates have equal norms",
}

_REPLICATES = {
    "procedure": "procedure: every final seed tunes for itself",
    "point": "point: chosen once on the tuning seeds, for all final seeds",
}


def protocol(record: Record) -> dict[str, str]:
    """What was compared on what, and how."""
    setup = record.setup
    found = {"dataset": setup.dataset, "model": setup.model}
    found |= {"parameters": f"{setup.parameters:,}"} if setup.parameters is not None else {}
    found |= {"starts from": setup.start} if setup.start else {}
    found |= {"optimizer": setup.optimizer, "schedule": setup.schedule, "augmentation": setup.augment}
    found |= {"weight decay": short(setup.decay)} if setup.decay is not None else {}
    if setup.epochs is not None:
        found |= {"epochs": str(setup.epochs), "batch size": str(setup.batch_size or "by task")}
    if setup.patience is not None:
        found["early stopping"] = f"{setup.patience} epochs without a better value; the best epoch's weights are judged"
    found |= setup.training
    if setup.mode is not None:
        found["fairness"] = _FAIRNESS[setup.mode]
    if setup.search is not None:
        margin, epoch = record.primary.margin, "final" if setup.patience is None else "best"
        found |= {
            "search": _search(record),
            "tuning": _spaces(record.losses),
            "tuning trials": _counts(record.losses, "tuning_trials"),
            "tuning trial-epochs": _counts(record.losses, "tuning_epochs"),
            "selected by": f"{record.selection}, {epoch} epoch; the test set is read by final trials only",
            "replicate": _REPLICATES[setup.replicate] if setup.replicate is not None else "",
            "tuning seeds": ", ".join(map(str, setup.tuning_seeds)),
            "final seeds": ", ".join(map(str, setup.final_seeds)),
            "stuck": _counts(record.losses, "stuck"),
            "diverged": _counts(record.losses, "diverged"),
            "equivalence margin": "none" if margin is None else f"{margin:g} on {record.primary.label}",
        }
    return {label: text for label, text in (found | setup.more).items() if text}


def _search(record: Record) -> str:
    setup = record.setup
    if setup.search == "halving":
        rungs = describe_rungs(setup.rungs)
        return f"halving, the same for every loss: {rungs}; a point that starts slowly may leave before it would lead"
    return str(setup.search) + (f", {setup.points} points" if setup.points is not None else "")


def describe_rungs(rungs: Sequence[Rung]) -> str:
    """Such as `9 points for 3 epochs, the best 3 for 9, the best 1 for 27`."""
    first, *later = rungs
    said = f"{first.points} points for {first.epochs} epoch{'' if first.epochs == 1 else 's'}"
    return ", ".join([said, *(f"the best {rung.points} for {rung.epochs}" for rung in later)])


def _spaces(losses: Sequence[Loss]) -> str:
    """What was searched: once where all losses share it, else for each."""

    def spelled(space: Mapping[str, Sequence[float]]) -> str:
        return "; ".join(f"{k} in {', '.join(f'{v:g}' for v in values)}" for k, values in space.items())

    described = {loss.label: spelled(loss.space) for loss in losses}
    if len(set(described.values())) == 1:
        return next(iter(described.values()))
    return " | ".join(f"{label}: {text}" for label, text in described.items())


def _counts(losses: Sequence[Loss], field: str) -> str:
    return ", ".join(f"{loss.label} {getattr(loss, field)}" for loss in losses)


def environment(of: Environment) -> dict[str, str]:
    """Versions, machine and code."""
    cores = f", {of.cores} cores" if of.cores is not None else ""
    found = {
        "python": of.python,
        **of.packages,
        "platform": of.platform,
        "processor": f"{of.processor}{cores}",
        "devices": ", ".join(of.devices),
        "commit": of.commit + (" with changes" if of.changed else ""),
    }
    return {label: text for label, text in (found | of.more).items() if text}


def tuning_note(loss: Loss) -> str:
    """How a loss's point was chosen, and what is doubtful about it."""
    notes = [loss.note] if loss.note else []
    if loss.edges:
        notes.append(f"the chosen {', '.join(loss.edges)} is the outermost that was tried: INCONCLUSIVE tuning")
    if loss.extended:
        notes.append(f"grid extended by {loss.extended}")
    for key, values in loss.near.items():
        near = ", ".join(f"{v:g}" for v in values)
        notes.append(f"the tuning seeds cannot tell {key} {near} from the chosen value")
    chosen = [(point.lr, point.times) for point in loss.tuning if point.times]
    if chosen:
        rates = ", ".join(f"lr {lr:g} in {n}" for lr, n in chosen)
        notes.append(f"chosen: {rates} of {sum(n for _, n in chosen)} seeds")
    return "; ".join(notes)
