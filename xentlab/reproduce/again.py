"""A record as a training of this machine: what it may name, what is replaced, and what is not as it was."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from xentlab.comparison.folder import OWN, as_before, phase
from xentlab.dotted import not_allowed
from xentlab.errors import UserError
from xentlab.journal import Records, TrialRecord, read_lines
from xentlab.run.executors import present_name
from xentlab.run.session import Session
from xentlab.train import Trial, prepare, signature

ALLOWED = ("xentlab.", "torch.nn.", "torchvision.models.")
"""What a config from elsewhere may name."""

# On one machine: who else trained, did so on machines that are not here.
_LOCAL = tuple(f"xentlab.run.executors.{name}" for name in ("inline", "auto.Auto", "processes.Processes"))
# A record that asks for more is not heeded.
_MOST_THREADS = 1024


@dataclass(frozen=True)
class Difference:
    """One fact of a record and of here."""

    what: str
    recorded: str
    here: str

    @property
    def same(self) -> bool:
        return self.recorded == self.here


def check_targets(config: Any, path: str = "") -> None:
    """Refuse a config in which anything names code from outside `ALLOWED`; imports nothing."""
    if isinstance(config, Mapping):
        for key, value in config.items():
            here = f"{path}.{key}" if path else str(key)
            if str(key).rpartition(".")[2] == "_target_":
                for target in value if isinstance(value, (list, tuple)) else [value]:
                    if not isinstance(target, str) or not target.startswith(ALLOWED) or "__" in target:
                        raise not_allowed(path or here, str(target), ALLOWED)
            check_targets(value, here)
    elif isinstance(config, (list, tuple)):
        for index, value in enumerate(config):
            check_targets(value, f"{path}.{index}")


def localised(config: Mapping[str, Any], own: Mapping[str, Any], device: str) -> dict[str, Any]:
    """A recorded config with what is this machine's own: output, tracking, executor, device and data folder.

    Args:
        device: the kind it was trained on, kept where it is here (`cpu` always is), else `auto`.
    """
    here = {**config, **{key: own[key] for key in OWN}}
    kept = "cuda" if device == "cuda" and torch.cuda.is_available() else "cpu" if device == "cpu" else "auto"
    here["trainer"] = {**config["trainer"], "device": kept}
    here["dataset"] = as_before(config["dataset"])
    root = config["dataset"].get("root")
    if root is not None and not Path(str(root)).expanduser().exists():
        here["dataset"]["root"] = None
    return here


def local_executor(config: Mapping[str, Any], otherwise: Mapping[str, Any]) -> Mapping[str, Any]:
    """The recorded executor where it needs this machine alone, since threads move the last bits; else `otherwise`."""
    recorded: Mapping[str, Any] = config.get("executor") or {}
    target = present_name(str(recorded.get("_target_")))
    return {**recorded, "_target_": target} if target in _LOCAL else otherwise


@contextlib.contextmanager
def threads(environment: Mapping[str, Any]) -> Iterator[None]:
    """As many threads as were recorded: a sum that is split differently ends in different bits."""
    before, wanted = torch.get_num_threads(), environment.get("threads")
    if isinstance(wanted, int) and 1 <= wanted <= _MOST_THREADS:
        torch.set_num_threads(wanted)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def trial_of(record: TrialRecord, own: Mapping[str, Any]) -> Trial:
    """The trial that a record describes, to be trained here as it was trained there."""
    if record.status != "finished":
        raise UserError(f"Trial {record.id} must have finished to be reproduced, but it is {record.status}.")
    config = localised(record.config, own, record.tags["device"])
    if record.outcome.lift is not None:
        config["trainer"] = {**config["trainer"], "lift": record.outcome.lift}
    name = record.label.partition(" · ")[0]
    return prepare(config, test=phase(record.tags) != "tune", name=name)


def stack_of(records: Records, record: TrialRecord) -> list[TrialRecord]:
    """The trials that a trial was trained with as one tensor program, itself among them, in their order.

    Rates that differ inside a stack are float32 tensors, a single one is a Python float: the last bits may differ, and
    so a stack is trained again whole. A trial whose stack is not recorded whole is trained alone.
    """
    end = record.ended
    if end is None or end.lift != "vectorised" or end.stack == 1:
        return [record]
    for _, line in read_lines(records.root):
        if line["event"] == "epoch" and record.id in line["trials"]:
            mates = [records.trials[name] for name in line["trials"] if name in records.trials]
            sound = all(m.status == "finished" and m.outcome.lift == "vectorised" for m in mates)
            return mates if sound and len(mates) == end.stack else [record]
    return [record]


def differences(
    session: Session, records: Sequence[TrialRecord], environment: Mapping[str, Any], own: Mapping[str, Any]
) -> list[Difference]:
    """What stands in the environment, code, data and hardware of trials that stand for all, and what is here."""
    there, here = facts_of(environment), facts_of(session.environment)
    found = [Difference(key, there.get(key, "not recorded"), here.get(key, "none")) for key in here]
    for record in records:
        trial = trial_of(record, own)
        print_here = session.dataset(trial).fingerprint
        data = Difference(f"data {record.tags['dataset']}", record.tags["fingerprint"][:16], print_here[:16])
        device = Difference("device", record.tags["device"], trial.device.type)
        # The recorded config on the recorded data: if this signature differs, only the code is left to have changed.
        as_recorded = dataclasses.replace(trial, config=record.config)
        label = f"code for {trial.label.partition(' · ')[0]}"
        if device.same:
            here_too = signature(as_recorded, record.tags["fingerprint"], str(record.outcome.lift))
            found += [Difference(label, record.signature[:16], here_too[:16])]
        found += [data, device]
    return list(dict.fromkeys(found))


def facts_of(environment: Mapping[str, Any]) -> dict[str, str]:
    """Label -> text of what an environment records; also of one that lacks some of it."""
    packages = environment.get("packages")
    facts = {"python": environment.get("python")} | (dict(packages) if isinstance(packages, Mapping) else {})
    git = environment.get("git") or {}
    facts["git commit"] = git.get("commit", "no checkout")
    facts["uncommitted changes"] = "yes" if git.get("changed") or git.get("diff") else "no"
    for key in ("platform", "processor", "cores", "threads"):
        facts[key] = environment.get(key)
    devices = environment.get("devices")
    facts["devices"] = ", ".join(map(str, devices)) if isinstance(devices, list) else None
    return {key: str(value) for key, value in facts.items() if value is not None}
